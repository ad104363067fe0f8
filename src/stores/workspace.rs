//! The API's part of an embedded workspace: what puts structures, analyses and runs into it and looks at them. The
//! worker itself never calls anything here.

use super::documents::{Analysis, Id, QueueDocument, Structure};
use super::embedded::Embedded;
use super::platform::{AddedStructure, NewStructure, Platform, analysis_document, run_document};
use super::{StoreError, StoreResult, Waiting, transitions};
use crate::model::channel::Channel;
use crate::model::run::{RunType, Status, StatusMessage};
use async_trait::async_trait;
use serde_json::{Map, Value, json};

/// An analysis and the runs that wait or work for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// `_id` of the analysis.
    pub analysis_id: Id,
    /// The structure that it belongs to.
    pub structure_id: Id,
    /// The analysis document.
    pub analysis: Value,
    /// Its documents in the queue, oldest first.
    pub queue: Vec<QueueDocument>,
}

impl Embedded {
    /// Adds a structure and returns its id. `body`: `{name, tenant_id, mysql_id, geometry}`.
    ///
    /// # Errors
    /// [`StoreError`] if the workspace cannot be written.
    pub async fn insert_structure(&self, body: &Value) -> StoreResult<Id> {
        self.insert(&self.names.structures, body).await
    }

    /// Adds a channel to the structure with this `mysql_id`; channels keep the order in which they are added.
    ///
    /// # Errors
    /// [`StoreError`] if the workspace cannot be written.
    pub async fn insert_channel(&self, mysql_id: i64, channel: &Channel) -> StoreResult<Id> {
        let body = serde_json::to_value(channel).map_err(|e| StoreError::invalid("add a channel", e.to_string()))?;
        self.insert(&self.names.channels_of(mysql_id), &body).await
    }

    /// Adds an entry to the index of raw files: `{sensor_id, channels, start, end, sampling_rate_hz, samples, key}`.
    ///
    /// # Errors
    /// [`StoreError`] if the workspace cannot be written.
    pub async fn insert_measure(&self, mysql_id: i64, body: &Value) -> StoreResult<Id> {
        self.insert(&self.names.measures_of(mysql_id), body).await
    }

    /// Adds an analysis with status READY. `body`: `{tenant_id, user_id, name, period, channels, reference_channels, setups,
    /// preprocessing, fdd, ssi}`, each field but the first two as good as absent when null.
    ///
    /// # Errors
    /// [`StoreError`] if the workspace cannot be written.
    pub async fn insert_analysis(&self, structure_id: &Id, body: &Value) -> StoreResult<Id> {
        let Value::Object(fields) = body else {
            return Err(StoreError::invalid("add an analysis", format!("{body} is no document")));
        };
        self.insert(&self.names.analyses_of(structure_id), &analysis_document(structure_id, fields)).await
    }

    /// Adds a document to the queue as it is, whatever is in it.
    ///
    /// # Errors
    /// [`StoreError`] if the workspace cannot be written.
    pub async fn insert_queue_document(&self, body: &Value) -> StoreResult<Id> {
        self.insert(&self.names.queue, body).await
    }

    async fn insert(&self, collection: &str, body: &Value) -> StoreResult<Id> {
        let id = Id::from_value(&body["_id"]).unwrap_or_else(Id::fresh);
        self.database.put(collection, &id, body).await?;
        Ok(id)
    }

    /// Queues a run of an analysis; one that no run holds gets the status QUEUED.
    ///
    /// # Errors
    /// [`StoreError`] of kind `Invalid` if there is no such analysis.
    pub async fn enqueue(&self, analysis_id: &Id, run_type: RunType) -> StoreResult<Id> {
        let Some(structure_id) = self.structure_of(analysis_id).await? else {
            return Err(StoreError::invalid(
                format!("queue a run of analysis {analysis_id}"),
                "there is no such analysis",
            ));
        };
        // The analysis first: once the document is in the queue, a worker may be done with it before the next line.
        let show = |body: &Value, _| {
            let mut analysis = Analysis { id: analysis_id.clone(), body: body.clone() };
            transitions::enqueued(&mut analysis).then_some(analysis.body)
        };
        self.database.change(&self.names.analyses_of(&structure_id), analysis_id, show).await?;
        self.insert_queue_document(&run_document(&structure_id, analysis_id, run_type)).await
    }

    /// Broadcasts the abort of an analysis to every worker on the workspace.
    ///
    /// # Errors
    /// [`StoreError`] if the workspace cannot be written.
    pub async fn broadcast_abort(&self, analysis_id: &Id) -> StoreResult<()> {
        self.broadcast(json!({"analysis_id": analysis_id}).to_string().as_bytes()).await
    }

    /// Broadcasts any payload.
    ///
    /// # Errors
    /// [`StoreError`] if the workspace cannot be written.
    pub async fn broadcast(&self, payload: &[u8]) -> StoreResult<()> {
        self.append_broadcast(payload).await
    }

    /// Every analysis with its part of the queue, in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError`] if the workspace cannot be read.
    pub async fn listing(&self) -> StoreResult<Vec<Listing>> {
        let queue = self.queue_documents().await?;
        let mut listings = Vec::new();
        for structure_id in self.structures_with_analyses().await? {
            for (analysis_id, analysis) in self.database.all(&self.names.analyses_of(&structure_id)).await? {
                let own = queue.iter().filter(|d| d.analysis_id().as_ref() == Some(&analysis_id)).cloned().collect();
                listings.push(Listing { analysis_id, structure_id: structure_id.clone(), analysis, queue: own });
            }
        }
        listings.sort_by(|a, b| a.analysis_id.cmp(&b.analysis_id));
        Ok(listings)
    }

    /// Everything in the queue, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] if the workspace cannot be read.
    pub async fn queue_documents(&self) -> StoreResult<Vec<QueueDocument>> {
        let all = self.database.all(&self.names.queue).await?;
        Ok(all.into_iter().map(|(id, body)| QueueDocument::from_body(id, body)).collect())
    }

    /// What waits in the queue.
    ///
    /// # Errors
    /// [`StoreError`] if the workspace cannot be read.
    pub async fn waiting(&self) -> StoreResult<Waiting> {
        let documents = self.queue_documents().await?;
        let queued: Vec<_> = documents.iter().filter(|document| document.has_status(Status::Queued)).collect();
        let fences: Vec<i64> = documents.iter().flat_map(|d| &d.worker.unsent).map(|entry| entry.fence).collect();
        let (oldest, lowest) = (queued.first().map(|document| &document.id), fences.iter().min().copied());
        Ok(Waiting::of(jiff::Timestamp::now(), queued.len() as u64, oldest, fences.len() as u64, lowest))
    }

    /// The dead letters, `{document, reason}` by the id of the document.
    ///
    /// # Errors
    /// [`StoreError`] if the workspace cannot be read.
    pub async fn dead_letters(&self) -> StoreResult<Vec<(Id, Value)>> {
        self.database.all(&self.names.dead()).await
    }

    /// A result document; `None`: there is none.
    ///
    /// # Errors
    /// [`StoreError`] if the workspace cannot be read.
    pub async fn result(&self, structure_id: &Id, result_id: &Id) -> StoreResult<Option<Value>> {
        self.database.find(&self.names.results_of(structure_id), result_id).await
    }

    /// Every status message so far, oldest first. A line that is none is an error that names it.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read.
    pub async fn status_messages(&self) -> StoreResult<Vec<StatusMessage>> {
        let doing = "read the status messages";
        let text = match tokio::fs::read_to_string(self.statuses_file()).await {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::unavailable(doing, error)),
        };
        let read = |(number, line)| {
            serde_json::from_str(line)
                .map_err(|error| StoreError::invalid(doing, format!("line {}: {error}", number + 1)))
        };
        text.lines().enumerate().map(read).collect()
    }

    /// The structure whose collection holds the analysis.
    ///
    /// # Errors
    /// [`StoreError`] if the workspace cannot be read.
    pub async fn structure_of(&self, analysis_id: &Id) -> StoreResult<Option<Id>> {
        for structure_id in self.structures_with_analyses().await? {
            if self.database.find(&self.names.analyses_of(&structure_id), analysis_id).await?.is_some() {
                return Ok(Some(structure_id));
            }
        }
        Ok(None)
    }

    async fn structures_with_analyses(&self) -> StoreResult<Vec<Id>> {
        let results = format!("{}_", self.names.results);
        let analyses = format!("{}_", self.names.analyses);
        let collections = self.database.collections().await?;
        let of_structures = collections.iter().filter(|name| !name.starts_with(&results));
        Ok(of_structures.filter_map(|name| name.strip_prefix(&analyses)).map(Id::from).collect())
    }
}

#[async_trait]
impl Platform for Embedded {
    async fn add_structure(&self, structure: &NewStructure) -> StoreResult<AddedStructure> {
        let all = self.database.all(&self.names.structures).await?;
        let last = all.iter().filter_map(|(id, body)| Structure::from_body(id.clone(), body).mysql_id).max();
        let number = structure.number.unwrap_or(last.unwrap_or(0) + 1);
        let mut body = structure.document(number);
        body["tenant_name"] = json!(structure.tenant_name);
        if let Some(id) = &structure.id {
            body["_id"] = json!(id);
        }
        let id = self.insert_structure(&body).await?;
        let mut channels = structure.channels.clone();
        for (index, channel) in channels.iter_mut().enumerate() {
            if channel.sensor_id.is_empty() {
                channel.sensor_id = format!("{number}{:03}", index + 1);
            }
            self.insert_channel(number, channel).await?;
        }
        Ok(AddedStructure { id, number, channels })
    }

    async fn add_measure(&self, number: i64, measure: &Value) -> StoreResult<()> {
        self.insert_measure(number, measure).await.map(drop)
    }

    async fn add_analysis(&self, structure_id: &Id, fields: &Map<String, Value>) -> StoreResult<Id> {
        self.insert_analysis(structure_id, &Value::Object(fields.clone())).await
    }

    async fn add_run(&self, _structure_id: &Id, analysis_id: &Id, run_type: RunType) -> StoreResult<Id> {
        self.enqueue(analysis_id, run_type).await
    }
}
