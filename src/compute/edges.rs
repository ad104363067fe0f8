//! First and last samples of every segment, kept while the record goes by.

use super::{LagPlan, SegmentEdges};
use crate::model::record::Block;
use nalgebra::DMatrix;

pub(super) struct Edges {
    lags: usize,
    segments: Vec<SegmentEdges>,
}

impl Edges {
    pub(super) fn new(plan: &LagPlan) -> Edges {
        let none = || DMatrix::zeros(plan.channels, 0);
        let of_segment = |samples| SegmentEdges { samples, head: none(), tail: none() };
        Edges { lags: plan.lags, segments: plan.segments.iter().map(|s| of_segment(s.samples)).collect() }
    }

    pub(super) fn push(&mut self, block: &Block) {
        let (l, lags) = (block.channels, self.lags);
        let columns = |matrix: &DMatrix<f64>| matrix.ncols();
        let SegmentEdges { head, tail, .. } = &mut self.segments[block.segment];
        if columns(head) < lags {
            let have = columns(head);
            let more = (lags - have).min(block.samples);
            *head = head.clone().resize_horizontally(have + more, 0.0);
            for c in 0..l {
                for t in 0..more {
                    head[(c, have + t)] = f64::from(block.channel(c)[t]);
                }
            }
        }
        let keep_old = lags.saturating_sub(block.samples).min(columns(tail));
        let take_new = lags.min(block.samples);
        let dropped = columns(tail) - keep_old;
        *tail = DMatrix::from_fn(l, keep_old + take_new, |c, t| {
            if t < keep_old {
                tail[(c, dropped + t)]
            } else {
                f64::from(block.channel(c)[block.samples - take_new + (t - keep_old)])
            }
        });
    }

    pub(super) fn finish(self) -> Vec<SegmentEdges> {
        self.segments
    }
}
