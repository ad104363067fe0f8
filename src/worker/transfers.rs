//! What goes between the object stores and the disk: raw files in, records and what results name out.

use super::execute::{Execute, ExecuteError};
use super::inputs::{Content, Input};
use super::retry::{bounded, s3};
use super::spool::Spool;
use crate::model::control::{Cancelled, Control};
use crate::stores::{ObjectInfo, StoreError, StoreResult};
use std::future::Future;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Bound of a call about objects, and of a transfer beside the time for its bytes.
pub(super) const TRANSFER_TIMEOUT: Duration = Duration::from_secs(300);
/// The slowest way on which a transfer is waited for, bytes/s: ten times slower than a way that is used for files.
const SLOWEST: u64 = 1 << 20;

/// Bound of the transfer of so many bytes.
fn transfer_limit(size: u64) -> Duration {
    TRANSFER_TIMEOUT + Duration::from_secs(size / SLOWEST)
}

impl Execute {
    /// A bounded and repeated call to the objects.
    pub(super) async fn objects<T: Send + 'static, F>(
        &self,
        doing: &'static str,
        call: impl Fn(Arc<dyn crate::stores::Objects>) -> F,
    ) -> StoreResult<T>
    where
        F: Future<Output = StoreResult<T>> + Send + 'static,
    {
        self.retry.call_within(s3(doing), TRANSFER_TIMEOUT, || call(self.stores.objects.clone())).await
    }

    /// Brings every input to its place in the spool.
    pub(super) async fn download(&self, inputs: &[Input], control: &Control) -> Result<(), ExecuteError> {
        let place = |input: &Input| self.spool.path(&self.names.file_bucket, &input.object);
        let needed: Vec<(PathBuf, u64)> = inputs.iter().map(|input| (place(input), input.object.size)).collect();
        let local = |path: &Path| {
            let path = path.display().to_string();
            move |source| ExecuteError::Local { path, source }
        };
        self.spool.make_room(&needed).map_err(local(&self.work))?;
        for (done, (input, (path, size))) in inputs.iter().zip(&needed).enumerate() {
            control.checkpoint()?;
            let part = |files: usize| files as f64 / inputs.len() as f64;
            control.progress("download", part(done));
            if Spool::has(path, *size) {
                continue;
            }
            match &input.source {
                Content::Inline(text) => std::fs::write(path, text).map_err(local(path))?,
                Content::Bucket => {
                    let bucket = &self.names.file_bucket;
                    let get = self.get(bucket, &input.object, path);
                    let got = shown(control, "download", part(done)..part(done + 1), get).await?;
                    if got.as_ref() != Some(&input.object) {
                        let missing =
                            || ExecuteError::MissingFile { bucket: bucket.clone(), key: input.object.key.clone() };
                        let got = got.ok_or_else(missing)?;
                        // The object was replaced since it was looked at; the next attempt sees the new one.
                        let message =
                            format!("changed while it was read, etag {} became {}", input.object.etag, got.etag);
                        let _ = std::fs::remove_file(path);
                        let kind = crate::stores::StoreErrorKind::Unavailable;
                        return Err(StoreError::new(kind, format!("get object {bucket}/{}", got.key), message).into());
                    }
                }
            }
        }
        Ok(())
    }

    /// Brings the cached record to `path`, if it is to be had. The cache saves time, so little time is spent on one that
    /// cannot be read: whoever misses the record makes it.
    pub(super) async fn is_cached(
        &self,
        cache_key: &str,
        path: &Path,
        control: &Control,
    ) -> Result<bool, ExecuteError> {
        let got = async { Ok(shown(control, "cache", 0.0..1.0, self.get_cached(cache_key, path)).await) };
        Ok(unless_stopped(control, got).await?.unwrap_or_else(|error| {
            tracing::warn!(cache_key, error = %error, "cached record not read, it is made anew");
            false
        }))
    }

    async fn get_cached(&self, cache_key: &str, path: &Path) -> StoreResult<bool> {
        let (objects, bucket) = (self.stores.objects.clone(), self.names.cache_bucket.clone());
        let (key, target) = (cache_key.to_owned(), path.to_owned());
        let head = {
            let (objects, bucket, key) = (objects.clone(), bucket.clone(), key.clone());
            async move { objects.head(&bucket, &key).await }
        };
        let found = bounded(s3("look for the cached record"), TRANSFER_TIMEOUT, head).await?;
        let Some(object) = found else { return Ok(false) };
        let get = async move { objects.get(&bucket, &key, &target).await };
        Ok(bounded(s3("get the cached record"), transfer_limit(object.size), get).await?.is_some())
    }

    /// Puts an object that a result names into the bucket of the cache.
    pub(super) async fn keep(&self, key: &str, content: &[u8], control: &Control) -> Result<(), ExecuteError> {
        let folder = self.work_folder()?;
        let path = folder.path().join("object");
        let local = |source| ExecuteError::Local { path: path.display().to_string(), source };
        std::fs::write(&path, content).map_err(local)?;
        let put = async { Ok(self.put(&self.names.cache_bucket, key, &path).await?) };
        unless_stopped(control, put).await.map(drop)
    }

    /// Caches a preprocessed record; returns the warning where that fails.
    pub(super) async fn keep_record(
        &self,
        cache_key: &str,
        file: &Path,
        control: &Control,
    ) -> Result<Option<String>, ExecuteError> {
        let put =
            async { Ok(shown(control, "upload", 0.0..1.0, self.put(&self.names.cache_bucket, cache_key, file)).await) };
        Ok(unless_stopped(control, put).await?.err().map(|error| {
            tracing::warn!(cache_key, error = %error, "record not cached");
            format!("the preprocessed record was not cached: {error}")
        }))
    }

    async fn get(&self, bucket: &str, object: &ObjectInfo, path: &Path) -> StoreResult<Option<ObjectInfo>> {
        let get = || {
            let objects = self.stores.objects.clone();
            let (bucket, key, path) = (bucket.to_owned(), object.key.clone(), path.to_owned());
            async move { objects.get(&bucket, &key, &path).await }
        };
        self.retry.call_within(s3("get an object"), transfer_limit(object.size), get).await
    }

    async fn put(&self, bucket: &str, key: &str, path: &Path) -> StoreResult<ObjectInfo> {
        let put = || {
            let objects = self.stores.objects.clone();
            let (bucket, key, path) = (bucket.to_owned(), key.to_owned(), path.to_owned());
            async move { objects.put(&bucket, &key, &path).await }
        };
        // A file that is missing is the store's to complain of.
        let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        self.retry.call_within(s3("put an object"), transfer_limit(size), put).await
    }
}

/// Waits for a transfer, which is bounded, and shows that it is waited for: one of hours is no run that stands still.
/// The progress goes through `share` by the time that has passed, ever more slowly.
async fn shown<T>(control: &Control, stage: &str, share: Range<f64>, transfer: impl Future<Output = T>) -> T {
    tokio::pin!(transfer);
    let mut minutes = tokio::time::interval(Duration::from_secs(60));
    let mut passed = 0.0;
    loop {
        tokio::select! {
            biased;
            done = &mut transfer => return done,
            _ = minutes.tick() => {
                control.progress(stage, share.start + (share.end - share.start) * passed / (passed + 10.0));
                passed += 1.0;
            }
        }
    }
}

/// Waits for stores, for as long as they may take, but no longer than until the run is told to stop. A call that is on
/// its way then comes to its end unheard.
pub(super) async fn unless_stopped<T>(
    control: &Control,
    work: impl Future<Output = Result<T, ExecuteError>>,
) -> Result<T, ExecuteError> {
    tokio::select! {
        biased;
        done = work => done,
        () = control.token().cancelled() => Err(Cancelled.into()),
    }
}
