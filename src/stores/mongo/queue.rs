//! [`RunQueue`] in MongoDB: each method one filter and one update, by the server's clock.

use super::expressions::{
    expired, fence, integer, is_due, lease_ms, literal, live, ms, object, outcome as stored_outcome, own, unsent,
    unsent_but,
};
use super::ids::{any_form, key, key_forms};
use super::{Mongo, failed, from_bson, to_bson, written};
use crate::stores::documents::{Claimant, Id, Outcome, Own, QueueDocument, Unsent};
use crate::stores::{RunQueue, StoreResult};
use async_trait::async_trait;
use bson::{Document, doc};
use mongodb::options::ReturnDocument;
use std::time::Duration;

fn document(stored: Document) -> QueueDocument {
    let (id, body) = from_bson(stored);
    QueueDocument::from_body(id, body)
}

/// The stages that make a document the claimant's.
fn hold(claimant: &Claimant) -> Vec<Document> {
    vec![
        doc! {"$set": {"worker": object("$worker")}},
        doc! {"$set": {
            "worker.fence": {"$max": [{"$toLong": "$$NOW"}, {"$add": [fence(), 1_i64]}]},
            "worker.id": literal(claimant.worker_id.as_str()),
            "worker.host": literal(claimant.host.as_str()),
            "worker.lease_ms": claimant.lease_ms,
            "worker.heartbeat_at": "$$NOW",
            // From here on everything in it can be read.
            "worker.unsent": unsent(),
            "worker.outcome": stored_outcome(),
        }},
    ]
}

impl Mongo {
    async fn take_first(&self, filter: Document, change: Vec<Document>) -> StoreResult<Option<QueueDocument>> {
        let claimed = self.queue.find_one_and_update(filter, change).sort(doc! {"_id": 1});
        let claimed = claimed.return_document(ReturnDocument::After).await;
        Ok(claimed.map_err(failed("claim a queue document"))?.map(document))
    }

    async fn change_queued(&self, doing: &'static str, filter: Document, change: Vec<Document>) -> StoreResult<bool> {
        let changed = self.queue.update_one(filter, change).await.map_err(failed(doing))?;
        Ok(changed.matched_count > 0)
    }

    async fn any_queued(&self, filter: Document) -> StoreResult<bool> {
        let found = self.queue.find_one(filter).projection(doc! {"_id": 1}).await;
        Ok(found.map_err(failed("look for other runs of the analysis"))?.is_some())
    }

    async fn one_queued(&self, filter: Document) -> StoreResult<Option<QueueDocument>> {
        Ok(self.queue.find_one(filter).await.map_err(failed("read a queue document"))?.map(document))
    }
}

#[async_trait]
impl RunQueue for Mongo {
    async fn claim(&self, claimant: &Claimant) -> StoreResult<Option<QueueDocument>> {
        let mut queued = is_due();
        queued.insert("status", "QUEUED");
        let mut left = expired();
        left.extend(doc! {"status": "RUNNING", "worker.outcome": null});
        let mut change = hold(claimant);
        let entry = doc! {"fence": "$worker.fence", "status": "RUNNING"};
        change.push(doc! {"$set": {
            "status": "RUNNING",
            "worker.attempts": {"$add": [integer("$worker.attempts"), 1_i64]},
            "worker.unsent": {"$concatArrays": [unsent(), [entry]]},
        }});
        change.push(doc! {"$unset": "worker.not_before"});
        self.take_first(doc! {"$or": [queued, left]}, change).await
    }

    async fn claim_settling(&self, claimant: &Claimant) -> StoreResult<Option<QueueDocument>> {
        let mut filter = expired();
        // An outcome that no worker wrote says nothing that could be settled.
        filter.extend(doc! {
            "status": "RUNNING", "worker.outcome.status": {"$in": ["DONE", "ERROR", "ABORTED"]},
            "worker.outcome.fence": {"$type": ["int", "long"]},
        });
        self.take_first(filter, hold(claimant)).await
    }

    async fn find(&self, id: &Id) -> StoreResult<Option<QueueDocument>> {
        self.one_queued(doc! {"_id": {"$in": key_forms(id)}}).await
    }

    async fn find_own(&self, of: &Own) -> StoreResult<Option<QueueDocument>> {
        self.one_queued(own(of)).await
    }

    async fn older_pending(&self, analysis_id: &Id, id: &Id) -> StoreResult<bool> {
        // A comparison only sees values of its own type.
        let below: Vec<Document> = key_forms(id).into_iter().map(|key| doc! {"_id": {"$lt": key}}).collect();
        self.any_queued(doc! {
            "analysis_id": any_form(analysis_id), "worker.outcome": null,
            "$and": [{"$or": below}, {"$or": [{"status": "QUEUED"}, {"worker.heartbeat_at": {"$type": "date"}}]}],
        })
        .await
    }

    async fn earlier_outcome(&self, analysis_id: &Id, id: &Id, fence: i64) -> StoreResult<bool> {
        self.any_queued(doc! {
            "analysis_id": any_form(analysis_id), "_id": {"$nin": key_forms(id)},
            "worker.outcome.fence": {"$lt": fence},
        })
        .await
    }

    async fn raise(&self, of: &Own, fence: i64) -> StoreResult<bool> {
        self.change_queued("raise the fence", live(of), vec![doc! {"$set": {"worker.fence": fence}}]).await
    }

    async fn heartbeat(&self, of: &Own) -> StoreResult<bool> {
        let mut filter = own(of);
        filter.insert("status", "RUNNING");
        self.change_queued("heartbeat", filter, vec![doc! {"$set": {"worker.heartbeat_at": "$$NOW"}}]).await
    }

    async fn hand_back(&self, of: &Own, entry: &Unsent, wait: Duration) -> StoreResult<bool> {
        let change = doc! {"$set": {
            "status": "QUEUED",
            "worker.not_before": {"$add": ["$$NOW", ms(wait)]},
            "worker.attempts": {"$subtract": [integer("$worker.attempts"), 1_i64]},
            "worker.unsent": unsent_but(written(entry)?),
        }};
        self.change_queued("hand back", live(of), vec![change]).await
    }

    async fn commit(&self, of: &Own, outcome: &Outcome) -> StoreResult<bool> {
        let entry = written(&Unsent { fence: outcome.fence, status: outcome.status })?;
        let change = doc! {"$set": {
            "worker.outcome": literal(written(outcome)?),
            "worker.unsent": {"$concatArrays": [unsent(), [entry]]},
        }};
        self.change_queued("commit", live(of), vec![change]).await
    }

    async fn pull(&self, of: &Own, entry: &Unsent) -> StoreResult<bool> {
        let change = doc! {"$set": {"worker.unsent": unsent_but(written(entry)?)}};
        self.change_queued("pull a sent message", own(of), vec![change]).await
    }

    async fn release(&self, of: &Own, wait: Duration) -> StoreResult<bool> {
        let entry = doc! {"fence": "$worker.fence", "status": "QUEUED"};
        let change = doc! {"$set": {
            "status": "QUEUED",
            "worker.not_before": {"$add": ["$$NOW", {"$max": [lease_ms(), ms(wait)]}]},
            "worker.attempts": {"$subtract": [integer("$worker.attempts"), 1_i64]},
            "worker.releases": {"$add": [integer("$worker.releases"), 1_i64]},
            "worker.unsent": {"$concatArrays": [unsent(), [entry]]},
        }};
        self.change_queued("release", live(of), vec![change]).await
    }

    async fn offer(&self, of: &Own, wait: Duration) -> StoreResult<bool> {
        let mut filter = own(of);
        filter.insert("status", "QUEUED");
        let change = doc! {"$set": {"worker.not_before": {"$add": ["$$NOW", ms(wait)]}}};
        self.change_queued("offer a released document", filter, vec![change]).await
    }

    async fn delete(&self, of: &Own) -> StoreResult<bool> {
        let mut filter = own(of);
        filter.extend(doc! {"worker.outcome": {"$ne": null}, "worker.unsent": []});
        let deleted = self.queue.delete_one(filter).await.map_err(failed("delete a settled document"))?;
        Ok(deleted.deleted_count > 0)
    }

    async fn bury(&self, document: &QueueDocument, reason: &str) -> StoreResult<()> {
        let id = key(&document.id);
        let letter = doc! {"_id": id.clone(), "document": to_bson(&document.to_body()), "reason": reason};
        let replaced = self.dead.replace_one(doc! {"_id": id}, letter).upsert(true).await;
        replaced.map(drop).map_err(failed("write a dead letter"))
    }

    async fn remove(&self, of: &Own) -> StoreResult<bool> {
        let deleted = self.queue.delete_one(own(of)).await.map_err(failed("remove a dead letter from the queue"))?;
        Ok(deleted.deleted_count > 0)
    }
}
