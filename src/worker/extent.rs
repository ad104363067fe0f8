//! What of a structure's data an analysis takes: a period and channels, once or once a setup.

use super::execute::ExecuteError;
use crate::model::merging::Strategy;
use crate::stores::documents::{Period, timestamp};
use serde_json::Value;

/// A period, and channels by name; `None`: all that are active.
#[derive(Debug, Clone)]
pub(super) struct Extent {
    pub(super) period: Period,
    pub(super) channels: Option<Vec<String>>,
}

/// The setups of an analysis, `setups: {strategy, records: [{start, end, channels}, …]}`.
#[derive(Debug, Clone)]
pub(super) struct Setups {
    pub(super) strategy: Strategy,
    pub(super) records: Vec<Extent>,
}

impl Extent {
    /// `period` and `channels` of the analysis.
    pub(super) fn of(body: &Value) -> Result<Extent, ExecuteError> {
        Ok(Extent { period: period(&body["period"], "period")?, channels: names(body, "channels")? })
    }
}

impl Setups {
    /// Of an analysis that names any. A setup without channels of its own has those of the analysis.
    pub(super) fn of(body: &Value) -> Result<Option<Setups>, ExecuteError> {
        let setups = &body["setups"];
        if setups.is_null() {
            return Ok(None);
        }
        known_fields(setups, &["strategy", "records"])?;
        let strategy = match &setups["strategy"] {
            Value::Null => Strategy::default(),
            value => serde_json::from_value(value.clone())
                .map_err(|_| wrong("setups", format!("has {value} as strategy, must be poser, preger or poger")))?,
        };
        let records = setups["records"].as_array().map_or(&[][..], Vec::as_slice);
        if records.len() < 2 {
            return Err(wrong("setups", format!("has {} records, must have 2 or more", records.len())));
        }
        let of_record = |record: &Value| {
            known_fields(record, &["start", "end", "channels"])?;
            let own = names(record, "channels")?;
            let channels = if own.is_none() { names(body, "channels")? } else { own };
            Ok(Extent { period: period(record, "setups")?, channels })
        };
        let records: Result<Vec<Extent>, ExecuteError> = records.iter().map(of_record).collect();
        Ok(Some(Setups { strategy, records: records? }))
    }
}

/// A list of channel names; null is none.
pub(super) fn names(of: &Value, field: &'static str) -> Result<Option<Vec<String>>, ExecuteError> {
    if of[field].is_null() {
        return Ok(None);
    }
    serde_json::from_value(of[field].clone())
        .map(Some)
        .map_err(|_| wrong(field, format!("is {}, must be a list of channel names or null", of[field])))
}

/// `start` and `end`.
fn period(of: &Value, field: &'static str) -> Result<Period, ExecuteError> {
    let moment = |end: &str| match &of[end] {
        Value::Null => Ok(None),
        value => timestamp(value)
            .map(Some)
            .ok_or_else(|| wrong(field, format!("has {value} as {end}, must be a date or an RFC 3339 time"))),
    };
    Ok((moment("start")?, moment("end")?))
}

fn known_fields(of: &Value, known: &[&str]) -> Result<(), ExecuteError> {
    let Some(object) = of.as_object() else { return Err(wrong("setups", format!("has {of} where an object must be"))) };
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(wrong("setups", format!("has a field {name:?}, known are {}", known.join(", ")))),
        None => Ok(()),
    }
}

fn wrong(field: &'static str, message: String) -> ExecuteError {
    ExecuteError::Analysis { field, message }
}
