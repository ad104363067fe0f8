//! What a result that was merged from several setups tells of them.

use super::result::DataSummary;
use serde::{Deserialize, Serialize};

/// How a result came from those of several setups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Merging {
    /// The setups, in the order in which they were given.
    pub setups: Vec<Setup>,
    /// One entry a mode of the merged result: where it comes from, ascending in setups.
    pub modes: Vec<Vec<Member>>,
    /// Modes that do not reach every channel, ascending in frequency; they are not among the merged ones.
    pub left_out: Vec<Vec<Member>>,
}

/// The result of one setup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// Its analysis, where it has one.
    pub analysis_id: Option<String>,
    /// When it was made, UTC.
    pub created_at: jiff::Timestamp,
    /// What it was made of.
    pub data: DataSummary,
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
