//! How time and memory grow with the record, and how near a day of a hundred channels comes to what the machine can do:
//!
//! `cargo bench --bench scale` takes a few minutes. Each row is a process of its own, so that its peak memory is its own.
//! The records are streams: ten simulated minutes, again and again, so that the record itself takes no room.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on ends, and is read")]

#[path = "support/machine.rs"]
mod machine;

use machine::Machine;
use oma_worker::compute::cpu::Cpu;
use oma_worker::modal::spectrum::Spectra;
use oma_worker::modal::{ModalError, automatic, fdd};
use oma_worker::model::control::Control;
use oma_worker::model::parameters::{SsiParameters, Weighting};
use oma_worker::model::record::{Block, BlockSource, MemoryRecord, ReadError, Record, RecordInfo, Segment};
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use std::f64::consts::PI;
use std::time::Instant;

const RATE_HZ: f64 = 100.0;
const TEN_MINUTES: usize = 60_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ssi", minutes] => ssi(minutes.parse().unwrap(), None),
        ["ssi", minutes, mib] => ssi(minutes.parse().unwrap(), Some(mib.parse().unwrap())),
        ["fdd", minutes] => fdd(minutes.parse().unwrap()),
        ["machine"] => println!("machine: {}", Machine::measure()),
        _ => {
            // Each twice, for the spread; 40 MiB are a little more than the Hankel matrices take.
            let ssi = ["ssi 10", "ssi 60", "ssi 600", "ssi 10", "ssi 60", "ssi 600", "ssi 10 40", "ssi 600 40"];
            for row in ["machine"].into_iter().chain(ssi).chain(["fdd 10", "fdd 1440"]) {
                let program = std::env::current_exe().unwrap();
                let status = std::process::Command::new(program).args(row.split(' ')).status().unwrap();
                assert!(status.success(), "{row}");
            }
        }
    }
}

/// Ten minutes of a shear chain, repeated.
struct Repeated {
    once: MemoryRecord,
    info: RecordInfo,
}

impl Repeated {
    fn new(channels: usize, minutes: usize) -> Repeated {
        let chain = ShearChain { dofs: channels, top_frequency_hz: 40.0 / PI, damping: Damping::Rising };
        let measurement = Measurement {
            dofs: (0..channels).collect(),
            sampling_rate_hz: RATE_HZ,
            samples: TEN_MINUTES,
            noise: 0.05,
            seed: channels as u64,
        };
        let once = MemoryRecord::new(RATE_HZ, chain.record(&measurement));
        let samples = (minutes / 10 * TEN_MINUTES) as u64;
        let info = RecordInfo { samples, segments: vec![Segment { start: 0, samples }], ..once.info().clone() };
        Repeated { once, info }
    }
}

impl Record for Repeated {
    fn info(&self) -> &RecordInfo {
        &self.info
    }

    fn blocks(&self) -> Result<Box<dyn BlockSource + '_>, ReadError> {
        Ok(Box::new(Repetition { of: self, source: self.once.blocks()?, before: 0 }))
    }
}

struct Repetition<'a> {
    of: &'a Repeated,
    source: Box<dyn BlockSource + 'a>,
    /// Samples of the repetitions before this one.
    before: u64,
}

impl BlockSource for Repetition<'_> {
    fn info(&self) -> &RecordInfo {
        &self.of.info
    }

    fn next_block(&mut self, block: &mut Block) -> Result<bool, ReadError> {
        if !self.source.next_block(block)? {
            self.before += TEN_MINUTES as u64;
            if self.before == self.of.info.samples {
                return Ok(false);
            }
            self.source = self.of.once.blocks()?;
            self.source.next_block(block)?;
        }
        block.start += self.before;
        Ok(true)
    }
}

/// SSI-cov, 32 channels, whose matrices may take so many MiB.
fn ssi(minutes: usize, limit_mib: Option<u64>) {
    let record = Repeated::new(32, minutes);
    let all: Vec<usize> = (0..32).collect();
    let parameters = SsiParameters {
        block_rows: Some(30),
        order_max: Some(60),
        weighting: Some(Weighting::Pc),
        uncertainty: Some(false),
        ..SsiParameters::default()
    };
    let stays = |_: &dyn Record, _| Err(ModalError::Setting("with block_rows given there is one level".into()));
    let start = Instant::now();
    let control = Control::none().with_memory_limit(limit_mib);
    automatic::identify(&record, &parameters, Some(&all), &stays, &Cpu, &control).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "ssi-cov, 32 channels, {minutes:4} min{}: {seconds:7.3} s, {:.4} s for ten minutes, peak {} MiB",
        limit_mib.map_or(String::new(), |mib| format!(", limit {mib} MiB")),
        seconds * 10.0 / minutes as f64,
        peak_mib()
    );
}

/// FDD, 100 channels, segments of 1024.
fn fdd(minutes: usize) {
    const CHANNELS: f64 = 100.0;
    const SEGMENT: f64 = 1024.0;
    let record = Repeated::new(CHANNELS as usize, minutes);
    let start = Instant::now();
    let control = Control::none();
    let spectra = Spectra::new(&record, SEGMENT as usize, 0.5, &Cpu, &control).unwrap();
    let sums = start.elapsed().as_secs_f64();
    let setting = fdd::PeakSetting { band_hz: (0.0, RATE_HZ / 2.0), overlap: 0.5, prominence: fdd::PROMINENCE };
    let peaks = fdd::peaks(&spectra, &setting).unwrap().len();
    spectra.singular_values(3).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let segments = spectra.segments as f64;
    // Half of the Hermitian products, four multiply-adds each, at every line; a real transform takes 2.5 n log₂ n.
    let products = segments * (SEGMENT / 2.0 + 1.0) * CHANNELS * (CHANNELS + 1.0) / 2.0 * 8.0;
    let transforms = segments * CHANNELS * 2.5 * SEGMENT * SEGMENT.log2();
    let bytes = record.info.samples as f64 * CHANNELS * 4.0;
    println!(
        "fdd, 100 channels, {minutes:4} min: {seconds:7.3} s ({sums:.3} s of sums), {peaks} peaks, peak {} MiB; products \
         {:.1}, transforms {:.1} GFLOP: {:.1} GFLOP/s; record {:.2} GB: {:.2} GB/s",
        peak_mib(),
        products / 1e9,
        transforms / 1e9,
        (products + transforms) / sums / 1e9,
        bytes / 1e9,
        bytes / sums / 1e9
    );
}

/// Largest resident memory of this process so far.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
