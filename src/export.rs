//! Results for other programs: tables as CSV, NPY and Parquet, shapes and functions as universal files. Pure: results
//! in, bytes out.

mod table;

mod universal;

pub use table::{Columns, parquet};

use crate::model::result::AnalysisResult;
use ::parquet::errors::ParquetError;
use npyz::WriterBuilder;
use serde_json::{Value, json};
use std::fmt::Write;

/// Why a result cannot be written for another program.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// As NPY.
    #[error("{name}: {source}")]
    Npy {
        /// The file.
        name: &'static str,
        /// What the encoder said.
        source: std::io::Error,
    },
    /// As Parquet.
    #[error("{name}: {source}")]
    Parquet {
        /// The file.
        name: &'static str,
        /// What the encoder said.
        source: ParquetError,
    },
}

/// A file: its name and its content.
pub type File = (&'static str, Vec<u8>);

/// All that a result has, each part in the files that other programs read:
///
/// | file | content |
/// |---|---|
/// | `modes.csv` | one row a mode: every number of the result document, then the shape by channel |
/// | `shapes.npy` | complex128, modes × channels |
/// | `shapes.parquet` | one row a mode and channel: `mode`, `frequency_hz`, `channel`, `re`, `im` |
/// | `shapes.uff` | universal datasets 15 (nodes), 82 (lines) and one 55 (shape) a mode |
/// | `poles.parquet` | one row a pole: the columns of `stabilization` |
/// | `spectra.npy` | float64, lines × (1 + singular values): frequency in Hz, then the singular values |
/// | `spectra.parquet` | the same with names |
/// | `spectra.uff` | one universal dataset 58 a singular value |
///
/// # Errors
/// [`ExportError`] when an encoder fails.
pub fn files(result: &AnalysisResult) -> Result<Vec<File>, ExportError> {
    let mut files = Vec::new();
    if !result.modes.is_empty() {
        files.push(("modes.csv", modes_csv(result).into_bytes()));
        files.push(("shapes.npy", shapes_npy(result)?));
        files.push(("shapes.parquet", shapes_parquet(result)?));
        files.push(("shapes.uff", universal::shapes(result).into_bytes()));
    }
    if let Some(poles) = &result.stabilization {
        let document = json!(poles);
        let fields = document.as_object().into_iter().flatten();
        let columns: Columns<'_> = fields
            .map(|(name, values)| (name.clone(), values.as_array().into_iter().flatten().map(Some).collect()))
            .filter(|(_, values): &(String, Vec<_>)| values.len() == poles.order.len())
            .collect();
        files.push(("poles.parquet", encoded("poles.parquet", &columns)?));
    }
    if let Some(spectrum) = &result.spectrum {
        // A document from elsewhere may promise more lines than it has.
        let lines = spectrum.singular_values.iter().map(Vec::len).min().unwrap_or(0);
        let frequencies: Vec<f64> = (0..lines).map(|k| spectrum.frequency_hz.at(k)).collect();
        let all: Vec<&Vec<f64>> = std::iter::once(&frequencies).chain(&spectrum.singular_values).collect();
        let rows = (0..lines).flat_map(|k| all.iter().map(move |values| values[k]));
        files.push(("spectra.npy", npy("spectra.npy", &[lines as u64, all.len() as u64], rows)?));
        let name = |k: usize| if k == 0 { "frequency_hz".to_owned() } else { format!("singular_value_{k}") };
        let values: Vec<Value> = all.iter().map(|values| json!(values)).collect();
        let columns: Columns<'_> = values
            .iter()
            .enumerate()
            .map(|(k, values)| (name(k), values.as_array().into_iter().flatten().take(lines).map(Some).collect()))
            .collect();
        files.push(("spectra.parquet", encoded("spectra.parquet", &columns)?));
        files.push(("spectra.uff", universal::functions(result, spectrum).into_bytes()));
    }
    Ok(files)
}

fn encoded(name: &'static str, columns: &Columns<'_>) -> Result<Vec<u8>, ExportError> {
    parquet(columns).map_err(|source| ExportError::Parquet { name, source })
}

fn npy<T: npyz::AutoSerialize>(
    name: &'static str,
    shape: &[u64],
    values: impl Iterator<Item = T>,
) -> Result<Vec<u8>, ExportError> {
    let mut content = Vec::new();
    let write = |content: &mut Vec<u8>| {
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(shape).writer(content).begin_nd()?;
        writer.extend(values)?;
        writer.finish()
    };
    write(&mut content).map_err(|source| ExportError::Npy { name, source })?;
    Ok(content)
}

fn shapes_npy(result: &AnalysisResult) -> Result<Vec<u8>, ExportError> {
    let components = result.modes.iter().flat_map(|mode| mode.shape.0.iter());
    npy("shapes.npy", &[result.modes.len() as u64, result.data.channels.len() as u64], components.copied())
}

fn shapes_parquet(result: &AnalysisResult) -> Result<Vec<u8>, ExportError> {
    let rows = result.modes.iter().enumerate().flat_map(|(k, mode)| {
        let channels = result.data.channels.iter().zip(mode.shape.0.iter());
        channels.map(move |(name, z)| [json!(k + 1), json!(mode.frequency_hz), json!(name), json!(z.re), json!(z.im)])
    });
    let rows: Vec<[Value; 5]> = rows.collect();
    let names = ["mode", "frequency_hz", "channel", "re", "im"];
    let column = |(k, name): (usize, &str)| (name.to_owned(), rows.iter().map(|row| Some(&row[k])).collect());
    encoded("shapes.parquet", &names.into_iter().enumerate().map(column).collect())
}

/// One row a mode; a number that does not exist is an empty cell.
fn modes_csv(result: &AnalysisResult) -> String {
    let documents: Vec<Value> = result.modes.iter().map(|mode| json!(mode)).collect();
    let is_plain = |(_, value): &(&String, &Value)| !value.is_object() && !value.is_array();
    let mut names: Vec<&String> =
        documents.iter().filter_map(Value::as_object).flatten().filter(is_plain).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let mut text = "mode".to_owned();
    names.iter().for_each(|name| text += &format!(",{name}"));
    for channel in &result.data.channels {
        text += &format!(",{},{}", quoted(&format!("re {channel}")), quoted(&format!("im {channel}")));
    }
    for (k, (document, mode)) in documents.iter().zip(&result.modes).enumerate() {
        // Writing into a string cannot fail.
        let _ = write!(text, "\n{}", k + 1);
        for name in &names {
            let _ = match &document[name.as_str()] {
                Value::Null => write!(text, ","),
                Value::String(word) => write!(text, ",{}", quoted(word)),
                value => write!(text, ",{value}"),
            };
        }
        mode.shape.0.iter().for_each(|z| text += &format!(",{},{}", z.re, z.im));
    }
    text + "\n"
}
