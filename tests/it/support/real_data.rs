//! Measured and simulated records outside the project, in the folder that OMA_REAL_DATA names.

use oma_worker::model::record::MemoryRecord;
use std::path::PathBuf;

/// A file of the folder. Tests that call this have `real_data` in their names, so that the runner can leave them
/// out where the folder is not there.
pub(crate) fn path(name: &str) -> PathBuf {
    let folder = std::env::var("OMA_REAL_DATA").expect("OMA_REAL_DATA names the folder with data/ and reference/");
    PathBuf::from(folder).join(name)
}

pub(crate) fn json(name: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    serde_json::from_str(&text).unwrap()
}

/// An NPY array, samples × channels, as one vector a channel.
pub(crate) fn channels(name: &str) -> Vec<Vec<f64>> {
    let bytes = std::fs::read(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let file = npyz::NpyFile::new(&bytes[..]).unwrap();
    let columns = file.shape()[1] as usize;
    let order = file.order();
    let values: Vec<f64> = match file.dtype() {
        npyz::DType::Plain(t) if t.size_field() == 4 => {
            file.into_vec::<f32>().unwrap().into_iter().map(f64::from).collect()
        }
        _ => file.into_vec::<f64>().unwrap(),
    };
    let rows = values.len() / columns;
    let at = |t: usize, c: usize| match order {
        npyz::Order::C => values[t * columns + c],
        npyz::Order::Fortran => values[c * rows + t],
    };
    (0..columns).map(|c| (0..rows).map(|t| at(t, c)).collect()).collect()
}

/// The same as a record.
pub(crate) fn record(name: &str, sampling_rate_hz: f64) -> MemoryRecord {
    let channels = channels(name).into_iter().map(|c| c.into_iter().map(|y| y as f32).collect()).collect();
    MemoryRecord::new(sampling_rate_hz, channels)
}

/// Numbers of a JSON array.
pub(crate) fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}
