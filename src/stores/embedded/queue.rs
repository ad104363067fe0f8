//! [`RunQueue`] in SQLite: the transitions of the protocol under the file's write lock.

use super::Embedded;
use crate::stores::documents::{Claimant, Id, Outcome, Own, QueueDocument, Unsent};
use crate::stores::{RunQueue, StoreResult, transitions};
use async_trait::async_trait;
use serde_json::json;
use std::time::Duration;

impl Embedded {
    /// Changes the first document that `change` takes.
    async fn take_first(
        &self,
        change: impl Fn(&mut QueueDocument, i64) -> bool + Send,
    ) -> StoreResult<Option<QueueDocument>> {
        let mut write = self.database.write().await?;
        for (id, body) in write.all(&self.names.queue).await? {
            let mut document = QueueDocument::from_body(id, body);
            if change(&mut document, write.now) {
                write.put(&self.names.queue, &document.id, &document.to_body()).await?;
                write.commit().await?;
                return Ok(Some(document));
            }
        }
        Ok(None)
    }

    async fn change_queued(
        &self,
        id: &Id,
        change: impl FnOnce(&mut QueueDocument, i64) -> bool + Send,
    ) -> StoreResult<bool> {
        let change = |body: &serde_json::Value, now| {
            let mut document = QueueDocument::from_body(id.clone(), body.clone());
            change(&mut document, now).then(|| document.to_body())
        };
        self.database.change(&self.names.queue, id, change).await
    }

    async fn delete_queued(&self, id: &Id, filter: impl FnOnce(&QueueDocument) -> bool + Send) -> StoreResult<bool> {
        let mut write = self.database.write().await?;
        let Some(body) = write.find(&self.names.queue, id).await? else { return Ok(false) };
        if !filter(&QueueDocument::from_body(id.clone(), body)) {
            return Ok(false);
        }
        write.delete(&self.names.queue, id).await?;
        write.commit().await?;
        Ok(true)
    }

    async fn any_of_analysis(
        &self,
        analysis_id: &Id,
        filter: impl Fn(&QueueDocument) -> bool + Send,
    ) -> StoreResult<bool> {
        let all = self.database.all(&self.names.queue).await?;
        let mut documents = all.into_iter().map(|(id, body)| QueueDocument::from_body(id, body));
        Ok(documents.any(|document| document.analysis_id().as_ref() == Some(analysis_id) && filter(&document)))
    }
}

#[async_trait]
impl RunQueue for Embedded {
    async fn claim(&self, claimant: &Claimant) -> StoreResult<Option<QueueDocument>> {
        self.take_first(|document, now| transitions::claim(document, claimant, now)).await
    }

    async fn claim_settling(&self, claimant: &Claimant) -> StoreResult<Option<QueueDocument>> {
        self.take_first(|document, now| transitions::claim_settling(document, claimant, now)).await
    }

    async fn find(&self, id: &Id) -> StoreResult<Option<QueueDocument>> {
        let found = self.database.find(&self.names.queue, id).await?;
        Ok(found.map(|body| QueueDocument::from_body(id.clone(), body)))
    }

    async fn find_own(&self, own: &Own) -> StoreResult<Option<QueueDocument>> {
        Ok(RunQueue::find(self, &own.id).await?.filter(|document| document.is_own(own)))
    }

    async fn older_pending(&self, analysis_id: &Id, id: &Id) -> StoreResult<bool> {
        self.any_of_analysis(analysis_id, |document| transitions::is_older_pending(document, id)).await
    }

    async fn earlier_outcome(&self, analysis_id: &Id, id: &Id, fence: i64) -> StoreResult<bool> {
        self.any_of_analysis(analysis_id, |document| transitions::has_earlier_outcome(document, id, fence)).await
    }

    async fn raise(&self, own: &Own, fence: i64) -> StoreResult<bool> {
        self.change_queued(&own.id, |document, _| transitions::raise(document, own, fence)).await
    }

    async fn heartbeat(&self, own: &Own) -> StoreResult<bool> {
        self.change_queued(&own.id, |document, now| transitions::heartbeat(document, own, now)).await
    }

    async fn hand_back(&self, own: &Own, entry: &Unsent, wait: Duration) -> StoreResult<bool> {
        self.change_queued(&own.id, |document, now| transitions::hand_back(document, own, entry, wait, now)).await
    }

    async fn commit(&self, own: &Own, outcome: &Outcome) -> StoreResult<bool> {
        self.change_queued(&own.id, |document, _| transitions::commit(document, own, outcome)).await
    }

    async fn pull(&self, own: &Own, entry: &Unsent) -> StoreResult<bool> {
        self.change_queued(&own.id, |document, _| transitions::pull(document, own, entry)).await
    }

    async fn release(&self, own: &Own, wait: Duration) -> StoreResult<bool> {
        self.change_queued(&own.id, |document, now| transitions::release(document, own, wait, now)).await
    }

    async fn offer(&self, own: &Own, wait: Duration) -> StoreResult<bool> {
        self.change_queued(&own.id, |document, now| transitions::offer(document, own, wait, now)).await
    }

    async fn delete(&self, own: &Own) -> StoreResult<bool> {
        self.delete_queued(&own.id, |document| transitions::is_deletable(document, own)).await
    }

    async fn bury(&self, document: &QueueDocument, reason: &str) -> StoreResult<()> {
        let letter = json!({"document": document.to_body(), "reason": reason});
        self.database.put(&self.names.dead(), &document.id, &letter).await
    }

    async fn remove(&self, own: &Own) -> StoreResult<bool> {
        self.delete_queued(&own.id, |document| document.is_own(own)).await
    }
}
