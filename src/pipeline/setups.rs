//! The records of several setups to one result.

use super::view::LiveChannels;
use super::{PipelineError, Request, methods, summary};
use crate::ingest::cache::CachedRecord;
use crate::modal::setups::Layout;
use crate::modal::{automatic, merging, quantities};
use crate::model::channel::Channel;
use crate::model::control::Control;
use crate::model::geometry::Geometry;
use crate::model::merging::{Merging, Strategy};
use crate::model::parameters::Drive;
use crate::model::record::Record;
use crate::model::result::AnalysisResult;
use crate::model::run::RunType;
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Identifies the modes of several setups together (PreGER, PoGER), by SSI driven by covariances.
///
/// `setups`: of each its request and its preprocessed record ([`prepare`](super::prepare)); the parameters, the reference
/// channels and the backends are those of the first. A channel of the same name is the same place and direction in every setup.
///
/// # Errors
/// [`PipelineError`], with the number of the setup where it is about one.
pub fn run_setups(
    strategy: Strategy,
    setups: &[(Request, PathBuf)],
    control: &Control,
) -> Result<AnalysisResult, PipelineError> {
    let Some((first, _)) = setups.first() else {
        return Err(PipelineError::permanent("bad_parameter", "merging needs 2 setups or more, not 0"));
    };
    check_setups(strategy, first)?;
    let start = Instant::now();
    let open = |(_, path): &(Request, PathBuf)| CachedRecord::open(path);
    let records: Result<Vec<CachedRecord>, _> = setups.iter().map(open).collect();
    let records = records.map_err(|error| PipelineError::Cache(error.to_string()))?;
    let mut live = Vec::new();
    for (number, record) in (1..).zip(&records) {
        live.push(LiveChannels::of(record, &record.description().quality).map_err(|error| error.of_setup(number))?);
    }
    let setups: Vec<AnalysisResult> = setups
        .iter()
        .zip(&records)
        .zip(&live)
        .map(|(((request, _), record), live)| described(request, record, live))
        .collect();
    let channels: Vec<&[Channel]> = live.iter().map(|live| live.info().channels.as_slice()).collect();
    let layout = Layout::new(&channels, first.reference_channels.as_deref()).map_err(|error| {
        // A channel that is common by its name may be dead in one setup.
        let left_out = merging::warnings_of(&setups).into_iter().filter(|warning| warning.ends_with("left out"));
        let reasons: Vec<String> = std::iter::once(error.to_string()).chain(left_out).collect();
        PipelineError::permanent("no_reference_channel", reasons.join("; "))
    })?;
    methods::check_band("ssi", first.parameters.ssi.band_low_hz, first.parameters.ssi.band_high_hz, live[0].info())?;
    let backend = &first.backends.for_run(records.iter().map(|record| record.description().samples).sum());
    let views: Vec<&dyn Record> = live.iter().map(|live| live as &dyn Record).collect();
    let parameters = &first.parameters.ssi;
    let mut found =
        automatic::identify_setups(&views, &layout, strategy, parameters, &methods::decimate, backend, control)?;

    let names: Vec<String> = layout.channels.iter().map(|channel| channel.name.clone()).collect();
    let mut result = merging::without_modes(&setups, &names, strategy);
    result.run_type = RunType::Ssi;
    result.parameters = json!({
        "preprocessing": first.parameters.preprocessing,
        "merging": { "strategy": strategy },
    });
    let (_, shapes) = quantities::common(&layout.channels);
    result.provenance.warnings = merging::warnings_of(&setups);
    result.provenance.warnings.extend(shapes.warning());
    result.provenance.warnings.extend(result.geometry.as_ref().and_then(Geometry::warning));
    result.data.shapes = Some(shapes);
    result.by_setup = std::mem::take(&mut found.evidence);
    let shares = std::mem::take(&mut found.shares);
    methods::fill(&mut result, parameters, found, &layout.channels);
    if let Some(Merging { setups, .. }) = &mut result.merging {
        setups.iter_mut().zip(shares).for_each(|(setup, share)| setup.share = Some(share));
    }
    let places = layout.setups.iter().map(|rows| rows.places.clone());
    methods::judge(&mut result, &views.iter().copied().zip(places).collect::<Vec<_>>(), control)?;
    result.provenance.seconds.insert(result.method.clone(), start.elapsed().as_secs_f64());
    backend.log_traffic();
    summary::describe_backend(&mut result, backend.told());
    Ok(result)
}

/// What one setup is, without an answer.
fn described(request: &Request, record: &CachedRecord, live: &LiveChannels<'_>) -> AnalysisResult {
    let mut setup = summary::of_record(request, record.description());
    setup.provenance.warnings.extend(live.warnings().iter().cloned());
    summary::name_channels(&mut setup, live, &record.description().quality);
    summary::place_channels(&mut setup, &live.info().channels, &request.wireframe);
    setup
}

/// Whether a run can be over several setups together.
///
/// # Errors
/// [`PipelineError`], with what else can be done.
pub fn check_setups(strategy: Strategy, request: &Request) -> Result<(), PipelineError> {
    let (ssi, fdd) = (&request.parameters.ssi, &request.parameters.fdd);
    let method = match request.run_type {
        RunType::Ssi if ssi.reduce_harmonics => {
            let message = "ssi.reduce_harmonics is for one record, not for several setups: analyse each by itself";
            return Err(PipelineError::permanent("bad_parameter", message));
        }
        RunType::Ssi if ssi.drive() == Drive::Covariance => return Ok(()),
        RunType::Ssi => ssi.drive().method(),
        RunType::Fdd => fdd.method.as_deref().unwrap_or("fdd"),
        RunType::Preprocessing => "preprocessing",
    };
    let message = format!(
        "{} needs method ssi-cov, method is {method}: analyse each setup by itself and join the results with `merge` (PoSER)",
        strategy.name()
    );
    Err(PipelineError::permanent("bad_parameter", message))
}
