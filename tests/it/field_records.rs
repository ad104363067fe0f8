//! Measured records as loggers leave them: the modes of the clean record come out, and each fault is told.
#![expect(clippy::unwrap_used, reason = "allow-unwrap-in-tests does not see the helpers of tests")]

use crate::raw_files::{Folder, noise};
use crate::support::real_data;
use oma_worker::model::channel::Channel;
use oma_worker::model::control::Control;
use oma_worker::model::modes::Mode;
use oma_worker::model::record::RawFile;
use oma_worker::model::result::AnalysisResult;
use oma_worker::model::run::RunType;
use oma_worker::pipeline::{self, Request};

fn analyse(
    folder: &Folder,
    files: Vec<RawFile>,
    channels: Vec<Channel>,
    run_type: RunType,
    only: &[&str],
) -> AnalysisResult {
    let request = Request {
        channels,
        selected_channels: (!only.is_empty()).then(|| only.iter().map(|name| (*name).to_owned()).collect()),
        ..Request::new(run_type, files)
    };
    let work = tempfile::tempdir_in(folder.path()).unwrap();
    pipeline::run(&request, None, work.path(), &Control::none()).unwrap().result
}

#[test]
fn the_slab_of_real_data_has_its_mode_in_channel_z() {
    let folder = Folder::new();
    let text = std::fs::read_to_string(real_data::path("data/cessipy_slab_smartphone.csv")).unwrap();
    // The part without footsteps, as its makers cut it.
    let lines: Vec<&str> = text.lines().collect();
    let file = folder.file("slab.csv", [&lines[..1], &lines[2001..18_385]].concat().join("\n"));
    let result = analyse(&folder, vec![file], vec![], RunType::Fdd, &["Z-Axis (m/s2)"]);
    // The bin of the published figure is 0.2 Hz wide.
    let near = result.modes.iter().find(|mode| (mode.frequency_hz - 17.8).abs() <= 0.2);
    let found: Vec<f64> = result.modes.iter().map(|mode| mode.frequency_hz).collect();
    assert!(near.is_some(), "{found:?} {:?}", result.no_modes_reason);
}

/// Rows that no logger has.
fn in_gap(k: usize) -> bool {
    (50_000..51_000).contains(&k) || (120_500..123_000).contains(&k)
}

/// Rows of one logger's hours: `time;x` with decimal commas, ISO times, some rows lost.
fn hours(folder: &Folder, sensor: usize, late_s: f64, values: &dyn Fn(usize) -> f64, lost: &[f64]) -> Vec<RawFile> {
    const PIECES: usize = 30;
    const ROWS: usize = 6000;
    let start: jiff::Timestamp = "2024-03-01T00:00:00Z".parse().unwrap();
    let piece = |piece: usize| {
        let mut text = String::from("Zeit;Beschleunigung\n;m/s2\n");
        for (k, lost) in lost.iter().enumerate().skip(piece * ROWS).take(ROWS) {
            // 2 % of the rows.
            if in_gap(k) || *lost > 0.48 {
                continue;
            }
            let at = start + jiff::SignedDuration::from_millis(10 * k as i64 + (1000.0 * late_s) as i64);
            let stamp = jiff::tz::TimeZone::UTC.to_datetime(at).strftime("%d.%m.%Y %H:%M:%S%.3f").to_string();
            let row = format!("{stamp};{:.9}\n", values(k));
            // Commas for all points but those of the date.
            let (date, rest) = row.split_at(10);
            text.push_str(&format!("{date}{}", rest.replace('.', ",")));
        }
        let file = folder.file(&format!("s{sensor}-{piece:02}.csv"), text);
        RawFile { sensor_id: Some(format!("s{sensor}")), ..file }
    };
    (0..PIECES).map(piece).collect()
}

fn mac(a: &Mode, b: &Mode) -> f64 {
    let (a, b) = (&a.shape.0, &b.shape.0);
    a.dotc(b).norm_sqr() / (a.norm_squared() * b.norm_squared())
}

/// Support above which a mode is firm (automation §7); below it, bridging 2 % of the rows may make it come or go.
const FIRM: f64 = 0.9;

/// Whether a result has the mode: its frequency to 0.2 %, its shape to a MAC of 0.98.
fn is_found(mode: &Mode, result: &AnalysisResult) {
    let rated = result.modes.iter().map(|own| (mac(mode, own), own));
    let near = rated.filter(|(_, own)| (own.frequency_hz - mode.frequency_hz).abs() <= 0.002 * mode.frequency_hz);
    let best = near.map(|(mac, _)| mac).fold(0.0, f64::max);
    let found: Vec<f64> = result.modes.iter().map(|own| own.frequency_hz).collect();
    assert!(best > 0.98, "{} Hz: MAC {best} among {found:?}", mode.frequency_hz);
}

#[test]
fn palisaden_of_real_data_as_loggers_leave_it_has_the_modes_of_the_clean_record() {
    let clean = real_data::channels("data/pyoma2_palisaden_raw30min_f32.npy");
    let sensors = clean.len();
    let channel = |k: usize, late: bool| Channel {
        sensor_id: format!("s{k}"),
        axis: "Beschleunigung".into(),
        sampling_rate_hz: Some(100.0),
        clock_offset_s: if late { 0.4 } else { 0.0 },
        ..Channel::named(&format!("c{k}"))
    };
    let folder = Folder::new();
    let (mut files, mut channels) = (Vec::new(), Vec::new());
    let lost = noise(17, 180_000);
    for (k, own) in clean.iter().enumerate() {
        let late_s = if k == 2 { 0.4 } else { 0.0 };
        files.extend(hours(&folder, k, late_s, &|t| own[t], &lost));
        channels.push(channel(k, k == 2));
    }
    files.extend(hours(&folder, sensors, 0.0, &|_| 0.125, &lost));
    files.extend(hours(&folder, sensors + 1, 0.0, &|t| clean[0][t], &lost));
    channels.extend([channel(sensors, false), channel(sensors + 1, false)]);
    let dirty = analyse(&folder, files, channels, RunType::Ssi, &[]);

    let array = |name: &str, bytes: Vec<u8>| {
        let own = Folder::new();
        let file = RawFile { sampling_rate_hz: Some(100.0), ..own.file(name, bytes) };
        analyse(&own, vec![file], vec![], RunType::Ssi, &[])
    };
    // The modes of the makers' documentation, to its three digits, as the whole clean record has them.
    let whole = array("clean.npy", std::fs::read(real_data::path("data/pyoma2_palisaden_raw30min_f32.npy")).unwrap());
    for published_hz in [1.88, 2.42, 2.68] {
        let near = |mode: &&Mode| (mode.frequency_hz - published_hz).abs() <= 0.01 * published_hz;
        is_found(whole.modes.iter().find(near).unwrap(), &dirty);
    }
    // Every mode of the clean record without the two gaps, and no other firm one: a record that is merely cut short by as
    // much loses and gains modes at the limit of what half an hour shows, 3.63 and 9.24 Hz here.
    let mut lines = String::from("time,c0,c1,c2,c3,c4,c5\n");
    for k in (0..180_000).filter(|k| !in_gap(*k)) {
        lines.push_str(&format!("{:.2}", k as f64 / 100.0));
        clean.iter().for_each(|channel| lines.push_str(&format!(",{}", channel[k])));
        lines.push('\n');
    }
    let same = array("gaps.csv", lines.into_bytes());
    same.modes.iter().for_each(|mode| is_found(mode, &dirty));
    let firm = dirty.modes.iter().filter(|mode| mode.support.unwrap() > FIRM);
    firm.for_each(|mode| is_found(mode, &same));
    let warnings = dirty.provenance.warnings.join("\n");
    for part in [
        "times name no zone",
        "sensor s2: clock is 0.4 s ahead by clock_offset_s, its times were corrected",
        "missing samples in gaps of at most 3 closed by lines",
        "gaps of more than 3 samples split the record",
        "channel \"c6\" has no variance and is left out",
        "channel \"c7\" repeats channel \"c0\" and is left out",
    ] {
        assert!(warnings.contains(part), "{part}: {warnings}");
    }
    assert_eq!(dirty.data.channels.len(), sensors);
}
