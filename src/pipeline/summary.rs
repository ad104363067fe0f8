//! The parts of a result document that every run fills alike.

use super::Request;
use super::view::LiveChannels;
use crate::compute::select::Told;
use crate::ingest::cache::Description;
use crate::modal::quantities;
use crate::model::channel::Channel;
use crate::model::geometry::{Geometry, Wireframe};
use crate::model::record::Record;
use crate::model::result::{AnalysisResult, ChannelQuality, DataSummary, Provenance, SCHEMA_VERSION};
use jiff::Timestamp;
use serde_json::json;

/// A result without an answer yet: what record, by whom, with which preprocessing.
pub(super) fn of_record(request: &Request, record: &Description) -> AnalysisResult {
    let provenance = Provenance {
        worker_version: env!("CARGO_PKG_VERSION").into(),
        inputs: record.inputs.clone(),
        warnings: record.warnings.clone(),
        ..Provenance::default()
    };
    let last = record.segments.iter().map(|s| s.start + s.samples).max().unwrap_or(0);
    AnalysisResult {
        schema_version: SCHEMA_VERSION,
        analysis_id: request.analysis_id.clone(),
        run_type: request.run_type,
        method: "preprocessing".into(),
        created_at: Timestamp::now(),
        parameters: json!({ "preprocessing": request.parameters.preprocessing }),
        provenance,
        data: DataSummary {
            start: record.start,
            sampling_rate_hz: record.sampling_rate_hz,
            samples: record.samples,
            duration_s: last as f64 / record.sampling_rate_hz,
            channels: record.channels.iter().map(|channel| channel.name.clone()).collect(),
            coverage: record.quality.iter().map(|quality| quality.coverage).collect(),
            segments: record.segments.clone(),
            clocks: record.clocks.clone(),
            shapes: None,
        },
        modes: Vec::new(),
        no_modes_reason: None,
        harmonics: Vec::new(),
        validation: None,
        by_setup: Vec::new(),
        tracking: None,
        merging: None,
        spectrum: None,
        stabilization: None,
        channel_quality: None,
        channel_signals: None,
        geometry: None,
        cache_key: None,
        report: None,
    }
}

/// Says where the channels sit, and what of the structure's geometry cannot be drawn.
pub(super) fn place_channels(result: &mut AnalysisResult, channels: &[Channel], wireframe: &Wireframe) {
    result.geometry = Geometry::of(channels, wireframe);
    result.provenance.warnings.extend(result.geometry.as_ref().and_then(Geometry::warning));
}

/// Names where it was computed.
pub(super) fn describe_backend(result: &mut AnalysisResult, told: Told) {
    let provenance = &mut result.provenance;
    provenance.backend = told.backend().into();
    if told.is_failed {
        let reason = told.fallback_reason.as_deref().unwrap_or_default();
        provenance.warnings.push(format!("the GPU failed in mid-run ({reason}), the run went on on the CPU"));
    }
    (provenance.adapter, provenance.driver) = (told.adapter, told.driver);
    provenance.fallback_reason = told.fallback_reason;
}

/// Names the channels that the method saw, in the order of every shape, and what its components are.
pub(super) fn describe_channels(result: &mut AnalysisResult, live: &LiveChannels<'_>, quality: &[ChannelQuality]) {
    name_channels(result, live, quality);
    let (_, shapes) = quantities::common(&live.info().channels);
    result.provenance.warnings.extend(shapes.warning());
    result.data.shapes = Some(shapes);
}

/// Names the channels that the method saw.
pub(super) fn name_channels(result: &mut AnalysisResult, live: &LiveChannels<'_>, quality: &[ChannelQuality]) {
    result.data.channels = live.info().channels.iter().map(|channel| channel.name.clone()).collect();
    result.data.coverage = live.rows().iter().map(|&row| quality[row].coverage).collect();
}
