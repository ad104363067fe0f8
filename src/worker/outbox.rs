//! The sender of a document's messages: one a document, beside the work, from mark to deletion.
//!
//! Messages of one analysis must arrive in the order of its statuses although workers pause, die and lose answers.
//! Three rules see to that: the document's `unsent` is sent from its head and each entry pulled by its value; nothing
//! is sent while an earlier run of the analysis still has messages; and nothing is sent unless the last matched
//! heartbeat began less than half a lease ago, each send being bounded by a quarter.

use super::retry::{bounded, kafka, mongodb};
use super::run::{Halt, Phase, Run};
use crate::model::run::{Status, StatusMessage};
use crate::stores::documents::Outcome;
use crate::stores::{StoreResult, Stores};
use std::sync::Arc;
use std::time::Duration;

/// What keeps the sender from going on.
enum Blocked {
    /// By nothing: it is through.
    Through,
    /// By this pause.
    Pause(Duration),
    /// By the run itself: wait for its next phase.
    Phase,
    /// By the clock: wait for the next heartbeat.
    Heartbeat,
}

/// Sends what is in the outbox until the document is deleted, offered or lost.
pub(crate) async fn deliver(run: Arc<Run>) {
    let mut phases = run.phase();
    let mut failures = 0;
    loop {
        let phase = *phases.borrow_and_update();
        let blocked = match step(&run, phase, &mut failures).await {
            Ok(None) => continue,
            Ok(Some(blocked)) => blocked,
            Err(Halt::Lost | Halt::Gone | Halt::Leaving) => return,
            Err(Halt::Store(error)) => {
                tracing::warn!(error = %error, "outbox is not to be read for now");
                failures += 1;
                Blocked::Pause(run.context.retry.wait(failures))
            }
        };
        let waited = match blocked {
            Blocked::Through => return,
            Blocked::Pause(pause) => run.wait(tokio::time::sleep(pause)).await,
            Blocked::Phase => run.wait(async { drop(phases.changed().await) }).await,
            Blocked::Heartbeat => run.wait(run.lease.next_heartbeat()).await,
        };
        if waited.is_err() {
            return;
        }
    }
}

/// Sends and pulls one message, or says why not; `None`: go on at once.
async fn step(run: &Run, phase: Phase, failures: &mut u32) -> Result<Option<Blocked>, Halt> {
    let document = run.find().await?;
    let outcome = document.worker.outcome.as_ref();
    if phase == Phase::Working && outcome.is_some() {
        return Ok(Some(Blocked::Phase));
    }
    let Some(entry) = document.worker.unsent.first().copied() else {
        return finish(run, phase).await;
    };
    let fence = outcome.map_or(run.lease.own().fence, |outcome| outcome.fence);
    if has_earlier_outcome(run, fence).await? {
        // It usually has one message left: a look soon, then seldom.
        *failures += 1;
        return Ok(Some(Blocked::Pause(run.context.retry.wait(*failures).min(run.lease.length() / 8))));
    }
    match run.message(entry.status) {
        None => {
            tracing::warn!(status = %entry.status, "no tenant or user to tell");
            run.context.count(|counts| counts.messages_without_addressee += 1);
        }
        Some(_) if !run.lease.may_send() && matches!(phase, Phase::Released(_)) => {
            // No heartbeat will come any more: the next claimer sends the rest.
            return Ok(Some(Blocked::Through));
        }
        Some(_) if !run.lease.may_send() => return Ok(Some(Blocked::Heartbeat)),
        Some(message) => {
            if let Err(error) = send(run, message).await {
                tracing::warn!(error = %error, "status message not sent, is repeated");
                *failures += 1;
                return Ok(Some(Blocked::Pause(run.context.retry.wait(*failures))));
            }
        }
    }
    *failures = 0;
    run.queue("pull a sent message", |queue, own| async move { queue.pull(&own, &entry).await }).await?;
    Ok(None)
}

/// The outbox is empty.
async fn finish(run: &Run, phase: Phase) -> Result<Option<Blocked>, Halt> {
    match phase {
        Phase::Working => Ok(Some(Blocked::Phase)),
        Phase::Settled => {
            let deleted =
                run.queue("delete the settled document", |queue, own| async move { queue.delete(&own).await });
            Ok(deleted.await?.then_some(Blocked::Through))
        }
        Phase::Released(wait) => {
            run.queue("offer the released document", |queue, own| async move { queue.offer(&own, wait).await }).await?;
            Ok(Some(Blocked::Through))
        }
    }
}

async fn has_earlier_outcome(run: &Run, fence: i64) -> Result<bool, Halt> {
    let analysis_id = run.key.analysis_id.clone();
    let look = |stores: Stores, _| {
        let (analysis_id, id) = (analysis_id.clone(), run.id().clone());
        async move { stores.queue.earlier_outcome(&analysis_id, &id, fence).await }
    };
    run.held(run.call("look for earlier runs of the analysis", look)).await
}

/// Sends one message. Waits a little longer than the store may take, so that nothing is still on its way afterwards.
async fn send(run: &Run, message: StatusMessage) -> StoreResult<()> {
    let statuses = run.context.stores.statuses.clone();
    let within = run.lease.length() / 4;
    let limit = within + within / 8;
    bounded(kafka("send a status message"), limit, async move { statuses.send(&message, within).await }).await
}

/// Sends the last message of a withdrawn run while the rules allow it; afterwards somebody else may hold the analysis.
pub(crate) async fn send_withdrawal(run: &Run, outcome: &Outcome) {
    let Some(message) = run.message(outcome.status) else { return };
    let mut failures = 0;
    while run.lease.may_send() {
        let (analysis_id, id, fence) = (run.key.analysis_id.clone(), run.id().clone(), outcome.fence);
        let queue = run.context.stores.queue.clone();
        let look = async move { queue.earlier_outcome(&analysis_id, &id, fence).await };
        let earlier = run.context.retry.once(mongodb("look for earlier runs of the analysis"), look).await;
        if matches!(earlier, Ok(false)) && run.lease.may_send() && send(run, message.clone()).await.is_ok() {
            return;
        }
        tokio::time::sleep(run.context.retry.wait(failures)).await;
        failures += 1;
    }
    let status: Status = outcome.status;
    tracing::warn!(%status, "the withdrawn run's message could not be sent in time");
    run.context.count(|counts| counts.messages_unsent += 1);
}
