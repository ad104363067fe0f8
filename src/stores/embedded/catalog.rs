//! [`Catalog`] in SQLite: what MongoDB and MySQL hold elsewhere.

use super::Embedded;
use crate::model::channel::Channel;
use crate::stores::documents::{Id, Measure, Period, Structure};
use crate::stores::{Catalog, StoreError, StoreResult};
use async_trait::async_trait;

#[async_trait]
impl Catalog for Embedded {
    async fn structure(&self, id: &Id) -> StoreResult<Option<Structure>> {
        let found = self.database.find(&self.names.structures, id).await?;
        Ok(found.map(|body| Structure::from_body(id.clone(), &body)))
    }

    async fn channels(&self, structure: &Structure) -> StoreResult<Vec<Channel>> {
        let Some(mysql_id) = structure.mysql_id else { return Ok(Vec::new()) };
        let rows = self.database.all(&self.names.channels_of(mysql_id)).await?;
        let read = |(id, body)| {
            serde_json::from_value(body)
                .map_err(|error| StoreError::invalid(format!("read channel {id}"), error.to_string()))
        };
        rows.into_iter().map(read).collect()
    }

    async fn measures(&self, structure: &Structure, _period: Period) -> StoreResult<Vec<Measure>> {
        let Some(mysql_id) = structure.mysql_id else { return Ok(Vec::new()) };
        let rows = self.database.all(&self.names.measures_of(mysql_id)).await?;
        let mut measures: Vec<Measure> = rows.iter().map(|(_, body)| Measure::from_body(body)).collect();
        measures.sort_by_key(|measure| measure.start);
        Ok(measures)
    }
}
