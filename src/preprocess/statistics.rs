//! Sums over a channel that is streamed: the least-squares line of a segment, the moments of a record.
//!
//! Both add up blocks about the blocks' own means and merge them (Chan, Golub & LeVeque 1983; Pébay 2008), so a
//! small signal on a large offset loses nothing.

use crate::model::parameters::Detrend;

/// Least-squares line through one segment.
#[derive(Debug, Clone, Default)]
pub(crate) struct LineFit {
    /// The first value; all sums are of values minus this one, so that a constant is exactly that.
    origin: f64,
    count: f64,
    mean: f64,
    /// Σ (k − k̄)(y − ȳ).
    slope_sum: f64,
    varies: bool,
}

impl LineFit {
    /// Takes the next samples.
    pub(crate) fn push(&mut self, samples: &[f64]) {
        let Some(&first) = samples.first() else { return };
        if self.count == 0.0 {
            self.origin = first;
        }
        let n = samples.len() as f64;
        let origin = self.origin;
        let [sum] = sums(samples, |_, y| [y - origin]);
        let (mean, middle) = (sum / n, (n - 1.0) / 2.0);
        let [slope_sum] = sums(samples, |k, y| [(k as f64 - middle) * (y - origin - mean)]);
        self.varies |= samples.iter().any(|y| *y != self.origin);
        let total = self.count + n;
        // The block's centre lies half of both lengths after that of what came before.
        let distance = total / 2.0;
        self.slope_sum += slope_sum + distance * (mean - self.mean) * self.count * n / total;
        self.mean += (mean - self.mean) * n / total;
        self.count = total;
    }

    /// Whether there are two different values.
    pub(crate) fn varies(&self) -> bool {
        self.varies
    }

    /// Mean and number of the values.
    pub(crate) fn mean(&self) -> (f64, f64) {
        (self.origin + self.mean, self.count)
    }

    /// What `detrend` takes off.
    pub(crate) fn trend(&self, detrend: Detrend) -> Trend {
        let squares = self.count * (self.count * self.count - 1.0) / 12.0;
        let slope = if detrend == Detrend::Linear && squares > 0.0 { self.slope_sum / squares } else { 0.0 };
        match detrend {
            Detrend::None => Trend::default(),
            _ => Trend { origin: self.origin, start: self.mean - slope * (self.count - 1.0) / 2.0, slope },
        }
    }
}

/// A line to be taken off.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trend {
    origin: f64,
    /// Value at sample 0, above `origin`.
    start: f64,
    slope: f64,
}

impl Trend {
    /// Takes the line off samples that begin at sample `position` of the segment.
    pub(crate) fn remove(&self, samples: &mut [f64], position: u64) {
        for (k, y) in samples.iter_mut().enumerate() {
            *y = (*y - self.origin) - (self.start + self.slope * (position as f64 + k as f64));
        }
    }
}

/// Least-squares lines through the pieces of one segment between breakpoints.
#[derive(Debug, Clone)]
pub(crate) struct LineFits {
    /// Samples of the segment at which its pieces end; the last one has no end.
    ends: Vec<u64>,
    fits: Vec<LineFit>,
    position: u64,
}

impl LineFits {
    /// For a segment that begins at sample `start` of the axis that the breakpoints lie on.
    pub(crate) fn new(breakpoints: &[u64], start: u64) -> LineFits {
        let mut ends: Vec<u64> = breakpoints.iter().filter_map(|b| b.checked_sub(start)).filter(|b| *b > 0).collect();
        ends.sort_unstable();
        ends.dedup();
        let fits = vec![LineFit::default(); ends.len() + 1];
        LineFits { ends, fits, position: 0 }
    }

    /// Takes the next samples.
    pub(crate) fn push(&mut self, samples: &[f64]) {
        for (piece, range) in pieces(&self.ends, self.position, samples.len()) {
            self.fits[piece].push(&samples[range]);
        }
        self.position += samples.len() as u64;
    }

    /// Whether there are two different values.
    pub(crate) fn varies(&self) -> bool {
        let mut firsts = self.fits.iter().filter(|fit| fit.count > 0.0).map(|fit| fit.origin);
        let first = firsts.next();
        self.fits.iter().any(LineFit::varies) || firsts.any(|origin| Some(origin) != first)
    }

    /// Mean and number of the values.
    pub(crate) fn mean(&self) -> (f64, f64) {
        let mut means = self.fits.iter().map(LineFit::mean).filter(|(_, count)| *count > 0.0);
        let first = means.next().unwrap_or((0.0, 0.0));
        means.fold(first, |(mean, n), (other, m)| (mean + (other - mean) * m / (n + m), n + m))
    }

    /// What `detrend` takes off.
    pub(crate) fn trends(&self, detrend: Detrend) -> Trends {
        Trends { ends: self.ends.clone(), trends: self.fits.iter().map(|fit| fit.trend(detrend)).collect() }
    }
}

/// The pieces that `count` samples from `position` on lie in, each with its own samples' range.
fn pieces(ends: &[u64], position: u64, count: usize) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
    let place = move |end: u64| usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX).min(count);
    let bounds = (0..=ends.len()).map(move |piece| {
        let from = if piece == 0 { 0 } else { place(ends[piece - 1]) };
        (piece, from..ends.get(piece).map_or(count, |end| place(*end)))
    });
    bounds.filter(|(_, range)| !range.is_empty())
}

/// The lines to be taken off one segment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trends {
    ends: Vec<u64>,
    trends: Vec<Trend>,
}

impl Trends {
    /// Takes the lines off samples that begin at sample `position` of the segment.
    pub(crate) fn remove(&self, samples: &mut [f64], position: u64) {
        for (piece, range) in pieces(&self.ends, position, samples.len()) {
            let begin = if piece == 0 { 0 } else { self.ends[piece - 1] };
            let from = position + range.start as u64 - begin;
            self.trends[piece].remove(&mut samples[range], from);
        }
    }
}

/// What is added up or compared side by side: an addition takes about four cycles, and the next one of the same sum
/// waits for it.
const LANES: usize = 4;

/// Sums over samples of some quantities of each; `of` gets the sample's place and the sample.
pub(super) fn sums<const N: usize>(samples: &[f64], of: impl Fn(usize, f64) -> [f64; N]) -> [f64; N] {
    let mut lanes = [[0.0; LANES]; N];
    let (fours, rest) = samples.as_chunks::<LANES>();
    fours.iter().enumerate().for_each(|(place, four)| add(&mut lanes, &of, LANES * place, four));
    add(&mut lanes, &of, LANES * fours.len(), rest);
    lanes.map(|sums| sums.iter().sum())
}

/// Adds a sample a lane.
#[inline(always)]
fn add<const N: usize>(
    lanes: &mut [[f64; LANES]; N],
    of: &impl Fn(usize, f64) -> [f64; N],
    first: usize,
    samples: &[f64],
) {
    for (lane, sample) in samples.iter().enumerate() {
        let quantities = of(first + lane, *sample);
        lanes.iter_mut().zip(quantities).for_each(|(sums, quantity)| sums[lane] += quantity);
    }
}

/// The least and the largest sample.
fn range(samples: &[f64]) -> (f64, f64) {
    let (mut least, mut largest) = ([f64::INFINITY; LANES], [f64::NEG_INFINITY; LANES]);
    for samples in samples.chunks(LANES) {
        for (lane, sample) in samples.iter().enumerate() {
            least[lane] = if *sample < least[lane] { *sample } else { least[lane] };
            largest[lane] = if *sample > largest[lane] { *sample } else { largest[lane] };
        }
    }
    (least.into_iter().fold(f64::INFINITY, f64::min), largest.into_iter().fold(f64::NEG_INFINITY, f64::max))
}

/// Central moments and range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moments {
    count: f64,
    mean: f64,
    /// Σ (y − ȳ)², ³, ⁴.
    second: f64,
    third: f64,
    fourth: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Moments {
    pub(crate) fn new() -> Moments {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        Moments { count: 0.0, mean: 0.0, second: 0.0, third: 0.0, fourth: 0.0, min, max }
    }

    /// Takes the next samples.
    pub(crate) fn push(&mut self, samples: &[f64]) {
        if samples.is_empty() {
            return;
        }
        let n = samples.len() as f64;
        let [sum] = sums(samples, |_, y| [y]);
        let mean = sum / n;
        let [second, third, fourth] = sums(samples, |_, y| {
            let d = y - mean;
            let square = d * d;
            [square, square * d, square * square]
        });
        let (min, max) = range(samples);
        *self = self.merged(&Moments { count: n, mean, second, third, fourth, min, max });
    }

    /// Pébay (2008), eq. 3.1.
    fn merged(&self, other: &Moments) -> Moments {
        let (a, b, n) = (self.count, other.count, self.count + other.count);
        let d = other.mean - self.mean;
        let (d2, ab) = (d * d, a * b);
        Moments {
            count: n,
            mean: self.mean + d * b / n,
            second: self.second + other.second + d2 * ab / n,
            third: self.third
                + other.third
                + d2 * d * ab * (a - b) / (n * n)
                + 3.0 * d * (a * other.second - b * self.second) / n,
            fourth: self.fourth
                + other.fourth
                + d2 * d2 * ab * (a * a - ab + b * b) / (n * n * n)
                + 6.0 * d2 * (a * a * other.second + b * b * self.second) / (n * n)
                + 4.0 * d * (a * other.third - b * self.third) / n,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }

    /// Root mean square.
    pub(crate) fn rms(&self) -> f64 {
        (self.second / self.count + self.mean * self.mean).sqrt()
    }

    /// Fourth central moment by the squared second; `None` without variance.
    pub(crate) fn kurtosis(&self) -> Option<f64> {
        Some(self.count * self.fourth / (self.second * self.second)).filter(|k| k.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_signal_on_a_large_offset_and_slope_loses_nothing() {
        let signal = |k: usize| if k.is_multiple_of(2) { 1e-6 } else { -1e-6 };
        let record: Vec<f64> = (0..10_000).map(|k| 1e6 + 1e-3 * k as f64 + signal(k)).collect();
        let mut fit = LineFit::default();
        record.chunks(777).for_each(|block| fit.push(block));
        let mut rest = record.clone();
        fit.trend(Detrend::Linear).remove(&mut rest[..5000], 0);
        fit.trend(Detrend::Linear).remove(&mut rest[5000..], 5000);
        // The values themselves carry eps·1e6/2 = 6e-11 of rounding; an even number of ±1e-6 has the slope
        // −6e-6/n² and so at most 3e-6/n = 3e-10 of trend of its own.
        assert!((0..10_000).all(|k| (rest[k] - signal(k)).abs() <= 1e-9));
    }

    #[test]
    fn a_constant_is_removed_exactly_and_does_not_vary() {
        let mut fit = LineFit::default();
        let mut samples = vec![0.1; 1001];
        samples.chunks(10).for_each(|block| fit.push(block));
        fit.trend(Detrend::Linear).remove(&mut samples, 0);
        assert!(!fit.varies() && samples.iter().all(|y| *y == 0.0));
    }

    #[test]
    fn merged_moments_are_those_of_the_whole() {
        let samples: Vec<f64> = (0..1000).map(|k| ((k * k) as f64 * 0.37).sin() + 100.0 + k as f64 * 1e-3).collect();
        let mut moments = Moments::new();
        let (left, right) = samples.split_at(123);
        [left, right].iter().for_each(|block| moments.push(block));
        let n = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / n;
        let central = |p: i32| samples.iter().map(|y| (y - mean).powi(p)).sum::<f64>() / n;
        let kurtosis = central(4) / central(2).powi(2);
        assert!((moments.kurtosis().unwrap() - kurtosis).abs() <= 1e-12 * kurtosis);
        let rms = (samples.iter().map(|y| y * y).sum::<f64>() / n).sqrt();
        assert!((moments.rms() - rms).abs() <= 1e-12 * rms);
    }

    #[test]
    fn a_constant_has_no_kurtosis() {
        let mut moments = Moments::new();
        moments.push(&[2.0; 10]);
        assert_eq!(moments.kurtosis(), None);
    }
}
