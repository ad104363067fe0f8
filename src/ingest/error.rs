//! Why raw files give no record.

use crate::model::control::Cancelled;
use std::io;

/// Why raw files give no record.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's and field's meaning is its message")]
pub enum IngestError {
    #[error("no raw file covers the period")]
    NoFiles,
    #[error("{0}: no such file")]
    Missing(String),
    #[error("{file}: cannot be read: {reason}")]
    Unreadable { file: String, reason: String },
    #[error("{file}: {source}")]
    Io { file: String, source: io::Error },
    #[error("{0}: file is empty")]
    Empty(String),
    #[error("{0}: file has a header and no rows")]
    HeaderOnly(String),
    #[error("{file}: fits no known format: {tried}")]
    UnknownFormat { file: String, tried: String },
    #[error("{file}: {reading}: give {setting}")]
    Ambiguous { file: String, reading: String, setting: &'static str },
    #[error("file_format.{setting} is {value:?}, must be {limit}")]
    FormatSetting { setting: &'static str, value: String, limit: &'static str },
    #[error("{file}: header has {found} names, rows have {expected} cells")]
    HeaderWidth { file: String, found: usize, expected: usize },
    #[error("{file}, line {line}: {found} cells, the header has {expected}")]
    Ragged { file: String, line: u64, found: usize, expected: usize },
    #[error("{file}, line {line}, column {column:?}: {value:?} is no number")]
    Text { file: String, line: u64, column: String, value: String },
    #[error("{file}, line {line}: {value:?} is no time")]
    Time { file: String, line: u64, value: String },
    #[error("{file}, line {line}: time goes back{hint}")]
    TimeBackwards { file: String, line: u64, hint: &'static str },
    #[error("{0}: rows are not evenly spaced in time, a record needs one sampling rate")]
    Uneven(String),
    #[error("{file}: array {reason}")]
    Array { file: String, reason: String },
    #[error("{file}: universal file {reason}")]
    Universal { file: String, reason: String },
    #[error("{name}: sampling rate is {rate_hz} Hz, must be above 0")]
    Rate { name: String, rate_hz: f64 },
    #[error("{0}: has no time column and no sampling rate, give one")]
    NoRate(String),
    #[error("{name}: sampled at {found_hz:.4} Hz by its time column, declared are {declared_hz} Hz")]
    DeclaredRate { name: String, found_hz: f64, declared_hz: f64 },
    #[error("{name} is declared to be sampled at {rate_hz:.4} Hz, {other} at {other_hz:.4} Hz")]
    RatesDiffer { name: String, rate_hz: f64, other: String, other_hz: f64 },
    #[error(
        "sampling_rate_hz is {wanted_hz} Hz, must be at most {lowest_hz:.4} Hz, the lowest rate of a sensor: {name}"
    )]
    WantedRate { wanted_hz: f64, name: String, lowest_hz: f64 },
    #[error("{absolute} has dates in its time column, {relative} has seconds: they cannot be joined")]
    MixedClocks { absolute: String, relative: String },
    #[error("{0}: has no dates, so a period cannot be cut out of it")]
    PeriodWithoutTime(String),
    #[error("{0}: repeats the time of the file before it, there is no sample left in it")]
    Overlap(String),
    #[error("{0}: no row with a usable time")]
    NoRows(String),
    #[error("sensors have no period in common")]
    NoCommonPeriod,
    #[error("no sample lies within the period")]
    EmptyPeriod,
    #[error("no active channel")]
    NoActiveChannel,
    #[error("channel {channel:?} is unknown{}", nearest_is(nearest))]
    UnknownChannel { channel: String, nearest: Option<String> },
    #[error("channel {0:?} is not active")]
    InactiveChannel(String),
    #[error("channel {channel:?}: clock offset is {offset_s} s, must be finite")]
    ClockOffset { channel: String, offset_s: f64 },
    #[error("channel {channel:?} has no column in {file}{}", nearest_is(nearest))]
    NoColumn { channel: String, file: String, nearest: Option<String> },
    #[error("channel {0:?} has no raw file in the period")]
    NoFileOf(String),
    #[error("channel {0:?}: every value in the period is empty or no number")]
    AllMissing(String),
    #[error("no moment at which all {channels} channels have a value; the sparsest is {sparsest:?}")]
    NoStretch { channels: usize, sparsest: String },
    #[error("{0} gaps longer than max_gap_samples: raise it, or leave the broken channel out")]
    TooManyGaps(usize),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

fn nearest_is(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|n| format!(", the nearest name is {n:?}")).unwrap_or_default()
}

impl IngestError {
    /// A system error about a file: missing, unreadable, or a fault of the machine.
    pub(crate) fn io(file: &str, source: io::Error) -> IngestError {
        use io::ErrorKind as Kind;
        let file = file.to_owned();
        match source.kind() {
            Kind::NotFound => IngestError::Missing(file),
            Kind::PermissionDenied
            | Kind::IsADirectory
            | Kind::UnexpectedEof
            | Kind::InvalidData
            | Kind::InvalidInput => IngestError::Unreadable { file, reason: source.to_string() },
            _ => IngestError::Io { file, source },
        }
    }

    /// Short word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            IngestError::NoFiles | IngestError::NoFileOf(_) => "no_raw_file",
            IngestError::Missing(_) => "missing_file",
            IngestError::Unreadable { .. } | IngestError::Array { .. } | IngestError::Universal { .. } => {
                "unreadable_file"
            }
            IngestError::UnknownFormat { .. } | IngestError::Ambiguous { .. } => "unknown_format",
            IngestError::FormatSetting { .. } => "bad_parameter",
            IngestError::Io { .. } => "io",
            IngestError::Empty(_) | IngestError::HeaderOnly(_) => "empty_file",
            IngestError::Ragged { .. } | IngestError::HeaderWidth { .. } => "ragged_rows",
            IngestError::Text { .. } => "text_in_numbers",
            IngestError::Time { .. }
            | IngestError::TimeBackwards { .. }
            | IngestError::Uneven(_)
            | IngestError::MixedClocks { .. }
            | IngestError::Overlap(_)
            | IngestError::ClockOffset { .. }
            | IngestError::NoRows(_) => "bad_time",
            IngestError::Rate { .. }
            | IngestError::NoRate(_)
            | IngestError::DeclaredRate { .. }
            | IngestError::RatesDiffer { .. }
            | IngestError::WantedRate { .. } => "bad_sampling_rate",
            IngestError::PeriodWithoutTime(_) | IngestError::NoCommonPeriod | IngestError::EmptyPeriod => "bad_period",
            IngestError::NoActiveChannel => "no_active_channel",
            IngestError::UnknownChannel { .. } | IngestError::InactiveChannel(_) | IngestError::NoColumn { .. } => {
                "unknown_channel"
            }
            IngestError::AllMissing(_) | IngestError::NoStretch { .. } | IngestError::TooManyGaps(_) => "no_samples",
            IngestError::Cancelled(_) => "cancelled",
        }
    }

    /// Whether the same files would fail again.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, IngestError::Io { .. } | IngestError::Cancelled(_))
    }
}
