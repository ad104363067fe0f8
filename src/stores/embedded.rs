//! All six ports in one folder, without any server: for trying, for tests, for a single machine.
//!
//! ```text
//! DIR/workspace.sqlite     every collection, as JSON documents; the broadcasts
//! DIR/objects/<bucket>/    raw files and cached records, under their keys
//! DIR/statuses.jsonl       every status message, one a line, as it would go to the topic
//! ```
//!
//! Any number of processes may share a folder on one machine. The clock of the store is SQLite's. Every write is on the
//! disk when it is acknowledged (WAL with `synchronous = FULL`, fsync for files).

mod aborts;
mod analyses;
mod catalog;
mod database;
mod objects;
mod queue;
mod statuses;

use super::names::Names;
use super::{StoreError, StoreErrorKind, StoreResult, Stores};
use database::Database;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The SQLite file in the folder.
const DATABASE_FILE: &str = "workspace.sqlite";
/// The folder of objects in the folder.
const OBJECTS_FOLDER: &str = "objects";
/// The file of status messages in the folder.
const STATUSES_FILE: &str = "statuses.jsonl";

/// An open workspace. Clones share its connections.
#[derive(Clone)]
pub struct Embedded {
    pub(super) names: Arc<Names>,
    pub(super) database: Database,
    folder: Arc<PathBuf>,
}

impl Embedded {
    /// Makes a workspace in `folder`, or opens the one that is there.
    ///
    /// # Errors
    /// [`StoreError`] if the folder cannot be written or holds a database that is none.
    pub async fn create(folder: &Path) -> StoreResult<Embedded> {
        let doing = || format!("create workspace {}", folder.display());
        let folder_of_objects = folder.join(OBJECTS_FOLDER);
        tokio::fs::create_dir_all(&folder_of_objects).await.map_err(|e| StoreError::unavailable(doing(), e))?;
        let database = Database::open(&folder.join(DATABASE_FILE), true).await?;
        Ok(Embedded::over(folder, database))
    }

    /// Opens the workspace in `folder`.
    ///
    /// # Errors
    /// [`StoreError`] of kind `Invalid` if there is none.
    pub async fn open(folder: &Path) -> StoreResult<Embedded> {
        let file = folder.join(DATABASE_FILE);
        if !file.is_file() {
            let message = format!("no workspace there, {DATABASE_FILE} is missing");
            let doing = format!("open workspace {}", folder.display());
            return Err(StoreError::new(StoreErrorKind::Invalid, doing, message));
        }
        Ok(Embedded::over(folder, Database::open(&file, false).await?))
    }

    fn over(folder: &Path, database: Database) -> Embedded {
        Embedded { names: Arc::new(Names::default()), database, folder: Arc::new(folder.to_owned()) }
    }

    /// The six ports.
    pub fn stores(&self) -> Stores {
        Stores::of(self.clone())
    }

    /// The names of its collections and buckets.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The workspace's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file that status messages are appended to.
    pub fn statuses_file(&self) -> PathBuf {
        self.folder.join(STATUSES_FILE)
    }

    /// The folder of objects.
    fn objects_folder(&self) -> PathBuf {
        self.folder.join(OBJECTS_FOLDER)
    }

    /// Closes the connections of all clones.
    pub async fn close(&self) {
        self.database.close().await;
    }
}
