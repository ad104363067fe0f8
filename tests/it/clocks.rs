//! Sensors with clocks of their own → one record: other rates, drift, offsets, uneven and broken stamps.
#![expect(clippy::unwrap_used, reason = "allow-unwrap-in-tests does not see the helpers of tests")]

use crate::raw_files::{Folder, noise, samples, untouched, warnings};
use oma_worker::model::channel::Channel;
use oma_worker::model::control::Control;
use oma_worker::model::parameters::PreprocessingParameters;
use oma_worker::model::record::{RawFile, Record};
use oma_worker::model::run::RunType;
use oma_worker::pipeline::{self, Request};
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use std::f64::consts::PI;
use std::fmt::Write;

/// `time,a` of a signal at times `stamp(k)`, where there is a row.
fn sensor(
    folder: &Folder,
    id: &str,
    rows: impl Iterator<Item = usize>,
    stamp: impl Fn(usize) -> f64,
    value: impl Fn(f64) -> f64,
) -> RawFile {
    let mut text = String::from("time,a\n");
    for k in rows {
        writeln!(text, "{:.9},{:.9}", stamp(k), value(stamp(k))).unwrap();
    }
    RawFile { sensor_id: Some(id.into()), ..folder.file(&format!("{id}.csv"), text) }
}

fn channels(ids: &[&str]) -> Vec<Channel> {
    let channel =
        |id: &&str| Channel { sensor_id: (*id).into(), axis: "a".into(), ..Channel::named(&format!("{id}-a")) };
    ids.iter().map(channel).collect()
}

/// Slow enough for every rate here.
fn slow(t: f64) -> f64 {
    (2.0 * PI * 3.0 * t + 0.4).sin()
}

fn largest(errors: impl Iterator<Item = f64>) -> f64 {
    // NaN must not pass.
    errors.fold(0.0, |most, error| if error.abs() <= most { most } else { error.abs() })
}

#[test]
fn sensors_of_different_rates_become_one_record_of_the_lowest_without_aliases() {
    let folder = Folder::new();
    // 80 Hz would be 20 Hz at 100 samples a second.
    let fast = |t: f64| slow(t) + (2.0 * PI * 80.0 * t).sin();
    let files = [
        sensor(&folder, "s1", 0..6000, |k| k as f64 / 100.0, slow),
        sensor(&folder, "s2", 0..15_360, |k| k as f64 / 256.0, fast),
        sensor(&folder, "s3", 0..120_000, |k| 0.00123 + k as f64 / 2000.0, fast),
    ];
    let record = folder.ingest(&files, &channels(&["s1", "s2", "s3"])).unwrap();
    assert_eq!(record.info().sampling_rate_hz, 100.0);
    let found = &samples(&record)[0];
    // The third sensor begins between the first two samples.
    let time = |k: usize| (k + 1) as f64 / 100.0;
    assert_eq!(found[0].len(), 5999);
    for (channel, tolerance) in [(0, 1e-7), (1, 5e-5), (2, 5e-5)] {
        // Behind the reflections at the ends: 64 samples of the kernel's half length at the lowest rate.
        let error = largest((64..5900).map(|k| f64::from(found[channel][k]) - slow(time(k))));
        assert!(error <= tolerance, "channel {channel}: {error}");
    }
    let clocks = &record.description().clocks;
    let resampled: Vec<bool> = clocks.iter().map(|clock| clock.resampled.is_some()).collect();
    assert_eq!(resampled, [false, true, true]);
    assert_eq!(clocks[1].resampled.unwrap().pass_hz, 40.0);
    assert!((clocks[2].sampling_rate_hz - 2000.0).abs() <= 1e-6);
    let told = record.description().warnings.join("\n");
    assert!(told.contains("sensor s2: sampled at 256.000000 Hz, resampled to the record's axis of 100"), "{told}");
}

#[test]
fn the_rate_of_the_record_can_be_chosen_below_that_of_the_sensors() {
    let folder = Folder::new();
    let file = sensor(&folder, "s1", 0..20_000, |k| k as f64 / 200.0, slow);
    let wanted = |hz: f64| PreprocessingParameters { sampling_rate_hz: Some(hz), ..untouched() };
    let files = [file];
    let record = folder.prepare_with(&files, &channels(&["s1"]), &wanted(64.0)).unwrap();
    assert_eq!(record.info().sampling_rate_hz, 64.0);
    let found = &samples(&record)[0][0];
    assert_eq!(found.len(), 6400);
    let error = largest((64..6300).map(|k| f64::from(found[k]) - slow(k as f64 / 64.0)));
    assert!(error <= 5e-5, "{error}");
    let error = folder.prepare_with(&files, &channels(&["s1"]), &wanted(300.0)).unwrap_err();
    assert_eq!(error.code(), "bad_sampling_rate");
    assert!(error.to_string().contains("sampling_rate_hz is 300 Hz, must be at most 200.0000 Hz"), "{error}");
}

#[test]
fn a_drifting_clock_is_followed_over_the_whole_record() {
    let folder = Folder::new();
    // 50 ppm: nine samples in half an hour.
    let files = [
        sensor(&folder, "s1", 0..180_000, |k| k as f64 / 100.0, slow),
        sensor(&folder, "s2", 0..180_000, |k| k as f64 / 100.005, slow),
    ];
    let record = folder.ingest(&files, &channels(&["s1", "s2"])).unwrap();
    let found = &samples(&record)[0];
    let error = largest((100..found[0].len() - 100).map(|k| f64::from(found[0][k] - found[1][k])));
    assert!(error <= 5e-5, "{error}");
    assert!(
        record.description().warnings.iter().any(|w| w.starts_with("sensor s2: sampled at 100.005000 Hz, resampled"))
    );
}

#[test]
fn a_clock_offset_of_a_part_of_a_sample_is_taken_off_whole() {
    let folder = Folder::new();
    let late = 0.053;
    let files = [
        sensor(&folder, "s1", 0..5000, |k| k as f64 / 100.0, slow),
        // The clock is ahead: the stamp of a moment is later than the moment.
        sensor(&folder, "s2", 0..5000, |k| k as f64 / 100.0, |t| slow(t - late)),
    ];
    let mut channels = channels(&["s1", "s2"]);
    channels[1].clock_offset_s = late;
    let record = folder.ingest(&files, &channels).unwrap();
    let found = &samples(&record)[0];
    let error = largest((64..4900).map(|k| f64::from(found[0][k] - found[1][k])));
    assert!(error <= 5e-5, "{error}");
    let told = record.description().warnings.join("\n");
    assert!(told.contains("sensor s2: clock is 0.053 s ahead by clock_offset_s, its times were corrected"), "{told}");
    assert_eq!(record.description().clocks[1].clock_offset_s, late);
}

#[test]
fn gaps_of_a_resampled_sensor_are_closed_or_split_the_record() {
    let folder = Folder::new();
    let present = |k: &usize| !(8000..8003).contains(k) && !(20_000..22_000).contains(k);
    let files = [
        sensor(&folder, "s1", 0..12_000, |k| k as f64 / 100.0, slow),
        sensor(&folder, "s2", (0..48_000).filter(present), |k| k as f64 / 400.0, slow),
    ];
    let record = folder.ingest(&files, &channels(&["s1", "s2"])).unwrap();
    let segments: Vec<(u64, u64)> = record.info().segments.iter().map(|s| (s.start, s.samples)).collect();
    // Row 19999 lies at 49.9975 s, row 22000 at 55 s.
    assert_eq!(segments, [(0, 5000), (5500, 6500)]);
    let found = samples(&record);
    // The line over three rows of 400 Hz leaves (2π·3/400)²·2 = 4e-3 at its middle, the reflection at the end more.
    let error = largest((64..4990).map(|k| f64::from(found[0][0][k] - found[0][1][k])));
    assert!(error <= 5e-3, "{error}");
    let description = record.description();
    let closed = "channel s2-a: 3 missing samples in gaps of at most 3 closed by lines";
    assert!(description.warnings.iter().any(|warning| warning == closed), "{:?}", description.warnings);
    assert!((description.quality[1].coverage - 11_499.0 / 12_000.0).abs() <= 1e-4);
}

#[test]
fn a_period_is_cut_out_of_resampled_sensors_as_out_of_the_whole_record() {
    let folder = Folder::new();
    let start = 1_700_000_000.0;
    let files = [
        sensor(&folder, "s1", 0..30_000, |k| start + k as f64 / 50.0, |t| slow(t - start)),
        sensor(&folder, "s2", 0..75_000, |k| start + k as f64 / 125.0, |t| slow(t - start)),
    ];
    let whole = folder.ingest(&files, &channels(&["s1", "s2"])).unwrap();
    let whole = samples(&whole);
    let at = |s: i64| Some(jiff::Timestamp::from_second(1_700_000_000 + s).unwrap());
    let part = folder.prepare_period(&files, &channels(&["s1", "s2"]), &untouched(), (at(400), at(500))).unwrap();
    let part = samples(&part);
    assert_eq!(part[0][0].len(), 5001);
    for channel in 0..2 {
        let error = largest((0..5001).map(|k| f64::from(part[0][channel][k] - whole[0][channel][20_000 + k])));
        assert!(error <= 1e-6, "{error}");
    }
}

#[test]
fn jitter_is_interpolated_at_even_times_and_rounding_is_not() {
    let folder = Folder::new();
    let shake = noise(3, 20_000);
    let jittered = sensor(&folder, "s1", 0..20_000, |k| (k as f64 + 0.6 * shake[k]) / 100.0, slow);
    let record = folder.ingest(&[jittered], &channels(&["s1"])).unwrap();
    let found = &samples(&record)[0][0];
    let clock = &record.description().clocks[0];
    assert!(clock.interpolated);
    // Uniform over 0.6 of an interval: 0.6/√12.
    assert!((clock.jitter.unwrap() - 0.6 / 12f64.sqrt()).abs() <= 0.01, "{:?}", clock.jitter);
    assert_eq!(record.info().sampling_rate_hz, 100.0);
    // The grid begins at the first row.
    let time = |k: usize| 0.006 * shake[0] + k as f64 / 100.0;
    // At the ends there is a line only.
    let error = largest((2..found.len() - 2).map(|k| f64::from(found[k]) - slow(time(k))));
    // A cubic over three steps of at most 1.6/100 s leaves (2π·3·0.016)⁴·9/384 = 2e-4.
    assert!(error <= 2e-4, "{error}");
    assert!(
        record.description().warnings.iter().any(|w| w.contains("not evenly spaced, they were resampled to 100 Hz"))
    );
    let rounded = sensor(&folder, "s1", 0..20_000, |k| (k as f64 * 1000.0 / 128.0).round() / 1000.0, slow);
    let record = folder.ingest(&[rounded], &channels(&["s1"])).unwrap();
    assert!(!record.description().clocks[0].interpolated);
}

#[test]
fn uneven_hours_are_joined_on_one_grid_and_their_holes_are_gaps() {
    let folder = Folder::new();
    let shake = noise(5, 20_000);
    let time = |k: usize| (k as f64 + 0.5 * shake[k]) / 50.0;
    let piece = |name: &str, rows: std::ops::Range<usize>| {
        let mut text = String::from("time,a\n");
        for k in rows.filter(|k| !(3000..3100).contains(k) && *k != 5000) {
            writeln!(text, "{:.6},{:.6}", 1_700_000_000.0 + time(k), slow(time(k))).unwrap();
        }
        folder.file(name, text)
    };
    let record = folder.ingest(&[piece("2.csv", 10_000..20_000), piece("1.csv", 0..10_000)], &[]).unwrap();
    assert_eq!(record.info().segments.len(), 2);
    let found = samples(&record);
    let origin = time(0);
    for (segment, samples) in record.info().segments.iter().zip(&found) {
        let error = largest(
            samples[0]
                .iter()
                .enumerate()
                .map(|(k, v)| f64::from(*v) - slow(origin + (segment.start + k as u64) as f64 / 50.0)),
        );
        // Around the lost row and at the ends only lines are left: (2π·3/50)²·2.25/8 = 0.04; stamps of 0.4 µs.
        assert!(error <= 0.05, "{error}");
    }
}

#[test]
fn packets_with_one_stamp_for_many_rows_are_rebuilt_by_count() {
    let folder = Folder::new();
    for (rate, step) in [(2000.0, 1e-3), (1024.0, 0.05), (800.0, 1e-3)] {
        let mut text = String::from("time,a\n");
        (0..20_000).for_each(|k| {
            let stamp = (k as f64 / rate / step + 1e-9).floor() * step;
            writeln!(text, "{stamp:.4},{k}").unwrap();
        });
        let record = folder.ingest(&[folder.file("r.csv", text)], &[]).unwrap();
        assert_eq!(record.info().sampling_rate_hz, rate);
        let found = samples(&record);
        assert_eq!((found.len(), found[0][0].len()), (1, 20_000), "{rate}");
        assert!((0..20_000).all(|k| found[0][0][k] == k as f32), "{rate}");
        assert_eq!(warnings(&record), [""; 0]);
    }
}

#[test]
fn stamps_astray_repeated_and_out_of_order_are_told_and_cost_no_other_row() {
    let folder = Folder::new();
    let mut lines: Vec<String> = (0..10_000).map(|k| format!("{:.2},{k}", k as f64 / 100.0)).collect();
    lines[2000] = "99999,2000".into();
    lines[4000] = "0.01,4000".into();
    lines.insert(6001, lines[6000].clone());
    lines.swap(8000, 8001);
    let record = folder.ingest(&[folder.file("r.csv", format!("time,a\n{}\n", lines.join("\n")))], &[]).unwrap();
    let found = samples(&record);
    assert_eq!((found.len(), found[0][0].len()), (1, 10_000));
    // The one that was left out of two swapped rows was closed by a line, which is exact here.
    assert!((0..10_000).all(|k| found[0][0][k] == k as f32));
    let clock = &record.description().clocks[0];
    assert_eq!((clock.rows_astray, clock.rows_left_out), (2, 2));
    let told = record.description().warnings.join("\n");
    assert!(told.contains("2 rows that repeat an earlier time or lie out of order were left out"), "{told}");
    assert!(told.contains("2 rows with a time astray took their place by count"), "{told}");
}

#[test]
fn a_declared_rate_more_than_one_percent_off_is_an_error() {
    let folder = Folder::new();
    for (declared, fits) in [(100.9, true), (101.1, false), (98.9, false)] {
        let file = sensor(&folder, "s1", 0..1000, |k| k as f64 / 100.0, slow);
        let file = RawFile { sampling_rate_hz: Some(declared), ..file };
        let result = folder.ingest(&[file], &channels(&["s1"]));
        assert_eq!(result.is_ok(), fits, "{declared}");
        if let Err(error) = result {
            assert_eq!(error.code(), "bad_sampling_rate");
            assert!(error.to_string().contains("sampled at 100.0000 Hz by its time column, declared are"), "{error}");
        }
    }
}

#[test]
fn an_offset_is_found_in_the_samples_where_asked_and_never_taken_off() {
    let chain = ShearChain { dofs: 4, top_frequency_hz: 12.0, damping: Damping::Uniform(0.01) };
    let measurement =
        Measurement { dofs: vec![0, 1, 2, 3], sampling_rate_hz: 50.0, samples: 60_000, noise: 0.05, seed: 3 };
    let truth = chain.record(&measurement);
    let folder = Folder::new();
    // The clock of the second sensor is 0.37 s ahead of the first one's.
    let file = |id: &str, late: f64, dofs: [usize; 2]| {
        let mut text = String::from("time,a,b\n");
        for (k, (a, b)) in truth[dofs[0]].iter().zip(&truth[dofs[1]]).enumerate() {
            writeln!(text, "{:.3},{a},{b}", 100.0 + k as f64 / 50.0 + late).unwrap();
        }
        RawFile { sensor_id: Some(id.into()), ..folder.file(&format!("{id}.csv"), text) }
    };
    let files = [file("s1", 0.0, [0, 2]), file("s2", 0.37, [1, 3])];
    let channel = |id: &str, axis: &str| Channel {
        sensor_id: id.into(),
        axis: axis.into(),
        ..Channel::named(&format!("{id}-{axis}"))
    };
    let mut channels = vec![channel("s1", "a"), channel("s1", "b"), channel("s2", "a"), channel("s2", "b")];
    let asked = PreprocessingParameters { estimate_clock_offsets: true, ..Default::default() };
    let record = folder.prepare_with(&files, &channels, &asked).unwrap();
    let found = record.description().clocks[1].estimated_offset.unwrap();
    assert!((found.offset_s - 0.37).abs() <= 0.002, "{found:?}");
    assert!(found.std_s <= 0.001 && found.agreement > 0.8, "{found:?}");
    let told = record.description().warnings.join("\n");
    assert!(told.contains("s ahead of that of sensor s1; nothing was corrected"), "{told}");
    // 0.37 s are 18.5 samples of those that both have.
    assert_eq!(record.info().samples, 60_000 - 19);
    channels[2..].iter_mut().for_each(|channel| channel.clock_offset_s = 0.37);
    let record = folder.prepare_with(&files, &channels, &asked).unwrap();
    let found = record.description().clocks[1].estimated_offset.unwrap();
    assert!(found.offset_s.abs() <= 0.002, "{found:?}");
    assert!(
        folder.prepare_with(&files, &channels, &Default::default()).unwrap().description().clocks[1]
            .estimated_offset
            .is_none()
    );
}

#[test]
fn sensors_of_two_rates_have_the_modes_of_the_structure_with_their_shapes() {
    let chain = ShearChain { dofs: 2, top_frequency_hz: 8.0, damping: Damping::Uniform(0.01) };
    let measurement =
        Measurement { dofs: vec![0, 1], sampling_rate_hz: 200.0, samples: 120_000, noise: 0.01, seed: 11 };
    let truth = chain.record(&measurement);
    let folder = Folder::new();
    // The first sensor takes every fourth sample, its clock 3 ms behind; the second takes all.
    let file = |id: &str, dof: usize, step: usize, clock_s: f64| {
        let mut text = String::from("time,a\n");
        for (k, value) in truth[dof].iter().enumerate().step_by(step) {
            writeln!(text, "{:.4},{value}", 10.0 + k as f64 / 200.0 + clock_s).unwrap();
        }
        RawFile { sensor_id: Some(id.into()), ..folder.file(&format!("{id}.csv"), text) }
    };
    let mut channels = channels(&["s1", "s2"]);
    channels[0].clock_offset_s = -0.003;
    let request =
        Request { channels, ..Request::new(RunType::Ssi, vec![file("s1", 0, 4, -0.003), file("s2", 1, 1, 0.0)]) };
    let work = tempfile::tempdir_in(folder.path()).unwrap();
    let result = pipeline::run(&request, None, work.path(), &Control::none()).unwrap().result;
    assert_eq!(result.data.sampling_rate_hz, 50.0);
    for exact in chain.modes() {
        let shape = exact.shape.map(|v| nalgebra::Complex::new(v, 0.0));
        let near = result.modes.iter().find(|m| (m.frequency_hz / exact.frequency_hz - 1.0).abs() <= 0.005);
        let found: Vec<f64> = result.modes.iter().map(|mode| mode.frequency_hz).collect();
        let mode = &near.unwrap_or_else(|| panic!("{} Hz among {found:?}", exact.frequency_hz)).shape.0;
        let mac = mode.dotc(&shape).norm_sqr() / (mode.norm_squared() * shape.norm_squared());
        // 3 ms would turn the second mode by 7°, which is a MAC of 0.997.
        assert!(mac > 0.999, "{} Hz: MAC {mac}", exact.frequency_hz);
    }
}
