//! Collections of JSON documents in one SQLite file.

use crate::model::result::PLOTTED;
use crate::stores::documents::Id;
use crate::stores::{StoreError, StoreResult};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Sqlite, Transaction};
use std::path::Path;
use std::time::Duration;

const SCHEMA: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS documents (
        collection TEXT NOT NULL,
        id TEXT NOT NULL,
        body TEXT NOT NULL CHECK (json_valid(body)),
        PRIMARY KEY (collection, id)
    ) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS broadcasts (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        payload BLOB NOT NULL
    )",
];

/// How long a writer waits for another one: writers hold the file for milliseconds, an fsync on a busy disk for a second.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// SQLite has one writer at a time; a few connections keep readers from waiting for it.
const CONNECTIONS: u32 = 4;

/// The pool of connections.
#[derive(Clone)]
pub(in crate::stores) struct Database {
    pub(super) pool: SqlitePool,
}

/// A write in progress: this process holds the file's write lock until `commit` or drop.
pub(in crate::stores) struct Write {
    transaction: Transaction<'static, Sqlite>,
    /// The store's clock at the start of the write, ms.
    pub(in crate::stores) now: i64,
}

/// Turns an error of the driver into one of ours.
pub(in crate::stores) fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| match error {
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => StoreError::invalid(doing, error.to_string()),
        other => StoreError::unavailable(doing, other),
    }
}

fn parse(doing: &'static str, body: &str) -> StoreResult<Value> {
    serde_json::from_str(body).map_err(|error| StoreError::invalid(doing, error.to_string()))
}

impl Database {
    pub(in crate::stores) async fn open(file: &Path, create: bool) -> StoreResult<Database> {
        let doing = "open the workspace's database";
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await;
        let pool = pool.map_err(failed(doing))?;
        for statement in SCHEMA {
            sqlx::query(statement).execute(&pool).await.map_err(failed(doing))?;
        }
        Ok(Database { pool })
    }

    pub(in crate::stores) async fn close(&self) {
        self.pool.close().await;
    }

    /// The document; `None`: there is none.
    pub(in crate::stores) async fn find(&self, collection: &str, id: &Id) -> StoreResult<Option<Value>> {
        let doing = "read a document";
        let query = sqlx::query_scalar("SELECT body FROM documents WHERE collection = ?1 AND id = ?2");
        let found: Option<String> = query
            .bind(collection.to_owned())
            .bind(id.as_str().to_owned())
            .fetch_optional(&self.pool)
            .await
            .map_err(failed(doing))?;
        found.map(|body| parse(doing, &body)).transpose()
    }

    /// All documents of a collection, ascending by id.
    pub(in crate::stores) async fn all(&self, collection: &str) -> StoreResult<Vec<(Id, Value)>> {
        let query = sqlx::query_as("SELECT id, body FROM documents WHERE collection = ?1 ORDER BY id");
        let rows: Vec<(String, String)> =
            query.bind(collection.to_owned()).fetch_all(&self.pool).await.map_err(failed("read a collection"))?;
        rows.into_iter().map(|(id, body)| Ok((Id::from(id.as_str()), parse("read a collection", &body)?))).collect()
    }

    /// Documents of a type and of another analysis, descending by id, without [`PLOTTED`].
    pub(in crate::stores) async fn results_beside(
        &self,
        collection: &str,
        analysis_id: &Id,
        run_type: &str,
        limit: usize,
    ) -> StoreResult<Vec<Value>> {
        let doing = "read earlier results";
        let without: Vec<String> = PLOTTED.iter().map(|part| format!("'$.{part}'")).collect();
        let query = format!(
            "SELECT json_remove(body, {}) FROM documents WHERE collection = ?1 AND body ->> '$.type' = ?2
             AND body ->> '$.analysis_id' <> ?3 ORDER BY id DESC LIMIT ?4",
            without.join(", ")
        );
        let query = sqlx::query_scalar(AssertSqlSafe(query));
        let rows: Vec<String> = query
            .bind(collection.to_owned())
            .bind(run_type.to_owned())
            .bind(analysis_id.as_str().to_owned())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await
            .map_err(failed(doing))?;
        rows.iter().map(|body| parse(doing, body)).collect()
    }

    /// The names of all collections that hold a document.
    pub(in crate::stores) async fn collections(&self) -> StoreResult<Vec<String>> {
        let query = sqlx::query_scalar("SELECT DISTINCT collection FROM documents ORDER BY collection");
        query.fetch_all(&self.pool).await.map_err(failed("list the collections"))
    }

    /// Takes the write lock and reads the clock.
    pub(in crate::stores) async fn write(&self) -> StoreResult<Write> {
        let doing = "take the write lock";
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed(doing))?;
        let clock = sqlx::query_scalar("SELECT CAST(ROUND(unixepoch('subsec') * 1000) AS INTEGER)");
        let now = clock.fetch_one(&mut *transaction).await.map_err(failed(doing))?;
        Ok(Write { transaction, now })
    }

    /// Writes the document over an older one of the same id.
    pub(in crate::stores) async fn put(&self, collection: &str, id: &Id, body: &Value) -> StoreResult<()> {
        let mut write = self.write().await?;
        write.put(collection, id, body).await?;
        write.commit().await
    }

    /// Reads, changes and writes one document under the write lock: the compare-and-set of this store. `change` says
    /// whether its filter matched; if not, nothing is written.
    pub(in crate::stores) async fn change(
        &self,
        collection: &str,
        id: &Id,
        change: impl FnOnce(&Value, i64) -> Option<Value> + Send,
    ) -> StoreResult<bool> {
        let mut write = self.write().await?;
        let Some(body) = write.find(collection, id).await? else { return Ok(false) };
        let Some(changed) = change(&body, write.now) else { return Ok(false) };
        write.put(collection, id, &changed).await?;
        write.commit().await?;
        Ok(true)
    }
}

impl Write {
    pub(in crate::stores) async fn find(&mut self, collection: &str, id: &Id) -> StoreResult<Option<Value>> {
        let doing = "read a document to change it";
        let query = sqlx::query_scalar("SELECT body FROM documents WHERE collection = ?1 AND id = ?2");
        let found: Option<String> = query
            .bind(collection.to_owned())
            .bind(id.as_str().to_owned())
            .fetch_optional(&mut *self.transaction)
            .await
            .map_err(failed(doing))?;
        found.map(|body| parse(doing, &body)).transpose()
    }

    pub(in crate::stores) async fn all(&mut self, collection: &str) -> StoreResult<Vec<(Id, Value)>> {
        let doing = "read a collection to change it";
        let query = sqlx::query_as("SELECT id, body FROM documents WHERE collection = ?1 ORDER BY id");
        let rows: Vec<(String, String)> =
            query.bind(collection.to_owned()).fetch_all(&mut *self.transaction).await.map_err(failed(doing))?;
        rows.into_iter().map(|(id, body)| Ok((Id::from(id.as_str()), parse(doing, &body)?))).collect()
    }

    pub(in crate::stores) async fn put(&mut self, collection: &str, id: &Id, body: &Value) -> StoreResult<()> {
        let query = sqlx::query(
            "INSERT INTO documents (collection, id, body) VALUES (?1, ?2, ?3)
             ON CONFLICT (collection, id) DO UPDATE SET body = excluded.body",
        );
        let query = query.bind(collection.to_owned()).bind(id.as_str().to_owned()).bind(body.to_string());
        query.execute(&mut *self.transaction).await.map_err(failed("write a document"))?;
        Ok(())
    }

    pub(in crate::stores) async fn delete(&mut self, collection: &str, id: &Id) -> StoreResult<()> {
        let query = sqlx::query("DELETE FROM documents WHERE collection = ?1 AND id = ?2");
        let query = query.bind(collection.to_owned()).bind(id.as_str().to_owned());
        query.execute(&mut *self.transaction).await.map_err(failed("delete a document"))?;
        Ok(())
    }

    pub(in crate::stores) async fn commit(self) -> StoreResult<()> {
        self.transaction.commit().await.map_err(failed("commit a write"))
    }
}
