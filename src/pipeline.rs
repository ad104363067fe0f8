//! From local files to a result: ingest → preprocess → modal, synchronous, under a [`Control`].

mod methods;
mod plscf;
mod reduced;
mod setups;
mod signals;
mod summary;
mod view;

pub use self::setups::{check_setups, run_setups};

use crate::compute::ComputeError;
use crate::compute::select::Backends;
use crate::ingest::cache::CachedRecord;
use crate::modal::ModalError;
use crate::model::channel::Channel;
use crate::model::control::{Cancelled, Control};
use crate::model::geometry::Wireframe;
use crate::model::parameters::Parameters;
use crate::model::record::{RawFile, ReadError, Record};
use crate::model::result::AnalysisResult;
use crate::model::run::RunType;
use crate::preprocess::{self, PrepareError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use view::LiveChannels;

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
    /// What joins the places of the channels.
    pub wireframe: Wireframe,
    /// The analysis' choice of channels by name.
    pub selected_channels: Option<Vec<String>>,
    /// The analysis' reference channels by name.
    pub reference_channels: Option<Vec<String>>,
    /// Only samples from here …
    pub period_start: Option<jiff::Timestamp>,
    /// … to here.
    pub period_end: Option<jiff::Timestamp>,
    /// Where to compute.
    pub backends: Arc<Backends>,
}

impl Request {
    /// A run over all of the files' channels and time, with every parameter by rule, on the CPU.
    pub fn new(run_type: RunType, files: Vec<RawFile>) -> Request {
        Request {
            run_type,
            analysis_id: None,
            parameters: Parameters::default(),
            files,
            channels: Vec::new(),
            wireframe: Wireframe::default(),
            selected_channels: None,
            reference_channels: None,
            period_start: None,
            period_end: None,
            backends: Backends::cpu(),
        }
    }
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
    /// The cached record that was handed in cannot be used: the caller should go on as if there were none.
    #[error("cached record: {0}")]
    Cache(String),
}

impl PipelineError {
    fn permanent(code: &'static str, message: impl Into<String>) -> PipelineError {
        PipelineError::Permanent { code, message: message.into() }
    }

    /// The same with the setup that it is about, counted from 1.
    #[must_use]
    pub fn of_setup(self, number: usize) -> PipelineError {
        match self {
            PipelineError::Permanent { code, message } => {
                PipelineError::Permanent { code, message: format!("setup {number}: {message}") }
            }
            error => error,
        }
    }
}

impl From<PrepareError> for PipelineError {
    fn from(error: PrepareError) -> PipelineError {
        match error {
            PrepareError::Cancelled(cancelled) => cancelled.into(),
            error if error.is_permanent() => PipelineError::permanent(error.code(), error.to_string()),
            error => PipelineError::Transient(error.to_string()),
        }
    }
}

impl From<ModalError> for PipelineError {
    fn from(error: ModalError) -> PipelineError {
        let message = error.to_string();
        match error {
            ModalError::Cancelled(cancelled) | ModalError::Read(ReadError::Cancelled(cancelled)) => cancelled.into(),
            ModalError::Read(_) => PipelineError::Transient(message),
            ModalError::Compute(ComputeError::Device(_)) => PipelineError::Transient(message),
            ModalError::Compute(_) => PipelineError::permanent("data_too_short", message),
            ModalError::Memory(_) => PipelineError::permanent("too_large", message),
            ModalError::Setting(_) => PipelineError::permanent("bad_parameter", message),
            ModalError::Data(_) | ModalError::NoConvergence(_) => PipelineError::permanent("bad_data", message),
        }
    }
}

/// Does the work. `cached`: the preprocessed record from the cache, if there was one. `work_dir`: an existing folder
/// for what the run leaves.
///
/// # Errors
/// [`PipelineError`], with a code and a sentence; [`PipelineError::Cache`] only where `cached` was given.
pub fn run(
    request: &Request,
    cached: Option<&Path>,
    work_dir: &Path,
    control: &Control,
) -> Result<Outcome, PipelineError> {
    let start = Instant::now();
    let (record, cache_file) = match cached {
        Some(path) => (CachedRecord::open(path).map_err(|error| PipelineError::Cache(error.to_string()))?, None),
        None => {
            let path = work_dir.join("record.parquet");
            (prepared(request, &path, control)?, Some(path))
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let backend = &request.backends.for_run(record.description().samples);
    let mut result = summary::of_record(request, record.description());
    result.provenance.seconds.insert("ingest".into(), seconds);
    control.checkpoint()?;
    let start = Instant::now();
    match request.run_type {
        RunType::Preprocessing => {
            result.channel_quality = Some(record.description().quality.clone());
            result.channel_signals = Some(signals::of(&record, backend, control)?);
            summary::place_channels(&mut result, &record.info().channels, &request.wireframe);
        }
        RunType::Fdd | RunType::Ssi => {
            let live = LiveChannels::of(&record, &record.description().quality)?;
            result.provenance.warnings.extend(live.warnings().iter().cloned());
            summary::describe_channels(&mut result, &live, &record.description().quality);
            summary::place_channels(&mut result, &live.info().channels, &request.wireframe);
            reduced::identify(&mut result, request, &live, backend, control)?;
            result.provenance.seconds.insert(result.method.clone(), start.elapsed().as_secs_f64());
        }
    }
    backend.log_traffic();
    summary::describe_backend(&mut result, backend.told());
    Ok(Outcome { result, cache_file })
}

/// Makes the preprocessed record of a piece of work at `out`.
///
/// # Errors
/// [`PipelineError`], with a code and a sentence.
pub fn prepare(request: &Request, out: &Path, control: &Control) -> Result<(), PipelineError> {
    prepared(request, out, control).map(drop)
}

/// Whether a file is a preprocessed record.
pub fn is_record(path: &Path) -> bool {
    CachedRecord::open(path).is_ok()
}

fn prepared(request: &Request, out: &Path, control: &Control) -> Result<CachedRecord, PipelineError> {
    Ok(preprocess::prepare(
        &request.files,
        &request.channels,
        request.selected_channels.as_deref(),
        (request.period_start, request.period_end),
        &request.parameters.preprocessing,
        out,
        control,
    )?)
}
