//! Windows with holes → gap-free stretches.
//!
//! A gap of up to `max_gap_samples` between two values of a channel is closed by a straight line. A longer one, and
//! what lies before a channel's first and after its last value, ends the stretch for all channels.

use super::assemble::Assembler;
use super::{IngestError, RawRecord};
use crate::model::control::Control;

/// Consecutive samples at which every channel has a value: raw units, f64.
#[derive(Debug, Default)]
pub struct Stretch {
    /// First sample on the record's axis. Where it is the end of the stretch before, both belong together.
    pub start: u64,
    /// One vector a channel, all of one length.
    pub channels: Vec<Vec<f64>>,
}

impl Stretch {
    /// Samples per channel.
    pub fn samples(&self) -> usize {
        self.channels.first().map_or(0, Vec::len)
    }
}

/// What was missing in one channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Missing {
    /// Samples with a value of their own.
    pub present: u64,
    /// Samples that were closed by a line.
    pub closed: u64,
}

/// Reads a record from its start, stretch by stretch.
pub struct Stretches<'a> {
    assembler: Assembler<'a>,
    control: &'a Control,
    max_gap: usize,
    /// First sample of `lanes` on the axis.
    start: u64,
    lanes: Vec<Lane>,
    /// Samples of `lanes` in which no gap is open; these are handed out.
    settled: usize,
    /// How many of those were handed out.
    given: usize,
    ended: bool,
}

/// One channel.
#[derive(Clone)]
struct Lane {
    /// Settled samples that wait to be handed out, then those of a gap that is still open.
    samples: Vec<f64>,
    /// Where the search for gaps goes on.
    searched: usize,
    /// The value before `samples`; `None` if there is none or it lies before a long gap.
    before: Option<f64>,
    missing: Missing,
}

impl<'a> Stretches<'a> {
    pub(crate) fn new(record: &'a RawRecord, max_gap: usize, control: &'a Control) -> Stretches<'a> {
        let lane = Lane { samples: Vec::new(), searched: 0, before: None, missing: Missing::default() };
        Stretches {
            assembler: Assembler::new(record, max_gap, control),
            control,
            max_gap,
            start: 0,
            lanes: vec![lane; record.channels.len()],
            settled: 0,
            given: 0,
            ended: false,
        }
    }

    /// Hands every stretch to `take`, while the next one is read, until there is none or `take` wants no more.
    ///
    /// # Errors
    /// [`IngestError`] as [`Stretches::next_stretch`], and what `take` returns.
    pub fn each<E: From<IngestError>>(
        &mut self,
        mut take: impl FnMut(&mut Stretch) -> Result<bool, E>,
    ) -> Result<(), E> {
        let (mut stretch, mut ahead) = (Stretch::default(), Stretch::default());
        let mut is_there = self.next_stretch(&mut stretch)?;
        while is_there {
            let mut read = Ok(false);
            let goes_on = rayon::in_place_scope(|scope| {
                scope.spawn(|_| read = self.next_stretch(&mut ahead));
                take(&mut stretch)
            })?;
            is_there = read? && goes_on;
            std::mem::swap(&mut stretch, &mut ahead);
        }
        Ok(())
    }

    /// Fills `stretch` with what comes next; `false` at the end of the record.
    ///
    /// # Errors
    /// [`IngestError`] when a file holds something else than numbers, or fails.
    pub fn next_stretch(&mut self, stretch: &mut Stretch) -> Result<bool, IngestError> {
        loop {
            self.control.checkpoint()?;
            let whole = |t: &usize| self.lanes.iter().all(|lane| lane.samples[*t].is_finite());
            if let Some(from) = (self.given..self.settled).find(whole) {
                let to = (from..self.settled).find(|t| !whole(t)).unwrap_or(self.settled);
                stretch.start = self.start + from as u64;
                stretch.channels.resize_with(self.lanes.len(), Vec::new);
                for (out, lane) in stretch.channels.iter_mut().zip(&self.lanes) {
                    out.clear();
                    out.extend_from_slice(&lane.samples[from..to]);
                }
                self.given = to;
                return Ok(true);
            }
            if self.ended {
                return Ok(false);
            }
            self.read()?;
        }
    }

    /// Per channel what was missing in what was read so far.
    pub fn missing(&self) -> Vec<Missing> {
        let missing = |(channel, lane): (usize, &Lane)| {
            let (own, samples) = self.assembler.closed(channel);
            let Missing { present, closed } = lane.missing;
            Missing { present: present.saturating_sub(samples), closed: closed + own }
        };
        self.lanes.iter().enumerate().map(missing).collect()
    }

    /// Reads the next window and settles what can be.
    fn read(&mut self) -> Result<(), IngestError> {
        self.drop_settled();
        let open = self.lanes.first().map_or(0, |lane| lane.samples.len());
        let next = self.assembler.next_window()?;
        match next {
            None => self.ended = true,
            // Nothing was left out: the window continues what is here.
            Some(start) if start == self.start + open as u64 => {}
            Some(start) => {
                let skipped = start - self.start - open as u64;
                if skipped <= self.max_gap as u64 {
                    self.lanes.iter_mut().for_each(|lane| lane.samples.resize(open + skipped as usize, f64::NAN));
                } else {
                    // A long gap in all channels: what is open stays open.
                    self.start = start;
                    self.lanes.iter_mut().for_each(Lane::forget);
                }
            }
        }
        let mut settled = usize::MAX;
        for (channel, lane) in self.lanes.iter_mut().enumerate() {
            if next.is_some() {
                lane.append(self.assembler.channel(channel));
            }
            settled = settled.min(lane.close_gaps(self.max_gap));
        }
        self.settled = if self.ended { self.lanes.first().map_or(0, |lane| lane.samples.len()) } else { settled };
        Ok(())
    }

    fn drop_settled(&mut self) {
        let settled = std::mem::take(&mut self.settled);
        self.given = 0;
        self.start += settled as u64;
        self.lanes.iter_mut().for_each(|lane| lane.drop_front(settled));
    }
}

impl Lane {
    fn append(&mut self, window: &[f64]) {
        self.missing.present += window.iter().filter(|v| v.is_finite()).count() as u64;
        self.samples.extend_from_slice(window);
    }

    /// Leaves what is open out and starts anew after a long gap.
    fn forget(&mut self) {
        self.samples.clear();
        self.searched = 0;
        self.before = None;
    }

    fn drop_front(&mut self, count: usize) {
        if count > 0 {
            self.before = Some(self.samples[count - 1]).filter(|v| v.is_finite());
            self.samples.drain(..count);
            self.searched = self.searched.saturating_sub(count);
        }
    }

    /// Closes the short gaps and returns how many samples are settled: all up to a gap that may still turn out short.
    fn close_gaps(&mut self, max_gap: usize) -> usize {
        let length = self.samples.len();
        let mut from = self.searched;
        while let Some(hole) = (from..length).find(|t| self.samples[*t].is_nan()) {
            let end = (hole..length).find(|t| self.samples[*t].is_finite()).unwrap_or(length);
            let left = if hole == 0 { self.before } else { Some(self.samples[hole - 1]).filter(|v| v.is_finite()) };
            if let Some(left) = left
                && end - hole <= max_gap
            {
                if end == length {
                    self.searched = hole;
                    return hole;
                }
                let step = (self.samples[end] - left) / (end - hole + 1) as f64;
                for (k, sample) in self.samples[hole..end].iter_mut().enumerate() {
                    *sample = left + step * (k + 1) as f64;
                }
                self.missing.closed += (end - hole) as u64;
            }
            from = end;
        }
        self.searched = length;
        length
    }
}
