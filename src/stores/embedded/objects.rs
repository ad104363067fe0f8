//! [`Objects`] in a folder: a file an object, `<bucket>/<key>`; the etag is the content's SHA-256.

use super::Embedded;
use crate::stores::{ObjectInfo, Objects, Page, StoreError, StoreResult, check_key};
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Objects in one answer of a listing, as S3 has it.
const PAGE: usize = 1000;

impl Embedded {
    /// Where an object lies. A key that would lead out of its bucket is refused.
    fn object_path(&self, bucket: &str, key: &str) -> StoreResult<PathBuf> {
        let doing = format!("find object {bucket}/{key}");
        check_key(&doing, bucket)?;
        check_key(&doing, key)?;
        Ok(self.objects_folder().join(bucket).join(key))
    }
}

/// Runs file work off the runtime's threads.
async fn blocking<T: Send + 'static>(
    doing: String,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> StoreResult<T> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(io::Error::other).flatten().map_err(|error| StoreError::unavailable(doing, error))
}

/// `None` instead of an error where there is no file.
fn existing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads `from` to its end, writing to `to`: size and SHA-256.
fn copy_hashed(mut from: impl Read, mut to: impl Write) -> io::Result<(u64, String)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            let digest = hash.finalize();
            return Ok((size, digest.iter().map(|byte| format!("{byte:02x}")).collect()));
        }
        hash.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
        size += count as u64;
    }
}

fn info(key: &str, path: &Path) -> io::Result<Option<ObjectInfo>> {
    let Some(file) = existing(File::open(path))? else { return Ok(None) };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let (size, etag) = copy_hashed(file, io::sink())?;
    Ok(Some(ObjectInfo { key: key.to_owned(), size, etag }))
}

/// Copies a file so that `to` appears whole and on the disk, or not at all.
fn copy_whole(key: &str, from: &Path, to: &Path) -> io::Result<Option<ObjectInfo>> {
    let Some(source) = existing(File::open(from))? else { return Ok(None) };
    if !source.metadata()?.is_file() {
        return Ok(None);
    }
    let folder = to.parent().ok_or_else(|| io::Error::other("the target has no folder"))?;
    fs::create_dir_all(folder)?;
    let mut temporary = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder)?;
    let (size, etag) = copy_hashed(source, &mut temporary)?;
    temporary.as_file().sync_all()?;
    temporary.persist(to).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()?;
    Ok(Some(ObjectInfo { key: key.to_owned(), size, etag }))
}

/// How the names of unfinished files begin; a listing leaves them out.
const TEMPORARY: &str = ".unfinished-";

/// All keys below `folder`, which stands for the key prefix `prefix`.
fn keys(folder: &Path, prefix: &str, found: &mut Vec<String>) -> io::Result<()> {
    let Some(entries) = existing(fs::read_dir(folder))? else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let key = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            keys(&entry.path(), &format!("{key}/"), found)?;
        } else if !name.starts_with(TEMPORARY) {
            found.push(key);
        }
    }
    Ok(())
}

#[async_trait]
impl Objects for Embedded {
    async fn head(&self, bucket: &str, key: &str) -> StoreResult<Option<ObjectInfo>> {
        let path = self.object_path(bucket, key)?;
        let key = key.to_owned();
        blocking(format!("look at object {bucket}/{key}"), move || info(&key, &path)).await
    }

    async fn get(&self, bucket: &str, key: &str, path: &Path) -> StoreResult<Option<ObjectInfo>> {
        let from = self.object_path(bucket, key)?;
        let (key, to) = (key.to_owned(), path.to_owned());
        blocking(format!("get object {bucket}/{key}"), move || copy_whole(&key, &from, &to)).await
    }

    async fn put(&self, bucket: &str, key: &str, path: &Path) -> StoreResult<ObjectInfo> {
        let to = self.object_path(bucket, key)?;
        let doing = format!("put object {bucket}/{key}");
        let (key, from) = (key.to_owned(), path.to_owned());
        let missing = format!("{} is missing", from.display());
        let put = blocking(doing.clone(), move || copy_whole(&key, &from, &to)).await?;
        put.ok_or_else(|| StoreError::invalid(doing, missing))
    }

    async fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> StoreResult<Page> {
        // The folder part of the prefix says where to look, so that a listing never walks the whole bucket.
        let folder_key = prefix.rfind('/').map_or("", |end| &prefix[..=end]);
        let folder = match folder_key {
            "" => self.object_path(bucket, "x")?.with_file_name(""),
            key => self.object_path(bucket, key)?,
        };
        let bucket_folder = self.objects_folder().join(bucket);
        let (prefix, folder_key, after) = (prefix.to_owned(), folder_key.to_owned(), after.map(str::to_owned));
        blocking(format!("list objects {bucket}/{prefix}"), move || {
            let mut found = Vec::new();
            keys(&folder, &folder_key, &mut found)?;
            found.retain(|key| key.starts_with(&prefix) && after.as_ref().is_none_or(|after| key > after));
            found.sort();
            let next = (found.len() > PAGE).then(|| found[PAGE - 1].clone());
            found.truncate(PAGE);
            let infos = found.iter().map(|key| info(key, &bucket_folder.join(key)));
            let objects = infos.filter_map(Result::transpose).collect::<io::Result<_>>()?;
            Ok(Page { objects, next })
        })
        .await
    }
}
