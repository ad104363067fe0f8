//! Time cells → nanoseconds: calendar dates in every usual order, time of day, counted seconds, spreadsheet days.

use crate::model::file_format::DateOrder;
use jiff::civil::Date;

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

/// Order of the parts of a date, by its first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Year,
    Day,
    Month,
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

/// Whether a cell is a date or a time of day.
pub(crate) fn is_time(cell: &[u8]) -> bool {
    date(cell).is_some() || time_of_day(cell).is_some()
}

/// Whether a cell is a date without a time of day.
pub(crate) fn is_bare_date(cell: &[u8]) -> bool {
    date(cell).is_some_and(|(_, rest)| rest.trim_ascii().is_empty())
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

/// Three parts of a date as they stand, and what follows them.
type DateParts<'a> = ([Part; 3], &'a [u8]);

/// One part of a date.
#[derive(Debug, Clone, Copy)]
struct Part {
    value: i16,
    digits: usize,
    sign: u8,
}

fn date(cell: &[u8]) -> Option<DateParts<'_>> {
    let cell = cell.trim_ascii();
    let (a, rest) = date_part(cell)?;
    let (b, rest) = date_part(rest)?;
    let (c, rest) = digits(rest)?;
    let lengths = (a.digits == 4 && c.1 <= 2) || (a.digits <= 2 && matches!(c.1, 2 | 4));
    // 1.2.3 is a version and no date; 1.5.20 could be anything, 01.05.20 is one.
    (a.sign == b.sign && lengths && (a.digits == 4 || c.1 == 4 || a.digits == 2))
        .then_some(([a, b, Part { value: c.0, digits: c.1, sign: b.sign }], rest))
}

/// A number, or the name of a month, and the sign behind it.
fn date_part(text: &[u8]) -> Option<(Part, &[u8])> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let (value, digits, rest) = match digits(text) {
        Some(((value, digits), rest)) => (value, digits, rest),
        None => {
            let name = text.get(..3)?;
            let month = MONTHS.iter().position(|m| m.as_bytes().eq_ignore_ascii_case(name))?;
            (month as i16 + 1, 2, &text[3..])
        }
    };
    let (sign, rest) = rest.split_first()?;
    matches!(sign, b'-' | b'/' | b'.').then_some((Part { value, digits, sign: *sign }, rest))
}

/// One to four digits, their value and number, and what follows.
fn digits(text: &[u8]) -> Option<((i16, usize), &[u8])> {
    let count = text.iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=4).contains(&count) {
        return None;
    }
    let value = text[..count].iter().fold(0, |value, digit| 10 * value + i16::from(digit - b'0'));
    Some(((value, count), &text[count..]))
}

/// Order of the parts, and what was assumed about it.
fn date_order(first: [Part; 3], cells: &[&[u8]], given: Option<DateOrder>) -> (Order, Option<String>) {
    if first[0].digits == 4 {
        return (Order::Year, None);
    }
    match given {
        Some(DateOrder::DayFirst) => return (Order::Day, None),
        Some(DateOrder::MonthFirst) => return (Order::Month, None),
        None => {}
    }
    let dates = || cells.iter().filter_map(|cell| date(cell)).map(|(parts, _)| parts);
    if first[0].sign == b'.' || dates().any(|parts| parts[0].value > 12) {
        return (Order::Day, None);
    }
    if dates().any(|parts| parts[1].value > 12) {
        return (Order::Month, None);
    }
    (Order::Day, Some("dates could begin with day or month, the day is assumed (file_format.date_order)".into()))
}

/// A date with or without time of day and zone, and whether it had a zone.
fn calendar(cell: &[u8], order: Order) -> Option<(Nanos, bool)> {
    let ([a, b, c], rest) = date(cell)?;
    let (year, month, day) = match order {
        Order::Year => (a, b, c),
        Order::Day => (c, b, a),
        Order::Month => (c, a, b),
    };
    // Two digits of a year are of this century.
    let year = if year.digits == 2 { 2000 + year.value } else { year.value };
    let date = Date::new(year, i8::try_from(month.value).ok()?, i8::try_from(day.value).ok()?).ok()?;
    let days = i64::from((date - Date::constant(1970, 1, 1)).get_days());
    let (of_day, zone) = match rest.split_first() {
        None => (0, None),
        Some((b'T' | b't' | b' ' | b'_' | b',' | b'-', time)) => clock(time.trim_ascii())?,
        Some(_) => return None,
    };
    let nanos = days.checked_mul(DAY)?.checked_add(of_day - zone.unwrap_or(0))?;
    Some((nanos, zone.is_some()))
}

/// Time since midnight.
pub(crate) fn time_of_day(cell: &[u8]) -> Option<Nanos> {
    clock(cell.trim_ascii()).map(|(nanos, _)| nanos)
}

/// `hh:mm[:ss[.fff]] [AM|PM] [zone]` → time since midnight, offset of the zone.
fn clock(text: &[u8]) -> Option<(Nanos, Option<Nanos>)> {
    let ((hour, length), rest) = digits(text)?;
    let ((minute, 2), mut rest) = digits(rest.strip_prefix(b":")?)? else { return None };
    let (mut second, mut fraction) = (0, 0);
    if let Some(after) = rest.strip_prefix(b":") {
        let ((value, 1..=2), after) = digits(after)? else { return None };
        (second, rest) = (value, after);
        if let Some((b'.' | b',' | b':', after)) = rest.split_first() {
            let count = after.iter().take_while(|b| b.is_ascii_digit()).count();
            // Digits beyond the nanosecond are cut.
            let digits = after[..count].iter().chain(std::iter::repeat(&b'0')).take(9);
            fraction = digits.fold(0, |value, digit| 10 * value + Nanos::from(digit - b'0'));
            rest = &after[count..];
        }
    }
    if length > 2 || hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    let rest = rest.trim_ascii_start();
    let half = |word: &[u8; 2]| rest.get(..2).is_some_and(|r| r.eq_ignore_ascii_case(word));
    let (hour, rest) = match (half(b"am"), half(b"pm")) {
        (false, false) => (hour, rest),
        (_, pm) => (hour % 12 + if pm { 12 } else { 0 }, rest[2..].trim_ascii_start()),
    };
    let seconds = 3600 * Nanos::from(hour) + 60 * Nanos::from(minute) + Nanos::from(second);
    Some((seconds * SECOND + fraction, zone(rest)?))
}

/// Offset of a zone that is written as `Z`, `UTC`, `+01:00`, `-0530` or `+01`; `Some(None)` where there is none.
fn zone(text: &[u8]) -> Option<Option<Nanos>> {
    if text.is_empty() {
        return Some(None);
    }
    if ["z", "utc", "gmt"].iter().any(|name| name.as_bytes().eq_ignore_ascii_case(text)) {
        return Some(Some(0));
    }
    let (sign, rest) = text.split_first()?;
    let sign = match sign {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let figures: Vec<u8> = rest.iter().copied().filter(|b| *b != b':').collect();
    if !matches!(figures.len(), 2 | 4) {
        return None;
    }
    let ((value, count), []) = digits(&figures)? else { return None };
    let (hours, minutes) = if count == 4 { (value / 100, value % 100) } else { (value, 0) };
    (hours < 24 && minutes < 60).then(|| Some(sign * (3600 * Nanos::from(hours) + 60 * Nanos::from(minutes)) * SECOND))
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
