//! What a result that was merged from several setups tells of them.

use super::result::DataSummary;
use serde::{Deserialize, Serialize};

/// How several setups became one result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Each setup is analysed by itself and the modes are joined (post-separate-estimation re-scaling).
    #[default]
    Poser,
    /// The correlations are brought to one excitation before the poles are looked for (pre-global-estimation re-scaling).
    Preger,
    /// The poles come from the references of all setups, each setup's part of the shapes from itself
    /// (post-global-estimation re-scaling).
    Poger,
}

impl Strategy {
    /// Its name as the field writes it.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Poser => "PoSER",
            Strategy::Preger => "PreGER",
            Strategy::Poger => "PoGER",
        }
    }
}

/// How a result came from several setups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Merging {
    /// What was joined; documents without it are of the first one.
    #[serde(default)]
    pub strategy: Strategy,
    /// The setups, in the order in which they were given.
    pub setups: Vec<Setup>,
    /// Of results (PoSER) one entry a mode of the merged one: where it comes from, ascending in setups.
    pub modes: Vec<Vec<Member>>,
    /// Modes that do not reach every channel, ascending in frequency; they are not among the merged ones.
    pub left_out: Vec<Vec<Member>>,
}

/// One setup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// Its analysis, where it has one.
    pub analysis_id: Option<String>,
    /// When its result was made, or the merged one where it has none of its own, UTC.
    pub created_at: jiff::Timestamp,
    /// What it was made of.
    pub data: DataSummary,
    /// Keys or paths of its raw files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Its part in the decomposition that the poles come from, 0 to 1 (PreGER and PoGER); weighted by precision, not by size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}

/// A mode in the result of one setup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Place among the setups, from 0.
    pub setup: usize,
    /// Place among its modes, from 0.
    pub mode: usize,
    /// Hz.
    pub frequency_hz: f64,
    /// Its standard deviation, Hz.
    pub frequency_std_hz: Option<f64>,
    /// Fraction of critical.
    pub damping_ratio: Option<f64>,
    /// Its standard deviation.
    pub damping_ratio_std: Option<f64>,
    /// MAC of its shape with the merged one, over its channels; absent where the mode is left out.
    pub mac: Option<f64>,
}
