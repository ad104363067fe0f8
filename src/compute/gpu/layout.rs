//! Every number that shaders and host share: uniforms, workgroup sizes, override constants, binding places.
//!
//! `tests/it/shaders.rs` holds all of it to what naga reads from the shaders.

use bytemuck::{Pod, Zeroable};
use std::mem::{offset_of, size_of};

/// A shader: its name, its text with what it shares, its entry points.
#[derive(Debug, Clone, Copy)]
pub struct Shader {
    /// The file's name without its ending.
    pub name: &'static str,
    /// WGSL.
    pub source: &'static str,
    /// The uniform's type in the shader, and its fields with their offsets.
    pub uniform: (&'static str, usize, &'static [(&'static str, usize)]),
    /// Override constants that the host fills.
    pub overrides: &'static [&'static str],
}

/// Sizes of a uniform and offsets of its fields, as the host lays them out.
macro_rules! uniform {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident),* $(,)? }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
        pub(super) struct $name { $($(#[$field_doc])* pub(super) $field: u32),* }

        impl $name {
            const FIELDS: &'static [(&'static str, usize)] =
                &[$((stringify!($field), offset_of!($name, $field))),*];
            const UNIFORM: (&'static str, usize, &'static [(&'static str, usize)]) =
                (stringify!($name), size_of::<$name>(), $name::FIELDS);
        }
    };
}

uniform! {
    /// Uniform of `segment_spectra`.
    SegmentParams {
        /// Samples of a channel in the buffer; even.
        stride,
        /// Rows of the output.
        rows,
        /// Rows, padded to a multiple of [`PAD`].
        padded,
        /// Stretches of this dispatch.
        stretches,
        /// 1: two 16-bit integers a word.
        packed,
        /// 1: the mean of each stretch is taken out.
        centre,
        unused_a,
        unused_b,
    }
}

uniform! {
    /// Uniform of `cross_spectra`.
    CrossParams {
        /// Stretches that are summed.
        stretches,
        /// vec4 of one stretch in the left spectra: padded rows / 2.
        left_width,
        /// The same of the right spectra.
        right_width,
        /// Rows of G.
        rows,
        /// Columns of G.
        columns,
        /// First line of this dispatch.
        first_line,
        /// Line of the first sums.
        base_line,
        /// Pairs that are stored for a line.
        pairs,
        /// [`START`], [`LOWER`].
        flags,
    }
}

uniform! {
    /// Uniform of `correlations`.
    CorrelationParams {
        /// Correlation functions.
        pairs,
        /// Lags that are kept.
        lags,
        /// Workgroups in x.
        groups,
        unused,
    }
}

uniform! {
    /// Uniform of `lag_products`.
    LagParams {
        /// Samples of a channel in the buffer; even.
        stride,
        /// Channels.
        channels,
        /// References.
        references,
        /// Lags.
        lags,
        /// Slabs of this dispatch.
        slabs,
        /// 1: two 16-bit integers a word.
        packed,
        /// 1: the sums start here.
        start,
        /// Groups of [`LAG_TILE`] lags.
        lag_groups,
    }
}

/// Flag of [`CrossParams`]: what was in the sums before does not count.
pub(super) const START: u32 = 1;
/// Flag of [`CrossParams`]: the pairs are Hermitian, the lower triangle is stored.
pub(super) const LOWER: u32 = 2;

/// Rows of spectra are padded to whole tiles' quarters: `cross_spectra` loads four channels at once.
pub(super) const PAD: usize = 4;

/// Tile of `lag_products`: channels, lags, references and samples at a time.
pub(super) const CHANNEL_TILE: usize = 8;
/// See [`CHANNEL_TILE`].
pub(super) const LAG_TILE: usize = 32;
/// See [`CHANNEL_TILE`].
pub(super) const REFERENCE_TILE: usize = 4;
/// See [`CHANNEL_TILE`].
pub(super) const TIME_TILE: usize = 256;
/// Threads of a workgroup of `lag_products`.
pub(super) const LAG_THREADS: usize = CHANNEL_TILE * LAG_TILE / 4;

/// The constants of `lag_products` under their names in the shader.
pub const LAG_CONSTANTS: &[(&str, u32)] = &[
    ("CHANNELS", CHANNEL_TILE as u32),
    ("LAGS", LAG_TILE as u32),
    ("REFERENCES", REFERENCE_TILE as u32),
    ("TIME", TIME_TILE as u32),
    ("THREADS", LAG_THREADS as u32),
];

/// The flags of `cross_spectra` under their names in the shader.
pub const CROSS_CONSTANTS: &[(&str, u32)] = &[("START", START), ("LOWER", LOWER)];

const TRANSFORM_OVERRIDES: &[&str] = &["POINTS", "LANES", "ROWS", "EXCHANGE", "THREADS"];

/// Loads, windows and transforms stretches.
pub const SEGMENT_SPECTRA: Shader = Shader {
    name: "segment_spectra",
    source: concat!(include_str!("../../../shaders/fft.wgsl"), include_str!("../../../shaders/segment_spectra.wgsl")),
    uniform: SegmentParams::UNIFORM,
    overrides: TRANSFORM_OVERRIDES,
};

/// Sums products of spectra.
pub const CROSS_SPECTRA: Shader = Shader {
    name: "cross_spectra",
    source: include_str!("../../../shaders/cross_spectra.wgsl"),
    uniform: CrossParams::UNIFORM,
    overrides: &["SIDE", "SLAB", "STAGE", "THREADS"],
};

/// Transforms summed products back.
pub const CORRELATIONS: Shader = Shader {
    name: "correlations",
    source: concat!(include_str!("../../../shaders/fft.wgsl"), include_str!("../../../shaders/correlations.wgsl")),
    uniform: CorrelationParams::UNIFORM,
    overrides: TRANSFORM_OVERRIDES,
};

/// Sums lag products directly.
pub const LAG_PRODUCTS: Shader = Shader {
    name: "lag_products",
    source: include_str!("../../../shaders/lag_products.wgsl"),
    uniform: LagParams::UNIFORM,
    overrides: &[],
};

/// All of them.
pub const SHADERS: [Shader; 4] = [SEGMENT_SPECTRA, CROSS_SPECTRA, CORRELATIONS, LAG_PRODUCTS];

/// Shortest and longest transform of the kernel family, samples.
pub const SHORTEST: usize = 256;
/// See [`SHORTEST`].
pub const LONGEST: usize = 16384;

/// Rows share a workgroup until it has so many threads: two warps of 32, four of lavapipe's 8.
const THREADS_WANTED: usize = 64;

/// The shape of a workgroup that transforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transform {
    /// Complex points, half the real length.
    pub points: usize,
    /// Threads of one transform: eight points each.
    pub lanes: usize,
    /// Transforms side by side.
    pub rows: usize,
}

impl Transform {
    /// The shape for real transforms of `length`; `None` where the family has none.
    pub fn new(length: usize) -> Option<Transform> {
        let fits = length.is_power_of_two() && (SHORTEST..=LONGEST).contains(&length);
        let lanes = length / 16;
        fits.then(|| Transform { points: length / 2, lanes, rows: (THREADS_WANTED / lanes).max(1) })
    }

    /// Threads of a workgroup.
    pub fn threads(self) -> usize {
        self.lanes * self.rows
    }

    /// Bytes of workgroup memory: one real number a point.
    pub fn workgroup_bytes(self) -> usize {
        4 * self.points * self.rows
    }

    /// The override constants.
    pub fn constants(self) -> Vec<(&'static str, f64)> {
        let exchange = self.points * self.rows;
        let values = [self.points, self.lanes, self.rows, exchange, self.threads()];
        TRANSFORM_OVERRIDES.iter().copied().zip(values.map(|value| value as f64)).collect()
    }
}

/// The shape of a workgroup of `cross_spectra`: `side` × `side` threads with 4 × 4 pairs each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Threads a side: 4, 8 or 16.
    pub side: usize,
}

impl Tile {
    /// The smallest tile that holds so many channels, or the largest.
    pub fn new(channels: usize) -> Tile {
        Tile { side: channels.div_ceil(4).next_power_of_two().clamp(4, 16) }
    }

    /// Channels a side.
    pub fn channels(self) -> usize {
        4 * self.side
    }

    /// Bytes of workgroup memory.
    pub fn workgroup_bytes(self) -> usize {
        16 * self.stage()
    }

    fn stage(self) -> usize {
        8 * (self.side / 2) * self.side
    }

    /// The override constants.
    pub fn constants(self) -> Vec<(&'static str, f64)> {
        let values = [self.side, self.side / 2, self.stage(), self.side * self.side];
        CROSS_SPECTRA.overrides.iter().copied().zip(values.map(|value| value as f64)).collect()
    }
}
