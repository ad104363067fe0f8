//! Time cells → nanoseconds: calendar dates and times of day (`calendar`), counted seconds, spreadsheet days.

use super::calendar::{Order, calendar, date, date_order, time_of_day};
use crate::model::file_format::DateOrder;

/// Nanoseconds since 1970, or since the start of the file. Exact where an f64 of seconds is not: 128 Hz is
/// 7 812 500 ns, and a stamp of today in seconds has a resolution of 0.2 µs only.
pub(crate) type Nanos = i64;

pub(crate) const SECOND: Nanos = 1_000_000_000;
pub(crate) const DAY: Nanos = 86_400 * SECOND;

/// Plain seconds above this (1979) are counted from 1970: no record is ten years long.
const EPOCH_SECONDS: f64 = 3e8;

/// Spreadsheets count days from here (their own leap day of 1900 makes it the 30th).
const SPREADSHEET_EPOCH_DAYS: Nanos = -25_569;

/// How the cells of a time column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StampFormat {
    /// Date and perhaps time of day.
    Calendar {
        order: Order,
        /// Whether the first cell names its zone.
        zoned: bool,
    },
    /// Time of day without a date.
    Clock,
    /// Days since the end of 1899.
    SpreadsheetDays,
    /// A number in units of 10^`exponent` ns.
    Number {
        /// 9 for seconds, 0 for nanoseconds.
        exponent: u32,
        /// Counted from 1970.
        absolute: bool,
    },
}

/// A column's format, and what had to be assumed for it.
pub(crate) struct Detected {
    pub(crate) format: StampFormat,
    pub(crate) note: Option<String>,
}

impl StampFormat {
    /// The format of a column from its header and its first cells; `None` if the first cell is no time.
    pub(crate) fn detect(header: &str, cells: &[&[u8]], given: Option<DateOrder>) -> Option<Detected> {
        let first = cells.first()?;
        let of = |format| Some(Detected { format, note: None });
        if let Some(date) = date(first) {
            let (order, note) = date_order(date.0, cells, given);
            let (_, zoned) = calendar(first, order)?;
            return Some(Detected { format: StampFormat::Calendar { order, zoned }, note });
        }
        if time_of_day(first).is_some() {
            return of(StampFormat::Clock);
        }
        let value = decimal(first, 0)? as f64;
        let unit = unit(header);
        if unit.is_none() && is_spreadsheet(cells) {
            return of(StampFormat::SpreadsheetDays);
        }
        let by_size = || match value.abs() {
            v if v >= EPOCH_SECONDS * 1e9 => 0,
            v if v >= EPOCH_SECONDS * 1e6 => 3,
            v if v >= EPOCH_SECONDS * 1e3 => 6,
            _ => 9,
        };
        let exponent = unit.unwrap_or_else(by_size);
        let seconds = value.abs() * 10f64.powi(exponent as i32 - 9);
        of(StampFormat::Number { exponent, absolute: seconds >= EPOCH_SECONDS })
    }

    /// Whether the stamps name a point in time and not only a distance from the start of the file.
    pub(crate) fn is_absolute(self) -> bool {
        !matches!(self, StampFormat::Clock | StampFormat::Number { absolute: false, .. })
    }

    /// Whether the stamps are those of a wall clock whose zone is not told.
    pub(crate) fn is_local(self) -> bool {
        matches!(self, StampFormat::Calendar { zoned: false, .. } | StampFormat::SpreadsheetDays)
    }

    /// The cell's time; `None` if it is none. That of a wall clock counts as if its zone were UTC.
    pub(crate) fn parse(self, cell: &[u8]) -> Option<Nanos> {
        match self {
            StampFormat::Calendar { order, .. } => calendar(cell, order).map(|(nanos, _)| nanos),
            StampFormat::Clock => time_of_day(cell),
            StampFormat::SpreadsheetDays => spreadsheet(cell),
            StampFormat::Number { exponent, .. } => decimal(cell, exponent),
        }
    }
}

/// The time that a line of a file's head names, whatever its form.
pub(crate) fn any_time(cell: &[u8], given: Option<DateOrder>) -> Option<Nanos> {
    StampFormat::detect("", &[cell], given)?.format.parse(cell)
}

/// Whether a column with this header holds the time.
pub(crate) fn is_time_header(header: &str) -> bool {
    const NAMES: [&str; 19] = [
        "time",
        "t",
        "timestamp",
        "datetime",
        "date",
        "zeit",
        "zeitstempel",
        "datum",
        "uhrzeit",
        "seconds",
        "sec",
        "epoch",
        "elapsed",
        "utc",
        "fecha",
        "hora",
        "temps",
        "heure",
        "orario",
    ];
    const QUALIFIERS: [&str; 18] = [
        "utc", "unix", "epoch", "stamp", "time", "iso8601", "gmt", "local", "elapsed", "hh", "mm", "ss", "fff", "yyyy",
        "dd", "of", "day", "excel",
    ];
    let words = words(header);
    let Some((first, rest)) = words.split_first() else { return false };
    NAMES.contains(&first.as_str())
        && rest.iter().all(|w| QUALIFIERS.contains(&w.as_str()) || unit_exponent(w).is_some())
}

/// The words of a text in lower case.
pub(crate) fn words(header: &str) -> Vec<String> {
    let lower = header.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// The unit that a header names: `time_ms`, `t (µs)`, `epoch [ns]`.
fn unit(header: &str) -> Option<u32> {
    words(header).iter().rev().find_map(|w| unit_exponent(w))
}

/// A word for a unit of time as a power of ten of nanoseconds.
pub(crate) fn unit_exponent(word: &str) -> Option<u32> {
    match word {
        "s" | "sec" | "second" | "seconds" => Some(9),
        "ms" | "msec" | "milliseconds" => Some(6),
        "us" | "µs" | "μs" | "usec" | "microseconds" => Some(3),
        "ns" | "nsec" | "nanoseconds" => Some(0),
        _ => None,
    }
}

/// Whether plain numbers are days of a spreadsheet: of the years 1954 to 2119, and a step apart that would be none
/// of any logger in seconds and is one in days.
fn is_spreadsheet(cells: &[&[u8]]) -> bool {
    let value = |cell: &&[u8]| std::str::from_utf8(cell).ok()?.trim().replace(',', ".").parse::<f64>().ok();
    let values: Option<Vec<f64>> = cells.iter().map(value).collect();
    let Some(values) = values.filter(|v| v.len() > 1) else { return false };
    let step = (values[values.len() - 1] - values[0]) / (values.len() - 1) as f64;
    // 10 µs to 100 s in days.
    values.iter().all(|v| (20_000.0..80_000.0).contains(v)) && (1e-10..1.2e-3).contains(&step)
}

fn spreadsheet(cell: &[u8]) -> Option<Nanos> {
    let nanodays = decimal(cell, 9)?;
    let days = nanodays.div_euclid(SECOND);
    // Figures beyond the nanoday, 86 µs, count as well.
    let exact = std::str::from_utf8(cell).ok()?.trim().replace(',', ".").parse::<f64>().ok()?;
    let part = ((exact - days as f64) * DAY as f64).round() as Nanos;
    (days + SPREADSHEET_EPOCH_DAYS).checked_mul(DAY)?.checked_add(part)
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
        let format = StampFormat::detect(header, &[cell.as_bytes()], None)?.format;
        Some((format.parse(cell.as_bytes())?, format.is_absolute()))
    }

    #[test]
    fn every_written_form_of_one_moment_is_the_same_moment() {
        let moment = 1_700_000_000_123_000_000;
        for (header, cell) in [
            ("time", "2023-11-14T22:13:20.123Z"),
            ("time", "2023-11-14 22:13:20.123"),
            ("time", "2023-11-14T23:13:20.123+01:00"),
            ("time", "2023-11-14 17:13:20,123 -0500"),
            ("time", "2023/11/14 22:13:20.123 UTC"),
            ("time", "14/11/2023 22:13:20,123"),
            ("time", "11/14/2023 10:13:20.123 PM"),
            ("time", "14.11.23 22:13:20.123"),
            ("time", "14-Nov-2023 22:13:20:123"),
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
    fn the_order_of_a_date_is_told_by_any_date_of_the_column_or_by_the_format() {
        let detect = |cells: &[&[u8]], given| StampFormat::detect("date", cells, given).unwrap();
        let order = |d: &Detected| match d.format {
            StampFormat::Calendar { order, .. } => order,
            other => panic!("{other:?}"),
        };
        let open = detect(&[b"03/04/2024 10:00:00"], None);
        assert_eq!((order(&open), open.note.is_some()), (Order::Day, true));
        let told = detect(&[b"03/04/2024 10:00:00", b"03/14/2024 10:00:00"], None);
        assert_eq!((order(&told), told.note), (Order::Month, None));
        let given = detect(&[b"03/04/2024 10:00:00"], Some(DateOrder::MonthFirst));
        assert_eq!((order(&given), given.note), (Order::Month, None));
    }

    #[test]
    fn days_of_a_spreadsheet_are_known_by_their_step() {
        let cells: [&[u8]; 2] = [b"45352.4166666667", b"45352.4166667824"];
        let format = StampFormat::detect("time", &cells, None).unwrap().format;
        assert_eq!(format, StampFormat::SpreadsheetDays);
        // 2024-03-01T10:00:00Z; ten digits of a day are 4 µs.
        let moment = 1_709_287_200 * SECOND;
        assert!((format.parse(cells[0]).unwrap() - moment).abs() <= 10_000);
        assert!((format.parse(cells[1]).unwrap() - moment - SECOND / 100).abs() <= 10_000);
        assert!(!StampFormat::detect("time", &[b"45352.0", b"45353.0"], None).unwrap().format.is_absolute());
    }

    #[test]
    fn the_time_of_day_counts_from_midnight() {
        assert_eq!(parsed("time", "00:00:01.5"), Some((1_500_000_000, false)));
        assert_eq!(parsed("time", "1:02:03"), Some((3_723_000_000_000, false)));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for cell in
            ["", "-", ".", "abc", "1.2.3", "nan", "inf", "2023-13-45", "25:00:00", "1.2.3 x", "99999999999999999999"]
        {
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
