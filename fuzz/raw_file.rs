//! Bytes → a raw file → a record that is read to its end.

use oma_worker::model::control::Control;
use oma_worker::model::file_format::{FileFormat, FileKind};
use oma_worker::model::parameters::PreprocessingParameters;
use oma_worker::model::record::{Block, RawFile, Record};
use std::path::Path;

thread_local! {
    static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a temporary folder");
}

/// Whatever the bytes are, there is a record of finite samples or an error.
pub fn prepare(bytes: &[u8], kind: Option<FileKind>) {
    FOLDER.with(|folder| prepare_in(folder.path(), bytes, kind));
}

fn prepare_in(folder: &Path, bytes: &[u8], kind: Option<FileKind>) {
    let path = folder.join("record");
    std::fs::write(&path, bytes).expect("a file in the temporary folder");
    let file = RawFile { sampling_rate_hz: Some(100.0).filter(|_| bytes.first().is_some_and(|b| b % 2 == 0)), ..RawFile::new("record", path) };
    let parameters = PreprocessingParameters {
        file_format: FileFormat { kind, ..FileFormat::default() },
        ..PreprocessingParameters::default()
    };
    let out = folder.join("cache");
    let period = (None, None);
    let Ok(record) =
        oma_worker::preprocess::prepare(&[file], &[], None, period, &parameters, &out, &Control::none())
    else {
        return;
    };
    let mut blocks = record.blocks().expect("a record that was just written");
    let mut block = Block::default();
    while blocks.next_block(&mut block).expect("a block of a record that was just written") {
        assert!(block.data.iter().all(|sample| sample.is_finite()));
    }
}
