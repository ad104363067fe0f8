//! Dates and times of day as people and loggers write them → nanoseconds since 1970, or since midnight.

use super::stamps::{DAY, Nanos, SECOND};
use crate::model::file_format::DateOrder;
use jiff::civil::Date;

/// Order of the parts of a date, by its first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Year,
    Day,
    Month,
}

/// Whether a cell is a date or a time of day.
pub(crate) fn is_time(cell: &[u8]) -> bool {
    date(cell).is_some() || time_of_day(cell).is_some()
}

/// Whether a cell is a date without a time of day.
pub(crate) fn is_bare_date(cell: &[u8]) -> bool {
    date(cell).is_some_and(|(_, rest)| rest.trim_ascii().is_empty())
}

/// Three parts of a date as they stand, and what follows them.
pub(crate) type DateParts<'a> = ([Part; 3], &'a [u8]);

/// One part of a date.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    value: i16,
    digits: usize,
    sign: u8,
}

pub(crate) fn date(cell: &[u8]) -> Option<DateParts<'_>> {
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
pub(crate) fn date_order(first: [Part; 3], cells: &[&[u8]], given: Option<DateOrder>) -> (Order, Option<String>) {
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
pub(crate) fn calendar(cell: &[u8], order: Order) -> Option<(Nanos, bool)> {
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
