//! Whole files to S3 and back: in parts where they are large, resumed where a connection breaks.

use super::{S3, etag, failed, is_missing};
use crate::stores::{ObjectInfo, StoreError, StoreErrorKind, StoreResult};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures::{StreamExt, TryStreamExt, stream};
use std::io;
use std::path::Path;
use tokio::io::AsyncWriteExt;

/// A larger object goes in parts of this size, so that little is lost with a connection.
const PART: u64 = 8 << 20;
/// S3 takes no more parts than this; a larger object has larger parts.
const MOST_PARTS: u64 = 10_000;
/// Parts on their way at once.
const PARTS_AT_ONCE: usize = 4;

impl S3 {
    /// Writes the object to a file that appears when it is whole.
    pub(super) async fn download(&self, bucket: &str, key: &str, path: &Path) -> StoreResult<Option<ObjectInfo>> {
        let doing = format!("get object {bucket}/{key}");
        let first = match self.client.get_object().bucket(bucket).key(key).send().await {
            Ok(first) => first,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(failed(doing)(error)),
        };
        let size = first.content_length().and_then(|size| u64::try_from(size).ok());
        let size =
            size.ok_or_else(|| StoreError::new(StoreErrorKind::Unavailable, &doing, "the answer has no size"))?;
        let whole = ObjectInfo { key: key.to_owned(), size, etag: etag(first.e_tag()) };
        let folder = path.parent().ok_or_else(|| StoreError::invalid(&doing, "the target has no folder"))?.to_owned();
        tokio::fs::create_dir_all(&folder).await.map_err(|error| StoreError::local(&doing, error))?;
        let temporary = tempfile::Builder::new().prefix(".unfinished-").tempfile_in(&folder);
        let temporary = temporary.map_err(|error| StoreError::local(&doing, error))?;
        let file = temporary.reopen().map_err(|error| StoreError::local(&doing, error))?;
        let mut file = tokio::fs::File::from_std(file);

        let quoted = first.e_tag().map(str::to_owned);
        let mut written = 0;
        let mut answer = first;
        loop {
            let before = written;
            let broken = receive(answer, size, &mut written, &mut file)
                .await
                .map_err(|error| StoreError::local(&doing, error))?;
            if written == size && broken.is_none() {
                break;
            }
            let broken = broken.unwrap_or_else(|| format!("{written} of {size} bytes came"));
            if written == before || written > size {
                return Err(StoreError::new(StoreErrorKind::Unavailable, doing, broken));
            }
            tracing::debug!(bucket, key, written, size, broken, "download goes on where it broke");
            let rest = self.client.get_object().bucket(bucket).key(key).range(format!("bytes={written}-"));
            // A part of another object must not follow.
            answer = rest.set_if_match(quoted.clone()).send().await.map_err(failed(&doing))?;
            if answer.content_length().and_then(|rest| u64::try_from(rest).ok()) != Some(size - written) {
                let message = "the rest that was asked for has another size";
                return Err(StoreError::new(StoreErrorKind::Unavailable, doing, message));
            }
        }
        file.flush().await.map_err(|error| StoreError::local(&doing, error))?;
        temporary.persist(path).map_err(|error| StoreError::local(&doing, error.error))?;
        Ok(Some(whole))
    }

    /// Stores the file as one object.
    pub(super) async fn upload(&self, bucket: &str, key: &str, path: &Path) -> StoreResult<ObjectInfo> {
        let doing = format!("put object {bucket}/{key}");
        let size = match tokio::fs::metadata(path).await {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::invalid(doing, format!("{} is missing", path.display())));
            }
            Err(error) => return Err(StoreError::local(&doing, error)),
        };
        let etag = match size <= PART {
            true => {
                let body = part(&doing, path, 0, size).await?;
                let put = self.client.put_object().bucket(bucket).key(key).body(body).send().await;
                etag(put.map_err(failed(&doing))?.e_tag())
            }
            false => self.upload_in_parts(&doing, bucket, key, path, size).await?,
        };
        Ok(ObjectInfo { key: key.to_owned(), size, etag })
    }

    async fn upload_in_parts(
        &self,
        doing: &str,
        bucket: &str,
        key: &str,
        path: &Path,
        size: u64,
    ) -> StoreResult<String> {
        let begun = self.client.create_multipart_upload().bucket(bucket).key(key).send().await;
        let begun = begun.map_err(failed(doing))?;
        let upload = begun.upload_id().unwrap_or_default();
        let stored = async {
            let parts = self.upload_parts(doing, [bucket, key, upload], path, size).await?;
            let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
            let complete = self.client.complete_multipart_upload().bucket(bucket).key(key).upload_id(upload);
            complete.multipart_upload(parts).send().await.map_err(failed(doing))
        };
        match stored.await {
            Ok(stored) => Ok(etag(stored.e_tag())),
            Err(error) => {
                // What was sent would be stored, and paid for, until somebody looked.
                let abort = self.client.abort_multipart_upload().bucket(bucket).key(key).upload_id(upload);
                if let Err(left) = abort.send().await {
                    tracing::warn!(bucket, key, upload, error = %failed(doing)(left), "parts of an upload are left");
                }
                Err(error)
            }
        }
    }

    async fn upload_parts(
        &self,
        doing: &str,
        [bucket, key, upload]: [&str; 3],
        path: &Path,
        size: u64,
    ) -> StoreResult<Vec<CompletedPart>> {
        let length = PART.max(size.div_ceil(MOST_PARTS));
        let parts = (0..size.div_ceil(length)).map(|index| async move {
            let start = index * length;
            let body = part(doing, path, start, length.min(size - start)).await?;
            let number = i32::try_from(index + 1).map_err(|error| StoreError::invalid(doing, error.to_string()))?;
            let sent = self.client.upload_part().bucket(bucket).key(key).upload_id(upload).part_number(number);
            let sent = sent.body(body).send().await.map_err(failed(doing))?;
            Ok(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag().map(str::to_owned)).build())
        });
        stream::iter(parts).buffered(PARTS_AT_ONCE).try_collect().await
    }
}

/// A stretch of a file, which can be sent again.
async fn part(doing: &str, path: &Path, start: u64, length: u64) -> StoreResult<ByteStream> {
    let body = ByteStream::read_from().path(path).offset(start).length(Length::Exact(length)).build().await;
    body.map_err(|error| StoreError::new(StoreErrorKind::Local, doing, error.to_string()))
}

/// Appends what comes to the file, no more than `size` in all. Returns how the connection broke, if it did.
///
/// # Errors
/// The local disk's.
async fn receive(
    answer: GetObjectOutput,
    size: u64,
    written: &mut u64,
    file: &mut tokio::fs::File,
) -> io::Result<Option<String>> {
    let mut body = answer.body;
    while let Some(bytes) = body.next().await {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Some(error.to_string())),
        };
        *written += bytes.len() as u64;
        if *written > size {
            return Ok(Some(format!("more than {size} bytes came")));
        }
        file.write_all(&bytes).await?;
    }
    Ok(None)
}
