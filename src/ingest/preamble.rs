//! What the lines above a table say of it: the sampling rate, the start.

use super::calendar::{is_bare_date, time_of_day};
use super::cells::Separator;
use super::stamps::{DAY, Nanos, any_time, unit_exponent, words};
use crate::model::file_format::DateOrder;

/// What a head says of the record below it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Preamble {
    /// Hz.
    pub(crate) sampling_rate_hz: Option<f64>,
    /// Of the first row, as a wall clock shows it.
    pub(crate) start: Option<Nanos>,
}

impl Preamble {
    /// Reads `key, value, unit` in any of the usual dresses: `;SampleRate, 100,Hz`, `# Start time: 2024-…`,
    /// `Sampling interval [ms]=5`.
    pub(crate) fn read(lines: &[&[u8]], order: Option<DateOrder>) -> Preamble {
        let mut preamble = Preamble::default();
        let (mut date, mut clock) = (None, None);
        for line in lines {
            let Some((key, value)) = setting(line) else { continue };
            let key = words(&key);
            let rate = rate_of(&key, value);
            preamble.sampling_rate_hz = preamble.sampling_rate_hz.or(rate);
            if rate.is_some() || !is_start(&key) {
                continue;
            }
            let value = value.trim_ascii_start();
            if is_bare_date(value) {
                date = date.or_else(|| any_time(value, order));
            } else if let Some(time) = time_of_day(value) {
                clock = clock.or(Some(time));
            } else {
                preamble.start = preamble.start.or_else(|| any_time(value, order));
            }
        }
        preamble.start = preamble.start.or_else(|| Some(date? + clock.filter(|c| *c < DAY)?)).or(date);
        preamble
    }

    /// Whether a line sets something: a key, a separator and one value, perhaps with a unit.
    pub(crate) fn is_setting(line: &[u8]) -> bool {
        let Some((key, value)) = setting(line) else { return false };
        let is_comment = line.trim_ascii_start().first().is_some_and(|b| matches!(b, b'#' | b'%' | b';' | b'/' | b'!'));
        is_comment
            || rate_of(&words(&key), value).is_some()
            || number(value).is_some()
            || any_time(value, None).is_some()
    }
}

/// Key and value of a line.
fn setting(line: &[u8]) -> Option<(String, &[u8])> {
    let marks = line.iter().take_while(|b| matches!(b, b'#' | b'%' | b';' | b'/' | b'!' | b'*' | b' ' | b'"')).count();
    let line = &line[marks..];
    let at = line.iter().position(|b| matches!(b, b',' | b';' | b'\t' | b'=' | b':'))?;
    let value = line[at + 1..].trim_ascii_start();
    // A spreadsheet fills the line up with separators.
    let filled = value.iter().rev().take_while(|b| matches!(b, b',' | b';' | b'\t' | b'"' | b' ')).count();
    let value = &value[..value.len() - filled];
    Some((String::from_utf8_lossy(&line[..at]).into_owned(), value.strip_prefix(b"\"").unwrap_or(value)))
}

/// The sampling rate that a line gives as a rate or as an interval, Hz.
fn rate_of(key: &[String], value: &[u8]) -> Option<f64> {
    let joined = key.concat();
    let has = |parts: &[&str]| parts.iter().any(|part| joined.contains(part));
    let of_sampling = has(&["sampl", "abtast", "campion", "scan", "acquisition", "echantillon"]);
    let is_rate =
        of_sampling && has(&["rate", "freq", "hz"]) || matches!(joined.as_str(), "fs" | "fshz" | "odr" | "sps");
    let is_interval = of_sampling && has(&["interval", "period", "step"])
        || matches!(key.first().map(String::as_str), Some("dt"))
        || matches!(joined.as_str(), "deltat" | "timestep" | "interval");
    let (number, rest) = number(value)?;
    let unit: Vec<String> =
        words(&String::from_utf8_lossy(rest)).into_iter().chain(key.iter().rev().cloned()).collect();
    let rate = match (is_rate, is_interval) {
        (true, _) if unit.iter().any(|word| word == "khz") => 1e3 * number,
        (true, _) => number,
        (_, true) => {
            let exponent = unit.iter().find_map(|word| unit_exponent(word)).unwrap_or(9);
            1e9 / (number * 10f64.powi(exponent as i32))
        }
        _ => return None,
    };
    (rate > 0.0 && rate.is_finite()).then_some(rate)
}

/// The first number of a value, with a point or a comma, and what follows it.
fn number(value: &[u8]) -> Option<(f64, &[u8])> {
    let (cell, rest) = Separator::Blanks.cut(value);
    let end = cell.iter().take_while(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E')).count();
    // `100,Hz` ends at the comma, `0,01 s` does not.
    let comma = cell.get(end) == Some(&b',') && cell.get(end + 1).is_some_and(u8::is_ascii_digit);
    let end = if comma { end + 1 + cell[end + 1..].iter().take_while(|b| b.is_ascii_digit()).count() } else { end };
    let text = String::from_utf8_lossy(&cell[..end]).replace(',', ".");
    let number = text.parse::<f64>().ok()?;
    Some((number, if cell.len() > end { &value[value.len().min(end)..] } else { rest.unwrap_or_default() }))
}

fn is_start(key: &[String]) -> bool {
    const STARTS: [&str; 10] =
        ["start", "begin", "beginning", "date", "time", "first", "recorded", "datum", "zeit", "trigger"];
    key.first().is_some_and(|word| STARTS.contains(&word.as_str()) || word.starts_with("start"))
        || key.iter().any(|word| word == "start")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Preamble {
        Preamble::read(&lines.iter().map(|line| line.as_bytes()).collect::<Vec<_>>(), None)
    }

    #[test]
    fn the_rate_is_found_in_every_dress() {
        for line in [
            ";SampleRate, 100,Hz",
            "# sampling rate: 100 Hz",
            "Sampling Frequency [Hz]=100",
            "fs = 100",
            "Abtastrate;0,1 kHz",
            "Sample interval;10 ms",
            "dt: 0.01",
            "Sampling period (ms)\t10",
            "\"Scan rate\",100",
        ] {
            let rate = read(&[line]).sampling_rate_hz;
            assert!(rate.is_some_and(|rate| (rate - 100.0).abs() <= 1e-9), "{line}: {rate:?}");
        }
        for line in ["Channels: 4", "Serial,100", "# rate of change 5", "Sample rate: fast"] {
            assert_eq!(read(&[line]).sampling_rate_hz, None, "{line}");
        }
    }

    #[test]
    fn the_start_is_found_whole_and_in_two_lines() {
        let moment = Some(1_709_287_200_500_000_000);
        assert_eq!(read(&[";Start_time, 2024-03-01 10:00:00.500"]).start, moment);
        assert_eq!(read(&["# Start: 01.03.2024 10:00:00,5"]).start, moment);
        assert_eq!(read(&["Date: 2024-03-01", "Time: 10:00:00.5"]).start, moment);
        assert_eq!(read(&["Operator: Start Ltd"]).start, None);
    }
}
