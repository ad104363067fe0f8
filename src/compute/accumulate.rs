//! The kernel under both sums: per frequency line, rank-S updates of products of spectra.

use nalgebra::Complex;
use rayon::prelude::*;

/// Lines per tile: an accumulator tile of re and im is 4 KiB and stays in the first-level cache.
const TILE: usize = 256;

/// Sums of a_i conj(b_j) over many transforms, for a fixed list of pairs (i, j), at every line.
///
/// Lines are the innermost, contiguous index, so that the loops vectorise; tiles of lines run in parallel and each
/// adds its transforms in their order, so the sums do not depend on the number of threads.
pub(super) struct PairSums {
    lines: usize,
    pairs: Vec<(usize, usize)>,
    /// One tile after the other; within a tile one pair after the other, re then im.
    tiles: Vec<Vec<f64>>,
}

/// Transforms of several channels for several stretches of time: `spectra[channel][stretch]`, all lines each.
pub(super) type Batch = Vec<Vec<Vec<Complex<f64>>>>;

impl PairSums {
    pub(super) fn new(lines: usize, pairs: Vec<(usize, usize)>) -> PairSums {
        let width = |tile: usize| TILE.min(lines - tile * TILE);
        let tiles = (0..lines.div_ceil(TILE)).map(|t| vec![0.0; 2 * pairs.len() * width(t)]).collect();
        PairSums { lines, pairs, tiles }
    }

    /// Adds Σ_s a_i(s) conj(b_j(s)) for every pair.
    pub(super) fn add(&mut self, a: &Batch, b: &Batch, stretches: usize) {
        let (lines, pairs) = (self.lines, &self.pairs);
        self.tiles.par_iter_mut().enumerate().for_each(|(tile, sums)| {
            let from = tile * TILE;
            let width = TILE.min(lines - from);
            let (a, b) = (split(a, stretches, from, width), split(b, stretches, from, width));
            for (&(i, j), sum) in pairs.iter().zip(sums.chunks_exact_mut(2 * width)) {
                let (re, im) = sum.split_at_mut(width);
                for s in 0..stretches {
                    let (a_re, a_im) = a.part(i, s);
                    let (b_re, b_im) = b.part(j, s);
                    multiply_add(re, im, (a_re, a_im), (b_re, b_im));
                }
            }
        });
    }

    /// The sum of one pair at every line; the sums start again at zero with [`PairSums::clear`].
    pub(super) fn pair(&self, pair: usize) -> Vec<Complex<f64>> {
        let mut values = Vec::with_capacity(self.lines);
        for (tile, sums) in self.tiles.iter().enumerate() {
            let width = TILE.min(self.lines - tile * TILE);
            let sum = &sums[2 * width * pair..2 * width * (pair + 1)];
            values.extend(sum[..width].iter().zip(&sum[width..]).map(|(&re, &im)| Complex::new(re, im)));
        }
        values
    }

    pub(super) fn clear(&mut self) {
        self.tiles.iter_mut().for_each(|tile| tile.fill(0.0));
    }
}

/// Real and imaginary parts apart, one tile of lines, so that the inner loop loads without shuffles.
struct Planes {
    stretches: usize,
    width: usize,
    values: Vec<f64>,
}

fn split(batch: &Batch, stretches: usize, from: usize, width: usize) -> Planes {
    let mut values = Vec::with_capacity(2 * width * stretches * batch.len());
    for channel in batch {
        for spectrum in &channel[..stretches] {
            let lines = &spectrum[from..from + width];
            values.extend(lines.iter().map(|z| z.re));
            values.extend(lines.iter().map(|z| z.im));
        }
    }
    Planes { stretches, width, values }
}

impl Planes {
    fn part(&self, channel: usize, stretch: usize) -> (&[f64], &[f64]) {
        let at = 2 * self.width * (channel * self.stretches + stretch);
        self.values[at..at + 2 * self.width].split_at(self.width)
    }
}

/// sum += a · conj(b).
fn multiply_add(re: &mut [f64], im: &mut [f64], a: (&[f64], &[f64]), b: (&[f64], &[f64])) {
    let n = re.len();
    let (a_re, a_im, b_re, b_im) = (&a.0[..n], &a.1[..n], &b.0[..n], &b.1[..n]);
    let im = &mut im[..n];
    for k in 0..n {
        re[k] += a_re[k] * b_re[k] + a_im[k] * b_im[k];
        im[k] += a_im[k] * b_re[k] - a_re[k] * b_im[k];
    }
}
