//! Raw files of every kind → the samples that are in them, or the one error that says what is wrong.
#![expect(clippy::unwrap_used, reason = "allow-unwrap-in-tests does not see the helpers of tests")]

use crate::raw_files::{Folder, noise, samples, untouched, warnings};
use oma_worker::ingest::cache::CachedRecord;
use oma_worker::model::channel::Channel;
use oma_worker::model::control::Control;
use oma_worker::model::record::RawFile;
use oma_worker::model::record::{Record, Segment};
use oma_worker::preprocess::prepare;
use proptest::prelude::*;
use std::fmt::Write;

/// `time,a,b` with `rows` rows at `rate` Hz; a is the row's number, b its negative half.
pub(crate) fn simple(rows: usize, rate: f64) -> String {
    let mut text = String::from("time,a,b\n");
    for k in 0..rows {
        writeln!(text, "{},{k},{}", k as f64 / rate, -0.5 * k as f64).unwrap();
    }
    text
}

fn sensor(id: &str, axes: &[&str]) -> Vec<Channel> {
    let channel = |axis: &&str| Channel {
        sensor_id: id.into(),
        sensor_name: format!("Sensor {id}"),
        axis: (*axis).into(),
        ..Channel::named(&format!("{id}-{axis}"))
    };
    axes.iter().map(channel).collect()
}

fn of_sensor(file: RawFile, id: &str) -> RawFile {
    RawFile { sensor_id: Some(id.into()), ..file }
}

#[test]
fn one_file_with_all_channels_gives_its_numbers_and_its_hash() {
    let folder = Folder::new();
    let record = folder.ingest(&[folder.file("r.csv", simple(1000, 50.0))], &[]).unwrap();
    let info = record.info();
    assert_eq!(info.sampling_rate_hz, 50.0);
    assert_eq!(info.segments, [Segment { start: 0, samples: 1000 }]);
    let names: Vec<&str> = info.channels.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let found = samples(&record);
    assert!((0..1000).all(|k| found[0][0][k] == k as f32 && found[0][1][k] == -0.5 * k as f32));
    let description = record.description();
    assert_eq!(description.inputs[0].samples, 1000);
    assert_eq!(description.inputs[0].sha256.len(), 64);
    assert_eq!(warnings(&record), [""; 0]);
    let verdicts: Vec<&str> = description.quality.iter().map(|q| q.verdict.as_str()).collect();
    // A ramp drifts, and the second is the first times −1/2.
    assert_eq!(verdicts, ["drifting", "duplicated"]);
    assert_eq!(description.quality[1].duplicate_of.as_deref(), Some("a"));
    assert!(description.quality.iter().all(|q| q.coverage == 1.0));
}

#[test]
fn the_hash_is_that_of_the_files_bytes() {
    let folder = Folder::new();
    let record = folder.ingest(&[folder.file("r.csv", "time,a\n0,1\n1,2\n2,4\n")], &[]).unwrap();
    // printf 'time,a\n0,1\n1,2\n2,4\n' | sha256sum
    let expected = "274afe4bf84b60845e5784c62b53c6d22cba18931a07268426bb82d57c492394";
    assert_eq!(record.description().inputs[0].sha256, expected);
}

#[test]
fn every_dialect_of_one_record_gives_the_same_samples() {
    let moment = |k: usize| 1_700_000_000_000_i64 + 20 * k as i64;
    let iso = move |k: usize| jiff::Timestamp::from_millisecond(moment(k)).unwrap();
    type Stamps = Box<dyn Fn(usize) -> String>;
    let times: Vec<(&str, Stamps)> = vec![
        ("time", Box::new(|k| format!("{}", k as f64 * 0.02))),
        ("Time [ms]", Box::new(|k| format!("{}", k * 20))),
        ("timestamp", Box::new(move |k| format!("{:.3}", iso(k)))),
        ("date", Box::new(move |k| format!("{:.3}", iso(k)).replace('T', " ").replace('Z', ""))),
        ("epoch", Box::new(move |k| format!("{:.2}", moment(k) as f64 / 1e3))),
        ("epoch", Box::new(move |k| moment(k).to_string())),
        ("epoch", Box::new(move |k| format!("{}000", moment(k)))),
        ("epoch", Box::new(move |k| format!("{}000000", moment(k)))),
    ];
    let values = noise(7, 2 * 400);
    let mut expected = None;
    for (header, time) in &times {
        for (separator, comma) in [(",", false), (";", false), (";", true), ("\t", false), ("\t", true)] {
            for (bom, end) in [("", "\n"), ("\u{feff}", "\r\n")] {
                let mut text = format!("{bom}{header}{separator}x{separator}y{end}");
                for k in 0..400 {
                    let number = |v: f64| if comma { v.to_string().replace('.', ",") } else { v.to_string() };
                    let stamp = if comma { time(k).replace('.', ",") } else { time(k) };
                    let (x, y) = (number(values[2 * k]), number(values[2 * k + 1]));
                    write!(text, "{stamp}{separator}{x}{separator}{y}{end}").unwrap();
                }
                let folder = Folder::new();
                let record = folder.ingest(&[folder.file("r.csv", text)], &[]);
                let record = record.unwrap_or_else(|e| panic!("{header} {separator:?} {comma} {bom:?}: {e}"));
                assert_eq!(record.info().sampling_rate_hz, 50.0, "{header} {separator:?}");
                let found = samples(&record);
                assert!(found[0][1][399] == values[799] as f32);
                assert!(*expected.get_or_insert(found.clone()) == found, "{header} {separator:?} {comma}");
                let unzoned = *header == "date";
                assert_eq!(record.description().warnings.iter().any(|w| w.contains("UTC")), unzoned);
            }
        }
    }
}

#[test]
fn hourly_files_of_two_sensors_with_a_clock_offset_are_joined_on_one_axis() {
    let folder = Folder::new();
    let start: jiff::Timestamp = "2024-03-01T10:00:00Z".parse().unwrap();
    // True signal at true time; sensor s2's clock is 2.5 s ahead and its record starts 100 samples later.
    let piece = |id: &str, part: usize, offset_ms: i64, first: usize| {
        let mut text = String::from("time,x,y\n");
        for k in (first + part * 1000)..(first + part * 1000 + 1000) {
            let stamp = start + jiff::SignedDuration::from_millis(10 * k as i64 + offset_ms);
            writeln!(text, "{stamp:.3},{k},{}", 2 * k).unwrap();
        }
        of_sensor(folder.file(&format!("{id}-{part}.csv"), text), id)
    };
    let files = [piece("s1", 1, 0, 0), piece("s1", 0, 0, 0), piece("s2", 0, 2500, 100), piece("s2", 1, 2500, 100)];
    let mut channels = sensor("s1", &["x", "y"]);
    channels.extend(sensor("s2", &["x", "y"]).into_iter().map(|c| Channel { clock_offset_s: 2.5, ..c }));
    let record = folder.ingest(&files, &channels).unwrap();
    assert_eq!(record.info().segments, [Segment { start: 0, samples: 1900 }]);
    assert_eq!(record.info().start, Some(start + jiff::SignedDuration::from_secs(1)));
    let found = samples(&record);
    for (channel, factor) in found[0].iter().zip([1.0, 2.0, 1.0, 2.0]) {
        assert!((0..1900).all(|k| channel[k] == factor * (k + 100) as f32));
    }
    let corrected = "sensor Sensor s2: clock is 2.5 s ahead by clock_offset_s, its times were corrected";
    assert_eq!(warnings(&record), [corrected]);
    assert_eq!(record.description().inputs.len(), 4);
}

#[test]
fn channels_of_one_file_may_have_different_clock_offsets() {
    let folder = Folder::new();
    let mut channels = vec![Channel::named("a"), Channel::named("b")];
    channels[1].clock_offset_s = -0.1;
    let record = folder.ingest(&[folder.file("r.csv", simple(500, 100.0))], &channels).unwrap();
    let found = samples(&record);
    assert_eq!(found[0][0].len(), 490);
    assert!((0..490).all(|k| found[0][0][k] == (k + 10) as f32 && found[0][1][k] == -0.5 * k as f32));
}

#[test]
fn short_gaps_are_closed_by_lines_and_long_ones_split_wherever_they_lie() {
    // A window of the reader ends at 16384: gaps before, on and behind it.
    for at in [100, 16_380, 16_382, 16_384, 16_386, 30_000] {
        let folder = Folder::new();
        let mut text = String::from("t,a,b\n");
        for k in 0..40_000 {
            let missing_row = (at..at + 3).contains(&k);
            let missing_a = (at + 20..at + 23).contains(&k);
            let missing_b = (at + 50..at + 54).contains(&k) || k == 39_999;
            if missing_row {
                continue;
            }
            let a = if missing_a { String::new() } else { (3 * k).to_string() };
            let b = if missing_b { "NaN".to_owned() } else { k.to_string() };
            writeln!(text, "{},{a},{b}", k as f64 / 64.0).unwrap();
        }
        let record = folder.ingest(&[folder.file("r.csv", text)], &[]).unwrap();
        let second = at + 54;
        let segments = [
            Segment { start: 0, samples: at as u64 + 50 },
            Segment { start: second as u64, samples: 39_999 - second as u64 },
        ];
        assert_eq!(record.info().segments, segments, "{at}");
        assert_eq!(record.info().samples, 40_000);
        for (segment, found) in segments.iter().zip(samples(&record)) {
            let truth = |k: usize| (segment.start as usize + k) as f32;
            let right = |k: usize| found[0][k] == 3.0 * truth(k) && found[1][k] == truth(k);
            assert!((0..segment.samples as usize).all(right), "{at}");
        }
        let warnings = record.description().warnings.join("\n");
        assert!(warnings.contains("channel a: 6 missing samples"), "{warnings}");
        assert!(warnings.contains("channel b: 3 missing samples"), "{warnings}");
        assert!(warnings.contains("1 gaps of more than 3 samples split the record"), "{warnings}");
        let coverage = record.description().quality[0].coverage;
        assert_eq!(coverage, (40_000.0 - 6.0) / 40_000.0);
    }
}

#[test]
fn a_pause_of_a_year_takes_no_room() {
    let folder = Folder::new();
    let piece = |name: &str, day: &str| {
        let start: jiff::Timestamp = format!("{day}T00:00:00Z").parse().unwrap();
        let mut text = String::from("time,a\n");
        for k in 0..1000 {
            writeln!(text, "{:.3},{k}", start + jiff::SignedDuration::from_millis(5 * k)).unwrap();
        }
        folder.file(name, text)
    };
    let record = folder.ingest(&[piece("1.csv", "2023-01-01"), piece("2.csv", "2024-01-01")], &[]).unwrap();
    let start = 365 * 24 * 3600 * 200;
    assert_eq!(record.info().segments, [Segment { start: 0, samples: 1000 }, Segment { start, samples: 1000 }]);
    assert!(samples(&record).iter().all(|segment| (0..1000).all(|k| segment[0][k] == k as f32)));
    assert!(std::fs::metadata(folder.path().join("record.parquet")).unwrap().len() < 100_000);
}

#[test]
fn stamps_rounded_to_milliseconds_give_the_true_rate_and_no_gaps() {
    for rate in [128.0, 800.0, 60.0, 333.0, 1000.0] {
        let folder = Folder::new();
        let mut text = String::from("time_ms,a\n");
        for k in 0..20_000 {
            // One row is missing: it must be found where the stamps can tell.
            if k != 15_000 {
                writeln!(text, "{},{k}", (k as f64 * 1e3 / rate).round()).unwrap();
            }
        }
        let record = folder.ingest(&[folder.file("r.csv", text)], &[]).unwrap();
        assert_eq!(record.info().sampling_rate_hz, rate);
        assert_eq!(record.info().segments, [Segment { start: 0, samples: 20_000 }], "{rate}");
        let found = samples(&record);
        assert!((0..20_000).all(|k| found[0][0][k] == k as f32), "{rate}");
        assert_eq!(warnings(&record), ["channel a: 1 missing samples in gaps of at most 3 closed by lines"], "{rate}");
    }
}

#[test]
fn seconds_in_a_file_count_from_the_start_that_the_index_knows() {
    let folder = Folder::new();
    let start: jiff::Timestamp = "2024-03-01T10:00:00Z".parse().unwrap();
    let file = |name: &str, hour: i64| RawFile {
        start: Some(start + jiff::SignedDuration::from_hours(hour)),
        ..folder.file(name, simple(3600, 1.0))
    };
    let record = folder.ingest(&[file("1.csv", 0), file("2.csv", 1)], &[]).unwrap();
    assert_eq!(record.info().start, Some(start));
    assert_eq!(record.info().segments, [Segment { start: 0, samples: 7200 }]);
}

#[test]
fn files_without_time_follow_each_other_at_the_declared_rate() {
    let folder = Folder::new();
    let file = |name: &str| RawFile { sampling_rate_hz: Some(20.0), ..folder.file(name, "a\n0.5\n1\n1.5\n") };
    let record = folder.ingest(&[file("1.csv"), file("2.csv")], &[]).unwrap();
    assert_eq!(record.info().sampling_rate_hz, 20.0);
    assert_eq!(samples(&record), [[[0.5, 1.0, 1.5, 0.5, 1.0, 1.5]]]);
}

#[test]
fn a_single_column_may_have_a_decimal_comma() {
    let folder = Folder::new();
    let file = RawFile { sampling_rate_hz: Some(20.0), ..folder.file("r.csv", "a\n0,5\n-1,25\n1e1\n") };
    assert_eq!(samples(&folder.ingest(&[file], &[]).unwrap()), [[[0.5, -1.25, 10.0]]]);
}

#[test]
fn a_period_cuts_the_record_with_both_ends_in_it() {
    let folder = Folder::new();
    let mut text = String::from("time,a\n");
    for k in 0..1000 {
        writeln!(text, "{},{k}", 1_700_000_000 + k).unwrap();
    }
    let files = [folder.file("r.csv", text)];
    let at = |s: i64| Some(jiff::Timestamp::from_second(1_700_000_000 + s).unwrap());
    let record = folder.prepare_period(&files, &[], &untouched(), (at(100), at(299))).unwrap();
    assert_eq!(record.info().start, at(100));
    let found = samples(&record);
    assert_eq!((found[0][0].len(), found[0][0][0], found[0][0][199]), (200, 100.0, 299.0));
    let error = folder.prepare_period(&files, &[], &untouched(), (at(5000), None)).unwrap_err();
    assert_eq!(error.code(), "bad_period");
}

fn npy(dtype: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let fortran = if fortran { "True" } else { "False" };
    let mut header = format!("{{'descr': '{dtype}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn arrays_of_both_types_orders_and_byte_orders_give_the_same_samples() {
    let rows = 70_001;
    let value = |row: usize, column: usize| (row as f32 * 0.25 - 3.0) * (column as f32 + 1.0);
    let by_row = || (0..rows).flat_map(|r| (0..3).map(move |c| value(r, c)));
    let by_column = || (0..3).flat_map(|c| (0..rows).map(move |r| value(r, c)));
    let shape = format!("({rows}, 3)");
    let arrays = [
        npy("<f4", false, &shape, &by_row().flat_map(f32::to_le_bytes).collect::<Vec<_>>()),
        npy("<f4", true, &shape, &by_column().flat_map(f32::to_le_bytes).collect::<Vec<_>>()),
        npy("<f8", false, &shape, &by_row().flat_map(|v| f64::from(v).to_le_bytes()).collect::<Vec<_>>()),
        npy(">f8", true, &shape, &by_column().flat_map(|v| f64::from(v).to_be_bytes()).collect::<Vec<_>>()),
        npy(">f4", false, &shape, &by_row().flat_map(f32::to_be_bytes).collect::<Vec<_>>()),
    ];
    for array in arrays {
        let folder = Folder::new();
        let file = RawFile { sampling_rate_hz: Some(100.0), ..folder.file("r.npy", array) };
        let channels = vec![Channel::named("p"), Channel::named("q"), Channel::named("r")];
        let record = folder.ingest(&[file], &channels).unwrap();
        let found = samples(&record);
        assert!((0..rows).all(|r| (0..3).all(|c| found[0][c][r] == value(r, c))));
    }
}

#[test]
fn arrays_of_whole_numbers_are_counts_of_any_width_and_sign() {
    let counts = [-128i64, -1, 0, 1, 127, 5, -77, 99];
    let bytes = |width: usize, big: bool, shift: i64| {
        let write = |count: &i64| {
            let mut bytes = (count + shift).to_le_bytes()[..width].to_vec();
            if big {
                bytes.reverse();
            }
            bytes
        };
        counts.iter().flat_map(write).collect::<Vec<u8>>()
    };
    for (kind, shift) in [("i", 0), ("u", 128)] {
        for (width, order) in [(1, "|"), (2, "<"), (2, ">"), (4, "<"), (4, ">"), (8, "<"), (8, ">")] {
            let folder = Folder::new();
            let array = npy(&format!("{order}{kind}{width}"), false, "(8,)", &bytes(width, order == ">", shift));
            let file = RawFile { sampling_rate_hz: Some(10.0), ..folder.file("r.npy", array) };
            let found = samples(&folder.ingest(&[file], &[]).unwrap());
            let expected: Vec<f32> = counts.iter().map(|count| (count + shift) as f32).collect();
            assert_eq!(found[0][0], expected, "{order}{kind}{width}");
        }
    }
}

#[test]
fn an_array_of_one_dimension_is_one_channel() {
    let folder = Folder::new();
    let data: Vec<u8> = (0..50).flat_map(|k| (k as f32).to_le_bytes()).collect();
    let file = RawFile { sampling_rate_hz: Some(10.0), ..folder.file("r.npy", npy("<f4", false, "(50,)", &data)) };
    let record = folder.ingest(&[file], &[]).unwrap();
    assert_eq!(record.info().channels, [Channel::named("ch1")]);
    assert_eq!(samples(&record)[0][0].len(), 50);
}

#[test]
fn columns_are_found_by_axis_by_the_index_and_by_name() {
    let folder = Folder::new();
    let text = "time,X (g),temp,Y (g)\n0,1,20,2\n1,3,20,4\n2,5,21,6\n";
    let channels = sensor("s1", &["y", "x"]);
    let by_axis = of_sensor(folder.file("1.csv", text), "s1");
    assert_eq!(samples(&folder.ingest(&[by_axis], &channels).unwrap()), [[[2.0, 4.0, 6.0], [1.0, 3.0, 5.0]]]);
    let by_name = of_sensor(folder.file("2.csv", "t,s1-x,s1-y\n0,1,2\n1,3,4\n2,5,6\n"), "s1");
    assert_eq!(samples(&folder.ingest(&[by_name], &channels).unwrap()), [[[2.0, 4.0, 6.0], [1.0, 3.0, 5.0]]]);
    let by_index = of_sensor(folder.file("3.csv", "t,v1,v2\n0,1,2\n1,3,4\n2,5,6\n"), "s1");
    let by_index = RawFile { axes: vec!["x".into(), "y".into()], ..by_index };
    assert_eq!(samples(&folder.ingest(&[by_index], &channels).unwrap()), [[[2.0, 4.0, 6.0], [1.0, 3.0, 5.0]]]);
}

#[test]
fn a_selection_sets_channels_and_their_order() {
    let folder = Folder::new();
    let files = [folder.file("r.csv", simple(10, 1.0))];
    let channels = vec![Channel::named("a"), Channel { active: false, ..Channel::named("c") }, Channel::named("b")];
    let select = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let out = folder.path().join("record.parquet");
        prepare(&files, &channels, Some(&names), (None, None), &untouched(), &out, &Control::none())
    };
    let names = |record: CachedRecord| record.info().channels.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(select(&["b", "a"]).unwrap()), ["b", "a"]);
    assert_eq!(names(folder.ingest(&files, &channels).unwrap()), ["a", "b"]);
    assert!(select(&["aa"]).unwrap_err().to_string().contains("the nearest name is \"a\""));
    assert_eq!(select(&["c"]).unwrap_err().to_string(), "channel \"c\" is not active");
    assert_eq!(select(&[]).unwrap_err().code(), "no_active_channel");
}

/// Content of one file, declared rate, the code and what the sentence says.
type Fault<'a> = (&'a [u8], Option<f64>, &'a str, &'a str);

#[test]
fn each_bad_file_has_its_own_clear_permanent_error() {
    let faults: [Fault; 18] = [
        (b"", None, "empty_file", "r.csv: file is empty"),
        (b" \n\n", None, "empty_file", "r.csv: file is empty"),
        (b"time,a\n", None, "empty_file", "has a header and no rows"),
        (b"time,a\n0,1\n1,oops\n2,3\n", None, "text_in_numbers", "r.csv, line 3, column \"a\": \"oops\" is no number"),
        (b"time,a\n0,nan\n1,\n2,NA\n", None, "no_samples", "channel \"a\": every value"),
        (b"time,a\n0,1\n1\n2,3\n", None, "ragged_rows", "r.csv, line 3: 1 cells, the header has 2"),
        (b"time,a\n0,1\nnoon,2\n2,3\n", None, "bad_time", "r.csv, line 3: \"noon\" is no time"),
        (b"time,a\nnoon,2\n2,3\n", None, "bad_time", "r.csv, line 2: \"noon\" is no time"),
        (b"time,a\n0,1\n2,2\n1,3\n", None, "bad_time", "r.csv, line 4: time goes back"),
        (b"time,a\n0,1\n0,2\n0,3\n", None, "bad_time", "not evenly spaced"),
        (b"a,b\n0,1\n1,2\n", None, "bad_sampling_rate", "no time column and no sampling rate"),
        (b"a,b\n0,1\n1,2\n", Some(-5.0), "bad_sampling_rate", "sampling rate is -5 Hz, must be above 0"),
        (b"a,b\n0,1\n1,2\n", Some(0.0), "bad_sampling_rate", "sampling rate is 0 Hz"),
        (b"a,b\n0,1\n1,2\n", Some(f64::NAN), "bad_sampling_rate", "sampling rate is NaN Hz"),
        (
            b"time,a\n0,1\n1,2\n2,3\n",
            Some(1.02),
            "bad_sampling_rate",
            "1.0000 Hz by its time column, declared are 1.02",
        ),
        (b"0,1\n1,2\n2,3\n", None, "bad_sampling_rate", "no time column and no sampling rate"),
        (b"\x7fELF\x00\x00\x01", None, "unknown_format", "its bytes are no text"),
        (b"name,kind\nx,y\n", Some(1.0), "unknown_format", "no row of numbers"),
    ];
    for (content, sampling_rate_hz, code, sentence) in faults {
        let folder = Folder::new();
        let file = RawFile { sampling_rate_hz, ..folder.file("r.csv", content) };
        let error = folder.ingest(&[file], &[]).expect_err(sentence);
        assert!(error.to_string().contains(sentence), "{error} / {sentence}");
        assert_eq!(error.code(), code, "{error}");
        assert!(error.is_permanent(), "{error}");
        assert!(!folder.path().join("record.parquet").exists());
    }
}

#[test]
fn each_bad_array_has_its_own_clear_permanent_error() {
    let eight = [0u8; 8 * 20];
    let faults: [(Vec<u8>, &str, &str); 6] = [
        (vec![], "empty_file", "file is empty"),
        (b"time,a\n0,1\n".to_vec(), "unreadable_file", "is no NPY array"),
        (npy("<c8", false, "(20, 1)", &eight), "unreadable_file", "only f4, f8 and whole numbers are read"),
        (npy("<f8", false, "(10, 2, 1)", &eight), "unreadable_file", "expected samples × channels"),
        (npy("<f8", false, "(10, 3)", &eight), "unreadable_file", "a header for 10 × 3 values of 8 bytes"),
        (npy("<f8", false, "(2, 10)", &eight), "unreadable_file", "has 2 rows and 10 columns"),
    ];
    for (content, code, sentence) in faults {
        let folder = Folder::new();
        let file = RawFile { sampling_rate_hz: Some(1.0), ..folder.file("r.npy", content) };
        let error = folder.ingest(&[file], &[]).expect_err(sentence);
        assert!(error.to_string().contains(sentence), "{error} / {sentence}");
        assert_eq!((error.code(), error.is_permanent()), (code, true), "{error}");
    }
}

#[test]
fn missing_and_unreadable_files_are_told_apart() {
    let folder = Folder::new();
    let good = folder.file("r.csv", simple(10, 1.0));
    let missing = RawFile { path: folder.path().join("none.csv"), key: "none.csv".into(), ..good.clone() };
    let error = folder.ingest(&[good.clone(), missing], &[]).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.code()), ("none.csv: no such file", "missing_file"));
    let directory = RawFile { path: folder.path().into(), key: "folder".into(), ..good };
    let error = folder.ingest(&[directory], &[]).unwrap_err();
    assert_eq!((error.code(), error.is_permanent()), ("unreadable_file", true), "{error}");
    assert_eq!(folder.ingest(&[], &[]).unwrap_err().code(), "no_raw_file");
}

#[test]
fn a_channel_without_a_column_is_named_with_the_nearest_column() {
    let folder = Folder::new();
    let files = [folder.file("r.csv", "time,deck-1/z,deck-2/z\n0,1,2\n1,2,3\n")];
    let error = folder.ingest(&files, &[Channel::named("deck-1/z"), Channel::named("deck-3/z")]).unwrap_err();
    assert_eq!(error.code(), "unknown_channel");
    assert!(
        error.to_string().starts_with("channel \"deck-3/z\" has no column in r.csv, the nearest name is"),
        "{error}"
    );
    let error = folder.ingest(&files, &sensor("s9", &["x"])).unwrap_err();
    assert!(error.to_string().contains("s9-x"), "{error}");
}

#[test]
fn sensors_must_have_a_period_in_common() {
    let folder = Folder::new();
    let mut channels = sensor("s1", &["a"]);
    channels.extend(sensor("s2", &["a"]));
    let file = |id: &str, text: String| of_sensor(folder.file(&format!("{id}.csv"), text), id);
    let mut late = String::from("time,a\n");
    (0..100).for_each(|k| writeln!(late, "{},{k}", 100.0 + k as f64 / 50.0).unwrap());
    let error = folder.ingest(&[file("s1", simple(100, 50.0)), file("s2", late)], &channels).unwrap_err();
    assert_eq!(error.to_string(), "sensors have no period in common");
}

#[test]
fn a_change_of_rate_within_a_file_is_no_record() {
    let folder = Folder::new();
    for factor in [0.5, 2.0] {
        let mut text = String::from("time,a\n");
        let mut time = 0.0;
        for k in 0..20_000 {
            writeln!(text, "{time:.6},{k}").unwrap();
            time += if k < 10_000 { 0.01 } else { 0.01 * factor };
        }
        let error = folder.ingest(&[folder.file("r.csv", text)], &[]).unwrap_err();
        assert!(error.to_string().contains("not evenly spaced"), "{error}");
    }
}

#[test]
fn a_repeated_file_is_an_error_and_not_a_silent_loss() {
    let folder = Folder::new();
    let files = [folder.file("1.csv", simple(100, 50.0)), folder.file("2.csv", simple(100, 50.0))];
    let error = folder.ingest(&files, &[]).unwrap_err();
    assert!(error.to_string().contains("2.csv: repeats the time"), "{error}");
}

#[test]
fn a_period_late_in_a_long_file_is_found() {
    let folder = Folder::new();
    let start = 1_700_000_000;
    let mut text = String::from("time,a\n");
    (0..30_000).for_each(|k| writeln!(text, "{},{k}", start + k).unwrap());
    let from = jiff::Timestamp::from_second(start + 20_000).unwrap();
    let files = [folder.file("r.csv", text)];
    let record = folder.prepare_period(&files, &[], &untouched(), (Some(from), None)).unwrap();
    let found = samples(&record);
    assert!((0..10_000).all(|k| found[0][0][k] == (20_000 + k) as f32));
}

#[test]
fn numbers_at_the_ends_of_what_a_field_can_hold_make_no_panic() {
    let folder = Folder::new();
    let far = "time,a\n-9223372036854775807,1\n0,2\n9223372036854775807,3\n";
    for offset in [0.0, 1e300, -1e300, f64::NAN] {
        for (rate, start) in [(None, None), (Some(1e-300), Some(jiff::Timestamp::MAX)), (Some(1e300), None)] {
            for content in [far, "a\n1\n2\n3\n"] {
                let file = folder.file("r.csv", content);
                let channel = Channel { clock_offset_s: offset, sensor_id: "s".into(), ..Channel::named("a") };
                let other = Channel { sensor_id: "t".into(), ..channel.clone() };
                let files =
                    ["s", "t"].map(|id| of_sensor(RawFile { sampling_rate_hz: rate, start, ..file.clone() }, id));
                let other = Channel { clock_offset_s: 0.0, name: "b".into(), ..other };
                if let Ok(record) = folder.ingest(&files, &[channel, other]) {
                    samples(&record);
                }
            }
        }
    }
}

#[test]
fn a_cancelled_run_stops_and_leaves_no_file() {
    let folder = Folder::new();
    let control = Control::none();
    control.token().cancel();
    let out = folder.path().join("record.parquet");
    let files = [folder.file("r.csv", simple(100, 50.0))];
    let error = prepare(&files, &[], None, (None, None), &untouched(), &out, &control).unwrap_err();
    assert_eq!(error.code(), "cancelled");
    assert!(!out.exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_content_of_a_file_makes_a_panic(
        content in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..400),
            "[0-9,;\t\n.a-z\"eE+:TZ-]{0,200}".prop_map(String::into_bytes),
            "time,a\n([0-9]{1,3},[0-9.nae-]{0,5}\n){0,20}".prop_map(String::into_bytes),
        ],
        npy in any::<bool>(),
        rate in prop::option::of(prop_oneof![Just(1.0), Just(1e-300), Just(1e300), any::<f64>()]),
    ) {
        let folder = Folder::new();
        let file = folder.file(if npy { "r.npy" } else { "r.csv" }, content);
        let result = folder.ingest(&[RawFile { sampling_rate_hz: rate, ..file }], &[]);
        if let Ok(record) = result {
            prop_assert!(samples(&record).iter().flatten().flatten().all(|v| v.is_finite()));
        }
    }
}
