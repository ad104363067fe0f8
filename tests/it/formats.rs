//! Raw files that are no text: Parquet tables and universal files.
#![expect(clippy::unwrap_used, reason = "allow-unwrap-in-tests does not see the helpers of tests")]

use crate::raw_files::{Folder, noise, samples};
use oma_worker::model::record::{RawFile, Record, Segment};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::fmt::Write;
use std::sync::Arc;

/// One column of a table; a level of 0 is a null.
enum Cells {
    Whole(Vec<i64>),
    Narrow(Vec<i32>),
    Real(Vec<f64>, Option<Vec<i16>>),
    Single(Vec<f32>),
    Text(Vec<String>),
}

/// A Parquet file of row groups with the same columns.
fn table(schema: &str, compression: Compression, groups: &[Vec<Cells>]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder().set_compression(compression).set_data_page_row_count_limit(777);
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build())).unwrap();
    for columns in groups {
        let mut group = writer.next_row_group().unwrap();
        for cells in columns {
            let mut column = group.next_column().unwrap().unwrap();
            match cells {
                Cells::Whole(v) => column.typed::<Int64Type>().write_batch(v, None, None).unwrap(),
                Cells::Narrow(v) => column.typed::<Int32Type>().write_batch(v, None, None).unwrap(),
                Cells::Real(v, levels) => column.typed::<DoubleType>().write_batch(v, levels.as_deref(), None).unwrap(),
                Cells::Single(v) => column.typed::<FloatType>().write_batch(v, None, None).unwrap(),
                Cells::Text(v) => {
                    let v: Vec<ByteArray> = v.iter().map(|text| text.as_str().into()).collect();
                    column.typed::<ByteArrayType>().write_batch(&v, None, None).unwrap()
                }
            };
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

const START_MS: i64 = 1_700_000_000_000;

#[test]
fn tables_of_every_kind_of_time_and_number_give_the_same_samples() {
    let values = noise(3, 50_000);
    let ms = |rows: std::ops::Range<i64>| rows.map(|k| START_MS + 5 * k).collect::<Vec<i64>>();
    let iso = |t: &i64| jiff::Timestamp::from_millisecond(*t).unwrap().to_string();
    type Time<'a> = (&'a str, Box<dyn Fn(std::ops::Range<i64>) -> Cells + 'a>);
    let times: Vec<Time> = vec![
        ("required int64 when (TIMESTAMP(MILLIS,true))", Box::new(|r| Cells::Whole(ms(r)))),
        (
            "required int64 when (TIMESTAMP(NANOS,true))",
            Box::new(|r| Cells::Whole(ms(r).iter().map(|t| t * 1_000_000).collect())),
        ),
        ("required int64 epoch", Box::new(|r| Cells::Whole(ms(r)))),
        ("required double time", Box::new(|r| Cells::Real(ms(r).iter().map(|t| *t as f64 / 1e3).collect(), None))),
        ("required binary timestamp (UTF8)", Box::new(|r| Cells::Text(ms(r).iter().map(iso).collect()))),
    ];
    let compressions = [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(Default::default())];
    for (number, (time, cells)) in times.iter().enumerate() {
        let schema = format!(
            "message m {{ {time}; optional double x; required float y; required int32 z; required binary note (UTF8); }}"
        );
        let group = |rows: std::ops::Range<i64>| {
            let own = &values[rows.start as usize..rows.end as usize];
            // Row 70 has no x.
            let levels = rows.clone().map(|k| i16::from(k != 70)).collect();
            let x = rows.clone().zip(own).filter(|(k, _)| *k != 70).map(|(_, v)| *v).collect();
            vec![
                cells(rows.clone()),
                Cells::Real(x, Some(levels)),
                Cells::Single(own.iter().map(|v| 2.0 * *v as f32).collect()),
                Cells::Narrow(rows.clone().map(|k| (k * k % 1009) as i32).collect()),
                Cells::Text(rows.map(|_| "ok".into()).collect()),
            ]
        };
        let folder = Folder::new();
        let bytes = table(&schema, compressions[number % 3], &[group(0..30_000), group(30_000..50_000)]);
        let record = folder.ingest(&[folder.file("r.parquet", bytes)], &[]).unwrap_or_else(|e| panic!("{time}: {e}"));
        assert_eq!(record.info().sampling_rate_hz, 200.0, "{time}");
        assert_eq!(record.info().start.unwrap().as_millisecond(), START_MS, "{time}");
        assert_eq!(record.info().segments, [Segment { start: 0, samples: 50_000 }], "{time}");
        let names: Vec<&str> = record.info().channels.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["x", "y", "z"]);
        let found = &samples(&record)[0];
        for k in (0..50_000).filter(|k| *k != 70) {
            assert_eq!(found[0][k], values[k] as f32, "{time} {k}");
            assert_eq!((found[1][k], found[2][k]), (2.0 * values[k] as f32, (k * k % 1009) as f32));
        }
        let warnings = record.description().warnings.join("\n");
        assert!(warnings.contains("channel x: 1 missing samples"), "{warnings}");
        assert!(warnings.contains("column \"note\" holds no numbers"), "{warnings}");
    }
}

#[test]
fn a_table_without_time_takes_the_declared_rate_and_a_cut_one_is_refused() {
    let folder = Folder::new();
    let bytes =
        table("message m { required double a; }", Compression::SNAPPY, &[vec![Cells::Real(noise(1, 500), None)]]);
    let file = RawFile { sampling_rate_hz: Some(20.0), ..folder.file("r.parquet", &bytes) };
    assert_eq!(samples(&folder.ingest(&[file], &[]).unwrap())[0][0].len(), 500);
    for cut in [5, bytes.len() / 2, bytes.len() - 1] {
        let file = RawFile { sampling_rate_hz: Some(20.0), ..folder.file("cut.parquet", &bytes[..cut]) };
        let error = folder.ingest(&[file], &[]).unwrap_err();
        assert_eq!(error.code(), "unreadable_file", "{error}");
        assert!(error.to_string().starts_with("cut.parquet: cannot be read: Parquet"), "{error}");
    }
}

/// The head of a dataset 58: eleven lines.
fn head(kind: &str, node: usize, direction: i32, data_type: usize, points: usize, interval_s: f64) -> String {
    let mut text = format!("    -1\n{kind}\nNONE\nNONE\n14-Nov-23 22:13:20\nNONE\nNONE\n");
    writeln!(text, "{:5}{:10}{:5}{:10} {:10}{node:10}{direction:4} {:10}{:10}{:4}", 1, 0, 0, 0, "NONE", "NONE", 0, 0)
        .unwrap();
    let number = |v: f64| fortran(v, 13, 5);
    writeln!(text, "{data_type:10}{points:10}{:10}{}{}{}", 1, number(0.0), number(interval_s), number(0.0)).unwrap();
    writeln!(text, "{:10}{:5}{:5}{:5} {:20} {:20}", 17, 0, 0, 0, "Time", "s").unwrap();
    writeln!(text, "{:10}{:5}{:5}{:5} {:20} {:20}", 12, 0, 0, 0, "Acceleration", "m/s2").unwrap();
    for _ in 0..2 {
        writeln!(text, "{:10}{:5}{:5}{:5} {:20} {:20}", 0, 0, 0, 0, "NONE", "NONE").unwrap();
    }
    text
}

/// A number as Fortran writes it: `-1.23450E-01`.
fn fortran(value: f64, width: usize, digits: usize) -> String {
    let text = format!("{value:.digits$E}");
    let (mantissa, exponent) = text.split_once('E').unwrap();
    let exponent: i32 = exponent.parse().unwrap();
    format!("{:>width$}", format!("{mantissa}E{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()))
}

fn universal(values: &[Vec<f64>], single: bool, binary: Option<bool>) -> Vec<u8> {
    let units = b"    -1\n   164\n         1  SI                 2\n  1.0  1.0  1.0\n  0.0\n    -1\n";
    let mut file = units.to_vec();
    for (k, channel) in values.iter().enumerate() {
        let data_type = if single { 2 } else { 4 };
        let bytes = channel.len() * if single { 4 } else { 8 };
        let kind = match binary {
            None => "    58".to_owned(),
            Some(big) => {
                format!("    58b{:6}{:6}{:12}{bytes:12}{:6}{:6}{:12}{:12}", 1 + i32::from(big), 2, 11, 0, 0, 0, 0)
            }
        };
        file.extend(head(&kind, k + 1, if k == 1 { -3 } else { 3 }, data_type, channel.len(), 1.0 / 300.0).bytes());
        match binary {
            None => {
                let (width, digits, per_line) = if single { (13, 5, 6) } else { (20, 12, 4) };
                for line in channel.chunks(per_line) {
                    line.iter().for_each(|v| file.extend(fortran(*v, width, digits).bytes()));
                    file.push(b'\n');
                }
            }
            Some(big) => {
                for v in channel {
                    match (single, big) {
                        (true, true) => file.extend((*v as f32).to_be_bytes()),
                        (true, false) => file.extend((*v as f32).to_le_bytes()),
                        (false, true) => file.extend(v.to_be_bytes()),
                        (false, false) => file.extend(v.to_le_bytes()),
                    }
                }
                file.push(b'\n');
            }
        }
        file.extend(b"    -1\n");
    }
    file
}

/// A small file of each kind, for others to break.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let values = vec![noise(1, 40), noise(2, 40)];
    let times = Cells::Whole((0..40).map(|k| START_MS + 5 * k).collect());
    let schema = "message m { required int64 t (TIMESTAMP(MILLIS,true)); required double a; }";
    let parquet = table(schema, Compression::SNAPPY, &[vec![times, Cells::Real(values[0].clone(), None)]]);
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (40, 2), }";
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    npy.extend((header.len() as u16 + 1).to_le_bytes());
    npy.extend(header.bytes().chain([b'\n']));
    (0..80).for_each(|k| npy.extend((k as f32).sin().to_le_bytes()));
    vec![parquet, npy, universal(&values, true, None), universal(&values, false, Some(true))]
}

#[test]
fn universal_files_of_text_and_of_both_byte_orders_give_the_same_samples() {
    let values: Vec<Vec<f64>> = (0..3).map(|k| noise(k, 20_011)).collect();
    for single in [true, false] {
        for binary in [None, Some(false), Some(true)] {
            let folder = Folder::new();
            let record = folder.ingest(&[folder.file("r.uff", universal(&values, single, binary))], &[]);
            let record = record.unwrap_or_else(|error| panic!("{single} {binary:?}: {error}"));
            let info = record.info();
            assert_eq!((info.sampling_rate_hz, info.start.unwrap().as_millisecond()), (300.0, START_MS));
            let channels: Vec<(&str, &str)> =
                info.channels.iter().map(|c| (c.name.as_str(), c.unit.as_str())).collect();
            assert_eq!(channels, [("1Z", "m/s2"), ("2-Z", "m/s2"), ("3Z", "m/s2")]);
            let found = &samples(&record)[0];
            for (found, values) in found.iter().zip(&values) {
                assert_eq!(found.len(), 20_011);
                for (found, value) in found.iter().zip(values) {
                    // Six digits of text, or those of an f32.
                    let tolerance = if single && binary.is_none() { 5e-6 * value.abs() } else { 6e-8 * value.abs() };
                    assert!((f64::from(*found) - value).abs() <= tolerance, "{found} {value}");
                }
            }
        }
    }
}

#[test]
fn a_universal_file_that_is_cut_off_or_holds_something_else_is_refused_with_the_reason() {
    let folder = Folder::new();
    let error = |bytes: &[u8]| folder.ingest(&[folder.file("r.uff", bytes)], &[]).unwrap_err();
    let values = vec![noise(1, 1000)];
    let text = universal(&values, true, None);
    let binary = universal(&values, false, Some(false));
    let line = text.len() - 3000 + text[text.len() - 3000..].iter().position(|b| *b == b'\n').unwrap() + 1;
    for (bytes, part) in [
        (&text[..line], "is cut off within its values"),
        (&binary[..binary.len() - 3000], "bytes of values are missing"),
        (&text[..400], "is cut off in the head"),
        (&b"    -1\n    15\n         1\n    -1\n"[..], "holds no function of time (0 of another type)"),
    ] {
        let error = error(bytes);
        assert_eq!(error.code(), "unreadable_file");
        assert!(error.to_string().contains(part), "{error}");
    }
    let complex = String::from_utf8(text.clone()).unwrap().replacen("         2      1000", "         5      1000", 1);
    assert!(error(complex.as_bytes()).to_string().contains("only real values at even times are read"));
    let mut two = text.clone();
    two.extend(universal(&[noise(1, 999)], true, None));
    assert!(error(&two).to_string().contains("give each its own file"), "{}", error(&two));
}

#[test]
fn a_column_of_numbers_that_begins_with_minus_one_is_no_universal_file() {
    let folder = Folder::new();
    for content in ["-1\n58\n3\n", "  -1\n   5\n   3\n", "    -1\n     5\n     3\n"] {
        let file = RawFile { sampling_rate_hz: Some(1.0), ..folder.file("r.txt", content) };
        let found = samples(&folder.ingest(&[file], &[]).unwrap());
        assert_eq!((found[0][0][0], found[0][0].len()), (-1.0, 3), "{content:?}");
    }
}
