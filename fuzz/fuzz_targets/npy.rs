//! Any bytes as a NumPy array.
#![no_main]

#[path = "../guards.rs"]
mod guards;
#[path = "../raw_file.rs"]
mod raw_file;

use libfuzzer_sys::fuzz_target;
use oma_worker::model::file_format::FileKind;

fuzz_target!(init: guards::may_catch(), |bytes: &[u8]| raw_file::prepare(bytes, Some(FileKind::Npy)));
