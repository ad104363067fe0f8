//! A record as everything below `ingest` sees it: uniform sampling, gap-free segments, blocks of f32.

use super::channel::Channel;
use super::control::Cancelled;
use std::path::PathBuf;

/// Samples per channel that a [`BlockSource`] hands out at most at once: at 16 channels a block is 1 MiB.
pub const BLOCK_SAMPLES: usize = 1 << 14;

/// A raw file on the local disk and what the index of measures says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct RawFile {
    /// Its key in the bucket, or its path: the name in messages and provenance.
    pub key: String,
    /// Where it lies.
    pub path: PathBuf,
    /// The sensor that wrote it; `None`: the file holds every channel.
    pub sensor_id: Option<String>,
    /// The channel axes of its columns in order, where the index names them.
    pub axes: Vec<String>,
    /// Start of its first sample, where the index knows it.
    pub start: Option<jiff::Timestamp>,
    /// Declared rate, Hz.
    pub sampling_rate_hz: Option<f64>,
}

impl RawFile {
    /// A file that holds every channel and says the rest itself.
    pub fn new(key: impl Into<String>, path: impl Into<PathBuf>) -> RawFile {
        let (key, path) = (key.into(), path.into());
        RawFile { key, path, sensor_id: None, axes: Vec::new(), start: None, sampling_rate_hz: None }
    }
}

/// A stretch of the record without a gap. Spectra and lag products never cross its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Segment {
    /// Index of its first sample on the record's uniform time axis.
    pub start: u64,
    /// Its length in samples.
    pub samples: u64,
}

/// What is known of a record before its samples are read.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordInfo {
    /// Sampling rate of every channel, Hz.
    pub sampling_rate_hz: f64,
    /// Time of sample 0, where the source knows it.
    pub start: Option<jiff::Timestamp>,
    /// The channels, in the order of a block's rows.
    pub channels: Vec<Channel>,
    /// Samples from the first to the last, gaps included.
    pub samples: u64,
    /// The gap-free stretches, ascending and disjoint.
    pub segments: Vec<Segment>,
}

impl RecordInfo {
    /// Samples that are really there: the sum over the segments.
    pub fn valid_samples(&self) -> u64 {
        self.segments.iter().map(|s| s.samples).sum()
    }

    /// Length of the record in seconds, gaps left out.
    pub fn duration_s(&self) -> f64 {
        self.valid_samples() as f64 / self.sampling_rate_hz
    }
}

/// Consecutive samples of one segment: channels × samples, each channel contiguous.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Block {
    /// Index into [`RecordInfo::segments`].
    pub segment: usize,
    /// Position of the first sample within that segment.
    pub start: u64,
    /// Rows.
    pub channels: usize,
    /// Columns.
    pub samples: usize,
    /// `data[channel * samples + t]`, in the channel's unit; always finite.
    pub data: Vec<f32>,
}

impl Block {
    /// The samples of one channel.
    pub fn channel(&self, channel: usize) -> &[f32] {
        &self.data[channel * self.samples..(channel + 1) * self.samples]
    }

    /// The samples of one channel, to be changed in place.
    pub fn channel_mut(&mut self, channel: usize) -> &mut [f32] {
        &mut self.data[channel * self.samples..(channel + 1) * self.samples]
    }

    /// Leaves out the samples before `start`, a position in the segment; none is left where the block ends before.
    pub fn drop_before(&mut self, start: u64) {
        let dropped = (start.saturating_sub(self.start) as usize).min(self.samples);
        if dropped > 0 {
            let kept = self.samples - dropped;
            self.data = (0..self.channels).flat_map(|c| &self.channel(c)[dropped..]).copied().collect();
            self.start += dropped as u64;
            self.samples = kept;
        }
    }

    /// Gives the block a new place and size; the samples are zero afterwards.
    pub fn reset(&mut self, segment: usize, start: u64, channels: usize, samples: usize) {
        self.segment = segment;
        self.start = start;
        self.channels = channels;
        self.samples = samples;
        self.data.clear();
        self.data.resize(channels * samples, 0.0);
    }
}

/// Why a source could not hand out its next block.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file under the record failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The content is not what its header promised.
    #[error("{0}")]
    Content(String),
    /// The run was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Hands out a record block by block, segment after segment, in order.
pub trait BlockSource: Send {
    /// What the record is.
    fn info(&self) -> &RecordInfo;

    /// Fills `block` with what comes next; `false` at the end of the record. A block never crosses the end
    /// of a segment, has at least one and at most [`BLOCK_SAMPLES`] samples, and holds finite numbers only.
    ///
    /// # Errors
    /// [`ReadError`] when the source fails; nothing useful is in `block` then.
    fn next_block(&mut self, block: &mut Block) -> Result<bool, ReadError>;
}

/// A record that can be read from its start as often as a method needs: a cached file, or a record in memory.
pub trait Record: Send + Sync {
    /// What the record is.
    fn info(&self) -> &RecordInfo;

    /// A source at the first sample.
    ///
    /// # Errors
    /// [`ReadError`] when the source cannot be opened.
    fn blocks(&self) -> Result<Box<dyn BlockSource + '_>, ReadError>;
}

/// A whole record in memory: for small ones, tests and examples.
#[derive(Debug, Clone)]
pub struct MemoryRecord {
    info: RecordInfo,
    channels: Vec<Vec<f32>>,
}

impl MemoryRecord {
    /// A record without gaps from one vector of samples a channel.
    ///
    /// # Panics
    /// If the vectors differ in length.
    pub fn new(sampling_rate_hz: f64, channels: Vec<Vec<f32>>) -> MemoryRecord {
        let samples = channels.first().map_or(0, Vec::len) as u64;
        Self::with_segments(sampling_rate_hz, channels, vec![Segment { start: 0, samples }])
    }

    /// A record of which only `segments` are valid.
    ///
    /// # Panics
    /// If the vectors differ in length or a segment passes their end.
    pub fn with_segments(sampling_rate_hz: f64, channels: Vec<Vec<f32>>, segments: Vec<Segment>) -> MemoryRecord {
        let samples = channels.first().map_or(0, Vec::len);
        assert!(channels.iter().all(|c| c.len() == samples), "channels of one record have one length");
        assert!(segments.iter().all(|s| s.start + s.samples <= samples as u64), "segment passes the record's end");
        let names = (0..channels.len()).map(|c| Channel::named(&format!("ch{}", c + 1)));
        let info =
            RecordInfo { sampling_rate_hz, start: None, channels: names.collect(), samples: samples as u64, segments };
        MemoryRecord { info, channels }
    }

    /// The same record with the channels described.
    pub fn with_channels(mut self, channels: Vec<Channel>) -> MemoryRecord {
        self.info.channels = channels;
        self
    }
}

impl Record for MemoryRecord {
    fn info(&self) -> &RecordInfo {
        &self.info
    }

    fn blocks(&self) -> Result<Box<dyn BlockSource + '_>, ReadError> {
        Ok(Box::new(MemoryBlocks { record: self, segment: 0, position: 0 }))
    }
}

struct MemoryBlocks<'a> {
    record: &'a MemoryRecord,
    segment: usize,
    position: u64,
}

impl BlockSource for MemoryBlocks<'_> {
    fn info(&self) -> &RecordInfo {
        &self.record.info
    }

    fn next_block(&mut self, block: &mut Block) -> Result<bool, ReadError> {
        while let Some(segment) = self.record.info.segments.get(self.segment) {
            let left = (segment.samples - self.position) as usize;
            if left == 0 {
                self.segment += 1;
                self.position = 0;
                continue;
            }
            let samples = left.min(BLOCK_SAMPLES);
            let from = (segment.start + self.position) as usize;
            block.reset(self.segment, self.position, self.record.channels.len(), samples);
            for (c, values) in self.record.channels.iter().enumerate() {
                block.channel_mut(c).copy_from_slice(&values[from..from + samples]);
            }
            self.position += samples as u64;
            return Ok(true);
        }
        Ok(false)
    }
}
