//! The record as the methods see it: without the channels that carry nothing.

use super::PipelineError;
use crate::model::record::{Block, BlockSource, ReadError, Record, RecordInfo};
use crate::model::result::ChannelQuality;

/// A record without the channels that are dead or repeat another one.
pub(super) struct LiveChannels<'a> {
    record: &'a dyn Record,
    info: RecordInfo,
    rows: Vec<usize>,
    warnings: Vec<String>,
}

impl<'a> LiveChannels<'a> {
    /// Leaves out every channel with the verdict `dead` or `duplicated`.
    pub(super) fn of(record: &'a dyn Record, quality: &[ChannelQuality]) -> Result<LiveChannels<'a>, PipelineError> {
        let (left_out, rows): (Vec<usize>, Vec<usize>) =
            (0..quality.len()).partition(|&row| matches!(quality[row].verdict.as_str(), "dead" | "duplicated"));
        let mut info = record.info().clone();
        info.channels = rows.iter().map(|&row| record.info().channels[row].clone()).collect();
        if rows.is_empty() {
            let message = format!("none of {} channels has any variance", quality.len());
            return Err(PipelineError::permanent("no_active_channel", message));
        }
        let warning = |&row: &usize| match &quality[row].duplicate_of {
            Some(other) => format!("channel {:?} repeats channel {other:?} and is left out", quality[row].channel),
            None => format!("channel {:?} has no variance and is left out", quality[row].channel),
        };
        Ok(LiveChannels { record, info, warnings: left_out.iter().map(warning).collect(), rows })
    }

    pub(super) fn rows(&self) -> &[usize] {
        &self.rows
    }

    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Rows of the reference channels: those named, else those marked, else none (by rule).
    pub(super) fn references(&self, named: Option<&[String]>) -> Result<Option<Vec<usize>>, PipelineError> {
        let channels = &self.info.channels;
        let Some(named) = named else {
            let marked: Vec<usize> = (0..channels.len()).filter(|&row| channels[row].is_reference).collect();
            return Ok((!marked.is_empty()).then_some(marked));
        };
        if named.is_empty() {
            let message = "reference_channels is empty: name at least one channel, or null for all by rule";
            return Err(PipelineError::permanent("no_reference_channel", message));
        }
        let row = |name: &String| {
            channels.iter().position(|channel| channel.name == *name).ok_or_else(|| {
                let left_out = self.record.info().channels.iter().any(|channel| channel.name == *name);
                let why = if left_out {
                    "has no variance or repeats another channel"
                } else {
                    "is not a channel of the record"
                };
                let known: Vec<_> = channels.iter().map(|channel| channel.name.as_str()).collect();
                let message = format!("reference channel {name:?} {why}; channels are {}", known.join(", "));
                PipelineError::permanent("no_reference_channel", message)
            })
        };
        let mut rows = named.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        rows.sort_unstable();
        rows.dedup();
        Ok(Some(rows))
    }
}

impl Record for LiveChannels<'_> {
    fn info(&self) -> &RecordInfo {
        &self.info
    }

    fn blocks(&self) -> Result<Box<dyn BlockSource + '_>, ReadError> {
        let source = self.record.blocks()?;
        if self.rows.len() == self.record.info().channels.len() {
            return Ok(source);
        }
        Ok(Box::new(LiveBlocks { of: self, source, whole: Block::default() }))
    }
}

struct LiveBlocks<'a> {
    of: &'a LiveChannels<'a>,
    source: Box<dyn BlockSource + 'a>,
    whole: Block,
}

impl BlockSource for LiveBlocks<'_> {
    fn info(&self) -> &RecordInfo {
        &self.of.info
    }

    fn next_block(&mut self, block: &mut Block) -> Result<bool, ReadError> {
        if !self.source.next_block(&mut self.whole)? {
            return Ok(false);
        }
        let whole = &self.whole;
        block.reset(whole.segment, whole.start, self.of.rows.len(), whole.samples);
        for (to, &from) in self.of.rows.iter().enumerate() {
            block.channel_mut(to).copy_from_slice(whole.channel(from));
        }
        Ok(true)
    }
}
