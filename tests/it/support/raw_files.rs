//! Raw files made on the spot, and the way from them to samples.
#![expect(clippy::unwrap_used, reason = "allow-unwrap-in-tests does not see the helpers of tests")]

use jiff::Timestamp;
use oma_worker::ingest::cache::CachedRecord;
use oma_worker::model::channel::Channel;
use oma_worker::model::control::Control;
use oma_worker::model::parameters::{Detrend, Parameters, PreprocessingParameters};
use oma_worker::model::record::RawFile;
use oma_worker::model::record::{Block, Record};
use oma_worker::model::result::AnalysisResult;
use oma_worker::model::run::RunType;
use oma_worker::pipeline::{self, Request};
use oma_worker::preprocess::{PrepareError, prepare};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// A run from a text of channels `a`, `b`, … to its result.
pub(crate) fn result_of(run_type: RunType, sampling_rate_hz: f64, channels: &[Vec<f32>]) -> AnalysisResult {
    let names: Vec<String> = ('a'..).take(channels.len()).map(String::from).collect();
    result_of_named(run_type, sampling_rate_hz, &names, channels)
}

/// The same with names of one's own.
pub(crate) fn result_of_named(
    run_type: RunType,
    sampling_rate_hz: f64,
    names: &[String],
    channels: &[Vec<f32>],
) -> AnalysisResult {
    run_text(run_type, Parameters::default(), sampling_rate_hz, names, channels)
}

/// The same of channels `a`, `b`, … with parameters.
pub(crate) fn result_with(
    run_type: RunType,
    parameters: Parameters,
    sampling_rate_hz: f64,
    channels: &[Vec<f32>],
) -> AnalysisResult {
    let names: Vec<String> = ('a'..).take(channels.len()).map(String::from).collect();
    run_text(run_type, parameters, sampling_rate_hz, &names, channels)
}

fn run_text(
    run_type: RunType,
    parameters: Parameters,
    sampling_rate_hz: f64,
    names: &[String],
    channels: &[Vec<f32>],
) -> AnalysisResult {
    let folder = Folder::new();
    let mut text = format!("time,{}\n", names.join(","));
    for k in 0..channels[0].len() {
        write!(text, "{:.4}", k as f64 / sampling_rate_hz).unwrap();
        channels.iter().for_each(|channel| write!(text, ",{}", channel[k]).unwrap());
        text.push('\n');
    }
    let request = Request { parameters, ..Request::new(run_type, vec![folder.file("record.csv", text)]) };
    pipeline::run(&request, None, folder.path(), &Control::none()).unwrap().result
}

/// A folder of raw files.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A file that holds every channel.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> RawFile {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        RawFile::new(name, path)
    }

    /// Everything as it is, but what `parameters` say.
    pub(crate) fn prepare_with(
        &self,
        files: &[RawFile],
        channels: &[Channel],
        parameters: &PreprocessingParameters,
    ) -> Result<CachedRecord, PrepareError> {
        self.prepare_period(files, channels, parameters, (None, None))
    }

    pub(crate) fn prepare_period(
        &self,
        files: &[RawFile],
        channels: &[Channel],
        parameters: &PreprocessingParameters,
        period: (Option<Timestamp>, Option<Timestamp>),
    ) -> Result<CachedRecord, PrepareError> {
        prepare(files, channels, None, period, parameters, &self.out(), &Control::none())
    }

    /// In no more memory than `mib` for the filters; how often progress was told, too.
    pub(crate) fn prepare_within(
        &self,
        files: &[RawFile],
        channels: &[Channel],
        parameters: &PreprocessingParameters,
        mib: Option<u64>,
    ) -> Result<(CachedRecord, usize), PrepareError> {
        let told = Arc::new(AtomicUsize::new(0));
        let count = told.clone();
        let progress = move |_: &str, _: f64| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let control = Control::new(Default::default(), Arc::new(progress)).with_memory_limit(mib);
        let record = prepare(files, channels, None, (None, None), parameters, &self.out(), &control)?;
        Ok((record, told.load(Ordering::Relaxed)))
    }

    /// Where the record lies.
    pub(crate) fn out(&self) -> PathBuf {
        self.path().join("record.parquet")
    }

    /// Ingest alone: no step changes a sample.
    pub(crate) fn ingest(&self, files: &[RawFile], channels: &[Channel]) -> Result<CachedRecord, PrepareError> {
        self.prepare_with(files, channels, &untouched())
    }
}

/// No step at all.
pub(crate) fn untouched() -> PreprocessingParameters {
    PreprocessingParameters { detrend: Detrend::None, ..Default::default() }
}

/// Samples by segment and channel, with the rules of a block checked on the way.
pub(crate) fn samples(record: &dyn Record) -> Vec<Vec<Vec<f32>>> {
    let info = record.info();
    let mut segments = vec![vec![Vec::new(); info.channels.len()]; info.segments.len()];
    let (mut source, mut block) = (record.blocks().unwrap(), Block::default());
    while source.next_block(&mut block).unwrap() {
        assert!((1..=oma_worker::model::record::BLOCK_SAMPLES).contains(&block.samples));
        for (channel, out) in segments[block.segment].iter_mut().enumerate() {
            assert_eq!(out.len() as u64, block.start);
            out.extend_from_slice(block.channel(channel));
        }
    }
    for (segment, found) in info.segments.iter().zip(&segments) {
        assert!(found.iter().all(|channel| channel.len() as u64 == segment.samples));
    }
    segments
}

/// The warnings of a record whose samples count its rows, which is a drift.
pub(crate) fn warnings(record: &CachedRecord) -> Vec<&str> {
    record.description().warnings.iter().map(String::as_str).filter(|warning| !warning.contains("drifts by")).collect()
}

/// Repeatable noise, −0.5 to 0.5.
pub(crate) fn noise(seed: u64, samples: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    (0..samples).map(|_| next()).collect()
}
