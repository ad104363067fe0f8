//! Structures and measures in MongoDB: its part of the catalog.

use super::ids::key_forms;
use super::{Mongo, failed, from_bson};
use crate::stores::StoreResult;
use crate::stores::documents::{Id, Measure, Period, Structure};
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
    pub(in crate::stores) async fn measures(&self, mysql_id: i64, period: Period) -> StoreResult<Vec<Measure>> {
        let doing = "read the measures";
        let collection: Collection<Document> = self.measures_database.collection(&self.names.measures_of(mysql_id));
        let mut cursor = collection.find(doc! {"$nor": outside(period)}).await.map_err(failed(doing))?;
        let mut measures = Vec::new();
        while let Some(stored) = cursor.try_next().await.map_err(failed(doing))? {
            measures.push(Measure::from_body(&from_bson(stored).1));
        }
        measures.sort_by_key(|measure| measure.start);
        Ok(measures)
    }
}

/// What lies outside of the period for certain: an index of years, or with the samples in it, is not read for an hour.
/// Never empty, because the server refuses an empty list.
fn outside((from, to): Period) -> Vec<Document> {
    let date = |time: jiff::Timestamp| bson::DateTime::from_millis(time.as_millisecond());
    let ends_before = from.map(|from| doc! {"end": {"$type": "date", "$lt": date(from)}});
    let starts_after = to.map(|to| doc! {"start": {"$type": "date", "$gt": date(to)}});
    let never = doc! {"_id": {"$in": []}};
    ends_before.into_iter().chain(starts_after).chain([never]).collect()
}
