//! From blocks of samples to modes: pure, synchronous mathematics over a [`Backend`](crate::compute::Backend).
//!
//! [`spectrum`] → [`fdd`] → [`efdd`] with [`bell`] are the frequency domain, and [`plscf`] with its own normal
//! equations; [`correlations`] → [`displacement`] and [`lq`] → [`hankel`] → [`ssi`] (→ [`setups`]) → [`poles`] →
//! [`uncertainty`] and [`shapes`] → [`selection`] → [`stabilization`] → [`automatic`] the subspace method;
//! [`indicators`] and [`clustering`] serve both.
//! [`quantities`] brings the shapes of mixed channels to one quantity.
//! [`harmonics`], [`line_width`] and [`kurtosis`] tell machines from modes, [`reduction`] takes them off the record, [`confidence`] says how sure a mode is,
//! [`matching`] brings the modes of two results together: [`tracking`] says which mode of earlier ones each mode is,
//! [`merging`] joins the results of several setups; [`setups`] their correlations, before [`poles`].

pub mod indicators;

pub mod spectrum;

pub mod fdd;

pub mod bell;

pub mod efdd;

pub mod plscf;

pub mod correlations;

pub mod displacement;

pub mod lq;

pub mod hankel;

pub mod ssi;

pub mod poles;

pub mod shapes;

pub mod uncertainty;

pub mod clustering;

pub mod selection;

pub mod stabilization;

pub mod automatic;

pub mod harmonics;

pub mod line_width;

pub mod reduction;

pub mod kurtosis;

pub mod confidence;

pub mod matching;

pub mod tracking;

pub mod merging;

pub mod setups;

pub mod validation;

pub mod quantities;

use crate::compute::{ComputeError, Place};
use crate::model::control::{Cancelled, Control, MemoryExceeded};
use crate::model::record::{Block, ReadError, Record};

/// Why a method gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ModalError {
    /// Stopped from outside.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The record could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The sums could not be formed.
    #[error(transparent)]
    Compute(ComputeError),
    /// The sums would take too much memory.
    #[error(transparent)]
    Memory(#[from] MemoryExceeded),
    /// A setting and the record do not fit.
    #[error("{0}")]
    Setting(String),
    /// The record itself forbids an answer.
    #[error("{0}")]
    Data(String),
    /// A decomposition did not converge.
    #[error(transparent)]
    NoConvergence(#[from] oma_linalg::NoConvergence),
}

impl From<ComputeError> for ModalError {
    fn from(error: ComputeError) -> ModalError {
        match error {
            ComputeError::Cancelled(cancelled) => ModalError::Cancelled(cancelled),
            error => ModalError::Compute(error),
        }
    }
}

impl ModalError {
    /// The same with the setup that it is about, counted from 1.
    fn of_setup(self, number: usize) -> ModalError {
        match self {
            ModalError::Setting(message) => ModalError::Setting(format!("setup {number}: {message}")),
            ModalError::Data(message) => ModalError::Data(format!("setup {number}: {message}")),
            ModalError::Compute(error @ ComputeError::TooShort { .. }) => {
                ModalError::Data(format!("setup {number}: {error}"))
            }
            error => error,
        }
    }
}

/// Hands every block of a record to `take`, under the control's token, and tells it how far `stage` is.
fn for_each_block(
    record: &dyn Record,
    stage: &str,
    control: &Control,
    mut take: impl FnMut(&Block) + Send,
) -> Result<(), ModalError> {
    sum_blocks(record, stage, control, |block| {
        block.into_iter().for_each(&mut take);
        None
    })
}

/// The same for sums that may have to begin again at an earlier place: `take` is given every block and, at the end of
/// the record, nothing, and answers with the place (see `rewind` of the accumulators). The next block is read meanwhile.
fn sum_blocks(
    record: &dyn Record,
    stage: &str,
    control: &Control,
    mut take: impl FnMut(Option<&Block>) -> Option<Place> + Send,
) -> Result<(), ModalError> {
    let total = record.info().valid_samples().max(1);
    let mut next = Some(Place::default());
    while let Some(from) = next.take() {
        let mut source = record.blocks()?;
        let (mut block, mut ahead, mut done) = (Block::default(), Block::default(), 0);
        let mut is_there = source.next_block(&mut block)?;
        while is_there && next.is_none() {
            control.checkpoint()?;
            done += block.samples as u64;
            let is_new = Place { segment: block.segment, start: block.start + block.samples as u64 } > from;
            if is_new && block.segment == from.segment {
                block.drop_before(from.start);
            }
            let work = || if is_new { take(Some(&block)) } else { None };
            let (place, read) = rayon::join(work, || source.next_block(&mut ahead));
            (next, is_there) = (place, read?);
            std::mem::swap(&mut block, &mut ahead);
            control.progress(stage, done as f64 / total as f64);
        }
        next = next.or_else(|| take(None));
    }
    Ok(())
}
