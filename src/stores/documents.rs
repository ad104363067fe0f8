//! The documents that the ports exchange: typed where the protocol needs it, everything else kept as it is.
//!
//! In JSON an id is a 24-hex string or `{"$oid": ".."}`, a date `{"$date": ms}`; both are MongoDB's extended JSON.

use crate::model::run::Status;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::fmt;

/// An id: an ObjectId as 24 hexadecimal digits, or any other string as it is. Ordered as ObjectIds are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(String);

impl Id {
    /// An id never seen before.
    pub fn fresh() -> Id {
        Id(bson::oid::ObjectId::new().to_hex())
    }

    /// The id as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an ObjectId.
    pub fn is_object_id(&self) -> bool {
        bson::oid::ObjectId::parse_str(&self.0).is_ok()
    }

    /// Reads an id from a string or `{"$oid": ".."}`; anything else, and an empty string, is none.
    pub fn from_value(value: &Value) -> Option<Id> {
        let text = value.as_str().or_else(|| value.get("$oid")?.as_str())?;
        (!text.is_empty()).then(|| Id::from(text))
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Id {
        match bson::oid::ObjectId::parse_str(text) {
            Ok(id) => Id(id.to_hex()),
            Err(_) => Id(text.to_owned()),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Id::from_value(&value).ok_or_else(|| serde::de::Error::custom(format!("{value} is no id")))
    }
}

/// A moment, in ms since 1970; in JSON `{"$date": ms}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(pub i64);

impl Date {
    /// Reads `{"$date": ms | {"$numberLong": ".."} | "RFC 3339"}`; anything else is no date.
    pub fn from_value(value: &Value) -> Option<Date> {
        let date = value.get("$date")?;
        let time = || Some(date.as_str()?.parse::<jiff::Timestamp>().ok()?.as_millisecond());
        integer(date).or_else(time).map(Date)
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::json!({ "$date": self.0 }).serialize(serializer)
    }
}

/// Reads a moment as a client may have written it: a date, an RFC 3339 string or ms since 1970.
pub fn timestamp(value: &Value) -> Option<jiff::Timestamp> {
    let ms = Date::from_value(value).map(|date| date.0).or_else(|| integer(value));
    match ms {
        Some(ms) => jiff::Timestamp::from_millisecond(ms).ok(),
        None => value.as_str()?.parse().ok(),
    }
}

/// Reads a whole number from a number, a string of digits or `{"$numberLong": ".."}`.
pub fn integer(value: &Value) -> Option<i64> {
    // Up to 2^53 every whole f64 is exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let whole = |x: f64| (x.fract() == 0.0 && x.abs() <= EXACT).then_some(x as i64);
    match value {
        Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok(),
        Value::Object(object) => integer(object.get("$numberLong").or_else(|| object.get("$numberInt"))?),
        _ => None,
    }
}

/// Bytes that a JSON value takes in BSON, at most.
///
/// # Source
/// BSON Specification 1.1, <https://bsonspec.org/spec.html>.
pub fn bson_size(value: &Value) -> usize {
    // A type and a name before each element; a length before and a zero after them all.
    let element = |name: usize, value: &Value| 1 + name + 1 + bson_size(value);
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 8,
        Value::String(text) => 4 + text.len() + 1,
        Value::Array(values) => {
            let digits = |index: usize| index.checked_ilog10().unwrap_or(0) as usize + 1;
            5 + values.iter().enumerate().map(|(index, value)| element(digits(index), value)).sum::<usize>()
        }
        Value::Object(object) => 5 + object.iter().map(|(name, value)| element(name.len(), value)).sum::<usize>(),
    }
}

fn lenient_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Date>, D::Error> {
    Ok(Date::from_value(&Value::deserialize(deserializer)?))
}

fn lenient_integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    Ok(integer(&Value::deserialize(deserializer)?).unwrap_or(0))
}

/// The filter OWN: a document as the worker claimed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// `_id`.
    pub id: Id,
    /// The fence of the claim.
    pub fence: i64,
}

/// Who claims, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimant {
    /// Unique to the process.
    pub worker_id: String,
    /// The machine's name.
    pub host: String,
    /// How long a claim holds without a heartbeat, ms.
    pub lease_ms: i64,
}

/// A message that waits in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Unsent {
    /// The fence under which it was written; makes entries unique.
    pub fence: i64,
    /// The status to tell of.
    pub status: Status,
}

/// Why a run ended in ERROR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    /// A word for machines.
    pub code: String,
    /// A sentence for the user.
    pub message: String,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// DONE, ERROR or ABORTED.
    pub status: Status,
    /// The fence under which it was decided; orders the runs of an analysis.
    pub fence: i64,
    /// The result document of a run that is DONE.
    #[serde(default)]
    pub results: Option<Id>,
    /// Why, for ERROR.
    #[serde(default)]
    pub error: Option<RunError>,
}

/// What workers keep in a queue document, under the key `worker`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueWorker {
    /// The process that claimed last.
    pub id: Option<String>,
    /// Its machine.
    pub host: Option<String>,
    /// Grows with every claim.
    #[serde(deserialize_with = "lenient_integer")]
    pub fence: i64,
    /// Claims that were not handed back or released.
    #[serde(deserialize_with = "lenient_integer")]
    pub attempts: i64,
    /// Releases so far.
    #[serde(deserialize_with = "lenient_integer")]
    pub releases: i64,
    /// The last sign of life; absent if what is stored there is no date.
    #[serde(deserialize_with = "lenient_date", skip_serializing_if = "Option::is_none")]
    pub heartbeat_at: Option<Date>,
    /// How long the claim holds after it.
    #[serde(deserialize_with = "lenient_integer")]
    pub lease_ms: i64,
    /// Not to be claimed before.
    #[serde(deserialize_with = "lenient_date", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Date>,
    /// How the run ended; absent while it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Messages to be sent, oldest first.
    pub unsent: Vec<Unsent>,
    /// Whatever else is there.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A queue document.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueDocument {
    /// `_id`.
    pub id: Id,
    /// Everything but `_id` and `worker`.
    pub body: Map<String, Value>,
    /// The part that workers write.
    pub worker: QueueWorker,
}

impl QueueDocument {
    /// Takes a stored body apart. A `worker` that no worker wrote counts as none.
    pub fn from_body(id: Id, body: Value) -> QueueDocument {
        let mut body = match body {
            Value::Object(body) => body,
            other => Map::from_iter([("value".to_owned(), other)]),
        };
        let worker = body.remove("worker").and_then(|worker| serde_json::from_value(worker).ok());
        QueueDocument { id, body, worker: worker.unwrap_or_default() }
    }

    /// The whole body, `worker` included, `_id` not.
    pub fn to_body(&self) -> Value {
        let mut body = self.body.clone();
        body.insert("worker".into(), serde_json::to_value(&self.worker).unwrap_or_default());
        Value::Object(body)
    }

    /// `status` as it is written.
    pub fn status(&self) -> &str {
        self.body.get("status").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether `status` is this one.
    pub fn has_status(&self, status: Status) -> bool {
        self.status() == status.as_str()
    }

    /// The analysis, if the document names one.
    pub fn analysis_id(&self) -> Option<Id> {
        Id::from_value(self.body.get("analysis_id")?)
    }

    /// The structure, if the document names one.
    pub fn structure_id(&self) -> Option<Id> {
        Id::from_value(self.body.get("structure_id")?)
    }

    /// `type` as it is written.
    pub fn run_type(&self) -> Option<&str> {
        self.body.get("type")?.as_str()
    }

    /// The filter OWN.
    pub fn is_own(&self, own: &Own) -> bool {
        self.id == own.id && self.worker.fence == own.fence
    }
}

/// Where an analysis lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AnalysisKey {
    /// Names its collection.
    pub structure_id: Id,
    /// Its `_id`.
    pub analysis_id: Id,
}

/// Which queue document holds an analysis: `worker` in the analysis.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    /// The highest fence so far.
    pub fence: Option<i64>,
    /// The holding queue document; `None`: the analysis is free.
    pub queue_id: Option<Id>,
}

/// An analysis.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// `_id`.
    pub id: Id,
    /// Everything else.
    pub body: Value,
}

impl Analysis {
    /// Which queue document holds it.
    pub fn holder(&self) -> Holder {
        let worker = &self.body["worker"];
        Holder { fence: integer(&worker["fence"]), queue_id: Id::from_value(&worker["queue_id"]) }
    }

    /// The tenant to tell.
    pub fn tenant_id(&self) -> Option<i64> {
        integer(&self.body["tenant_id"])
    }

    /// The user to tell.
    pub fn user_id(&self) -> Option<i64> {
        integer(&self.body["user_id"])
    }

    /// `status` as it is written.
    pub fn status(&self) -> &str {
        self.body["status"].as_str().unwrap_or_default()
    }
}

/// A structure.
#[derive(Debug, Clone, PartialEq)]
pub struct Structure {
    /// `_id`.
    pub id: Id,
    /// For people, and for object keys with names.
    pub name: String,
    /// The owner.
    pub tenant_id: Option<i64>,
    /// The owner's name, for object keys with names.
    pub tenant_name: Option<String>,
    /// The `<n>` of `measures_<n>` and of MySQL's rows.
    pub mysql_id: Option<i64>,
    /// Unit, lines and surfaces between channel positions.
    pub geometry: Value,
}

impl Structure {
    /// Reads a structure document.
    pub fn from_body(id: Id, body: &Value) -> Structure {
        Structure {
            id,
            name: body["name"].as_str().unwrap_or_default().to_owned(),
            tenant_id: integer(&body["tenant_id"]),
            tenant_name: body["tenant_name"].as_str().map(str::to_owned),
            mysql_id: integer(&body["mysql_id"]),
            geometry: body["geometry"].clone(),
        }
    }
}

/// One entry of the index of raw files: a file, or the samples themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// The sensor; `None`: the file holds every channel.
    pub sensor_id: Option<String>,
    /// The axes of its columns.
    pub channels: Vec<String>,
    /// Time of the first sample.
    pub start: Option<jiff::Timestamp>,
    /// Time of the last sample.
    pub end: Option<jiff::Timestamp>,
    /// Declared rate, Hz.
    pub sampling_rate_hz: Option<f64>,
    /// The raw file's key.
    pub key: Option<String>,
    /// The samples of each axis, where there is no file.
    pub values: Vec<(String, Vec<f64>)>,
}

/// From when until when; `None`: open.
pub type Period = (Option<jiff::Timestamp>, Option<jiff::Timestamp>);

impl Measure {
    /// Reads an entry. Samples that are no numbers become NaN, as an empty cell of a file would.
    pub fn from_body(body: &Value) -> Measure {
        let strings = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(|v| Some(v.as_str()?.to_owned())).collect()
        };
        let samples = |value: &Value| -> Vec<f64> {
            value.as_array().into_iter().flatten().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()
        };
        let sensor = &body["sensor_id"];
        Measure {
            sensor_id: Id::from_value(sensor).map(|id| id.0).or_else(|| Some(integer(sensor)?.to_string())),
            channels: strings(&body["channels"]),
            start: timestamp(&body["start"]),
            end: timestamp(&body["end"]),
            sampling_rate_hz: body["sampling_rate_hz"].as_f64(),
            key: body["key"].as_str().filter(|key| !key.is_empty()).map(str::to_owned),
            values: body["values"].as_object().into_iter().flatten().map(|(a, v)| (a.clone(), samples(v))).collect(),
        }
    }

    /// Whether any of it may lie in the period; what is not known does not exclude.
    pub fn overlaps(&self, (from, to): Period) -> bool {
        let ends_before = matches!((self.end, from), (Some(end), Some(from)) if end < from);
        let starts_after = matches!((self.start, to), (Some(start), Some(to)) if start > to);
        !ends_before && !starts_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_size_in_bson_is_that_of_the_bytes() {
        let numbers: Vec<f64> = (0..1234).map(|k| k as f64 + 0.5).collect();
        for value in
            [json!({}), json!({"a": null, "text": "über", "is": true}), json!({"n": numbers, "o": [{"x": [1.5]}]})]
        {
            let bytes =
                bson::serialize_to_vec(&bson::Bson::try_from(value.clone()).unwrap().as_document().unwrap()).unwrap();
            assert_eq!(bson_size(&value), bytes.len(), "{value}");
        }
    }
}
