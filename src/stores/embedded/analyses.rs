//! [`Analyses`] in SQLite.

use super::Embedded;
use crate::model::run::RunType;
use crate::stores::documents::{Analysis, AnalysisKey, Holder, Id, Outcome};
use crate::stores::{Analyses, Mark, StoreResult, check_result, transitions};
use async_trait::async_trait;
use serde_json::Value;

impl Embedded {
    async fn change_analysis(
        &self,
        key: &AnalysisKey,
        change: impl FnOnce(&mut Analysis, i64) -> bool + Send,
    ) -> StoreResult<bool> {
        let change = |body: &Value, now| {
            let mut analysis = Analysis { id: key.analysis_id.clone(), body: body.clone() };
            change(&mut analysis, now).then_some(analysis.body)
        };
        self.database.change(&self.names.analyses_of(&key.structure_id), &key.analysis_id, change).await
    }
}

#[async_trait]
impl Analyses for Embedded {
    async fn find(&self, key: &AnalysisKey) -> StoreResult<Option<Analysis>> {
        let found = self.database.find(&self.names.analyses_of(&key.structure_id), &key.analysis_id).await?;
        Ok(found.map(|body| Analysis { id: key.analysis_id.clone(), body }))
    }

    async fn mark(&self, key: &AnalysisKey, mark: &Mark) -> StoreResult<bool> {
        self.change_analysis(key, |analysis, now| transitions::mark(analysis, mark, now)).await
    }

    async fn take_over(&self, key: &AnalysisKey, mark: &Mark, read: &Holder) -> StoreResult<bool> {
        self.change_analysis(key, |analysis, now| transitions::take_over(analysis, mark, read, now)).await
    }

    async fn settle(&self, key: &AnalysisKey, queue_id: &Id, run_type: &str, outcome: &Outcome) -> StoreResult<bool> {
        let settle = |analysis: &mut Analysis, now| transitions::settle(analysis, queue_id, run_type, outcome, now);
        self.change_analysis(key, settle).await
    }

    async fn release(&self, key: &AnalysisKey, mark: &Mark) -> StoreResult<bool> {
        self.change_analysis(key, |analysis, _| transitions::release_analysis(analysis, mark)).await
    }

    async fn withdraw(&self, key: &AnalysisKey, mark: &Mark, outcome: &Outcome) -> StoreResult<bool> {
        self.change_analysis(key, |analysis, now| transitions::withdraw(analysis, mark, outcome, now)).await
    }

    async fn free(&self, key: &AnalysisKey, mark: &Mark) -> StoreResult<bool> {
        self.change_analysis(key, |analysis, _| transitions::free(analysis, mark)).await
    }

    async fn progress(&self, key: &AnalysisKey, mark: &Mark, stage: &str, fraction: f64) -> StoreResult<bool> {
        self.change_analysis(key, |analysis, _| transitions::progress(analysis, mark, stage, fraction)).await
    }

    async fn put_result(&self, structure_id: &Id, id: &Id, result: &Value) -> StoreResult<()> {
        check_result("store the result", result)?;
        self.database.put(&self.names.results_of(structure_id), id, result).await
    }

    async fn results_beside(&self, of: &AnalysisKey, run_type: RunType, limit: usize) -> StoreResult<Vec<Value>> {
        let collection = self.names.results_of(&of.structure_id);
        self.database.results_beside(&collection, &of.analysis_id, run_type.as_str(), limit).await
    }
}
