//! Every dialect that loggers write, each with every other: the same record comes out, or the right refusal.
#![expect(clippy::unwrap_used, reason = "allow-unwrap-in-tests does not see the helpers of tests")]

use crate::raw_files::{Folder, noise, samples};
use oma_worker::model::file_format::{DateOrder, FileFormat};
use oma_worker::model::parameters::{Detrend, PreprocessingParameters};
use oma_worker::model::record::{RawFile, Record};
use std::io::Write as _;

const ROWS: usize = 300;
const RATE_HZ: f64 = 50.0;
/// 2024-03-14T22:13:20Z: no reader can take its day for a month.
const START: i64 = 1_710_454_400;

/// Separator and decimal sign.
const TABLES: [(&str, char); 8] =
    [(",", '.'), (";", '.'), (";", ','), ("\t", '.'), ("\t", ','), ("|", '.'), (" ", '.'), ("  ", ',')];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Time {
    IsoZoned,
    IsoPlain,
    DayFirst,
    MonthFirst,
    Dotted,
    Seconds,
    Epoch(i32),
    Spreadsheet,
    Split,
    OfDay,
    None,
}

const TIMES: [Time; 14] = [
    Time::IsoZoned,
    Time::IsoPlain,
    Time::DayFirst,
    Time::MonthFirst,
    Time::Dotted,
    Time::Seconds,
    Time::Epoch(0),
    Time::Epoch(3),
    Time::Epoch(6),
    Time::Epoch(9),
    Time::Spreadsheet,
    Time::Split,
    Time::OfDay,
    Time::None,
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Head {
    Names,
    Comments,
    UnitsAndSerials,
    Settings,
    Quoted,
    Nameless,
}

const HEADS: [Head; 6] =
    [Head::Names, Head::Comments, Head::UnitsAndSerials, Head::Settings, Head::Quoted, Head::Nameless];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Coat {
    Plain,
    Crlf,
    Mark,
    Utf16Le,
    Utf16Be,
    Latin1,
    CarriageReturns,
    Gzip,
    Zstandard,
    TrailingSeparators,
}

const COATS: [Coat; 10] = [
    Coat::Plain,
    Coat::Crlf,
    Coat::Mark,
    Coat::Utf16Le,
    Coat::Utf16Be,
    Coat::Latin1,
    Coat::CarriageReturns,
    Coat::Gzip,
    Coat::Zstandard,
    Coat::TrailingSeparators,
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    CutOff,
    Footer,
    RepeatedHead,
    Sentinels,
    Words,
    BlankLines,
}

const FAULTS: [Fault; 7] =
    [Fault::None, Fault::CutOff, Fault::Footer, Fault::RepeatedHead, Fault::Sentinels, Fault::Words, Fault::BlankLines];

fn stamp(time: Time, k: usize, separator: &str) -> Option<String> {
    let ms = 20 * k as i64;
    let at = jiff::Timestamp::from_millisecond(1000 * START + ms).unwrap();
    let wall = |format: &str| jiff::tz::TimeZone::UTC.to_datetime(at).strftime(format).to_string();
    let seconds = ms as f64 / 1e3;
    Some(match time {
        Time::None => return None,
        Time::IsoZoned => wall("%Y-%m-%dT%H:%M:%S%.3fZ"),
        Time::IsoPlain => wall("%Y-%m-%dT%H:%M:%S%.3f"),
        Time::DayFirst if separator.trim().is_empty() => wall("%d/%m/%YT%H:%M:%S%.3f"),
        Time::DayFirst => wall("%d/%m/%Y %H:%M:%S%.3f"),
        Time::MonthFirst => wall("%m/%d/%YT%I:%M:%S%.3f%p"),
        Time::Dotted => wall("%d.%m.%yT%H:%M:%S%.3f"),
        Time::Seconds => format!("{seconds:.3}"),
        Time::Epoch(0) => format!("{:.2}", START as f64 + seconds),
        Time::Epoch(exponent) => format!("{}{}", 1000 * START + ms, "0".repeat(exponent as usize - 3)),
        Time::Spreadsheet => format!("{:.11}", 25_569.0 + (START as f64 + seconds) / 86_400.0),
        Time::Split => wall(&format!("%Y-%m-%d{separator}%H:%M:%S%.3f")),
        Time::OfDay => wall("%H:%M:%S%.3f"),
    })
}

struct Dialect {
    table: (&'static str, char),
    time: Time,
    head: Head,
    coat: Coat,
    fault: Fault,
}

impl Dialect {
    fn number(&self, value: f64) -> String {
        format!("{value:.6}").replace('.', &self.table.1.to_string())
    }

    fn write(&self, values: &[f64]) -> Vec<u8> {
        let (separator, sign) = self.table;
        let end = match self.coat {
            Coat::Crlf => "\r\n",
            Coat::CarriageReturns => "\r",
            _ => "\n",
        };
        let tail = if self.coat == Coat::TrailingSeparators && separator.trim() == separator { separator } else { "" };
        let time_names: &[&str] = match self.time {
            Time::None => &[],
            Time::Split => &["Date", "Time"],
            _ => &["time"],
        };
        let quote = |name: &str| if self.head == Head::Quoted { format!("\"{name}\"") } else { name.to_owned() };
        let line = |first: &str, rest: [&str; 2]| {
            let cells: Vec<String> = time_names.iter().map(|_| first).chain(rest).map(quote).collect();
            cells.join(separator)
        };
        let mut cells: Vec<String> = time_names.iter().copied().chain(["x", "y"]).map(quote).collect();
        let names = std::mem::take(&mut cells).join(separator);
        let head = match self.head {
            Head::Names | Head::Quoted => vec![names.clone()],
            Head::Comments => vec!["# measured on the b\u{fc}rger bridge".into(), String::new(), format!("# {names}")],
            Head::UnitsAndSerials => {
                vec!["Logger 7".into(), names.clone(), line("s", ["m/s2", "m/s2"]), line("SN", ["S1042", "S1043"])]
            }
            Head::Settings => {
                vec![";SampleRate, 50,Hz".into(), ";Start_time, 2024-03-14 22:13:20".into(), names.clone()]
            }
            Head::Nameless => vec![],
        };
        let mut text: String = head.iter().map(|line| format!("{line}{tail}{end}")).collect();
        for k in 0..ROWS {
            let missing = (k == 100).then(|| match self.fault {
                Fault::Sentinels => Some(format!("-999{sign}000")),
                Fault::Words => Some("NaN".to_owned()),
                _ => None,
            });
            let (x, y) = (self.number(values[2 * k]), self.number(values[2 * k + 1]));
            let cells: Vec<String> = stamp(self.time, k, separator)
                .map(
                    |s| if sign == ',' { s.replace('.', if self.time == Time::Dotted { "." } else { "," }) } else { s },
                )
                .into_iter()
                .chain([missing.flatten().unwrap_or(x), y])
                .collect();
            if k == 150 && self.fault == Fault::BlankLines {
                text.push_str(end);
            }
            if k == 150 && self.fault == Fault::RepeatedHead {
                head.iter().for_each(|line| text.push_str(&format!("{line}{tail}{end}")));
            }
            text.push_str(&format!("{}{tail}{end}", cells.join(separator)));
        }
        match self.fault {
            Fault::CutOff => text.push_str(&stamp(self.time, ROWS, separator).unwrap_or("0".into())),
            Fault::Footer => text.push_str(&format!("{end}End of data{end}Checksum: ok{end}")),
            _ => {}
        }
        self.dress(text)
    }

    fn dress(&self, text: String) -> Vec<u8> {
        let utf_16 = || text.encode_utf16();
        match self.coat {
            Coat::Mark => format!("\u{feff}{text}").into_bytes(),
            Coat::Utf16Le => [0xff, 0xfe].into_iter().chain(utf_16().flat_map(u16::to_le_bytes)).collect(),
            Coat::Utf16Be => utf_16().flat_map(u16::to_be_bytes).collect(),
            Coat::Latin1 => text.chars().map(|c| c as u8).collect(),
            Coat::Gzip => {
                let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                packed.write_all(text.as_bytes()).unwrap();
                packed.finish().unwrap()
            }
            Coat::Zstandard => zstd::encode_all(text.as_bytes(), 1).unwrap(),
            _ => text.into_bytes(),
        }
    }
}

fn check(dialect: &Dialect, name: &str) {
    let values = noise(41, 2 * ROWS);
    let folder = Folder::new();
    let file = folder.file("record.dat", dialect.write(&values));
    let needs_rate = dialect.time == Time::None && dialect.head != Head::Settings;
    let file = RawFile { sampling_rate_hz: needs_rate.then_some(RATE_HZ), ..file };
    let record = folder.ingest(&[file], &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
    let description = record.description();
    assert_eq!(record.info().sampling_rate_hz, RATE_HZ, "{name}");
    let found = samples(&record);
    assert_eq!((found.len(), found[0].len(), found[0][0].len()), (1, 2, ROWS), "{name}");
    for k in (0..ROWS).filter(|k| *k != 100 || !matches!(dialect.fault, Fault::Sentinels | Fault::Words)) {
        for channel in 0..2 {
            let truth: f64 = format!("{:.6}", values[2 * k + channel]).parse().unwrap();
            assert_eq!(found[0][channel][k], truth as f32, "{name}: row {k}");
        }
    }
    let start = record.info().start;
    let dated = !matches!(dialect.time, Time::Seconds | Time::OfDay | Time::None) || dialect.head == Head::Settings;
    assert_eq!(start.is_some(), dated, "{name}");
    if let Some(start) = start {
        let error = start.as_nanosecond() - 1_000_000_000 * i128::from(START);
        // Eleven digits of a day are 0.5 µs.
        assert!(error.abs() <= 1000, "{name}: {error}");
    }
    let warned = |text: &str| description.warnings.iter().any(|warning| warning.contains(text));
    let warnings = &description.warnings;
    assert_eq!(warned("taken for missing"), dialect.fault == Fault::Sentinels, "{name}: {warnings:?}");
    let closed = matches!(dialect.fault, Fault::Sentinels | Fault::Words);
    assert_eq!(warned("1 missing samples"), closed, "{name}: {warnings:?}");
    assert_eq!(warned("cut off"), dialect.fault == Fault::CutOff, "{name}: {warnings:?}");
    assert_eq!(warned("behind the last row"), dialect.fault == Fault::Footer, "{name}: {warnings:?}");
    let repeated = dialect.fault == Fault::RepeatedHead && dialect.head != Head::Nameless;
    assert_eq!(warned("repeat the head"), repeated, "{name}: {warnings:?}");
    assert_eq!(warned("is not UTF-8"), dialect.coat == Coat::Latin1 && dialect.head == Head::Comments, "{name}");
    assert_eq!(warned("names the columns"), dialect.head == Head::Nameless, "{name}: {warnings:?}");
}

#[test]
fn every_pair_of_dialects_gives_the_same_record() {
    // Each option of a list meets each option of the next lists, as the strides have no common divisor with them.
    let lists = [TABLES.len(), TIMES.len(), HEADS.len(), COATS.len(), FAULTS.len()];
    let mut seen = std::collections::BTreeSet::new();
    for a in 0..lists.len() {
        for b in a + 1..lists.len() {
            for pair in 0..lists[a] * lists[b] {
                let mut choice = [pair, pair / 3, pair / 5, pair / 7, pair / 2].map(|k| k + a + b);
                (choice[a], choice[b]) = (pair % lists[a], pair / lists[a]);
                let [table, time, head, coat, fault] = std::array::from_fn(|k| choice[k] % lists[k]);
                let dialect = Dialect {
                    table: TABLES[table],
                    time: TIMES[time],
                    head: HEADS[head],
                    coat: COATS[coat],
                    fault: FAULTS[fault],
                };
                if seen.insert([table, time, head, coat, fault]) {
                    let Dialect { table, time, head, coat, fault } = &dialect;
                    check(&dialect, &format!("{table:?} {time:?} {head:?} {coat:?} {fault:?}"));
                }
            }
        }
    }
    assert!(seen.len() >= 500, "{}", seen.len());
}

fn with_format(format: FileFormat) -> PreprocessingParameters {
    PreprocessingParameters { detrend: Detrend::None, file_format: format, ..Default::default() }
}

#[test]
fn thousands_are_read_where_they_are_sure_and_refused_where_they_are_not() {
    for (text, expected) in [
        ("time;a\n0;1.234,5\n1;0,25\n2;-12.345,0\n", [1234.5, 0.25, -12345.0]),
        ("time,a\n0,\"1,234.5\"\n1,0.25\n2,\"-12,345\"\n", [1234.5, 0.25, -12345.0]),
        ("time;a\n0;1'234.5\n1;0.25\n2;-12'345\n", [1234.5, 0.25, -12345.0]),
        ("time;a\n0;1 234,5\n1;0,25\n2;-12 345\n", [1234.5, 0.25, -12345.0]),
    ] {
        let folder = Folder::new();
        let record = folder.ingest(&[folder.file("r.csv", text)], &[]);
        assert_eq!(samples(&record.unwrap_or_else(|e| panic!("{text}: {e}")))[0][0], expected, "{text}");
    }
    let folder = Folder::new();
    let file = folder.file("r.csv", "time;a\n0;1,234\n1;2,345\n2;3,456\n");
    let error = folder.ingest(std::slice::from_ref(&file), &[]).unwrap_err();
    assert_eq!(error.to_string(), "r.csv: 1,234 could be 1.234 or 1234: give file_format.decimal_sign");
    assert_eq!(error.code(), "unknown_format");
    let format = FileFormat { decimal_sign: Some(','), ..Default::default() };
    let record = folder.prepare_with(&[file], &[], &with_format(format)).unwrap();
    assert_eq!(samples(&record)[0][0], [1.234, 2.345, 3.456]);
}

#[test]
fn a_zone_orders_the_hour_that_comes_twice_and_without_one_the_file_is_refused() {
    let folder = Folder::new();
    let mut text = String::from("time,a\n");
    // 2024-10-27 00:30 UTC is 02:30 in Rome, and so is 01:30 UTC.
    let start: jiff::Timestamp = "2024-10-27T00:30:00Z".parse().unwrap();
    for k in 0..7200 {
        let at = start + jiff::SignedDuration::from_secs(k);
        let wall = at.in_tz("Europe/Rome").unwrap().strftime("%d/%m/%Y %H:%M:%S").to_string();
        text.push_str(&format!("{wall},{k}\n"));
    }
    let file = folder.file("r.csv", text);
    let format = FileFormat { time_zone: Some("Europe/Rome".into()), ..Default::default() };
    let record = folder.prepare_with(std::slice::from_ref(&file), &[], &with_format(format)).unwrap();
    assert_eq!(record.info().start, Some(start));
    assert!(samples(&record)[0][0].iter().enumerate().all(|(k, v)| *v == k as f32));
    assert_eq!(samples(&record).len(), 1);
    let error = folder.ingest(&[file], &[]).unwrap_err();
    assert!(error.to_string().contains("line 1802: time goes back: if the clock"), "{error}");
    assert!(error.to_string().contains("file_format.time_zone"), "{error}");
}

#[test]
fn the_order_of_day_and_month_is_assumed_with_a_warning_or_given() {
    let folder = Folder::new();
    let file = folder.file("r.csv", "time;a\n03/04/2024 10:00:00;1\n03/04/2024 10:00:01;2\n03/04/2024 10:00:02;3\n");
    let record = folder.ingest(std::slice::from_ref(&file), &[]).unwrap();
    assert!(record.description().warnings.iter().any(|w| w.contains("the day is assumed (file_format.date_order)")));
    assert_eq!(record.info().start.unwrap().to_string(), "2024-04-03T10:00:00Z");
    let format = FileFormat { date_order: Some(DateOrder::MonthFirst), ..Default::default() };
    let record = folder.prepare_with(&[file], &[], &with_format(format)).unwrap();
    assert_eq!(record.info().start.unwrap().to_string(), "2024-03-04T10:00:00Z");
}

#[test]
fn a_rate_of_the_head_that_differs_from_the_stamps_is_an_error() {
    let folder = Folder::new();
    let file = folder.file("r.csv", "# fs = 105 Hz\ntime,a\n0.00,1\n0.01,2\n0.02,3\n0.03,1\n");
    let error = folder.ingest(&[file], &[]).unwrap_err();
    assert!(error.to_string().contains("100.0000 Hz by its time column, declared are 105 Hz"), "{error}");
}

#[test]
fn what_is_no_table_is_refused_with_what_was_tried() {
    let folder = Folder::new();
    let cases: [(&[u8], &str); 6] = [
        (b"Dear Sir,\nthe bridge stands.\n", "no row of numbers with any of the separators tab ';' ',' '|' blanks"),
        (b"\x7fELF\x00\x00\x01\x00", "its bytes are no text"),
        (&[0; 500], "its bytes are no text"),
        (b"PAR1\x15\x04\x15\x10", "cannot be read"),
        (b"\x1f\x8b\x08\x00\x00", "cannot be read"),
        (b"a,b\n1,2,3\n4,5,6\n", "header has 2 names, rows have 3 cells"),
    ];
    for (content, sentence) in cases {
        let file = RawFile { sampling_rate_hz: Some(1.0), ..folder.file("r.csv", content) };
        let error = folder.ingest(&[file], &[]).expect_err(sentence);
        assert!(error.to_string().contains(sentence), "{error} / {sentence}");
        assert!(error.is_permanent(), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_device_is_refused_and_not_read() {
    let folder = Folder::new();
    let file = RawFile { path: "/dev/zero".into(), ..folder.file("r.csv", "") };
    let error = folder.ingest(&[file], &[]).unwrap_err();
    assert!(error.to_string().contains("it is no regular file"), "{error}");
}

#[test]
fn a_setting_that_does_not_fit_is_told_with_its_limit() {
    let folder = Folder::new();
    let file = folder.file("r.csv", "time;a\n0;1\n1;2\n2;3\n");
    let cases = [
        (FileFormat { separator: Some("::".into()), ..Default::default() }, "file_format.separator is \"::\""),
        (FileFormat { decimal_sign: Some('x'), ..Default::default() }, "must be . or ,"),
        (FileFormat { time_zone: Some("Mars".into()), ..Default::default() }, "a zone of the IANA database"),
        (FileFormat { encoding: Some("morse".into()), ..Default::default() }, "an encoding of the WHATWG"),
        (FileFormat { time_column: Some("when".into()), ..Default::default() }, "the header of a column"),
    ];
    for (format, sentence) in cases {
        let error = folder.prepare_with(std::slice::from_ref(&file), &[], &with_format(format)).unwrap_err();
        assert!(error.to_string().contains(sentence), "{error}");
        assert_eq!(error.code(), "bad_parameter", "{error}");
    }
}

/// The slab's own file: rows end in a separator that the header lacks.
#[test]
fn the_slab_of_real_data_is_read_whole() {
    let path = crate::support::real_data::path("data/cessipy_slab_smartphone.csv");
    let folder = Folder::new();
    let file = folder.file("slab.csv", std::fs::read(path).unwrap());
    let record = folder.ingest(&[file], &[]).unwrap();
    assert!((record.info().sampling_rate_hz - 425.08).abs() <= 0.05, "{}", record.info().sampling_rate_hz);
    assert_eq!(record.info().valid_samples(), 25_291);
    let names: Vec<&str> = record.info().channels.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["X-Axis (m/s2)", "Y- Axis (m/s2)", "Z-Axis (m/s2)"]);
}
