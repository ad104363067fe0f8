//! [`Objects`] in S3, or in a store that speaks its language.
//!
//! Every request is repeated a few times by the client itself, so that one lost part does not cost a whole upload; what
//! still fails is repeated by whoever calls.

mod transfer;

use super::secret::Secret;
use super::{Complaint, ObjectInfo, Objects, Page, StoreError, StoreErrorKind, StoreResult, check_key};
use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a server may be silent before its answer begins.
const READ: Duration = Duration::from_secs(10);
/// How long one part may take to be sent: 8 MiB at 1 Mbit/s.
const ATTEMPT: Duration = Duration::from_secs(70);
/// Tries of one request, and the first and the longest pause between them: a moment's 503 is not worth a new upload.
const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Where the objects are and who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Settings {
    /// The address of a store that is not Amazon's; then keys follow the bucket in the path, and checksums are only
    /// sent where they must be (`AWS_ENDPOINT_URL`).
    pub endpoint: Option<String>,
    /// The region (`AWS_REGION`).
    pub region: String,
    /// The key's id (`AWS_ACCESS_KEY_ID`).
    pub access_key_id: String,
    /// The key (`AWS_SECRET_ACCESS_KEY`).
    pub secret_access_key: Secret,
}

/// A client. Clones share its connections.
#[derive(Clone)]
pub struct S3 {
    client: Client,
}

impl S3 {
    /// A client of the store; the first call connects.
    pub fn connect(settings: &S3Settings) -> S3 {
        let secret = settings.secret_access_key.reveal();
        let credentials = Credentials::new(&settings.access_key_id, secret, None, None, "settings");
        let https = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .read_timeout(READ)
            .operation_attempt_timeout(ATTEMPT)
            .build();
        let retry = RetryConfig::standard()
            .with_max_attempts(TRIES)
            .with_initial_backoff(FIRST_PAUSE)
            .with_max_backoff(LONGEST_PAUSE);
        let mut config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().tls_provider(https).build_https())
            .region(Region::new(settings.region.clone()))
            .credentials_provider(credentials)
            .timeout_config(timeouts)
            .retry_config(retry);
        if let Some(endpoint) = &settings.endpoint {
            config = config
                .endpoint_url(endpoint)
                .force_path_style(true)
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        }
        S3 { client: Client::from_conf(config.build()) }
    }

    /// Whether the store answers, takes our credentials and has the bucket that `setting` names.
    ///
    /// # Errors
    /// [`Complaint`] if not.
    pub async fn check(&self, bucket: &str, setting: &'static str) -> Result<(), Complaint> {
        let listed = self.client.list_objects_v2().bucket(bucket).max_keys(1).send().await;
        listed.map(drop).map_err(|error| {
            let settings = match error.code() {
                Some("NoSuchBucket") => setting,
                Some("PermanentRedirect" | "AuthorizationHeaderMalformed") => "AWS_REGION",
                Some(_) => "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the rights of the key",
                None => "AWS_ENDPOINT_URL and AWS_REGION",
            };
            Complaint::new(settings, failed(format!("list bucket {bucket}"))(error))
        })
    }
}

/// Whether the store says that there is no such object, or no such bucket.
fn is_missing<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    let named = error.as_service_error().and_then(ProvideErrorMetadata::code);
    let status = error.raw_response().map(|response| response.status().as_u16());
    matches!(named, Some("NoSuchKey" | "NoSuchBucket" | "NotFound")) || status == Some(404)
}

/// An error of the client as a store's.
fn failed<E>(doing: impl fmt::Display) -> impl FnOnce(SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    move |error| {
        let meta = error.as_service_error().map(ProvideErrorMetadata::meta);
        let said =
            meta.and_then(|meta| Some(format!("{}: {}", meta.code()?, meta.message().unwrap_or("no reason given"))));
        let message = said.unwrap_or_else(|| DisplayErrorContext(&error).to_string());
        StoreError::new(StoreErrorKind::Unavailable, doing.to_string(), message)
    }
}

/// Stores put etags in quotes, some of them not everywhere.
fn etag(written: Option<&str>) -> String {
    written.unwrap_or_default().trim_matches('"').to_owned()
}

fn size(written: Option<i64>) -> u64 {
    written.and_then(|size| u64::try_from(size).ok()).unwrap_or(0)
}

#[async_trait]
impl Objects for S3 {
    async fn head(&self, bucket: &str, key: &str) -> StoreResult<Option<ObjectInfo>> {
        let doing = format!("look at object {bucket}/{key}");
        check_key(&doing, key)?;
        match self.client.head_object().bucket(bucket).key(key).send().await {
            Ok(head) => {
                let (size, etag) = (size(head.content_length()), etag(head.e_tag()));
                Ok(Some(ObjectInfo { key: key.to_owned(), size, etag }))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failed(doing)(error)),
        }
    }

    async fn get(&self, bucket: &str, key: &str, path: &Path) -> StoreResult<Option<ObjectInfo>> {
        check_key(&format!("get object {bucket}/{key}"), key)?;
        self.download(bucket, key, path).await
    }

    async fn put(&self, bucket: &str, key: &str, path: &Path) -> StoreResult<ObjectInfo> {
        check_key(&format!("put object {bucket}/{key}"), key)?;
        self.upload(bucket, key, path).await
    }

    async fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> StoreResult<Page> {
        let request = self.client.list_objects_v2().bucket(bucket).prefix(prefix);
        let listed = match request.set_start_after(after.map(str::to_owned)).send().await {
            Ok(listed) => listed,
            Err(error) if is_missing(&error) => return Ok(Page::default()),
            Err(error) => return Err(failed(format!("list objects {bucket}/{prefix}"))(error)),
        };
        let objects: Vec<ObjectInfo> = listed
            .contents()
            .iter()
            .filter_map(|object| {
                let key = object.key()?.to_owned();
                Some(ObjectInfo { key, size: size(object.size()), etag: etag(object.e_tag()) })
            })
            .collect();
        let is_cut = listed.is_truncated().unwrap_or(false);
        let next = objects.last().filter(|_| is_cut).map(|object| object.key.clone());
        Ok(Page { objects, next })
    }
}
