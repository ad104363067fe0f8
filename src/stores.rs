//! The six ports through which a worker sees the world, and what each promises.
//!
//! A store may be a server or a file; the worker cannot tell. Every clause below is one test of the contract suite,
//! run against every implementation. Four rules hold for all of them:
//!
//! * **One document at a time.** Each writing method is one compare-and-set of one document: a filter and a change,
//!   both atomic. It returns whether the filter matched. Nothing here needs a transaction over several documents.
//! * **The store's clock.** A method that compares or writes times uses the store's own clock at the moment of its
//!   effect, never the caller's.
//! * **Errors leave the effect open.** After an `Err` the write may have happened, may still happen, or not.
//!   Every write but [`RunQueue::claim`] may therefore be repeated with the same arguments.
//! * **More is read than is written.** Unknown fields are kept; ids are read as ObjectId and as 24-hex string.
//!
//! The filters have names, used everywhere:
//!
//! ```text
//! OWN     = _id and worker.fence are those of the claim
//! LIVE    = OWN, status RUNNING, no outcome
//! EXPIRED = heartbeat_at is a date, and heartbeat_at + lease_ms is before now
//! ```

pub mod documents;

pub mod embedded;

pub mod kafka;

pub mod mongo;

pub mod mysql;

pub mod names;

pub mod platform;

pub mod s3;

pub mod secret;

pub mod servers;

pub mod transitions;

pub mod workspace;

use crate::model::channel::Channel;
use crate::model::run::{RunType, StatusMessage};
use async_trait::async_trait;
use documents::{
    Analysis, AnalysisKey, Claimant, Holder, Id, Measure, Outcome, Own, Period, QueueDocument, Structure, Unsent,
};
use futures::stream::BoxStream;
use serde_json::Value;
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;

/// What kind of trouble a store is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Not to be reached, or it refused for now.
    Unavailable,
    /// No answer within the bound.
    Timeout,
    /// The local disk failed: repeating the call here and now is of no use, doing the work elsewhere or later is.
    Local,
    /// What is stored or asked for cannot be understood: the same again would fail again.
    Invalid,
}

/// A store could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {message}")]
pub struct StoreError {
    /// What kind of trouble.
    pub kind: StoreErrorKind,
    /// What was asked for.
    pub doing: String,
    /// What went wrong.
    pub message: String,
    /// The error underneath, where there is one.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// An error of `kind` without another one underneath.
    pub fn new(kind: StoreErrorKind, doing: impl Into<String>, message: impl Into<String>) -> StoreError {
        StoreError { kind, doing: doing.into(), message: message.into(), source: None }
    }

    /// The store could not be reached because of `source`.
    pub fn unavailable(doing: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
        let message = source.to_string();
        StoreError { kind: StoreErrorKind::Unavailable, doing: doing.into(), message, source: Some(Box::new(source)) }
    }

    /// The local disk failed with `source`.
    pub fn local(doing: impl Into<String>, source: std::io::Error) -> StoreError {
        StoreError { kind: StoreErrorKind::Local, ..StoreError::unavailable(doing, source) }
    }

    /// `doing` met something that cannot be understood.
    pub fn invalid(doing: impl Into<String>, message: impl Into<String>) -> StoreError {
        StoreError::new(StoreErrorKind::Invalid, doing, message)
    }

    /// No answer within `limit`.
    pub fn timeout(doing: impl Into<String>, limit: Duration) -> StoreError {
        StoreError::new(StoreErrorKind::Timeout, doing, format!("no answer within {:.1} s", limit.as_secs_f64()))
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self.kind {
            StoreErrorKind::Unavailable | StoreErrorKind::Timeout | StoreErrorKind::Local => true,
            StoreErrorKind::Invalid => false,
        }
    }
}

/// Why a server cannot be used, and which settings to look at.
#[derive(Debug, thiserror::Error)]
#[error("{error}; look at {settings}")]
pub struct Complaint {
    /// What went wrong.
    pub error: StoreError,
    /// The variables that decide about it.
    pub settings: &'static str,
}

impl Complaint {
    fn new(settings: &'static str, error: StoreError) -> Complaint {
        Complaint { error, settings }
    }
}

/// What a store answers.
pub type StoreResult<T> = Result<T, StoreError>;

/// The queue of runs; also the outbox of their messages.
#[async_trait]
pub trait RunQueue: Send + Sync {
    /// Takes the document with the lowest `_id` among {QUEUED, `not_before` absent or past} and
    /// {RUNNING, no outcome, EXPIRED}: status RUNNING, `fence` = max(now in ms, old fence + 1), the claimant's id,
    /// host and lease, `heartbeat_at` now, `attempts` + 1, `not_before` removed, `{fence, RUNNING}` appended to
    /// `unsent`. Of two concurrent callers one gets it. The only write that must not be repeated blindly: a claim
    /// whose answer is lost runs out with its lease.
    async fn claim(&self, claimant: &Claimant) -> StoreResult<Option<QueueDocument>>;

    /// The same for {RUNNING, outcome set, EXPIRED}, but `attempts` and `unsent` stay as they are.
    async fn claim_settling(&self, claimant: &Claimant) -> StoreResult<Option<QueueDocument>>;

    /// The document as it is now; `None`: there is none.
    async fn find(&self, id: &Id) -> StoreResult<Option<QueueDocument>>;

    /// OWN as it is now; `None`: gone, or somebody else's.
    async fn find_own(&self, own: &Own) -> StoreResult<Option<QueueDocument>>;

    /// Whether another document of the analysis with a lower `_id` has no outcome and is QUEUED or has a date as
    /// `heartbeat_at`.
    async fn older_pending(&self, analysis_id: &Id, id: &Id) -> StoreResult<bool>;

    /// Whether another document of the analysis has an outcome whose fence is below `fence`.
    async fn earlier_outcome(&self, analysis_id: &Id, id: &Id, fence: i64) -> StoreResult<bool>;

    /// LIVE → `fence` = the given one.
    async fn raise(&self, own: &Own, fence: i64) -> StoreResult<bool>;

    /// OWN, status RUNNING (with or without outcome) → `heartbeat_at` now.
    async fn heartbeat(&self, own: &Own) -> StoreResult<bool>;

    /// LIVE → status QUEUED, `not_before` = now + `wait`, `attempts` − 1, `entry` pulled from `unsent`.
    async fn hand_back(&self, own: &Own, entry: &Unsent, wait: Duration) -> StoreResult<bool>;

    /// LIVE → `outcome` set, `{outcome.fence, outcome.status}` appended to `unsent`. The one point at which the end
    /// of a run is decided.
    async fn commit(&self, own: &Own, outcome: &Outcome) -> StoreResult<bool>;

    /// OWN → exactly this entry pulled from `unsent`.
    async fn pull(&self, own: &Own, entry: &Unsent) -> StoreResult<bool>;

    /// LIVE → status QUEUED, `not_before` = now + the larger of `lease_ms` and `wait`, `attempts` − 1,
    /// `releases` + 1, `{fence, QUEUED}` appended to `unsent`.
    async fn release(&self, own: &Own, wait: Duration) -> StoreResult<bool>;

    /// OWN, status QUEUED → `not_before` = now + `wait`: the releaser has sent all and lets others claim.
    async fn offer(&self, own: &Own, wait: Duration) -> StoreResult<bool>;

    /// Deletes OWN with an outcome and nothing unsent.
    async fn delete(&self, own: &Own) -> StoreResult<bool>;

    /// Writes `{_id, document, reason}` to the dead letters, over an older one of the same `_id`.
    async fn bury(&self, document: &QueueDocument, reason: &str) -> StoreResult<()>;

    /// Deletes OWN, whatever is in it: the second step of a dead letter.
    async fn remove(&self, own: &Own) -> StoreResult<bool>;
}

/// What waits in a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Waiting {
    /// Runs that wait for a worker.
    pub queued: u64,
    /// How long the oldest of them has waited, s, as far as its id tells.
    pub oldest_queued_s: f64,
    /// Messages that wait to be sent.
    pub messages: u64,
    /// How long the oldest of them has waited, s, as far as its fence tells.
    pub oldest_message_s: f64,
}

impl Waiting {
    /// Sums up: the number of waiting runs and the id of the oldest, the number of waiting messages and their lowest
    /// fence, which is a time unless a clock was set back.
    fn of(now: jiff::Timestamp, queued: u64, oldest: Option<&Id>, messages: u64, lowest_fence: Option<i64>) -> Waiting {
        let age = |ms: i64| (now.as_millisecond() - ms).max(0) as f64 / 1000.0;
        let made = oldest.and_then(|id| bson::oid::ObjectId::parse_str(id.as_str()).ok());
        Waiting {
            queued,
            oldest_queued_s: made.map_or(0.0, |id| age(id.timestamp().timestamp_millis())),
            messages,
            oldest_message_s: lowest_fence.map_or(0.0, age),
        }
    }
}

/// What a mark writes.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// The queue document that takes the analysis.
    pub queue_id: Id,
    /// Its fence.
    pub fence: i64,
    /// The document's `type`.
    pub run_type: String,
}

/// The largest result in bytes of BSON: what MongoDB takes, less some room for what travels with it.
///
/// # Source
/// MongoDB manual, "MongoDB Limits and Thresholds": 16 MiB.
pub const LARGEST_RESULT: usize = (16 << 20) - (64 << 10);

/// Refuses a result that is larger than [`LARGEST_RESULT`].
fn check_result(doing: &str, result: &Value) -> StoreResult<()> {
    match documents::bson_size(result) {
        size if size > LARGEST_RESULT => {
            Err(StoreError::invalid(doing, format!("it has {size} bytes, at most {LARGEST_RESULT} are taken")))
        }
        _ => Ok(()),
    }
}

/// The analyses and their results.
#[async_trait]
pub trait Analyses: Send + Sync {
    /// The analysis as it is now; `None`: there is none.
    async fn find(&self, key: &AnalysisKey) -> StoreResult<Option<Analysis>>;

    /// {(`queue_id` null, `fence` absent or below) or (`queue_id` this, `fence` at most this)} → status and
    /// `status_by_type.<type>` RUNNING, `started_at` now, worker {fence, queue_id}. An unknown type leaves
    /// `status_by_type`.
    async fn mark(&self, key: &AnalysisKey, mark: &Mark) -> StoreResult<bool>;

    /// The same, if the holder still is the one that was `read`: takes over from a document that is gone.
    async fn take_over(&self, key: &AnalysisKey, mark: &Mark, read: &Holder) -> StoreResult<bool>;

    /// {`queue_id` this} → status, `status_by_type.<type>`, `results.<type>` where there is a result, `error`
    /// (null where there is none), `finished_at` now, `queue_id` null, `fence` kept.
    async fn settle(&self, key: &AnalysisKey, queue_id: &Id, run_type: &str, outcome: &Outcome) -> StoreResult<bool>;

    /// {`queue_id` and `fence` this} → status and `status_by_type.<type>` QUEUED, still held.
    async fn release(&self, key: &AnalysisKey, mark: &Mark) -> StoreResult<bool>;

    /// {`queue_id` and `fence` this} → the outcome as `settle` writes it, still held: the queue document is gone.
    async fn withdraw(&self, key: &AnalysisKey, mark: &Mark, outcome: &Outcome) -> StoreResult<bool>;

    /// {`queue_id` and `fence` this} → `queue_id` null.
    async fn free(&self, key: &AnalysisKey, mark: &Mark) -> StoreResult<bool>;

    /// {`queue_id` and `fence` this} → `progress` {stage, fraction}.
    async fn progress(&self, key: &AnalysisKey, mark: &Mark, stage: &str, fraction: f64) -> StoreResult<bool>;

    /// Writes a result under `id`, over an older one of the same id; one of more than [`LARGEST_RESULT`] bytes is
    /// refused.
    async fn put_result(&self, structure_id: &Id, id: &Id, result: &Value) -> StoreResult<()>;

    /// Results of this type of the structure's other analyses, the newest id first, at most `limit`, without
    /// [`PLOTTED`](crate::model::result::PLOTTED).
    async fn results_beside(&self, key: &AnalysisKey, run_type: RunType, limit: usize) -> StoreResult<Vec<Value>>;
}

/// What is known of structures, channels and raw files. Read only.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// The structure; `None`: there is none.
    async fn structure(&self, id: &Id) -> StoreResult<Option<Structure>>;

    /// Its channels, active or not, in a stable order.
    async fn channels(&self, structure: &Structure) -> StoreResult<Vec<Channel>>;

    /// The index of its raw files, in the order of their start: all entries that may overlap the period, perhaps others.
    async fn measures(&self, structure: &Structure, period: Period) -> StoreResult<Vec<Measure>>;
}

/// Refuses a key that is no plain relative path: one that would lead out of its bucket where objects are files.
fn check_key(doing: &str, key: &str) -> StoreResult<()> {
    let is_plain = Path::new(key).components().all(|part| matches!(part, Component::Normal(_)));
    match is_plain && !key.is_empty() {
        true => Ok(()),
        false => Err(StoreError::invalid(doing, format!("key {key:?} is no plain relative path"))),
    }
}

/// What is known of an object without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key in the bucket.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Changes whenever the content does.
    pub etag: String,
}

/// A part of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Ascending by key.
    pub objects: Vec<ObjectInfo>,
    /// To be given to the next call; `None`: this was the last page.
    pub next: Option<String>,
}

/// Raw files and cached records.
#[async_trait]
pub trait Objects: Send + Sync {
    /// Size and etag; `None`: there is no such object.
    async fn head(&self, bucket: &str, key: &str) -> StoreResult<Option<ObjectInfo>>;

    /// Writes the content to `path`, which appears only when it is whole; `None`: there is no such object.
    async fn get(&self, bucket: &str, key: &str, path: &Path) -> StoreResult<Option<ObjectInfo>>;

    /// Stores the file: readers see the old object or the whole new one, and the answer is what a `head` would say.
    async fn put(&self, bucket: &str, key: &str, path: &Path) -> StoreResult<ObjectInfo>;

    /// The objects whose keys begin with `prefix`, page by page; `after` is the `next` of the page before.
    async fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> StoreResult<Page>;
}

/// The topic of status messages.
#[async_trait]
pub trait Statuses: Send + Sync {
    /// Sends one message and waits until it is kept for good. Messages acknowledged one after the other keep their
    /// order. Once `within` has passed since the call, a message that is not yet sent never will be.
    async fn send(&self, message: &StatusMessage, within: Duration) -> StoreResult<()>;
}

/// The broadcasts that abort runs.
#[async_trait]
pub trait Aborts: Send + Sync {
    /// Every payload that is broadcast from now on, as raw bytes, once or oftener. Every subscriber sees every one.
    /// An error is an item, not the end.
    async fn subscribe(&self) -> StoreResult<BoxStream<'static, StoreResult<Vec<u8>>>>;
}

/// The six ports together.
#[derive(Clone)]
pub struct Stores {
    /// The queue.
    pub queue: Arc<dyn RunQueue>,
    /// Analyses and results.
    pub analyses: Arc<dyn Analyses>,
    /// Structures, channels, measures.
    pub catalog: Arc<dyn Catalog>,
    /// Raw files and cache.
    pub objects: Arc<dyn Objects>,
    /// Status messages.
    pub statuses: Arc<dyn Statuses>,
    /// Broadcasts.
    pub aborts: Arc<dyn Aborts>,
}

impl Stores {
    /// All of them kept by one.
    pub fn of<S>(store: S) -> Stores
    where
        S: RunQueue + Analyses + Catalog + Objects + Statuses + Aborts + 'static,
    {
        let store = Arc::new(store);
        Stores {
            queue: store.clone(),
            analyses: store.clone(),
            catalog: store.clone(),
            objects: store.clone(),
            statuses: store.clone(),
            aborts: store,
        }
    }
}
