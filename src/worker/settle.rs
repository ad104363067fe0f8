//! Steps 5 and 6 and their relatives: commit, settle, release, withdraw.

use super::run::{Halt, Phase, Run};
use crate::model::run::Status;
use crate::stores::Stores;
use crate::stores::documents::{AnalysisKey, Outcome, QueueDocument};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

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

/// Decides the end of the run. The outcome that stands may be another one: that of an earlier try.
pub(crate) async fn commit(run: &Run, outcome: &Outcome) -> Result<Outcome, Halt> {
    loop {
        let write = |queue: std::sync::Arc<dyn crate::stores::RunQueue>, own| {
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
    run.call("settle the analysis", write).await.map_err(Halt::Store)?;
    run.enter(Phase::Settled);
    Ok(())
}

/// Goes on with a document that was found with an outcome.
pub(crate) async fn settle_claimed(run: &Run, document: &QueueDocument) -> Result<(), Halt> {
    let Some(outcome) = &document.worker.outcome else { return Ok(()) };
    let analysis = run.find_analysis().await?;
    run.learn_addressee(analysis.as_ref()).await;
    settle(run, outcome).await
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
    run.call("release the analysis", write).await.map_err(Halt::Store)?;
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
    if !run.call("withdraw the analysis", write).await.map_err(Halt::Store)? {
        return Ok(());
    }
    tracing::info!(analysis = %run.key.analysis_id, status = %outcome.status, "run withdrawn, its document was deleted");
    run.context.count(|counts| counts.withdrawn += 1);
    super::outbox::send_withdrawal(run, &outcome).await;
    let free = |stores: Stores, key: AnalysisKey| {
        let mark = mark.clone();
        async move { stores.analyses.free(&key, &mark).await }
    };
    run.call("free the withdrawn analysis", free).await.map_err(Halt::Store)?;
    Ok(())
}
