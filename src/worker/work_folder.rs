//! Where a run keeps what it makes while it is at it: a folder that is gone with the run, or, when the process was
//! killed, with the start of the next worker in the same `DATA_PATH`.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use tempfile::{NamedTempFile, TempDir};

/// Locked by whoever works in the folder; the system unlocks it when that process dies.
const LOCK: &str = "lock";

/// A folder of one run; deleted when dropped.
pub(super) struct WorkFolder {
    folder: TempDir,
    _lock: Option<File>,
}

impl WorkFolder {
    /// A new one below `parent`, which is made if need be.
    pub(super) fn new(parent: &Path) -> io::Result<WorkFolder> {
        fs::create_dir_all(parent)?;
        let folder = tempfile::tempdir_in(parent)?;
        // Where files cannot be locked, nothing says that the folder may be deleted, and nobody does.
        let lock = locked(folder.path()).ok();
        Ok(WorkFolder { folder, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The lock appears when it is locked.
fn locked(folder: &Path) -> io::Result<File> {
    let file = NamedTempFile::new_in(folder)?;
    file.as_file().lock()?;
    Ok(file.persist(folder.join(LOCK))?)
}

/// Deletes the folders of runs whose process has died; one that resists stays.
pub(super) fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_left = File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if is_left && let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!(folder = %entry.path().display(), error = %error, "what a dead worker left cannot be deleted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_worker_left_goes_and_what_is_in_use_stays() {
        let parent = tempfile::tempdir().unwrap();
        let in_use = WorkFolder::new(parent.path()).unwrap();
        let WorkFolder { folder, _lock } = WorkFolder::new(parent.path()).unwrap();
        let left = folder.keep();
        fs::write(left.join("record.parquet"), b"half").unwrap();
        sweep(parent.path());
        assert!(left.exists());
        drop(_lock);
        sweep(parent.path());
        assert!(!left.exists() && in_use.path().exists());
        let path = in_use.path().to_owned();
        drop(in_use);
        assert!(!path.exists());
    }
}
