//! One time cell → nanoseconds: ISO 8601, epoch in s, ms, µs or ns, or seconds from the start of the file.

use jiff::Timestamp;
use jiff::civil::DateTime;

/// Nanoseconds since 1970, or since the start of the file. Exact where an f64 of seconds is not: 128 Hz is
/// 7 812 500 ns, and a stamp of today in seconds has a resolution of 0.2 µs only.
pub(crate) type Nanos = i64;

/// Plain seconds above this (1979) are counted from 1970: no record is ten years long.
const EPOCH_SECONDS: f64 = 3e8;

/// How the cells of a time column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StampFormat {
    /// ISO 8601; `zoned` if the first cell names its zone.
    Iso {
        /// Otherwise UTC is assumed.
        zoned: bool,
    },
    /// A number in units of 10^`exponent` ns.
    Number {
        /// 9 for seconds, 0 for nanoseconds.
        exponent: u32,
        /// Counted from 1970.
        absolute: bool,
    },
}

impl StampFormat {
    /// The format of a column from its header and first cell; `None` if the cell is no time.
    pub(crate) fn detect(header: &str, cell: &[u8]) -> Option<StampFormat> {
        if let Some((_, zoned)) = iso(cell) {
            return Some(StampFormat::Iso { zoned });
        }
        let value = decimal(cell, 0)? as f64;
        let by_size = || match value.abs() {
            v if v >= EPOCH_SECONDS * 1e9 => 0,
            v if v >= EPOCH_SECONDS * 1e6 => 3,
            v if v >= EPOCH_SECONDS * 1e3 => 6,
            _ => 9,
        };
        let exponent = unit(header).unwrap_or_else(by_size);
        let seconds = value.abs() * 10f64.powi(exponent as i32 - 9);
        Some(StampFormat::Number { exponent, absolute: seconds >= EPOCH_SECONDS })
    }

    /// Whether the stamps name a point in time and not only a distance from the start of the file.
    pub(crate) fn is_absolute(self) -> bool {
        matches!(self, StampFormat::Iso { .. } | StampFormat::Number { absolute: true, .. })
    }

    /// The cell's time; `None` if it is none.
    pub(crate) fn parse(self, cell: &[u8]) -> Option<Nanos> {
        match self {
            StampFormat::Iso { .. } => iso(cell).map(|(nanos, _)| nanos),
            StampFormat::Number { exponent, .. } => decimal(cell, exponent),
        }
    }
}

/// Whether a column with this header holds the time.
pub(crate) fn is_time_header(header: &str) -> bool {
    const NAMES: [&str; 11] =
        ["time", "t", "timestamp", "datetime", "date", "zeit", "zeitstempel", "seconds", "sec", "epoch", "elapsed"];
    const QUALIFIERS: [&str; 7] = ["utc", "unix", "epoch", "stamp", "time", "iso8601", "gmt"];
    let words = words(header);
    let Some((first, rest)) = words.split_first() else { return false };
    NAMES.contains(&first.as_str())
        && rest.iter().all(|w| QUALIFIERS.contains(&w.as_str()) || unit_exponent(w).is_some())
}

fn words(header: &str) -> Vec<String> {
    let lower = header.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// The unit that a header names: `time_ms`, `t (µs)`, `epoch [ns]`.
fn unit(header: &str) -> Option<u32> {
    words(header).iter().rev().find_map(|w| unit_exponent(w))
}

fn unit_exponent(word: &str) -> Option<u32> {
    match word {
        "s" | "sec" | "seconds" => Some(9),
        "ms" | "msec" | "milliseconds" => Some(6),
        "us" | "µs" | "μs" | "usec" | "microseconds" => Some(3),
        "ns" | "nsec" | "nanoseconds" => Some(0),
        _ => None,
    }
}

/// ISO 8601 with or without zone, and whether it had one.
fn iso(cell: &[u8]) -> Option<(Nanos, bool)> {
    let text = std::str::from_utf8(cell).ok()?.trim();
    // A date has a dash after its year; this spares every plain number the attempt.
    if text.get(4..5) != Some("-") {
        return None;
    }
    let (time, zoned) = match text.parse::<Timestamp>() {
        Ok(time) => (time, true),
        Err(_) => (jiff::tz::TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok()?, false),
    };
    Some((Nanos::try_from(time.as_nanosecond()).ok()?, zoned))
}

/// A decimal number times 10^`exponent`, rounded half up in magnitude; exact, with a point or a comma.
fn decimal(cell: &[u8], exponent: u32) -> Option<i64> {
    let cell = cell.trim_ascii();
    let (negative, digits) = match cell.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, cell),
    };
    let point = digits.iter().position(|b| matches!(b, b'.' | b','));
    let (whole, part) = point.map_or((digits, &[][..]), |at| (&digits[..at], &digits[at + 1..]));
    if whole.len() + part.len() == 0 {
        return None;
    }
    if !whole.iter().chain(part).all(u8::is_ascii_digit) {
        return scientific(cell, exponent);
    }
    let resolved = part.iter().chain(std::iter::repeat(&b'0')).take(exponent as usize);
    let mut value = 0i64;
    for digit in whole.iter().chain(resolved) {
        value = value.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
    }
    let up = part.get(exponent as usize).is_some_and(|digit| *digit >= b'5');
    let value = value.checked_add(i64::from(up))?;
    Some(if negative { -value } else { value })
}

fn scientific(cell: &[u8], exponent: u32) -> Option<i64> {
    let text = std::str::from_utf8(cell).ok()?.replace(',', ".");
    let value = text.parse::<f64>().ok()? * 10f64.powi(exponent as i32);
    // The largest i64 is 9.2e18; this also turns NaN and infinity away.
    (value.abs() < 9e18).then_some(value.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(header: &str, cell: &str) -> Option<(Nanos, bool)> {
        let format = StampFormat::detect(header, cell.as_bytes())?;
        Some((format.parse(cell.as_bytes())?, format.is_absolute()))
    }

    #[test]
    fn every_written_form_of_one_moment_is_the_same_moment() {
        let moment = 1_700_000_000_123_000_000;
        for (header, cell) in [
            ("time", "2023-11-14T22:13:20.123Z"),
            ("time", "2023-11-14 22:13:20.123"),
            ("time", "2023-11-14T23:13:20.123+01:00"),
            ("time", "1700000000.123"),
            ("time", "1700000000,123"),
            ("time", "1700000000123"),
            ("time", "1700000000123000"),
            ("time", "1700000000123000000"),
            ("time_ms", "1700000000123"),
            ("epoch [ns]", "1700000000123000000"),
        ] {
            assert_eq!(parsed(header, cell), Some((moment, true)), "{header} {cell}");
        }
    }

    #[test]
    fn plain_seconds_are_relative_and_exact() {
        assert_eq!(parsed("Time (s)", "0.002352083"), Some((2_352_083, false)));
        assert_eq!(parsed("t", "-0.0000000016"), Some((-2, false)));
        assert_eq!(parsed("t", ".5"), Some((500_000_000, false)));
        assert_eq!(parsed("t", "1e-3"), Some((1_000_000, false)));
        assert_eq!(parsed("t_ms", "7.8125"), Some((7_812_500, false)));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for cell in ["", "-", ".", "abc", "1.2.3", "nan", "inf", "2023-13-45", "99999999999999999999"] {
            assert_eq!(parsed("time", cell), None, "{cell}");
        }
    }

    #[test]
    fn headers_of_time_columns_are_known() {
        for header in ["time", "Time (s)", "Timestamp [ms]", "t", "epoch_ns", "Date Time", "zeit"] {
            assert!(is_time_header(header), "{header}");
        }
        for header in ["temperature", "top", "ch1", "time lag", "z", ""] {
            assert!(!is_time_header(header), "{header}");
        }
    }
}
