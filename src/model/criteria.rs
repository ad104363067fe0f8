//! Limits beyond which a pole is no mode's.

use serde::{Deserialize, Serialize};

/// What a pole must keep to; what is absent follows its rule. pyOMA2's names are accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Criteria {
    /// Damping ratio, below; by rule 0.2, and 0.1 with one channel.
    #[serde(alias = "xi_max")]
    pub damping_max: Option<f64>,
    /// Modal phase collinearity, at least; by rule 0.5 where no standard deviations are known, none where they are.
    #[serde(alias = "mpc_lim")]
    pub mpc_min: Option<f64>,
    /// Mean phase deviation, at most, rad; by rule 0.5 where no standard deviations are known, none where they are.
    #[serde(alias = "mpd_lim")]
    pub mpd_max: Option<f64>,
    /// σ_f/f, below; by rule none: the next one says it better.
    #[serde(alias = "CoV_max")]
    pub frequency_cov_max: Option<f64>,
    /// σ_f/f in units of √(ξ/(2π f T)), the best that a record of length T allows, below; by rule 12, and 6 with one channel.
    pub rho_max: Option<f64>,
    /// σ_ξ/ξ, below; by rule 0.6.
    pub damping_cov_max: Option<f64>,
}

impl Criteria {
    /// Name, value and greatest sensible value of what is given and does not lie above 0 and up to that.
    pub(super) fn fault(&self) -> Option<(&'static str, f64, f64)> {
        let all = [
            ("criteria.damping_max", self.damping_max, 1.0),
            ("criteria.mpc_min", self.mpc_min, 1.0),
            ("criteria.mpd_max", self.mpd_max, std::f64::consts::FRAC_PI_2),
            ("criteria.frequency_cov_max", self.frequency_cov_max, f64::MAX),
            ("criteria.rho_max", self.rho_max, f64::MAX),
            ("criteria.damping_cov_max", self.damping_cov_max, f64::MAX),
        ];
        let given = all.into_iter().filter_map(|(name, value, most)| Some((name, value?, most)));
        given.into_iter().find(|(_, value, most)| !(*value > 0.0 && value <= most))
    }
}
