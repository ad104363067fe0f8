//! From local files to a result: ingest → preprocess → modal, synchronous, under a [`Control`].

use crate::model::channel::Channel;
use crate::model::control::{Cancelled, Control};
use crate::model::parameters::Parameters;
use crate::model::record::RawFile;
use crate::model::result::AnalysisResult;
use crate::model::run::RunType;
use std::path::{Path, PathBuf};

/// One piece of work.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to compute.
    pub run_type: RunType,
    /// The analysis, where there is one.
    pub analysis_id: Option<String>,
    /// All three parts of the parameters.
    pub parameters: Parameters,
    /// The raw files, in the order of their time.
    pub files: Vec<RawFile>,
    /// The structure's active channels; empty: take what the files hold.
    pub channels: Vec<Channel>,
    /// The analysis' choice of channels by name.
    pub selected_channels: Option<Vec<String>>,
    /// The analysis' reference channels by name.
    pub reference_channels: Option<Vec<String>>,
    /// Only samples from here …
    pub period_start: Option<jiff::Timestamp>,
    /// … to here.
    pub period_end: Option<jiff::Timestamp>,
}

/// What a piece of work left.
#[derive(Debug)]
pub struct Outcome {
    /// The result document.
    pub result: AnalysisResult,
    /// The preprocessed record, where this run made it: to be stored under the cache key.
    pub cache_file: Option<PathBuf>,
}

/// Why a piece of work failed.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// Stopped from outside.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The input or the parameters forbid an answer: the same again would fail again.
    #[error("{message}")]
    Permanent {
        /// Short word for machines: `data_too_short`, `bad_parameter`, `unreadable_file`, …
        code: &'static str,
        /// A sentence for the user, with numbers.
        message: String,
    },
    /// The machine failed, not the input (disk full, file vanished).
    #[error("{0}")]
    Transient(String),
}

/// Does the work. `cached`: the preprocessed record from the cache, if there was one; a file that turns out
/// truncated or altered counts as none. `work_dir`: an existing folder for what the run leaves.
///
/// # Errors
/// [`PipelineError`], with a code and a sentence.
pub fn run(
    request: &Request,
    cached: Option<&Path>,
    work_dir: &Path,
    control: &Control,
) -> Result<Outcome, PipelineError> {
    let _ = (request, cached, work_dir, control);
    Err(PipelineError::Transient("not yet".into()))
}
