//! One decimation level: correlations → subspace → poles of every order → modes.

use super::describe::{ModeContext, Part, judge_members};
use super::{BLOCKS, LEVEL_OVERLAP, LevelReport};
use crate::compute::Backend;
use crate::modal::ModalError;
use crate::modal::correlations::Correlations;
use crate::modal::poles::{Observability, Order};
use crate::modal::selection::{self, Selected, Selection, Setting, Verdict};
use crate::modal::setups::{Joint, Layout};
use crate::modal::ssi::{self, Subspace};
use crate::modal::uncertainty::Derivatives;
use crate::modal::{harmonics, quantities};
use crate::model::channel::Channel;
use crate::model::control::{Control, MemoryExceeded};
use crate::model::merging::Strategy;
use crate::model::modes::Mode;
use crate::model::parameters::{Drive, SsiParameters, Weighting};
use crate::model::record::Record;
use crate::model::result::Harmonic;
use nalgebra::DMatrix;

/// A block should hold this many times the block rows.
const BLOCK_LENGTH: u64 = 10;

/// Fewest blocks: two halves of two.
const FEWEST_BLOCKS: usize = 4;

/// Rows of H up to which block rows are doubled where the rank of the signal asks for it.
const MOST_ROWS_DOUBLED: usize = 3000;

/// Part of H's rank that the signal may take before block rows are doubled.
const CROWDED: f64 = 0.35;

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

/// The most block rows up to `most` whose Hankel matrices of so many channels and references may be in memory.
///
/// # Errors
/// [`MemoryExceeded`] if those of `least` may not.
pub(super) fn block_rows_in_memory(
    (channels, references): (usize, usize),
    (least, most): (usize, usize),
    control: &Control,
) -> Result<usize, MemoryExceeded> {
    let blocks = control.parts_in_memory(
        || format!("Hankel matrices of {least} block rows, {channels} channels and {references} references"),
        &[channels, references, HANKEL_BYTES],
        (least * least, most * most),
        "lower block_rows or choose fewer channels",
    )?;
    Ok(blocks.isqrt())
}

/// What one level found.
pub(super) struct Level {
    pub(super) sampling_rate_hz: f64,
    pub(super) report: LevelReport,
    pub(super) orders: Vec<Order>,
    pub(super) selection: Selection,
    pub(super) modes: Vec<Mode>,
    pub(super) harmonics: Vec<Harmonic>,
    /// Of each record, correlations with its references.
    pub(super) correlations: Vec<Vec<DMatrix<f64>>>,
    /// Part that each of several setups has in the poles.
    pub(super) shares: Vec<f64>,
}

/// What a level is made of.
pub(super) struct LevelTask<'a> {
    /// One, or that of each setup.
    pub(super) records: &'a [&'a dyn Record],
    /// Those of every shape.
    pub(super) channels: &'a [Channel],
    /// Rows of each record that its correlations are with.
    pub(super) references: &'a [Vec<usize>],
    /// How the setups come together.
    pub(super) merging: Option<(&'a Layout, Strategy)>,
    pub(super) parameters: &'a SsiParameters,
    pub(super) weighting: Weighting,
}

/// What the state space is taken from.
enum Basis<'a> {
    Record(Subspace),
    Setups(Joint<'a>),
}

impl Basis<'_> {
    /// The matrix whose triplets span the state space.
    fn decomposed(&self) -> &Subspace {
        match self {
            Basis::Record(subspace) => subspace,
            Basis::Setups(joint) => &joint.references,
        }
    }
}

impl LevelTask<'_> {
    pub(super) fn run(
        &self,
        mut block_rows: usize,
        by_rule: bool,
        setting: &Setting,
        range_hz: (f64, f64),
        backend: &dyn Backend,
        control: &Control,
    ) -> Result<Level, ModalError> {
        // The weight of a setup is that of its scatter.
        let needs_rank = by_rule || setting.deviations || self.parameters.order_max.is_none() || self.merging.is_some();
        let (correlations, basis, signal_rank) = loop {
            let correlations = self.correlations(block_rows, needs_rank, backend, control)?;
            let basis = self.basis(&correlations, block_rows, control)?;
            control.progress("order", 0.0);
            if !needs_rank {
                break (correlations, basis, None);
            }
            let subspace = basis.decomposed();
            let rank = ssi::signal_rank(subspace)?;
            control.checkpoint()?;
            let most = block_rows * subspace.channels.min(subspace.references.len());
            let crowded = rank as f64 > CROWDED * most as f64;
            let samples = self.records.iter().map(|record| record.info().valid_samples()).min().unwrap_or(0);
            let fits = 2 * block_rows * self.channels.len() <= MOST_ROWS_DOUBLED
                && 4 * block_rows as u64 * FEWEST_BLOCKS as u64 <= samples
                && self
                    .sizes()
                    .all(|size| block_rows_in_memory(size, (2 * block_rows, 2 * block_rows), control).is_ok());
            if by_rule && crowded && fits {
                block_rows *= 2;
                continue;
            }
            break (correlations, basis, Some(rank));
        };
        let subspace = basis.decomposed();
        let orders = self.orders(subspace, signal_rank)?;
        let highest = orders.last().copied().unwrap_or(2);
        // Only the derivatives need what lies beyond the orders.
        let beyond = signal_rank.filter(|_| setting.deviations);
        let beyond = beyond.map_or(0, |rank| (TRIPLETS * rank as f64) as usize + TRIPLETS_ADD);
        let triplets = highest.max(beyond);
        let svd = subspace.decompose(triplets)?;
        control.checkpoint()?;
        let factors = match &basis {
            Basis::Record(_) => None,
            Basis::Setups(joint) => Some(joint.factors(&svd, highest)?),
        };
        let observability = match &factors {
            None => subspace.observability(&svd, highest),
            Some(factors) => factors.observability(),
        };
        let (common, _) = quantities::common(self.channels);
        let observability = Observability { common, ..observability };
        control.progress("poles", 0.0);
        let mut found = observability.orders(&orders, setting.sampling_rate_hz)?;
        let mut derivatives = None;
        if setting.deviations {
            let rate = setting.sampling_rate_hz;
            let scatter = match &factors {
                None => Derivatives::new(subspace, &svd, &observability, &correlations[0], rate),
                Some(factors) => {
                    let direction = factors.directions(&correlations);
                    Derivatives::along(&observability, correlations.iter().collect(), direction, rate)
                }
            };
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
        let measured: Vec<_> = correlations.iter().map(Correlations::of_record).collect();
        let context = ModeContext::new(&observability, self.parts(&measured));
        let judged = match &derivatives {
            Some(derivatives) => judge_members(derivatives, &selection.modes, &found, control)?,
            None => vec![Vec::new(); selection.modes.len()],
        };
        let mut modes = Vec::new();
        for (selected, judged) in selection.modes.iter().zip(&judged) {
            let least = judged.iter().map(|judged| judged.scatter).reduce(f64::min);
            if least.is_none_or(|least| least <= MOST_MAC_LOSS) {
                modes.push(context.mode(selected, judged, &found, setting));
            } else {
                selected.members.iter().for_each(|&(o, p)| selection.verdicts[o][p] = Verdict::Shape);
            }
        }
        let report = LevelReport {
            sampling_rate_hz: setting.sampling_rate_hz,
            block_rows,
            signal_rank,
            orders: (orders.first().copied().unwrap_or(0), highest),
            blocks: correlations.iter().map(|correlations| correlations.blocks).sum(),
            modes: modes.len(),
        };
        let shares = match &basis {
            Basis::Record(_) => vec![1.0],
            Basis::Setups(joint) => joint.shares(),
        };
        Ok(Level {
            sampling_rate_hz: setting.sampling_rate_hz,
            report,
            orders: found,
            selection,
            modes,
            harmonics,
            correlations: measured,
            shares,
        })
    }

    /// Channels and references of each record.
    fn sizes(&self) -> impl Iterator<Item = (usize, usize)> {
        self.records.iter().zip(self.references).map(|(record, own)| (record.info().channels.len(), own.len()))
    }

    /// What of C ψ and G each record has measured.
    fn parts<'b>(&self, measured: &'b [Vec<DMatrix<f64>>]) -> Vec<Part<'b>> {
        let mut first = 0;
        let mut parts = Vec::new();
        for (k, measured) in measured.iter().enumerate() {
            let places = match self.merging {
                None => (0..self.channels.len()).collect(),
                Some((layout, _)) => layout.setups[k].places.clone(),
            };
            let count = self.references[k].len();
            parts.push(Part::new(places, first..first + count, measured));
            first += count;
        }
        parts
    }

    /// The subspace of each record, and of several the joint one.
    fn basis(
        &self,
        correlations: &[Correlations<'_>],
        block_rows: usize,
        control: &Control,
    ) -> Result<Basis<'_>, ModalError> {
        let kind = (self.parameters.drive(), self.weighting);
        let subspace = |k: usize| Subspace::new(&correlations[k], block_rows, kind, self.records[k], control);
        let Some((layout, strategy)) = self.merging else { return Ok(Basis::Record(subspace(0)?)) };
        let in_setup = |k: usize| subspace(k).map_err(|error| error.of_setup(k + 1));
        let setups = (0..correlations.len()).map(in_setup).collect::<Result<Vec<_>, _>>()?;
        Ok(Basis::Setups(Joint::new(layout, strategy, setups)?))
    }

    /// The correlations of each record. `in_blocks`: by blocks of the record, for what depends on their scatter.
    fn correlations<'b>(
        &'b self,
        block_rows: usize,
        in_blocks: bool,
        backend: &'b dyn Backend,
        control: &'b Control,
    ) -> Result<Vec<Correlations<'b>>, ModalError> {
        // Its weights are without a ridge: where a drift is all of the power, 1e-7 of that is as much as the modes.
        let exact = match self.parameters.drive() {
            Drive::Data => backend.in_f64(Drive::Data.method()),
            Drive::Covariance => None,
        };
        let backend = exact.unwrap_or(backend);
        let of_record = |(record, references): (&&'b dyn Record, &Vec<usize>)| {
            let samples = record.info().valid_samples();
            let by_rule = (samples / (BLOCK_LENGTH * block_rows as u64)).min(BLOCKS as u64) as usize;
            // An even number, so that the halves are equal.
            let several = self.parameters.blocks.unwrap_or(by_rule).max(FEWEST_BLOCKS) / 2 * 2;
            let blocks = if in_blocks { several } else { 1 };
            let size = (record.info().channels.len(), references.len());
            block_rows_in_memory(size, (block_rows, block_rows), control)?;
            Correlations::new(*record, references, (2 * block_rows, blocks), backend, control)
        };
        self.records.iter().zip(self.references).map(of_record).collect()
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
                    subspace.references.len(),
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
