//! Kurtosis of narrow bands: what noise drives is told from a sinusoid by its envelope.
//!
//! The band around a frequency is cut into half-overlapping windows, and the amplitude z of the band in each is that line of
//! the window's Fourier transform (Hann). The envelope of noise, filtered by a structure or not, fluctuates: E|z|⁴ is
//! 2 (E|z|²)². That of a sinusoid stands still: E|z|⁴ = (E|z|²)². With a of the band's power in a sinusoid and 1 in noise the
//! kurtosis is 2 − (a/(1 + a))² (automation §6).

use super::{ModalError, for_each_block};
use crate::model::control::Control;
use crate::model::record::{Block, Record};
use rayon::prelude::*;
use std::f64::consts::PI;

/// Windows of the whole record, half-overlapping ones not counted: below 200 independent values the kurtosis scatters too
/// much to tell anything, and neighbours of a narrow mode are not independent.
const WINDOWS: u64 = 400;

/// A window of fewer samples leaves no narrow band.
const SHORTEST_WINDOW: usize = 32;

/// A band's distance from 0 Hz and from Nyquist in lines of the window's transform: its main lobe does not reach there.
const EDGE_LINES: f64 = 2.0;

/// Groups of neighbouring windows of which one is left out at a time.
const GROUPS: usize = 20;

/// Least ξ f T of a mode whose envelope can be told from a sinusoid's: of 20 000 simulated modes that noise drives, 0.09 %
/// had a kurtosis below 1.5 by four of its standard deviations at 5, 3 % at 2, and 12 % at 1.
pub const INDEPENDENT: f64 = 5.0;

/// E|z|⁴/(E|z|²)² of a band, and its standard deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kurtosis {
    /// 2 for noise, 1 for a sinusoid.
    pub value: f64,
    /// By the jackknife over twenty pieces of the record.
    pub std: f64,
}

impl Kurtosis {
    /// Whether the band is a sinusoid rather than noise: four standard deviations below 2, and so low that the sinusoid has
    /// five times the power of the noise in the band. The envelope of a mode much narrower than the band has few independent
    /// values, and then it may seem to stand still: see [`INDEPENDENT`].
    pub fn is_sinusoid(&self) -> bool {
        self.value < 1.3 && self.value + 4.0 * self.std < 2.0
    }
}

/// The kurtosis of each band, a frequency in Hz and a row of the record; `None` where record or band do not allow it.
///
/// # Errors
/// [`ModalError`] if the record cannot be read or the run is stopped.
pub fn of_bands(
    record: &dyn Record,
    bands: &[(f64, usize)],
    control: &Control,
) -> Result<Vec<Option<Kurtosis>>, ModalError> {
    let info = record.info();
    let half = (info.valid_samples() / WINDOWS / 2) as usize;
    if bands.is_empty() || 2 * half < SHORTEST_WINDOW {
        return Ok(vec![None; bands.len()]);
    }
    let line_hz = info.sampling_rate_hz / (2 * half) as f64;
    let (low, high) = (EDGE_LINES * line_hz, info.sampling_rate_hz / 2.0 - EDGE_LINES * line_hz);
    let mut all: Vec<Band> = bands
        .iter()
        .map(|&(frequency_hz, row)| Band::new(2.0 * PI * frequency_hz / info.sampling_rate_hz, row, half))
        .collect();
    for_each_block(record, "kurtosis", control, |block| {
        all.par_iter_mut().for_each(|band| band.push(block));
    })?;
    let inside = bands.iter().map(|&(frequency_hz, _)| frequency_hz > low && frequency_hz < high);
    Ok(all.iter().zip(inside).map(|(band, inside)| if inside { kurtosis(&band.powers) } else { None }).collect())
}

type C64 = nalgebra::Complex<f64>;

/// One band while the record streams by, in pieces of half a window: each is the rising half of one window and the falling
/// half of the window before.
struct Band {
    row: usize,
    /// exp(−iωt) over a piece, real and imaginary parts, and the same times the rising half of the window.
    waves: [Vec<f64>; 4],
    /// exp(−iωt) from one piece to the next.
    turn: C64,
    /// Samples that do not make a piece yet.
    pending: Vec<f32>,
    /// Σ y exp(−iωt) over the rising half of the window that is half done.
    rising: Option<C64>,
    /// |z|² of every whole window.
    powers: Vec<f64>,
}

impl Band {
    /// `step`: radians per sample; `half`: samples of half a window.
    fn new(step: f64, row: usize, half: usize) -> Band {
        let wave = |i: usize| C64::from_polar(1.0, -step * i as f64);
        // Of a periodic Hann window the first half; the second one is what is missing to 1.
        let risen = |i: usize| wave(i) * (0.5 - 0.5 * (PI * i as f64 / half as f64).cos());
        let waves = [
            (0..half).map(|i| wave(i).re).collect(),
            (0..half).map(|i| wave(i).im).collect(),
            (0..half).map(|i| risen(i).re).collect(),
            (0..half).map(|i| risen(i).im).collect(),
        ];
        Band { row, waves, turn: wave(half), pending: Vec::new(), rising: None, powers: Vec::new() }
    }

    fn push(&mut self, block: &Block) {
        if block.start == 0 {
            self.pending.clear();
            self.rising = None;
        }
        self.pending.extend_from_slice(block.channel(self.row));
        let half = self.waves[0].len();
        let whole = self.pending.len() / half * half;
        for piece in self.pending[..whole].chunks_exact(half) {
            let [re, im, risen_re, risen_im] = self.waves.each_ref().map(|wave| dot(piece, wave));
            let (all, risen) = (C64::new(re, im), C64::new(risen_re, risen_im));
            let before = self.rising.replace(risen);
            self.powers.extend(before.map(|before| (before + self.turn * (all - risen)).norm_sqr()));
        }
        self.pending.drain(..whole);
    }
}

/// Σ y w.
fn dot(samples: &[f32], wave: &[f64]) -> f64 {
    /// Sums side by side, so that none waits for the one before.
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (samples, wave) = (samples.chunks(LANES), wave.chunks(LANES));
    for (samples, wave) in samples.zip(wave) {
        sums.iter_mut().zip(samples.iter().zip(wave)).for_each(|(sum, (&y, w))| *sum += f64::from(y) * w);
    }
    sums.iter().sum()
}

/// Of the powers |z|²; `None` where there are too few, or none at all.
fn kurtosis(powers: &[f64]) -> Option<Kurtosis> {
    if (powers.len() as u64) < WINDOWS / 2 {
        return None;
    }
    let sums = |powers: &[f64]| powers.iter().fold((0.0, 0.0), |(p, q), x| (p + x, q + x * x));
    let ratio = |(p, q): (f64, f64), count: usize| q * count as f64 / (p * p);
    let all = sums(powers);
    let value = ratio(all, powers.len());
    let size = powers.len().div_ceil(GROUPS);
    let without: Vec<f64> = powers
        .chunks(size)
        .map(|group| {
            let own = sums(group);
            ratio((all.0 - own.0, all.1 - own.1), powers.len() - group.len())
        })
        .collect();
    let count = without.len() as f64;
    let mean = without.iter().sum::<f64>() / count;
    let variance = without.iter().map(|one| (one - mean).powi(2)).sum::<f64>() * (count - 1.0) / count;
    let found = Kurtosis { value, std: variance.sqrt() };
    (found.value.is_finite() && found.std.is_finite()).then_some(found)
}
