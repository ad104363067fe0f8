//! Parquet tables: a row a sample, a column a channel, perhaps one of time; read in blocks whatever the row groups.

use super::IngestError;
use super::bytes::open;
use super::cells::finite;
use super::csv::{Decoded, Findings};
use super::layout::Column;
use super::local_time::LocalTime;
use super::parquet_guard::{self, guarded};
use super::rows::Digest;
use super::stamps::{Nanos, StampFormat, is_time_header};
use crate::model::control::Control;
use crate::model::file_format::FileFormat;
use crate::model::record::RawFile;
use jiff::tz::TimeZone;
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as PhysicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;
use std::fs::File;

/// Rows that are decoded at once.
const BLOCK_ROWS: usize = 1 << 14;

/// Rows whose cells settle how a column of time is written.
const SAMPLE_ROWS: usize = 64;

/// A Parquet file whose footer was understood.
#[derive(Debug, Clone)]
pub(crate) struct ParquetFile {
    file: RawFile,
    columns: Vec<Column>,
    time: Option<TimeColumn>,
    zone: Option<TimeZone>,
    missing_values: Vec<f64>,
}

/// The column of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TimeColumn {
    index: usize,
    stamps: Stamps,
}

/// What its cells mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stamps {
    /// Whole numbers of so many nanoseconds since 1970.
    Typed { unit: Nanos, utc: bool },
    /// Numbers or text as in a text file.
    Written(StampFormat),
}

/// One cell.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Whole(i64),
    Real(f64),
    Text(Vec<u8>),
}

impl Cell {
    fn number(&self) -> f64 {
        match self {
            Cell::Whole(value) => *value as f64,
            Cell::Real(value) => finite(*value),
            Cell::Text(_) => f64::NAN,
        }
    }

    fn text(&self) -> Vec<u8> {
        match self {
            Cell::Whole(value) => value.to_string().into_bytes(),
            Cell::Real(value) => value.to_string().into_bytes(),
            Cell::Text(text) => text.clone(),
        }
    }
}

impl ParquetFile {
    /// Understands the footer.
    pub(crate) fn open(file: &RawFile, format: &FileFormat) -> Result<ParquetFile, IngestError> {
        let reader = reader(file)?;
        let schema = reader.metadata().file_metadata().schema_descr();
        if reader.metadata().file_metadata().num_rows() <= 0 {
            return Err(IngestError::Empty(file.key.clone()));
        }
        let zone = format.time_zone.as_deref().map(|name| {
            TimeZone::get(name).map_err(|_| IngestError::FormatSetting {
                setting: "time_zone",
                value: name.into(),
                limit: "a zone of the IANA database, like Europe/Rome",
            })
        });
        let name = |index: usize| schema.column(index).path().string();
        let wanted = |index: &usize| match &format.time_column {
            Some(wanted) => name(*index).eq_ignore_ascii_case(wanted),
            None => typed_time(&schema.column(*index)).is_some() || is_time_header(&name(*index)),
        };
        let mut time = None;
        let candidates: Vec<usize> = (0..schema.num_columns()).filter(wanted).collect();
        let typed = candidates.iter().find(|index| typed_time(&schema.column(**index)).is_some());
        for &index in typed.into_iter().chain(&candidates) {
            let stamps = match typed_time(&schema.column(index)) {
                Some(stamps) => Some(stamps),
                None => {
                    let cells = sample(&reader, index, file)?;
                    let cells: Vec<&[u8]> = cells.iter().map(Vec::as_slice).collect();
                    let found = StampFormat::detect(&name(index), &cells, format.date_order);
                    found.map(|found| Stamps::Written(found.format))
                }
            };
            if let (None, Some(stamps)) = (time, stamps) {
                time = Some(TimeColumn { index, stamps });
            }
        }
        if let (Some(wanted), None) = (&format.time_column, time) {
            let (value, limit) = (wanted.clone(), "the name of a column of time of the file");
            return Err(IngestError::FormatSetting { setting: "time_column", value, limit });
        }
        let is_time = |index: &usize| time.is_some_and(|time| time.index == *index);
        let column = |index: usize| Column {
            header: name(index),
            unit: String::new(),
            index,
            unfit: unfit(&schema.column(index)),
        };
        let columns = (0..schema.num_columns()).filter(|index| !is_time(index)).map(column).collect();
        let missing_values = format.missing_values.clone().unwrap_or_default();
        Ok(ParquetFile { file: file.clone(), columns, time, zone: zone.transpose()?, missing_values })
    }

    /// All but the time.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Whether its rows have stamps, and those name points in time.
    pub(crate) fn is_dated(&self) -> Option<bool> {
        self.time.map(|time| match time.stamps {
            Stamps::Typed { .. } => true,
            Stamps::Written(format) => format.is_absolute(),
        })
    }

    /// Whether the stamps are those of a wall clock of an unknown zone.
    pub(crate) fn is_of_unknown_zone(&self) -> bool {
        self.zone.is_none() && self.time.is_some_and(|time| time.stamps.is_local())
    }

    /// Reads the whole file once and hands `columns` (places in the schema) to `sink`.
    pub(crate) fn decode(
        &self,
        columns: &[usize],
        control: &Control,
        sink: &mut dyn FnMut(&Decoded<'_>) -> Result<(), IngestError>,
    ) -> Result<Findings, IngestError> {
        let reader = reader(&self.file)?;
        let failed = |error| unreadable(&self.file, &error);
        let mut local = self.time.map(|time| match time.stamps {
            Stamps::Typed { utc: true, .. } => LocalTime::new(None, None),
            Stamps::Typed { utc: false, .. } => LocalTime::new(None, self.zone.clone()),
            Stamps::Written(format) => LocalTime::new(Some(format), self.zone.clone()),
        });
        let mut rows = 0;
        for group in 0..reader.num_row_groups() {
            let group = guarded(|| reader.get_row_group(group)).map_err(failed)?;
            let mut left = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
            let open = |index: &usize| guarded(|| group.get_column_reader(*index)).map_err(failed);
            let depth = |index: &usize| group.metadata().column(*index).column_descr().max_def_level();
            let mut lanes = columns.iter().map(open).collect::<Result<Vec<_>, _>>()?;
            let mut time = self.time.map(|time| open(&time.index)).transpose()?;
            while left > 0 {
                control.checkpoint()?;
                let count = left.min(BLOCK_ROWS);
                let mut stamps = vec![0; count];
                if let (Some(reader), Some(column), Some(local)) = (&mut time, self.time, &mut local) {
                    let cells = read(reader, count, depth(&column.index)).map_err(failed)?;
                    for (row, (stamp, cell)) in stamps.iter_mut().zip(cells).enumerate() {
                        let parsed = cell.as_ref().and_then(|cell| column.stamps.parse(cell));
                        let wrong = || IngestError::Time {
                            file: self.file.key.clone(),
                            line: rows + row as u64 + 1,
                            value: cell.as_ref().map_or("null".into(), |c| String::from_utf8_lossy(&c.text()).into()),
                        };
                        *stamp = local.utc_of(parsed.ok_or_else(wrong)?);
                    }
                }
                let mut values = vec![f64::NAN; count * columns.len()];
                for (place, (lane, index)) in lanes.iter_mut().zip(columns).enumerate() {
                    let cells = read(lane, count, depth(index)).map_err(failed)?;
                    for (row, cell) in cells.into_iter().enumerate() {
                        values[row * columns.len() + place] = cell.map_or(f64::NAN, |cell| cell.number());
                    }
                }
                sink(&Decoded { stamps: &stamps, values: &values })?;
                rows += count as u64;
                left -= count;
            }
        }
        let digest = Digest::new(open(&self.file)?).finish(rows);
        let digest = digest.map_err(|source| IngestError::io(&self.file.key, source))?;
        Ok(Findings { digest, missing: vec![self.missing_values.clone(); columns.len()], warnings: Vec::new() })
    }
}

impl Stamps {
    fn is_local(self) -> bool {
        match self {
            Stamps::Typed { utc, .. } => !utc,
            Stamps::Written(format) => format.is_local(),
        }
    }

    fn parse(self, cell: &Cell) -> Option<Nanos> {
        match (self, cell) {
            (Stamps::Typed { unit, .. }, Cell::Whole(value)) => value.checked_mul(unit),
            (Stamps::Typed { .. }, _) => None,
            (Stamps::Written(StampFormat::Number { exponent, .. }), Cell::Real(value)) => {
                let nanos = value * 10f64.powi(exponent as i32);
                // The largest i64 is 9.2e18; this also turns NaN away.
                (nanos.abs() < 9e18).then_some(nanos.round() as Nanos)
            }
            (Stamps::Written(format), cell) => format.parse(&cell.text()),
        }
    }
}

/// The meaning of a column that is declared to hold points in time.
fn typed_time(column: &ColumnDescriptor) -> Option<Stamps> {
    if column.physical_type() != PhysicalType::INT64 || column.max_rep_level() > 0 {
        return None;
    }
    match (column.logical_type_ref(), column.converted_type()) {
        (Some(LogicalType::Timestamp(time)), _) => {
            let unit = match time.unit {
                TimeUnit::MILLIS => 1_000_000,
                TimeUnit::MICROS => 1_000,
                TimeUnit::NANOS => 1,
            };
            Some(Stamps::Typed { unit, utc: time.is_adjusted_to_u_t_c })
        }
        (None, ConvertedType::TIMESTAMP_MILLIS) => Some(Stamps::Typed { unit: 1_000_000, utc: true }),
        (None, ConvertedType::TIMESTAMP_MICROS) => Some(Stamps::Typed { unit: 1_000, utc: true }),
        _ => None,
    }
}

/// Why a column is no channel.
fn unfit(column: &ColumnDescriptor) -> Option<&'static str> {
    let plain = matches!(column.logical_type_ref(), None | Some(LogicalType::Integer { .. } | LogicalType::Unknown))
        && !matches!(
            column.converted_type(),
            ConvertedType::DECIMAL | ConvertedType::DATE | ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS
        );
    match column.physical_type() {
        _ if column.max_rep_level() > 0 => Some("holds lists"),
        _ if typed_time(column).is_some() => Some("is another column of time"),
        PhysicalType::INT32 | PhysicalType::INT64 | PhysicalType::FLOAT | PhysicalType::DOUBLE if plain => None,
        _ => Some("holds no numbers"),
    }
}

fn reader(file: &RawFile) -> Result<SerializedFileReader<File>, IngestError> {
    parquet_guard::open(open(file)?).map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &RawFile, error: &ParquetError) -> IngestError {
    IngestError::Unreadable { file: file.key.clone(), reason: format!("Parquet: {error}") }
}

/// The first cells of a column as text.
fn sample(reader: &SerializedFileReader<File>, index: usize, file: &RawFile) -> Result<Vec<Vec<u8>>, IngestError> {
    let failed = |error| unreadable(file, &error);
    if reader.num_row_groups() == 0 {
        return Ok(Vec::new());
    }
    let group = guarded(|| reader.get_row_group(0)).map_err(failed)?;
    let depth = group.metadata().column(index).column_descr().max_def_level();
    let mut column = guarded(|| group.get_column_reader(index)).map_err(failed)?;
    let count = SAMPLE_ROWS.min(usize::try_from(group.metadata().num_rows()).unwrap_or(0));
    let cells = read(&mut column, count, depth).map_err(failed)?;
    Ok(cells.into_iter().flatten().map(|cell| cell.text()).collect())
}

/// The next `count` cells; `None` where there is none. `depth`: definition level of a cell that is there.
fn read(column: &mut ColumnReader, count: usize, depth: i16) -> Result<Vec<Option<Cell>>, ParquetError> {
    match column {
        ColumnReader::Int32ColumnReader(reader) => cells(reader, count, depth, |v| Cell::Whole(i64::from(*v))),
        ColumnReader::Int64ColumnReader(reader) => cells(reader, count, depth, |v| Cell::Whole(*v)),
        ColumnReader::FloatColumnReader(reader) => cells(reader, count, depth, |v| Cell::Real(f64::from(*v))),
        ColumnReader::DoubleColumnReader(reader) => cells(reader, count, depth, |v| Cell::Real(*v)),
        ColumnReader::ByteArrayColumnReader(reader) => cells(reader, count, depth, |v| Cell::Text(v.data().to_vec())),
        _ => Ok(vec![None; count]),
    }
}

fn cells<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    count: usize,
    depth: i16,
    cell: impl Fn(&T::T) -> Cell,
) -> Result<Vec<Option<Cell>>, ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let (found, ..) = guarded(|| reader.read_records(count, (depth > 0).then_some(&mut levels), None, &mut values))?;
    let mut values = values.iter().map(cell);
    let read: Vec<Option<Cell>> = match depth {
        0 => values.map(Some).collect(),
        _ => levels.iter().map(|level| if *level == depth { values.next() } else { None }).collect(),
    };
    if found != count || read.len() != count {
        return Err(ParquetError::EOF(format!("{found} of {count} rows")));
    }
    Ok(read)
}
