//! Steps 5 and 6 and their relatives: commit, settle, release, withdraw.

use super::retry::mongodb;
use super::run::{self, Context, Halt, Phase, Run};
use super::{mark, outbox};
use crate::model::run::Status;
use crate::stores::documents::{AnalysisKey, Outcome, Own, QueueDocument};
use crate::stores::{RunQueue, Stores};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument;

/// What the own document says after a write that did not match.
enum Reread {
    /// Nothing happened yet: once more.
    Live,
    Committed(Outcome),
    Queued,
}

async fn reread(run: &Run) -> Result<Reread, Halt> {
    let document = run.find().await?;
    let is_queued = document.has_status(Status::Queued);
    let is_running = document.has_status(Status::Running);
    match document.worker.outcome {
        Some(outcome) => Ok(Reread::Committed(outcome)),
        None if is_running => Ok(Reread::Live),
        None if is_queued => Ok(Reread::Queued),
        None => Err(Halt::Lost),
    }
}

/// Decides the end of the run. The outcome that stands may be another one: that of an earlier try. However long the
/// queue is down, what was computed is kept for it.
pub(crate) async fn commit(run: &Run, outcome: &Outcome) -> Result<Outcome, Halt> {
    loop {
        match try_commit(run, outcome).await {
            Err(Halt::Store(error)) if error.is_transient() => {
                tracing::warn!(error = %error, "commit waits for the queue");
                run.wait(run.lease.next_heartbeat()).await?;
            }
            decided => return decided,
        }
    }
}

async fn try_commit(run: &Run, outcome: &Outcome) -> Result<Outcome, Halt> {
    loop {
        let write = |queue: Arc<dyn RunQueue>, own: Own| {
            let outcome = outcome.clone();
            async move { queue.commit(&own, &outcome).await }
        };
        if run.queue("commit", write).await? {
            return Ok(outcome.clone());
        }
        match reread(run).await? {
            Reread::Committed(outcome) => return Ok(outcome),
            Reread::Live => {}
            Reread::Queued => return Err(Halt::Lost),
        }
    }
}

/// Brings the outcome to the analysis; from then on the sender may send the last message and delete the document.
pub(crate) async fn settle(run: &Run, outcome: &Outcome) -> Result<(), Halt> {
    // Not under the lease: whoever holds the document now writes the same.
    let write = |stores: Stores, key: AnalysisKey| {
        let (id, run_type, outcome) = (run.id().clone(), run.run_type.clone(), outcome.clone());
        async move { stores.analyses.settle(&key, &id, &run_type, &outcome).await }
    };
    run.context.here(run.call("settle the analysis", write)).await?;
    run.enter(Phase::Settled);
    Ok(())
}

/// What a release came to.
pub(crate) enum Released {
    Yes,
    /// The run had been committed before.
    Committed(Outcome),
}

/// Gives the run back to the queue, for others to claim after `wait`.
pub(crate) async fn release(run: &Run, wait: Duration) -> Result<Released, Halt> {
    let first = Instant::now();
    let last = Mutex::new(first);
    loop {
        let matched = run
            .queue("release", |queue, own| {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                async move { queue.release(&own, wait).await }
            })
            .await?;
        let began = match matched {
            true => *last.lock().unwrap_or_else(PoisonError::into_inner),
            false => match reread(run).await? {
                Reread::Committed(outcome) => return Ok(Released::Committed(outcome)),
                Reread::Live => continue,
                // One of the tries came through; not known which, so the first counts.
                Reread::Queued => first,
            },
        };
        run.lease.renewed(began);
        break;
    }
    let mark = run.mark();
    let write = |stores: Stores, key: AnalysisKey| {
        let mark = mark.clone();
        async move { stores.analyses.release(&key, &mark).await }
    };
    run.context.here(run.call("release the analysis", write)).await?;
    run.enter(Phase::Released(wait));
    run.context.count(|counts| counts.released += 1);
    Ok(Released::Yes)
}

/// The document was deleted by the API: the analysis ends as ABORTED, or with the outcome that was tried to commit.
pub(crate) async fn withdraw(run: &Run, tried: Option<Outcome>) -> Result<(), Halt> {
    let outcome = tried.unwrap_or_else(|| run.outcome(Status::Aborted));
    let mark = run.mark();
    let write = |stores: Stores, key: AnalysisKey| {
        let (mark, outcome) = (mark.clone(), outcome.clone());
        async move { stores.analyses.withdraw(&key, &mark, &outcome).await }
    };
    if !run.context.here(run.call("withdraw the analysis", write)).await? {
        return Ok(());
    }
    tracing::info!(status = %outcome.status, "run withdrawn, its document was deleted");
    run.context.count(|counts| counts.withdrawn += 1);
    outbox::send_withdrawal(run, &outcome).await;
    let free = |stores: Stores, key: AnalysisKey| {
        let mark = mark.clone();
        async move { stores.analyses.free(&key, &mark).await }
    };
    run.context.here(run.call("free the withdrawn analysis", free)).await?;
    Ok(())
}

/// Claims what dead workers left committed and settles it, one task a document, so that none waits for another; counts
/// in `settling` how many there are.
pub(crate) async fn settle_left_behind(context: Context, settling: Arc<AtomicUsize>) {
    let mut tasks = JoinSet::new();
    let mut failures = 0;
    while !context.shutdown.is_requested() {
        while tasks.try_join_next().is_some() {}
        let began = Instant::now();
        let (queue, claimant) = (context.stores.queue.clone(), context.claimant());
        let claim = async move { queue.claim_settling(&claimant).await };
        let pause = match context.retry.once(mongodb("claim for settling"), claim).await {
            Ok(Some(document)) => {
                failures = 0;
                settling.fetch_add(1, Ordering::Relaxed);
                let (context, settling, span) = (context.clone(), settling.clone(), run::span(&document));
                let settle = async move {
                    settle_document(context, document, began).await;
                    settling.fetch_sub(1, Ordering::Relaxed);
                };
                tasks.spawn(settle.instrument(span));
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
            () = context.shutdown.requested() => {}
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Step 6 for a document that somebody else committed.
async fn settle_document(context: Context, document: QueueDocument, began: Instant) {
    let run = match Run::hold(context, document, began) {
        Ok(run) => Arc::new(run),
        Err(unreadable) => return mark::bury_unreadable(&unreadable).await,
    };
    match settle_claimed(&run).await {
        Ok(()) => {
            run.context.count(|counts| counts.settled += 1);
            outbox::deliver(run).await;
        }
        Err(halt) => run.leave(&halt),
    }
}

async fn settle_claimed(run: &Run) -> Result<(), Halt> {
    let Some(outcome) = &run.document.worker.outcome else { return Ok(()) };
    let analysis = run.find_analysis().await?;
    run.learn_addressee(analysis.as_ref()).await;
    settle(run, outcome).await
}
