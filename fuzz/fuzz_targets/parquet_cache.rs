//! Any bytes as a cached record.
#![no_main]

#[path = "../guards.rs"]
mod guards;

use libfuzzer_sys::fuzz_target;
use oma_worker::ingest::cache::CachedRecord;
use oma_worker::model::record::{Block, Record};

thread_local! {
    static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a temporary folder");
}

fuzz_target!(init: guards::may_catch(), |bytes: &[u8]| {
    FOLDER.with(|folder| {
        let path = folder.path().join("record.parquet");
        std::fs::write(&path, bytes).expect("a file in the temporary folder");
        let Ok(record) = CachedRecord::open(&path) else { return };
        let Ok(mut blocks) = record.blocks() else { return };
        let mut block = Block::default();
        while let Ok(true) = blocks.next_block(&mut block) {}
    });
});
