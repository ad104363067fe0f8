//! Every clause of every port's promise, one named test, against every implementation.
//!
//! A new implementation joins by a [`Bench`] (how a test puts documents into it and looks at them, behind the ports'
//! back) and one line `contract_suite!(name, TheBench::fresh)`.

mod analyses;
mod others;
mod queue;
mod servers;
mod work;

use crate::support::memory_stores::{Event, Memory};
use async_trait::async_trait;
use futures::StreamExt;
use oma_worker::model::channel::Channel;
use oma_worker::model::run::{RunType, Status, StatusMessage};
use oma_worker::stores::documents::{
    AnalysisKey, Claimant, Date, Holder, Id, Outcome, Own, QueueDocument, RunError, Structure, Unsent,
};
use oma_worker::stores::embedded::Embedded;
use oma_worker::stores::{LARGEST_RESULT, Mark, StoreErrorKind, Stores};
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
    /// Leaves nothing behind.
    async fn remove(&self) {}
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
            queue {
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
            }
            analyses {
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
                results_beside_are_the_newest_of_the_other_analyses
                a_result_of_more_than_16_mib_is_refused
            }
            others {
                catalog_tells_structures_channels_and_measures
                objects_are_put_got_and_looked_at
                a_missing_object_is_none
                objects_are_listed_by_prefix_in_pages
                a_key_cannot_leave_its_bucket
                a_concurrent_put_is_seen_whole
                statuses_keep_their_order_and_their_words
                a_status_is_not_sent_too_late
                broadcasts_reach_every_subscriber_from_now_on
            }
            work {
                a_result_of_any_size_is_kept
            }
        );
    };
    ($name:ident, $fresh:path, $($group:ident { $($clause:ident)* })*) => {
        mod $name {
            $($(
                #[tokio::test]
                async fn $clause() {
                    let bench = $fresh().await;
                    super::$group::$clause(&bench).await;
                    super::Bench::remove(&bench).await;
                }
            )*)*
        }
    };
}

contract_suite!(embedded, super::EmbeddedBench::fresh);
contract_suite!(memory, super::MemoryBench::fresh);
contract_suite!(on_servers, super::servers::ServersBench::fresh);

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
