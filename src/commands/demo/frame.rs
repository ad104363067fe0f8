//! The building of the demo, and the files that its two loggers left.
//!
//! A shear frame of six storeys whose modes are known in closed form, shaken by white forces for twenty minutes. Its
//! six accelerometers hang on two loggers, and the files are as real ones are: one a sensor and hour, a clock that is
//! ahead, other units and another way to write numbers on the second logger, a stretch that one sensor lost, cells
//! without a number.

use crate::model::channel::Channel;
use crate::simulate::{Damping, Measurement, ShearChain};
use jiff::{SignedDuration, Timestamp};
use std::fmt::Write;
use std::ops::Range;

pub(super) const SAMPLING_RATE_HZ: f64 = 100.0;
/// One sample at 100 Hz.
const STEP: SignedDuration = SignedDuration::from_millis(10);
/// Twenty minutes. The standard deviation of a damping ratio is at best √(ξ / (2π f T)): 5 % of ξ for the first mode,
/// well inside the 25 % that the demo promises.
const SAMPLES: usize = 120_000;
pub(super) const MINUTES: usize = SAMPLES / 6000;
pub(super) const STOREYS: usize = 6;
/// 09:50 UTC, so that the record lies in two hours.
const START: Timestamp = Timestamp::constant(1_772_358_600, 0);
/// The storey whose sensor lost data, and what it lost: 20 s.
pub(super) const GAP_STOREY: usize = 3;
pub(super) const GAP: Range<usize> = 84_000..86_000;
/// Storey and sample of cells without a number.
pub(super) const EMPTY_CELLS: [(usize, usize); 5] = [(2, 12_345), (5, 100), (5, 101), (5, 30_303), (6, 59_000)];

/// What the sensors are wired to.
pub(super) struct Logger {
    pub(super) name: &'static str,
    /// Clock minus true time.
    pub(super) clock_offset: SignedDuration,
    unit: &'static str,
    /// Raw value = physical value × sensitivity + offset.
    sensitivity: f64,
    offset: f64,
    separator: char,
    decimal: char,
}

const LOGGERS: [Logger; 2] = [
    Logger {
        name: "A",
        clock_offset: SignedDuration::ZERO,
        unit: "m/s2",
        sensitivity: 1.0,
        offset: 0.0,
        separator: ',',
        decimal: '.',
    },
    Logger {
        name: "B",
        clock_offset: SignedDuration::from_millis(2400),
        unit: "V",
        sensitivity: 0.51,
        offset: 0.02,
        separator: ';',
        decimal: ',',
    },
];

/// The lower three storeys hang on logger A, the upper three on B.
pub(super) fn logger(storey: usize) -> &'static Logger {
    &LOGGERS[usize::from(storey > STOREYS / 2)]
}

/// The structure itself.
pub(super) fn chain() -> ShearChain {
    ShearChain { dofs: STOREYS, top_frequency_hz: 40.0, damping: Damping::Uniform(0.01) }
}

/// A file as a logger left it.
pub(super) struct LoggerFile {
    pub(super) storey: usize,
    /// Time of its first row by the logger's clock.
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) rows: usize,
    pub(super) text: String,
}

impl LoggerFile {
    /// Where the file lies in the bucket: tenant, structure, sensor, day.
    pub(super) fn key(&self, tenant_id: i64, structure_id: &str, sensor_id: &str) -> String {
        let when = self.start.strftime("%Y/%m/%d/%H%M%S");
        format!("{tenant_id}/{structure_id}/{sensor_id}/{when}.csv")
    }
}

/// The channel of a storey's sensor, as the metadata describes it, before the sensor has an id.
pub(super) fn channel(storey: usize) -> Channel {
    let logger = logger(storey);
    // Storeys of 3 m.
    let height = 3.0 * storey as f64;
    Channel {
        name: format!("storey {storey}"),
        sensor_id: String::new(),
        sensor_name: format!("{}{storey}", logger.name),
        node: storey.to_string(),
        axis: "x".into(),
        position: [0.0, 0.0, height],
        direction: [1.0, 0.0, 0.0],
        quantity: "acceleration".into(),
        unit: "m/s2".into(),
        sampling_rate_hz: Some(SAMPLING_RATE_HZ),
        sensitivity: logger.sensitivity,
        offset: logger.offset,
        clock_offset_s: logger.clock_offset.as_secs_f64(),
        is_reference: true,
        active: true,
        file_format: None,
    }
}

/// Every file of every sensor.
pub(super) fn files() -> Vec<LoggerFile> {
    let measurement = Measurement {
        dofs: (0..STOREYS).collect(),
        sampling_rate_hz: SAMPLING_RATE_HZ,
        samples: SAMPLES,
        noise: 0.05,
        seed: 1,
    };
    let record = chain().record(&measurement);
    record.iter().enumerate().flat_map(|(k, samples)| files_of(k + 1, samples)).collect()
}

/// One file for each hour of the logger's clock.
fn files_of(storey: usize, samples: &[f32]) -> Vec<LoggerFile> {
    let logger = logger(storey);
    let mut files: Vec<LoggerFile> = Vec::new();
    let mut hour = None;
    for (k, value) in samples.iter().enumerate() {
        if storey == GAP_STOREY && GAP.contains(&k) {
            continue;
        }
        let time = START + logger.clock_offset + STEP * k as i32;
        let this_hour = time.as_second().div_euclid(3600);
        if hour != Some(this_hour) {
            hour = Some(this_hour);
            let text = format!("time{}x [{}]\n", logger.separator, logger.unit);
            files.push(LoggerFile { storey, start: time, end: time, rows: 0, text });
        }
        let Some(file) = files.last_mut() else { continue };
        file.end = time;
        file.rows += 1;
        let cell = if EMPTY_CELLS.contains(&(storey, k)) {
            String::new()
        } else {
            let raw = f64::from(*value) * logger.sensitivity + logger.offset;
            format!("{raw:.6}").replace('.', &logger.decimal.to_string())
        };
        // Writing into a string cannot fail.
        let _ = writeln!(file.text, "{time:.3}{}{cell}", logger.separator);
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_starts_where_the_description_says() {
        assert_eq!(START.to_string(), "2026-03-01T09:50:00Z");
    }

    #[test]
    fn files_are_cut_at_the_hour_of_their_own_clock_and_have_their_flaws() {
        let samples = vec![0.5; SAMPLES];
        let first = files_of(1, &samples);
        assert_eq!(first.iter().map(|f| f.rows).collect::<Vec<_>>(), [60_000, 60_000]);
        assert!(
            first[0].text.starts_with("time,x [m/s2]\n2026-03-01T09:50:00.000Z,0.500000\n"),
            "{:.80}",
            first[0].text
        );
        let lost = files_of(GAP_STOREY, &samples);
        assert_eq!(lost.iter().map(|f| f.rows).sum::<usize>(), SAMPLES - GAP.len());
        let ahead = files_of(5, &samples);
        assert_eq!(ahead.iter().map(|f| f.rows).collect::<Vec<_>>(), [59_760, 60_240]);
        assert!(ahead[0].text.contains("2026-03-01T09:50:02.400Z;0,275000\n"), "{:.80}", ahead[0].text);
        assert!(ahead[0].text.contains("2026-03-01T09:50:03.400Z;\n"));
    }
}
