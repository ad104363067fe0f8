//! A record without its harmonics: sinusoids are taken off it, and as little else as the record allows.
//!
//! # Model
//! Each gap-free segment is divided by knots h apart. Around a knot the sinusoids have constant amplitudes, those of the
//! least squares weighted by ½ + ½ cos(πt/h), |t| < h; from knot to knot they fade into each other with the same
//! weights, which sum to one. So slow changes of amplitude, phase and speed are followed, and no seam is left. The sums
//! are formed over short pieces, in which the weight is constant: of a sinusoid the least squares are exact with any weight.
//!
//! # What else is taken
//! Of everything else in the record what lies within about 1/h of the sinusoid. Of a mode of half-power width 2ξf at that very
//! place it is a part of about 1/(2ξf h), while its damping is known to 1/√(2πξfT) of itself: with h = T, the length of the
//! record, it is below that by √(πT/2ξf)/T, a few per cent. So h is as long as the sinusoid is seen to stand still
//! (`settled`), half as long at a time.
//!
//! # Limits
//! A segment with fewer than `CYCLES` cycles stays as it is.

use super::{ModalError, for_each_block};
use crate::model::control::Control;
use crate::model::record::{Block, BlockSource, ReadError, Record, RecordInfo};
use crate::model::result::Harmonic;
use nalgebra::{Complex, DMatrix};
use rayon::prelude::*;
use std::f64::consts::PI;

type C64 = Complex<f64>;

/// Least number of cycles between two knots, and in a segment: the notch is then narrower than 5 % of the frequency.
const CYCLES: f64 = 20.0;

/// Pieces from knot to knot where these are nearest.
const PIECES: usize = 4;

/// Distances between knots that are tried: the longest segment, its half, … a 256th; what drifts faster is no sinusoid to the
/// rules that told it.
const HALVINGS: usize = 9;

/// Standard deviations within which the frequency is looked for again, and steps of that search in 1/T: the peak is 0.9 / T
/// wide.
const REACH: f64 = 5.0;
const SEARCH_STEP: f64 = 0.125;

/// A part of the sinusoid's power that may stay: −23 dB.
const LEFT: f64 = 0.005;

/// Standard deviations of what noise adds between two distances.
const SURE: f64 = 4.0;

/// A record less its harmonics.
pub struct Reduced<'a> {
    record: &'a dyn Record,
    /// rad per sample.
    steps: Vec<f64>,
    segments: Vec<Knots>,
    /// Of each harmonic the part of each channel's rms that was taken, `[harmonic][channel]`.
    pub parts: Vec<Vec<f64>>,
    /// Time between two knots, s.
    pub knots_s: f64,
}

/// The amplitudes of a segment, 2·harmonics × channels a knot: of cos and sin of each; none where it stays as it is.
struct Knots {
    /// Samples from knot to knot.
    apart: f64,
    amplitudes: Vec<DMatrix<f64>>,
}

impl Knots {
    /// The two knots around a sample and the weight of the second one.
    fn around(&self, t: f64) -> (usize, f64) {
        let knot = ((t / self.apart) as usize).min(self.amplitudes.len() - 2);
        (knot, 0.5 - 0.5 * (PI * (t / self.apart - knot as f64)).cos())
    }
}

/// Knots so many samples apart, in every segment.
struct Trial {
    apart: f64,
    segments: Vec<Knots>,
    /// Part of each channel's power that they take of each harmonic, `[harmonic][channel]`.
    taken: Vec<Vec<f64>>,
}

impl Trial {
    fn new(apart: f64, sums: &[Pieces], power: &[f64]) -> Trial {
        let segments: Vec<Knots> = sums.iter().map(|segment| segment.knots(apart)).collect();
        let mut taken = energies(&segments, sums);
        taken.iter_mut().for_each(|taken| taken.iter_mut().zip(power).for_each(|(taken, power)| *taken /= power));
        Trial { apart, segments, taken }
    }

    /// How many there are.
    fn knots(&self) -> f64 {
        self.segments.iter().map(|knots| knots.amplitudes.len() as f64).sum()
    }
}

/// Distances between knots that are tried, in samples, the largest first.
fn distances(info: &RecordInfo, steps: &[f64]) -> impl Iterator<Item = f64> {
    let (longest, shortest) = (longest(info), shortest(steps));
    (0..HALVINGS).map(move |k| longest / f64::from(1 << k)).filter(move |apart| *apart >= shortest)
}

/// Samples of the longest segment.
fn longest(info: &RecordInfo) -> f64 {
    info.segments.iter().map(|segment| segment.samples).max().unwrap_or(0) as f64
}

/// Least distance between knots, in samples.
fn shortest(steps: &[f64]) -> f64 {
    CYCLES * 2.0 * PI / steps.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Sums over the pieces of one segment.
struct Pieces {
    samples: u64,
    /// Length of a piece.
    length: usize,
    /// Σ b bᵀ and Σ b yᵀ of each, b: cos and sin of each harmonic.
    sums: Vec<(DMatrix<f64>, DMatrix<f64>)>,
}

impl<'a> Reduced<'a> {
    /// Finds what there is to take off `record`; reads it twice.
    ///
    /// # Errors
    /// [`ModalError`] if the record cannot be read or the run is stopped.
    pub fn new(record: &'a dyn Record, harmonics: &[Harmonic], control: &Control) -> Result<Reduced<'a>, ModalError> {
        let rate = record.info().sampling_rate_hz;
        let mut steps: Vec<f64> = harmonics.iter().map(|h| 2.0 * PI * h.frequency_hz / rate).collect();
        let (first, power) = pieces(record, &steps, control)?;
        let starts: Vec<u64> = record.info().segments.iter().map(|segment| segment.start).collect();
        for (i, harmonic) in harmonics.iter().enumerate() {
            let reach = REACH * 2.0 * PI * harmonic.frequency_std_hz / rate;
            steps[i] += refinement(&first, &starts, i, reach, &power);
        }
        let (sums, power) = pieces(record, &steps, control)?;
        let trials: Vec<Trial> =
            distances(record.info(), &steps).map(|apart| Trial::new(apart, &sums, &power)).collect();
        let counts: Vec<f64> = trials.iter().map(Trial::knots).collect();
        let taken = |i: usize| trials.iter().map(|trial| trial.taken[i].iter().sum()).collect::<Vec<f64>>();
        let taken: Vec<Vec<f64>> = (0..steps.len()).map(taken).collect();
        let stands = |k: &usize| taken.iter().all(|taken| settled(taken, &counts, *k));
        let chosen = (0..trials.len()).find(stands).or(trials.len().checked_sub(1));
        let none = Trial { apart: 0.0, segments: Vec::new(), taken: vec![vec![0.0; power.len()]; steps.len()] };
        let Trial { apart, segments, taken } = chosen.and_then(|k| trials.into_iter().nth(k)).unwrap_or(none);
        let parts = taken.iter().map(|taken| taken.iter().map(|part| part.sqrt()).collect()).collect();
        Ok(Reduced { record, steps, segments, parts, knots_s: apart / rate })
    }

    /// Takes the sinusoids off a block.
    fn reduce(&self, block: &mut Block) {
        let Some(knots) = self.segments.get(block.segment).filter(|knots| knots.amplitudes.len() > 1) else { return };
        let origin = self.record.info().segments[block.segment].start + block.start;
        let (start, samples) = (block.start, block.samples);
        let basis: Vec<Vec<f64>> = basis(&self.steps, origin, samples);
        block.data.par_chunks_mut(samples).enumerate().for_each(|(channel, values)| {
            for (t, value) in values.iter_mut().enumerate() {
                let (knot, weight) = knots.around(start as f64 + t as f64);
                let (before, after) = (&knots.amplitudes[knot], &knots.amplitudes[knot + 1]);
                let amplitude = |i| before[(i, channel)] * (1.0 - weight) + after[(i, channel)] * weight;
                let sinusoids: f64 = basis.iter().enumerate().map(|(i, wave)| amplitude(i) * wave[t]).sum();
                *value = (f64::from(*value) - sinusoids) as f32;
            }
        });
    }
}

/// cos and sin of each harmonic at `samples` moments from `origin` on, counted from the record's beginning across gaps.
fn basis(steps: &[f64], origin: u64, samples: usize) -> Vec<Vec<f64>> {
    let wave = |i: usize| {
        let angle = |t: usize| steps[i / 2] * (origin + t as u64) as f64;
        (0..samples).map(|t| if i.is_multiple_of(2) { angle(t).cos() } else { angle(t).sin() }).collect()
    };
    (0..2 * steps.len()).into_par_iter().map(wave).collect()
}

/// The sums of every segment, and the power of every channel, Σ y².
fn pieces(record: &dyn Record, steps: &[f64], control: &Control) -> Result<(Vec<Pieces>, Vec<f64>), ModalError> {
    let info = record.info();
    let (size, channels) = (2 * steps.len(), info.channels.len());
    let nearest = (longest(info) / f64::from(1 << (HALVINGS - 1))).max(shortest(steps));
    let length = ((nearest / PIECES as f64) as usize).max(1);
    let empty = |samples: u64| Pieces {
        samples,
        length,
        sums: vec![(DMatrix::zeros(size, size), DMatrix::zeros(size, channels)); (samples as usize).div_ceil(length)],
    };
    let mut all: Vec<Pieces> = info.segments.iter().map(|segment| empty(segment.samples)).collect();
    let mut power = vec![0.0; channels];
    for_each_block(record, "harmonics", control, |block| {
        let waves = basis(steps, info.segments[block.segment].start + block.start, block.samples);
        let mut from = 0;
        while from < block.samples {
            let place = block.start as usize + from;
            let to = (from + length - place % length).min(block.samples);
            let (gram, right) = &mut all[block.segment].sums[place / length];
            for i in 0..size {
                for j in 0..=i {
                    let sum: f64 = waves[i][from..to].iter().zip(&waves[j][from..to]).map(|(a, b)| a * b).sum();
                    gram[(i, j)] += sum;
                    if i != j {
                        gram[(j, i)] += sum;
                    }
                }
            }
            right.as_mut_slice().par_chunks_mut(size).enumerate().for_each(|(channel, sums)| {
                let own = &block.channel(channel)[from..to];
                for (sum, wave) in sums.iter_mut().zip(&waves) {
                    *sum += own.iter().zip(&wave[from..to]).map(|(y, w)| f64::from(*y) * w).sum::<f64>();
                }
            });
            from = to;
        }
        for (channel, power) in power.iter_mut().enumerate() {
            *power += block.channel(channel).iter().map(|y| f64::from(*y).powi(2)).sum::<f64>();
        }
    })?;
    power.iter_mut().for_each(|power| *power = power.max(f64::MIN_POSITIVE));
    Ok((all, power))
}

impl Pieces {
    /// The amplitudes at knots about `apart` samples from each other.
    fn knots(&self, apart: f64) -> Knots {
        let intervals = (self.samples as f64 / apart).round().max(1.0);
        let apart = self.samples as f64 / intervals;
        let amplitude = |knot: usize| -> Option<DMatrix<f64>> {
            let (size, channels) = self.sums[0].1.shape();
            let (mut gram, mut right) = (DMatrix::zeros(size, size), DMatrix::zeros(size, channels));
            for (piece, sums) in self.sums.iter().enumerate() {
                let middle = ((piece as f64 + 0.5) * self.length as f64).min(self.samples as f64);
                let distance = middle / apart - knot as f64;
                if distance.abs() < 1.0 {
                    let weight = 0.5 + 0.5 * (PI * distance).cos();
                    gram += &sums.0 * weight;
                    right += &sums.1 * weight;
                }
            }
            Some(gram.cholesky()?.solve(&right))
        };
        // Two pieces make the least squares of one sinusoid well determined, many cycles as each has.
        let is_long = self.sums.len() >= PIECES;
        let all = if is_long { (0..=intervals as usize).map(amplitude).collect() } else { None };
        Knots { apart, amplitudes: all.unwrap_or_default() }
    }
}

/// What knots take of each harmonic and channel, Σ y².
fn energies(knots: &[Knots], pieces: &[Pieces]) -> Vec<Vec<f64>> {
    let (size, channels) = pieces.iter().find_map(|segment| segment.sums.first()).map_or((0, 0), |sums| sums.1.shape());
    let mut all = vec![vec![0.0; channels]; size / 2];
    for (knots, pieces) in knots.iter().zip(pieces).filter(|(knots, _)| !knots.amplitudes.is_empty()) {
        for piece in 0..pieces.sums.len() {
            let start = piece * pieces.length;
            let samples = pieces.length.min(pieces.samples as usize - start) as f64;
            let (knot, weight) = knots.around(start as f64 + 0.5 * samples);
            for (i, energies) in all.iter_mut().enumerate() {
                for (channel, energy) in energies.iter_mut().enumerate() {
                    let of = |part: usize| {
                        let at = |knot: usize| knots.amplitudes[knot][(2 * i + part, channel)];
                        at(knot) * (1.0 - weight) + at(knot + 1) * weight
                    };
                    *energy += 0.5 * samples * (of(0).powi(2) + of(1).powi(2));
                }
            }
        }
    }
    all
}

/// Whether knots as far apart as in case `k` take all of a sinusoid: what they take at half and at a quarter of the distance
/// grows as noise has it, by twice as much from step to step, and at a quarter and an eighth too, since a drift may be odd
/// around a knot and not be seen by twice as many. `taken`: energies, `counts`: knots, of all cases.
fn settled(taken: &[f64], counts: &[f64], k: usize) -> bool {
    let grows_as_noise = |k: usize| {
        let (Some(half), Some(quarter)) = (taken.get(k + 1), taken.get(k + 2)) else { return true };
        let last = taken.len() - 1;
        let noise = ((taken[last] - taken[last - 1]) / (counts[last] - counts[last - 1])).max(0.0);
        let excess = (half - taken[k]) - 0.5 * (quarter - half);
        excess <= LEFT * taken[k] + SURE * noise * (counts[k + 1] - counts[k]).sqrt()
    };
    grows_as_noise(k) && grows_as_noise(k + 1)
}

/// How far, in rad per sample, the frequency of harmonic `i` is from where it was looked for: where Σ |Σ z e^(−iδt)|² over
/// the channels is largest, z the piece's amplitude.
fn refinement(pieces: &[Pieces], starts: &[u64], i: usize, reach: f64, power: &[f64]) -> f64 {
    let last = pieces.iter().zip(starts).map(|(segment, start)| start + segment.samples).max().unwrap_or(1) as f64;
    let Some(length) = pieces.first().map(|segment| segment.length as f64) else { return 0.0 };
    // Beyond, the phase turns too far within a piece.
    let reach = reach.min(0.5 * PI / length);
    let step = SEARCH_STEP * 2.0 * PI / last;
    let value = |delta: f64| -> f64 {
        let mut sums = vec![C64::new(0.0, 0.0); power.len()];
        for (segment, start) in pieces.iter().zip(starts) {
            for (piece, (_, right)) in segment.sums.iter().enumerate() {
                let middle = *start as f64 + (piece as f64 + 0.5) * length;
                let turn = C64::from_polar(1.0, -delta * middle);
                for (channel, sum) in sums.iter_mut().enumerate() {
                    *sum += C64::new(right[(2 * i, channel)], -right[(2 * i + 1, channel)]) * turn;
                }
            }
        }
        sums.iter().zip(power).map(|(sum, power)| sum.norm_sqr() / power).sum()
    };
    let count = (reach / step).ceil() as i64;
    let values: Vec<f64> = (-count..=count).into_par_iter().map(|k| value(k as f64 * step)).collect();
    let Some(best) = (0..values.len()).max_by(|a, b| values[*a].total_cmp(&values[*b])) else { return 0.0 };
    let vertex = match values.get(best.wrapping_sub(1)..best + 2) {
        Some([before, own, after]) if before - 2.0 * own + after < 0.0 => {
            0.5 * (before - after) / (before - 2.0 * own + after)
        }
        _ => 0.0,
    };
    (best as f64 - count as f64 + vertex) * step
}

impl Record for Reduced<'_> {
    fn info(&self) -> &RecordInfo {
        self.record.info()
    }

    fn blocks(&self) -> Result<Box<dyn BlockSource + '_>, ReadError> {
        Ok(Box::new(ReducedBlocks { of: self, source: self.record.blocks()? }))
    }
}

struct ReducedBlocks<'a> {
    of: &'a Reduced<'a>,
    source: Box<dyn BlockSource + 'a>,
}

impl BlockSource for ReducedBlocks<'_> {
    fn info(&self) -> &RecordInfo {
        self.source.info()
    }

    fn next_block(&mut self, block: &mut Block) -> Result<bool, ReadError> {
        let is_there = self.source.next_block(block)?;
        if is_there {
            self.of.reduce(block);
        }
        Ok(is_there)
    }
}
