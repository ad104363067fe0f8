//! Modes and their shapes.

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
    /// Mode shape, its largest component scaled to 1 + 0i.
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
}
