//! Numbers by which loggers mean that there is none: −999 and its like.
//!
//! Such a number is taken for missing where it lies so far beyond all others of its channel that it cannot belong to
//! them; otherwise it is a value like any other.

use super::cells::finite;

/// What is looked for: a row of nines of three to seven digits, of either sign, and what well logs write.
const SENTINELS: [f64; 11] =
    [-999.0, -9999.0, -99999.0, -999999.0, -9999999.0, 999.0, 9999.0, 99999.0, 999999.0, 9999999.0, -999.25];

/// The least magnitude among them.
const LEAST: f64 = 999.0;

/// By how much a sentinel is larger than anything else in its channel: a signal's own largest value is some five
/// standard deviations, and one of twenty-five does not belong to it.
const FACTOR: f64 = 5.0;

/// What one channel holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Census {
    /// Largest magnitude but sentinels.
    largest: f64,
    /// Whether anything but sentinels was seen.
    has_others: bool,
    counts: [u64; SENTINELS.len()],
}

impl Census {
    pub(crate) fn new() -> Census {
        Census { largest: 0.0, has_others: false, counts: [0; SENTINELS.len()] }
    }

    /// Counts a value.
    fn push(&mut self, value: f64) {
        let magnitude = value.abs();
        if magnitude >= LEAST
            && let Some(which) = SENTINELS.iter().position(|sentinel| *sentinel == value)
        {
            self.counts[which] += 1;
        } else if finite(value) == value {
            self.largest = self.largest.max(magnitude);
            self.has_others = true;
        }
    }

    /// Adds another part of the channel.
    pub(crate) fn merge(&mut self, other: &Census) {
        self.largest = self.largest.max(other.largest);
        self.has_others |= other.has_others;
        self.counts.iter_mut().zip(other.counts).for_each(|(own, other)| *own += other);
    }

    /// The numbers that mean that there is none, and how often each stands there.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (f64, u64)> {
        let beyond = move |sentinel: f64| self.has_others && sentinel.abs() > FACTOR * self.largest;
        SENTINELS.into_iter().zip(self.counts).filter(move |(sentinel, count)| *count > 0 && beyond(*sentinel))
    }
}

/// Counts whole rows, a channel a place.
pub(crate) fn count(channels: &mut [Census], rows: &[f64]) {
    let width = channels.len().max(1);
    // Hardly any channel comes near a sentinel, and its largest magnitude is found for many channels at once.
    let mut largest = vec![f64::NEG_INFINITY; channels.len()];
    for row in rows.chunks_exact(width) {
        for (largest, value) in largest.iter_mut().zip(row) {
            let magnitude = value.abs();
            // False for what is not a number.
            *largest = if magnitude > *largest { magnitude } else { *largest };
        }
    }
    for (place, (census, largest)) in channels.iter_mut().zip(largest).enumerate() {
        if largest >= LEAST {
            rows.iter().skip(place).step_by(width).for_each(|value| census.push(*value));
        } else if largest >= 0.0 {
            census.largest = census.largest.max(largest);
            census.has_others = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(values: &[f64]) -> Vec<(f64, u64)> {
        let mut one = Census::new();
        values.iter().for_each(|value| one.push(*value));
        // Between two channels that hold other things.
        let rows: Vec<f64> = values.iter().flat_map(|value| [f64::NAN, *value, 2000.0]).collect();
        let mut three = vec![Census::new(); 3];
        count(&mut three, &rows);
        assert_eq!(three[1].missing().collect::<Vec<_>>(), one.missing().collect::<Vec<_>>());
        one.missing().collect()
    }

    #[test]
    fn a_sentinel_is_known_by_its_distance_from_all_others() {
        assert_eq!(missing(&[0.5, -999.0, -1.5, -999.0, f64::NAN]), [(-999.0, 2)]);
        assert_eq!(missing(&[500.0, -999.0, -400.0]), []);
        assert_eq!(missing(&[-999.0, -999.0]), []);
        assert_eq!(missing(&[1.0, 2.0]), []);
    }
}
