//! The platform's part of the stores: what puts structures with their channels, the index of raw files, analyses and
//! runs there. The worker itself never calls anything here; `demo`, `seed` and the tests do.

use super::StoreResult;
use super::documents::Id;
use crate::model::channel::Channel;
use crate::model::run::{RunType, Status};
use async_trait::async_trait;
use serde_json::{Map, Value, json};

/// A structure that a platform adds.
#[derive(Debug, Clone, PartialEq)]
pub struct NewStructure {
    /// `_id`; `None`: a fresh one.
    pub id: Option<Id>,
    /// `mysql_id`, the `<n>` of `measures_<n>`; `None`: the store's next.
    pub number: Option<i64>,
    /// For people, and for object keys with names.
    pub name: String,
    /// The owner.
    pub tenant_id: i64,
    /// The owner's name, unless the store knows the owner already.
    pub tenant_name: String,
    /// Unit, lines and surfaces between channel positions.
    pub geometry: Value,
    /// Each on a sensor of its own. Where `sensor_id` is empty the store chooses one.
    pub channels: Vec<Channel>,
}

impl NewStructure {
    /// The structure's document.
    pub(super) fn document(&self, number: i64) -> Value {
        let NewStructure { name, tenant_id, geometry, .. } = self;
        json!({"name": name, "tenant_id": tenant_id, "mysql_id": number, "geometry": geometry})
    }
}

/// A structure as it was added.
#[derive(Debug, Clone, PartialEq)]
pub struct AddedStructure {
    /// `_id`.
    pub id: Id,
    /// `mysql_id`.
    pub number: i64,
    /// With the ids of their sensors.
    pub channels: Vec<Channel>,
}

/// What a platform writes into the stores.
#[async_trait]
pub trait Platform: Send + Sync {
    /// Adds a structure with its channels.
    async fn add_structure(&self, structure: &NewStructure) -> StoreResult<AddedStructure>;

    /// Adds an entry to the index of raw files: `{sensor_id, channels, start, end, sampling_rate_hz, samples, key}`.
    async fn add_measure(&self, number: i64, measure: &Value) -> StoreResult<()>;

    /// Adds an analysis with status READY. `fields`: `{tenant_id, user_id, name, period, channels, reference_channels, setups,
    /// preprocessing, fdd, ssi}`, each but the first two as good as absent when null.
    async fn add_analysis(&self, structure_id: &Id, fields: &Map<String, Value>) -> StoreResult<Id>;

    /// Queues a run of an analysis and returns the id of its document; an analysis that no run holds gets the status
    /// QUEUED.
    async fn add_run(&self, structure_id: &Id, analysis_id: &Id, run_type: RunType) -> StoreResult<Id>;
}

/// The document of an analysis.
pub(super) fn analysis_document(structure_id: &Id, fields: &Map<String, Value>) -> Value {
    let mut document = fields.clone();
    document.insert("structure_id".into(), json!(structure_id));
    document.insert("status".into(), json!(Status::Ready));
    Value::Object(document)
}

/// The document of a run, with exactly the four fixed fields.
pub(super) fn run_document(structure_id: &Id, analysis_id: &Id, run_type: RunType) -> Value {
    json!({"status": Status::Queued, "structure_id": structure_id, "analysis_id": analysis_id, "type": run_type})
}
