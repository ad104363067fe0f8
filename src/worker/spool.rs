//! Raw files on the local disk, kept between runs so that FDD and SSI need not download what PREPROCESSING had.

use crate::stores::ObjectInfo;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A folder of downloaded objects, each under a name made of its key and etag: a changed object is another file.
#[derive(Debug, Clone)]
pub(super) struct Spool {
    folder: PathBuf,
    limit: u64,
}

impl Spool {
    /// A spool below `data_path` that holds at most `limit` bytes between runs.
    pub(super) fn new(data_path: &Path, limit: u64) -> Spool {
        Spool { folder: data_path.join("raw"), limit }
    }

    /// Where an object belongs. The last part of the key stays readable, and with it the extension.
    pub(super) fn path(&self, bucket: &str, object: &ObjectInfo) -> PathBuf {
        let mut hash = Sha256::new();
        for part in [bucket, &object.key, &object.etag] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let digest: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let name = object.key.rsplit('/').next().unwrap_or_default();
        // File systems end names at 255 bytes; the end of a name holds the extension.
        let tail: String = name.chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
        self.folder.join(format!("{digest}-{tail}"))
    }

    /// Makes the folder, then deletes the files that were used longest ago until what is left and the `needed` ones
    /// together stay below the limit.
    pub(super) fn make_room(&self, needed: &[(PathBuf, u64)]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let kept: HashSet<&PathBuf> = needed.iter().map(|(path, _)| path).collect();
        let mut total: u64 = needed.iter().map(|(_, size)| size).sum();
        let mut others = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // A file that another process has just deleted is no concern of ours.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() && !kept.contains(&entry.path()) {
                total += metadata.len();
                others.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        others.sort();
        for (_, size, path) in others {
            if total <= self.limit {
                break;
            }
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
            total -= size;
        }
        Ok(())
    }

    /// Deletes every file; whether there was one.
    pub(super) fn clear(&self) -> bool {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        files.filter(|file| fs::remove_file(file.path()).is_ok()).count() > 0
    }

    /// Whether the object is here, whole; marks it as used.
    pub(super) fn has(path: &Path, size: u64) -> bool {
        let is_whole = fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == size);
        if is_whole && let Ok(file) = File::options().append(true).open(path) {
            // Only the order of eviction hangs on it.
            let _ = file.set_modified(SystemTime::now());
        }
        is_whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(key: &str, etag: &str) -> ObjectInfo {
        ObjectInfo { key: key.into(), size: 4, etag: etag.into() }
    }

    #[test]
    fn another_content_is_another_file() {
        let spool = Spool::new(Path::new("data"), 10);
        let path = spool.path("files", &object("7/a/b.csv", "1"));
        assert_ne!(path, spool.path("files", &object("7/a/b.csv", "2")));
        assert_ne!(path, spool.path("files", &object("7/c/b.csv", "1")));
        assert!(path.to_string_lossy().ends_with("-b.csv"));
    }

    #[test]
    fn the_oldest_files_make_room_and_needed_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path(), 8);
        spool.make_room(&[]).unwrap();
        let paths: Vec<PathBuf> = ["1", "2", "3"].iter().map(|e| spool.path("files", &object("x.csv", e))).collect();
        for (age, path) in paths.iter().enumerate() {
            fs::write(path, b"1234").unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000 * (age as u64 + 1));
            File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
        }
        spool.make_room(&[(paths[0].clone(), 4)]).unwrap();
        assert!(Spool::has(&paths[0], 4));
        assert!(!Spool::has(&paths[1], 4));
        assert!(Spool::has(&paths[2], 4));
        assert!(!Spool::has(&paths[2], 5));
    }
}
