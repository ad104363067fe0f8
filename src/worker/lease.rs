//! The lease of one claimed document: heartbeats that keep it, and what the worker may do by its own clock.
//!
//! A claim holds for `lease` after the last heartbeat. Heartbeats go out every lease/4 from a [`Heart`], which in
//! production has a thread, a runtime and a connection of its own, so that a computation on every core cannot starve
//! it. All limits here are measured from the moment at which the last matched heartbeat *began*, which is before the
//! store's clock read its time, so they end before the lease does; a store's clock that steps forward by more than a
//! quarter of a lease breaks that.

use super::retry::{Retry, bounded, mongodb};
use crate::model::run::Status;
use crate::stores::documents::{Own, QueueDocument};
use crate::stores::{RunQueue, StoreError, StoreErrorKind, StoreResult};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

/// Where heartbeats come from.
#[derive(Clone)]
pub struct Heart {
    queue: Arc<dyn RunQueue>,
    runtime: Handle,
    /// Ends the thread, if there is one, with the last clone.
    _thread: Option<Arc<DropGuard>>,
}

impl Heart {
    /// A heart in the caller's runtime: for tests, and where nothing competes for the cores.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn here(queue: Arc<dyn RunQueue>) -> Heart {
        Heart { queue, runtime: Handle::current(), _thread: None }
    }

    /// Runs `pulse` where the heartbeats come from, for as long as they may.
    pub(crate) fn pulse(&self, pulse: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(pulse);
    }

    /// A heart on a thread of its own, with a connection that `open` makes in that thread's runtime.
    ///
    /// # Errors
    /// [`StoreError`] if the thread cannot be started or `open` fails.
    pub async fn on_own_thread<F>(open: impl FnOnce() -> F + Send + 'static) -> StoreResult<Heart>
    where
        F: Future<Output = StoreResult<Arc<dyn RunQueue>>>,
    {
        let doing = "start the heartbeat thread";
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (ready, opened) = tokio::sync::oneshot::channel();
        let beat = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(StoreError::unavailable(doing, error)))),
            };
            runtime.block_on(async {
                let opened = open().await.map(|queue| (queue, Handle::current()));
                if ready.send(opened).is_ok() {
                    stopped.cancelled().await;
                }
            });
        };
        let thread = std::thread::Builder::new().name("heartbeat".into()).spawn(beat);
        thread.map_err(|error| StoreError::unavailable(doing, error))?;
        let died = |_| StoreError::new(StoreErrorKind::Unavailable, doing, "the thread ended");
        let (queue, runtime) = opened.await.map_err(died)??;
        Ok(Heart { queue, runtime, _thread: Some(Arc::new(stop.drop_guard())) })
    }
}

/// How a lease can end while it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Somebody else holds the document: write nothing.
    Lost,
    /// The document was deleted: withdraw.
    Gone,
}

struct Shared {
    own: Mutex<Own>,
    worker_id: String,
    length: Duration,
    /// When the last call that surely renewed the lease began.
    confirmed: watch::Sender<Instant>,
    end: watch::Sender<Option<End>>,
    /// Held by a heartbeat or a change of the fence, so that no heartbeat goes out with a fence that is being changed.
    turn: tokio::sync::Mutex<()>,
}

/// A held document. Dropping it stops the heartbeats.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    _beats: AbortOnDropHandle<()>,
}

impl Lease {
    /// The lease of a document whose claim began at `began`.
    pub(crate) fn keep(heart: &Heart, document: &QueueDocument, worker_id: &str, began: Instant) -> Lease {
        let shared = Arc::new(Shared {
            own: Mutex::new(Own { id: document.id.clone(), fence: document.worker.fence }),
            worker_id: worker_id.to_owned(),
            length: Duration::from_millis(u64::try_from(document.worker.lease_ms).unwrap_or(0)),
            confirmed: watch::Sender::new(began),
            end: watch::Sender::new(None),
            turn: tokio::sync::Mutex::new(()),
        });
        let beats = heart.runtime.spawn(beat(heart.queue.clone(), shared.clone()).in_current_span());
        Lease { shared, _beats: AbortOnDropHandle::new(beats) }
    }

    /// The filter OWN.
    pub(crate) fn own(&self) -> Own {
        self.shared.own()
    }

    /// Length of the lease.
    pub(crate) fn length(&self) -> Duration {
        self.shared.length
    }

    /// A call that renews as a heartbeat does began at `began` and matched.
    pub(crate) fn renewed(&self, began: Instant) {
        self.shared.confirmed.send_replace(began);
    }

    /// Whether a message may be sent now: half a lease for the decision and a quarter for the sending leave a quarter.
    pub(crate) fn may_send(&self) -> bool {
        self.shared.confirmed.borrow().elapsed() < self.shared.length / 2
    }

    /// Whether the lease holds with a quarter to spare.
    pub(crate) fn is_sure(&self) -> bool {
        self.shared.confirmed.borrow().elapsed() < self.shared.length * 3 / 4
    }

    /// Waits until the lease has ended.
    pub(crate) async fn ended(&self) -> End {
        let mut end = self.shared.end.subscribe();
        loop {
            if let Some(end) = *end.borrow_and_update() {
                return end;
            }
            if end.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits for the next heartbeat that matches.
    pub(crate) async fn next_heartbeat(&self) {
        let mut confirmed = self.shared.confirmed.subscribe();
        confirmed.mark_unchanged();
        if confirmed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Changes the fence under LIVE. `Ok(false)`: the document is not held any more.
    pub(crate) async fn raise(&self, queue: &Arc<dyn RunQueue>, retry: &Retry, fence: i64) -> StoreResult<bool> {
        let _turn = self.shared.turn.lock().await;
        let own = self.own();
        let raise = || {
            let (queue, own) = (queue.clone(), own.clone());
            async move { queue.raise(&own, fence).await }
        };
        let matched = retry.call(mongodb("raise the fence"), raise).await?;
        let find = || {
            let (queue, id) = (queue.clone(), own.id.clone());
            async move { queue.find(&id).await }
        };
        // An earlier try may have come through although its answer was lost.
        let raised = |document: QueueDocument| {
            document.worker.fence == fence && document.worker.id.as_ref() == Some(&self.shared.worker_id)
        };
        let held = matched || retry.call(mongodb("re-read a raised document"), find).await?.is_some_and(raised);
        if held {
            self.shared.own.lock().unwrap_or_else(PoisonError::into_inner).fence = fence;
        }
        Ok(held)
    }
}

impl Shared {
    fn own(&self) -> Own {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sends heartbeats until the lease has ended or was given up by its holder.
async fn beat(queue: Arc<dyn RunQueue>, shared: Arc<Shared>) {
    let quarter = shared.length / 4;
    let mut next = *shared.confirmed.borrow() + quarter;
    loop {
        tokio::time::sleep_until(next).await;
        let _turn = shared.turn.lock().await;
        let (due, began) = (next, Instant::now());
        next = began + quarter;
        let (own, for_heartbeat) = (shared.own(), queue.clone());
        match bounded(mongodb("heartbeat"), quarter, async move { for_heartbeat.heartbeat(&own).await }).await {
            Ok(true) => {
                metrics::histogram!("oma_heartbeat_lag_seconds").record((Instant::now() - due).as_secs_f64());
                shared.confirmed.send_replace(began);
            }
            Ok(false) => match judge(&queue, &shared, quarter).await {
                Judgement::Goes => {}
                Judgement::GivenUp => return,
                Judgement::Ended(end) => {
                    shared.end.send_replace(Some(end));
                    return;
                }
            },
            Err(error) => tracing::debug!(error = %error, "heartbeat failed"),
        }
    }
}

enum Judgement {
    Goes,
    GivenUp,
    Ended(End),
}

/// Why a heartbeat did not match.
async fn judge(queue: &Arc<dyn RunQueue>, shared: &Shared, limit: Duration) -> Judgement {
    let (queue, own) = (queue.clone(), shared.own());
    let look = async move {
        match queue.find_own(&own).await? {
            Some(document) if document.has_status(Status::Running) => Ok(Judgement::Goes),
            // Released or handed back by this worker itself.
            Some(_) => Ok(Judgement::GivenUp),
            None if queue.find(&own.id).await?.is_some() => Ok(Judgement::Ended(End::Lost)),
            None => Ok(Judgement::Ended(End::Gone)),
        }
    };
    bounded(mongodb("re-read after a heartbeat"), limit, look).await.unwrap_or_else(|error| {
        tracing::debug!(error = %error, "no answer why a heartbeat did not match");
        Judgement::Goes
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::documents::Id;

    /// A lease of a minute without heartbeats, claimed now.
    fn lease() -> Lease {
        let shared = Shared {
            own: Mutex::new(Own { id: Id::fresh(), fence: 1 }),
            worker_id: "w".into(),
            length: Duration::from_secs(60),
            confirmed: watch::Sender::new(Instant::now()),
            end: watch::Sender::new(None),
            turn: tokio::sync::Mutex::new(()),
        };
        Lease { shared: Arc::new(shared), _beats: AbortOnDropHandle::new(tokio::spawn(std::future::pending())) }
    }

    #[tokio::test(start_paused = true)]
    async fn messages_may_go_for_half_a_lease() {
        let lease = lease();
        tokio::time::advance(Duration::from_millis(29_999)).await;
        assert!(lease.may_send());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!lease.may_send());
        lease.renewed(Instant::now() - Duration::from_secs(29));
        assert!(lease.may_send());
        lease.renewed(Instant::now() - Duration::from_secs(30));
        assert!(!lease.may_send());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_sure_for_three_quarters_of_it() {
        let lease = lease();
        tokio::time::advance(Duration::from_millis(44_999)).await;
        assert!(lease.is_sure());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!lease.is_sure());
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_lease_reaches_who_waits_for_it_before_and_after() {
        let lease = lease();
        let end = lease.shared.clone();
        tokio::spawn(async move { end.end.send_replace(Some(End::Gone)) });
        assert_eq!(lease.ended().await, End::Gone);
        assert_eq!(lease.ended().await, End::Gone);
    }
}
