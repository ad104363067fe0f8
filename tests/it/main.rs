//! All integration tests in one binary: everything is linked once.

#[path = "support/raw_files.rs"]
mod raw_files;

mod ingest; // raw files of every kind → samples, or one clear error
mod preprocess; // calibrate, detrend, filter, decimate; decimated views
