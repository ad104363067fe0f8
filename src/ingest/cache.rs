//! The preprocessed record as a Parquet file: written once, read as often as a method needs.
//!
//! One required Float32 column a channel, row groups of [`GROUP_ROWS`] samples, uncompressed and plain. Only valid
//! samples are stored, segment after segment without the gaps between them, so that a pause of a month takes no
//! room; the segments in the metadata say where each belongs. The key-value metadata holds under `oma.record` the
//! record's [`Description`] as JSON, and under `oma.sha256` the SHA-256 of that text and of all samples (row group by
//! row group, channel by channel, little-endian). [`CachedRecord::open`] checks it, so a truncated or altered file
//! is an error there and never a wrong number later.

use super::parquet_guard::{self, guarded};
use super::rows::hex;
use crate::model::channel::Channel;
use crate::model::record::{BLOCK_SAMPLES, Block, BlockSource, ReadError, Record, RecordInfo, Segment};
use crate::model::result::{ChannelQuality, Clock, InputFile};
use jiff::Timestamp;
use parquet::basic::{Compression, Encoding, Repetition, Type as PhysicalType};
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::FloatType;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::NamedTempFile;

/// Samples per channel of a row group: at 16 channels 4 MiB are read or written at once.
pub const GROUP_ROWS: usize = 1 << 16;

/// Layout of the file; a file of another one is a miss.
pub const SCHEMA_VERSION: u32 = 1;

const RECORD_KEY: &str = "oma.record";
const HASH_KEY: &str = "oma.sha256";

/// Why a cache file cannot be used or written.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The disk failed.
    #[error("cache file {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The content is not what this version writes, or was cut or altered.
    #[error("cache file {path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// All that is known of a preprocessed record beside its samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Hz.
    pub sampling_rate_hz: f64,
    /// Time of sample 0.
    pub start: Option<Timestamp>,
    /// Samples from the first to the last, gaps included.
    pub samples: u64,
    /// The gap-free stretches; the file holds their samples one after the other.
    pub segments: Vec<Segment>,
    /// The channels, in the order of the columns.
    pub channels: Vec<Channel>,
    /// What the preprocessing found in each.
    pub quality: Vec<ChannelQuality>,
    /// What was odd.
    pub warnings: Vec<String>,
    /// The raw files.
    pub inputs: Vec<InputFile>,
    /// What was found of each sensor's times.
    #[serde(default)]
    pub clocks: Vec<Clock>,
}

impl Description {
    fn info(&self) -> RecordInfo {
        RecordInfo {
            sampling_rate_hz: self.sampling_rate_hz,
            start: self.start,
            channels: self.channels.clone(),
            samples: self.samples,
            segments: self.segments.clone(),
        }
    }
}

/// Writes a cache file under another name; [`CacheWriter::finish`] puts it in its place whole.
pub struct CacheWriter {
    path: PathBuf,
    temporary: NamedTempFile,
    writer: SerializedFileWriter<File>,
    columns: Vec<Vec<f32>>,
    hash: Sha256,
}

impl CacheWriter {
    /// Begins a file in the folder of `path`.
    ///
    /// # Errors
    /// [`CacheError::Io`] when the folder cannot be written.
    pub fn create(path: &Path, channels: &[Channel]) -> Result<CacheWriter, CacheError> {
        let failed = |source| io_error(path, source);
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = NamedTempFile::new_in(folder).map_err(failed)?;
        let file = temporary.reopen().map_err(failed)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::UNCOMPRESSED)
            .set_dictionary_enabled(false)
            .set_encoding(Encoding::PLAIN)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_offset_index_disabled(true)
            .set_created_by(concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).into());
        let schema = schema(channels).map_err(|error| parquet_error(path, error))?;
        let writer = SerializedFileWriter::new(file, schema, Arc::new(properties.build()));
        Ok(CacheWriter {
            path: path.into(),
            temporary,
            writer: writer.map_err(|error| parquet_error(path, error))?,
            columns: vec![Vec::with_capacity(GROUP_ROWS); channels.len()],
            hash: Sha256::new(),
        })
    }

    /// Takes the next samples of all channels, one slice each, all of one length.
    ///
    /// # Errors
    /// [`CacheError::Io`] when the disk fails.
    pub fn push(&mut self, channels: &[&[f32]]) -> Result<(), CacheError> {
        let length = channels.first().map_or(0, |samples| samples.len());
        let mut from = 0;
        while from < length {
            let room = GROUP_ROWS - self.columns[0].len();
            let to = length.min(from + room);
            for (column, samples) in self.columns.iter_mut().zip(channels) {
                column.extend_from_slice(&samples[from..to]);
            }
            from = to;
            if self.columns[0].len() == GROUP_ROWS {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes what is left and the description, and gives the file its name. Returns the description as a reader
    /// of the file sees it.
    ///
    /// # Errors
    /// [`CacheError::Io`] when the disk fails.
    pub fn finish(mut self, description: &Description) -> Result<Description, CacheError> {
        if !self.columns[0].is_empty() {
            self.flush()?;
        }
        let path = self.path.clone();
        let damaged = |error: serde_json::Error| CacheError::Damaged { path: show(&path), reason: error.to_string() };
        let text = serde_json::to_string(description).map_err(damaged)?;
        self.hash.update(text.as_bytes());
        let hash = hex(&self.hash.finalize());
        let seen = serde_json::from_str(&text).map_err(damaged)?;
        for (key, value) in [(RECORD_KEY, text), (HASH_KEY, hash)] {
            self.writer.append_key_value_metadata(KeyValue::new(key.into(), value));
        }
        self.writer.close().map_err(|error| parquet_error(&path, error))?;
        self.temporary.persist(&path).map_err(|error| io_error(&path, error.error))?;
        Ok(seen)
    }

    fn flush(&mut self) -> Result<(), CacheError> {
        let failed = |error| parquet_error(&self.path, error);
        let mut group = self.writer.next_row_group().map_err(failed)?;
        for column in &mut self.columns {
            hash_samples(&mut self.hash, column);
            let mut writer = group.next_column().map_err(failed)?.ok_or_else(|| CacheError::Damaged {
                path: show(&self.path),
                reason: "fewer columns than channels".into(),
            })?;
            writer.typed::<FloatType>().write_batch(column, None, None).map_err(failed)?;
            writer.close().map_err(failed)?;
            column.clear();
        }
        group.close().map_err(failed)?;
        Ok(())
    }
}

/// A preprocessed record in a cache file.
#[derive(Debug)]
pub struct CachedRecord {
    path: PathBuf,
    info: RecordInfo,
    description: Description,
}

impl CachedRecord {
    /// Opens a cache file and checks every byte that matters, which takes one pass over it.
    ///
    /// # Errors
    /// [`CacheError::Damaged`] when the file was cut or altered, or is of another version: to be treated as if there
    /// were none. [`CacheError::Io`] when it is not there or the disk fails.
    pub fn open(path: &Path) -> Result<CachedRecord, CacheError> {
        let damaged = |reason: &str| CacheError::Damaged { path: show(path), reason: reason.into() };
        let reader = open(path)?;
        let metadata = reader.metadata().file_metadata();
        let entry = |key: &str| {
            let mut entries = metadata.key_value_metadata().into_iter().flatten();
            entries.find(|entry| entry.key == key).and_then(|entry| entry.value.clone())
        };
        let text = entry(RECORD_KEY).ok_or_else(|| damaged("it has no description"))?;
        let hash = entry(HASH_KEY).ok_or_else(|| damaged("it has no checksum"))?;
        let description: Description = serde_json::from_str(&text).map_err(|error| damaged(&error.to_string()))?;
        if description.schema_version != SCHEMA_VERSION {
            return Err(damaged("it is of another version"));
        }
        let channels = description.channels.len();
        if channels == 0 || metadata.schema_descr().num_columns() != channels {
            return Err(damaged("its columns are not its channels"));
        }
        let mut rows = 0;
        let (mut check, mut samples) = (Sha256::new(), Vec::new());
        for group in 0..reader.num_row_groups() {
            for channel in 0..channels {
                read_column(&reader, group, channel, &mut samples).map_err(|error| parquet_error(path, error))?;
                hash_samples(&mut check, &samples);
            }
            rows += samples.len() as u64;
        }
        check.update(text.as_bytes());
        if hex(&check.finalize()) != hash {
            return Err(damaged("its checksum differs"));
        }
        if rows != description.segments.iter().map(|s| s.samples).sum::<u64>() {
            return Err(damaged("its segments do not cover its rows"));
        }
        Ok(CachedRecord::written(path, description))
    }

    /// A file that was written just now, and so need not be checked.
    pub(crate) fn written(path: &Path, description: Description) -> CachedRecord {
        let info = description.info();
        CachedRecord { path: path.into(), info, description }
    }

    /// All that is known of the record beside its samples.
    pub fn description(&self) -> &Description {
        &self.description
    }
}

impl Record for CachedRecord {
    fn info(&self) -> &RecordInfo {
        &self.info
    }

    fn blocks(&self) -> Result<Box<dyn BlockSource + '_>, ReadError> {
        let reader = open(&self.path).map_err(read_error)?;
        let columns = vec![Vec::new(); self.info.channels.len()];
        Ok(Box::new(CachedBlocks { of: self, reader, group: 0, columns, used: 0, segment: 0, position: 0 }))
    }
}

struct CachedBlocks<'a> {
    of: &'a CachedRecord,
    reader: SerializedFileReader<File>,
    /// The next row group.
    group: usize,
    /// The row group before it, and how much of it was handed out.
    columns: Vec<Vec<f32>>,
    used: usize,
    segment: usize,
    position: u64,
}

impl BlockSource for CachedBlocks<'_> {
    fn info(&self) -> &RecordInfo {
        &self.of.info
    }

    fn next_block(&mut self, block: &mut Block) -> Result<bool, ReadError> {
        let Some(segment) = self.of.info.segments.get(self.segment) else { return Ok(false) };
        if self.used == self.columns[0].len() {
            self.read_group()?;
        }
        let left = segment.samples - self.position;
        let samples =
            (self.columns[0].len() - self.used).min(BLOCK_SAMPLES).min(usize::try_from(left).unwrap_or(usize::MAX));
        block.reset(self.segment, self.position, self.columns.len(), samples);
        for (channel, column) in self.columns.iter().enumerate() {
            block.channel_mut(channel).copy_from_slice(&column[self.used..self.used + samples]);
        }
        self.used += samples;
        self.position += samples as u64;
        if self.position == segment.samples {
            (self.segment, self.position) = (self.segment + 1, 0);
        }
        Ok(true)
    }
}

impl CachedBlocks<'_> {
    fn read_group(&mut self) -> Result<(), ReadError> {
        let failed = |error| read_error(parquet_error(&self.of.path, error));
        if self.group == self.reader.num_row_groups() {
            return Err(ReadError::Content(format!("cache file {} has lost rows", show(&self.of.path))));
        }
        for (channel, column) in self.columns.iter_mut().enumerate() {
            read_column(&self.reader, self.group, channel, column).map_err(failed)?;
        }
        self.group += 1;
        self.used = 0;
        Ok(())
    }
}

fn schema(channels: &[Channel]) -> Result<Arc<Type>, ParquetError> {
    let mut fields = Vec::new();
    for channel in channels {
        let field = Type::primitive_type_builder(&channel.name, PhysicalType::FLOAT);
        fields.push(Arc::new(field.with_repetition(Repetition::REQUIRED).build()?));
    }
    Ok(Arc::new(Type::group_type_builder("record").with_fields(fields).build()?))
}

/// Reads one column of one row group whole.
fn read_column(
    reader: &SerializedFileReader<File>,
    group: usize,
    channel: usize,
    samples: &mut Vec<f32>,
) -> Result<(), ParquetError> {
    guarded(|| read_unguarded(reader, group, channel, samples))
}

fn read_unguarded(
    reader: &SerializedFileReader<File>,
    group: usize,
    channel: usize,
    samples: &mut Vec<f32>,
) -> Result<(), ParquetError> {
    let group = reader.get_row_group(group)?;
    let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(usize::MAX);
    if rows == 0 || rows > GROUP_ROWS || group.metadata().column(channel).column_type() != PhysicalType::FLOAT {
        return Err(ParquetError::General(format!("row group of {rows} rows or of another type than f32")));
    }
    let mut column = get_typed_column_reader::<FloatType>(group.get_column_reader(channel)?);
    samples.clear();
    let (found, _, _) = column.read_records(rows, None, None, samples)?;
    if found != rows || samples.len() != rows {
        return Err(ParquetError::EOF(format!("{found} of {rows} rows")));
    }
    Ok(())
}

fn hash_samples(hash: &mut Sha256, samples: &[f32]) {
    // In pieces that stay in the first cache.
    let mut bytes = [0u8; 4096];
    for piece in samples.chunks(bytes.len() / 4) {
        for (to, from) in bytes.chunks_exact_mut(4).zip(piece) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        hash.update(&bytes[..4 * piece.len()]);
    }
}

fn open(path: &Path) -> Result<SerializedFileReader<File>, CacheError> {
    let file = File::open(path).map_err(|source| io_error(path, source))?;
    parquet_guard::open(file).map_err(|error| parquet_error(path, error))
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

fn io_error(path: &Path, source: io::Error) -> CacheError {
    CacheError::Io { path: show(path), source }
}

/// A fault of the disk stays one inside Parquet's own errors; anything else is the content's.
fn parquet_error(path: &Path, error: ParquetError) -> CacheError {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(source) if source.kind() != io::ErrorKind::UnexpectedEof => io_error(path, *source),
            Ok(source) => CacheError::Damaged { path: show(path), reason: source.to_string() },
            Err(other) => CacheError::Damaged { path: show(path), reason: other.to_string() },
        },
        other => CacheError::Damaged { path: show(path), reason: other.to_string() },
    }
}

fn read_error(error: CacheError) -> ReadError {
    match error {
        CacheError::Io { path, source } => ReadError::Io { path, source },
        damaged => ReadError::Content(damaged.to_string()),
    }
}
