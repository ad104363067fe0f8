//! The run loop: claim → mark → compute → results → commit → settle, against the six ports.
//!
//! One computation at a time, and beside it: heartbeats for every held document on a thread of their own, one sender of
//! messages a document, a loop that settles what dead workers left committed, and a listener for aborts. The order of
//! writes is such that a crash after any of them leaves a state that the next claimer finishes; each step is one
//! function, in the file named after it:
//!
//! ```text
//! claim      here            one run after the other; steps.rs holds what follows together
//! mark       mark.rs         the analysis becomes this run's; or hand back; or the dead letters
//! compute    supervise.rs    under a token, watched; execute.rs is the computation itself, setups.rs that of several records
//! results    steps.rs        the result document, before anything names it
//! commit     settle.rs       the one point that decides DONE, ERROR, ABORTED
//! settle     settle.rs       the outcome goes to the analysis; release and withdraw are its relatives
//! messages   outbox.rs       from mark on, beside all of the above
//! ```
//!
//! What a worker may do by its own clock is in lease.rs; how calls are bounded and repeated in retry.rs; which error
//! means what in fault.rs.

mod abort;
mod earlier;
mod execute;
mod extent;
mod fault;
mod inputs;
mod large_arrays;
mod lease;
mod mark;
mod outbox;
mod progress;
mod retry;
mod run;
mod settle;
mod setups;
mod shutdown;
mod spool;
mod steps;
mod supervise;
mod transfers;
mod vitals;
mod work_folder;

pub use execute::{Execute, ExecuteError};
pub use fault::Fault;
pub use lease::Heart;
pub use shutdown::Shutdown;
pub use vitals::{CurrentRun, Vitals};

use crate::model::control::Control;
use crate::model::run::RunType;
use crate::stores::documents::{Analysis, AnalysisKey, Id, QueueDocument};
use crate::stores::{StoreResult, Stores};
use abort::AtWork;
use async_trait::async_trait;
use retry::{Retry, mongodb};
use run::Context;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use steps::{Finished, Workbench};
use tokio::task::JoinSet;
use tokio::time::Instant;
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

impl WorkerOptions {
    /// The wait after so many failures in a row: doubles with each, from `SLEEP_TIME` on.
    fn wait_after(&self, failures: u32) -> Duration {
        // A service that is down for longer is looked for four times an hour.
        const LONGEST: Duration = Duration::from_secs(15 * 60);
        self.sleep_time.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST)
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
    stores: Stores,
    heart: Heart,
    options: Arc<WorkerOptions>,
    compute: Arc<dyn Compute>,
    vitals: Arc<Vitals>,
}

impl Worker {
    /// A worker over `stores`, kept alive by `heart`.
    pub fn new(stores: Stores, heart: Heart, options: WorkerOptions, compute: Arc<dyn Compute>) -> Worker {
        Worker { stores, heart, options: Arc::new(options), compute, vitals: Arc::default() }
    }

    /// The worker's signs of life, and from now on also those of the thread that heartbeats come from.
    pub fn vitals(&self) -> Arc<Vitals> {
        self.heart.pulse(vitals::pulse(self.vitals.clone()));
        self.vitals.clone()
    }

    /// Works until `shutdown`, or until the options say that it is enough. After a shutdown signal no run is claimed;
    /// the one at work may go on for `drain`, then it is released; a second signal releases it at once.
    pub async fn run(self, shutdown: Shutdown) -> Summary {
        let context = Context {
            retry: Retry::new(self.options.seed, self.options.call_timeout, self.options.patience),
            stores: self.stores,
            heart: self.heart,
            options: self.options,
            vitals: self.vitals,
            shutdown,
        };
        let at_work = Arc::new(AtWork::new(context.vitals.clone()));
        let _listener = start_listening(&context, &at_work).await;
        let settling = Arc::<AtomicUsize>::default();
        let settler = settle::settle_left_behind(context.clone(), settling.clone());
        let _settler = AbortOnDropHandle::new(tokio::spawn(settler));
        let bench = Workbench { context, compute: self.compute, at_work, unfit: AtomicU32::new(0) };
        let mut tasks = JoinSet::new();
        let hung = work_loop(&bench, &settling, &mut tasks).await;
        if !hung {
            // Ends by itself soon after a shutdown, each run having its own look at the clock.
            while tasks.join_next().await.is_some() {}
        }
        Summary { counts: bench.context.vitals.counts(), hung }
    }
}

/// Starts the listener for aborts and waits until no broadcast can be missed.
async fn start_listening(context: &Context, at_work: &Arc<AtWork>) -> AbortOnDropHandle<()> {
    let (ready, listening) = tokio::sync::oneshot::channel();
    let listen = abort::listen(context.stores.aborts.clone(), at_work.clone(), context.retry.clone(), ready);
    let listener = AbortOnDropHandle::new(tokio::spawn(listen));
    tokio::select! {
        biased;
        _ = listening => {}
        () = context.shutdown.requested() => {}
    }
    listener
}

/// Claims and works, one run after the other. Returns whether one hung.
async fn work_loop(bench: &Workbench, settling: &AtomicUsize, tasks: &mut JoinSet<()>) -> bool {
    let Context { options, shutdown, retry, .. } = &bench.context;
    let mut busy_at = Instant::now();
    let mut failures = 0;
    while !shutdown.is_requested() {
        bench.context.vitals.looped();
        while tasks.try_join_next().is_some() {}
        if !tasks.is_empty() || settling.load(Ordering::Relaxed) > 0 {
            busy_at = Instant::now();
        }
        let began = Instant::now();
        let pause = match claim(&bench.context).await {
            Ok(Some(document)) => {
                let finished = bench.work_on(document, began, tasks).await;
                (failures, busy_at) = (0, Instant::now());
                match finished {
                    Finished::Hung => return true,
                    Finished::Through => Duration::ZERO,
                    // Whoever can do it should get it, and everything else that waits.
                    Finished::Unfit(times) => options.wait_after(times),
                }
            }
            Ok(None) => {
                failures = 0;
                options.sleep_time
            }
            Err(error) => {
                tracing::warn!(error = %error, "the queue is not to be reached for now");
                failures += 1;
                retry.wait(failures)
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

/// One claim, not repeated: of a claim whose answer is lost the lease runs out.
async fn claim(context: &Context) -> StoreResult<Option<QueueDocument>> {
    let (queue, claimant) = (context.stores.queue.clone(), context.claimant());
    context.retry.once(mongodb("claim"), async move { queue.claim(&claimant).await }).await
}
