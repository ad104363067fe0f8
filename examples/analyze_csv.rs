//! The modes of a CSV file, with a page beside it: `cargo run --example analyze_csv -- record.csv 100`.
//!
//! The second argument is the sampling rate in Hz, needed where the file has no column of time. Without arguments a
//! record is made first.
#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use oma_worker::model::control::Control;
use oma_worker::model::record::RawFile;
use oma_worker::model::run::RunType;
use oma_worker::pipeline::{self, Request};
use oma_worker::report;
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut arguments = std::env::args().skip(1);
    let path = match arguments.next() {
        Some(path) => PathBuf::from(path),
        None => simulated(folder.path())?,
    };
    let sampling_rate_hz = arguments.next().map(|rate| rate.parse()).transpose()?;
    let file = RawFile { sampling_rate_hz, ..RawFile::new(path.display().to_string(), &path) };
    let request = Request::new(RunType::Ssi, vec![file]);
    let result = pipeline::run(&request, None, folder.path(), &Control::none())?.result;
    println!("{}", report::mode_table(&result));
    let page = path.with_extension("html");
    std::fs::write(&page, report::page("Modes", &[], &[result]))?;
    println!("{} was written", page.display());
    Ok(())
}

/// Five minutes of a frame of three storeys, in the folder for temporary files.
fn simulated(folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let frame = ShearChain { dofs: 3, top_frequency_hz: 12.0, damping: Damping::Uniform(0.01) };
    let measurement =
        Measurement { dofs: vec![0, 1, 2], sampling_rate_hz: 50.0, samples: 15_000, noise: 0.05, seed: 7 };
    let channels = frame.record(&measurement);
    let mut text = "time,first,second,third\n".to_owned();
    for (row, ((first, second), third)) in channels[0].iter().zip(&channels[1]).zip(&channels[2]).enumerate() {
        let time = row as f64 / measurement.sampling_rate_hz;
        writeln!(text, "{time:.2},{first},{second},{third}")?;
    }
    let path = folder.join("frame.csv");
    std::fs::write(&path, text)?;
    Ok(path)
}
