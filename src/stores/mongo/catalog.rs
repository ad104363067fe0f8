//! Structures and measures in MongoDB: its part of the catalog.

use super::ids::key_forms;
use super::{Mongo, failed, from_bson};
use crate::stores::StoreResult;
use crate::stores::documents::{Id, Measure, Structure};
use bson::{Document, doc};
use futures::TryStreamExt;
use mongodb::Collection;

impl Mongo {
    /// The structure; `None`: there is none.
    pub(in crate::stores) async fn structure(&self, id: &Id) -> StoreResult<Option<Structure>> {
        let collection: Collection<Document> = self.database.collection(&self.names.structures);
        let found = collection.find_one(doc! {"_id": {"$in": key_forms(id)}}).await;
        let found = found.map_err(failed("read the structure"))?;
        Ok(found.map(|stored| Structure::from_body(id.clone(), &from_bson(stored).1)))
    }

    /// The index of raw files of the structure with this number, in the order of their start.
    pub(in crate::stores) async fn measures(&self, mysql_id: i64) -> StoreResult<Vec<Measure>> {
        let doing = "read the measures";
        let collection: Collection<Document> = self.measures_database.collection(&self.names.measures_of(mysql_id));
        let mut cursor = collection.find(doc! {}).await.map_err(failed(doing))?;
        let mut measures = Vec::new();
        while let Some(stored) = cursor.try_next().await.map_err(failed(doing))? {
            measures.push(Measure::from_body(&from_bson(stored).1));
        }
        measures.sort_by_key(|measure| measure.start);
        Ok(measures)
    }
}
