//! Automatic SSI: block rows, model orders and decimation levels by rule, modes of all levels in one list.
//!
//! The rules are those of automation §1.2 and §2; every one of them gives way to a parameter. Several setups go the same way as a
//! record, from one joint factorization of their correlations (see [`setups`](super::setups)).

mod describe;
mod level;
mod survey;

use self::describe::as_measured;
pub(crate) use self::describe::mode_of;
use self::level::{Level, LevelTask, block_rows_in_memory};
pub(crate) use self::survey::choose_references;
use self::survey::{REFERENCES, Survey, first_factor};
use super::selection::Setting;
use super::setups::Layout;
use super::validation::{self, Measured};
use super::{ModalError, indicators, stabilization};
use crate::compute::Backend;
use crate::model::channel::Channel;
use crate::model::control::Control;
use crate::model::merging::Strategy;
use crate::model::modes::{Mode, Shape};
use crate::model::parameters::{SsiParameters, Weighting};
use crate::model::record::Record;
use crate::model::result::{Harmonic, RecordEvidence, Stabilization};

/// Makes the record with every `factor`-th sample, behind an anti-alias filter.
pub type Decimate<'a> = dyn Fn(&'a dyn Record, usize) -> Result<Box<dyn Record + 'a>, ModalError> + 'a;

/// Blocks of the record behind order and deviations: with 50 and Student's t the intervals cover (automation §5).
const BLOCKS: usize = 50;

const FEWEST_BLOCK_ROWS: usize = 12;
const MOST_BLOCK_ROWS: usize = 100;

/// Rows of H that the rule allows at most: its decomposition stays below a few seconds.
const MOST_ROWS: usize = 2000;

/// Decimation from one level to the next.
const LEVEL_FACTOR: usize = 4;

/// A level below is worth its while with this many samples, and this many cycles of its upper limit.
const LEVEL_SAMPLES: u64 = 2000;
const LEVEL_CYCLES: f64 = 40.0;

/// Above this part of Nyquist a decimated level sees the flank of the anti-alias filter.
const DECIMATED_NYQUIST_PART: f64 = 0.8;

/// The level whose responsibility begins below a frequency is also asked a little above it, and the other way
/// round; of a mode found twice the more precise one stays.
const LEVEL_OVERLAP: f64 = 1.25;

/// What automatic SSI found.
#[derive(Debug, Clone)]
pub struct Identified {
    /// Modes of all levels, ascending in frequency.
    pub modes: Vec<Mode>,
    /// Sinusoids of all levels, ascending in frequency.
    pub harmonics: Vec<Harmonic>,
    /// Every pole of every level.
    pub stabilization: Stabilization,
    /// One entry a level, the original rate first.
    pub levels: Vec<LevelReport>,
    /// The weighting that acted.
    pub weighting: Weighting,
    /// Rows that served as reference; of setups, places of those that they share.
    pub references: Vec<usize>,
    /// Part that each of several setups has in the poles of the first level (see
    /// [`Joint::shares`](super::setups::Joint::shares)).
    pub shares: Vec<f64>,
    /// Of each record the spectrum behind the rules, and how well the modes reproduce it on the first level.
    pub evidence: Vec<RecordEvidence>,
    /// What a careful reader should know.
    pub warnings: Vec<String>,
}

/// How one decimation level was treated.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LevelReport {
    /// Hz.
    pub sampling_rate_hz: f64,
    /// Block rows.
    pub block_rows: usize,
    /// Rank of the signal in H; `None` where neither orders, block rows nor deviations depend on it.
    pub signal_rank: Option<usize>,
    /// Lowest and highest order.
    pub orders: (usize, usize),
    /// Blocks of the record.
    pub blocks: usize,
    /// Modes taken from it.
    pub modes: usize,
}

/// Identifies the modes of a record.
///
/// `references`: rows of the record that serve as reference; `None` by rule.
///
/// # Errors
/// [`ModalError`] with the numbers and the setting where record and parameters do not fit.
pub fn identify<'a>(
    record: &'a dyn Record,
    parameters: &SsiParameters,
    references: Option<&[usize]>,
    decimate: &Decimate<'a>,
    backend: &dyn Backend,
    control: &Control,
) -> Result<Identified, ModalError> {
    let info = record.info();
    let mut survey = Survey::new(record, parameters, references, backend, control)?;
    let subject = Subject {
        records: vec![record],
        channels: &info.channels,
        references: vec![survey.references.clone()],
        merging: None,
        lowest_hz: survey.lowest_hz,
        highest_hz: survey.highest_hz,
    };
    let mut warnings = std::mem::take(&mut survey.warnings);
    let levels = subject.levels(parameters, decimate, backend, control, &mut warnings)?;
    Ok(subject.united(&levels, vec![survey], parameters, warnings))
}

/// Identifies the modes of several setups together, driven by covariances.
///
/// The modes have shapes at [`Layout::channels`]. The correlations of each setup are those with all of its channels, of more than
/// twenty with the twenty that carry most.
///
/// # Errors
/// [`ModalError::Setting`] for setups of different sampling rates and the weighting `cva`, and as [`identify`].
pub fn identify_setups<'a>(
    records: &[&'a dyn Record],
    layout: &Layout,
    strategy: Strategy,
    parameters: &SsiParameters,
    decimate: &Decimate<'a>,
    backend: &dyn Backend,
    control: &Control,
) -> Result<Identified, ModalError> {
    check_setups(records, parameters)?;
    let mut surveys = Vec::new();
    for (number, record) in (1..).zip(records) {
        let survey = Survey::new(*record, parameters, None, backend, control);
        surveys.push(survey.map_err(|error| error.of_setup(number))?);
    }
    let subject = Subject {
        records: records.to_vec(),
        channels: &layout.channels,
        references: surveys.iter().map(|survey| survey.references.clone()).collect(),
        merging: Some((layout, strategy)),
        lowest_hz: surveys.iter().map(|survey| survey.lowest_hz).fold(f64::INFINITY, f64::min),
        highest_hz: surveys.iter().map(|survey| survey.highest_hz).fold(0.0, f64::max),
    };
    let of_setup = |(number, survey): (usize, &Survey)| {
        survey.warnings.iter().map(|warning| format!("setup {number}: {warning}")).collect::<Vec<_>>()
    };
    let mut warnings: Vec<String> = (1..).zip(&surveys).flat_map(of_setup).collect();
    let levels = subject.levels(parameters, decimate, backend, control, &mut warnings)?;
    let mut found = subject.united(&levels, surveys, parameters, warnings);
    found.references.clone_from(&layout.references);
    Ok(found)
}

fn check_setups(records: &[&dyn Record], parameters: &SsiParameters) -> Result<(), ModalError> {
    let rate = |record: &&dyn Record| record.info().sampling_rate_hz;
    let first = records.first().map_or(f64::NAN, rate);
    // Clocks are known to far less than this part; the poles of two such rates agree to it.
    const SAME: f64 = 1e-6;
    for (number, record) in (1..).zip(records) {
        let own = rate(record);
        if !((own - first).abs() <= SAME * first) {
            return Err(ModalError::Setting(format!(
                "setup 1 is sampled at {first} Hz, setup {number} at {own} Hz: setups need one rate, which \
                 preprocessing.decimation_factor or other files give them"
            )));
        }
    }
    if parameters.weighting == Some(Weighting::Cva) {
        let message = "weighting cva needs every channel in every setup: take upc or pc for setups";
        return Err(ModalError::Setting(message.into()));
    }
    Ok(())
}

/// One record, or several setups as one.
struct Subject<'s, 'a> {
    records: Vec<&'a dyn Record>,
    /// Those of every shape.
    channels: &'s [Channel],
    /// Rows of each record that its correlations are with.
    references: Vec<Vec<usize>>,
    merging: Option<(&'s Layout, Strategy)>,
    /// Lowest peak, for block rows by rule.
    lowest_hz: f64,
    highest_hz: f64,
}

impl<'a> Subject<'_, 'a> {
    /// Level after level, from the original rate down; what the memory forbids goes into `warnings`.
    fn levels(
        &self,
        parameters: &SsiParameters,
        decimate: &Decimate<'a>,
        backend: &dyn Backend,
        control: &Control,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Level>, ModalError> {
        let channels = self.channels.len();
        let by_rule = parameters.block_rows.is_none();
        let most_block_rows = MOST_BLOCK_ROWS.min(MOST_ROWS / channels).max(2);
        let most_in_memory = match by_rule {
            true => self.block_rows_in_memory(most_block_rows.max(REFERENCES), control)?,
            false => usize::MAX,
        };
        let with_levels = by_rule && parameters.decimation_levels.unwrap_or(true);
        let fs = self.records[0].info().sampling_rate_hz;
        let duration_s = self.records.iter().map(|record| record.info().duration_s()).sum();

        let mut levels: Vec<Level> = Vec::new();
        let mut factor = if with_levels { first_factor(fs, self.highest_hz) } else { 1 };
        let mut upper_hz = f64::INFINITY;
        loop {
            control.checkpoint()?;
            let decimated: Vec<Box<dyn Record + 'a>> = match factor {
                1 => Vec::new(),
                _ => self.records.iter().map(|record| decimate(*record, factor)).collect::<Result<_, _>>()?,
            };
            let records: Vec<&dyn Record> = match factor {
                1 => self.records.iter().map(|record| *record as &dyn Record).collect(),
                _ => decimated.iter().map(|record| &**record as &dyn Record).collect(),
            };
            let rate = records[0].info().sampling_rate_hz;
            let samples = records.iter().map(|record| record.info().valid_samples()).min().unwrap_or(0);
            let wanted = (0.5 * rate / self.lowest_hz).ceil() as usize;
            let block_rows = parameters.block_rows.unwrap_or_else(|| {
                let by_rule = wanted.clamp(FEWEST_BLOCK_ROWS, most_block_rows.max(REFERENCES));
                if by_rule > most_in_memory {
                    warnings.push(format!(
                        "block_rows is {most_in_memory} at {rate} Hz, by rule it would be {by_rule}: \
                         OMA_MEMORY_LIMIT_MIB allows no more"
                    ));
                }
                by_rule.min(most_in_memory)
            });
            let most_block_rows = most_block_rows.min(most_in_memory);
            let lower_hz = 0.5 * rate / most_block_rows as f64;
            let deeper = with_levels
                && wanted > most_block_rows
                && self.lowest_hz < lower_hz
                && duration_s * lower_hz >= LEVEL_CYCLES
                && samples / LEVEL_FACTOR as u64 >= LEVEL_SAMPLES;
            let top = if factor == 1 { f64::INFINITY } else { DECIMATED_NYQUIST_PART * rate / 2.0 };
            let setting = Setting {
                sampling_rate_hz: rate,
                duration_s,
                band_low_hz: parameters.band_low_hz.unwrap_or(0.0),
                band_high_hz: parameters.band_high_hz.unwrap_or(f64::INFINITY).min(top),
                deviations: parameters.uncertainty.unwrap_or(true),
                criteria: parameters.criteria,
            };
            let range = (if deeper { lower_hz / LEVEL_OVERLAP } else { 0.0 }, upper_hz * LEVEL_OVERLAP);
            let task = LevelTask {
                records: &records,
                channels: self.channels,
                references: &self.references,
                merging: self.merging,
                parameters,
                weighting: parameters.weighting.unwrap_or(Weighting::Upc),
            };
            levels.push(task.run(block_rows, by_rule, &setting, range, backend, control)?);
            if !deeper {
                return Ok(levels);
            }
            upper_hz = lower_hz;
            factor *= LEVEL_FACTOR;
        }
    }

    /// The most block rows up to `most` that the memory allows in every record; fewer than the fewest are none.
    fn block_rows_in_memory(&self, most: usize, control: &Control) -> Result<usize, ModalError> {
        let mut allowed = most;
        for (record, references) in self.records.iter().zip(&self.references) {
            let size = (record.info().channels.len(), references.len());
            allowed = block_rows_in_memory(size, (FEWEST_BLOCK_ROWS.min(most), allowed), control)?;
        }
        Ok(allowed)
    }

    /// What the levels say together. `surveys`: of each record.
    fn united(
        &self,
        levels: &[Level],
        surveys: Vec<Survey>,
        parameters: &SsiParameters,
        mut warnings: Vec<String>,
    ) -> Identified {
        for level in levels {
            if level.report.signal_rank == Some(0) {
                warnings.push(format!(
                    "at {} Hz no part of the correlations stands above what the blocks of the record differ by, with {} block \
                     rows and {} references: a longer record, fewer reference channels or fewer block rows may help",
                    level.sampling_rate_hz,
                    level.report.block_rows,
                    self.references[0].len()
                ));
            }
            if level.report.blocks < BLOCKS / 2 && parameters.blocks.is_none() && parameters.uncertainty.unwrap_or(true)
            {
                warnings.push(format!(
                    "record is short: {} blocks at {} Hz, standard deviations are rough",
                    level.report.blocks, level.sampling_rate_hz
                ));
            }
        }
        let mut harmonics: Vec<Harmonic> = levels.iter().flat_map(|level| level.harmonics.iter().cloned()).collect();
        harmonics.sort_by(|a, b| a.frequency_hz.total_cmp(&b.frequency_hz));
        let modes = unite(levels);
        Identified {
            evidence: self.evidence(&modes, &levels[0], surveys),
            modes,
            harmonics,
            stabilization: table(levels),
            levels: levels.iter().map(|level| level.report.clone()).collect(),
            weighting: parameters.weighting.unwrap_or(Weighting::Upc),
            references: self.references[0].clone(),
            shares: levels[0].shares.clone(),
            warnings,
        }
    }

    /// What each record says of the modes; its channels see their own part of the shapes.
    fn evidence(&self, modes: &[Mode], level: &Level, surveys: Vec<Survey>) -> Vec<RecordEvidence> {
        let measured = as_measured(modes, self.channels);
        let of_record = |(k, survey): (usize, Survey)| {
            let info = self.records[k].info();
            let at = |places: &[usize]| {
                let seen = |mode: &Mode| Shape(mode.shape.0.select_rows(places));
                measured.iter().map(|mode| Mode { shape: seen(mode), ..mode.clone() }).collect::<Vec<_>>()
            };
            let own = self.merging.map(|(layout, _)| at(&layout.setups[k].places));
            let measured_by = Measured {
                correlations: &level.correlations[k],
                sampling_rate_hz: level.sampling_rate_hz,
                references: &survey.references,
                autospectra: &survey.autospectra,
                segment_length: survey.segment_length,
                spectra_rate_hz: info.sampling_rate_hz,
                averages: survey.averages,
            };
            let names: Vec<String> = info.channels.iter().map(|channel| channel.name.clone()).collect();
            let validation = validation::validate(own.as_ref().unwrap_or(&measured), &measured_by, &names);
            RecordEvidence { spectrum: survey.spectrum, validation }
        };
        surveys.into_iter().enumerate().map(of_record).collect()
    }
}

/// Modes of all levels: of a mode found on two the one with the smaller deviation stays.
fn unite(levels: &[Level]) -> Vec<Mode> {
    const SAME_MAC: f64 = 0.85;
    let sigma = |mode: &Mode| mode.frequency_std_hz.unwrap_or(f64::INFINITY);
    let same = |a: &Mode, b: &Mode| {
        let width = 2.0 * a.damping_ratio.unwrap_or(0.0).max(b.damping_ratio.unwrap_or(0.0)) * a.frequency_hz;
        let scatter = 3.0 * a.frequency_std_hz.unwrap_or(0.0).max(b.frequency_std_hz.unwrap_or(0.0));
        (a.frequency_hz - b.frequency_hz).abs() < width.max(scatter)
            && indicators::mac(a.shape.0.as_view(), b.shape.0.as_view()) > SAME_MAC
    };
    let mut modes: Vec<Mode> = Vec::new();
    for level in levels {
        let known = modes.len();
        for mode in &level.modes {
            match (0..known).find(|&k| same(&modes[k], mode)) {
                Some(k) if sigma(mode) < sigma(&modes[k]) => modes[k] = mode.clone(),
                Some(_) => {}
                None => modes.push(mode.clone()),
            }
        }
    }
    modes.sort_by(|a, b| a.frequency_hz.total_cmp(&b.frequency_hz));
    modes
}

fn table(levels: &[Level]) -> Stabilization {
    let mut table = Stabilization::default();
    for level in levels {
        stabilization::append(&mut table, level.sampling_rate_hz, &level.orders, &level.selection.verdicts);
    }
    table
}
