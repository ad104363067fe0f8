//! Step 3: the computation, under a token, watched until it has ended one way or the other.

use super::fault::Fault;
use super::progress::Progress;
use super::retry::mongodb;
use super::run::{Halt, Run};
use super::{Compute, ComputedResult, Job};
use crate::model::control::Control;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

/// Why the worker stopped a computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Abort,
    Shutdown,
    Timeout,
}

/// How a computation ended.
pub(crate) enum Ended {
    Result(ComputedResult),
    Fault(Fault),
    Stopped(Stop),
    Panicked(String),
    /// It neither goes on nor stops.
    Hung,
}

/// A computation checks its token every 100 ms of work; one that has not stopped after this long is not waited for when
/// the process is about to end anyway.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Computes. Stops the computation when the lease ends, on abort, at shutdown and after `run_timeout`.
pub(crate) async fn supervise(
    run: &Run,
    compute: Arc<dyn Compute>,
    job: Job,
    aborted: &CancellationToken,
) -> Result<Ended, Halt> {
    let options = &run.context.options;
    let token = CancellationToken::new();
    let progress = Progress::new();
    let control = Control::new(token.clone(), progress.reporter());
    let _shown = run.context.vitals.show(run, job.attempt, &progress);
    let started = Instant::now();
    let computing = async move { compute.compute(job, control).await };
    let mut computation = AbortOnDropHandle::new(tokio::spawn(computing.in_current_span()));
    let mut reports = tokio::time::interval((run.lease.length() / 4).max(Duration::from_millis(1)));
    let mut reported = progress.moved_at();
    let why_stop = why_stop(run, aborted, started);
    tokio::pin!(why_stop);
    let mut stop: Option<Result<Stop, Halt>> = None;
    // How long a computation that was told to stop is waited for.
    let mut patience = started;
    loop {
        let moved_at = progress.moved_at();
        tokio::select! {
            biased;
            joined = &mut computation => return ended(stop, joined),
            why = &mut why_stop, if stop.is_none() => {
                tracing::debug!(?why, "computation is told to stop");
                let grace = if matches!(why, Ok(Stop::Shutdown)) { STOP_GRACE } else { options.stall_timeout };
                patience = Instant::now() + grace;
                stop = Some(why);
                token.cancel();
            }
            () = tokio::time::sleep_until(patience), if stop.is_some() => return match stop {
                Some(Ok(Stop::Shutdown)) => Ok(Ended::Stopped(Stop::Shutdown)),
                _ => Ok(Ended::Hung),
            },
            () = tokio::time::sleep_until(moved_at + options.stall_timeout) => {
                if progress.moved_at() == moved_at {
                    return Ok(Ended::Hung);
                }
            }
            _ = reports.tick() => {
                run.context.vitals.looped();
                if progress.moved_at() != reported && stop.is_none() && run.lease.is_sure() {
                    reported = progress.moved_at();
                    report(run, &progress);
                }
            }
        }
    }
}

/// Waits for the first reason to stop.
async fn why_stop(run: &Run, aborted: &CancellationToken, started: Instant) -> Result<Stop, Halt> {
    let options = &run.context.options;
    tokio::select! {
        biased;
        end = run.lease.ended() => Err(end.into()),
        () = aborted.cancelled() => Ok(Stop::Abort),
        () = run.context.shutdown.expired(options.drain) => Ok(Stop::Shutdown),
        () = tokio::time::sleep_until(started + options.run_timeout) => Ok(Stop::Timeout),
    }
}

/// Shows the progress on the analysis; nobody waits for it, and a loss is made good by the next one.
fn report(run: &Run, progress: &Progress) {
    let (stage, fraction) = progress.current();
    let (analyses, key, mark) = (run.context.stores.analyses.clone(), run.key.clone(), run.mark());
    let retry = run.context.retry.clone();
    let show = async move {
        let write = async move { analyses.progress(&key, &mark, &stage, fraction).await };
        if let Err(error) = retry.once(mongodb("show the progress"), write).await {
            tracing::debug!(error = %error, "progress not shown");
        }
    };
    tokio::spawn(show.in_current_span());
}

/// A lease that has ended decides, whatever was computed; otherwise what was computed before a stop reached it counts.
fn ended(
    stop: Option<Result<Stop, Halt>>,
    joined: Result<Result<ComputedResult, Fault>, JoinError>,
) -> Result<Ended, Halt> {
    let stop = stop.transpose()?;
    Ok(match (joined, stop) {
        (Ok(Ok(result)), _) => Ended::Result(result),
        (Ok(Err(Fault::Aborted)), Some(stop)) => Ended::Stopped(stop),
        (Ok(Err(Fault::Aborted)), None) => Ended::Fault(Fault::Transient("the computation stopped by itself".into())),
        (Ok(Err(fault)), _) => Ended::Fault(fault),
        (Err(died), _) => Ended::Panicked(panic_text(died)),
    })
}

fn panic_text(died: JoinError) -> String {
    match died.try_into_panic() {
        Ok(payload) => match payload.downcast::<String>() {
            Ok(text) => *text,
            Err(payload) => payload.downcast_ref::<&str>().map_or("no message".into(), |text| (*text).to_owned()),
        },
        Err(error) => error.to_string(),
    }
}
