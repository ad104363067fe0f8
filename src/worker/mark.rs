//! Step 2: the analysis becomes that of this run, or the document goes back, or to the dead letters.

use super::abort::{AtWork, Watch};
use super::lease::Lease;
use super::retry::mongodb;
use super::run::{Context, Halt, Run, Unreadable};
use crate::model::run::Status;
use crate::stores::documents::{Analysis, AnalysisKey, Holder, Own, QueueDocument, Unsent};
use crate::stores::{RunQueue, Stores};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What became of the attempt to take the analysis.
pub(crate) enum Marked<'a> {
    /// It is ours; as it was before. From the mark on aborts count.
    Held(Analysis, Watch<'a>),
    /// Another run of the analysis comes first.
    NotYet,
    /// There is no such analysis.
    Missing,
}

/// Takes the analysis.
pub(crate) async fn mark<'a>(run: &Run, at_work: &'a AtWork) -> Result<Marked<'a>, Halt> {
    // A holder whose document is gone, and since when that is known.
    let mut gone: Option<(Holder, Instant)> = None;
    loop {
        let Some(analysis) = run.find_analysis().await? else { return Ok(Marked::Missing) };
        let holder = analysis.holder();
        let is_ours = holder.queue_id.as_ref() == Some(run.id());
        if is_ours && holder.fence > Some(run.lease.own().fence) {
            return Err(Halt::Lost);
        }
        let mut take_over = false;
        if let (Some(other), false) = (holder.queue_id.clone(), is_ours) {
            let find = move |stores: Stores, _: AnalysisKey| {
                let other = other.clone();
                async move { stores.queue.find(&other).await }
            };
            if run.held(run.call("look for the holder of the analysis", find)).await?.is_some() {
                return Ok(Marked::NotYet);
            }
            // Its worker may still be about to withdraw: one lease for that.
            let since = match &gone {
                Some((seen, since)) if *seen == holder => *since,
                _ => Instant::now(),
            };
            if since.elapsed() <= run.lease.length() {
                gone = Some((holder, since));
                wait_until(run, since + run.lease.length()).await?;
                continue;
            }
            take_over = true;
        }
        if !is_ours && is_behind_an_older_one(run).await? {
            return Ok(Marked::NotYet);
        }
        if let (Some(fence), false) = (holder.fence, is_ours)
            && fence >= run.lease.own().fence
        {
            let raise = run.lease.raise(&run.context.stores.queue, &run.context.retry, fence.saturating_add(1));
            if !run.held(raise).await? {
                return Err(run.find().await.err().unwrap_or(Halt::Lost));
            }
        }
        // Also an abort that comes while the answer is on its way is one after the mark.
        let watch = at_work.watch(&run.key.analysis_id);
        if write_mark(run, take_over.then_some(holder)).await? {
            run.learn_addressee(Some(&analysis)).await;
            return Ok(Marked::Held(analysis, watch));
        }
        // Somebody wrote in between: from the top, at a pace that leaves the store some air.
        run.wait(tokio::time::sleep(run.context.retry.wait(0))).await?;
    }
}

async fn wait_until(run: &Run, time: Instant) -> Result<(), Halt> {
    // A lease is over once it has been exceeded, hence the millisecond.
    let end = time + Duration::from_millis(1);
    run.wait(tokio::time::sleep_until(end)).await
}

async fn is_behind_an_older_one(run: &Run) -> Result<bool, Halt> {
    let analysis_id = run.key.analysis_id.clone();
    let older = |queue: Arc<dyn RunQueue>, own: Own| {
        let analysis_id = analysis_id.clone();
        async move { queue.older_pending(&analysis_id, &own.id).await }
    };
    run.queue("look for older runs of the analysis", older).await
}

async fn write_mark(run: &Run, take_over_from: Option<Holder>) -> Result<bool, Halt> {
    let mark = run.mark();
    let write = |stores: Stores, key: AnalysisKey| {
        let (mark, read) = (mark.clone(), take_over_from.clone());
        async move {
            match read {
                Some(read) => stores.analyses.take_over(&key, &mark, &read).await,
                None => stores.analyses.mark(&key, &mark).await,
            }
        }
    };
    run.held(run.call("mark the analysis", write)).await
}

/// Gives the document back as if it had never been claimed.
pub(crate) async fn hand_back(run: &Run) -> Result<(), Halt> {
    let entry = Unsent { fence: run.document.worker.fence, status: Status::Running };
    let wait = run.context.options.sleep_time;
    let matched = run.queue("hand back", |queue, own| async move { queue.hand_back(&own, &entry, wait).await }).await?;
    // Not matched: an earlier try came through, or the document is somebody else's. Nothing to do in either case.
    tracing::debug!(matched, "handed back, another run of the analysis comes first");
    run.context.count(|counts| counts.handed_back += 1);
    Ok(())
}

/// Moves a document that no run can be made of to the dead letters.
pub(crate) async fn bury(context: &Context, document: &QueueDocument, lease: &Lease, reason: &str) -> Result<(), Halt> {
    tracing::warn!(reason, "queue document goes to the dead letters");
    let queue = &context.stores.queue;
    let bury = || {
        let (queue, document, reason) = (queue.clone(), document.clone(), reason.to_owned());
        async move { queue.bury(&document, &reason).await }
    };
    context.here(context.retry.call(mongodb("write a dead letter"), bury)).await?;
    let remove = || {
        let (queue, own) = (queue.clone(), lease.own());
        async move { queue.remove(&own).await }
    };
    context.here(context.retry.call(mongodb("remove a dead letter from the queue"), remove)).await?;
    context.count(|counts| counts.dead += 1);
    Ok(())
}

/// The same for a document that cannot even be read.
pub(crate) async fn bury_unreadable(unreadable: &Unreadable) {
    let Unreadable { context, document, reason, lease } = unreadable;
    if let Err(halt) = bury(context, document, lease, reason).await {
        tracing::warn!(?halt, "dead letter left to the next claimer");
    }
}
