//! `analyze`: one analysis of local files, without queue and stores.

use super::Usage;
use super::output::Output;
use super::report::read;
use crate::config::BackendArgs;
use crate::modal::tracking;
use crate::model::control::Control;
use crate::model::merging::Strategy;
use crate::model::parameters::Parameters;
use crate::model::record::RawFile;
use crate::model::result::AnalysisResult;
use crate::model::run::RunType;
use crate::pipeline::{self, PipelineError, Request};
use anyhow::Context;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

const EXAMPLES: &str = "\
Examples:
  oma-worker analyze record.npy --method fdd --fs 100
      peaks of the singular values: quick; frequencies and shapes
  oma-worker analyze hour1.csv hour2.csv --method ssi-cov --report report.html
      frequencies, damping and shapes with standard deviations, and a page to look at
  oma-worker analyze record.csv --method ssi-cov --fs 50 --set order_max=60 --output -
      an own parameter, and the result as JSON on standard output
  oma-worker analyze record.npy --method fdd --fs 100 --export folder
      modes, shapes and spectra for other programs
  oma-worker analyze record.csv --method fdd --fs 200 --set decimation_factor=4
  oma-worker analyze june.csv --method ssi-cov --previous may.json --output june.json
      which mode of May each mode of June is, and how it moved
  oma-worker analyze --setups preger north.csv mid.csv south1.csv,south2.csv --method ssi-cov
      the modes of a bridge that was measured in three setups; the third has two files

Files: text with one column a channel and perhaps one of time, Parquet, UFF 58, NPY with samples in
rows. Several files are the pieces of one record.

Setups share channels by name, the references; the others rove. Excitation and length may differ from
setup to setup, the sampling rate may not. Results of setups by other methods are joined by `merge`.

Parameters, for --set, or for --parameters as a JSON object of the same names:
  preprocessing  sampling_rate_hz, estimate_clock_offsets, max_gap_samples, detrend (none, constant,
                 linear), detrend_breakpoints, outliers, filter, integration, differentiation,
                 decimation_factor, decimation_filter (iir, fir)
  fdd            segment_length, overlap, band_low_hz, band_high_hz, singular_values,
                 peak_prominence, reduce_harmonics; plscf also order_min, order_max, uncertainty,
                 criteria
  ssi            weighting (upc, pc, cva), block_rows, order_min, order_max, band_low_hz,
                 band_high_hz, uncertainty, blocks, decimation_levels, reduce_harmonics,
                 criteria (damping_max, mpc_min, mpd_max, frequency_cov_max, rho_max,
                 damping_cov_max)
Each has a default or a rule that fits the record; the result tells what was used.";

/// Analyse files without a queue and print the modes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Analyze {
    /// Raw files; several are the pieces of one record, or with --setups one setup each
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How to identify the modes
    #[arg(long, value_enum, value_name = "METHOD")]
    method: Method,
    /// Sampling rate, where the files have no column of time
    #[arg(long, value_name = "HZ", value_parser = positive, allow_negative_numbers = true)]
    fs: Option<f64>,
    /// Parameters from a JSON file
    #[arg(long, value_name = "FILE")]
    parameters: Option<PathBuf>,
    /// One parameter; wins over the file
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, Value)>,
    /// Only these channels, by the names in the header
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    channels: Option<Vec<String>>,
    /// Reference channels of the correlations; by rule all, of more than 20 the 20 that carry most
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    reference_channels: Option<Vec<String>>,
    /// Each FILE is a setup of one structure (FILE,FILE: its pieces), and all are identified together
    #[arg(long, value_enum, value_name = "STRATEGY", conflicts_with = "channels")]
    setups: Option<Setups>,
    /// Earlier results of the structure, as `--output` wrote them: each mode tells which one of theirs it is, and how it
    /// moved
    #[arg(long, value_name = "RESULT.json")]
    previous: Vec<PathBuf>,
    #[command(flatten)]
    backend: BackendArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Method {
    /// Frequency domain decomposition
    Fdd,
    /// … with damping, each mode's spectrum by the inverse of the shapes
    Efdd,
    /// … with damping, each mode's spectrum by its shape
    Fsdd,
    /// Poly-reference least squares complex frequency on the half spectrum
    Plscf,
    /// Covariance-driven stochastic subspace identification
    SsiCov,
    /// Data-driven stochastic subspace identification
    SsiDat,
}

impl Method {
    fn run_type(self) -> RunType {
        match self {
            Method::Fdd | Method::Efdd | Method::Fsdd | Method::Plscf => RunType::Fdd,
            Method::SsiCov | Method::SsiDat => RunType::Ssi,
        }
    }

    /// The part of the parameters that is the method's own.
    fn part(self) -> &'static str {
        match self {
            Method::Fdd | Method::Efdd | Method::Fsdd | Method::Plscf => "fdd",
            Method::SsiCov | Method::SsiDat => "ssi",
        }
    }

    /// Its name in the parameters.
    fn name(self) -> &'static str {
        match self {
            Method::Fdd => "fdd",
            Method::Efdd => "efdd",
            Method::Fsdd => "fsdd",
            Method::Plscf => "plscf",
            Method::SsiCov => "ssi-cov",
            Method::SsiDat => "ssi-dat",
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Setups {
    /// The setups are brought to one excitation, then identified
    Preger,
    /// The poles come from the references of all setups, each part of a shape from its setup
    Poger,
}

impl Setups {
    fn strategy(self) -> Strategy {
        match self {
            Setups::Preger => Strategy::Preger,
            Setups::Poger => Strategy::Poger,
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("a sampling rate is a number of Hz above 0".into()),
    }
}

/// `name=value`; a value that is no JSON is a word.
fn assignment(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write name=value, for instance order_max=60")?;
    Ok((name.trim().into(), serde_json::from_str(value).unwrap_or_else(|_| Value::from(value.trim()))))
}

impl Analyze {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let backends = super::backends(&self.backend.check()?)?;
        let parameters = self.read_parameters()?;
        let earlier = self.previous.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<_>>>()?;
        let request = Request {
            parameters,
            backends,
            selected_channels: self.channels.clone(),
            reference_channels: self.reference_channels.clone(),
            ..Request::new(self.method.run_type(), self.files.iter().map(|path| self.raw(path)).collect())
        };
        let work_dir = tempfile::tempdir().context("no temporary folder can be made")?;
        let token = CancellationToken::new();
        cancel_on_interrupt(token.clone());
        let bar = stage_bar();
        let control = Control::new(token, show_on(bar.clone()));
        let outcome = self.results(request, work_dir.path(), &control);
        bar.finish_and_clear();
        let mut results = outcome.map_err(|error| self.advise(error))?;
        if !earlier.is_empty() {
            tracking::track(&mut results[0], &earlier);
        }
        self.output.write(&results)?;
        Ok(ExitCode::SUCCESS)
    }

    fn raw(&self, path: &Path) -> RawFile {
        RawFile { sampling_rate_hz: self.fs, ..RawFile::new(path.display().to_string(), path) }
    }

    /// The files of one setup.
    fn pieces(&self, setup: &Path) -> Vec<RawFile> {
        match setup.to_str() {
            // A name may have a comma of its own.
            Some(list) if !setup.exists() => list.split(',').map(|piece| self.raw(Path::new(piece))).collect(),
            _ => vec![self.raw(setup)],
        }
    }

    /// The modes; where a page is wanted, what it shows of the channels of a record too.
    fn results(
        &self,
        request: Request,
        folder: &Path,
        control: &Control,
    ) -> Result<Vec<AnalysisResult>, PipelineError> {
        if let Some(setups) = self.setups {
            pipeline::check_setups(setups.strategy(), &request)?;
            let of_setup = |(number, files): (usize, &PathBuf)| {
                let request = Request { files: self.pieces(files), ..request.clone() };
                let path = folder.join(format!("setup-{number}.parquet"));
                pipeline::prepare(&request, &path, control).map_err(|error| error.of_setup(number))?;
                Ok((request, path))
            };
            let records = (1..).zip(&self.files).map(of_setup).collect::<Result<Vec<_>, PipelineError>>()?;
            return Ok(vec![pipeline::run_setups(setups.strategy(), &records, control)?]);
        }
        if self.output.report.is_none() {
            return Ok(vec![pipeline::run(&request, None, folder, control)?.result]);
        }
        let of_record = Request { run_type: RunType::Preprocessing, ..request.clone() };
        let record = pipeline::run(&of_record, None, folder, control)?;
        let modes = pipeline::run(&request, record.cache_file.as_deref(), folder, control)?;
        Ok(vec![modes.result, record.result])
    }

    /// The error with what to do next, where that is more than the error says itself.
    fn advise(&self, error: PipelineError) -> anyhow::Error {
        if let PipelineError::Permanent { code: "bad_sampling_rate", .. } = &error
            && self.fs.is_none()
        {
            return anyhow::anyhow!("{error} by --fs HZ");
        }
        match self.files.iter().find(|path| !path.exists()).and_then(|path| nearest_name(path)) {
            Some(name) => anyhow::anyhow!("{error}; did you mean {}?", name.display()),
            None => error.into(),
        }
    }

    fn read_parameters(&self) -> anyhow::Result<Parameters> {
        let mut parts = json!({"preprocessing": {}, "fdd": {}, "ssi": {}});
        if let Some(path) = &self.parameters {
            let name = path.display();
            let text =
                std::fs::read_to_string(path).map_err(|error| Usage(format!("--parameters: {name}: {error}")))?;
            let object: Map<String, Value> = serde_json::from_str(&text)
                .map_err(|error| Usage(format!("--parameters: {name} must hold a JSON object: {error}")))?;
            for (name, value) in object {
                match (parts.get_mut(&name), value) {
                    (Some(part), Value::Object(values)) => values.into_iter().for_each(|(n, v)| part[n] = v),
                    (Some(_), Value::Null) => {}
                    (_, value) => self.place(&mut parts, &name, value),
                }
            }
        }
        for (name, value) in &self.set {
            self.place(&mut parts, name, value.clone());
        }
        parts[self.method.part()]["method"] = self.method.name().into();
        let parameters = Parameters::from_parts(&parts["preprocessing"], &parts["fdd"], &parts["ssi"]);
        Ok(parameters.map_err(|error| Usage(error.to_string()))?)
    }

    /// Puts a parameter into its part: the one it names (`ssi.blocks`), or the one that knows it.
    fn place(&self, parts: &mut Value, name: &str, value: Value) {
        let (part, name) = match name.split_once('.') {
            Some((part, name)) if parts.get(part).is_some() => (part, name),
            _ => (Parameters::part_of(name, self.method.part()), name),
        };
        parts[part][name] = value;
    }
}

/// The file beside a missing one whose name is most like its own.
fn nearest_name(missing: &Path) -> Option<PathBuf> {
    // Names this alike differ by a slip: `recrod.csv` and `record.csv` have 0.97, `a.csv` and `record.csv` 0.6.
    const ALIKE: f64 = 0.85;
    let wanted = missing.file_name()?.to_string_lossy().into_owned();
    let folder = missing.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names = std::fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let likeness = |name: &String| strsim::jaro_winkler(name, &wanted);
    let alike = names.filter(|name| likeness(name) >= ALIKE);
    // Of equally alike names the first in the alphabet.
    let nearest = alike.max_by(|a, b| likeness(a).total_cmp(&likeness(b)).then_with(|| b.cmp(a)))?;
    Some(missing.with_file_name(nearest))
}

/// One bar that shows the stage at work; drawn on a terminal only.
fn stage_bar() -> ProgressBar {
    // Thousandths of a stage: finer than any terminal is wide.
    let bar = ProgressBar::new(1000);
    if let Ok(style) =
        ProgressStyle::with_template("{msg:<16} {wide_bar} {percent:>3} %  {elapsed} passed, {eta} left in this stage")
    {
        bar.set_style(style);
    }
    bar
}

fn show_on(bar: ProgressBar) -> Arc<crate::model::control::ProgressFn> {
    let stage_shown = Mutex::new(String::new());
    Arc::new(move |stage, fraction| {
        let mut shown = stage_shown.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown != stage {
            bar.set_message(stage.to_owned());
            bar.reset_eta();
            stage.clone_into(&mut shown);
        }
        bar.set_position((fraction.clamp(0.0, 1.0) * 1000.0) as u64);
    })
}

/// Lets Ctrl-C end the computation in order, so that the temporary folder goes away.
fn cancel_on_interrupt(token: CancellationToken) {
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            token.cancel();
        }
    });
}
