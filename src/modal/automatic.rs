//! Automatic SSI: block rows, model orders and decimation levels by rule, modes of all levels in one list.
//!
//! The rules are those of automation §1.2 and §2; every one of them gives way to a parameter.

mod describe;
mod survey;

pub(crate) use self::describe::mode_of;
use self::describe::{ModeContext, as_measured, judge_members};
pub(crate) use self::survey::choose_references;
use self::survey::{REFERENCES, Survey, first_factor};
use super::ModalError;
use super::correlations::Correlations;
use super::poles::{Observability, Order};
use super::selection::{self, Selected, Selection, Setting, Verdict};
use super::ssi::{self, Subspace};
use super::stabilization;
use super::uncertainty::Derivatives;
use super::validation::{self, Measured};
use super::{harmonics, indicators, quantities};
use crate::compute::Backend;
use crate::model::control::Control;
use crate::model::modes::Mode;
use crate::model::parameters::{SsiParameters, Weighting};
use crate::model::record::Record;
use crate::model::result::{Harmonic, SpectrumSummary, Stabilization, Validation};
use nalgebra::DMatrix;

/// Makes the record with every `factor`-th sample, behind an anti-alias filter.
pub type Decimate<'a> = dyn Fn(&'a dyn Record, usize) -> Result<Box<dyn Record + 'a>, ModalError> + 'a;

/// Blocks of the record behind order and deviations: with 50 and Student's t the intervals cover (automation §5).
const BLOCKS: usize = 50;

/// A block should hold this many times the block rows.
const BLOCK_LENGTH: u64 = 10;

/// Fewest blocks: two halves of two.
const FEWEST_BLOCKS: usize = 4;

const FEWEST_BLOCK_ROWS: usize = 12;
const MOST_BLOCK_ROWS: usize = 100;

/// Rows of H that the rule allows at most: its decomposition stays below a few seconds.
const MOST_ROWS: usize = 2000;

/// Rows of H up to which block rows are doubled where the rank of the signal asks for it.
const MOST_ROWS_DOUBLED: usize = 3000;

/// Part of H's rank that the signal may take before block rows are doubled.
const CROWDED: f64 = 0.35;

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

/// Orders that are looked at, and how many of them at most.
const ORDER_LOW: f64 = 0.9;
const ORDER_HIGH: f64 = 1.2;
const ORDER_ADD: usize = 4;
const ORDERS: usize = 24;

/// Triplets beyond the orders, so that the derivative of the singular vectors is complete (automation §5).
const TRIPLETS: f64 = 1.3;
const TRIPLETS_ADD: usize = 8;

/// A cluster none of whose shapes is expected to have a MAC of 0.95 with the true one is a region of modes that the
/// record cannot tell apart, not a mode. The best of the members says it: at other orders a pole of the noise beside
/// the mode inflates the scatter. The expectation is right on the whole (the median of the true loss is 0.97 of it),
/// and no identifiable mode of 150 chains was lost by it.
const MOST_MAC_LOSS: f64 = 0.05;

/// Bytes that each entry of H takes: plain and weighted, the half-difference, and a copy of both that is decomposed, f64.
const HANKEL_BYTES: usize = 5 * 8;

/// What automatic SSI found.
#[derive(Debug, Clone)]
pub struct Identified {
    /// Modes of all levels, ascending in frequency.
    pub modes: Vec<Mode>,
    /// Sinusoids of all levels, ascending in frequency.
    pub harmonics: Vec<Harmonic>,
    /// How well the modes reproduce the record, on the first level.
    pub validation: Option<Validation>,
    /// Every pole of every level.
    pub stabilization: Stabilization,
    /// The largest singular value of the spectra behind the rules.
    pub spectrum: SpectrumSummary,
    /// One entry a level, the original rate first.
    pub levels: Vec<LevelReport>,
    /// The weighting that acted.
    pub weighting: Weighting,
    /// Rows that served as reference.
    pub references: Vec<usize>,
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

struct Level {
    sampling_rate_hz: f64,
    report: LevelReport,
    orders: Vec<Order>,
    selection: Selection,
    modes: Vec<Mode>,
    harmonics: Vec<Harmonic>,
    /// Correlations with the references.
    correlations: Vec<DMatrix<f64>>,
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
    let (fs, channels) = (info.sampling_rate_hz, info.channels.len());
    let weighting = parameters.weighting.unwrap_or(Weighting::Upc);
    let survey = Survey::new(record, parameters, references, backend, control)?;
    let mut warnings = survey.warnings.clone();
    let most_block_rows = MOST_BLOCK_ROWS.min(MOST_ROWS / channels).max(2);
    let by_rule = parameters.block_rows.is_none();
    let with_levels = by_rule && parameters.decimation_levels.unwrap_or(true);

    let mut levels: Vec<Level> = Vec::new();
    let mut factor = if with_levels { first_factor(fs, survey.highest_hz) } else { 1 };
    let mut upper_hz = f64::INFINITY;
    loop {
        control.checkpoint()?;
        let decimated;
        let level_record: &dyn Record = if factor == 1 {
            record
        } else {
            decimated = decimate(record, factor)?;
            &*decimated
        };
        let rate = level_record.info().sampling_rate_hz;
        let wanted = (0.5 * rate / survey.lowest_hz).ceil() as usize;
        let block_rows =
            parameters.block_rows.unwrap_or_else(|| wanted.clamp(FEWEST_BLOCK_ROWS, most_block_rows.max(REFERENCES)));
        let lower_hz = 0.5 * rate / most_block_rows as f64;
        let deeper = with_levels
            && wanted > most_block_rows
            && survey.lowest_hz < lower_hz
            && info.duration_s() * lower_hz >= LEVEL_CYCLES
            && level_record.info().valid_samples() / LEVEL_FACTOR as u64 >= LEVEL_SAMPLES;
        let top = if factor == 1 { f64::INFINITY } else { DECIMATED_NYQUIST_PART * rate / 2.0 };
        let setting = Setting {
            sampling_rate_hz: rate,
            duration_s: info.duration_s(),
            band_low_hz: parameters.band_low_hz.unwrap_or(0.0),
            band_high_hz: parameters.band_high_hz.unwrap_or(f64::INFINITY).min(top),
            deviations: parameters.uncertainty.unwrap_or(true),
            criteria: parameters.criteria,
        };
        let range = (if deeper { lower_hz / LEVEL_OVERLAP } else { 0.0 }, upper_hz * LEVEL_OVERLAP);
        let task = LevelTask { record: level_record, parameters, references: &survey.references, weighting };
        levels.push(task.run(block_rows, by_rule, &setting, range, backend, control)?);
        if !deeper {
            break;
        }
        upper_hz = lower_hz;
        factor *= LEVEL_FACTOR;
    }
    for level in &mut levels {
        level.report.modes = level.modes.len();
    }
    let modes = unite(&levels);
    for level in &levels {
        if level.report.blocks < BLOCKS / 2 && parameters.blocks.is_none() && parameters.uncertainty.unwrap_or(true) {
            warnings.push(format!(
                "record is short: {} blocks at {} Hz, standard deviations are rough",
                level.report.blocks, level.sampling_rate_hz
            ));
        }
    }
    let stabilization = table(&levels);
    let measured = Measured {
        correlations: &levels[0].correlations,
        sampling_rate_hz: levels[0].sampling_rate_hz,
        references: &survey.references,
        autospectra: &survey.autospectra,
        segment_length: survey.segment_length,
        spectra_rate_hz: fs,
        averages: survey.averages,
    };
    let names: Vec<String> = info.channels.iter().map(|channel| channel.name.clone()).collect();
    let validation = validation::validate(&as_measured(&modes, &info.channels), &measured, &names);
    let mut harmonics: Vec<Harmonic> = levels.iter().flat_map(|level| level.harmonics.iter().cloned()).collect();
    harmonics.sort_by(|a, b| a.frequency_hz.total_cmp(&b.frequency_hz));
    let reports = levels.into_iter().map(|level| level.report).collect();
    Ok(Identified {
        modes,
        harmonics,
        validation,
        stabilization,
        spectrum: survey.spectrum,
        levels: reports,
        weighting,
        references: survey.references,
        warnings,
    })
}

struct LevelTask<'a> {
    record: &'a dyn Record,
    parameters: &'a SsiParameters,
    references: &'a [usize],
    weighting: Weighting,
}

impl<'a> LevelTask<'a> {
    fn run(
        &self,
        mut block_rows: usize,
        by_rule: bool,
        setting: &Setting,
        range_hz: (f64, f64),
        backend: &'a dyn Backend,
        control: &'a Control,
    ) -> Result<Level, ModalError> {
        let channels = self.record.info().channels.len();
        let needs_rank = by_rule || setting.deviations || self.parameters.order_max.is_none();
        let (correlations, subspace, signal_rank) = loop {
            let correlations = self.correlations(block_rows, needs_rank, backend, control)?;
            let kind = (self.parameters.drive(), self.weighting);
            let subspace = Subspace::new(&correlations, block_rows, kind, self.record, control)?;
            control.progress("order", 0.0);
            if !needs_rank {
                break (correlations, subspace, None);
            }
            let rank = ssi::signal_rank(&subspace)?;
            control.checkpoint()?;
            let crowded = rank as f64 > CROWDED * (block_rows * channels.min(self.references.len())) as f64;
            let fits = 2 * block_rows * channels <= MOST_ROWS_DOUBLED
                && 4 * block_rows as u64 * FEWEST_BLOCKS as u64 <= self.record.info().valid_samples();
            if by_rule && crowded && fits {
                block_rows *= 2;
                continue;
            }
            break (correlations, subspace, Some(rank));
        };
        let orders = self.orders(&subspace, signal_rank)?;
        let highest = orders.last().copied().unwrap_or(2);
        // Only the derivatives need what lies beyond the orders.
        let beyond = signal_rank.filter(|_| setting.deviations);
        let beyond = beyond.map_or(0, |rank| (TRIPLETS * rank as f64) as usize + TRIPLETS_ADD);
        let triplets = highest.max(beyond);
        let svd = subspace.decompose(triplets)?;
        control.checkpoint()?;
        let (common, _) = quantities::common(&self.record.info().channels);
        let observability = Observability { common, ..subspace.observability(&svd, highest) };
        control.progress("poles", 0.0);
        let mut found = observability.orders(&orders, setting.sampling_rate_hz)?;
        let mut derivatives = None;
        if setting.deviations {
            let rate = setting.sampling_rate_hz;
            let scatter = Derivatives::new(&subspace, &svd, &observability, &correlations, rate);
            control.progress("poles", 0.5);
            scatter.attach(&mut found, control)?;
            derivatives = Some(scatter);
        }
        control.progress("poles", 1.0);
        let needed = signal_rank.map_or(0.0, |rank| ORDER_LOW * rank as f64);
        // Each level tells of what it alone is responsible for, without the overlap that modes have.
        let own = |harmonic: &Harmonic| {
            harmonic.frequency_hz >= range_hz.0 * LEVEL_OVERLAP && harmonic.frequency_hz < range_hz.1 / LEVEL_OVERLAP
        };
        let mut harmonics = harmonics::among(found.iter().filter(|order| order.order as f64 >= needed));
        harmonics.retain(own);
        let mut selection = selection::select(&found, setting);
        let inside = |mode: &Selected| {
            let f = found[mode.representative.0].poles[mode.representative.1].frequency_hz;
            f >= range_hz.0 && f < range_hz.1
        };
        let (kept, refused): (Vec<_>, Vec<_>) = std::mem::take(&mut selection.modes).into_iter().partition(inside);
        for &(o, p) in refused.iter().flat_map(|mode| &mode.members) {
            selection.verdicts[o][p] = Verdict::OtherLevel;
        }
        selection.modes = kept;
        let report = LevelReport {
            sampling_rate_hz: setting.sampling_rate_hz,
            block_rows,
            signal_rank,
            orders: (orders.first().copied().unwrap_or(0), highest),
            blocks: correlations.blocks,
            modes: 0,
        };
        let measured = correlations.of_record();
        let context = ModeContext::new(&observability, &measured);
        let judged = match &derivatives {
            Some(derivatives) => judge_members(derivatives, &selection.modes, &found, control)?,
            None => vec![Vec::new(); selection.modes.len()],
        };
        let mut modes = Vec::new();
        for (selected, judged) in selection.modes.iter().zip(&judged) {
            let least = judged.iter().map(|judged| judged.expected_mac_loss).reduce(f64::min);
            if least.is_none_or(|least| least <= MOST_MAC_LOSS) {
                modes.push(context.mode(selected, judged, &found, setting));
            } else {
                selected.members.iter().for_each(|&(o, p)| selection.verdicts[o][p] = Verdict::Shape);
            }
        }
        Ok(Level {
            sampling_rate_hz: setting.sampling_rate_hz,
            report,
            orders: found,
            selection,
            modes,
            harmonics,
            correlations: measured,
        })
    }

    /// `in_blocks`: by blocks of the record, for what depends on their scatter.
    fn correlations(
        &self,
        block_rows: usize,
        in_blocks: bool,
        backend: &'a dyn Backend,
        control: &'a Control,
    ) -> Result<Correlations<'a>, ModalError> {
        let samples = self.record.info().valid_samples();
        let by_rule = (samples / (BLOCK_LENGTH * block_rows as u64)).min(BLOCKS as u64) as usize;
        // An even number, so that the halves are equal.
        let several = self.parameters.blocks.unwrap_or(by_rule).max(FEWEST_BLOCKS) / 2 * 2;
        let blocks = if in_blocks { several } else { 1 };
        let (channels, references) = (self.record.info().channels.len(), self.references.len());
        control.plan_memory(
            || format!("Hankel matrices of {block_rows} block rows, {channels} channels and {references} references"),
            &[block_rows, channels, block_rows, references, HANKEL_BYTES],
            "lower block_rows or choose fewer channels",
        )?;
        Correlations::new(self.record, self.references, (2 * block_rows, blocks), backend, control)
    }

    /// The model orders: those asked for, or a window around the rank of the signal, thinned evenly.
    fn orders(&self, subspace: &Subspace, signal_rank: Option<usize>) -> Result<Vec<usize>, ModalError> {
        let limit = subspace.order_limit();
        if let Some(highest) = self.parameters.order_max {
            if highest > limit {
                return Err(ModalError::Setting(format!(
                    "order_max is {highest}, must be at most {limit}, the smaller of block_rows·references = {}·{} and \
                     (block_rows − 1)·channels = {}·{}",
                    subspace.block_rows,
                    self.references.len(),
                    subspace.block_rows - 1,
                    subspace.channels
                )));
            }
            return Ok((self.parameters.order_min.unwrap_or(1)..=highest).collect());
        }
        let signal_rank = signal_rank.unwrap_or(limit);
        let low = self.parameters.order_min.unwrap_or((ORDER_LOW * signal_rank as f64) as usize).clamp(2, limit.max(2));
        let high = ((ORDER_HIGH * signal_rank as f64) as usize + ORDER_ADD).clamp(low, limit.max(low));
        let count = high - low + 1;
        if count <= ORDERS {
            return Ok((low..=high).collect());
        }
        let step = (count - 1) as f64 / (ORDERS - 1) as f64;
        Ok((0..ORDERS).map(|i| low + (i as f64 * step).round() as usize).collect())
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
