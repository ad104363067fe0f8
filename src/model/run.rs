//! Runs, their states and the messages about them (contract §1; the spellings are fixed).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a queue document asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RunType {
    /// Ingest, preprocess, fill the cache, judge the channels.
    Preprocessing,
    /// Frequency domain decomposition.
    Fdd,
    /// Stochastic subspace identification.
    Ssi,
}

impl RunType {
    /// All of them, in the order in which an analysis usually wants them.
    pub const ALL: [RunType; 3] = [RunType::Preprocessing, RunType::Fdd, RunType::Ssi];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            RunType::Preprocessing => "PREPROCESSING",
            RunType::Fdd => "FDD",
            RunType::Ssi => "SSI",
        }
    }
}

impl fmt::Display for RunType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RunType {
    type Err = String;

    fn from_str(word: &str) -> Result<RunType, String> {
        RunType::ALL
            .into_iter()
            .find(|t| t.as_str() == word)
            .ok_or_else(|| format!("run type {word:?} is unknown, known are PREPROCESSING, FDD, SSI"))
    }
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Made by the API.
    Ready,
    /// Waiting in the queue.
    Queued,
    /// Claimed by a worker.
    Running,
    /// Ended with a result.
    Done,
    /// Ended without one.
    Error,
    /// Stopped by a broadcast, or withdrawn.
    Aborted,
}

impl Status {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ready => "READY",
            Status::Queued => "QUEUED",
            Status::Running => "RUNNING",
            Status::Done => "DONE",
            Status::Error => "ERROR",
            Status::Aborted => "ABORTED",
        }
    }

    /// Whether a run in this state is over.
    pub fn is_terminal(self) -> bool {
        matches!(self, Status::Done | Status::Error | Status::Aborted)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The status message, exactly these five fields in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusMessage {
    /// The analysis' tenant.
    pub tenant_id: i64,
    /// The analysis' user.
    pub user_id: i64,
    /// The analysis' id; also the message's key.
    pub document_id: String,
    /// The kind of run in the queue document's own word, so that a run of an unknown kind can be told of too.
    pub run_type: String,
    /// Its new status.
    pub status: Status,
}
