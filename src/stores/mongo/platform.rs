//! What a platform writes into MongoDB.

use super::analyses::is_free;
use super::ids::{key, key_forms};
use super::{Mongo, failed, to_bson};
use crate::model::run::{RunType, Status};
use crate::stores::documents::Id;
use crate::stores::platform::{analysis_document, run_document};
use crate::stores::{StoreError, StoreResult};
use bson::{Bson, Document, doc};
use mongodb::Collection;
use serde_json::{Map, Value};

impl Mongo {
    /// Adds a structure's document.
    pub(in crate::stores) async fn add_structure(&self, id: &Id, body: &Value) -> StoreResult<()> {
        insert(&self.database.collection(&self.names.structures), "add a structure", id, body).await
    }

    /// Adds an entry to the index of raw files.
    pub(in crate::stores) async fn add_measure(&self, number: i64, body: &Value) -> StoreResult<()> {
        let collection = self.measures_database.collection(&self.names.measures_of(number));
        insert(&collection, "add a measure", &Id::fresh(), body).await
    }

    /// Adds an analysis.
    pub(in crate::stores) async fn add_analysis(&self, structure: &Id, fields: &Map<String, Value>) -> StoreResult<Id> {
        let collection = self.database.collection(&self.names.analyses_of(structure));
        let id = Id::fresh();
        insert(&collection, "add an analysis", &id, &analysis_document(structure, fields)).await?;
        Ok(id)
    }

    /// Queues a run.
    pub(in crate::stores) async fn add_run(&self, structure: &Id, of: &Id, run_type: RunType) -> StoreResult<Id> {
        let doing = "queue a run";
        let analyses: Collection<Document> = self.database.collection(&self.names.analyses_of(structure));
        // The analysis first: once the document is in the queue, a worker may be done with it before the next line.
        let (mut free, own) = (is_free(), doc! {"_id": {"$in": key_forms(of)}});
        free.extend(own.clone());
        analyses.update_one(free, doc! {"$set": {"status": Status::Queued.as_str()}}).await.map_err(failed(doing))?;
        if analyses.find_one(own).await.map_err(failed(doing))?.is_none() {
            return Err(StoreError::invalid(format!("queue a run of analysis {of}"), "there is no such analysis"));
        }
        let id = Id::fresh();
        insert(&self.queue, doing, &id, &run_document(structure, of, run_type)).await?;
        Ok(id)
    }
}

async fn insert(into: &Collection<Document>, doing: &'static str, id: &Id, body: &Value) -> StoreResult<()> {
    let Bson::Document(fields) = to_bson(body) else {
        return Err(StoreError::invalid(doing, format!("{body} is no document")));
    };
    let mut document = doc! {"_id": key(id)};
    document.extend(fields);
    into.insert_one(document).await.map(drop).map_err(failed(doing))
}
