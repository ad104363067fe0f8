//! The lag products of a record, all blocks of it.

use oma_worker::compute::{Backend, LagBlock, LagProducts};
use oma_worker::modal::correlations::Correlations;
use oma_worker::model::control::Control;
use oma_worker::model::record::Record;

pub(crate) fn blocks(correlations: &Correlations<'_>) -> Vec<LagBlock> {
    let mut all = Vec::new();
    let take = |handful: &[LagBlock]| {
        all.extend_from_slice(handful);
        Ok(())
    };
    correlations.for_each_handful(take).unwrap();
    all
}

pub(crate) fn lag_products(
    record: &dyn Record,
    references: &[usize],
    size: (usize, usize),
    on: &dyn Backend,
) -> LagProducts {
    let control = Control::none();
    let correlations = Correlations::new(record, references, size, on, &control).unwrap();
    let blocks = blocks(&correlations);
    LagProducts { references: correlations.references, blocks, edges: correlations.edges }
}
