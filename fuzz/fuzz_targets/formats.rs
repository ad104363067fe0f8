//! Any bytes as a file whose kind its first bytes tell: Parquet, UFF 58, compressed text.
#![no_main]

#[path = "../guards.rs"]
mod guards;
#[path = "../raw_file.rs"]
mod raw_file;

use libfuzzer_sys::fuzz_target;

fuzz_target!(init: guards::may_catch(), |bytes: &[u8]| raw_file::prepare(bytes, None));
