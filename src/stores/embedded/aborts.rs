//! [`Aborts`] in SQLite: a table that grows and is polled.

use super::Embedded;
use super::database::failed;
use crate::stores::{Aborts, StoreResult};
use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use std::collections::VecDeque;
use std::time::Duration;

/// A broadcast is seen this much later at most; ten small reads a second cost nothing.
const POLL: Duration = Duration::from_millis(100);

impl Embedded {
    /// Appends a broadcast for every subscriber.
    pub(in crate::stores) async fn append_broadcast(&self, payload: &[u8]) -> StoreResult<()> {
        let query = sqlx::query("INSERT INTO broadcasts (payload) VALUES (?1)").bind(payload.to_vec());
        query.execute(&self.database.pool).await.map_err(failed("append a broadcast"))?;
        Ok(())
    }

    async fn broadcasts_after(&self, number: i64) -> StoreResult<VecDeque<(i64, Vec<u8>)>> {
        let query = sqlx::query_as("SELECT number, payload FROM broadcasts WHERE number > ?1 ORDER BY number");
        let rows = query.bind(number).fetch_all(&self.database.pool).await.map_err(failed("read the broadcasts"))?;
        Ok(rows.into())
    }
}

#[async_trait]
impl Aborts for Embedded {
    async fn subscribe(&self) -> StoreResult<BoxStream<'static, StoreResult<Vec<u8>>>> {
        let newest = sqlx::query_scalar("SELECT COALESCE(MAX(number), 0) FROM broadcasts");
        let newest: i64 = newest.fetch_one(&self.database.pool).await.map_err(failed("find the newest broadcast"))?;
        let start = (self.clone(), newest, VecDeque::new());
        let next = |(store, mut seen, mut ready): (Embedded, i64, VecDeque<(i64, Vec<u8>)>)| async move {
            loop {
                if let Some((number, payload)) = ready.pop_front() {
                    seen = number;
                    return Some((Ok(payload), (store, seen, ready)));
                }
                tokio::time::sleep(POLL).await;
                match store.broadcasts_after(seen).await {
                    Ok(rows) => ready = rows,
                    Err(error) => return Some((Err(error), (store, seen, ready))),
                }
            }
        };
        Ok(stream::unfold(start, next).boxed())
    }
}
