//! Broken samples through the whole way: a result with named warnings where there can be one, else one clear error.
#![expect(clippy::unwrap_used, reason = "allow-unwrap-in-tests does not see the helpers of tests")]

use crate::raw_files::{Folder, noise, samples};
use oma_worker::model::channel::Channel;
use oma_worker::model::control::Control;
use oma_worker::model::parameters::{Outliers, PreprocessingParameters};
use oma_worker::model::record::{RawFile, Record};
use oma_worker::model::result::AnalysisResult;
use oma_worker::model::run::RunType;
use oma_worker::pipeline::{self, PipelineError, Request};
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use std::fmt::Write;

/// Two storeys at 32 Hz for ten minutes, and their frequencies.
fn frame() -> (Vec<Vec<f64>>, Vec<f64>) {
    let chain = ShearChain { dofs: 2, top_frequency_hz: 8.0, damping: Damping::Uniform(0.01) };
    let measurement = Measurement { dofs: vec![0, 1], sampling_rate_hz: 32.0, samples: 19_200, noise: 0.02, seed: 5 };
    let channels = chain.record(&measurement).into_iter().map(|c| c.into_iter().map(f64::from).collect()).collect();
    (channels, chain.modes().iter().map(|mode| mode.frequency_hz).collect())
}

/// `time,a,b,…`, where a cell is written as it is given.
fn table(folder: &Folder, rows: usize, columns: &[&dyn Fn(usize) -> String]) -> RawFile {
    let mut text = String::from("time");
    (0..columns.len()).for_each(|c| write!(text, ",{}", char::from(b'a' + c as u8)).unwrap());
    for k in 0..rows {
        write!(text, "\n{}", k as f64 / 32.0).unwrap();
        columns.iter().for_each(|cell| write!(text, ",{}", cell(k)).unwrap());
    }
    folder.file("r.csv", text)
}

fn run(
    folder: &Folder,
    file: RawFile,
    channels: Vec<Channel>,
    run_type: RunType,
) -> Result<AnalysisResult, PipelineError> {
    let request = Request { channels, ..Request::new(run_type, vec![file]) };
    let work = tempfile::tempdir_in(folder.path()).unwrap();
    pipeline::run(&request, None, work.path(), &Control::none()).map(|outcome| outcome.result)
}

/// Whether the frame's modes are in the result: by their standard deviation over ten minutes, 0.5 %.
fn has_modes(result: &AnalysisResult, frequencies: &[f64]) {
    for frequency in frequencies {
        let near = result.modes.iter().any(|mode| (mode.frequency_hz - frequency).abs() <= 0.005 * frequency);
        let found: Vec<f64> = result.modes.iter().map(|mode| mode.frequency_hz).collect();
        assert!(near, "{frequency}: {found:?} {:?}", result.no_modes_reason);
    }
}

fn warned(result: &AnalysisResult, part: &str) {
    let warnings = &result.provenance.warnings;
    assert!(warnings.iter().any(|warning| warning.contains(part)), "{part}: {warnings:?}");
}

#[test]
fn one_missing_value_a_run_of_them_and_words_leave_the_modes() {
    let (frame, frequencies) = frame();
    let folder = Folder::new();
    let first = |k: usize| match k {
        700 => "NaN".into(),
        5000..5200 => String::new(),
        9000 => "inf".into(),
        9500 => "#N/A".into(),
        _ => frame[0][k].to_string(),
    };
    let file = table(&folder, 19_200, &[&first, &|k| frame[1][k].to_string()]);
    let result = run(&folder, file, vec![], RunType::Ssi).unwrap();
    has_modes(&result, &frequencies);
    warned(&result, "channel a: 3 missing samples in gaps of at most 3 closed by lines");
    warned(&result, "1 gaps of more than 3 samples split the record");
    assert_eq!(result.data.segments.len(), 2);
}

#[test]
fn a_missing_value_among_a_million_costs_nothing_else() {
    let folder = Folder::new();
    let values = noise(9, 1_000_000);
    let file = table(&folder, 1_000_000, &[&|k| if k == 654_321 { "nan".into() } else { format!("{:.6}", values[k]) }]);
    let record = folder.ingest(&[file], &[]).unwrap();
    let found = &samples(&record)[0][0];
    let wrong = (0..1_000_000).filter(|&k| (f64::from(found[k]) - values[k]).abs() > 1e-6).count();
    assert_eq!((found.len(), wrong), (1_000_000, 1));
}

#[test]
fn a_constant_and_a_doubled_channel_are_left_out_by_name() {
    let (frame, frequencies) = frame();
    let folder = Folder::new();
    let columns: [&dyn Fn(usize) -> String; 4] =
        [&|k| frame[0][k].to_string(), &|_| "0.125".into(), &|k| frame[1][k].to_string(), &|k| {
            (1.0 - 2.0 * frame[0][k]).to_string()
        }];
    let file = table(&folder, 19_200, &columns);
    for run_type in [RunType::Fdd, RunType::Ssi] {
        let result = run(&folder, file.clone(), vec![], run_type).unwrap();
        has_modes(&result, if run_type == RunType::Ssi { &frequencies } else { &[] });
        assert_eq!(result.data.channels, ["a", "c"]);
        warned(&result, "channel \"b\" has no variance and is left out");
        warned(&result, "channel \"d\" repeats channel \"a\" and is left out");
    }
}

#[test]
fn one_channel_alone_has_a_result() {
    let (frame, frequencies) = frame();
    let folder = Folder::new();
    let file = table(&folder, 19_200, &[&|k| frame[1][k].to_string()]);
    let result = run(&folder, file.clone(), vec![], RunType::Ssi).unwrap();
    has_modes(&result, &frequencies);
    run(&folder, file, vec![], RunType::Fdd).unwrap();
}

#[test]
fn counts_of_a_converter_are_brought_to_units_and_a_step_is_told() {
    let (frame, frequencies) = frame();
    let largest = frame.iter().flatten().fold(0.0, |m: f64, v| m.max(v.abs()));
    let folder = Folder::new();
    // Fifteen bits and a sign about an offset; the second channel is knocked to another one in the middle.
    let count = |value: f64, offset: f64| ((value / largest * 32_000.0).round() + offset).to_string();
    let knock = |k: usize| if k < 9600 { 0.0 } else { 300_000.0 };
    let file = table(&folder, 19_200, &[&|k| count(frame[0][k], 512.0), &|k| count(frame[1][k], knock(k))]);
    let sensitivity = 32_000.0 / largest;
    let channel =
        |name: &str, offset: f64| Channel { sensitivity, offset, unit: "m/s2".into(), ..Channel::named(name) };
    let channels = vec![channel("a", 512.0), channel("b", 0.0)];
    let result = run(&folder, file.clone(), channels.clone(), RunType::Preprocessing).unwrap();
    let quality = result.channel_quality.as_ref().unwrap();
    let rms = (frame[0].iter().map(|v| v * v).sum::<f64>() / 19_200.0).sqrt();
    assert!((quality[0].rms / rms - 1.0).abs() <= 1e-2, "{} {rms}", quality[0].rms);
    assert_eq!((quality[0].verdict.as_str(), quality[1].verdict.as_str()), ("good", "drifting"));
    warned(&result, "channel b: drifts by");
    // The other channel still has the modes.
    let alone = vec![channels[0].clone(), Channel { active: false, ..channels[1].clone() }];
    has_modes(&run(&folder, file, alone, RunType::Ssi).unwrap(), &frequencies);
}

#[test]
fn values_beyond_f32_are_refused_and_those_below_it_are_no_signal() {
    let (frame, _) = frame();
    let folder = Folder::new();
    for huge in ["1e300", "-1e39", "1.7976931348623157e308"] {
        let file = table(&folder, 19_200, &[&|k| if k == 77 { huge.into() } else { frame[0][k].to_string() }]);
        let error = run(&folder, file, vec![], RunType::Ssi).unwrap_err();
        assert!(error.to_string().contains("channel \"a\" has values beyond the range of f32"), "{error}");
    }
    let denormal = |k: usize| format!("{:e}", frame[1][k].abs() * 1e-310);
    let file = table(&folder, 19_200, &[&|k| frame[0][k].to_string(), &denormal]);
    let result = run(&folder, file, vec![], RunType::Ssi).unwrap();
    warned(&result, "channel \"b\" has no variance and is left out");
}

#[test]
fn a_channel_without_a_value_and_a_file_of_one_line_are_errors() {
    let folder = Folder::new();
    let file = table(&folder, 1000, &[&|k| (k as f64).sin().to_string(), &|_| "-".into()]);
    let channels = vec![Channel::named("a"), Channel::named("b")];
    let error = run(&folder, file, channels, RunType::Ssi).unwrap_err();
    assert!(error.to_string().contains("channel \"b\": every value in the period is empty or no number"), "{error}");
    for (content, part) in [("time,a\n0,1\n", "bad_sampling_rate"), ("time,a", "empty_file"), ("0.5", "")] {
        match run(&folder, folder.file("one.csv", content), vec![], RunType::Ssi) {
            Err(PipelineError::Permanent { code, message }) => assert!(code.contains(part), "{code}: {message}"),
            // One row with the second that is assumed.
            Ok(result) => panic!("{content}: {:?}", result.data),
            Err(other) => panic!("{content}: {other}"),
        }
    }
}

#[test]
fn a_truncated_archive_and_a_pipe_are_errors() {
    let folder = Folder::new();
    let text: String = (0..10_000).map(|k| format!("{},{}\n", k as f64 / 32.0, (k * k) % 1009)).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, text.as_bytes()).unwrap();
    let packed = gzip.finish().unwrap();
    let error = folder.ingest(&[folder.file("r.csv.gz", &packed[..packed.len() / 2])], &[]).unwrap_err();
    assert_eq!((error.code(), error.is_permanent()), ("unreadable_file", true), "{error}");
    let packed = zstd::encode_all(text.as_bytes(), 3).unwrap();
    let error = folder.ingest(&[folder.file("r.csv.zst", &packed[..packed.len() / 2])], &[]).unwrap_err();
    assert_eq!((error.code(), error.is_permanent()), ("unreadable_file", true), "{error}");
    #[cfg(unix)]
    {
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let error = folder.ingest(&[RawFile { path, ..folder.file("r.csv", "") }], &[]).unwrap_err();
        assert!(error.to_string().contains("it is no regular file"), "{error}");
    }
}

#[test]
fn spikes_are_found_only_where_they_are_looked_for() {
    let (frame, _) = frame();
    let folder = Folder::new();
    let rms = (frame[0].iter().map(|v| v * v).sum::<f64>() / 19_200.0).sqrt();
    let spiked = |k: usize| if k % 500 == 3 { frame[0][k] + 40.0 * rms } else { frame[0][k] };
    let file = table(&folder, 19_200, &[&|k| spiked(k).to_string(), &|k| frame[1][k].to_string()]);
    let parameters = PreprocessingParameters { outliers: Some(Outliers::default()), ..Default::default() };
    let record = folder.prepare_with(std::slice::from_ref(&file), &[], &parameters).unwrap();
    let quality = &record.description().quality;
    assert_eq!((quality[0].verdict.as_str(), quality[1].verdict.as_str()), ("spiky", "good"));
    // 39 rows of the column, and what chance adds.
    let spikes = quality[0].spike_fraction.unwrap() * 19_200.0;
    assert!((38.5..60.0).contains(&spikes), "{spikes}");
    assert!(record.info().channels.len() == 2 && quality[0].max < 20.0 * rms);
    let plain = folder.prepare_with(std::slice::from_ref(&file), &[], &Default::default()).unwrap();
    assert_eq!(plain.description().quality[0].spike_fraction, None);
}

#[test]
fn a_channel_noisier_than_its_peers_and_a_sparse_one_are_told() {
    let folder = Folder::new();
    let (a, b) = (noise(1, 8000), noise(2, 8000));
    let slow = |k: usize| (0.02 * k as f64).sin();
    let quiet = |seed: usize| {
        move |k: usize| (slow(k + 10 * seed) + 1e-3 * ((k * 7919 * (seed + 1)) % 997) as f64 / 997.0).to_string()
    };
    let columns: [&dyn Fn(usize) -> String; 5] =
        [&quiet(0), &quiet(1), &quiet(2), &|k| (slow(k) + 0.1 * a[k]).to_string(), &|k| {
            if b[k] > 0.35 { String::new() } else { quiet(3)(k) }
        }];
    let file = table(&folder, 8000, &columns);
    let result = run(&folder, file, vec![], RunType::Preprocessing).unwrap();
    let quality = result.channel_quality.as_ref().unwrap();
    let verdicts: Vec<&str> = quality.iter().map(|q| q.verdict.as_str()).collect();
    assert_eq!(verdicts, ["good", "good", "good", "noisy", "sparse"]);
    warned(&result, "channel d: has");
    warned(&result, "channel e: has values for 8");
}
