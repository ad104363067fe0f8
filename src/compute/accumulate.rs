//! The kernel under both sums: per frequency line, rank-S updates of products of spectra.

use super::Hermitian;
use super::hermitian::entries;
use nalgebra::Complex;
use pulp::{Arch, Simd, WithSimd, bytemuck};
use rayon::prelude::*;
use std::ops::Range;

/// Lines per tile, one cache line of each plane: the planes of two channels and thirty-two stretches, 8 KiB, stay in the
/// first-level cache, and those of a hundred channels, 0.4 MiB, with their sums, 0.6 MiB, in the second-level one.
const TILE: usize = 8;

/// Bytes that the transforms of a batch take: the sums of a hundred channels, 42 MiB, pass through memory once a batch, four
/// times in ten minutes of half-overlapping segments of 1024; from some thirty stretches on that no longer shows.
const BATCH_BYTES: usize = 24 << 20;

/// Channels per side of a block: four products in re and im, eight accumulators, leave half of sixteen vector registers
/// for what is loaded.
const SIDE: usize = 2;

/// Numbers of a block in one tile: re and im of each product at every line.
const BLOCK: usize = SIDE * SIDE * 2 * TILE;

/// Which products are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pairs {
    /// a_i conj(a_j) for j ≤ i, of so many channels.
    Lower(usize),
    /// a_i conj(b_j), channels × references.
    All(usize, usize),
}

impl Pairs {
    /// Channels on either side.
    fn channels(self) -> (usize, usize) {
        match self {
            Pairs::Lower(n) => (n, n),
            Pairs::All(n, r) => (n, r),
        }
    }

    /// Blocks of products, by the first row and column of each over [`SIDE`].
    fn blocks(self) -> Vec<(usize, usize)> {
        match self {
            Pairs::Lower(n) => (0..n.div_ceil(SIDE)).flat_map(|i| (0..=i).map(move |j| (i, j))).collect(),
            Pairs::All(n, r) => {
                let columns = r.div_ceil(SIDE);
                (0..n.div_ceil(SIDE)).flat_map(|i| (0..columns).map(move |j| (i, j))).collect()
            }
        }
    }

    /// Place of a product's block.
    fn block_of(self, i: usize, j: usize) -> usize {
        let (i, j) = (i / SIDE, j / SIDE);
        match self {
            Pairs::Lower(_) => i * (i + 1) / 2 + j,
            Pairs::All(_, r) => i * r.div_ceil(SIDE) + j,
        }
    }
}

/// Sums of a_i conj(b_j) over many transforms at every line.
///
/// Lines are the innermost, contiguous index, so that the loops vectorise; a block of products shares its loads. Tiles
/// of lines run in parallel and each adds its transforms in their order, so the sums do not depend on the number of
/// threads.
pub(super) struct PairSums {
    /// Lines of the transforms that are summed.
    lines: Range<usize>,
    pairs: Pairs,
    blocks: Vec<(usize, usize)>,
    /// One block after the other in each tile; within a block one product after the other, re then im.
    tiles: Vec<Vec<f64>>,
}

/// Transforms of several channels for several stretches of time, at the lines that are wanted: the planes of each channel's
/// tiles one after the other, [channel][tile][stretch][re, im], so that a tile's sums read whole pages. What is missing in
/// the last tile is zero. The room is used again and again.
pub(super) struct Batch {
    lines: Range<usize>,
    stretches: usize,
    values: Vec<f64>,
    /// The tile of a channel that there is not.
    nothing: Vec<f64>,
}

/// Room for one channel's transforms.
pub(super) struct Room<'a> {
    lines: Range<usize>,
    stretches: usize,
    values: &'a mut [f64],
}

/// Numbers from one tile of a channel to the next: an odd number of cache lines' pairs, because transforms are stored with
/// that distance, and powers of two would meet in a few places of the cache.
fn tile_distance(stretches: usize) -> usize {
    2 * TILE * (stretches | 1)
}

impl Batch {
    pub(super) fn new(lines: Range<usize>) -> Batch {
        Batch { lines, stretches: 0, values: Vec::new(), nothing: Vec::new() }
    }

    /// Stretches of so many channels that are worth a batch.
    pub(super) fn stretches(channels: usize, lines: usize) -> usize {
        /// With fewer ones the sums are loaded too often, with more of them nothing is gained.
        const WORTH: (usize, usize) = (8, 32);
        (BATCH_BYTES / (size_of::<Complex<f64>>() * channels * lines)).clamp(WORTH.0, WORTH.1)
    }

    fn channel_distance(&self) -> usize {
        self.lines.len().div_ceil(TILE) * tile_distance(self.stretches)
    }

    /// Room for each channel's stretches; what was there is lost.
    pub(super) fn channels(
        &mut self,
        channels: usize,
        stretches: usize,
    ) -> impl IndexedParallelIterator<Item = Room<'_>> {
        self.stretches = stretches;
        let (distance, lines) = (self.channel_distance(), &self.lines);
        self.values.resize(channels * distance, 0.0);
        self.nothing.resize(tile_distance(stretches), 0.0);
        let rooms = self.values.par_chunks_exact_mut(distance);
        rooms.map(move |values| Room { lines: lines.clone(), stretches, values })
    }

    /// The planes of one tile of a channel, stretch after stretch.
    fn tile(&self, channel: usize, tile: usize) -> &[f64] {
        let from = channel * self.channel_distance() + tile * tile_distance(self.stretches);
        let values = self.values.get(from..).filter(|rest| !rest.is_empty()).unwrap_or(&self.nothing);
        &values[..2 * TILE * self.stretches]
    }

    /// One transform's value at the k-th of the lines.
    fn at(&self, channel: usize, stretch: usize, k: usize) -> Complex<f64> {
        let planes = &self.tile(channel, k / TILE)[2 * TILE * stretch..];
        Complex::new(planes[k % TILE], planes[TILE + k % TILE])
    }
}

impl Room<'_> {
    /// Keeps what is wanted of a transform of all lines.
    pub(super) fn put(&mut self, stretch: usize, spectrum: &[Complex<f64>]) {
        let tiles = self.values.chunks_exact_mut(tile_distance(self.stretches));
        for (tile, lines) in tiles.zip(spectrum[self.lines.clone()].chunks(TILE)) {
            let (re, im) = tile[2 * TILE * stretch..][..2 * TILE].split_at_mut(TILE);
            for ((re, im), z) in re.iter_mut().zip(&mut *im).zip(lines) {
                (*re, *im) = (z.re, z.im);
            }
            re[lines.len()..].fill(0.0);
            im[lines.len()..].fill(0.0);
        }
    }
}

impl PairSums {
    pub(super) fn new(lines: Range<usize>, pairs: Pairs) -> PairSums {
        let blocks = pairs.blocks();
        let tiles = vec![vec![0.0; BLOCK * blocks.len()]; lines.len().div_ceil(TILE)];
        PairSums { lines, pairs, blocks, tiles }
    }

    /// Adds Σ_s a_i(s) conj(b_j(s)) for every pair, at the lines of both; of [`Pairs::Lower`] both are the same.
    pub(super) fn add(&mut self, a: &Batch, b: &Batch) {
        let (arch, blocks) = (Arch::new(), &self.blocks[..]);
        let (rows, columns) = self.pairs.channels();
        self.tiles.par_iter_mut().enumerate().for_each(|(tile, sums)| {
            let of = |batch, channels: usize| -> Vec<&[f64]> {
                (0..channels.next_multiple_of(SIDE)).map(|channel| Batch::tile(batch, channel, tile)).collect()
            };
            arch.dispatch(Update { sums, blocks, a: &of(a, rows), b: &of(b, columns) });
        });
    }

    /// The sum of one pair at every line; the sums start again at zero with [`PairSums::clear`].
    pub(super) fn pair(&self, i: usize, j: usize) -> impl Iterator<Item = Complex<f64>> {
        let product = SIDE * (i % SIDE) + j % SIDE;
        let at = BLOCK * self.pairs.block_of(i, j) + 2 * TILE * product;
        let of_tile = move |sums: &'_ Vec<f64>| -> [Complex<f64>; TILE] {
            std::array::from_fn(|k| Complex::new(sums[at + k], sums[at + TILE + k]))
        };
        self.tiles.iter().flat_map(of_tile).take(self.lines.len())
    }

    /// The Hermitian matrix of every line, times `scale` of the line. Of [`Pairs::Lower`] only.
    ///
    /// Some tiles' sums go once their lines are made, and the caller's thread takes all of the room, so that an allocator with
    /// a heap for every thread gives the sums' room to the next lines.
    pub(super) fn into_matrices(self, scale: impl Fn(usize) -> f64 + Sync) -> Vec<Hermitian> {
        /// Tiles at a time: a hundred channels' lines of so many take 5 MiB, and keep all cores busy.
        const TOGETHER: usize = 8;
        let Pairs::Lower(n) = self.pairs else {
            unreachable!("only products of channels with each other are Hermitian")
        };
        let (lines, blocks) = (self.lines, &self.blocks[..]);
        let of_line = |sums: &[f64], k: usize, scale: f64, mut room: Vec<Complex<f64>>| {
            room.resize(entries(n), Complex::default());
            for (block, &(row, column)) in sums.chunks_exact(BLOCK).zip(blocks) {
                for (product, sum) in block.chunks_exact(2 * TILE).enumerate() {
                    let (i, j) = (SIDE * row + product / SIDE, SIDE * column + product % SIDE);
                    if j <= i && i < n {
                        room[entries(i) + j] = Complex::new(sum[k] * scale, sum[TILE + k] * scale);
                    }
                }
            }
            Hermitian::of_triangle(n, room)
        };
        let mut matrices = Vec::with_capacity(lines.len());
        let mut tiles = self.tiles.into_iter();
        while matrices.len() < lines.len() {
            let sums: Vec<Vec<f64>> = tiles.by_ref().take(TOGETHER).collect();
            let first = lines.start + matrices.len();
            let these = first..lines.end.min(first + TOGETHER * TILE);
            let rooms: Vec<_> = these.map(|line| (line, Vec::with_capacity(entries(n)))).collect();
            matrices.par_extend(rooms.into_par_iter().map(|(line, room)| {
                let place = line - first;
                of_line(&sums[place / TILE], place % TILE, scale(line), room)
            }));
        }
        matrices
    }

    pub(super) fn clear(&mut self) {
        self.tiles.iter_mut().for_each(|tile| tile.fill(0.0));
    }
}

/// Transforms that are kept as they are, at every line channels × stretches.
pub(super) struct Snapshots {
    /// Lines of the transforms that are kept.
    lines: Range<usize>,
    channels: usize,
    by_line: Vec<Vec<Complex<f64>>>,
}

impl Snapshots {
    pub(super) fn new(lines: Range<usize>, channels: usize, stretches: usize) -> Snapshots {
        let room = || Vec::with_capacity(channels * stretches);
        Snapshots { by_line: lines.clone().map(|_| room()).collect(), lines, channels }
    }

    pub(super) fn add(&mut self, batch: &Batch) {
        self.by_line.par_iter_mut().enumerate().for_each(|(k, kept)| {
            for s in 0..batch.stretches {
                kept.extend((0..self.channels).map(|c| batch.at(c, s, k)));
            }
        });
    }

    /// Σ a aᴴ over the stretches at every line, times `scale` of the line.
    pub(super) fn into_matrices(self, scale: impl Fn(usize) -> f64) -> Vec<Hermitian> {
        let of_line = |(mut kept, line): (Vec<Complex<f64>>, usize)| {
            let root = scale(line).sqrt();
            kept.iter_mut().for_each(|z| *z *= root);
            Hermitian::of_factor(self.channels, kept)
        };
        self.by_line.into_iter().zip(self.lines).map(of_line).collect()
    }
}

/// The update of one tile.
struct Update<'a> {
    sums: &'a mut [f64],
    blocks: &'a [(usize, usize)],
    /// The tile's planes of each channel.
    a: &'a [&'a [f64]],
    b: &'a [&'a [f64]],
}

impl WithSimd for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Update { sums, blocks, a, b } = self;
        let width = TILE / S::F64_LANES;
        for (sums, &(row, column)) in sums.chunks_exact_mut(BLOCK).zip(blocks) {
            let sums: &mut [S::f64s] = bytemuck::cast_slice_mut(sums);
            let [a_0, a_1] = side::<S>(a, row);
            let [b_0, b_1] = side::<S>(b, column);
            for x in 0..width {
                let mut sum: [[S::f64s; 2]; SIDE * SIDE] =
                    std::array::from_fn(|p| [sums[2 * p * width + x], sums[(2 * p + 1) * width + x]]);
                let stretches = a_0.chunks_exact(2 * width).zip(a_1.chunks_exact(2 * width));
                let others = b_0.chunks_exact(2 * width).zip(b_1.chunks_exact(2 * width));
                for ((a_0, a_1), (b_0, b_1)) in stretches.zip(others) {
                    for (i, a) in [a_0, a_1].into_iter().enumerate() {
                        let (re, im) = (a[x], a[width + x]);
                        for (j, b) in [b_0, b_1].into_iter().enumerate() {
                            let [sum_re, sum_im] = &mut sum[SIDE * i + j];
                            // a conj(b)
                            *sum_re = simd.mul_add_e_f64s(re, b[x], *sum_re);
                            *sum_re = simd.mul_add_e_f64s(im, b[width + x], *sum_re);
                            *sum_im = simd.mul_add_e_f64s(im, b[x], *sum_im);
                            *sum_im = simd.mul_add_e_f64s(simd.neg_f64s(re), b[width + x], *sum_im);
                        }
                    }
                }
                for (p, [re, im]) in sum.into_iter().enumerate() {
                    (sums[2 * p * width + x], sums[(2 * p + 1) * width + x]) = (re, im);
                }
            }
        }
    }
}

/// The channels of one side of a block.
#[inline(always)]
fn side<'a, S: Simd>(planes: &[&'a [f64]], block: usize) -> [&'a [S::f64s]; SIDE] {
    std::array::from_fn(|k| bytemuck::cast_slice(planes[SIDE * block + k]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(channels: usize, stretches: usize, lines: usize, seed: usize) -> Batch {
        let value = |c: usize, s: usize, k: usize| ((seed + 31 * c + 17 * s) as f64 + 7.0 * k as f64).sin();
        // The room of a larger batch, and lines that are not wanted around those that are.
        let mut batch = Batch::new(3..3 + lines);
        batch.channels(channels + 2, stretches + 1).for_each(|room| room.values.fill(1.0));
        batch.channels(channels, stretches).enumerate().for_each(|(c, mut room)| {
            for s in 0..stretches {
                let line = |k: usize| Complex::new(value(c, s, k.wrapping_sub(3)), value(c + 5, s, k.wrapping_sub(3)));
                room.put(s, &(0..lines + 9).map(line).collect::<Vec<_>>());
            }
        });
        batch
    }

    /// Sizes that divide no tile and no block.
    #[test]
    fn sums_are_those_of_the_formula() {
        for (channels, references, lines, stretches) in [(1, 1, 1, 1), (3, 2, 33, 5), (4, 3, 64, 16), (5, 1, 31, 2)] {
            let (a, b) = (batch(channels, stretches, lines, 1), batch(references, stretches, lines, 2));
            let mut all = PairSums::new(0..lines, Pairs::All(channels, references));
            let mut lower = PairSums::new(0..lines, Pairs::Lower(channels));
            for _ in 0..2 {
                all.clear();
                lower.clear();
                all.add(&a, &b);
                lower.add(&a, &a);
            }
            let at = |batch: &Batch, c: usize, s: usize, k: usize| batch.at(c, s, k);
            let expected = |x: &Batch, i: usize, y: &Batch, j: usize, k: usize| -> Complex<f64> {
                (0..stretches).map(|s| at(x, i, s, k) * at(y, j, s, k).conj()).sum()
            };
            // Sums of 2 S products below 1, each rounded once.
            let tolerance = 4.0 * stretches as f64 * f64::EPSILON;
            for i in 0..channels {
                for j in 0..references {
                    assert_eq!(all.pair(i, j).count(), lines);
                    let all = all.pair(i, j).enumerate();
                    all.for_each(|(k, sum)| assert!((sum - expected(&a, i, &b, j, k)).norm() <= tolerance));
                }
            }
            let mut kept = Snapshots::new(0..lines, channels, stretches);
            kept.add(&a);
            let scale = |line: usize| 1.0 + line as f64;
            let (matrices, kept) = (lower.into_matrices(scale), kept.into_matrices(scale));
            assert_eq!((matrices.len(), kept.len()), (lines, lines));
            for (k, matrix) in matrices.into_iter().enumerate().chain(kept.into_iter().enumerate()) {
                let error = |i: usize, j: usize| matrix.at(i, j) / (1.0 + k as f64) - expected(&a, i, &a, j, k);
                let pairs = (0..channels).flat_map(|i| (0..channels).map(move |j| (i, j)));
                pairs.for_each(|(i, j)| assert!(error(i, j).norm() <= tolerance));
            }
        }
    }
}
