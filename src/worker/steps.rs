//! The life of one claimed document: mark, compute, results, commit, settle; and every other way for it to end.

use super::abort::AtWork;
use super::fault::Fault;
use super::mark::{self, Marked};
use super::outbox;
use super::run::{self, Context, Halt, Run};
use super::settle::{self, Released};
use super::supervise::{self, Ended, Stop};
use super::{Compute, ComputedResult, Job};
use crate::model::run::{RunType, Status};
use crate::stores::Stores;
use crate::stores::documents::{Analysis, AnalysisKey, Id, Outcome, QueueDocument, RunError};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

/// How the work on one document ended.
pub(super) enum Finished {
    Through,
    /// The document was left to others because this machine cannot do the work for now, so many times in a row.
    Unfit(u32),
    Hung,
}

/// What is to become of a run.
enum Decision {
    Commit(Outcome),
    Release(Duration),
    /// Release for others at once.
    HandOn,
    Hung,
}

/// What the steps leave behind, however they end.
#[derive(Default)]
struct Traces {
    /// The sender of the document's messages; there is one from mark on.
    sender: Option<AbortOnDropHandle<()>>,
    /// An outcome that was tried to commit.
    tried: Option<Outcome>,
}

impl Traces {
    /// Waits until the sender has ended.
    async fn messages_sent(&mut self) {
        if let Some(sender) = self.sender.take()
            && let Err(error) = sender.await
        {
            tracing::error!(error = %error, "a sender of messages died");
        }
    }
}

/// What every run of a worker is worked on with.
pub(super) struct Workbench {
    pub(super) context: Context,
    pub(super) compute: Arc<dyn Compute>,
    pub(super) at_work: Arc<AtWork>,
    /// Runs in a row that this machine could not do.
    pub(super) unfit: AtomicU32,
}

impl Workbench {
    /// Works on one claimed document until its end is decided and on the analysis; what is left to do after that goes
    /// on as one of `tasks`.
    pub(super) async fn work_on(&self, document: QueueDocument, began: Instant, tasks: &mut JoinSet<()>) -> Finished {
        let span = run::span(&document);
        self.work(document, began, tasks).instrument(span).await
    }

    /// The same, in the document's span.
    async fn work(&self, document: QueueDocument, began: Instant, tasks: &mut JoinSet<()>) -> Finished {
        let run = match Run::hold(self.context.clone(), document, began) {
            Ok(run) => Arc::new(run),
            Err(unreadable) => {
                mark::bury_unreadable(&unreadable).await;
                return Finished::Through;
            }
        };
        tracing::info!("run claimed");
        let mut traces = Traces::default();
        let mut end = self.steps(&run, &mut traces).await;
        if let Err(Halt::Store(error)) = &end
            && error.is_transient()
        {
            tracing::warn!(error = %error, "a store does not answer, the run is given back");
            end = give_back(&run, traces.sender.is_some()).await;
        }
        let (finished, halt) = match end {
            Ok(Finished::Hung) => return Finished::Hung,
            Ok(finished) => (finished, None),
            Err(halt) => (Finished::Through, Some(halt)),
        };
        let rest = async move {
            match halt {
                None => traces.messages_sent().await,
                Some(Halt::Gone) => {
                    // One sender a document: the usual one ends by itself now that the document is gone.
                    traces.messages_sent().await;
                    if let Err(halt) = settle::withdraw(&run, traces.tried).await {
                        run.leave(&halt);
                    }
                }
                Some(halt) => run.leave(&halt),
            }
        };
        tasks.spawn(rest.in_current_span());
        finished
    }

    /// Steps 2 to 6 up to the analysis.
    async fn steps(&self, run: &Arc<Run>, traces: &mut Traces) -> Result<Finished, Halt> {
        let (analysis, watch) = match mark::mark(run, &self.at_work).await? {
            Marked::Held(analysis, watch) => (analysis, watch),
            Marked::NotYet => {
                mark::hand_back(run).await?;
                return Ok(Finished::Through);
            }
            Marked::Missing => {
                let AnalysisKey { structure_id, analysis_id } = &run.key;
                let reason = format!("analysis {analysis_id} of structure {structure_id} does not exist");
                mark::bury(&run.context, &run.document, &run.lease, &reason).await?;
                return Ok(Finished::Through);
            }
        };
        traces.sender = Some(AbortOnDropHandle::new(tokio::spawn(outbox::deliver(run.clone()).in_current_span())));
        let outcome = match self.decide(run, analysis, watch.aborted()).await? {
            Decision::Hung => return Ok(Finished::Hung),
            Decision::Commit(outcome) => outcome,
            Decision::Release(wait) => match settle::release(run, wait).await? {
                Released::Yes => return Ok(Finished::Through),
                Released::Committed(outcome) => outcome,
            },
            Decision::HandOn => match settle::release(run, Duration::ZERO).await? {
                Released::Yes => return Ok(Finished::Unfit(self.unfit.fetch_add(1, Ordering::Relaxed) + 1)),
                Released::Committed(outcome) => outcome,
            },
        };
        traces.tried = Some(outcome.clone());
        let outcome = settle::commit(run, &outcome).await?;
        drop(watch);
        settle::settle(run, &outcome).await?;
        let status = outcome.status;
        tracing::info!(%status, "run ended");
        // A word that is no type of ours would make a label of whatever somebody wrote.
        let run_type = RunType::from_str(&run.run_type).map_or("unknown", RunType::as_str);
        metrics::counter!("oma_runs_total", "type" => run_type, "outcome" => status.as_str()).increment(1);
        run.context.count(|counts| match status {
            Status::Done => counts.done += 1,
            Status::Aborted => counts.aborted += 1,
            _ => counts.error += 1,
        });
        Ok(Finished::Through)
    }

    /// Computes, keeps the result, and says what is to become of the run.
    async fn decide(&self, run: &Run, analysis: Analysis, aborted: &CancellationToken) -> Result<Decision, Halt> {
        run.be_sure().await?;
        let ended = self.compute(run, analysis, aborted).await?;
        run.be_sure().await?;
        if aborted.is_cancelled() && !matches!(ended, Ended::Hung) {
            return Ok(Decision::Commit(run.outcome(Status::Aborted)));
        }
        let decision = match ended {
            Ended::Result(result) => {
                self.unfit.store(0, Ordering::Relaxed);
                match keep_result(run, result).await? {
                    Some(_) if aborted.is_cancelled() => Decision::Commit(run.outcome(Status::Aborted)),
                    Some(id) => Decision::Commit(Outcome { results: Some(id), ..run.outcome(Status::Done) }),
                    None => Decision::Release(release_wait(run)),
                }
            }
            Ended::Fault(Fault::Permanent { code, message }) => Decision::Commit(error(run, &code, message)),
            Ended::Fault(Fault::Transient(message)) => {
                tracing::warn!(message, "run released after a transient fault");
                Decision::Release(release_wait(run))
            }
            Ended::Fault(Fault::Unfit(message)) => {
                tracing::warn!(message, "run released for others, this machine cannot do it for now");
                Decision::HandOn
            }
            Ended::Fault(Fault::Aborted) | Ended::Stopped(Stop::Abort) => {
                Decision::Commit(run.outcome(Status::Aborted))
            }
            Ended::Stopped(Stop::Shutdown) => Decision::Release(Duration::ZERO),
            Ended::Stopped(Stop::Timeout) => {
                let limit = run.context.options.run_timeout.as_secs();
                let message = format!("the run took longer than OMA_RUN_TIMEOUT_SECONDS = {limit} s");
                Decision::Commit(error(run, "run_timed_out", message))
            }
            Ended::Panicked(text) => {
                tracing::error!(text, "computation panicked");
                Decision::Commit(error(run, "internal", format!("internal error, please report it: {text}")))
            }
            Ended::Hung => {
                tracing::error!("run neither goes on nor stops, giving up the process");
                Decision::Hung
            }
        };
        Ok(decision)
    }

    /// Step 3, unless the document itself forbids it.
    async fn compute(&self, run: &Run, analysis: Analysis, aborted: &CancellationToken) -> Result<Ended, Halt> {
        let attempt = run.document.worker.attempts;
        let limit = run.context.options.max_attempts;
        if attempt > i64::from(limit) {
            let message = format!("the run was begun {limit} times (OMA_MAX_ATTEMPTS) and never came to an end");
            return Ok(Ended::Fault(Fault::permanent("attempts_exhausted", message)));
        }
        let run_type = match RunType::from_str(&run.run_type) {
            Ok(run_type) => run_type,
            Err(message) => return Ok(Ended::Fault(Fault::permanent("unknown_run_type", message))),
        };
        let job = Job { queue_id: run.id().clone(), key: run.key.clone(), run_type, analysis, attempt };
        supervise::supervise(run, self.compute.clone(), job, aborted).await
    }
}

fn error(run: &Run, code: &str, message: String) -> Outcome {
    Outcome { error: Some(RunError { code: code.into(), message }), ..run.outcome(Status::Error) }
}

/// The wait after a transient fault.
fn release_wait(run: &Run) -> Duration {
    let releases = u32::try_from(run.document.worker.releases).unwrap_or(0);
    run.context.options.wait_after(releases.saturating_add(1))
}

/// Step 4: stores the result under an id fixed before the first try. `None`: the store cannot be reached.
async fn keep_result(run: &Run, result: ComputedResult) -> Result<Option<Id>, Halt> {
    let id = Id::fresh();
    let document = Arc::new(result.document);
    let put = |stores: Stores, key: AnalysisKey| {
        let (id, document) = (id.clone(), document.clone());
        async move { stores.analyses.put_result(&key.structure_id, &id, &document).await }
    };
    match run.held(run.call("store the result", put)).await {
        Ok(()) => Ok(Some(id)),
        Err(Halt::Store(error)) if error.is_transient() => {
            tracing::warn!(error = %error, "result cannot be stored, run released");
            Ok(None)
        }
        Err(halt) => Err(halt),
    }
}

/// Gives back what could not be worked on for want of a store, once the queue is there again.
async fn give_back(run: &Run, is_marked: bool) -> Result<Finished, Halt> {
    run.be_sure().await?;
    if !is_marked {
        mark::hand_back(run).await?;
    } else if let Released::Committed(outcome) = settle::release(run, release_wait(run)).await? {
        settle::settle(run, &outcome).await?;
    }
    Ok(Finished::Through)
}
