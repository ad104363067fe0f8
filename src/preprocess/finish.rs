//! The last pass over the raw record: every channel through its steps, and all of them into the cache file.
//!
//! Where the filters hold more than there may be in memory, the channels go through them in turns, a pass over the record
//! each; what is finished waits on disk for the others.

use super::decimate::decimated_segment;
use super::offsets::Offsets;
use super::quality;
use super::statistics::Moments;
use super::steps::{Lane, Steps, calibrate, integrated};
use super::{PrepareError, PreprocessError, STAGE, Survey};
use crate::ingest::cache::{CacheError, CacheWriter, CachedRecord, Description, SCHEMA_VERSION};
use crate::ingest::{IngestError, RawRecord};
use crate::model::control::Control;
use crate::model::parameters::PreprocessingParameters;
use rayon::prelude::*;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::ops::Range;
use std::path::Path;

/// One channel on its way.
struct Output {
    lane: Option<Lane>,
    finished: Vec<f64>,
    samples: Vec<f32>,
    moments: Moments,
    spikes: u64,
}

impl Output {
    fn new() -> Output {
        Output { lane: None, finished: vec![], samples: vec![], moments: Moments::new(), spikes: 0 }
    }

    /// Counts and rounds what is finished.
    fn settle(&mut self) {
        self.moments.push(&self.finished);
        self.samples.clear();
        self.samples.extend(self.finished.drain(..).map(|x| x as f32));
    }
}

/// A stretch of the raw record: the segment that it belongs to, and whether that begins with it.
#[derive(Debug, Clone, Copy)]
struct Place {
    segment: usize,
    first: bool,
}

/// One pass over the record.
struct Pass<'a> {
    raw: &'a RawRecord,
    parameters: &'a PreprocessingParameters,
    steps: &'a Steps,
    survey: &'a Survey,
    control: &'a Control,
}

impl Pass<'_> {
    /// Brings some channels through their steps; `take` is given what each stretch finished of each.
    fn run(
        &self,
        channels: Range<usize>,
        watch: &dyn Fn(f64),
        mut take: impl FnMut(Place, &[&[f32]]) -> Result<(), PrepareError>,
    ) -> Result<Vec<Output>, PrepareError> {
        let Pass { raw, parameters, steps, survey, control } = self;
        let mut outputs: Vec<Output> = channels.clone().map(|_| Output::new()).collect();
        let mut stretches = raw.stretches(parameters.max_gap_samples, control);
        let mut current = 0;
        stretches.each(|stretch| {
            let Some(segment) = survey.segments.get(current) else { return Ok::<bool, PrepareError>(false) };
            let end = stretch.start + stretch.samples() as u64;
            if end <= segment.start {
                return Ok(true);
            }
            let (first, last) = (stretch.start == segment.start, end == segment.start + segment.samples);
            let own = (&mut stretch.channels[channels.clone()], &raw.channels()[channels.clone()]);
            let lanes = outputs.par_iter_mut().zip(own.0).zip(own.1).zip(&survey.fits[current][channels.clone()]);
            lanes.for_each(|(((output, samples), channel), fit)| {
                if first {
                    output.lane = Some(steps.lane(fit.trends(parameters.detrend), segment.start));
                }
                calibrate(channel, samples);
                if let Some(lane) = &mut output.lane {
                    lane.push(samples, &mut output.finished);
                }
                if last && let Some(lane) = output.lane.take() {
                    output.spikes += lane.finish(&mut output.finished);
                }
                output.settle();
            });
            let finished: Vec<&[f32]> = outputs.iter().map(|o| o.samples.as_slice()).collect();
            take(Place { segment: current, first }, &finished)?;
            current += usize::from(last);
            watch(end as f64 / raw.samples() as f64);
            Ok(true)
        })?;
        if current < survey.segments.len() {
            let (file, reason) = (raw.inputs()[0].key.clone(), "it changed while it was read".into());
            return Err(IngestError::Unreadable { file, reason }.into());
        }
        Ok(outputs)
    }
}

/// Where finished samples go.
struct Sink {
    writer: CacheWriter,
    offsets: Option<Offsets>,
    /// Samples of the segment so far.
    written: u64,
}

impl Sink {
    fn push(&mut self, place: Place, finished: &[&[f32]]) -> Result<(), PrepareError> {
        self.writer.push(finished)?;
        if let Some(offsets) = &mut self.offsets {
            self.written = if place.first { 0 } else { self.written };
            offsets.push(place.segment, self.written, finished);
            self.written += finished[0].len() as u64;
        }
        Ok(())
    }
}

/// Writes the finished record.
pub(super) fn write(
    raw: &RawRecord,
    parameters: &PreprocessingParameters,
    steps: &Steps,
    survey: Survey,
    out: &Path,
    control: &Control,
    watch: &dyn Fn(f64),
) -> Result<CachedRecord, PrepareError> {
    let (writer, offsets) = (CacheWriter::create(out, raw.channels())?, survey.offsets(raw, parameters, steps));
    let mut sink = Sink { writer, offsets, written: 0 };
    let (pass, channels) = (Pass { raw, parameters, steps, survey: &survey, control }, raw.channels().len());
    let at_a_time = survey.at_a_time(channels, steps, control)?;
    let outputs = if at_a_time >= channels {
        pass.run(0..channels, watch, |place, finished| sink.push(place, finished))?
    } else {
        in_turns(&pass, (channels, at_a_time), out, watch, &mut sink)?
    };
    let factor = steps.factor();
    let segments = survey.segments.iter().map(|s| decimated_segment(*s, factor)).filter(|s| s.samples > 0);
    let moments: Vec<Moments> = outputs.iter().map(|o| o.moments).collect();
    // A NaN or an infinity in an f64 sum has no range either.
    let storable = |m: &Moments| m.rms().is_finite() && m.max.max(-m.min) <= f64::from(f32::MAX);
    if let Some((channel, _)) = raw.channels().iter().zip(&moments).find(|(_, m)| !storable(m)) {
        return Err(PreprocessError::Range(channel.name.clone()).into());
    }
    let spikes: Vec<u64> = outputs.iter().map(|o| o.spikes).collect();
    let quality = survey.quality(raw, &moments, parameters.outliers.as_ref().map(|_| spikes.as_slice()));
    let mut warnings = survey.warnings(raw, steps, parameters.max_gap_samples);
    warnings.extend(quality.iter().filter_map(quality::warning));
    let mut clocks = raw.clocks().to_vec();
    if let Some(offsets) = sink.offsets {
        let row = |name: &String| quality.iter().position(|q| q.channel == *name && q.verdict != "dead");
        let rows: Vec<Vec<usize>> =
            clocks.iter().map(|clock| clock.channels.iter().filter_map(row).collect()).collect();
        warnings.extend(offsets.finish(&mut clocks, &rows));
    }
    let integrals = parameters.integration.as_ref().map_or(0, |i| i.times as i32) - parameters.differentiation as i32;
    let description = Description {
        schema_version: SCHEMA_VERSION,
        sampling_rate_hz: raw.sampling_rate_hz() / factor as f64,
        start: raw.start(),
        samples: raw.samples().div_ceil(factor as u64),
        segments: segments.collect(),
        channels: raw.channels().iter().map(|channel| integrated(channel, integrals)).collect(),
        quality,
        warnings,
        inputs: raw.inputs().to_vec(),
        clocks,
    };
    let description = sink.writer.finish(&description)?;
    control.progress(STAGE, 1.0);
    Ok(CachedRecord::written(out, description))
}

/// The channels in turns, so many at a time; what each turn finished lies on disk, stretch after stretch and in each channel
/// after channel, until all go to the sink together, in the order of time.
fn in_turns(
    pass: &Pass<'_>,
    (channels, at_a_time): (usize, usize),
    out: &Path,
    watch: &dyn Fn(f64),
    sink: &mut Sink,
) -> Result<Vec<Output>, PrepareError> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |source| PrepareError::from(CacheError::Io { path: folder.display().to_string(), source });
    let turns = channels.div_ceil(at_a_time);
    let (mut outputs, mut waiting, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..turns {
        let own = turn * at_a_time..channels.min((turn + 1) * at_a_time);
        let mut writer = BufWriter::new(tempfile::tempfile_in(folder).map_err(failed)?);
        places.clear();
        let part = |part: f64| watch((turn as f64 + part) / turns as f64);
        outputs.extend(pass.run(own.clone(), &part, |place, finished| {
            places.push((place, finished[0].len()));
            let mut all = finished.iter().map(|samples| writer.write_all(bytemuck::cast_slice(samples)));
            all.try_for_each(|written| written).map_err(failed)
        })?);
        let mut file = writer.into_inner().map_err(|error| failed(error.into_error()))?;
        file.rewind().map_err(failed)?;
        waiting.push((BufReader::new(file), own));
    }
    let mut finished = vec![Vec::new(); channels];
    for (place, samples) in places {
        pass.control.checkpoint()?;
        for (file, own) in &mut waiting {
            for row in &mut finished[own.clone()] {
                row.resize(samples, 0.0_f32);
                file.read_exact(bytemuck::cast_slice_mut(row)).map_err(failed)?;
            }
        }
        sink.push(place, &finished.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
    }
    Ok(outputs)
}
