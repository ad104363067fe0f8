//! The arrays of a result that its document has no room for, as Parquet objects beside it.
//!
//! An array of more than 64 Ki numbers never stands in the document; and while the document is larger than a store
//! takes, its largest array goes too. `{key, sha256, shape}` stands in its place, and its object has
//!
//! ```text
//! array of                        columns        shape
//! plain values                    value          [values]
//! arrays of one length            1, 2, …        [arrays, their length]
//! objects of plain values         the fields     [objects, fields]
//! ```
//!
//! where a number is a DOUBLE, anything else a text, and null is null.

use super::execute::sha256;
use crate::export::{self, Columns};
use crate::stores::documents::bson_size;
use parquet::errors::ParquetError;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Numbers that an array of a result document holds at most (contract §3).
const INLINE_NUMBERS: usize = 64 * 1024;
/// Bytes of an array below which nothing is gained: what stands in its place takes a tenth of it.
const SMALLEST: usize = 4096;

/// An object that a document names.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LargeArray {
    /// As in the document.
    pub(super) key: String,
    /// Parquet.
    pub(super) content: Vec<u8>,
}

/// Takes arrays out of `document` until it has at most `room` bytes in BSON, if that can be; `key` makes an object's
/// key of its SHA-256.
pub(super) fn take_out(
    document: &mut Value,
    room: usize,
    key: impl Fn(&str) -> String,
) -> Result<Vec<LargeArray>, ParquetError> {
    let mut size = bson_size(document);
    let mut found = Vec::new();
    find(document, &mut found);
    let mut found: Vec<(usize, &mut Value)> = found.into_iter().map(|array| (bson_size(array), array)).collect();
    found.sort_by_key(|(bytes, _)| Reverse(*bytes));
    let mut taken = Vec::new();
    for (bytes, array) in found {
        let Some(table) = Table::of(array) else { continue };
        if table.numbers() <= INLINE_NUMBERS && (size <= room || bytes < SMALLEST) {
            continue;
        }
        let content = export::parquet(&table.columns)?;
        let sha256 = sha256(&content);
        let key = key(&sha256);
        *array = json!({"key": key, "sha256": sha256, "shape": table.shape});
        size = size - bytes + bson_size(array);
        taken.push(LargeArray { key, content });
    }
    Ok(taken)
}

/// The outermost arrays that are tables.
fn find<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
    match value {
        Value::Array(_) if Table::of(value).is_some() => found.push(value),
        Value::Array(values) => values.iter_mut().for_each(|value| find(value, found)),
        Value::Object(object) => object.values_mut().for_each(|value| find(value, found)),
        _ => {}
    }
}

/// An array as columns of one length, `None` where a row has no such field.
struct Table<'a> {
    shape: Vec<usize>,
    columns: Columns<'a>,
}

impl<'a> Table<'a> {
    /// `None`: the value is no such array.
    fn of(value: &'a Value) -> Option<Table<'a>> {
        let is_plain = |value: &Value| !value.is_array() && !value.is_object();
        let array = value.as_array()?;
        if array.iter().all(is_plain) {
            let column = ("value".to_owned(), array.iter().map(Some).collect());
            return Some(Table { shape: vec![array.len()], columns: vec![column] });
        }
        if let Some(arrays) = array.iter().map(Value::as_array).collect::<Option<Vec<_>>>() {
            let length = arrays[0].len();
            let is_matrix = arrays.iter().all(|values| values.len() == length && values.iter().all(is_plain));
            let column = |(index, values): (usize, &&'a Vec<Value>)| {
                ((index + 1).to_string(), values.iter().map(Some).collect())
            };
            let columns = arrays.iter().enumerate().map(column).collect();
            return is_matrix.then_some(Table { shape: vec![arrays.len(), length], columns });
        }
        let objects = array.iter().map(Value::as_object).collect::<Option<Vec<_>>>()?;
        if !objects.iter().all(|object| object.values().all(is_plain)) {
            return None;
        }
        let fields: BTreeSet<&String> = objects.iter().flat_map(|object| object.keys()).collect();
        let column = |field: &&String| ((*field).clone(), objects.iter().map(|object| object.get(*field)).collect());
        Some(Table { shape: vec![objects.len(), fields.len()], columns: fields.iter().map(column).collect() })
    }

    fn numbers(&self) -> usize {
        let cells = self.columns.iter().flat_map(|(_, cells)| cells);
        cells.filter(|cell| cell.is_some_and(Value::is_number)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;
    use std::io::Write;

    const ROOM: usize = 1 << 20;

    fn key(sha256: &str) -> String {
        format!("arrays/{sha256}")
    }

    /// The rows of an object, as texts.
    fn rows(array: &LargeArray) -> Vec<Vec<(String, String)>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&array.content).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        let text = |field: &Field| match field {
            Field::Str(text) => text.clone(),
            other => other.to_string(),
        };
        let row = |row: parquet::record::Row| {
            row.get_column_iter().map(|(name, field)| (name.clone(), text(field))).collect()
        };
        reader.get_row_iter(None).unwrap().map(|found| row(found.unwrap())).collect()
    }

    #[test]
    fn a_small_document_stays_as_it_is() {
        let document = json!({"a": vec![1.5; INLINE_NUMBERS], "b": [{"x": 1}, {"x": [2]}], "c": "text"});
        let mut left = document.clone();
        assert_eq!(take_out(&mut left, usize::MAX, key).unwrap(), []);
        assert_eq!(left, document);
    }

    #[test]
    fn an_array_of_too_many_numbers_goes_whatever_room_there_is() {
        let values: Vec<Value> = (0..=INLINE_NUMBERS).map(|k| json!(k as f64 / 3.0)).collect();
        let mut values = [values, vec![Value::Null]].concat();
        values.swap(1, INLINE_NUMBERS + 1);
        let mut document = json!({"deep": {"er": [{"values": values, "name": "n"}]}});
        let taken = take_out(&mut document, usize::MAX, key).unwrap();
        let [array] = &taken[..] else { panic!("{} arrays", taken.len()) };
        let sha256 = sha256(&array.content);
        assert_eq!(array.key, key(&sha256));
        let reference = json!({"key": array.key, "sha256": sha256, "shape": [INLINE_NUMBERS + 2]});
        assert_eq!(document, json!({"deep": {"er": [{"values": reference, "name": "n"}]}}));
        let rows = rows(array);
        assert_eq!(rows.len(), INLINE_NUMBERS + 2);
        assert_eq!(rows[1], [("value".into(), "null".into())]);
        assert_eq!(rows[5][0].1.parse::<f64>().unwrap(), 5.0 / 3.0);
    }

    #[test]
    fn the_largest_arrays_go_until_the_document_fits() {
        let numbers = |count: usize| (0..count).map(|k| k as f64 + 0.5).collect::<Vec<_>>();
        let files: Vec<Value> = (0..9000).map(|k| json!({"key": format!("file {k}"), "samples": k})).collect();
        let mut document = json!({
            "small": numbers(3000), "large": [numbers(30_000), numbers(30_000)], "files": files, "tiny": numbers(9),
        });
        let taken = take_out(&mut document, ROOM, key).unwrap();
        assert_eq!(taken.len(), 1);
        assert_eq!(document["large"]["shape"], json!([2, 30_000]));
        assert!(bson_size(&document) <= ROOM && document["files"].is_array());
        assert_eq!(rows(&taken[0])[7], [("1".into(), "7.5".into()), ("2".into(), "7.5".into())]);

        let taken = take_out(&mut document, ROOM / 4, key).unwrap();
        assert_eq!((taken.len(), &document["files"]["shape"]), (1, &json!([9000, 2])));
        assert_eq!(rows(&taken[0])[3], [("key".into(), "file 3".into()), ("samples".into(), "3.0".into())]);
        assert!(bson_size(&document) <= ROOM / 4 && document["small"].is_array());

        take_out(&mut document, 0, key).unwrap();
        assert!(document["small"].is_object() && document["tiny"].is_array(), "{document}");
    }

    #[test]
    fn what_is_in_objects_of_arrays_goes_one_by_one() {
        let shape = || json!({"re": vec![0.5; 1000], "im": vec![0.0; 1000]});
        let mut document = json!({"modes": [{"shape": shape()}, {"shape": shape()}], "names": ["a"]});
        let taken = take_out(&mut document, 0, key).unwrap();
        assert_eq!(taken.len(), 4);
        assert_eq!(document["modes"][1]["shape"]["re"]["shape"], json!([1000]));
        assert_eq!(document["names"], json!(["a"]));
    }
}
