//! Broken and alien bytes in the place of raw files, cached records and documents: a value or an error, and no panic.
//!
//! The same ways in as the fuzz targets, from sound files with some of their bytes changed.
#![expect(clippy::unwrap_used, reason = "allow-unwrap-in-tests does not see the helpers of tests")]

use crate::formats;
use crate::raw_files::{Folder, samples};
use oma_worker::ingest::cache::CachedRecord;
use oma_worker::model::file_format::{FileFormat, FileKind};
use oma_worker::model::parameters::{Parameters, PreprocessingParameters};
use oma_worker::model::record::{Block, RawFile, Record};
use oma_worker::model::result::AnalysisResult;
use oma_worker::stores::documents::{Id, Measure, Structure};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

/// One change of some bytes.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Repeat(Index, usize),
    Insert(Index, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => (any::<Index>(), 1usize..40).prop_map(|(at, count)| Change::Remove(at, count)),
        1 => (any::<Index>(), 1usize..40).prop_map(|(at, count)| Change::Repeat(at, count)),
        2 => (any::<Index>(), prop_oneof![
            prop::collection::vec(any::<u8>(), 1..9),
            prop::sample::select(vec!["-999", "NaN", "1e999", ";", "\n\n", "-1", "99999999999999999999", "\u{feff}", "\""])
                .prop_map(|text| text.as_bytes().to_vec()),
        ]).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
    ]
}

fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        let end = |at: usize, count: usize| (at + count).min(length);
        match change {
            Change::Set(at, byte) => bytes[at.index(length)] = *byte,
            Change::Cut(at) => bytes.truncate(at.index(length)),
            Change::Remove(at, count) => {
                let at = at.index(length);
                bytes.drain(at..end(at, *count));
            }
            Change::Repeat(at, count) => {
                let at = at.index(length);
                let part = bytes[at..end(at, *count)].to_vec();
                bytes.splice(at..at, part);
            }
            Change::Insert(at, own) => {
                let at = at.index(length);
                bytes.splice(at..at, own.iter().copied());
            }
        }
    }
    bytes
}

/// Text of several kinds, small enough for many rounds.
fn texts() -> Vec<Vec<u8>> {
    let rows = |row: &dyn Fn(usize) -> String| (0..30).map(row).collect::<String>();
    let wave = |k: usize| (0.7 * k as f64).sin();
    let own = |text: String| text.into_bytes();
    vec![
        own(format!("time,a,b\n{}", rows(&|k| format!("{},{:.4},{:.4}\n", k as f64 / 50.0, wave(k), wave(k + 9))))),
        own(format!(
            "# fs = 100 Hz\nZeit;x\n;m/s2\n{}",
            rows(&|k| format!(
                "01.03.2024 10:00:{:02},{:02}0;{}\n",
                k / 100,
                k % 100,
                wave(k).to_string().replace('.', ",")
            ))
        )),
        own(format!("epoch\ta\n{}", rows(&|k| format!("{}\t{}\n", 1_700_000_000_000i64 + 5 * k as i64, k * k % 101)))),
        own(format!("date,clock,a\n{}", rows(&|k| format!("2024-10-27,02:59:{:02},{}\n", k, wave(k))))),
        own(rows(&|k| format!("{:.5e} {:.5e}\n", wave(k), wave(2 * k)))),
    ]
}

fn ingest(bytes: Vec<u8>, kind: Option<FileKind>, rate: Option<f64>) {
    let folder = Folder::new();
    let file = RawFile { sampling_rate_hz: rate, ..folder.file("record", bytes) };
    let file_format = FileFormat { kind, ..FileFormat::default() };
    let parameters = PreprocessingParameters { file_format, ..PreprocessingParameters::default() };
    if let Ok(record) = folder.prepare_with(&[file], &[], &parameters) {
        assert!(samples(&record).iter().flatten().flatten().all(|v| v.is_finite()));
    }
}

/// A small cached record.
fn cached() -> Vec<u8> {
    let folder = Folder::new();
    folder.ingest(&[folder.file("r.csv", &texts()[0])], &[]).unwrap();
    std::fs::read(folder.path().join("record.parquet")).unwrap()
}

fn documents() -> Vec<&'static str> {
    vec![
        r#"{"preprocessing": {"detrend": "linear", "filter": {"kind": "bandpass", "low_hz": 0.5, "high_hz": 20, "order": 4}, "outliers": {"half_width": 5}, "integration": {"times": 1, "low_hz": 0.5}}, "fdd": {"nxseg": 1024}, "ssi": {"br": 30, "weighting": "upc"}}"#,
        r#"{"name": "bridge", "tenant_id": 9, "mysql_id": 43, "geometry": {"unit": "m", "lines": [["a", "b"]]}}"#,
        r#"{"sensor_id": "65e08e66bfe58ba848bccee0", "channels": ["x"], "start": "2024-03-01T10:00:00Z", "end": {"$date": 1709290800000}, "sampling_rate_hz": 100, "samples": 5, "key": "a/b.csv"}"#,
        r#"{"sensor_id": 5, "start": 1709290800000, "sampling_rate_hz": 1e3, "values": {"x": [1.5, null, -2], "y": [0.1]}}"#,
    ]
}

proptest! {
    #[test]
    fn changed_text_makes_no_panic(
        which in any::<Index>(),
        changes in prop::collection::vec(change(), 1..8),
        rate in prop::option::of(Just(50.0)),
    ) {
        let texts = texts();
        ingest(changed(&texts[which.index(texts.len())], &changes), None, rate);
    }

    #[test]
    fn changed_arrays_and_tables_make_no_panic(
        which in any::<Index>(),
        changes in prop::collection::vec(change(), 1..8),
    ) {
        let seeds = formats::seeds();
        ingest(changed(&seeds[which.index(seeds.len())], &changes), None, Some(50.0));
    }

    #[test]
    fn a_changed_cache_file_makes_no_panic(changes in prop::collection::vec(change(), 1..8)) {
        let folder = Folder::new();
        let file = folder.file("record.parquet", changed(&cached(), &changes));
        if let Ok(record) = CachedRecord::open(&file.path) {
            let (mut blocks, mut block) = (record.blocks().unwrap(), Block::default());
            while let Ok(true) = blocks.next_block(&mut block) {}
        }
    }

    #[test]
    fn changed_documents_make_no_panic(which in any::<Index>(), changes in prop::collection::vec(change(), 0..6)) {
        let documents = documents();
        let text = changed(documents[which.index(documents.len())].as_bytes(), &changes);
        if let Ok(value) = serde_json::from_slice::<Value>(&text) {
            let _ = Parameters::from_parts(&value, &Value::Null, &Value::Null);
            let _ = Parameters::from_parts(&value["preprocessing"], &value["fdd"], &value["ssi"]);
            Structure::from_body(Id::from("6426ff08edc3cbd39eac2a93"), &value);
            let measure = Measure::from_body(&value);
            measure.overlaps((measure.start, None));
            let _ = serde_json::from_value::<AnalysisResult>(value);
        }
    }
}
