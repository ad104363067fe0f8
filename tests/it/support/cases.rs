//! The jobs of parity tests and benchmarks.

/// Kinds of records, each awkward in its own way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Random,
    Constant,
    Zero,
    /// A sine 120 dB above the noise beside it.
    Tone,
    /// Noise on an offset of a million.
    Offset,
    /// Whole numbers of 16 bits: they travel as such.
    Codes,
}

/// One job of the spectra.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpectraCase {
    pub(crate) kind: Kind,
    pub(crate) channels: usize,
    pub(crate) segments: usize,
    pub(crate) length: usize,
}

/// One job of the lag products.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LagCase {
    pub(crate) kind: Kind,
    pub(crate) channels: usize,
    pub(crate) references: usize,
    pub(crate) lags: usize,
    pub(crate) samples: usize,
    pub(crate) blocks: usize,
}

const fn spectra(kind: Kind, channels: usize, segments: usize, length: usize) -> SpectraCase {
    SpectraCase { kind, channels, segments, length }
}

const fn lags(kind: Kind, sizes: [usize; 5]) -> LagCase {
    let [channels, references, lags, samples, blocks] = sizes;
    LagCase { kind, channels, references, lags, samples, blocks }
}

/// Channels, segments and lengths that divide no tile and no workgroup, of each kind.
pub(crate) const SPECTRA: &[SpectraCase] = &[
    spectra(Kind::Random, 1, 1, 256),
    spectra(Kind::Random, 1, 65, 8192),
    spectra(Kind::Random, 2, 63, 512),
    spectra(Kind::Random, 7, 65, 4096),
    spectra(Kind::Random, 33, 64, 256),
    spectra(Kind::Random, 64, 2, 1024),
    spectra(Kind::Random, 65, 1, 256),
    spectra(Kind::Random, 100, 2, 256),
    spectra(Kind::Random, 257, 1, 256),
    spectra(Kind::Random, 3, 2, 16384),
    spectra(Kind::Random, 2, 130, 2048),
    // More than stay on the device.
    spectra(Kind::Random, 1, 4200, 256),
    // No power of two: the CPU's.
    spectra(Kind::Random, 7, 63, 1000),
    spectra(Kind::Tone, 2, 2, 1000),
    spectra(Kind::Constant, 3, 65, 256),
    spectra(Kind::Zero, 7, 2, 1024),
    spectra(Kind::Tone, 2, 63, 4096),
    spectra(Kind::Offset, 3, 65, 1024),
    spectra(Kind::Offset, 2, 2, 16384),
    spectra(Kind::Codes, 7, 64, 512),
];

/// Channels, references, lags, samples and blocks: those of few lags run directly, the others by transforms.
pub(crate) const LAGS: &[LagCase] = &[
    lags(Kind::Random, [1, 1, 2, 100, 1]),
    lags(Kind::Random, [7, 1, 5, 3001, 4]),
    lags(Kind::Random, [9, 5, 9, 2500, 3]),
    lags(Kind::Random, [3, 2, 61, 5000, 7]),
    lags(Kind::Random, [33, 33, 33, 900, 2]),
    lags(Kind::Random, [65, 8, 24, 700, 2]),
    lags(Kind::Random, [2, 2, 400, 9000, 3]),
    lags(Kind::Random, [2, 1, 8, 70_000, 2]),
    lags(Kind::Random, [2, 2, 40, 70_000, 2]),
    lags(Kind::Random, [3, 3, 2000, 5000, 2]),
    // More than stay on the device.
    lags(Kind::Random, [1, 1, 40, 1_000_000, 1]),
    lags(Kind::Constant, [3, 2, 8, 1000, 3]),
    lags(Kind::Constant, [3, 2, 40, 1000, 3]),
    lags(Kind::Zero, [3, 2, 40, 1000, 3]),
    lags(Kind::Tone, [2, 2, 8, 3000, 2]),
    lags(Kind::Tone, [2, 2, 50, 3000, 2]),
    lags(Kind::Offset, [3, 1, 8, 3000, 2]),
    lags(Kind::Offset, [3, 2, 50, 3000, 2]),
    lags(Kind::Codes, [5, 2, 7, 3001, 5]),
    lags(Kind::Codes, [5, 2, 64, 3001, 5]),
];

/// Numbers that look like noise of unit variance: the sum of four of Numerical Recipes' linear congruence.
pub(crate) fn noise(seed: u32, samples: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    // Four of variance 1/12.
    (0..samples).map(|_| (next() + next() + next() + next()) * 1.732).collect()
}

pub(crate) fn record(kind: Kind, channels: usize, samples: usize) -> Vec<Vec<f32>> {
    let of_channel = |c: usize| {
        let value = |(t, noise): (usize, f32)| match kind {
            Kind::Random => noise,
            Kind::Constant => 1.5 + c as f32,
            Kind::Zero => 0.0,
            Kind::Tone => noise + (1e6 * (2.0 * std::f64::consts::PI * 0.137 * t as f64 + c as f64).sin()) as f32,
            Kind::Offset => 1e6 + noise,
            Kind::Codes => (1000.0 * noise).round(),
        };
        noise(c as u32 + 1, samples).into_iter().enumerate().map(value).collect()
    };
    (0..channels).map(of_channel).collect()
}
