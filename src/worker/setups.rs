//! A run over several setups: each by itself and the modes joined, or all records together.

use super::execute::{Execute, ExecuteError};
use super::inputs::Input;
use super::transfers::unless_stopped;
use crate::modal::merging;
use crate::model::control::Control;
use crate::model::merging::Strategy;
use crate::model::result::AnalysisResult;
use crate::pipeline::{self, PipelineError, Request};
use std::path::Path;

/// What one setup, or the one record, is computed from.
pub(super) struct Source {
    pub(super) request: Request,
    pub(super) inputs: Vec<Input>,
    pub(super) cache_key: String,
}

impl Execute {
    /// The modes of all setups. The record of each is taken from the cache and kept there as that of a run by itself.
    pub(super) async fn compute_setups(
        &self,
        strategy: Strategy,
        setups: Vec<Source>,
        control: &Control,
    ) -> Result<AnalysisResult, ExecuteError> {
        if strategy == Strategy::Poser {
            let mut results = Vec::new();
            for (number, setup) in (1..).zip(setups) {
                let (outcome, cache_key) =
                    self.compute_cached(setup, control).await.map_err(|error| error.of_setup(number))?;
                results.push(AnalysisResult { cache_key, ..outcome.result });
            }
            return Ok(merging::merge(&results).map_err(PipelineError::from)?);
        }
        pipeline::check_setups(strategy, &setups[0].request)?;
        let folder = self.work_folder()?;
        let (mut records, mut warnings) = (Vec::new(), Vec::new());
        for (number, setup) in (1..).zip(setups) {
            let path = folder.path().join(format!("setup-{number}.parquet"));
            let warning = self.record(&setup, &path, control).await.map_err(|error| error.of_setup(number))?;
            warnings.extend(warning.map(|warning| format!("setup {number}: {warning}")));
            records.push((setup.request, path));
        }
        let of_run = control.clone();
        let run = move || pipeline::run_setups(strategy, &records, &of_run);
        let mut result = self.blocking(run).await?;
        result.provenance.warnings.append(&mut warnings);
        Ok(result)
    }

    /// The preprocessed record at `path`: the cached one if there is one, otherwise it is made and cached. Returns the warning
    /// where that failed.
    async fn record(&self, setup: &Source, path: &Path, control: &Control) -> Result<Option<String>, ExecuteError> {
        let Source { request, inputs, cache_key } = setup;
        if self.is_cached(cache_key, path, control).await? && pipeline::is_record(path) {
            return Ok(None);
        }
        unless_stopped(control, self.download(inputs, control)).await?;
        let request = Request { files: self.raw_files(inputs), ..request.clone() };
        let (out, of_run) = (path.to_owned(), control.clone());
        self.blocking(move || pipeline::prepare(&request, &out, &of_run)).await?;
        self.keep_record(cache_key, path, control).await
    }
}

impl ExecuteError {
    /// The same with the setup that it is about, counted from 1.
    pub(super) fn of_setup(self, number: usize) -> ExecuteError {
        ExecuteError::Setup { number, error: Box::new(self) }
    }
}
