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

uniform! {
    /// Uniform of `hermitian_products`.
    ProductParams {
        /// Channels.
        rows,
        /// Pairs that are stored for a line.
        pairs,
        /// Vectors of a line, at most [`PRODUCT_VECTORS`].
        vectors,
        /// Numbers from the vectors of one listed line to those of the next; 0: the same vectors for all.
        stride,
        /// First listed line of this dispatch.
        first,
    }
}

uniform! {
    /// Uniform of `line_totals`.
    TotalParams {
        /// Channels.
        rows,
        /// Pairs that are stored for a line.
        pairs,
        /// Place of the first line in the sums.
        first,
        /// Lines.
        lines,
        /// Line of the first sums.
        base_line,
        /// Line of half the sampling rate; of none where the segment length is odd.
        nyquist,
        /// Workgroups in x.
        groups,
    }
}

uniform! {
    /// Uniform of `peak_rates`.
    PeakParams {
        /// Numbers that are written, vec4.
        numbers,
        /// Multiply-adds of each chain.
        steps,
        /// Workgroups in x.
        groups,
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

/// Rows of a tile of `hermitian_products`; the sums of 64 tiles are as long as an f32 sum may be.
pub(super) const PRODUCT_TILE: usize = 32;
/// Vectors of `hermitian_products` at a time.
pub(in crate::compute) const PRODUCT_VECTORS: usize = 4;
/// Channels up to which `hermitian_products` keeps its accuracy.
pub(super) const PRODUCT_ROWS: usize = 64 * PRODUCT_TILE;
/// Threads of a workgroup of `line_totals`.
pub(super) const TOTAL_THREADS: usize = 64;

/// Threads of a workgroup of `peak_rates`.
pub(super) const PEAK_THREADS: usize = 256;

/// The constants of `peak_rates` under their names in the shader.
pub const PEAK_CONSTANTS: &[(&str, u32)] = &[("THREADS", PEAK_THREADS as u32)];

/// The constants of `hermitian_products` under their names in the shader.
pub const PRODUCT_CONSTANTS: &[(&str, u32)] = &[
    ("TILE", PRODUCT_TILE as u32),
    ("VECTORS", PRODUCT_VECTORS as u32),
    ("THREADS", (PRODUCT_TILE * PRODUCT_VECTORS) as u32),
];

/// The constants of `line_totals` under their names in the shader.
pub const TOTAL_CONSTANTS: &[(&str, u32)] = &[("THREADS", TOTAL_THREADS as u32)];

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

/// Multiplies the matrices of lines by vectors.
pub const HERMITIAN_PRODUCTS: Shader = Shader {
    name: "hermitian_products",
    source: include_str!("../../../shaders/hermitian_products.wgsl"),
    uniform: ProductParams::UNIFORM,
    overrides: &[],
};

/// Diagonals of the sums, and their total over lines.
pub const LINE_TOTALS: Shader = Shader {
    name: "line_totals",
    source: include_str!("../../../shaders/line_totals.wgsl"),
    uniform: TotalParams::UNIFORM,
    overrides: &[],
};

/// Copies, and multiplies and adds.
pub const PEAK_RATES: Shader = Shader {
    name: "peak_rates",
    source: include_str!("../../../shaders/peak_rates.wgsl"),
    uniform: PeakParams::UNIFORM,
    overrides: &[],
};

/// All of them.
pub const SHADERS: [Shader; 7] =
    [SEGMENT_SPECTRA, CROSS_SPECTRA, CORRELATIONS, LAG_PRODUCTS, HERMITIAN_PRODUCTS, LINE_TOTALS, PEAK_RATES];

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
