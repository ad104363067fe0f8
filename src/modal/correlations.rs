//! Correlations of a record with its reference channels, block by block of it, in as much memory as there may be.
//!
//! What the whole record says is summed once. The blocks, of which deviations need every one, are kept where there is room
//! for all of them; where there is none they are made again from the record whenever they are asked for, a few at a time.

use super::ModalError;
use crate::compute::{Backend, LagBlock, LagPlan, LagProducts, SegmentEdges};
use crate::model::control::Control;
use crate::model::record::{Block, Record};
use nalgebra::DMatrix;

/// Bytes that each lag product takes: itself and as correlation, f64; each sample at both ends of a segment, too.
const BYTES: usize = 16;

/// Sets of correlations beside the blocks: of the whole record, its even and its odd blocks.
const SUMS: usize = 3;

/// Blocks that are handed out at a time: what depends on all of them is made anew for each handful.
const HANDFUL: usize = 10;

/// Correlations R_m = E[y(t + m) y_ref(t)ᵀ], channels × references, m from 0 on.
pub struct Correlations<'a> {
    /// Rows that serve as reference.
    pub references: Vec<usize>,
    /// First and last samples of each segment.
    pub edges: Vec<SegmentEdges>,
    /// Blocks of the record.
    pub blocks: usize,
    /// P_m = Σ_t y(t + m) y_ref(t)ᵀ over the record.
    pub totals: Vec<DMatrix<f64>>,
    /// Σ R_m of the even and of the odd blocks.
    halves: [Vec<DMatrix<f64>>; 2],
    samples: u64,
    source: Source<'a>,
}

/// Where the blocks come from.
enum Source<'a> {
    Kept(Vec<LagBlock>),
    Record(Again<'a>),
}

/// What makes the blocks again.
struct Again<'a> {
    record: &'a dyn Record,
    plan: LagPlan,
    backend: &'a dyn Backend,
    control: &'a Control,
    /// Blocks that may be in memory at a time.
    most: usize,
}

impl<'a> Correlations<'a> {
    /// The correlations of a record with `references`, for `lags` lags, in `blocks` blocks.
    ///
    /// # Errors
    /// [`ModalError`] if those of one block would take too much memory, the record cannot be read or the run is stopped.
    pub fn new(
        record: &'a dyn Record,
        references: &[usize],
        (lags, blocks): (usize, usize),
        backend: &'a dyn Backend,
        control: &'a Control,
    ) -> Result<Correlations<'a>, ModalError> {
        let info = record.info();
        let channels = info.channels.len();
        // The ends of many segments take what some blocks would.
        let beside = SUMS + info.segments.len().div_ceil(references.len().max(1));
        let parts = control.parts_in_memory(
            || format!("correlations of {channels} channels with {} at {lags} lags", references.len()),
            &[lags, channels, references.len(), BYTES],
            (beside + 1, beside + blocks),
            "lower block_rows or choose fewer channels",
        )?;
        let plan = LagPlan { channels, references: references.to_vec(), lags, blocks, segments: info.segments.clone() };
        let again = Again { record, plan, backend, control, most: parts - beside };
        if again.most == blocks {
            let mut all = Vec::new();
            let edges = again.sweep(|handful| {
                all.extend(handful);
                Ok(())
            })?;
            return Ok(LagProducts { references: references.to_vec(), blocks: all, edges }.into());
        }
        let mut found = Correlations::none(references.to_vec(), Vec::new());
        found.edges = again.sweep(|handful| {
            handful.iter().for_each(|block| found.add(block));
            Ok(())
        })?;
        Ok(Correlations { source: Source::Record(again), ..found })
    }

    fn none(references: Vec<usize>, edges: Vec<SegmentEdges>) -> Correlations<'a> {
        let (totals, halves) = (Vec::new(), [Vec::new(), Vec::new()]);
        Correlations { references, edges, blocks: 0, totals, halves, samples: 0, source: Source::Kept(Vec::new()) }
    }

    /// Adds the next block to the sums.
    fn add(&mut self, block: &LagBlock) {
        add(&mut self.totals, block.products.iter().cloned());
        add(&mut self.halves[self.blocks % 2], of_block(block));
        self.samples += block.samples;
        self.blocks += 1;
    }

    /// Channels and references, the size of every R_m.
    pub fn shape(&self) -> (usize, usize) {
        self.totals[0].shape()
    }

    /// R_m of the whole record, Σ P_m / Σ samples: the biased estimate, whose Toeplitz matrix is positive semidefinite.
    pub fn of_record(&self) -> Vec<DMatrix<f64>> {
        self.totals.iter().map(|product| product / self.samples.max(1) as f64).collect()
    }

    /// Mean of the blocks' R_m.
    pub fn mean(&self) -> Vec<DMatrix<f64>> {
        let mut sum = self.halves[0].clone();
        sum.iter_mut().zip(&self.halves[1]).for_each(|(sum, odd)| *sum += odd);
        sum.iter_mut().for_each(|sum| *sum /= self.blocks as f64);
        sum
    }

    /// Half the difference of the means of even and of odd blocks, which has the covariance of the error of the mean;
    /// `None` of one block.
    pub fn half_difference(&self) -> Option<Vec<DMatrix<f64>>> {
        let [even, odd] = [self.blocks.div_ceil(2), self.blocks / 2].map(|count| 0.5 / count as f64);
        let difference = |(a, b): (&DMatrix<f64>, &DMatrix<f64>)| a * even - b * odd;
        (self.blocks > 1).then(|| self.halves[0].iter().zip(&self.halves[1]).map(difference).collect())
    }

    /// Hands out all blocks in the order of time, a few at a time.
    ///
    /// # Errors
    /// Those of `each`; where blocks are made again as [`Correlations::new`].
    pub fn for_each_handful(
        &self,
        mut each: impl FnMut(&[LagBlock]) -> Result<(), ModalError> + Send,
    ) -> Result<(), ModalError> {
        match &self.source {
            Source::Kept(blocks) => blocks.chunks(HANDFUL).try_for_each(each),
            Source::Record(again) => again.sweep(|handful| each(&handful)).map(|_| ()),
        }
    }
}

impl From<LagProducts> for Correlations<'_> {
    fn from(products: LagProducts) -> Self {
        let mut found = Correlations::none(products.references, products.edges);
        products.blocks.iter().for_each(|block| found.add(block));
        Correlations { source: Source::Kept(products.blocks), ..found }
    }
}

impl Again<'_> {
    /// Goes through the record once and hands out its blocks in the order of time, a few at a time.
    fn sweep(
        &self,
        mut each: impl FnMut(Vec<LagBlock>) -> Result<(), ModalError> + Send,
    ) -> Result<Vec<SegmentEdges>, ModalError> {
        let Again { record, plan, backend, control, most } = self;
        let handful = HANDFUL.min(*most);
        let total = record.info().valid_samples();
        // Where all blocks fit it does not matter how many are complete at a time; elsewhere a piece of the record
        // completes one of them, or two.
        let piece = if *most == plan.blocks { u64::MAX } else { (total / plan.blocks.max(1) as u64).max(1) };
        let mut sums = backend.lag_products(plan);
        let (mut waiting, mut outcome) = (Vec::new(), Ok(()));
        super::sum_blocks(*record, "lag products", control, |block| {
            let mut push = |piece: &Block| {
                sums.push(piece);
                waiting.append(&mut sums.take_blocks());
                while waiting.len() >= handful && outcome.is_ok() {
                    outcome = each(waiting.drain(..handful).collect());
                }
                sums.rewind(false)
            };
            match block {
                Some(block) if block.samples as u64 <= piece => push(block),
                Some(block) => pieces(block, piece as usize).find_map(|piece| push(&piece)),
                None => sums.rewind(true),
            }
        })?;
        outcome?;
        let LagProducts { blocks, edges, .. } = sums.finish()?;
        waiting.extend(blocks);
        while !waiting.is_empty() {
            each(waiting.drain(..handful.min(waiting.len())).collect())?;
        }
        Ok(edges)
    }
}

/// A block in pieces of `most` samples.
fn pieces(block: &Block, most: usize) -> impl Iterator<Item = Block> {
    (0..block.samples).step_by(most).map(move |from| {
        let samples = most.min(block.samples - from);
        let mut piece = Block::default();
        piece.reset(block.segment, block.start + from as u64, block.channels, samples);
        for channel in 0..block.channels {
            piece.channel_mut(channel).copy_from_slice(&block.channel(channel)[from..from + samples]);
        }
        piece
    })
}

fn add(sums: &mut Vec<DMatrix<f64>>, terms: impl Iterator<Item = DMatrix<f64>>) {
    match sums.is_empty() {
        true => sums.extend(terms),
        false => sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term),
    }
}

/// R_m = P_m / samples of one block of the record.
pub fn of_block(block: &LagBlock) -> impl Iterator<Item = DMatrix<f64>> {
    let scale = 1.0 / block.samples.max(1) as f64;
    block.products.iter().map(move |product| product * scale)
}
