//! One claimed document and what every step needs to act on it.

use super::lease::{End, Heart, Lease};
use super::retry::{Retry, mongodb};
use super::{Counts, Shutdown, Vitals, WorkerOptions};
use crate::model::run::{Status, StatusMessage};
use crate::stores::documents::{Analysis, AnalysisKey, Claimant, Id, Outcome, Own, QueueDocument};
use crate::stores::{Mark, RunQueue, StoreError, StoreResult, Stores};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Why a step cannot go on.
#[derive(Debug)]
pub(crate) enum Halt {
    /// Somebody else holds the document.
    Lost,
    /// The document was deleted.
    Gone,
    /// A store gave no answer for as long as the worker is willing to wait.
    Store(StoreError),
    /// The process has to end now.
    Leaving,
}

impl From<End> for Halt {
    fn from(end: End) -> Halt {
        match end {
            End::Lost => Halt::Lost,
            End::Gone => Halt::Gone,
        }
    }
}

/// How far a run is, for the sender of its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Marked; not yet at its end.
    Working,
    /// The outcome is on the analysis: send the rest and delete the document.
    Settled,
    /// Back in the queue: send the rest and let others claim it after this wait.
    Released(Duration),
}

/// Whom messages of a run go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Addressee {
    tenant_id: i64,
    user_id: i64,
}

/// What all runs of a worker share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) stores: Stores,
    pub(crate) heart: Heart,
    pub(crate) options: Arc<WorkerOptions>,
    pub(crate) retry: Retry,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) shutdown: Shutdown,
}

/// What is left to say when the drain time is over must be said within this: release, its message, the offer. Together
/// with the drain of 25 s it makes the 30 s that Kubernetes leaves a process by default.
pub(crate) const LEAVE_GRACE: Duration = Duration::from_secs(5);

impl Context {
    /// Counts something.
    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.vitals.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Who claims here.
    pub(crate) fn claimant(&self) -> Claimant {
        let lease_ms = i64::try_from(self.options.lease.as_millis()).unwrap_or(i64::MAX);
        Claimant { worker_id: self.options.worker_id.clone(), host: self.options.host.clone(), lease_ms }
    }

    /// Waits for `step` until the process has to end.
    pub(crate) async fn here<T>(&self, step: impl Future<Output = StoreResult<T>>) -> Result<T, Halt> {
        let leaving = async {
            self.shutdown.expired(self.options.drain).await;
            tokio::time::sleep(LEAVE_GRACE).await;
        };
        tokio::select! {
            biased;
            answer = step => answer.map_err(Halt::Store),
            () = leaving => Err(Halt::Leaving),
        }
    }
}

/// What every line of the log about a document carries, whatever is logged.
pub(crate) fn span(document: &QueueDocument) -> tracing::Span {
    tracing::error_span!(
        "run",
        document = %document.id,
        analysis = document.analysis_id().map(tracing::field::display),
        structure = document.structure_id().map(tracing::field::display),
        run_type = document.run_type(),
        attempt = document.worker.attempts,
    )
}

/// One claimed document.
pub(crate) struct Run {
    pub(crate) context: Context,
    /// As it was claimed.
    pub(crate) document: QueueDocument,
    pub(crate) key: AnalysisKey,
    /// The document's own word.
    pub(crate) run_type: String,
    pub(crate) lease: Lease,
    phase: watch::Sender<Phase>,
    addressee: Mutex<Option<Addressee>>,
}

impl Run {
    /// Holds a document whose claim began at `began`; heartbeats start.
    ///
    /// # Errors
    /// The reason why the document cannot be read, and its lease.
    pub(crate) fn hold(context: Context, document: QueueDocument, began: Instant) -> Result<Run, Box<Unreadable>> {
        let lease = Lease::keep(&context.heart, &document, &context.options.worker_id, began);
        let missing = |field: &str| format!("{field} is missing or of the wrong type");
        let read = || {
            let analysis_id = document.analysis_id().ok_or_else(|| missing("analysis_id"))?;
            let structure_id = document.structure_id().ok_or_else(|| missing("structure_id"))?;
            let run_type = document.run_type().ok_or_else(|| missing("type"))?.to_owned();
            Ok((AnalysisKey { structure_id, analysis_id }, run_type))
        };
        match read() {
            Err(reason) => Err(Box::new(Unreadable { context, document, reason, lease })),
            Ok((key, run_type)) => Ok(Run {
                context,
                document,
                key,
                run_type,
                lease,
                phase: watch::Sender::new(Phase::Working),
                addressee: Mutex::new(None),
            }),
        }
    }

    /// What a mark of this run writes, and what its later writes to the analysis look for.
    pub(crate) fn mark(&self) -> Mark {
        let Own { id, fence } = self.lease.own();
        Mark { queue_id: id, fence, run_type: self.run_type.clone() }
    }

    /// `_id` of the queue document.
    pub(crate) fn id(&self) -> &Id {
        &self.document.id
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Waits for `step` as long as the document is held.
    pub(crate) async fn held<T>(&self, step: impl Future<Output = StoreResult<T>>) -> Result<T, Halt> {
        tokio::select! {
            biased;
            end = self.lease.ended() => Err(end.into()),
            answer = self.context.here(step) => answer,
        }
    }

    /// Waits for something else than a store as long as the document is held.
    pub(crate) async fn wait(&self, event: impl Future<Output = ()>) -> Result<(), Halt> {
        self.held(async {
            event.await;
            Ok(())
        })
        .await
    }

    /// Holds what there is until the document surely is still ours: while the last heartbeat that matched began more
    /// than three quarters of a lease ago, for the next one.
    pub(crate) async fn be_sure(&self) -> Result<(), Halt> {
        while !self.lease.is_sure() {
            self.wait(self.lease.next_heartbeat()).await?;
        }
        Ok(())
    }

    /// Calls the queue for the own document, again and again while it is held.
    pub(crate) async fn queue<T: Send + 'static, F>(
        &self,
        doing: &'static str,
        operation: impl Fn(Arc<dyn RunQueue>, Own) -> F,
    ) -> Result<T, Halt>
    where
        F: Future<Output = StoreResult<T>> + Send + 'static,
    {
        let call = || operation(self.context.stores.queue.clone(), self.lease.own());
        self.held(self.context.retry.call(mongodb(doing), call)).await
    }

    /// Calls the queue, the analyses or the structures, again and again.
    pub(crate) async fn call<T: Send + 'static, F>(
        &self,
        doing: &'static str,
        operation: impl Fn(Stores, AnalysisKey) -> F,
    ) -> StoreResult<T>
    where
        F: Future<Output = StoreResult<T>> + Send + 'static,
    {
        let call = || operation(self.context.stores.clone(), self.key.clone());
        self.context.retry.call(mongodb(doing), call).await
    }

    /// The own document as it is now; a halt if it is gone or somebody else's.
    pub(crate) async fn find(&self) -> Result<QueueDocument, Halt> {
        let find = |queue: Arc<dyn RunQueue>, own: Own| async move {
            match queue.find_own(&own).await? {
                Some(document) => Ok(Ok(document)),
                None if queue.find(&own.id).await?.is_some() => Ok(Err(Halt::Lost)),
                None => Ok(Err(Halt::Gone)),
            }
        };
        self.queue("read the own queue document", find).await?
    }

    /// The analysis as it is now.
    pub(crate) async fn find_analysis(&self) -> Result<Option<Analysis>, Halt> {
        let find = |stores: Stores, key: AnalysisKey| async move { stores.analyses.find(&key).await };
        self.held(self.call("read the analysis", find)).await
    }

    /// Learns whom messages go to: tenant and user of the analysis, or else the tenant of the structure.
    pub(crate) async fn learn_addressee(&self, analysis: Option<&Analysis>) {
        let Some(user_id) = analysis.and_then(Analysis::user_id) else { return };
        let tenant_id = match analysis.and_then(Analysis::tenant_id) {
            Some(tenant_id) => Some(tenant_id),
            None => {
                let structure =
                    |stores: Stores, key: AnalysisKey| async move { stores.catalog.structure(&key.structure_id).await };
                let found = self.held(self.call("read the structure", structure)).await;
                found.ok().flatten().and_then(|structure| structure.tenant_id)
            }
        };
        let addressee = tenant_id.map(|tenant_id| Addressee { tenant_id, user_id });
        *self.addressee.lock().unwrap_or_else(PoisonError::into_inner) = addressee;
    }

    /// The message about a status; `None`: nobody to send it to.
    pub(crate) fn message(&self, status: Status) -> Option<StatusMessage> {
        let addressee = (*self.addressee.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(StatusMessage {
            tenant_id: addressee.tenant_id,
            user_id: addressee.user_id,
            document_id: self.key.analysis_id.to_string(),
            run_type: self.run_type.clone(),
            status,
        })
    }

    /// Leaves the document to whoever holds it now, or to its lease.
    pub(crate) fn leave(&self, halt: &Halt) {
        match halt {
            Halt::Lost | Halt::Gone => {
                tracing::warn!("run lost to another worker");
                self.context.count(|counts| counts.lost += 1);
            }
            Halt::Store(_) | Halt::Leaving => {
                tracing::error!(?halt, "run left to its lease");
                self.context.count(|counts| counts.abandoned += 1);
            }
        }
    }

    /// An outcome under the own fence.
    pub(crate) fn outcome(&self, status: Status) -> Outcome {
        Outcome { status, fence: self.lease.own().fence, results: None, error: None }
    }
}

/// A claimed document that no run can be made of.
pub(crate) struct Unreadable {
    pub(crate) context: Context,
    pub(crate) document: QueueDocument,
    pub(crate) reason: String,
    pub(crate) lease: Lease,
}
