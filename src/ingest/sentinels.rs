//! Numbers by which loggers mean that there is none: −999 and its like.
//!
//! Such a number is taken for missing where it lies so far beyond all others of its channel that it cannot belong to
//! them; otherwise it is a value like any other.

use super::cells::finite;

/// What is looked for: a row of nines of three to seven digits, of either sign, and what well logs write.
const SENTINELS: [f64; 11] =
    [-999.0, -9999.0, -99999.0, -999999.0, -9999999.0, 999.0, 9999.0, 99999.0, 999999.0, 9999999.0, -999.25];

/// By how much a sentinel is larger than anything else in its channel: a signal's own largest value is some five
/// standard deviations, and one of twenty-five does not belong to it.
const FACTOR: f64 = 5.0;

/// What one channel holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Census {
    /// Largest magnitude but sentinels.
    largest: f64,
    others: u64,
    counts: [u64; SENTINELS.len()],
}

impl Census {
    pub(crate) fn new() -> Census {
        Census { largest: 0.0, others: 0, counts: [0; SENTINELS.len()] }
    }

    /// Counts a value.
    pub(crate) fn push(&mut self, value: f64) {
        let magnitude = value.abs();
        if magnitude >= 999.0
            && let Some(which) = SENTINELS.iter().position(|sentinel| *sentinel == value)
        {
            self.counts[which] += 1;
        } else if finite(value) == value {
            self.largest = self.largest.max(magnitude);
            self.others += 1;
        }
    }

    /// Adds another part of the channel.
    pub(crate) fn merge(&mut self, other: &Census) {
        self.largest = self.largest.max(other.largest);
        self.others += other.others;
        self.counts.iter_mut().zip(other.counts).for_each(|(own, other)| *own += other);
    }

    /// The numbers that mean that there is none, and how often each stands there.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (f64, u64)> {
        let beyond = move |sentinel: f64| self.others > 0 && sentinel.abs() > FACTOR * self.largest;
        SENTINELS.into_iter().zip(self.counts).filter(move |(sentinel, count)| *count > 0 && beyond(*sentinel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(values: &[f64]) -> Vec<(f64, u64)> {
        let mut census = Census::new();
        values.iter().for_each(|value| census.push(*value));
        census.missing().collect()
    }

    #[test]
    fn a_sentinel_is_known_by_its_distance_from_all_others() {
        assert_eq!(missing(&[0.5, -999.0, -1.5, -999.0, f64::NAN]), [(-999.0, 2)]);
        assert_eq!(missing(&[500.0, -999.0, -400.0]), []);
        assert_eq!(missing(&[-999.0, -999.0]), []);
        assert_eq!(missing(&[1.0, 2.0]), []);
    }
}
