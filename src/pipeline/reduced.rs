//! The method that a run asks for, and, where it asks for that too, once more without the harmonics that were found.

use super::view::LiveChannels;
use super::{PipelineError, Request, methods, plscf};
use crate::compute::Backend;
use crate::modal::reduction::Reduced;
use crate::model::control::Control;
use crate::model::record::Record;
use crate::model::result::{AnalysisResult, Harmonic};
use crate::model::run::RunType;

/// Identifies the modes of a record and judges them.
pub(super) fn identify(
    result: &mut AnalysisResult,
    request: &Request,
    live: &LiveChannels<'_>,
    backend: &dyn Backend,
    control: &Control,
) -> Result<(), PipelineError> {
    let (part, is_asked) = match request.run_type {
        RunType::Fdd => ("fdd", request.parameters.fdd.reduce_harmonics),
        _ => ("ssi", request.parameters.ssi.reduce_harmonics),
    };
    let bare = is_asked.then(|| result.clone());
    run(result, request, live, live, backend, control)?;
    if let Some(bare) = bare.filter(|_| !result.harmonics.is_empty()) {
        let mut harmonics = std::mem::take(&mut result.harmonics);
        let record = Reduced::new(live, &harmonics, control)?;
        *result = bare;
        run(result, request, live, &record, backend, control)?;
        for (harmonic, parts) in harmonics.iter_mut().zip(&record.parts) {
            harmonic.rms_parts = Some(parts.clone());
        }
        result.provenance.warnings.push(warning(&harmonics, record.knots_s));
        result.harmonics.append(&mut harmonics);
        result.harmonics.sort_by(|a, b| a.frequency_hz.total_cmp(&b.frequency_hz));
    }
    result.parameters[part]["reduce_harmonics"] = is_asked.into();
    Ok(())
}

/// The method on `record`, which has the channels of `live`.
fn run(
    result: &mut AnalysisResult,
    request: &Request,
    live: &LiveChannels<'_>,
    record: &dyn Record,
    backend: &dyn Backend,
    control: &Control,
) -> Result<(), PipelineError> {
    let (fdd, ssi) = (&request.parameters.fdd, &request.parameters.ssi);
    let references = || live.references(request.reference_channels.as_deref());
    if request.run_type == RunType::Fdd && fdd.method.as_deref() == Some(plscf::METHOD) {
        plscf::plscf(result, fdd, record, references()?.as_deref(), backend, control)?;
    } else if request.run_type == RunType::Fdd {
        methods::fdd(result, fdd, record, backend, control)?;
    } else {
        methods::ssi(result, ssi, record, references()?.as_deref(), backend, control)?;
    }
    let places = (0..record.info().channels.len()).collect();
    methods::judge(result, &[(record, places)], control)
}

/// What was taken off, and what went with it.
fn warning(harmonics: &[Harmonic], knots_s: f64) -> String {
    let one = |harmonic: &Harmonic| {
        let most = harmonic.rms_parts.iter().flatten().copied().fold(0.0, f64::max);
        format!("{:.4} Hz ({:.1} % of a channel's rms at most)", harmonic.frequency_hz, 100.0 * most)
    };
    let all: Vec<String> = harmonics.iter().map(one).collect();
    if knots_s > 0.0 {
        let width = 1.0 / knots_s;
        format!(
            "harmonics were taken off the record before the modes were identified: {}; what lies within about {width:.1e} \
             Hz of them went too",
            all.join(", ")
        )
    } else {
        format!("no segment is long enough to take the harmonics off the record: {}", all.join(", "))
    }
}
