//! A wall clock's time → UTC, row after row: zones with their changes of an hour, and midnights.

use super::stamps::{DAY, Nanos, SECOND, StampFormat};
use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// Offsets from UTC change at full quarters of an hour of the wall clock.
const QUARTER: Nanos = 900 * SECOND;

/// Turns the stamps of one file into UTC, in their order.
pub(crate) struct LocalTime {
    /// `None` where the stamps say themselves where they belong, or nobody knows.
    zone: Option<TimeZone>,
    /// Whether the stamps have no date and begin anew at midnight.
    daily: bool,
    midnights: Nanos,
    previous: Nanos,
    /// The quarter of an hour whose offset is known, and that offset.
    known: Option<(Nanos, AmbiguousOffset)>,
    /// Whether the hour that comes twice has come once.
    second_pass: bool,
}

impl LocalTime {
    /// `format`: of the stamps; `None` for one that is a wall clock's. `zone`: of stamps that name none.
    pub(crate) fn new(format: Option<StampFormat>, zone: Option<TimeZone>) -> LocalTime {
        LocalTime {
            zone: zone.filter(|_| format.is_none_or(StampFormat::is_local)),
            daily: format == Some(StampFormat::Clock),
            midnights: 0,
            previous: Nanos::MIN,
            known: None,
            second_pass: false,
        }
    }

    /// The next stamp's time.
    pub(crate) fn utc_of(&mut self, stamp: Nanos) -> Nanos {
        if self.daily {
            // Half a day back is no jitter but midnight.
            if self.previous != Nanos::MIN && stamp < self.previous.saturating_sub(DAY / 2) {
                self.midnights += DAY;
            }
            self.previous = stamp;
            return stamp + self.midnights;
        }
        let Some(zone) = &self.zone else { return stamp };
        let quarter = stamp.div_euclid(QUARTER);
        let offset = match self.known {
            Some((known, offset)) if known == quarter => offset,
            _ => {
                let wall = Timestamp::from_nanosecond(i128::from(stamp)).unwrap_or(Timestamp::UNIX_EPOCH);
                let offset = zone.to_ambiguous_timestamp(TimeZone::UTC.to_datetime(wall)).offset();
                self.known = Some((quarter, offset));
                offset
            }
        };
        let offset = match offset {
            AmbiguousOffset::Unambiguous { offset } => {
                self.second_pass = false;
                offset
            }
            // A time that the wall clock leaps over: it has not been set yet.
            AmbiguousOffset::Gap { before, .. } => before,
            AmbiguousOffset::Fold { before, after } => {
                // The hour comes again once its end is behind.
                self.second_pass |= stamp < self.previous.saturating_sub(QUARTER);
                if self.second_pass { after } else { before }
            }
        };
        self.previous = stamp;
        stamp.saturating_sub(Nanos::from(offset.seconds()) * SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hour_that_comes_twice_in_autumn_is_told_apart() {
        let format = StampFormat::Calendar { order: crate::ingest::calendar::Order::Year, zoned: false };
        let mut local = LocalTime::new(Some(format), TimeZone::get("Europe/Rome").ok());
        // 2024-10-27: 00:00 UTC is 02:00 summer time, 01:00 UTC is 02:00 again.
        let midnight: Nanos = 1_729_987_200 * SECOND;
        let minute = 60 * SECOND;
        for utc in (0..180).map(|m| midnight - 30 * minute + m * minute) {
            let summer = utc < midnight + 60 * minute;
            let wall = utc + if summer { 120 } else { 60 } * minute;
            assert_eq!(local.utc_of(wall), utc);
        }
    }

    #[test]
    fn midnight_begins_another_day() {
        let mut local = LocalTime::new(Some(StampFormat::Clock), None);
        assert_eq!(local.utc_of(DAY - SECOND), DAY - SECOND);
        assert_eq!(local.utc_of(0), DAY);
        assert_eq!(local.utc_of(SECOND), DAY + SECOND);
    }
}
