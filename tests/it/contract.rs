//! Every clause of every port's promise, one named test, against every implementation.
//!
//! A new implementation joins by a [`Bench`] (how a test puts documents into it and looks at them, behind the ports'
//! back) and one line `contract_suite!(name, TheBench::fresh)`.

use crate::support::memory_stores::{Event, Memory};
use async_trait::async_trait;
use futures::StreamExt;
use oma_worker::model::channel::Channel;
use oma_worker::model::run::{Status, StatusMessage};
use oma_worker::stores::documents::{
    AnalysisKey, Claimant, Date, Holder, Id, Outcome, Own, QueueDocument, RunError, Structure, Unsent,
};
use oma_worker::stores::embedded::Embedded;
use oma_worker::stores::{Mark, StoreErrorKind, Stores};
use serde_json::{Value, json};
use std::time::Duration;

/// An implementation under test.
#[async_trait]
trait Bench: Send + Sync {
    fn stores(&self) -> Stores;
    async fn put_queued(&self, id: &Id, body: Value);
    async fn queued(&self, id: &Id) -> Option<QueueDocument>;
    async fn put_analysis(&self, key: &AnalysisKey, body: Value);
    async fn put_structure(&self, body: Value);
    async fn put_channel(&self, mysql_id: i64, channel: &Channel);
    async fn put_measure(&self, mysql_id: i64, body: Value);
    async fn result(&self, structure_id: &Id, id: &Id) -> Option<Value>;
    async fn dead(&self) -> Vec<(Id, Value)>;
    async fn messages(&self) -> Vec<StatusMessage>;
    async fn broadcast(&self, payload: &[u8]);
}

struct EmbeddedBench {
    workspace: Embedded,
    _folder: tempfile::TempDir,
}

impl EmbeddedBench {
    async fn fresh() -> EmbeddedBench {
        let folder = tempfile::tempdir().unwrap();
        EmbeddedBench { workspace: Embedded::create(folder.path()).await.unwrap(), _folder: folder }
    }
}

fn with_id(id: &Id, mut body: Value) -> Value {
    body["_id"] = json!({"$oid": id});
    body
}

#[async_trait]
impl Bench for EmbeddedBench {
    fn stores(&self) -> Stores {
        self.workspace.stores()
    }
    async fn put_queued(&self, id: &Id, body: Value) {
        self.workspace.insert_queue_document(&with_id(id, body)).await.unwrap();
    }
    async fn queued(&self, id: &Id) -> Option<QueueDocument> {
        self.workspace.queue_documents().await.unwrap().into_iter().find(|document| document.id == *id)
    }
    async fn put_analysis(&self, key: &AnalysisKey, body: Value) {
        self.workspace.insert_analysis(&key.structure_id, &with_id(&key.analysis_id, body)).await.unwrap();
    }
    async fn put_structure(&self, body: Value) {
        self.workspace.insert_structure(&body).await.unwrap();
    }
    async fn put_channel(&self, mysql_id: i64, channel: &Channel) {
        self.workspace.insert_channel(mysql_id, channel).await.unwrap();
    }
    async fn put_measure(&self, mysql_id: i64, body: Value) {
        self.workspace.insert_measure(mysql_id, &body).await.unwrap();
    }
    async fn result(&self, structure_id: &Id, id: &Id) -> Option<Value> {
        self.workspace.result(structure_id, id).await.unwrap()
    }
    async fn dead(&self) -> Vec<(Id, Value)> {
        self.workspace.dead_letters().await.unwrap()
    }
    async fn messages(&self) -> Vec<StatusMessage> {
        self.workspace.status_messages().await.unwrap()
    }
    async fn broadcast(&self, payload: &[u8]) {
        self.workspace.broadcast(payload).await.unwrap();
    }
}

struct MemoryBench(Memory);

impl MemoryBench {
    async fn fresh() -> MemoryBench {
        MemoryBench(Memory::new())
    }
}

#[async_trait]
impl Bench for MemoryBench {
    fn stores(&self) -> Stores {
        self.0.stores()
    }
    async fn put_queued(&self, id: &Id, body: Value) {
        self.0.insert_queue_document(id, body);
    }
    async fn queued(&self, id: &Id) -> Option<QueueDocument> {
        self.0.state().queue.get(id).cloned()
    }
    async fn put_analysis(&self, key: &AnalysisKey, body: Value) {
        self.0.insert_analysis(key, body);
    }
    async fn put_structure(&self, body: Value) {
        self.0.state().structures.insert(Id::from_value(&body["_id"]).unwrap(), body);
    }
    async fn put_channel(&self, mysql_id: i64, channel: &Channel) {
        self.0.state().channels.entry(mysql_id).or_default().push(channel.clone());
    }
    async fn put_measure(&self, mysql_id: i64, body: Value) {
        self.0.state().measures.entry(mysql_id).or_default().push(body);
    }
    async fn result(&self, structure_id: &Id, id: &Id) -> Option<Value> {
        self.0.state().results.get(&(structure_id.clone(), id.clone())).cloned()
    }
    async fn dead(&self) -> Vec<(Id, Value)> {
        self.0.state().dead.clone().into_iter().collect()
    }
    async fn messages(&self) -> Vec<StatusMessage> {
        let sent = |event: &Event| match event {
            Event::Sent(message) => Some(message.clone()),
            _ => None,
        };
        self.0.state().log.iter().filter_map(sent).collect()
    }
    async fn broadcast(&self, payload: &[u8]) {
        self.0.broadcast(payload);
    }
}

/// Names each clause as a test of its own.
macro_rules! contract_suite {
    ($name:ident, $fresh:path) => {
        contract_suite!($name, $fresh,
            claim_takes_the_lowest_id
            claim_writes_all_that_it_promises
            claim_sets_a_fence_above_the_old_one
            claim_keeps_what_it_does_not_know
            claim_waits_for_not_before
            claim_takes_an_expired_run
            claim_leaves_a_run_whose_lease_holds
            claim_never_takes_a_run_without_a_date
            claim_never_takes_a_committed_run
            claim_settling_takes_only_committed_and_expired
            concurrent_claims_get_different_documents
            find_tells_what_is_there_and_whose
            older_pending_sees_older_runs_without_an_end
            earlier_outcome_goes_by_fence
            raise_needs_live
            heartbeat_needs_own_and_running
            hand_back_undoes_a_claim
            commit_happens_once
            commit_needs_the_fence
            pull_takes_exactly_the_entry
            release_keeps_others_away_for_a_lease
            release_needs_live
            offer_lets_others_claim
            delete_needs_an_outcome_and_an_empty_outbox
            a_dead_letter_is_copied_then_removed
            mark_takes_a_free_analysis_with_a_lower_fence
            mark_takes_its_own_analysis_again
            mark_leaves_what_another_one_holds
            mark_writes_status_and_holder
            mark_of_an_unknown_type_writes_no_field_of_that_name
            take_over_needs_the_holder_as_read
            settle_writes_the_outcome_once
            settle_clears_an_old_error
            release_of_an_analysis_keeps_it_held
            withdraw_writes_the_outcome_and_keeps_it_held
            free_needs_queue_id_and_fence
            progress_needs_queue_id_and_fence
            a_missing_analysis_matches_nothing
            a_result_is_replaced_under_its_id
            catalog_tells_structures_channels_and_measures
            objects_are_put_got_and_looked_at
            a_missing_object_is_none
            objects_are_listed_by_prefix_in_pages
            a_key_cannot_leave_its_bucket
            a_concurrent_put_is_seen_whole
            statuses_keep_their_order_and_their_words
            a_status_is_not_sent_too_late
            broadcasts_reach_every_subscriber_from_now_on
        );
    };
    ($name:ident, $fresh:path, $($clause:ident)*) => {
        mod $name {
            $(
                #[tokio::test]
                async fn $clause() {
                    super::$clause(&$fresh().await).await;
                }
            )*
        }
    };
}

contract_suite!(embedded, super::EmbeddedBench::fresh);
contract_suite!(memory, super::MemoryBench::fresh);

const LEASE: i64 = 60_000;

fn id(number: u64) -> Id {
    Id::from(format!("{number:024x}").as_str())
}

fn key() -> AnalysisKey {
    AnalysisKey { structure_id: id(0xa), analysis_id: id(0xb) }
}

fn claimant(worker_id: &str) -> Claimant {
    Claimant { worker_id: worker_id.into(), host: "here".into(), lease_ms: LEASE }
}

fn waiting() -> Value {
    json!({"status": "QUEUED", "structure_id": id(0xa), "analysis_id": id(0xb), "type": "SSI"})
}

/// A document with this status and worker part.
fn held(status: Status, worker: Value) -> Value {
    let mut body = waiting();
    body["status"] = json!(status);
    body["worker"] = worker;
    body
}

/// A run that a worker of fence 5 has, with a lease that ran out long ago.
fn expired() -> Value {
    json!({"fence": 5, "attempts": 1, "heartbeat_at": {"$date": 1000}, "lease_ms": LEASE, "unsent": []})
}

fn with(mut worker: Value, name: &str, value: Value) -> Value {
    worker[name] = value;
    worker
}

fn outcome(fence: i64, status: Status) -> Outcome {
    Outcome { status, fence, results: None, error: None }
}

async fn claimed(bench: &dyn Bench) -> (QueueDocument, Own) {
    let document = bench.stores().queue.claim(&claimant("w")).await.unwrap().unwrap();
    let own = Own { id: document.id.clone(), fence: document.worker.fence };
    (document, own)
}

/// One waiting document, claimed.
async fn one_claimed(bench: &dyn Bench) -> (QueueDocument, Own) {
    bench.put_queued(&id(1), waiting()).await;
    claimed(bench).await
}

async fn claim_takes_the_lowest_id(bench: &impl Bench) {
    for number in [3, 1, 2] {
        bench.put_queued(&id(number), waiting()).await;
    }
    for number in [1, 2, 3] {
        assert_eq!(claimed(bench).await.0.id, id(number));
    }
    assert_eq!(bench.stores().queue.claim(&claimant("w")).await.unwrap(), None);
}

async fn claim_writes_all_that_it_promises(bench: &impl Bench) {
    let worker = json!({"not_before": {"$date": 1000}, "attempts": 2, "unsent": [{"fence": 4, "status": "QUEUED"}]});
    bench.put_queued(&id(1), held(Status::Queued, worker)).await;
    let (document, own) = claimed(bench).await;
    assert_eq!(Some(&document), bench.queued(&id(1)).await.as_ref());
    assert!(document.has_status(Status::Running));
    let worker = document.worker;
    assert_eq!((worker.id.as_deref(), worker.host.as_deref()), (Some("w"), Some("here")));
    assert_eq!((worker.lease_ms, worker.attempts, worker.not_before), (LEASE, 3, None));
    assert_eq!(worker.heartbeat_at, Some(Date(worker.fence)));
    let expected = [Unsent { fence: 4, status: Status::Queued }, Unsent { fence: own.fence, status: Status::Running }];
    assert_eq!(worker.unsent, expected);
    assert_eq!(worker.outcome, None);
}

async fn claim_sets_a_fence_above_the_old_one(bench: &impl Bench) {
    let far = 9_000_000_000_000;
    bench.put_queued(&id(1), held(Status::Queued, json!({"fence": far}))).await;
    assert_eq!(claimed(bench).await.1.fence, far + 1);
}

async fn claim_keeps_what_it_does_not_know(bench: &impl Bench) {
    let mut body = held(Status::Queued, json!({"note": [1, 2]}));
    body["priority"] = json!({"level": 5});
    bench.put_queued(&id(1), body).await;
    let (document, _) = claimed(bench).await;
    assert_eq!(document.to_body()["priority"], json!({"level": 5}));
    assert_eq!(document.to_body()["worker"]["note"], json!([1, 2]));
    assert_eq!(bench.queued(&id(1)).await.unwrap().to_body()["worker"]["note"], json!([1, 2]));
}

async fn claim_waits_for_not_before(bench: &impl Bench) {
    let (probe, _) = one_claimed(bench).await;
    let now = probe.worker.fence;
    bench.put_queued(&id(2), held(Status::Queued, json!({"not_before": {"$date": now + 3_600_000}}))).await;
    bench.put_queued(&id(3), held(Status::Queued, json!({"not_before": {"$date": now - 1}}))).await;
    assert_eq!(claimed(bench).await.0.id, id(3));
    assert_eq!(bench.stores().queue.claim(&claimant("w")).await.unwrap(), None);
}

async fn claim_takes_an_expired_run(bench: &impl Bench) {
    bench.put_queued(&id(1), held(Status::Running, expired())).await;
    let (document, own) = claimed(bench).await;
    assert!(own.fence > 5);
    assert_eq!(document.worker.attempts, 2);
}

async fn claim_leaves_a_run_whose_lease_holds(bench: &impl Bench) {
    one_claimed(bench).await;
    assert_eq!(bench.stores().queue.claim(&claimant("v")).await.unwrap(), None);
}

async fn claim_never_takes_a_run_without_a_date(bench: &impl Bench) {
    let no_dates = [json!({}), with(expired(), "heartbeat_at", json!("1970-01-01T00:00:00Z"))];
    let also_none = [with(expired(), "heartbeat_at", json!(1000)), with(expired(), "heartbeat_at", Value::Null)];
    for (number, worker) in no_dates.into_iter().chain(also_none).enumerate() {
        bench.put_queued(&id(1 + number as u64), held(Status::Running, worker)).await;
    }
    let mut foreign = waiting();
    foreign["status"] = json!("RUNNING");
    bench.put_queued(&id(9), foreign).await;
    assert_eq!(bench.stores().queue.claim(&claimant("w")).await.unwrap(), None);
    assert_eq!(bench.stores().queue.claim_settling(&claimant("w")).await.unwrap(), None);
}

async fn claim_never_takes_a_committed_run(bench: &impl Bench) {
    let worker = with(expired(), "outcome", json!({"status": "DONE", "fence": 5}));
    bench.put_queued(&id(1), held(Status::Running, worker)).await;
    assert_eq!(bench.stores().queue.claim(&claimant("w")).await.unwrap(), None);
}

async fn claim_settling_takes_only_committed_and_expired(bench: &impl Bench) {
    let queue = bench.stores().queue;
    bench.put_queued(&id(1), waiting()).await;
    bench.put_queued(&id(2), held(Status::Running, expired())).await;
    assert_eq!(queue.claim_settling(&claimant("w")).await.unwrap(), None);
    let entry = json!([{"fence": 5, "status": "DONE"}]);
    let committed = with(with(expired(), "outcome", json!({"status": "DONE", "fence": 5})), "unsent", entry);
    bench.put_queued(&id(3), held(Status::Running, committed)).await;
    let document = queue.claim_settling(&claimant("w")).await.unwrap().unwrap();
    assert_eq!((document.id, document.worker.attempts), (id(3), 1));
    assert!(document.worker.fence > 5);
    assert_eq!(document.worker.unsent, [Unsent { fence: 5, status: Status::Done }]);
    assert_eq!(document.worker.outcome, Some(outcome(5, Status::Done)));
    assert_eq!(queue.claim_settling(&claimant("v")).await.unwrap(), None);
}

async fn concurrent_claims_get_different_documents(bench: &impl Bench) {
    for number in 0..16 {
        bench.put_queued(&id(number), waiting()).await;
    }
    let claims = (0..16).map(|number| {
        let queue = bench.stores().queue;
        tokio::spawn(async move { queue.claim(&claimant(&number.to_string())).await.unwrap().unwrap().id })
    });
    let mut ids: Vec<Id> = futures::future::try_join_all(claims).await.unwrap();
    ids.sort();
    assert_eq!(ids, (0..16).map(id).collect::<Vec<_>>());
}

async fn find_tells_what_is_there_and_whose(bench: &impl Bench) {
    let queue = bench.stores().queue;
    assert_eq!(queue.find(&id(1)).await.unwrap(), None);
    let (document, own) = one_claimed(bench).await;
    assert_eq!(queue.find(&id(1)).await.unwrap(), Some(document.clone()));
    assert_eq!(queue.find_own(&own).await.unwrap(), Some(document));
    assert_eq!(queue.find_own(&Own { fence: own.fence - 1, ..own }).await.unwrap(), None);
}

async fn older_pending_sees_older_runs_without_an_end(bench: &impl Bench) {
    let queue = bench.stores().queue;
    let is_behind = async || queue.older_pending(&id(0xb), &id(5)).await.unwrap();
    bench.put_queued(&id(5), waiting()).await;
    bench.put_queued(&id(6), waiting()).await;
    let mut other = waiting();
    other["analysis_id"] = json!(id(0xc));
    bench.put_queued(&id(1), other).await;
    let committed = with(expired(), "outcome", json!({"status": "DONE", "fence": 5}));
    bench.put_queued(&id(2), held(Status::Running, committed)).await;
    bench.put_queued(&id(3), held(Status::Running, json!({}))).await;
    assert!(!is_behind().await);
    bench.put_queued(&id(4), held(Status::Running, expired())).await;
    assert!(is_behind().await);
    bench.put_queued(&id(4), waiting()).await;
    assert!(is_behind().await);
    let mut by_object_id = waiting();
    by_object_id["analysis_id"] = json!({"$oid": id(0xb)});
    bench.put_queued(&id(4), by_object_id).await;
    assert!(is_behind().await);
}

async fn earlier_outcome_goes_by_fence(bench: &impl Bench) {
    let queue = bench.stores().queue;
    let has_earlier = async |own: u64, fence| queue.earlier_outcome(&id(0xb), &id(own), fence).await.unwrap();
    bench.put_queued(&id(4), waiting()).await;
    let committed = with(expired(), "outcome", json!({"status": "DONE", "fence": 5}));
    bench.put_queued(&id(9), held(Status::Running, committed)).await;
    assert!(has_earlier(4, 6).await);
    assert!(!has_earlier(4, 5).await);
    assert!(!has_earlier(9, 6).await);
    assert!(!queue.earlier_outcome(&id(0xc), &id(4), 6).await.unwrap());
}

/// Calls `write` on documents that are LIVE but for one thing; none may match.
async fn needs_live(bench: &dyn Bench, write: impl AsyncFn(Stores, Own) -> bool) {
    let (document, own) = one_claimed(bench).await;
    assert!(!write(bench.stores(), Own { fence: own.fence + 1, ..own.clone() }).await, "another fence");
    assert!(!write(bench.stores(), Own { id: id(2), ..own.clone() }).await, "another id");
    let mut body = document.to_body();
    body["status"] = json!("QUEUED");
    bench.put_queued(&own.id, body).await;
    assert!(!write(bench.stores(), own.clone()).await, "not RUNNING");
    let mut body = document.to_body();
    body["worker"]["outcome"] = json!({"status": "DONE", "fence": own.fence});
    bench.put_queued(&own.id, body).await;
    let before = bench.queued(&own.id).await;
    assert!(!write(bench.stores(), own.clone()).await, "has an outcome");
    assert_eq!(bench.queued(&own.id).await, before);
    bench.put_queued(&own.id, document.to_body()).await;
    assert!(write(bench.stores(), own).await, "live");
}

async fn raise_needs_live(bench: &impl Bench) {
    needs_live(bench, async |stores: Stores, own: Own| stores.queue.raise(&own, own.fence + 9).await.unwrap()).await;
    assert!(bench.queued(&id(1)).await.unwrap().worker.fence > 9);
}

async fn heartbeat_needs_own_and_running(bench: &impl Bench) {
    let queue = bench.stores().queue;
    let (document, own) = one_claimed(bench).await;
    let mut body = document.to_body();
    body["worker"]["heartbeat_at"] = json!({"$date": 7});
    body["worker"]["outcome"] = json!({"status": "DONE", "fence": own.fence});
    bench.put_queued(&own.id, body.clone()).await;
    assert!(queue.heartbeat(&own).await.unwrap());
    assert!(bench.queued(&own.id).await.unwrap().worker.heartbeat_at >= document.worker.heartbeat_at);
    assert!(!queue.heartbeat(&Own { fence: own.fence + 1, ..own.clone() }).await.unwrap());
    body["status"] = json!("QUEUED");
    bench.put_queued(&own.id, body).await;
    assert!(!queue.heartbeat(&own).await.unwrap());
    assert_eq!(bench.queued(&own.id).await.unwrap().worker.heartbeat_at, Some(Date(7)));
}

async fn hand_back_undoes_a_claim(bench: &impl Bench) {
    let hand_back = async |stores: Stores, own: Own| {
        let entry = Unsent { fence: own.fence, status: Status::Running };
        stores.queue.hand_back(&own, &entry, Duration::from_secs(5)).await.unwrap()
    };
    needs_live(bench, hand_back).await;
    let document = bench.queued(&id(1)).await.unwrap();
    assert!(document.has_status(Status::Queued));
    assert_eq!((document.worker.attempts, document.worker.unsent.len()), (0, 0));
    let waits = document.worker.not_before.unwrap().0 - document.worker.heartbeat_at.unwrap().0;
    assert!((5_000..65_000).contains(&waits), "{waits} ms");
}

async fn commit_happens_once(bench: &impl Bench) {
    let (_, own) = one_claimed(bench).await;
    let queue = bench.stores().queue;
    assert!(queue.commit(&own, &outcome(own.fence, Status::Done)).await.unwrap());
    assert!(!queue.commit(&own, &outcome(own.fence, Status::Aborted)).await.unwrap());
    let document = bench.queued(&own.id).await.unwrap();
    assert!(document.has_status(Status::Running));
    assert_eq!(document.worker.outcome, Some(outcome(own.fence, Status::Done)));
    let statuses: Vec<Status> = document.worker.unsent.iter().map(|entry| entry.status).collect();
    assert_eq!(statuses, [Status::Running, Status::Done]);
}

async fn commit_needs_the_fence(bench: &impl Bench) {
    let commit = async |stores: Stores, own: Own| {
        let outcome = Outcome {
            results: Some(id(0xd)),
            error: Some(RunError { code: "c".into(), message: "m".into() }),
            ..outcome(own.fence, Status::Error)
        };
        stores.queue.commit(&own, &outcome).await.unwrap()
    };
    needs_live(bench, commit).await;
    let outcome = bench.queued(&id(1)).await.unwrap().worker.outcome.unwrap();
    assert_eq!((outcome.results, outcome.error.unwrap().code.as_str()), (Some(id(0xd)), "c"));
}

async fn pull_takes_exactly_the_entry(bench: &impl Bench) {
    let (_, own) = one_claimed(bench).await;
    let queue = bench.stores().queue;
    queue.commit(&own, &outcome(own.fence, Status::Done)).await.unwrap();
    let running = Unsent { fence: own.fence, status: Status::Running };
    let other = Unsent { fence: own.fence - 1, status: Status::Done };
    assert!(!queue.pull(&Own { fence: own.fence - 1, ..own.clone() }, &running).await.unwrap());
    for _ in 0..2 {
        assert!(queue.pull(&own, &running).await.unwrap());
        assert!(queue.pull(&own, &other).await.unwrap());
        let unsent = bench.queued(&own.id).await.unwrap().worker.unsent;
        assert_eq!(unsent, [Unsent { fence: own.fence, status: Status::Done }]);
    }
}

async fn release_keeps_others_away_for_a_lease(bench: &impl Bench) {
    for (number, wait, least) in [(1, 0, LEASE), (2, 600_000, 600_000)] {
        bench.put_queued(&id(number), waiting()).await;
        let (before, own) = claimed(bench).await;
        assert!(bench.stores().queue.release(&own, Duration::from_millis(wait)).await.unwrap());
        let document = bench.queued(&own.id).await.unwrap();
        assert!(document.has_status(Status::Queued));
        assert_eq!((document.worker.attempts, document.worker.releases), (0, 1));
        assert_eq!(document.worker.unsent[1], Unsent { fence: own.fence, status: Status::Queued });
        let waits = document.worker.not_before.unwrap().0 - before.worker.heartbeat_at.unwrap().0;
        assert!((least..least + 60_000).contains(&waits), "{waits} ms");
        assert_eq!(bench.stores().queue.claim(&claimant("v")).await.unwrap(), None);
    }
}

async fn release_needs_live(bench: &impl Bench) {
    let release = async |stores: Stores, own: Own| stores.queue.release(&own, Duration::ZERO).await.unwrap();
    needs_live(bench, release).await;
}

async fn offer_lets_others_claim(bench: &impl Bench) {
    let (_, own) = one_claimed(bench).await;
    let queue = bench.stores().queue;
    assert!(!queue.offer(&own, Duration::ZERO).await.unwrap(), "still RUNNING");
    queue.release(&own, Duration::ZERO).await.unwrap();
    assert!(!queue.offer(&Own { fence: own.fence + 1, ..own.clone() }, Duration::ZERO).await.unwrap());
    assert!(queue.offer(&own, Duration::ZERO).await.unwrap());
    assert_eq!(claimed(bench).await.0.id, own.id);
    assert!(!queue.offer(&own, Duration::ZERO).await.unwrap(), "somebody else's");
}

async fn delete_needs_an_outcome_and_an_empty_outbox(bench: &impl Bench) {
    let (_, own) = one_claimed(bench).await;
    let queue = bench.stores().queue;
    let running = Unsent { fence: own.fence, status: Status::Running };
    let done = Unsent { fence: own.fence, status: Status::Done };
    queue.pull(&own, &running).await.unwrap();
    assert!(!queue.delete(&own).await.unwrap(), "no outcome");
    queue.commit(&own, &outcome(own.fence, Status::Done)).await.unwrap();
    assert!(!queue.delete(&own).await.unwrap(), "a message is left");
    queue.pull(&own, &done).await.unwrap();
    assert!(!queue.delete(&Own { fence: own.fence + 1, ..own.clone() }).await.unwrap(), "another fence");
    assert!(queue.delete(&own).await.unwrap());
    assert_eq!(bench.queued(&own.id).await, None);
    assert!(!queue.delete(&own).await.unwrap());
}

async fn a_dead_letter_is_copied_then_removed(bench: &impl Bench) {
    let (document, own) = one_claimed(bench).await;
    let queue = bench.stores().queue;
    queue.bury(&document, "first").await.unwrap();
    queue.bury(&document, "unreadable").await.unwrap();
    let dead = bench.dead().await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].0, own.id);
    assert_eq!(dead[0].1["reason"], "unreadable");
    assert_eq!(dead[0].1["document"]["type"], "SSI");
    assert!(!queue.remove(&Own { fence: own.fence + 1, ..own.clone() }).await.unwrap());
    assert!(queue.remove(&own).await.unwrap());
    assert_eq!(bench.queued(&own.id).await, None);
}

fn mark(queue_id: u64, fence: i64) -> Mark {
    Mark { queue_id: id(queue_id), fence, run_type: "SSI".into() }
}

async fn body(bench: &dyn Bench) -> Value {
    bench.stores().analyses.find(&key()).await.unwrap().unwrap().body
}

async fn holder(bench: &dyn Bench) -> Holder {
    bench.stores().analyses.find(&key()).await.unwrap().unwrap().holder()
}

async fn marked(bench: &dyn Bench, mark: &Mark) -> bool {
    bench.stores().analyses.mark(&key(), mark).await.unwrap()
}

async fn mark_takes_a_free_analysis_with_a_lower_fence(bench: &impl Bench) {
    bench.put_analysis(&key(), json!({})).await;
    assert!(marked(bench, &mark(1, 5)).await, "never held");
    for (fence, takes) in [(4, false), (5, false), (6, true)] {
        bench.put_analysis(&key(), json!({"worker": {"fence": 5, "queue_id": null}})).await;
        assert_eq!(marked(bench, &mark(2, fence)).await, takes, "fence {fence}");
    }
}

async fn mark_takes_its_own_analysis_again(bench: &impl Bench) {
    for queue_id in [json!(id(1)), json!({"$oid": id(1)})] {
        for (fence, takes) in [(4, false), (5, true), (6, true)] {
            bench.put_analysis(&key(), json!({"worker": {"fence": 5, "queue_id": queue_id}})).await;
            assert_eq!(marked(bench, &mark(1, fence)).await, takes, "fence {fence}");
        }
    }
}

async fn mark_leaves_what_another_one_holds(bench: &impl Bench) {
    bench.put_analysis(&key(), json!({"worker": {"fence": 5, "queue_id": id(1)}})).await;
    assert!(!marked(bench, &mark(2, 6)).await);
    assert_eq!(holder(bench).await, Holder { fence: Some(5), queue_id: Some(id(1)) });
}

async fn mark_writes_status_and_holder(bench: &impl Bench) {
    bench.put_analysis(&key(), json!({"name": "n", "status_by_type": {"FDD": "DONE"}, "worker": {"more": 1}})).await;
    assert!(marked(bench, &mark(1, 5)).await);
    let body = body(bench).await;
    assert_eq!((&body["status"], &body["name"]), (&json!("RUNNING"), &json!("n")));
    assert_eq!(body["status_by_type"], json!({"FDD": "DONE", "SSI": "RUNNING"}));
    assert_eq!(body["worker"]["more"], 1);
    assert!(Date::from_value(&body["started_at"]).is_some());
    assert_eq!(holder(bench).await, Holder { fence: Some(5), queue_id: Some(id(1)) });
}

async fn mark_of_an_unknown_type_writes_no_field_of_that_name(bench: &impl Bench) {
    bench.put_analysis(&key(), json!({})).await;
    assert!(marked(bench, &Mark { run_type: "$a.b".into(), ..mark(1, 5) }).await);
    let body = body(bench).await;
    assert_eq!(body["status"], "RUNNING");
    assert_eq!(body["status_by_type"], Value::Null);
}

async fn take_over_needs_the_holder_as_read(bench: &impl Bench) {
    let take_over = async |fence, queue_id| {
        let read = Holder { fence: Some(fence), queue_id: Some(id(queue_id)) };
        bench.stores().analyses.take_over(&key(), &mark(2, 9), &read).await.unwrap()
    };
    bench.put_analysis(&key(), json!({"worker": {"fence": 5, "queue_id": id(1)}})).await;
    assert!(!take_over(4, 1).await);
    assert!(!take_over(5, 3).await);
    assert!(take_over(5, 1).await);
    assert_eq!(holder(bench).await, Holder { fence: Some(9), queue_id: Some(id(2)) });
    assert_eq!(body(bench).await["status"], "RUNNING");
}

async fn settled(bench: &dyn Bench, outcome: &Outcome) -> bool {
    bench.stores().analyses.settle(&key(), &id(1), "SSI", outcome).await.unwrap()
}

async fn settle_writes_the_outcome_once(bench: &impl Bench) {
    bench.put_analysis(&key(), json!({"results": {"FDD": "x"}})).await;
    assert!(!settled(bench, &outcome(5, Status::Done)).await, "not held");
    marked(bench, &mark(1, 5)).await;
    assert!(settled(bench, &Outcome { results: Some(id(0xd)), ..outcome(5, Status::Done) }).await);
    assert!(!settled(bench, &outcome(5, Status::Aborted)).await);
    let body = body(bench).await;
    assert_eq!((&body["status"], &body["status_by_type"]["SSI"]), (&json!("DONE"), &json!("DONE")));
    assert_eq!((&body["results"]["FDD"], Id::from_value(&body["results"]["SSI"])), (&json!("x"), Some(id(0xd))));
    assert!(Date::from_value(&body["finished_at"]).is_some());
    assert_eq!(holder(bench).await, Holder { fence: Some(5), queue_id: None });
}

async fn settle_clears_an_old_error(bench: &impl Bench) {
    bench.put_analysis(&key(), json!({})).await;
    marked(bench, &mark(1, 5)).await;
    let error = Some(RunError { code: "data_too_short".into(), message: "812 samples".into() });
    settled(bench, &Outcome { error, ..outcome(5, Status::Error) }).await;
    let shown = &body(bench).await["error"];
    assert_eq!((&shown["code"], &shown["run_type"]), (&json!("data_too_short"), &json!("SSI")));
    assert_eq!(shown["message"], "812 samples");
    assert!(Date::from_value(&shown["at"]).is_some());
    marked(bench, &mark(1, 6)).await;
    settled(bench, &outcome(6, Status::Done)).await;
    assert_eq!(body(bench).await["error"], Value::Null);
}

/// Calls `write` with marks that do not hold the analysis, then with the one that does.
async fn needs_hold(bench: &dyn Bench, write: impl AsyncFn(Stores, Mark) -> bool) {
    bench.put_analysis(&key(), json!({})).await;
    marked(bench, &mark(1, 5)).await;
    let before = body(bench).await;
    assert!(!write(bench.stores(), mark(1, 4)).await);
    assert!(!write(bench.stores(), mark(1, 6)).await);
    assert!(!write(bench.stores(), mark(2, 5)).await);
    assert_eq!(body(bench).await, before);
    assert!(write(bench.stores(), mark(1, 5)).await);
}

async fn release_of_an_analysis_keeps_it_held(bench: &impl Bench) {
    needs_hold(bench, async |stores: Stores, mark: Mark| stores.analyses.release(&key(), &mark).await.unwrap()).await;
    let body = body(bench).await;
    assert_eq!((&body["status"], &body["status_by_type"]["SSI"]), (&json!("QUEUED"), &json!("QUEUED")));
    assert_eq!(holder(bench).await, Holder { fence: Some(5), queue_id: Some(id(1)) });
}

async fn withdraw_writes_the_outcome_and_keeps_it_held(bench: &impl Bench) {
    let aborted = outcome(5, Status::Aborted);
    let withdraw = async |stores: Stores, mark: Mark| stores.analyses.withdraw(&key(), &mark, &aborted).await.unwrap();
    needs_hold(bench, withdraw).await;
    let body = body(bench).await;
    assert_eq!((&body["status"], &body["status_by_type"]["SSI"]), (&json!("ABORTED"), &json!("ABORTED")));
    assert!(Date::from_value(&body["finished_at"]).is_some());
    assert_eq!(holder(bench).await, Holder { fence: Some(5), queue_id: Some(id(1)) });
}

async fn free_needs_queue_id_and_fence(bench: &impl Bench) {
    needs_hold(bench, async |stores: Stores, mark: Mark| stores.analyses.free(&key(), &mark).await.unwrap()).await;
    assert_eq!(holder(bench).await, Holder { fence: Some(5), queue_id: None });
}

async fn progress_needs_queue_id_and_fence(bench: &impl Bench) {
    let progress =
        async |stores: Stores, mark: Mark| stores.analyses.progress(&key(), &mark, "spectra", 0.25).await.unwrap();
    needs_hold(bench, progress).await;
    assert_eq!(body(bench).await["progress"], json!({"stage": "spectra", "fraction": 0.25}));
}

async fn a_missing_analysis_matches_nothing(bench: &impl Bench) {
    let analyses = bench.stores().analyses;
    assert_eq!(analyses.find(&key()).await.unwrap(), None);
    assert!(!marked(bench, &mark(1, 5)).await);
    assert!(!settled(bench, &outcome(5, Status::Done)).await);
    assert!(!analyses.free(&key(), &mark(1, 5)).await.unwrap());
    assert_eq!(analyses.find(&key()).await.unwrap(), None);
}

async fn a_result_is_replaced_under_its_id(bench: &impl Bench) {
    let analyses = bench.stores().analyses;
    for number in [1, 2, 2] {
        analyses.put_result(&id(0xa), &id(0xd), &json!({"number": number, "modes": [1.5, null]})).await.unwrap();
    }
    let result = bench.result(&id(0xa), &id(0xd)).await.unwrap();
    assert_eq!((&result["number"], &result["modes"]), (&json!(2), &json!([1.5, null])));
    assert_eq!(bench.result(&id(0xb), &id(0xd)).await, None);
}

async fn catalog_tells_structures_channels_and_measures(bench: &impl Bench) {
    let catalog = bench.stores().catalog;
    assert_eq!(catalog.structure(&id(0xa)).await.unwrap(), None);
    bench.put_structure(json!({"_id": id(0xa), "name": "bridge", "tenant_id": 9, "mysql_id": 43})).await;
    let structure = catalog.structure(&id(0xa)).await.unwrap().unwrap();
    assert_eq!((structure.name.as_str(), structure.tenant_id, structure.mysql_id), ("bridge", Some(9), Some(43)));
    let names = ["z", "x", "y"];
    for name in names {
        bench.put_channel(43, &Channel { active: name != "x", ..Channel::named(name) }).await;
    }
    bench.put_channel(44, &Channel::named("other")).await;
    let channels = catalog.channels(&structure).await.unwrap();
    assert_eq!(channels.iter().map(|channel| channel.name.as_str()).collect::<Vec<_>>(), names);
    assert!(!channels[1].active);
    for hour in [2, 1] {
        let start = format!("2026-01-01T{hour:02}:00:00Z");
        bench
            .put_measure(43, json!({"sensor_id": "s", "channels": ["x"], "start": start, "key": format!("k{hour}")}))
            .await;
    }
    bench.put_measure(44, json!({"key": "other"})).await;
    let measures = catalog.measures(&structure).await.unwrap();
    let keys: Vec<_> = measures.iter().map(|measure| measure.key.as_deref()).collect();
    assert_eq!(keys, [Some("k1"), Some("k2")]);
    assert_eq!(measures[0].channels, ["x"]);
    let unknown = Structure { mysql_id: Some(99), ..structure };
    assert!(catalog.channels(&unknown).await.unwrap().is_empty());
    assert!(catalog.measures(&unknown).await.unwrap().is_empty());
}

fn file(folder: &tempfile::TempDir, content: &[u8]) -> std::path::PathBuf {
    let path = folder.path().join("content");
    std::fs::write(&path, content).unwrap();
    path
}

async fn objects_are_put_got_and_looked_at(bench: &impl Bench) {
    let objects = bench.stores().objects;
    let folder = tempfile::tempdir().unwrap();
    let first = objects.put("files", "a/b c/ü.csv", &file(&folder, b"one")).await.unwrap();
    assert_eq!((first.key.as_str(), first.size), ("a/b c/ü.csv", 3));
    assert_eq!(objects.head("files", "a/b c/ü.csv").await.unwrap(), Some(first.clone()));
    let second = objects.put("files", "a/b c/ü.csv", &file(&folder, b"two")).await.unwrap();
    assert_ne!(first.etag, second.etag);
    let again = objects.put("files", "a/b c/ü.csv", &file(&folder, b"two")).await.unwrap();
    assert_eq!(again, second);
    let target = folder.path().join("got");
    assert_eq!(objects.get("files", "a/b c/ü.csv", &target).await.unwrap(), Some(second));
    assert_eq!(std::fs::read(&target).unwrap(), b"two");
    let empty = objects.put("files", "empty", &file(&folder, b"")).await.unwrap();
    assert_eq!(empty.size, 0);
}

async fn a_missing_object_is_none(bench: &impl Bench) {
    let objects = bench.stores().objects;
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("got");
    objects.put("files", "a/b", &file(&folder, b"1")).await.unwrap();
    for (bucket, key) in [("files", "c"), ("files", "a"), ("files", "a/b/c"), ("other", "a/b")] {
        assert_eq!(objects.head(bucket, key).await.unwrap(), None, "{bucket}/{key}");
        assert_eq!(objects.get(bucket, key, &target).await.unwrap(), None, "{bucket}/{key}");
        assert!(!target.exists());
    }
}

async fn objects_are_listed_by_prefix_in_pages(bench: &impl Bench) {
    let objects = bench.stores().objects;
    let folder = tempfile::tempdir().unwrap();
    let content = file(&folder, b"1");
    for key in ["a/1/x.csv", "a/1/y.csv", "a/10/z.csv", "b/1/x.csv"] {
        objects.put("files", key, &content).await.unwrap();
    }
    let keys = async |prefix: &str, after: Option<&str>| {
        let page = objects.list("files", prefix, after).await.unwrap();
        (page.objects.into_iter().map(|object| object.key).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(keys("a/1/", None).await, (vec!["a/1/x.csv".into(), "a/1/y.csv".into()], None));
    assert_eq!(keys("a/1", None).await.0.len(), 3);
    assert_eq!(keys("", None).await.0.len(), 4);
    assert_eq!(keys("a/", Some("a/1/x.csv")).await.0, ["a/1/y.csv", "a/10/z.csv"]);
    assert_eq!(keys("c/", None).await, (Vec::new(), None));
    let page = objects.list("files", "a/1/", None).await.unwrap();
    assert_eq!(Some(page.objects[0].clone()), objects.head("files", "a/1/x.csv").await.unwrap());
}

async fn a_key_cannot_leave_its_bucket(bench: &impl Bench) {
    let objects = bench.stores().objects;
    let folder = tempfile::tempdir().unwrap();
    for key in ["../x", "/x", "a/../../x", ""] {
        let error = objects.put("files", key, &file(&folder, b"1")).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Invalid, "{key}");
    }
}

async fn a_concurrent_put_is_seen_whole(bench: &impl Bench) {
    let folder = tempfile::tempdir().unwrap();
    let contents: Vec<Vec<u8>> = (0..4_u8).map(|byte| vec![byte; 200_000]).collect();
    let paths: Vec<_> = (0..4).map(|number| folder.path().join(number.to_string())).collect();
    for (path, content) in paths.iter().zip(&contents) {
        std::fs::write(path, content).unwrap();
    }
    bench.stores().objects.put("cache", "k", &paths[0]).await.unwrap();
    let puts = paths.iter().cloned().map(|path| {
        let objects = bench.stores().objects;
        tokio::spawn(async move { objects.put("cache", "k", &path).await.unwrap() })
    });
    let gets = (0..8).map(|number| {
        let (objects, target) = (bench.stores().objects, folder.path().join(format!("got{number}")));
        tokio::spawn(async move {
            let info = objects.get("cache", "k", &target).await.unwrap().unwrap();
            (info, std::fs::read(&target).unwrap())
        })
    });
    let (puts, gets): (Vec<_>, Vec<_>) = (puts.collect(), gets.collect());
    let infos = futures::future::try_join_all(puts).await.unwrap();
    for (info, content) in futures::future::try_join_all(gets).await.unwrap() {
        assert!(contents.contains(&content));
        assert!(infos.contains(&info));
    }
}

fn message(status: Status) -> StatusMessage {
    let run_type = "SSI".into();
    StatusMessage { tenant_id: 9, user_id: 7, document_id: id(0xb).to_string(), run_type, status }
}

async fn statuses_keep_their_order_and_their_words(bench: &impl Bench) {
    let statuses = bench.stores().statuses;
    let sent: Vec<StatusMessage> = [Status::Running, Status::Queued, Status::Running, Status::Done].map(message).into();
    for message in &sent {
        statuses.send(message, Duration::from_secs(10)).await.unwrap();
    }
    assert_eq!(bench.messages().await, sent);
    let wire =
        r#"{"tenant_id":9,"user_id":7,"document_id":"00000000000000000000000b","run_type":"SSI","status":"DONE"}"#;
    assert_eq!(serde_json::to_string(&sent[3]).unwrap(), wire);
}

async fn a_status_is_not_sent_too_late(bench: &impl Bench) {
    let error = bench.stores().statuses.send(&message(Status::Done), Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Timeout);
    assert!(bench.messages().await.is_empty());
}

async fn broadcasts_reach_every_subscriber_from_now_on(bench: &impl Bench) {
    let aborts = bench.stores().aborts;
    bench.broadcast(b"early").await;
    let (mut one, mut two) = (aborts.subscribe().await.unwrap(), aborts.subscribe().await.unwrap());
    bench.broadcast(b"\xff\x00junk").await;
    bench.broadcast(b"{}").await;
    for subscriber in [&mut one, &mut two] {
        assert_eq!(subscriber.next().await.unwrap().unwrap(), b"\xff\x00junk");
        assert_eq!(subscriber.next().await.unwrap().unwrap(), b"{}");
    }
}
