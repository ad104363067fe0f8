//! [`Analyses`] in MongoDB: each method one filter and one update, by the server's clock.

use super::expressions::{literal, object};
use super::ids::{any_form, key, key_forms, reference};
use super::{Mongo, failed, from_bson, to_bson};
use crate::model::result::PLOTTED;
use crate::model::run::{RunType, Status};
use crate::stores::documents::{Analysis, AnalysisKey, Holder, Id, Outcome};
use crate::stores::{Analyses, Mark, StoreError, StoreResult, check_result};
use async_trait::async_trait;
use bson::{Bson, Document, doc};
use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::error::{Error, ErrorKind};
use serde_json::Value;
use std::str::FromStr;

/// Whether the server says that no collection can have this name: a structure whose id makes one has no analyses.
fn is_no_name(error: &Error) -> bool {
    const INVALID_NAMESPACE: i32 = 73;
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == INVALID_NAMESPACE)
}

/// No queue document holds the analysis.
pub(super) fn is_free() -> Document {
    doc! {"$or": [{"worker.queue_id": {"$not": {"$type": ["string", "objectId"]}}}, {"worker.queue_id": ""}]}
}

fn fence_is_absent() -> Document {
    doc! {"worker.fence": {"$not": {"$type": "number"}}}
}

fn held_by(mark: &Mark) -> Document {
    doc! {"worker.queue_id": any_form(&mark.queue_id), "worker.fence": mark.fence}
}

/// The stage after which the fields that get a new member are objects.
fn objects() -> Document {
    let fields = ["worker", "status_by_type", "results"];
    let made = fields.map(|field| {
        // What is not there stays away.
        let missing = doc! {"$eq": [{"$type": format!("${field}")}, "missing"]};
        let value = doc! {"$cond": [missing, "$$REMOVE", object(&format!("${field}"))]};
        (field.to_owned(), Bson::Document(value))
    });
    doc! {"$set": Document::from_iter(made)}
}

/// The status of the analysis and of the kind of run; only known kinds become a field's name.
fn statuses(run_type: &str, status: Status) -> Document {
    let mut set = doc! {"status": status.as_str()};
    if let Ok(known) = RunType::from_str(run_type) {
        set.insert(format!("status_by_type.{known}"), status.as_str());
    }
    set
}

fn marked(mark: &Mark) -> Document {
    let mut set = statuses(&mark.run_type, Status::Running);
    set.extend(doc! {
        "started_at": "$$NOW", "worker.fence": mark.fence, "worker.queue_id": literal(reference(&mark.queue_id)),
    });
    set
}

fn with_outcome(run_type: &str, outcome: &Outcome) -> Document {
    let mut set = statuses(run_type, outcome.status);
    if let (Some(result), Ok(known)) = (&outcome.results, RunType::from_str(run_type)) {
        set.insert(format!("results.{known}"), literal(reference(result)));
    }
    let error = outcome.error.as_ref().map(|error| {
        doc! {
            "code": literal(error.code.as_str()), "message": literal(error.message.as_str()),
            "run_type": literal(run_type), "at": "$$NOW",
        }
    });
    set.insert("error", error.map_or(Bson::Null, Bson::Document));
    set.insert("finished_at", "$$NOW");
    set
}

impl Mongo {
    fn analyses_of(&self, structure_id: &Id) -> Collection<Document> {
        self.database.collection(&self.names.analyses_of(structure_id))
    }

    async fn change_analysis(
        &self,
        doing: &'static str,
        of: &AnalysisKey,
        mut filter: Document,
        set: Document,
    ) -> StoreResult<bool> {
        filter.insert("_id", doc! {"$in": key_forms(&of.analysis_id)});
        let change = vec![objects(), doc! {"$set": set}];
        let changed = self.analyses_of(&of.structure_id).update_one(filter, change).await.map_err(failed(doing))?;
        Ok(changed.matched_count > 0)
    }
}

#[async_trait]
impl Analyses for Mongo {
    async fn find(&self, of: &AnalysisKey) -> StoreResult<Option<Analysis>> {
        let analyses = self.analyses_of(&of.structure_id);
        let found = match analyses.find_one(doc! {"_id": {"$in": key_forms(&of.analysis_id)}}).await {
            Ok(found) => found,
            Err(error) if is_no_name(&error) => None,
            Err(error) => return Err(failed("read the analysis")(error)),
        };
        Ok(found.map(|stored| Analysis { id: of.analysis_id.clone(), body: from_bson(stored).1 }))
    }

    async fn mark(&self, of: &AnalysisKey, mark: &Mark) -> StoreResult<bool> {
        let below = |operator: &str| doc! {"$or": [{"worker.fence": {operator: mark.fence}}, fence_is_absent()]};
        let free = doc! {"$and": [is_free(), below("$lt")]};
        let own = doc! {"$and": [{"worker.queue_id": any_form(&mark.queue_id)}, below("$lte")]};
        self.change_analysis("mark the analysis", of, doc! {"$or": [free, own]}, marked(mark)).await
    }

    async fn take_over(&self, of: &AnalysisKey, mark: &Mark, read: &Holder) -> StoreResult<bool> {
        let fence = read.fence.map_or_else(fence_is_absent, |fence| doc! {"worker.fence": fence});
        let held = |queue_id| doc! {"worker.queue_id": any_form(queue_id)};
        let holder = read.queue_id.as_ref().map_or_else(is_free, held);
        self.change_analysis("take the analysis over", of, doc! {"$and": [fence, holder]}, marked(mark)).await
    }

    async fn settle(&self, of: &AnalysisKey, queue_id: &Id, run_type: &str, outcome: &Outcome) -> StoreResult<bool> {
        let mut set = with_outcome(run_type, outcome);
        set.insert("worker.queue_id", Bson::Null);
        self.change_analysis("settle the analysis", of, doc! {"worker.queue_id": any_form(queue_id)}, set).await
    }

    async fn release(&self, of: &AnalysisKey, mark: &Mark) -> StoreResult<bool> {
        self.change_analysis("release the analysis", of, held_by(mark), statuses(&mark.run_type, Status::Queued)).await
    }

    async fn withdraw(&self, of: &AnalysisKey, mark: &Mark, outcome: &Outcome) -> StoreResult<bool> {
        let set = with_outcome(&mark.run_type, outcome);
        self.change_analysis("withdraw the run", of, held_by(mark), set).await
    }

    async fn free(&self, of: &AnalysisKey, mark: &Mark) -> StoreResult<bool> {
        self.change_analysis("free the analysis", of, held_by(mark), doc! {"worker.queue_id": null}).await
    }

    async fn progress(&self, of: &AnalysisKey, mark: &Mark, stage: &str, fraction: f64) -> StoreResult<bool> {
        let set = doc! {"progress": {"stage": literal(stage), "fraction": fraction}};
        self.change_analysis("show the progress", of, held_by(mark), set).await
    }

    async fn put_result(&self, structure_id: &Id, id: &Id, result: &Value) -> StoreResult<()> {
        let doing = "store the result";
        let Bson::Document(mut document) = to_bson(result) else {
            return Err(StoreError::invalid(doing, "it is no document"));
        };
        check_result(doing, result)?;
        document.insert("_id", key(id));
        let collection: Collection<Document> = self.database.collection(&self.names.results_of(structure_id));
        let written = collection.replace_one(doc! {"_id": key(id)}, document).upsert(true).await;
        written.map(drop).map_err(failed(doing))
    }

    async fn results_beside(&self, of: &AnalysisKey, run_type: RunType, limit: usize) -> StoreResult<Vec<Value>> {
        let failed = failed("read earlier results");
        let others = doc! {"type": run_type.as_str(), "analysis_id": {"$nin": key_forms(&of.analysis_id)}};
        let without: Document = PLOTTED.iter().map(|&part| (part.to_owned(), Bson::Int32(0))).collect();
        let collection: Collection<Document> = self.database.collection(&self.names.results_of(&of.structure_id));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found = collection.find(others).sort(doc! {"_id": -1}).limit(limit).projection(without).await;
        let found: Vec<Document> = found.map_err(&failed)?.try_collect().await.map_err(&failed)?;
        Ok(found.into_iter().map(|stored| from_bson(stored).1).collect())
    }
}
