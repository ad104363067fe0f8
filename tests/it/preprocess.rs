//! The ordered steps from raw files to a record, and decimated views of records.
#![expect(clippy::unwrap_used, reason = "allow-unwrap-in-tests does not see the helpers of tests")]

use crate::raw_files::{Folder, noise, samples, untouched};
use oma_worker::model::channel::Channel;
use oma_worker::model::parameters::{Detrend, Filter, FilterKind, Integration, Outliers, PreprocessingParameters};
use oma_worker::model::record::RawFile;
use oma_worker::model::record::{MemoryRecord, Record, Segment};
use oma_worker::preprocess::{DecimateError, decimate};
use std::f64::consts::PI;
use std::fmt::Write;

/// A file of one column `a` at 100 Hz, empty where `value` gives none.
fn column(folder: &Folder, rows: usize, value: impl Fn(usize) -> Option<f64>) -> RawFile {
    let mut text = String::from("time,a\n");
    for k in 0..rows {
        writeln!(text, "{},{}", k as f64 / 100.0, value(k).map_or(String::new(), |v| v.to_string())).unwrap();
    }
    folder.file("r.csv", text)
}

fn lowpass(high_hz: f64) -> Option<Filter> {
    Some(Filter { kind: FilterKind::Lowpass, low_hz: None, high_hz: Some(high_hz), order: 8 })
}

#[test]
fn the_raw_value_is_calibrated_first_and_a_small_signal_on_a_large_offset_survives() {
    let folder = Folder::new();
    let signal = |k: usize| (0.37 * k as f64).sin();
    // 2^-10 V per unit on an offset of 1e6: an f32 before detrending would lose 6e-2 of it.
    let file = column(&folder, 5000, |k| Some(1e6 + signal(k) / 1024.0));
    let channel = Channel { sensitivity: 1.0 / 1024.0, offset: 1e6, ..Channel::named("a") };
    let record = folder.ingest(std::slice::from_ref(&file), std::slice::from_ref(&channel)).unwrap();
    let found = samples(&record);
    // eps·1e6·1024/2 = 1.2e-7 of rounding in the raw value, half an f32 step of 1 = 6e-8.
    assert!((0..5000).all(|k| (f64::from(found[0][0][k]) - signal(k)).abs() <= 2e-7));
    let plain = folder.prepare_with(&[file], &[Channel::named("a")], &Default::default()).unwrap();
    let rms = plain.description().quality[0].rms * 1024.0;
    assert!((rms - 0.5f64.sqrt()).abs() <= 2e-3, "{rms}");
    assert!((plain.description().quality[0].mean - 1e6).abs() <= 1e-5);
}

#[test]
fn the_trend_is_taken_off_each_segment_by_itself() {
    let folder = Folder::new();
    let line = |k: usize| if k < 1000 { 5.0 + 0.1 * k as f64 } else { -70.0 - 0.3 * k as f64 };
    let file = column(&folder, 2000, |k| (!(990..1000).contains(&k)).then(|| line(k)));
    let record = folder.prepare_with(std::slice::from_ref(&file), &[], &Default::default()).unwrap();
    let found = samples(&record);
    assert_eq!(found.len(), 2);
    // The text of a number carries eps·670/2 = 7e-14, the sums a few times that.
    assert!(found.iter().all(|segment| segment[0].iter().all(|v| v.abs() <= 1e-11)));
    let constant = PreprocessingParameters { detrend: Detrend::Constant, ..Default::default() };
    let found = samples(&folder.prepare_with(&[file], &[], &constant).unwrap());
    let (first, mean) = (&found[0][0], 5.0 + 0.1 * 989.0 / 2.0);
    assert!((0..990).all(|k| (f64::from(first[k]) - (line(k) - mean)).abs() <= 1e-5));
}

#[test]
fn a_segment_is_filtered_as_if_the_others_were_not_there() {
    let values = noise(5, 6000);
    let parameters = PreprocessingParameters { filter: lowpass(10.0), decimation_factor: 2, ..untouched() };
    let both = Folder::new();
    let gap = 3000..3010;
    let file = column(&both, 6000, |k| (!gap.contains(&k)).then(|| values[k]));
    let both = samples(&both.prepare_with(&[file], &[], &parameters).unwrap());
    let alone = Folder::new();
    let file = column(&alone, 2990, |k| Some(values[3010 + k]));
    let alone = samples(&alone.prepare_with(&[file], &[], &parameters).unwrap());
    assert!(both[1] == alone[0]);
    assert_eq!(both[0][0].len(), 1500);
}

fn highpass(low_hz: f64) -> Option<Filter> {
    Some(Filter { kind: FilterKind::Highpass, low_hz: Some(low_hz), high_hz: None, order: 4 })
}

/// Two sensors of two channels each, with a gap and a spike: a MiB holds what waits in the filters of three channels.
#[test]
fn channels_in_turns_give_the_record_of_all_at_once_to_the_last_byte() {
    let folder = Folder::new();
    let file = |id: &str, seed: u64| {
        let (a, b) = (noise(seed, 60_000), noise(seed + 1, 60_000));
        let mut text = String::from("time,a,b\n");
        for k in (0..60_000).filter(|k| !(7_000..7_300).contains(k)) {
            let spike = if k == 20_000 { 100.0 } else { 0.0 };
            writeln!(text, "{:.2},{},{}", k as f64 / 50.0, a[k] + spike, b[k]).unwrap();
        }
        RawFile { sensor_id: Some(id.into()), ..folder.file(&format!("{id}.csv"), text) }
    };
    let files = [file("s1", 1), file("s2", 3)];
    let channel = |id: &str, axis: &str| Channel {
        sensor_id: id.into(),
        axis: axis.into(),
        ..Channel::named(&format!("{id}-{axis}"))
    };
    let channels = [channel("s1", "a"), channel("s1", "b"), channel("s2", "a"), channel("s2", "b")];
    let parameters = PreprocessingParameters {
        filter: highpass(0.05),
        outliers: Some(Outliers::default()),
        decimation_factor: 2,
        estimate_clock_offsets: true,
        ..Default::default()
    };
    let (whole, told) = folder.prepare_within(&files, &channels, &parameters, None).unwrap();
    let bytes = std::fs::read(folder.out()).unwrap();
    assert_eq!(whole.info().segments.len(), 2);
    assert!(whole.description().quality[0].spike_fraction > Some(0.0));
    let (turns, told_of_turns) = folder.prepare_within(&files, &channels, &parameters, Some(1)).unwrap();
    assert!(told_of_turns > told, "one pass more than {told} steps: {told_of_turns}");
    assert_eq!(whole.description(), turns.description());
    assert!(std::fs::read(folder.out()).unwrap() == bytes);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn a_filter_that_does_not_fit_even_for_one_channel_is_refused_with_the_numbers() {
    let folder = Folder::new();
    let file = column(&folder, 150_000, |k| Some((k % 7) as f64));
    let parameters = PreprocessingParameters { filter: highpass(1e-4), ..Default::default() };
    assert!(folder.prepare_within(std::slice::from_ref(&file), &[], &parameters, Some(2)).is_ok());
    let error = folder.prepare_within(&[file], &[], &parameters, Some(1)).map(drop).unwrap_err();
    assert_eq!(error.code(), "too_large");
    assert_eq!(
        error.to_string(),
        "filters that hold 150000 samples of a channel need 2 MiB, OMA_MEMORY_LIMIT_MIB is 1: raise filter.low_hz or lower \
         filter.order"
    );
}

#[test]
fn segments_too_short_for_the_filter_are_left_out_with_a_warning() {
    let folder = Folder::new();
    let file = column(&folder, 1000, |k| (!(10..20).contains(&k)).then(|| (k as f64).sin()));
    let parameters = PreprocessingParameters { filter: lowpass(10.0), ..Default::default() };
    let record = folder.prepare_with(&[file], &[], &parameters).unwrap();
    assert_eq!(record.info().segments, [Segment { start: 20, samples: 980 }]);
    let warnings = record.description().warnings.join("\n");
    assert!(warnings.contains("1 segments with 10 samples were left out: the filter needs at least 28"), "{warnings}");
    let file = column(&folder, 27, |k| Some((k as f64).sin()));
    let error = folder.prepare_with(&[file], &[], &parameters).unwrap_err();
    assert_eq!(error.code(), "data_too_short");
    assert!(error.to_string().contains("27 samples") && error.to_string().contains("at least 28"), "{error}");
}

#[test]
fn a_filter_at_or_beyond_nyquist_is_refused_with_the_numbers() {
    let folder = Folder::new();
    let file = column(&folder, 1000, |k| Some((k as f64).sin()));
    for high_hz in [50.0, 80.0] {
        let parameters = PreprocessingParameters { filter: lowpass(high_hz), ..Default::default() };
        let error = folder.prepare_with(std::slice::from_ref(&file), &[], &parameters).unwrap_err();
        let sentence =
            format!("filter.high_hz is {high_hz} Hz, must be above 0 and below 50 Hz, half the sampling rate");
        assert_eq!((error.to_string(), error.code()), (sentence, "bad_parameter"));
    }
}

#[test]
fn an_integral_is_taken_in_frequency_and_the_channel_says_so() {
    let folder = Folder::new();
    let omega = 2.0 * PI * 2.0;
    let file = column(&folder, 20_000, |k| Some((omega * k as f64 / 100.0).sin()));
    let channel = Channel { unit: "m/s2".into(), ..Channel::named("a") };
    let integration = Some(Integration { times: 2, low_hz: 1.0 });
    let parameters = PreprocessingParameters { integration, decimation_factor: 2, ..untouched() };
    let record = folder.prepare_with(&[file], &[channel], &parameters).unwrap();
    let own = &record.info().channels[0];
    assert_eq!((own.quantity.as_str(), own.unit.as_str()), ("displacement", "m"));
    let found = &samples(&record)[0][0];
    assert_eq!(found.len(), 10_000);
    for (k, value) in found.iter().enumerate().take(8000).skip(2000) {
        let truth = -(omega * k as f64 / 50.0).sin() / (omega * omega);
        // 1e-4 of the kernel, and 2 · 0.05 dB of ripple of the decimation.
        assert!((f64::from(*value) - truth).abs() <= 0.012 / (omega * omega), "{k}: {value} {truth}");
    }
}

#[test]
fn a_segment_shorter_than_the_kernel_of_an_integral_is_told() {
    let folder = Folder::new();
    let file = column(&folder, 1000, |k| Some((0.3 * k as f64).sin()));
    let integration = Some(Integration { times: 1, low_hz: 0.5 });
    let parameters = PreprocessingParameters { integration, ..untouched() };
    let error = folder.prepare_with(&[file], &[], &parameters).unwrap_err();
    assert_eq!(error.code(), "data_too_short");
    assert!(error.to_string().contains("1000 samples") && error.to_string().contains("at least 3201"), "{error}");
}

#[test]
fn a_dead_channel_stays_and_is_called_dead() {
    let folder = Folder::new();
    let mut text = String::from("time,a,b\n");
    (0..1000).for_each(|k| writeln!(text, "{},{},0.1", k as f64 / 10.0, (k as f64 * 0.7).sin()).unwrap());
    let record = folder.prepare_with(&[folder.file("r.csv", text)], &[], &Default::default()).unwrap();
    let quality = &record.description().quality;
    let verdicts: Vec<&str> = quality.iter().map(|q| q.verdict.as_str()).collect();
    assert_eq!(verdicts, ["good", "dead"]);
    // A sine has a kurtosis of 3/2.
    assert!((quality[0].kurtosis.unwrap() - 1.5).abs() <= 0.01);
    assert_eq!((quality[1].kurtosis, quality[1].rms, quality[1].mean), (None, 0.0, 0.1));
    assert!(samples(&record)[0][1].iter().all(|v| *v == 0.0));
}

#[test]
fn a_calibration_that_cannot_be_undone_is_refused() {
    let folder = Folder::new();
    let file = column(&folder, 100, |k| Some(k as f64));
    for (sensitivity, code) in [(0.0, "bad_calibration"), (f64::NAN, "bad_calibration"), (1e-300, "bad_calibration")] {
        let channel = Channel { sensitivity, ..Channel::named("a") };
        let error = folder.ingest(std::slice::from_ref(&file), &[channel]).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
}

#[test]
fn decimation_keeps_what_is_below_the_new_nyquist_and_stops_what_would_alias() {
    let sine = |hz: f64| (0..60_000).map(|k| (2.0 * PI * hz * k as f64 / 100.0).sin() as f32).collect::<Vec<_>>();
    let record = MemoryRecord::new(100.0, vec![sine(3.0), sine(13.0)]);
    let decimated = decimate(&record, 5).unwrap();
    assert_eq!(decimated.info().sampling_rate_hz, 20.0);
    let found = samples(&decimated);
    assert_eq!(found[0][0].len(), 12_000);
    let (passed, stopped) = (&found[0][0][500..11_500], &found[0][1][500..11_500]);
    for (k, value) in passed.iter().enumerate() {
        let truth = (2.0 * PI * 3.0 * (k + 500) as f64 / 20.0).sin();
        // Twice 0.05 dB of ripple is 1.2 %.
        assert!((f64::from(*value) - truth).abs() <= 0.012);
    }
    // 13 Hz is far in the stop band of an order of 8: below −60 dB in two passes.
    assert!(stopped.iter().all(|value| value.abs() <= 1e-3));
}

#[test]
fn decimated_segments_stay_on_one_axis() {
    let values: Vec<f32> = noise(1, 5000).into_iter().map(|v| v as f32).collect();
    let segments = [(0, 1001), (1003, 998), (2001, 20), (2501, 2499)];
    let segments = segments.map(|(start, samples)| Segment { start, samples });
    let record = MemoryRecord::with_segments(100.0, vec![values], segments.to_vec());
    let decimated = decimate(&record, 10).unwrap();
    let expected = [(0, 101), (101, 100), (251, 249)].map(|(start, samples)| Segment { start, samples });
    assert_eq!(decimated.info().segments, expected);
    assert_eq!((decimated.info().samples, decimated.dropped_segments()), (500, 1));
    samples(&decimated);
}

#[test]
fn a_decimated_view_equals_decimation_in_the_preprocessing() {
    let folder = Folder::new();
    let values = noise(11, 50_000);
    let file = column(&folder, 50_000, |k| (!(20_003..20_020).contains(&k)).then(|| f64::from(values[k] as f32)));
    let whole = folder.ingest(std::slice::from_ref(&file), &[]).unwrap();
    let view = decimate(&whole, 4).unwrap();
    let (expected_info, expected) = (view.info().clone(), samples(&view));
    let direct = PreprocessingParameters { decimation_factor: 4, ..untouched() };
    let direct = folder.prepare_with(&[file], &[], &direct).unwrap();
    assert_eq!(*direct.info(), expected_info);
    assert!(samples(&direct) == expected);
}

#[test]
fn views_can_be_decimated_again_and_read_twice() {
    let values: Vec<f32> = noise(2, 100_000).into_iter().map(|v| v as f32).collect();
    let record = MemoryRecord::new(64.0, vec![values]);
    let once = decimate(&record, 4).unwrap();
    let twice = decimate(&once, 4).unwrap();
    assert_eq!((twice.info().sampling_rate_hz, twice.info().samples), (4.0, 6250));
    assert!(samples(&twice) == samples(&twice));
    assert!(samples(&decimate(&record, 1).unwrap()) == samples(&record));
}

#[test]
fn a_record_too_short_to_be_decimated_is_told_with_its_numbers() {
    let record = MemoryRecord::new(10.0, vec![vec![0.0; 20]]);
    let error = decimate(&record, 4).err().unwrap();
    assert_eq!(error, DecimateError::TooShort { longest: 20, factor: 4, padding: 27 });
    assert_eq!(decimate(&record, 0).err().unwrap(), DecimateError::Factor(0));
}
