//! Filters of finite length, applied by blocks of FFTs (overlap and save): the decimation filter of SciPy's
//! `ftype="fir"`, and integration and differentiation as multiplication by (2πif)^∓n in frequency.
//!
//! The kernels are symmetric or antisymmetric about their middle, so nothing is shifted in time. At the ends of a
//! segment the signal goes on as its point reflection, or as zeros where SciPy takes those.

use nalgebra::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::f64::consts::PI;
use std::fmt;
use std::sync::Arc;

/// How a signal goes on beyond the ends of its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beyond {
    /// As zeros.
    Zeros,
    /// As its point reflection about the last value.
    Reflection,
}

/// A kernel ready for use.
pub(crate) struct Fir {
    /// Samples to either side of the middle.
    half: usize,
    /// Length of an FFT.
    block: usize,
    spectrum: Vec<Complex<f64>>,
    forward: Arc<dyn RealToComplex<f64>>,
    backward: Arc<dyn ComplexToReal<f64>>,
    beyond: Beyond,
}

impl fmt::Debug for Fir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fir").field("half", &self.half).field("beyond", &self.beyond).finish_non_exhaustive()
    }
}

/// Taps of SciPy's FIR decimation by q to either side: 10 q.
const DECIMATION_TAPS: usize = 10;

/// Length of the kernel of an integration to either side, in periods of its lower edge: the smooth edge in frequency
/// has fallen below 1e-5 there.
const INTEGRATION_PERIODS: f64 = 16.0;

/// From here to Nyquist differentiation and integration fall to nothing, in parts of Nyquist.
pub(crate) const UPPER_EDGE: f64 = 0.8;

/// Length of a kernel whose only edge is that below Nyquist, to either side.
const NYQUIST_TAPS: usize = 256;

impl Fir {
    /// `kernel`: an odd number of taps; y(k) = Σ kernel(half + j) x(k − j).
    fn new(kernel: &[f64], beyond: Beyond) -> Fir {
        let half = kernel.len() / 2;
        let block = (4 * kernel.len()).next_power_of_two().max(1 << 12);
        let mut planner = RealFftPlanner::new();
        let (forward, backward) = (planner.plan_fft_forward(block), planner.plan_fft_inverse(block));
        let mut time = kernel.to_vec();
        time.resize(block, 0.0);
        let spectrum = transformed(&forward, &mut time).into_iter().map(|h| h / block as f64).collect();
        Fir { half, block, spectrum, forward, backward, beyond }
    }

    /// `scipy.signal.decimate`'s with `ftype="fir"`: `firwin(20 q + 1, 1/q, window="hamming")`.
    pub(crate) fn anti_alias(factor: usize) -> Fir {
        let half = DECIMATION_TAPS * factor;
        let tap = |k: usize| {
            let at = k as f64 - half as f64;
            let x = PI * at / factor as f64;
            let sinc = if at == 0.0 { 1.0 } else { x.sin() / x };
            sinc * (0.54 - 0.46 * (PI * k as f64 / half as f64).cos())
        };
        let taps: Vec<f64> = (0..=2 * half).map(tap).collect();
        let sum: f64 = taps.iter().sum();
        Fir::new(&taps.iter().map(|t| t / sum).collect::<Vec<_>>(), Beyond::Zeros)
    }

    /// `times` integrals over time of what lies above `low_hz`; nothing below half of it passes.
    pub(crate) fn integration(times: usize, low_hz: f64, rate_hz: f64) -> Fir {
        let half = (INTEGRATION_PERIODS * rate_hz / low_hz).ceil() as usize;
        let gain = |hz: f64| {
            let below = smooth_step((hz - low_hz / 2.0) / (low_hz / 2.0));
            if below == 0.0 { 0.0 } else { below * (2.0 * PI * hz).powi(-(times as i32)) }
        };
        Fir::new(&kernel(half, rate_hz, times, -1.0, gain), Beyond::Reflection)
    }

    /// `times` derivatives in time.
    pub(crate) fn differentiation(times: usize, rate_hz: f64) -> Fir {
        let gain = |hz: f64| (2.0 * PI * hz).powi(times as i32);
        Fir::new(&kernel(NYQUIST_TAPS, rate_hz, times, 1.0, gain), Beyond::Reflection)
    }

    /// A shorter segment cannot be reflected.
    pub(crate) fn least_samples(&self) -> usize {
        if self.beyond == Beyond::Reflection { self.half + 1 } else { 1 }
    }

    /// Samples of one channel that are held at most.
    pub(crate) fn held_samples(&self) -> usize {
        2 * self.block
    }
}

/// 0 below 0, 1 above 1, with three continuous derivatives.
fn smooth_step(x: f64) -> f64 {
    let inner = (PI / 2.0 * x.clamp(0.0, 1.0)).sin().powi(2);
    (PI / 2.0 * inner).sin().powi(2)
}

/// Taps of a response of magnitude `gain` and phase i^(`sign` · `times`), by its inverse transform.
fn kernel(half: usize, rate_hz: f64, times: usize, sign: f64, gain: impl Fn(f64) -> f64) -> Vec<f64> {
    // So fine that what the kernel repeats with is beyond its ends.
    let length = (8 * half).next_power_of_two();
    let turn = Complex::new(0.0, sign).powu(times as u32);
    let value = |k: usize| {
        let hz = rate_hz * k as f64 / length as f64;
        let upper = 1.0 - smooth_step((2.0 * hz / rate_hz - UPPER_EDGE) / (1.0 - UPPER_EDGE));
        if k == 0 { Complex::new(0.0, 0.0) } else { turn * gain(hz) * upper / length as f64 }
    };
    let mut spectrum: Vec<Complex<f64>> = (0..=length / 2).map(value).collect();
    // Nothing is left at Nyquist; the transform wants it real to the bit.
    spectrum[length / 2] = Complex::new(0.0, 0.0);
    let mut time = vec![0.0; length];
    let transform = RealFftPlanner::new().plan_fft_inverse(length);
    // The lengths agree and both ends are real.
    let done = transform.process(&mut spectrum, &mut time);
    debug_assert!(done.is_ok());
    (0..=2 * half).map(|k| time[(k + length - half) % length]).collect()
}

fn transformed(transform: &Arc<dyn RealToComplex<f64>>, time: &mut [f64]) -> Vec<Complex<f64>> {
    let mut spectrum = transform.make_output_vec();
    // The lengths are the plan's own.
    let done = transform.process(time, &mut spectrum);
    debug_assert!(done.is_ok());
    spectrum
}

/// One channel of one segment on its way through a [`Fir`].
pub(crate) struct FirStream {
    filter: Arc<Fir>,
    /// Inputs that are still needed, those beyond the start included.
    held: Vec<f64>,
    started: bool,
    /// The last inputs, for what lies beyond the end.
    tail: Vec<f64>,
}

impl FirStream {
    pub(crate) fn new(filter: &Arc<Fir>) -> FirStream {
        FirStream { filter: Arc::clone(filter), held: Vec::new(), started: false, tail: Vec::new() }
    }

    /// Takes the next samples and appends to `out` those that are finished.
    pub(crate) fn push(&mut self, samples: &[f64], out: &mut Vec<f64>) {
        let half = self.filter.half;
        self.held.extend_from_slice(samples);
        self.tail.extend_from_slice(&samples[samples.len().saturating_sub(half + 1)..]);
        let surplus = self.tail.len().saturating_sub(half + 1);
        self.tail.drain(..surplus);
        if !self.started && self.held.len() >= self.filter.least_samples() && !self.held.is_empty() {
            self.started = true;
            let first = self.held[0];
            let before: Vec<f64> = match self.filter.beyond {
                Beyond::Zeros => vec![0.0; half],
                Beyond::Reflection => (1..=half).rev().map(|k| 2.0 * first - self.held[k]).collect(),
            };
            self.held.splice(..0, before);
        }
        while self.started && self.held.len() >= self.filter.block {
            self.step(out);
        }
    }

    /// Ends the segment. One that is too short gives nothing; callers leave those out beforehand.
    pub(crate) fn finish(&mut self, out: &mut Vec<f64>) {
        if !self.started {
            return;
        }
        let half = self.filter.half;
        match (self.filter.beyond, self.tail.split_last()) {
            (Beyond::Reflection, Some((last, before))) => {
                self.held.extend(before.iter().rev().take(half).map(|x| 2.0 * last - x));
            }
            _ => self.held.resize(self.held.len() + half, 0.0),
        }
        let wanted = out.len() + self.held.len() - 2 * half;
        while out.len() < wanted {
            let short = self.filter.block.saturating_sub(self.held.len());
            self.held.resize(self.held.len() + short, 0.0);
            self.step(out);
        }
        out.truncate(wanted);
        self.held.clear();
        self.started = false;
    }

    /// Filters one block.
    fn step(&mut self, out: &mut Vec<f64>) {
        let filter = &self.filter;
        let mut time = self.held[..filter.block].to_vec();
        let mut spectrum = transformed(&filter.forward, &mut time);
        spectrum.iter_mut().zip(&filter.spectrum).for_each(|(x, h)| *x *= h);
        // Both ends of a product of spectra of real signals are real.
        spectrum[0].im = 0.0;
        spectrum[filter.block / 2].im = 0.0;
        let done = filter.backward.process(&mut spectrum, &mut time);
        debug_assert!(done.is_ok());
        out.extend_from_slice(&time[2 * filter.half..]);
        self.held.drain(..filter.block - 2 * filter.half);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(filter: Fir, x: &[f64], block: usize) -> Vec<f64> {
        let filter = Arc::new(filter);
        let (mut stream, mut out) = (FirStream::new(&filter), Vec::new());
        x.chunks(block).for_each(|piece| stream.push(piece, &mut out));
        stream.finish(&mut out);
        out
    }

    #[test]
    fn integrals_and_derivatives_of_sines_are_those_of_the_textbook() {
        let (rate, n) = (100.0, 20_000);
        for hz in [1.0, 3.7, 20.0, 39.0] {
            let w = 2.0 * PI * hz;
            let wave = |phase: f64| move |k: usize| (w * k as f64 / rate + phase).sin();
            let x: Vec<f64> = (0..n).map(wave(0.3)).collect();
            for times in [1, 2] {
                // Each integral turns the phase back by a quarter, each derivative forth.
                let quarter = PI / 2.0 * times as f64;
                let integral = filtered(Fir::integration(times, 1.0, rate), &x, 777);
                let derivative = filtered(Fir::differentiation(times, rate), &x, 5000);
                assert_eq!((integral.len(), derivative.len()), (n, n));
                for k in 4000..16_000 {
                    let exact = wave(0.3 - quarter)(k) * w.powi(-(times as i32));
                    assert!(
                        (integral[k] * w.powi(times as i32) - exact * w.powi(times as i32)).abs() <= 1e-4,
                        "{hz} {k}"
                    );
                    let exact = wave(0.3 + quarter)(k);
                    assert!((derivative[k] / w.powi(times as i32) - exact).abs() <= 1e-4, "{hz} {k}");
                }
            }
        }
    }

    #[test]
    fn a_stream_gives_the_same_for_any_block_size_and_length() {
        for n in [30, 4096, 9001] {
            let x: Vec<f64> = (0..n).map(|k| ((k * k) as f64 * 0.01).sin()).collect();
            let whole = filtered(Fir::anti_alias(2), &x, n);
            assert_eq!(whole.len(), n);
            assert!([1, 17, 4096].iter().all(|block| filtered(Fir::anti_alias(2), &x, *block) == whole), "{n}");
        }
    }
}
