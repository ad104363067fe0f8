//! The single-document operations of the write protocol as pure functions on a document: a filter and a change.
//!
//! Each returns whether the filter matched and, if so, has made the change; `now` is the store's clock in ms. A store
//! that holds documents itself applies them under its own lock; a server's store says the same in the server's
//! language and is held to it by the contract suite. The promises are those of the methods of the same name in
//! [`RunQueue`](super::RunQueue) and [`Analyses`](super::Analyses).

use super::Mark;
use super::documents::{Analysis, Claimant, Date, Holder, Id, Outcome, Own, QueueDocument, Unsent};
use crate::model::run::{RunType, Status};
use serde_json::{Map, Value, json};
use std::str::FromStr;
use std::time::Duration;

fn ms(wait: Duration) -> i64 {
    i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)
}

fn after(now: i64, wait_ms: i64) -> Option<Date> {
    Some(Date(now.saturating_add(wait_ms)))
}

fn set_queue_status(document: &mut QueueDocument, status: Status) {
    document.body.insert("status".into(), status.as_str().into());
}

/// The filter LIVE.
fn is_live(document: &QueueDocument, own: &Own) -> bool {
    document.is_own(own) && document.has_status(Status::Running) && document.worker.outcome.is_none()
}

/// The filter EXPIRED. Without the guard "is a date", a RUNNING document that no worker holds would count as expired.
fn is_expired(document: &QueueDocument, now: i64) -> bool {
    document.worker.heartbeat_at.is_some_and(|at| at.0.saturating_add(document.worker.lease_ms) < now)
}

/// Whether a worker may take the document for work.
pub fn is_claimable(document: &QueueDocument, now: i64) -> bool {
    let waits = document.worker.not_before.is_some_and(|at| at.0 > now);
    let queued = document.has_status(Status::Queued) && !waits;
    let left = document.has_status(Status::Running) && document.worker.outcome.is_none() && is_expired(document, now);
    queued || left
}

/// Whether a worker may take the document to settle it.
pub fn is_claimable_for_settling(document: &QueueDocument, now: i64) -> bool {
    document.has_status(Status::Running) && document.worker.outcome.is_some() && is_expired(document, now)
}

fn hold(document: &mut QueueDocument, claimant: &Claimant, now: i64) {
    let worker = &mut document.worker;
    worker.fence = now.max(worker.fence.saturating_add(1));
    worker.id = Some(claimant.worker_id.clone());
    worker.host = Some(claimant.host.clone());
    worker.lease_ms = claimant.lease_ms;
    worker.heartbeat_at = Some(Date(now));
}

/// Claims for work.
pub fn claim(document: &mut QueueDocument, claimant: &Claimant, now: i64) -> bool {
    if !is_claimable(document, now) {
        return false;
    }
    hold(document, claimant, now);
    set_queue_status(document, Status::Running);
    let worker = &mut document.worker;
    worker.attempts += 1;
    worker.not_before = None;
    worker.unsent.push(Unsent { fence: worker.fence, status: Status::Running });
    true
}

/// Claims for settling.
pub fn claim_settling(document: &mut QueueDocument, claimant: &Claimant, now: i64) -> bool {
    let matched = is_claimable_for_settling(document, now);
    if matched {
        hold(document, claimant, now);
    }
    matched
}

/// Whether `document` is an older one of the same analysis that has yet to come to its end.
pub fn is_older_pending(document: &QueueDocument, id: &Id) -> bool {
    let alive = document.has_status(Status::Queued) || document.worker.heartbeat_at.is_some();
    document.id < *id && document.worker.outcome.is_none() && alive
}

/// Whether `document` is another one of the same analysis with an earlier outcome.
pub fn has_earlier_outcome(document: &QueueDocument, id: &Id, fence: i64) -> bool {
    document.id != *id && document.worker.outcome.as_ref().is_some_and(|outcome| outcome.fence < fence)
}

/// Raises the fence.
pub fn raise(document: &mut QueueDocument, own: &Own, fence: i64) -> bool {
    let matched = is_live(document, own);
    if matched {
        document.worker.fence = fence;
    }
    matched
}

/// Keeps the lease.
pub fn heartbeat(document: &mut QueueDocument, own: &Own, now: i64) -> bool {
    let matched = document.is_own(own) && document.has_status(Status::Running);
    if matched {
        document.worker.heartbeat_at = Some(Date(now));
    }
    matched
}

/// Gives the document back as if it had not been claimed.
pub fn hand_back(document: &mut QueueDocument, own: &Own, entry: &Unsent, wait: Duration, now: i64) -> bool {
    if !is_live(document, own) {
        return false;
    }
    set_queue_status(document, Status::Queued);
    document.worker.not_before = after(now, ms(wait));
    document.worker.attempts -= 1;
    document.worker.unsent.retain(|unsent| unsent != entry);
    true
}

/// Decides how the run ended.
pub fn commit(document: &mut QueueDocument, own: &Own, outcome: &Outcome) -> bool {
    let matched = is_live(document, own);
    if matched {
        document.worker.outcome = Some(outcome.clone());
        document.worker.unsent.push(Unsent { fence: outcome.fence, status: outcome.status });
    }
    matched
}

/// Takes a sent message out of the outbox.
pub fn pull(document: &mut QueueDocument, own: &Own, entry: &Unsent) -> bool {
    let matched = document.is_own(own);
    if matched {
        document.worker.unsent.retain(|unsent| unsent != entry);
    }
    matched
}

/// Gives a run that was told of back to the queue.
pub fn release(document: &mut QueueDocument, own: &Own, wait: Duration, now: i64) -> bool {
    if !is_live(document, own) {
        return false;
    }
    set_queue_status(document, Status::Queued);
    let worker = &mut document.worker;
    worker.not_before = after(now, ms(wait).max(worker.lease_ms));
    worker.attempts -= 1;
    worker.releases += 1;
    worker.unsent.push(Unsent { fence: worker.fence, status: Status::Queued });
    true
}

/// Lets others claim a released document.
pub fn offer(document: &mut QueueDocument, own: &Own, wait: Duration, now: i64) -> bool {
    let matched = document.is_own(own) && document.has_status(Status::Queued);
    if matched {
        document.worker.not_before = after(now, ms(wait));
    }
    matched
}

/// Whether nothing is left to do for the document.
pub fn is_deletable(document: &QueueDocument, own: &Own) -> bool {
    document.is_own(own) && document.worker.outcome.is_some() && document.worker.unsent.is_empty()
}

/// The object under `key`, made if there is none.
fn object<'a>(body: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = body.entry(key).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("made an object above")
}

fn body(analysis: &mut Analysis) -> &mut Map<String, Value> {
    if !analysis.body.is_object() {
        analysis.body = json!({});
    }
    analysis.body.as_object_mut().expect("made an object above")
}

/// Writes the status of the analysis and of the kind of run; only known kinds become a field's name.
fn set_analysis_status(analysis: &mut Analysis, run_type: &str, status: Status) {
    let body = body(analysis);
    body.insert("status".into(), status.as_str().into());
    if let Ok(known) = RunType::from_str(run_type) {
        object(body, "status_by_type").insert(known.as_str().into(), status.as_str().into());
    }
}

fn set_holder(analysis: &mut Analysis, fence: Option<i64>, queue_id: Option<&Id>) {
    let worker = object(body(analysis), "worker");
    worker.insert("fence".into(), json!(fence));
    worker.insert("queue_id".into(), json!(queue_id));
}

fn write_mark(analysis: &mut Analysis, mark: &Mark, now: i64) {
    set_analysis_status(analysis, &mark.run_type, Status::Running);
    body(analysis).insert("started_at".into(), json!(Date(now)));
    set_holder(analysis, Some(mark.fence), Some(&mark.queue_id));
}

/// What the API does when it queues a run: an analysis that is not at work is QUEUED.
pub fn enqueued(analysis: &mut Analysis) -> bool {
    let free = analysis.holder().queue_id.is_none();
    if free {
        body(analysis).insert("status".into(), Status::Queued.as_str().into());
    }
    free
}

/// Takes the analysis for a run.
pub fn mark(analysis: &mut Analysis, mark: &Mark, now: i64) -> bool {
    let holder = analysis.holder();
    let matched = match &holder.queue_id {
        None => holder.fence.is_none_or(|fence| fence < mark.fence),
        Some(queue_id) => *queue_id == mark.queue_id && holder.fence.is_none_or(|fence| fence <= mark.fence),
    };
    if matched {
        write_mark(analysis, mark, now);
    }
    matched
}

/// Takes the analysis from a holder that is gone.
pub fn take_over(analysis: &mut Analysis, mark: &Mark, read: &Holder, now: i64) -> bool {
    let matched = analysis.holder() == *read;
    if matched {
        write_mark(analysis, mark, now);
    }
    matched
}

fn write_outcome(analysis: &mut Analysis, run_type: &str, outcome: &Outcome, now: i64) {
    set_analysis_status(analysis, run_type, outcome.status);
    let body = body(analysis);
    if let (Some(result), Ok(known)) = (&outcome.results, RunType::from_str(run_type)) {
        object(body, "results").insert(known.as_str().into(), json!(result));
    }
    let error = outcome
        .error
        .as_ref()
        .map(|error| json!({"code": error.code, "message": error.message, "run_type": run_type, "at": Date(now)}));
    body.insert("error".into(), json!(error));
    body.insert("finished_at".into(), json!(Date(now)));
}

/// Brings the outcome to the analysis and frees it.
pub fn settle(analysis: &mut Analysis, queue_id: &Id, run_type: &str, outcome: &Outcome, now: i64) -> bool {
    let holder = analysis.holder();
    let matched = holder.queue_id.as_ref() == Some(queue_id);
    if matched {
        write_outcome(analysis, run_type, outcome, now);
        set_holder(analysis, holder.fence, None);
    }
    matched
}

fn is_held_by(analysis: &Analysis, mark: &Mark) -> bool {
    analysis.holder() == Holder { fence: Some(mark.fence), queue_id: Some(mark.queue_id.clone()) }
}

/// Puts a held analysis back to QUEUED; it stays held.
pub fn release_analysis(analysis: &mut Analysis, mark: &Mark) -> bool {
    let matched = is_held_by(analysis, mark);
    if matched {
        set_analysis_status(analysis, &mark.run_type, Status::Queued);
    }
    matched
}

/// Brings the outcome to a held analysis whose queue document is gone; it stays held.
pub fn withdraw(analysis: &mut Analysis, mark: &Mark, outcome: &Outcome, now: i64) -> bool {
    let matched = is_held_by(analysis, mark);
    if matched {
        write_outcome(analysis, &mark.run_type, outcome, now);
    }
    matched
}

/// Frees a held analysis.
pub fn free(analysis: &mut Analysis, mark: &Mark) -> bool {
    let matched = is_held_by(analysis, mark);
    if matched {
        set_holder(analysis, Some(mark.fence), None);
    }
    matched
}

/// Says how far the run is.
pub fn progress(analysis: &mut Analysis, mark: &Mark, stage: &str, fraction: f64) -> bool {
    let matched = is_held_by(analysis, mark);
    if matched {
        body(analysis).insert("progress".into(), json!({"stage": stage, "fraction": fraction}));
    }
    matched
}
