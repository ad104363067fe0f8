//! tests

#[path = "support/raw_files.rs"]
mod raw_files;

mod ingest;

mod preprocess;
