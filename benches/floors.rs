//! Where the time of the rows of `benches/compare/packages.py` goes, and what it cannot be below:
//!
//! `cargo bench --bench floors` takes a minute. Each stage has the operations that its formulas need, whoever carries them
//! out, and the time of these at the machine's measured rate of matrix products, which nothing here can beat. Decompositions
//! count with what textbooks say of the least that they take; what only compares (selection, validation) counts nothing.
//! Each record is analysed several times by one process; the first time, with memory never touched before, stands apart.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot go on ends, and is read")]

#[path = "support/machine.rs"]
mod machine;

use machine::Machine;
use oma_worker::compute::cpu::Cpu;
use oma_worker::modal::spectrum::{self, Spectra};
use oma_worker::modal::{ModalError, automatic, fdd};
use oma_worker::model::control::Control;
use oma_worker::model::parameters::{Drive, SsiParameters, Weighting};
use oma_worker::model::record::{MemoryRecord, Record};
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use std::sync::{Arc, Mutex};
use std::time::Instant;

const SAMPLES: usize = 60_000;
const TIMES: usize = 7;

fn main() {
    let machine = Machine::measure();
    println!("machine: {machine}\n");
    println!("| row | stage | first, ms | best, ms | GFLOP | floor, ms |\n|---|---|---|---|---|---|");
    for channels in [32, 100] {
        fdd(channels, &machine);
    }
    let pc = (Drive::Covariance, Weighting::Pc);
    ssi("ssi-8", 8, (30, 60), pc, &machine);
    ssi("ssi-32", 32, (30, 60), pc, &machine);
    ssi("ssi-100", 100, (20, 100), pc, &machine);
    ssi("dat-32", 32, (30, 60), (Drive::Data, Weighting::Upc), &machine);
}

fn record(channels: usize) -> MemoryRecord {
    // As in the comparison: modes up to 40 Hz, four fifths of Nyquist.
    let chain = ShearChain { dofs: channels, top_frequency_hz: 40.0, damping: Damping::Rising };
    let dofs = (0..channels).collect();
    let seed = channels as u64;
    let measurement = Measurement { dofs, sampling_rate_hz: 100.0, samples: SAMPLES, noise: 0.05, seed };
    MemoryRecord::new(100.0, chain.record(&measurement))
}

/// Ends of stages in seconds, by name.
type Ends = Vec<(String, f64)>;

/// Runs `work` several times; its control notes where a stage of the progress is for the last time.
fn watched(work: impl Fn(&Control)) -> Vec<Ends> {
    let once = |_| {
        let ends = Arc::new(Mutex::new(Ends::new()));
        let (start, noted) = (Instant::now(), ends.clone());
        let progress = move |stage: &str, done: f64| {
            let (name, now) = (format!("{stage} {}", done >= 1.0), start.elapsed().as_secs_f64());
            let mut noted = noted.lock().unwrap();
            noted.retain(|(known, _)| *known != name);
            noted.push((name, now));
        };
        work(&Control::new(Default::default(), Arc::new(progress)));
        let mut ends = ends.lock().unwrap().clone();
        ends.push(("end".into(), start.elapsed().as_secs_f64()));
        ends
    };
    (0..TIMES).map(once).collect()
}

/// Prints the stages, each from the end of the one before to the event it is named with.
fn table(row: &str, runs: &[Ends], stages: &[(&str, &str, f64)], machine: &Machine) {
    let end = |ends: &Ends, event: &str| ends.iter().find(|(name, _)| name == event).unwrap().1;
    let line = |name: &str, milliseconds: &dyn Fn(&Ends) -> f64, flops: f64| {
        let best = runs[1..].iter().map(milliseconds).fold(f64::INFINITY, f64::min);
        let floor = 1e3 * flops / machine.flops;
        let first = milliseconds(&runs[0]);
        println!("| {row} | {name} | {first:.1} | {best:.1} | {:.3} | {floor:.1} |", flops / 1e9);
    };
    for (at, (name, event, flops)) in stages.iter().enumerate() {
        let took = |ends: &Ends| {
            let before = if at == 0 { 0.0 } else { end(ends, stages[at - 1].1) };
            1e3 * (end(ends, event) - before)
        };
        line(name, &took, *flops);
    }
    line("all", &|ends| 1e3 * end(ends, "end"), stages.iter().map(|stage| stage.2).sum());
}

/// Half-overlapping Welch segments of n channels: four multiply-adds for each pair at every line, a real transform of N
/// samples 2.5 N log₂ N.
fn welch(channels: usize, length: usize) -> f64 {
    let (n, segment) = (channels as f64, length as f64);
    let segments = (2 * SAMPLES / length - 1) as f64;
    segments * ((segment / 2.0 + 1.0) * n * (n + 1.0) / 2.0 * 8.0 + n * 2.5 * segment * segment.log2())
}

/// The leading pairs of a Hermitian matrix at every line: eight flops an entry and step, of which `count` + 6 are taken at
/// least; 4/3 n³ complex ones to tridiagonal form where there are few channels.
fn pairs(channels: usize, length: usize, count: usize) -> f64 {
    let (n, lines) = (channels as f64, (length / 2 + 1) as f64);
    let steps = 8.0 * n * n * (count + 6) as f64;
    lines * steps.min(16.0 / 3.0 * n.powi(3))
}

fn fdd(channels: usize, machine: &Machine) {
    const LENGTH: usize = 1024;
    let record = record(channels);
    let setting = fdd::PeakSetting { band_hz: (0.0, 50.0), overlap: 0.5, prominence: fdd::PROMINENCE };
    let runs = watched(|control| {
        let spectra = Spectra::new(&record, LENGTH, 0.5, &Cpu, control).unwrap();
        control.progress("matrices", 1.0);
        fdd::peaks(&spectra, &setting).unwrap();
        control.progress("peaks", 1.0);
        spectra.singular_values(3).unwrap();
        control.progress("singular values", 1.0);
    });
    let stages = [
        ("spectra", "matrices true", welch(channels, LENGTH)),
        ("peaks", "peaks true", pairs(channels, LENGTH, 1)),
        ("singular values", "singular values true", pairs(channels, LENGTH, 3)),
    ];
    table(&format!("fdd-{channels}"), &runs, &stages, machine);
}

fn ssi(
    row: &str,
    channels: usize,
    (br, order): (usize, usize),
    (drive, weighting): (Drive, Weighting),
    machine: &Machine,
) {
    let record = record(channels);
    let all: Vec<usize> = (0..channels).collect();
    let parameters = SsiParameters {
        method: Some(drive.method().into()),
        block_rows: Some(br),
        order_max: Some(order),
        weighting: Some(weighting),
        uncertainty: Some(false),
        ..SsiParameters::default()
    };
    let stays = |_: &dyn Record, _| Err(ModalError::Setting("with block_rows given there is one level".into()));
    let runs = watched(|control| {
        automatic::identify(&record, &parameters, Some(&all), &stays, &Cpu, control).unwrap();
    });
    let length = spectrum::segment_length_by_rule(record.info());
    let (n, k, size) = (channels as f64, order as f64, (br * channels) as f64);
    // Of a transform of L samples L − 2 br + 1 are new; products as those of spectra, but of all pairs; forth and back.
    let transform = (10 * br).next_power_of_two().max(256) as f64;
    let stretches = SAMPLES as f64 / (transform - 2.0 * br as f64 + 1.0);
    let lags = stretches * (n * n * (transform / 2.0 + 1.0) * 8.0 + 2.0 * n * 2.5 * transform * transform.log2());
    // Cholesky factor and division of two matrices by it, for data.
    let weights = if weighting == Weighting::Pc { 0.0 } else { size.powi(3) / 3.0 + size.powi(3) };
    // One and a half times as many vectors as triplets on both sides, each from one product and twice orthogonal to all before.
    let vectors = 1.5 * k;
    let triplets = 4.0 * size * size * vectors + 8.0 * size * vectors * vectors;
    // A QR decomposition, and of every order n eigenvalues and vectors, 25 n³ (Golub & Van Loan 2013, §7.5.6).
    let poles = 4.0 * size * k * k + 25.0 * k.powi(4) / 4.0;
    let stages = [
        ("survey: spectra", "spectra true", welch(channels, length)),
        ("survey: singular values; lag products", "lag products true", pairs(channels, length, 1) + lags),
        ("Hankel matrix", "order false", weights),
        ("singular triplets", "poles false", triplets),
        ("poles", "poles true", poles),
        ("modes", "end", 0.0),
    ];
    table(row, &runs, &stages, machine);
}
