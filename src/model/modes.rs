//! Modes and their shapes.

use super::tracking::Track;
use nalgebra::{Complex, DVector};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A complex vector, one component a channel; written as `{"re": [..], "im": [..]}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape(pub DVector<Complex<f64>>);

#[derive(Serialize, Deserialize)]
struct Parts {
    re: Vec<f64>,
    im: Vec<f64>,
}

impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let re = self.0.iter().map(|z| z.re).collect();
        let im = self.0.iter().map(|z| z.im).collect();
        Parts { re, im }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shape, D::Error> {
        let Parts { re, im } = Parts::deserialize(deserializer)?;
        if re.len() != im.len() {
            return Err(serde::de::Error::custom(format!(
                "shape has {} real and {} imaginary parts",
                re.len(),
                im.len()
            )));
        }
        Ok(Shape(DVector::from_iterator(re.len(), re.into_iter().zip(im).map(|(r, i)| Complex::new(r, i)))))
    }
}

/// One identified mode. Frequencies in Hz, damping as a fraction of critical.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mode {
    /// Natural (undamped) frequency |λ|/2π, Hz.
    pub frequency_hz: f64,
    /// Damping ratio −Re λ/|λ|; absent where the method gives none (plain FDD).
    pub damping_ratio: Option<f64>,
    /// Mode shape, its largest component scaled to 1 + 0i; in the quantity that the result names (`data.shapes`). Of SSI with
    /// uncertainty the mean of the shapes at all orders, weighted by how well each is known.
    pub shape: Shape,
    /// Standard deviation of the frequency, Hz.
    pub frequency_std_hz: Option<f64>,
    /// Standard deviation of the damping ratio.
    pub damping_ratio_std: Option<f64>,
    /// Modal phase collinearity, 0 to 1, without mean removal.
    pub mpc: f64,
    /// Mean phase deviation, rad.
    pub mpd: f64,
    /// Model order of the representative pole (SSI).
    pub order: Option<usize>,
    /// Poles in the mode's cluster (SSI).
    pub pole_count: Option<usize>,
    /// Part of the orders in which some pole supports the mode, 0 to 1 (SSI).
    pub support: Option<f64>,
    /// Standard deviation of the frequency in units of the best possible one (SSI; automation §1.3).
    pub rho: Option<f64>,
    /// Standard deviation of the cluster's frequencies over the orders, Hz (SSI).
    pub frequency_spread_hz: Option<f64>,
    /// Share of the measured correlations that the mode explains, −1 to 1 (SSI).
    pub modal_contribution: Option<f64>,
    /// Expected 1 − MAC of the shape against the true one (SSI with uncertainty).
    pub expected_mac_loss: Option<f64>,
    /// Sampling rate of the decimation level on which the mode was found, Hz (SSI).
    pub level_sampling_rate_hz: Option<f64>,
    /// Kurtosis E|z|⁴/(E|z|²)² of the narrow band around the mode in its strongest channel: 2 for noise and for a mode that
    /// noise drives, 1 for a sinusoid; absent where the record is too short to tell.
    #[serde(default)]
    pub kurtosis: Option<f64>,
    /// Its standard deviation.
    #[serde(default)]
    pub kurtosis_std: Option<f64>,
    /// How sure the mode is; absent where the method gives nothing to judge by (plain FDD).
    #[serde(default)]
    pub confidence: Option<Confidence>,
    /// What speaks against the mode or a part of it.
    #[serde(default)]
    pub doubts: Vec<Doubt>,
    /// Which mode of earlier results it is; absent where none were given, and for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track: Option<Track>,
}

/// How sure a mode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Several things speak against it, or one says that it is none of the structure.
    Low,
    /// One thing speaks against it.
    Moderate,
    /// Nothing does.
    High,
}

impl Confidence {
    /// The word in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Confidence::Low => "low",
            Confidence::Moderate => "moderate",
            Confidence::High => "high",
        }
    }
}

/// Something that speaks against a mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// `harmonic`, `machine_line`, `shape_uncertain`, `damping_uncertain`, `imprecise`, `little_support`.
    pub code: String,
    /// A sentence with the number and its limit.
    pub message: String,
}

impl Mode {
    /// A mode of which nothing more is known. `complexity`: MPC and MPD of the shape.
    pub fn new(frequency_hz: f64, shape: Shape, complexity: (f64, f64)) -> Mode {
        Mode {
            frequency_hz,
            damping_ratio: None,
            shape,
            frequency_std_hz: None,
            damping_ratio_std: None,
            mpc: complexity.0,
            mpd: complexity.1,
            order: None,
            pole_count: None,
            support: None,
            rho: None,
            frequency_spread_hz: None,
            modal_contribution: None,
            expected_mac_loss: None,
            level_sampling_rate_hz: None,
            kurtosis: None,
            kurtosis_std: None,
            confidence: None,
            doubts: Vec::new(),
            track: None,
        }
    }
}
