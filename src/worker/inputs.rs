//! Which raw files a run is computed from: the index of measures first, the bucket's listing where that has
//! nothing for the period.

use super::execute::{Execute, ExecuteError, sha256};
use crate::model::channel::Channel;
use crate::model::control::Control;
use crate::stores::documents::{Measure, Period, Structure};
use crate::stores::{ObjectInfo, Objects};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

/// Where the content of an input is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// In the bucket of raw files.
    Bucket,
    /// In the index itself, written as CSV.
    Inline(String),
}

/// One raw file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Input {
    pub(super) object: ObjectInfo,
    pub(super) source: Content,
    pub(super) sensor_id: Option<String>,
    pub(super) axes: Vec<String>,
    pub(super) start: Option<Timestamp>,
    pub(super) sampling_rate_hz: Option<f64>,
}

/// A period of more days is listed a sensor at a time, which takes fewer requests than day by day.
const DAYS_LISTED_ONE_BY_ONE: usize = 31;

/// Finds the inputs, in the order of their time.
pub(super) async fn find(
    execute: &Execute,
    structure: &Structure,
    channels: &[Channel],
    period: Period,
    control: &Control,
) -> Result<Vec<Input>, ExecuteError> {
    let sensors: BTreeSet<&str> = channels.iter().map(|channel| channel.sensor_id.as_str()).collect();
    let measures = execute.measures(structure, period).await?;
    let inputs = match measures.is_empty() {
        true => listed(execute, structure, channels, period, control).await?,
        false => {
            let mut inputs = Vec::new();
            for (number, measure) in measures.iter().enumerate() {
                control.checkpoint()?;
                let is_wanted = measure.sensor_id.as_ref().is_none_or(|id| sensors.contains(id.as_str()));
                if is_wanted && measure.overlaps(period) {
                    inputs.push(indexed(execute, measure, number).await?);
                }
            }
            inputs
        }
    };
    match inputs.is_empty() {
        true => Err(ExecuteError::NoFiles { structure: structure.name.clone() }),
        false => Ok(inputs),
    }
}

/// The input behind an entry of the index.
async fn indexed(execute: &Execute, measure: &Measure, number: usize) -> Result<Input, ExecuteError> {
    let bucket = &execute.names.file_bucket;
    let (object, source) = match &measure.key {
        Some(key) => {
            let head = |objects: Arc<dyn Objects>| {
                let (bucket, key) = (bucket.clone(), key.clone());
                async move { objects.head(&bucket, &key).await }
            };
            let found = execute.objects("look at an object", head).await?;
            let missing = || ExecuteError::MissingFile { bucket: bucket.clone(), key: key.clone() };
            (found.ok_or_else(missing)?, Content::Bucket)
        }
        None => {
            let text = to_csv(measure);
            let etag = sha256(text.as_bytes());
            let key = format!("measures/{}/{number}.csv", measure.sensor_id.as_deref().unwrap_or("all"));
            (ObjectInfo { key, size: text.len() as u64, etag }, Content::Inline(text))
        }
    };
    Ok(Input {
        object,
        source,
        sensor_id: measure.sensor_id.clone(),
        axes: measure.channels.clone(),
        start: measure.start,
        sampling_rate_hz: measure.sampling_rate_hz,
    })
}

/// Samples of the index as a file with a header; a missing sample is an empty cell.
fn to_csv(measure: &Measure) -> String {
    let mut text: String = measure.values.iter().map(|(axis, _)| axis.as_str()).collect::<Vec<_>>().join(",");
    text.push('\n');
    let rows = measure.values.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    for row in 0..rows {
        for (column, (_, values)) in measure.values.iter().enumerate() {
            if column > 0 {
                text.push(',');
            }
            if let Some(value) = values.get(row).filter(|value| value.is_finite()) {
                // Writing to a string cannot fail.
                let _ = write!(text, "{value}");
            }
        }
        text.push('\n');
    }
    text
}

/// The inputs as the bucket's listing has them, sensor by sensor.
async fn listed(
    execute: &Execute,
    structure: &Structure,
    channels: &[Channel],
    period: Period,
    control: &Control,
) -> Result<Vec<Input>, ExecuteError> {
    let sensors: BTreeSet<(&str, &str)> =
        channels.iter().map(|channel| (channel.sensor_id.as_str(), channel.sensor_name.as_str())).collect();
    let mut inputs = Vec::new();
    for (sensor_id, sensor_name) in sensors {
        let sensor = if execute.string_paths { sensor_name } else { sensor_id };
        for prefix in prefixes(structure, sensor, execute.string_paths, period) {
            let mut after: Option<String> = None;
            loop {
                control.checkpoint()?;
                let list = |objects: Arc<dyn Objects>| {
                    let (bucket, prefix, after) = (execute.names.file_bucket.clone(), prefix.clone(), after.clone());
                    async move { objects.list(&bucket, &prefix, after.as_deref()).await }
                };
                let page = execute.objects("list objects", list).await?;
                let files = page.objects.into_iter().filter(|object| is_raw_file(&object.key));
                inputs.extend(files.map(|object| Input {
                    object,
                    source: Content::Bucket,
                    sensor_id: Some(sensor_id.to_owned()),
                    axes: Vec::new(),
                    start: None,
                    sampling_rate_hz: None,
                }));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
    }
    Ok(inputs)
}

/// Whether a key in the folder of a sensor is that of a raw file, by its ending: other things may lie beside them.
fn is_raw_file(key: &str) -> bool {
    const ENDINGS: [&str; 8] = [".csv", ".csv.gz", ".csv.zst", ".txt", ".npy", ".parquet", ".uff", ".unv"];
    let key = key.to_lowercase();
    ENDINGS.iter().any(|ending| key.ends_with(ending))
}

/// `<tenant>/<structure>/<sensor>/`, and below it the days of the period where it has both ends.
fn prefixes(structure: &Structure, sensor: &str, string_paths: bool, (from, to): Period) -> Vec<String> {
    let tenant = match string_paths {
        true => structure.tenant_name.clone(),
        false => structure.tenant_id.map(|id| id.to_string()),
    };
    let name = if string_paths { &structure.name } else { structure.id.as_str() };
    let sensor = format!("{}/{name}/{sensor}/", tenant.unwrap_or_default());
    let (Some(from), Some(to)) = (from, to) else { return vec![sensor] };
    let (first, last) = (TimeZone::UTC.to_datetime(from).date(), TimeZone::UTC.to_datetime(to).date());
    let days: Vec<_> = first.series(1.day()).take_while(|day| *day <= last).take(DAYS_LISTED_ONE_BY_ONE + 1).collect();
    if days.len() > DAYS_LISTED_ONE_BY_ONE {
        return vec![sensor];
    }
    days.iter().map(|day| format!("{sensor}{:04}/{:02}/{:02}/", day.year(), day.month(), day.day())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::documents::Id;
    use serde_json::json;

    fn structure() -> Structure {
        let body = json!({"name": "bridge", "tenant_id": 9, "tenant_name": "city", "mysql_id": 43});
        Structure::from_body(Id::from("6426ff08edc3cbd39eac2a93"), &body)
    }

    fn time(text: &str) -> Option<Timestamp> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn prefixes_name_the_days_of_the_period() {
        let days = prefixes(&structure(), "s1", false, (time("2026-02-28T23:00:00Z"), time("2026-03-01T01:00:00Z")));
        let sensor = "9/6426ff08edc3cbd39eac2a93/s1";
        assert_eq!(days, [format!("{sensor}/2026/02/28/"), format!("{sensor}/2026/03/01/")]);
    }

    #[test]
    fn raw_files_are_known_by_their_endings() {
        assert!(["a/1.CSV", "a/1.csv.gz", "a/1.parquet", "a/1.uff"].iter().all(|key| is_raw_file(key)));
        assert!(["a/1.json", "a/csv", "a/1.csv.tmp"].iter().all(|key| !is_raw_file(key)));
    }

    #[test]
    fn prefixes_are_a_whole_sensor_for_an_open_or_a_long_period() {
        assert_eq!(prefixes(&structure(), "s1", true, (None, time("2026-03-01T01:00:00Z"))), ["city/bridge/s1/"]);
        let long = prefixes(&structure(), "s1", true, (time("1990-01-01T00:00:00Z"), time("2026-03-01T01:00:00Z")));
        assert_eq!(long, ["city/bridge/s1/"]);
    }

    #[test]
    fn samples_of_the_index_become_a_file_with_empty_cells() {
        let body = json!({"sensor_id": 5, "values": {"x": [1.5, null, -2], "y": [0.1, 3]}});
        let measure = Measure::from_body(&body);
        assert_eq!(measure.sensor_id.as_deref(), Some("5"));
        assert_eq!(to_csv(&measure), "x,y\n1.5,0.1\n,3\n-2,\n");
    }
}
