//! The computation itself: gathers what the pipeline needs from the stores, runs it, and keeps the record it made.

use super::extent::{Extent, Setups, names};
use super::fault::{Fault, classify};
use super::inputs::{self, Input};
use super::retry::{Retry, mongodb, mysql};
use super::setups::Source;
use super::spool::Spool;
use super::transfers::{TRANSFER_TIMEOUT, unless_stopped};
use super::work_folder::{self, WorkFolder};
use super::{Compute, ComputedResult, Job, earlier, large_arrays};
use crate::compute::select::Backends;
use crate::model::channel::Channel;
use crate::model::control::{Cancelled, Control};
use crate::model::geometry::Wireframe;
use crate::model::parameters::{ParameterError, Parameters};
use crate::model::record::RawFile;
use crate::model::result::{AnalysisResult, StoredReport};
use crate::model::run::RunType;
use crate::pipeline::{self, Outcome, PipelineError, Request};
use crate::report;
use crate::stores::documents::{Id, Measure, Period, Structure};
use crate::stores::names::{Names, array_key, record_key, report_key};
use crate::stores::{LARGEST_RESULT, StoreError, StoreResult, Stores};
use async_trait::async_trait;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Version of what preprocessing makes of the same input; to be raised with every change of its numbers or of the
/// cache's layout, so that no run takes a record of another version.
const RECORD_VERSION: u32 = 3;
/// Why a run could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The queue document names a structure that does not exist.
    #[error("structure {structure_id} does not exist")]
    MissingStructure {
        /// As in the queue document.
        structure_id: String,
    },
    /// The structure has no channel in use.
    #[error("structure {structure:?} has no active channel ({known} channels are known)")]
    NoChannels {
        /// The structure's name.
        structure: String,
        /// Channels known, active or not.
        known: usize,
    },
    /// There is nothing to compute from.
    #[error("no raw file of structure {structure:?} lies in the period of the analysis")]
    NoFiles {
        /// The structure's name.
        structure: String,
    },
    /// The index names a file that is not in the bucket.
    #[error("raw file {key} does not exist in bucket {bucket}")]
    MissingFile {
        /// The bucket.
        bucket: String,
        /// The file's key.
        key: String,
    },
    /// One of the analysis' setups cannot be computed.
    #[error("setup {number}: {error}")]
    Setup {
        /// Counted from 1.
        number: usize,
        /// Why.
        error: Box<ExecuteError>,
    },
    /// A field of the analysis cannot be used.
    #[error("analysis: {field} {message}")]
    Analysis {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A parameter of the analysis cannot be used.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// A store failed for longer than it is waited for.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The local disk failed.
    #[error("{path}: {source}")]
    Local {
        /// The file or folder.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The result, or a large array of it, cannot be encoded.
    #[error("result document: {0}")]
    Encode(Box<dyn std::error::Error + Send + Sync>),
    /// The pipeline failed.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

impl From<Cancelled> for ExecuteError {
    fn from(cancelled: Cancelled) -> ExecuteError {
        ExecuteError::Pipeline(cancelled.into())
    }
}

/// The computation over real stores.
pub struct Execute {
    pub(super) stores: Stores,
    pub(super) names: Names,
    pub(super) string_paths: bool,
    pub(super) spool: Spool,
    pub(super) work: PathBuf,
    pub(super) retry: Retry,
    memory_limit_mib: Option<u64>,
    reports: bool,
    tracked_results: usize,
    backends: Arc<Backends>,
}

impl Execute {
    /// `data_path`: where raw files are kept, at most `spool_limit` bytes between runs, and runs leave what they make.
    /// `string_paths`: the keys of raw files are made of names instead of ids (`USE_S3_STRING_PATHS`).
    pub fn new(stores: Stores, names: Names, data_path: &Path, spool_limit: u64, string_paths: bool) -> Execute {
        let defaults = super::WorkerOptions::default();
        let retry = Retry::new(None, defaults.call_timeout, defaults.patience);
        let spool = Spool::new(data_path, spool_limit);
        let work = data_path.join("work");
        work_folder::sweep(&work);
        Execute {
            stores,
            names,
            string_paths,
            spool,
            work,
            retry,
            memory_limit_mib: None,
            reports: false,
            tracked_results: 0,
            backends: Backends::cpu(),
        }
    }

    /// The same with a limit for what the matrices of a run may take (`OMA_MEMORY_LIMIT_MIB`).
    pub fn with_memory_limit(self, mib: Option<u64>) -> Execute {
        Execute { memory_limit_mib: mib, ..self }
    }

    /// The same, leaving a page beside each result where `reports` (`OMA_REPORTS`).
    pub fn with_reports(self, reports: bool) -> Execute {
        Execute { reports, ..self }
    }

    /// The same, tracking the modes over so many earlier results (`OMA_TRACKED_RESULTS`).
    pub fn with_tracking(self, tracked_results: usize) -> Execute {
        Execute { tracked_results, ..self }
    }

    /// The same on other backends than the CPU.
    pub fn with_backends(self, backends: Arc<Backends>) -> Execute {
        Execute { backends, ..self }
    }

    async fn execute(&self, job: Job, control: Control) -> Result<ComputedResult, ExecuteError> {
        let control = control.with_memory_limit(self.memory_limit_mib);
        let body = &job.analysis.body;
        let parameters = Parameters::from_parts(&body["preprocessing"], &body["fdd"], &body["ssi"])?;
        // What PREPROCESSING shows is the one record of the analysis' own period.
        let setups = Setups::of(body)?.filter(|_| job.run_type != RunType::Preprocessing);
        let own = Extent::of(body)?;
        let extents = setups.as_ref().map_or(std::slice::from_ref(&own), |setups| &setups.records);
        control.progress("inputs", 0.0);
        let find = async {
            let structure = self.structure(&job).await?;
            control.progress("inputs", 0.3);
            let channels = self.channels(&structure).await?;
            control.progress("inputs", 0.6);
            let mut inputs = Vec::new();
            for (number, extent) in (1..).zip(extents) {
                let found = inputs::find(self, &structure, &channels, extent.period, &control).await;
                inputs.push(if setups.is_some() { found.map_err(|error| error.of_setup(number))? } else { found? });
            }
            Ok((structure, channels, inputs))
        };
        let (structure, channels, inputs) = unless_stopped(&control, find).await?;
        let (wireframe, unread) = wireframe(&structure);
        let reference_channels = names(body, "reference_channels")?;
        let source = |(extent, inputs): (&Extent, Vec<Input>)| {
            let request = Request {
                run_type: job.run_type,
                analysis_id: Some(job.key.analysis_id.to_string()),
                parameters: parameters.clone(),
                files: Vec::new(),
                channels: channels.clone(),
                wireframe: wireframe.clone(),
                selected_channels: extent.channels.clone(),
                reference_channels: reference_channels.clone(),
                period_start: extent.period.0,
                period_end: extent.period.1,
                backends: self.backends.clone(),
            };
            Source { cache_key: cache_key(&job, &request, &inputs), request, inputs }
        };
        let mut sources: Vec<Source> = extents.iter().zip(inputs).map(source).collect();
        let mut result = match &setups {
            Some(setups) => self.compute_setups(setups.strategy, sources, &control).await?,
            None => {
                let (outcome, cache_key) = self.compute_cached(sources.remove(0), &control).await?;
                AnalysisResult { cache_key, ..outcome.result }
            }
        };
        result.analysis_id = Some(job.key.analysis_id.to_string());
        result.provenance.warnings.extend(unread);
        if self.tracked_results > 0 && job.run_type != RunType::Preprocessing {
            unless_stopped(&control, earlier::track(self, &mut result, &job)).await?;
        }
        if self.reports {
            result.report = Some(self.keep_report(&result, &job.key.structure_id, &control).await?);
        }
        for (stage, seconds) in &result.provenance.seconds {
            metrics::histogram!("oma_stage_seconds", "stage" => stage.clone()).record(*seconds);
        }
        // No GPU at all is no fallback, only one that was taken and did not do everything.
        let provenance = &result.provenance;
        let is_fallback = provenance.adapter.is_some() && provenance.fallback_reason.is_some();
        let fallback = if is_fallback { "yes" } else { "no" };
        let backend = result.provenance.backend.clone();
        metrics::counter!("oma_backend_runs_total", "backend" => backend, "fallback" => fallback).increment(1);
        let mut document = serde_json::to_value(result).map_err(|error| ExecuteError::Encode(error.into()))?;
        self.keep_large_arrays(&mut document, &job.key.structure_id, &control).await?;
        Ok(ComputedResult { document })
    }

    /// Puts the result's page beside it, before the document names it.
    async fn keep_report(
        &self,
        result: &AnalysisResult,
        structure_id: &Id,
        control: &Control,
    ) -> Result<StoredReport, ExecuteError> {
        let page = report::page(report::TITLE, &[], std::slice::from_ref(result));
        let sha256 = sha256(page.as_bytes());
        let key = report_key(structure_id, &sha256);
        self.keep(&key, page.as_bytes(), control).await?;
        Ok(StoredReport { key, sha256 })
    }

    /// Puts what the document has no room for beside it, before the document names it.
    async fn keep_large_arrays(
        &self,
        document: &mut Value,
        structure_id: &Id,
        control: &Control,
    ) -> Result<(), ExecuteError> {
        let key = |sha256: &str| array_key(structure_id, sha256);
        let taken = large_arrays::take_out(document, LARGEST_RESULT, key);
        for array in taken.map_err(|error| ExecuteError::Encode(error.into()))? {
            self.keep(&array.key, &array.content, control).await?;
        }
        Ok(())
    }

    /// Runs the pipeline over the cached record if there is one, over the raw files otherwise; and what it made of
    /// these is cached. Returns the cache's key, if the record is there now.
    pub(super) async fn compute_cached(
        &self,
        source: Source,
        control: &Control,
    ) -> Result<(Outcome, Option<String>), ExecuteError> {
        let Source { request, inputs, cache_key } = source;
        let request = Request { files: self.raw_files(&inputs), ..request };
        let folder = self.work_folder()?;
        let cached = folder.path().join("cached.parquet");
        if self.is_cached(&cache_key, &cached, control).await? {
            match self.run(request.clone(), Some(cached), folder.path(), control).await {
                Ok(outcome) => return Ok((outcome, Some(cache_key))),
                // A damaged record is a miss.
                Err(PipelineError::Cache(reason)) => tracing::debug!(cache_key, reason, "cached record not used"),
                Err(error) => return Err(error.into()),
            }
        }
        unless_stopped(control, self.download(&inputs, control)).await?;
        let mut outcome = self.run(request, None, folder.path(), control).await?;
        let Some(file) = &outcome.cache_file else { return Ok((outcome, None)) };
        match self.keep_record(&cache_key, file, control).await? {
            None => Ok((outcome, Some(cache_key))),
            Some(warning) => {
                outcome.result.provenance.warnings.push(warning);
                Ok((outcome, None))
            }
        }
    }

    /// The pipeline.
    async fn run(
        &self,
        request: Request,
        cached: Option<PathBuf>,
        folder: &Path,
        control: &Control,
    ) -> Result<Outcome, PipelineError> {
        let (folder, control) = (folder.to_owned(), control.clone());
        self.blocking(move || pipeline::run(&request, cached.as_deref(), &folder, &control)).await
    }

    /// Work on a thread where it may block; a panic goes on here.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PipelineError> + Send + 'static,
    ) -> Result<T, PipelineError> {
        let span = tracing::Span::current();
        match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
            Ok(result) => result,
            Err(died) => match died.try_into_panic() {
                Ok(payload) => std::panic::resume_unwind(payload),
                Err(error) => Err(PipelineError::Transient(error.to_string())),
            },
        }
    }

    async fn structure(&self, job: &Job) -> Result<Structure, ExecuteError> {
        let id = &job.key.structure_id;
        let read = || {
            let (catalog, id) = (self.stores.catalog.clone(), id.clone());
            async move { catalog.structure(&id).await }
        };
        let found = self.retry.call(mongodb("read the structure"), read).await?;
        found.ok_or_else(|| ExecuteError::MissingStructure { structure_id: id.to_string() })
    }

    async fn channels(&self, structure: &Structure) -> Result<Vec<Channel>, ExecuteError> {
        let read = || {
            let (catalog, structure) = (self.stores.catalog.clone(), structure.clone());
            async move { catalog.channels(&structure).await }
        };
        let mut channels = self.retry.call(mysql("read the channels"), read).await?;
        let known = channels.len();
        channels.retain(|channel| channel.active);
        if channels.is_empty() {
            return Err(ExecuteError::NoChannels { structure: structure.name.clone(), known });
        }
        Ok(channels)
    }

    pub(super) fn work_folder(&self) -> Result<WorkFolder, ExecuteError> {
        WorkFolder::new(&self.work)
            .map_err(|source| ExecuteError::Local { path: self.work.display().to_string(), source })
    }

    pub(super) fn raw_files(&self, inputs: &[Input]) -> Vec<RawFile> {
        let raw_file = |input: &Input| RawFile {
            key: input.object.key.clone(),
            path: self.spool.path(&self.names.file_bucket, &input.object),
            sensor_id: input.sensor_id.clone(),
            axes: input.axes.clone(),
            start: input.start,
            sampling_rate_hz: input.sampling_rate_hz,
        };
        inputs.iter().map(raw_file).collect()
    }

    /// A bounded and repeated look at the index of raw files.
    pub(super) async fn measures(&self, structure: &Structure, period: Period) -> StoreResult<Vec<Measure>> {
        let read = || {
            let (catalog, structure) = (self.stores.catalog.clone(), structure.clone());
            async move { catalog.measures(&structure, period).await }
        };
        self.retry.call_within(mongodb("read the measures"), TRANSFER_TIMEOUT, read).await
    }

    /// A bounded and repeated look at the results of the structure's other analyses.
    pub(super) async fn results_beside(&self, job: &Job) -> StoreResult<Vec<Value>> {
        let read = || {
            let (analyses, key) = (self.stores.analyses.clone(), job.key.clone());
            let (run_type, limit) = (job.run_type, self.tracked_results);
            async move { analyses.results_beside(&key, run_type, limit).await }
        };
        self.retry.call(mongodb("read earlier results"), read).await
    }
}

#[async_trait]
impl Compute for Execute {
    async fn compute(&self, job: Job, control: Control) -> Result<ComputedResult, Fault> {
        let first = self.execute(job.clone(), control.clone()).await.map_err(classify);
        match &first {
            // The disk may be smaller than what the spool may take, or filled by others.
            Err(Fault::Unfit(message)) if self.spool.clear() => {
                tracing::warn!(message, "raw files of earlier runs were deleted, the run is tried again");
                self.execute(job, control).await.map_err(classify)
            }
            _ => first,
        }
    }
}

/// What the structure's document says of its geometry; a warning where that cannot be read.
fn wireframe(structure: &Structure) -> (Wireframe, Option<String>) {
    if structure.geometry.is_null() {
        return (Wireframe::default(), None);
    }
    match serde_json::from_value(structure.geometry.clone()) {
        Ok(wireframe) => (wireframe, None),
        Err(error) => (Wireframe::default(), Some(format!("the structure's geometry cannot be read: {error}"))),
    }
}

/// The key of the preprocessed record: a hash of everything that the record depends on.
fn cache_key(job: &Job, request: &Request, inputs: &[Input]) -> String {
    let objects: Vec<Value> =
        inputs.iter().map(|input| json!([input.object.key, input.object.size, input.object.etag])).collect();
    let content = json!({
        "version": RECORD_VERSION,
        "inputs": objects,
        "preprocessing": request.parameters.preprocessing,
        "channels": request.channels,
        "selected_channels": request.selected_channels,
        "period": [request.period_start, request.period_end],
    });
    record_key(&job.key.structure_id, &sha256(content.to_string().as_bytes()))
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
