//! The preprocessed record's file: what was written comes back, a damaged file is known for one.

use crate::ingest::simple;
use crate::raw_files::{Folder, noise, samples};
use oma_worker::ingest::cache::{CacheError, CachedRecord};
use oma_worker::model::parameters::PreprocessingParameters;
use oma_worker::model::record::Record;
use std::fmt::Write;

#[test]
fn the_cache_file_gives_back_what_was_written() {
    let folder = Folder::new();
    let made = folder.prepare_with(&[folder.file("r.csv", simple(200_000, 50.0))], &[], &Default::default()).unwrap();
    let read = CachedRecord::open(&folder.path().join("record.parquet")).unwrap();
    assert_eq!(read.info(), made.info());
    assert_eq!(read.description(), made.description());
    assert!(samples(&read) == samples(&made));
}

#[test]
fn a_truncated_or_altered_cache_file_is_damaged_and_never_wrong() {
    let folder = Folder::new();
    folder.ingest(&[folder.file("r.csv", simple(2000, 50.0))], &[]).unwrap();
    let path = folder.path().join("record.parquet");
    let whole = std::fs::read(&path).unwrap();
    let (description, expected) = {
        let record = CachedRecord::open(&path).unwrap();
        (record.description().clone(), samples(&record))
    };
    let open = |bytes: &[u8]| {
        let altered = folder.path().join("altered.parquet");
        std::fs::write(&altered, bytes).unwrap();
        CachedRecord::open(&altered)
    };
    for length in (0..whole.len()).step_by(97) {
        assert!(matches!(open(&whole[..length]), Err(CacheError::Damaged { .. })), "{length}");
    }
    let mut harmless = 0;
    for at in (0..whole.len()).step_by(13) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        match open(&bytes) {
            Err(CacheError::Damaged { .. }) => {}
            // A byte that no reader looks at may change.
            Ok(record) => {
                assert!(*record.description() == description && samples(&record) == expected, "byte {at}");
                harmless += 1;
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(harmless * 13 * 10 < whole.len(), "{harmless} of {} bytes do not matter", whole.len() / 13);
    // What a fuzzer found: a field of two billion numbers in the header of the first page, of which its reader would look
    // for each at the end of the file.
    let mut endless = whole.clone();
    let header = [0x15, 0, 0x15, 2, 0x15, 2, 0x99, 0xf7, 0xff, 0xff, 0xff, 0xff, 0x07, 0];
    endless[4..4 + header.len()].copy_from_slice(&header);
    let error = open(&endless).unwrap_err().to_string();
    assert!(error.contains("its pages are damaged"), "{error}");
}

#[test]
fn the_number_of_threads_does_not_change_a_byte() {
    let folder = Folder::new();
    let mut text = String::from("time,a,b,c,d,e\n");
    let values = noise(3, 5 * 50_000);
    for k in 0..50_000 {
        let v = &values[5 * k..5 * k + 5];
        writeln!(text, "{},{},{},{},{},{}", k as f64 / 100.0, v[0], v[1], v[2], v[3], v[4]).unwrap();
    }
    let files = [folder.file("r.csv", text)];
    let parameters = PreprocessingParameters { decimation_factor: 3, ..Default::default() };
    let bytes = [1, 2, 5].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| folder.prepare_with(&files, &[], &parameters).unwrap());
        std::fs::read(folder.path().join("record.parquet")).unwrap()
    });
    assert!(bytes[0] == bytes[1] && bytes[0] == bytes[2]);
}
