//! The run loop: claim → mark → compute → results → commit → settle, against the six ports.
//!
//! One computation at a time, and beside it: heartbeats for every held document on a thread of their own, one sender of
//! messages a document, a loop that settles what dead workers left committed, and a listener for aborts. The order of
//! writes is such that a crash after any of them leaves a state that the next claimer finishes; each step is one
//! function, in the file named after it:
//!
//! ```text
//! claim      here            step by step, first to last
//! mark       mark.rs         the analysis becomes this run's; or hand back; or the dead letters
//! compute    supervise.rs    under a token, watched; execute.rs is the computation itself
//! results    here            the result document, before anything names it
//! commit     settle.rs       the one point that decides DONE, ERROR, ABORTED
//! settle     settle.rs       the outcome goes to the analysis; release and withdraw are its relatives
//! messages   outbox.rs       from mark on, beside all of the above
//! ```
//!
//! What a worker may do by its own clock is in lease.rs; how calls are bounded and repeated in retry.rs; which error
//! means what in fault.rs.

mod abort;
mod execute;
mod fault;
mod inputs;
mod lease;
mod mark;
mod outbox;
mod progress;
mod retry;
mod run;
mod settle;
mod shutdown;
mod spool;
mod supervise;

pub use execute::{Execute, ExecuteError};
pub use fault::Fault;
pub use lease::Heart;
pub use shutdown::Shutdown;

use crate::model::control::Control;
use crate::model::run::{RunType, Status};
use crate::stores::documents::{Analysis, AnalysisKey, Claimant, Id, Outcome, QueueDocument, RunError};
use crate::stores::{StoreResult, Stores};
use abort::AtWork;
use async_trait::async_trait;
use mark::Marked;
use retry::Retry;
use run::{Context, Halt, Run};
use serde_json::Value;
use settle::Released;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use supervise::{Ended, STOP_GRACE, Stop};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Everything about a worker that can be chosen.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Unique to the process; by default made of host, process and chance.
    pub worker_id: String,
    /// The machine's name.
    pub host: String,
    /// How long a claim holds without a heartbeat (`OMA_LEASE_SECONDS`). More than twice the longest stall of a server.
    pub lease: Duration,
    /// Claims of a run that may end without an outcome (`OMA_MAX_ATTEMPTS`); the next one commits ERROR.
    pub max_attempts: u32,
    /// Between two looks at the queue (`SLEEP_TIME`).
    pub sleep_time: Duration,
    /// How long a run may go on after the first shutdown signal (`OMA_DRAIN_SECONDS`).
    pub drain: Duration,
    /// The longest run (`OMA_RUN_TIMEOUT_SECONDS`).
    pub run_timeout: Duration,
    /// A run that shows no progress for this long is given up, and the process with it.
    pub stall_timeout: Duration,
    /// Bound of a call to a store.
    pub call_timeout: Duration,
    /// How long a failing call is repeated before the run is released.
    pub patience: Duration,
    /// Ends after one run, or at once if there is none.
    pub once: bool,
    /// Ends after so long without anything to do.
    pub exit_when_idle: Option<Duration>,
    /// For repeatable jitter in tests.
    pub seed: Option<u64>,
}

impl Default for WorkerOptions {
    fn default() -> WorkerOptions {
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        WorkerOptions {
            worker_id: format!("{host}-{}-{}", std::process::id(), Id::fresh()),
            host,
            lease: Duration::from_secs(60),
            max_attempts: 3,
            sleep_time: Duration::from_secs(5),
            drain: Duration::from_secs(25),
            run_timeout: Duration::from_secs(21_600),
            stall_timeout: Duration::from_secs(15 * 60),
            // The longest stall of a server that went on afterwards was 10 s.
            call_timeout: Duration::from_secs(15),
            patience: Duration::from_secs(5 * 60),
            once: false,
            exit_when_idle: None,
            seed: None,
        }
    }
}

/// A run that is to be computed.
#[derive(Debug, Clone)]
pub struct Job {
    /// The queue document.
    pub queue_id: Id,
    /// Where the analysis lies.
    pub key: AnalysisKey,
    /// What to compute.
    pub run_type: RunType,
    /// The analysis as it was when the run took it.
    pub analysis: Analysis,
    /// Which attempt this is, from 1.
    pub attempt: i64,
}

/// What a computation hands over.
#[derive(Debug, Clone, PartialEq)]
pub struct ComputedResult {
    /// The result document, without its `_id`.
    pub document: Value,
}

/// The computation behind a run.
#[async_trait]
pub trait Compute: Send + Sync {
    /// Computes. Stops soon after the control's token is cancelled, and reports progress at least every few minutes.
    ///
    /// # Errors
    /// [`Fault`]; a panic counts as a permanent one.
    async fn compute(&self, job: Job, control: Control) -> Result<ComputedResult, Fault>;
}

/// What a worker did, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs that ended DONE.
    pub done: u64,
    /// Runs that ended in ERROR.
    pub error: u64,
    /// Runs that ended ABORTED.
    pub aborted: u64,
    /// Runs left by other workers and settled here.
    pub settled: u64,
    /// Runs given back because another one of the analysis came first.
    pub handed_back: u64,
    /// Runs released, after a transient fault or at shutdown.
    pub released: u64,
    /// Runs whose document was deleted.
    pub withdrawn: u64,
    /// Runs lost to another worker.
    pub lost: u64,
    /// Runs left to their lease because a store did not answer.
    pub abandoned: u64,
    /// Documents moved to the dead letters.
    pub dead: u64,
    /// Messages that nobody could be found for.
    pub messages_without_addressee: u64,
    /// Messages of withdrawn runs that could not be sent in time.
    pub messages_unsent: u64,
    /// Broadcasts that concerned no run here.
    pub broadcasts_ignored: u64,
}

/// How a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// What it did.
    pub counts: Counts,
    /// A run neither went on nor stopped: the process must exit (status 70) without waiting for its threads.
    pub hung: bool,
}

/// A worker.
pub struct Worker {
    context: Context,
    compute: Arc<dyn Compute>,
    at_work: Arc<AtWork>,
    /// Documents that are being settled for dead workers.
    settling: Arc<AtomicUsize>,
}

/// How the work on one document ended.
enum Finished {
    Through,
    Hung,
}

/// What is to become of a run.
enum Decision {
    Commit(Outcome),
    Release(Duration),
    Hung,
}

impl Worker {
    /// A worker over `stores`, kept alive by `heart`.
    pub fn new(stores: Stores, heart: Heart, options: WorkerOptions, compute: Arc<dyn Compute>) -> Worker {
        let retry = Retry::new(options.seed, options.call_timeout, options.patience);
        let context = Context { stores, heart, options: Arc::new(options), retry, counts: Arc::default() };
        Worker { context, compute, at_work: Arc::default(), settling: Arc::default() }
    }

    /// Works until `shutdown`, or until the options say that it is enough. After a shutdown signal no run is claimed;
    /// the one at work may go on for `drain`, then it is released; a second signal releases it at once.
    pub async fn run(self, shutdown: Shutdown) -> Summary {
        let _listener = self.start_listening(&shutdown).await;
        let _settler = AbortOnDropHandle::new(tokio::spawn(settle_loop(
            self.context.clone(),
            self.settling.clone(),
            shutdown.clone(),
        )));
        let mut tasks = JoinSet::new();
        let hung = self.work_loop(&shutdown, &mut tasks).await;
        if !hung {
            let late = async {
                shutdown.expired(self.context.options.drain).await;
                tokio::time::sleep(STOP_GRACE).await;
            };
            tokio::select! {
            biased;
                () = async { while tasks.join_next().await.is_some() {} } => {}
                () = late => tracing::info!(documents = tasks.len(), "messages left to the next worker"),
            }
        }
        let mut counts = self.context.counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        counts.broadcasts_ignored = self.at_work.ignored();
        Summary { counts, hung }
    }

    /// Starts the listener for aborts and waits until no broadcast can be missed.
    async fn start_listening(&self, shutdown: &Shutdown) -> AbortOnDropHandle<()> {
        let (ready, listening) = tokio::sync::oneshot::channel();
        let aborts = self.context.stores.aborts.clone();
        let listen = abort::listen(aborts, self.at_work.clone(), self.context.retry.clone(), ready);
        let listener = AbortOnDropHandle::new(tokio::spawn(listen));
        tokio::select! {
            biased;
            _ = listening => {}
            () = shutdown.requested() => {}
        }
        listener
    }

    /// Claims and works, one run after the other. Returns whether one hung.
    async fn work_loop(&self, shutdown: &Shutdown, tasks: &mut JoinSet<()>) -> bool {
        let options = &self.context.options;
        let mut busy_at = Instant::now();
        let mut failures = 0;
        while !shutdown.is_requested() {
            while tasks.try_join_next().is_some() {}
            if !tasks.is_empty() || self.settling.load(Ordering::Relaxed) > 0 {
                busy_at = Instant::now();
            }
            let began = Instant::now();
            let pause = match claim(&self.context).await {
                Ok(Some(document)) => {
                    if matches!(self.work_on(document, began, shutdown, tasks).await, Finished::Hung) {
                        return true;
                    }
                    (failures, busy_at) = (0, Instant::now());
                    Duration::ZERO
                }
                Ok(None) => {
                    failures = 0;
                    options.sleep_time
                }
                Err(error) => {
                    tracing::warn!(error = %error, "the queue is not to be reached for now");
                    failures += 1;
                    self.context.retry.wait(failures)
                }
            };
            let idle_for = busy_at.elapsed();
            if options.once && failures == 0 || options.exit_when_idle.is_some_and(|limit| idle_for >= limit) {
                break;
            }
            let until_idle = options.exit_when_idle.map_or(pause, |limit| limit.saturating_sub(idle_for));
            tokio::select! {
            biased;
                () = tokio::time::sleep(pause.min(until_idle)) => {}
                () = shutdown.requested() => {}
            }
        }
        false
    }

    /// Works on one claimed document until its end is decided and on the analysis.
    async fn work_on(
        &self,
        document: QueueDocument,
        began: Instant,
        shutdown: &Shutdown,
        tasks: &mut JoinSet<()>,
    ) -> Finished {
        let run = match Run::hold(self.context.clone(), document, began) {
            Ok(run) => Arc::new(run),
            Err(bad) => {
                if let Err(halt) = mark::bury(&bad.context, &bad.document, &bad.lease, &bad.reason).await {
                    tracing::warn!(document = %bad.document.id, ?halt, "dead letter left for later");
                }
                return Finished::Through;
            }
        };
        tracing::info!(document = %run.id(), analysis = %run.key.analysis_id, run_type = run.run_type, "run claimed");
        let mut sender = None;
        let mut tried = None;
        let halt = match self.steps(&run, shutdown, &mut sender, &mut tried).await {
            Ok(Finished::Hung) => return Finished::Hung,
            Ok(Finished::Through) => None,
            Err(halt) => Some(halt),
        };
        let rest = async move {
            match halt {
                Some(Halt::Gone) => {
                    // One sender a document: the usual one ends by itself when the document is gone.
                    if let Some(sender) = sender {
                        let _ = sender.await;
                    }
                    if let Err(halt) = settle::withdraw(&run, tried).await {
                        tracing::warn!(document = %run.id(), ?halt, "withdrawal given up");
                    }
                }
                Some(halt) => abandon(&run, &halt),
                None => {
                    if let Some(sender) = sender {
                        let _ = sender.await;
                    }
                }
            }
        };
        tasks.spawn(rest);
        Finished::Through
    }

    /// Steps 2 to 6 up to the analysis; the sender of messages is left in `sender`, an outcome that was tried to commit
    /// in `tried`.
    async fn steps(
        &self,
        run: &Arc<Run>,
        shutdown: &Shutdown,
        sender: &mut Option<AbortOnDropHandle<()>>,
        tried: &mut Option<Outcome>,
    ) -> Result<Finished, Halt> {
        // An abort counts from mark on: also one that comes while the answer to the mark is on its way.
        let watch = self.at_work.watch(&run.key.analysis_id);
        let analysis = match mark::mark(run).await? {
            Marked::Held(analysis) => analysis,
            Marked::NotYet => {
                mark::hand_back(run).await?;
                return Ok(Finished::Through);
            }
            Marked::Missing => {
                let reason =
                    format!("analysis {} of structure {} does not exist", run.key.analysis_id, run.key.structure_id);
                mark::bury(&run.context, &run.document, &run.lease, &reason).await?;
                return Ok(Finished::Through);
            }
        };
        *sender = Some(AbortOnDropHandle::new(tokio::spawn(outbox::deliver(run.clone()))));
        let mut outcome = match self.decide(run, analysis, watch.aborted(), shutdown).await? {
            Decision::Hung => return Ok(Finished::Hung),
            Decision::Commit(outcome) => outcome,
            Decision::Release(wait) => match settle::release(run, wait).await? {
                Released::Yes => return Ok(Finished::Through),
                Released::Committed(outcome) => outcome,
            },
        };
        *tried = Some(outcome.clone());
        outcome = settle::commit(run, &outcome).await?;
        drop(watch);
        settle::settle(run, &outcome).await?;
        let status = outcome.status;
        tracing::info!(document = %run.id(), analysis = %run.key.analysis_id, %status, "run ended");
        run.context.count(|counts| match status {
            Status::Done => counts.done += 1,
            Status::Aborted => counts.aborted += 1,
            _ => counts.error += 1,
        });
        Ok(Finished::Through)
    }

    /// Computes, keeps the result, and says what is to become of the run.
    async fn decide(
        &self,
        run: &Run,
        analysis: Analysis,
        aborted: &CancellationToken,
        shutdown: &Shutdown,
    ) -> Result<Decision, Halt> {
        let ended = self.compute(run, analysis, aborted, shutdown).await?;
        // A lease that is not sure any more: hold what there is until a heartbeat has said that it is still ours.
        while !run.lease.is_sure() {
            run.held(async { Ok(run.lease.next_heartbeat().await) }).await?;
        }
        if aborted.is_cancelled() && !matches!(ended, Ended::Hung) {
            return Ok(Decision::Commit(run.outcome(Status::Aborted)));
        }
        let decision = match ended {
            Ended::Result(result) => match keep_result(run, result).await? {
                Some(_) if aborted.is_cancelled() => Decision::Commit(run.outcome(Status::Aborted)),
                Some(id) => Decision::Commit(Outcome { results: Some(id), ..run.outcome(Status::Done) }),
                None => Decision::Release(release_wait(run)),
            },
            Ended::Fault(Fault::Permanent { code, message }) => Decision::Commit(error(run, &code, message)),
            Ended::Fault(Fault::Transient(message)) => {
                tracing::warn!(document = %run.id(), message, "run released after a transient fault");
                Decision::Release(release_wait(run))
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
                tracing::error!(document = %run.id(), text, "computation panicked");
                Decision::Commit(error(run, "internal", format!("internal error, please report it: {text}")))
            }
            Ended::Hung => {
                tracing::error!(document = %run.id(), "run neither goes on nor stops, giving up the process");
                Decision::Hung
            }
        };
        Ok(decision)
    }

    /// Step 3, unless the document itself forbids it.
    async fn compute(
        &self,
        run: &Run,
        analysis: Analysis,
        aborted: &CancellationToken,
        shutdown: &Shutdown,
    ) -> Result<Ended, Halt> {
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
        supervise::supervise(run, self.compute.clone(), job, aborted, shutdown).await
    }
}

/// One claim, not repeated: of a claim whose answer is lost the lease runs out.
async fn claim(context: &Context) -> StoreResult<Option<QueueDocument>> {
    let (queue, claimant) = (context.stores.queue.clone(), claimant(context));
    context.retry.once("claim", async move { queue.claim(&claimant).await }).await
}

fn claimant(context: &Context) -> Claimant {
    let options = &context.options;
    let lease_ms = i64::try_from(options.lease.as_millis()).unwrap_or(i64::MAX);
    Claimant { worker_id: options.worker_id.clone(), host: options.host.clone(), lease_ms }
}

fn error(run: &Run, code: &str, message: String) -> Outcome {
    Outcome { error: Some(RunError { code: code.into(), message }), ..run.outcome(Status::Error) }
}

/// The wait after a transient fault: doubles with every release, from `SLEEP_TIME` on.
fn release_wait(run: &Run) -> Duration {
    // A service that is down for longer is looked for four times an hour.
    const LONGEST: Duration = Duration::from_secs(15 * 60);
    let releases = u32::try_from(run.document.worker.releases).unwrap_or(0);
    run.context.options.sleep_time.saturating_mul(2_u32.saturating_pow(releases.saturating_add(1))).min(LONGEST)
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
            tracing::warn!(document = %run.id(), error = %error, "result cannot be stored, run released");
            Ok(None)
        }
        Err(halt) => Err(halt),
    }
}

/// Leaves a run to whoever holds it now, or to its lease.
fn abandon(run: &Run, halt: &Halt) {
    let document = run.id();
    match halt {
        Halt::Lost | Halt::Gone => {
            tracing::warn!(%document, "run lost to another worker");
            run.context.count(|counts| counts.lost += 1);
        }
        Halt::Store(error) => {
            tracing::error!(%document, %error, "run left to its lease, a store does not answer");
            run.context.count(|counts| counts.abandoned += 1);
        }
    }
}

/// Claims what dead workers left committed and settles it, one task a document.
async fn settle_loop(context: Context, settling: Arc<AtomicUsize>, shutdown: Shutdown) {
    let mut tasks = JoinSet::new();
    let mut failures = 0;
    while !shutdown.is_requested() {
        while tasks.try_join_next().is_some() {}
        let began = Instant::now();
        let (queue, claimant) = (context.stores.queue.clone(), claimant(&context));
        let claim = async move { queue.claim_settling(&claimant).await };
        let pause = match context.retry.once("claim for settling", claim).await {
            Ok(Some(document)) => {
                failures = 0;
                settling.fetch_add(1, Ordering::Relaxed);
                let (context, settling) = (context.clone(), settling.clone());
                tasks.spawn(async move {
                    settle_document(context, document, began).await;
                    settling.fetch_sub(1, Ordering::Relaxed);
                });
                Duration::ZERO
            }
            Ok(None) => context.options.sleep_time,
            Err(error) => {
                tracing::debug!(error = %error, "the queue is not to be reached for settling");
                failures += 1;
                context.retry.wait(failures)
            }
        };
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            () = shutdown.requested() => {}
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Step 6 for a document that somebody else committed.
async fn settle_document(context: Context, document: QueueDocument, began: Instant) {
    let run = match Run::hold(context, document.clone(), began) {
        Ok(run) => Arc::new(run),
        Err(bad) => {
            if let Err(halt) = mark::bury(&bad.context, &bad.document, &bad.lease, &bad.reason).await {
                tracing::warn!(document = %bad.document.id, ?halt, "dead letter left for later");
            }
            return;
        }
    };
    match settle::settle_claimed(&run, &document).await {
        Ok(()) => {
            run.context.count(|counts| counts.settled += 1);
            outbox::deliver(run).await;
        }
        Err(halt) => abandon(&run, &halt),
    }
}
