//! What a result tells of the modes of earlier ones.

use serde::{Deserialize, Serialize};

/// A mode in an earlier result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// The result's analysis, where it has one.
    pub analysis_id: Option<String>,
    /// When the result was made, UTC.
    pub created_at: jiff::Timestamp,
    /// Place among its modes, from 0.
    pub mode: usize,
}

/// Which mode of earlier results a mode is, and how it moved. Changes are now minus mean of the earlier ones; in `…_sigmas`
/// they are told in their own standard deviation: from three earlier appearances on by the scatter of these, before by
/// the standard deviations of all that are known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// Its latest appearance.
    pub latest: Sighting,
    /// MAC with that, over the channels in both.
    pub mac: f64,
    /// Earlier results that have it.
    pub seen: usize,
    /// Mean of its frequency there, Hz.
    pub frequency_hz: f64,
    /// Hz.
    pub frequency_change_hz: f64,
    /// That change in its own standard deviation.
    pub frequency_change_sigmas: Option<f64>,
    /// Mean of its damping ratio there.
    pub damping_ratio: Option<f64>,
    /// Fraction of critical.
    pub damping_ratio_change: Option<f64>,
    /// That change in its own standard deviation.
    pub damping_ratio_change_sigmas: Option<f64>,
}

/// How a result stands to earlier ones of the structure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tracking {
    /// Earlier results with modes that were looked at.
    pub earlier: usize,
    /// Modes of at least half of them that are not found now, ascending in frequency.
    pub missing: Vec<Missing>,
}

/// A mode that was there before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Missing {
    /// Its latest appearance.
    pub latest: Sighting,
    /// Its frequency there, Hz.
    pub frequency_hz: f64,
    /// Earlier results that have it.
    pub seen: usize,
}
