//! [`Aborts`] as a topic whose partitions are all read, by a thread of their own.
//!
//! No group is joined and nothing is committed: every worker reads everything, from the moment of its subscription on.
//! What is older than the subscription by its own time is left out: the end that a broker tells may lag behind.
//! The library keeps the positions and goes on from them when a broker is back, so that an abort that was sent while
//! the broker was away still counts. Where there was no position yet, the time of the subscription finds it.

use super::{KafkaSettings, METADATA, Quiet, failed, partitions};
use crate::stores::{Aborts, StoreError, StoreErrorKind, StoreResult};
use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message, Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Between two looks for new partitions.
const LOOK: Duration = Duration::from_secs(10);
/// Between two looks where the last one failed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long one wait for a message takes; a listener that nobody hears ends after it.
const POLL: Duration = Duration::from_millis(100);
/// Payloads that wait for the listener.
const WAITING: usize = 1024;

/// The topic of broadcasts.
pub struct KafkaAborts {
    settings: KafkaSettings,
}

impl KafkaAborts {
    /// A reader; a subscription connects.
    pub fn new(settings: &KafkaSettings) -> KafkaAborts {
        KafkaAborts { settings: settings.clone() }
    }
}

#[async_trait]
impl Aborts for KafkaAborts {
    /// Returns after a few seconds even if no broker answers; what is broadcast meanwhile comes once it does.
    async fn subscribe(&self) -> StoreResult<BoxStream<'static, StoreResult<Vec<u8>>>> {
        let doing = "subscribe to broadcasts";
        let now = jiff::Timestamp::now().as_millisecond();
        let listener = Listener {
            consumer: self.settings.consumer()?,
            topic: self.settings.broadcast_topic.clone(),
            subscribed: now,
            since: now,
            told_at: None,
            assigned: BTreeSet::new(),
            positions: Positions::End,
        };
        let (payloads, received) = mpsc::channel(WAITING);
        let (ready, listening) = oneshot::channel();
        let thread = std::thread::Builder::new().name("broadcasts".into());
        let started = thread.spawn(move || listener.listen(&payloads, ready));
        started.map_err(|error| StoreError::unavailable(doing, error))?;
        let died = |_| StoreError::new(StoreErrorKind::Unavailable, doing, "the thread ended");
        listening.await.map_err(died)?;
        let next = |mut received: mpsc::Receiver<_>| async move { Some((received.recv().await?, received)) };
        Ok(stream::unfold(received, next).boxed())
    }
}

/// Where partitions are begun that are seen for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Positions {
    /// At their end: the subscription is just being made.
    End,
    /// At the time of the last message, or of the subscription: no broker answered then, or a position was lost.
    Since,
    /// At their beginning: they were made after the subscription.
    Beginning,
}

struct Listener {
    consumer: BaseConsumer<Quiet>,
    topic: String,
    /// When the subscription was made, ms by the own clock.
    subscribed: i64,
    /// The same, or the time of a later message; ms by the clock of whoever made it.
    since: i64,
    /// When an error was passed on last: a broker that is away for hours is told of now and then.
    told_at: Option<Instant>,
    assigned: BTreeSet<i32>,
    positions: Positions,
}

impl Listener {
    /// Passes on what comes until nobody listens any more; `ready` hears of the first look, whatever it showed.
    fn listen(mut self, payloads: &mpsc::Sender<StoreResult<Vec<u8>>>, ready: oneshot::Sender<()>) {
        let mut ready = Some(ready);
        let mut next_look = Instant::now();
        while !payloads.is_closed() {
            if Instant::now() >= next_look {
                let looked = self.look();
                next_look = Instant::now() + if looked.is_ok() { LOOK } else { LOOK_AGAIN };
                self.positions = if looked.is_ok() { Positions::Beginning } else { Positions::Since };
                if let Some(ready) = ready.take() {
                    let _ = ready.send(());
                }
                if let Err(error) = looked {
                    self.tell(payloads, error);
                }
            }
            match self.consumer.poll(POLL) {
                None => {}
                Some(Ok(message)) => {
                    let time = message.timestamp().to_millis();
                    self.since = self.since.max(time.unwrap_or(0));
                    if time.is_none_or(|time| time >= self.subscribed) {
                        let _ = payloads.blocking_send(Ok(message.payload().unwrap_or_default().to_vec()));
                    }
                }
                Some(Err(error)) => {
                    if is_lost_position(&error) {
                        // The topic was made anew, or the broker forgot what was not read in time.
                        let _ = self.consumer.unassign();
                        self.assigned.clear();
                        self.positions = Positions::Since;
                        next_look = Instant::now();
                    }
                    self.tell(payloads, failed("read the broadcasts", error));
                }
            }
        }
    }

    /// Passes an error on, unless one was a moment ago.
    fn tell(&mut self, payloads: &mpsc::Sender<StoreResult<Vec<u8>>>, error: StoreError) {
        if self.told_at.is_none_or(|at| at.elapsed() >= LOOK) {
            self.told_at = Some(Instant::now());
            let _ = payloads.blocking_send(Err(error));
        } else {
            tracing::debug!(error = %error, "broadcasts are still not to be read");
        }
    }

    /// Begins the partitions that are not read yet.
    fn look(&mut self) -> StoreResult<()> {
        let doing = "find the partitions of the broadcasts";
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), METADATA).map_err(|e| failed(doing, e))?;
        let all = partitions(metadata.topics(), &self.topic, doing)?;
        let new: Vec<i32> = all.into_iter().filter(|partition| !self.assigned.contains(partition)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let begun = self.positions_of(&new).map_err(|error| failed(doing, error))?;
        self.consumer.incremental_assign(&begun).map_err(|error| failed(doing, error))?;
        tracing::debug!(topic = self.topic, partitions = ?new, positions = ?self.positions, "broadcasts are read");
        self.assigned.extend(new);
        Ok(())
    }

    fn positions_of(&self, partitions: &[i32]) -> Result<TopicPartitionList, KafkaError> {
        let mut begun = TopicPartitionList::new();
        let end = |partition| {
            let (_, end) = self.consumer.fetch_watermarks(&self.topic, partition, METADATA)?;
            Ok::<_, KafkaError>(Offset::Offset(end))
        };
        match self.positions {
            Positions::Beginning => {
                for partition in partitions {
                    begun.add_partition_offset(&self.topic, *partition, Offset::Beginning)?;
                }
            }
            Positions::End => {
                for partition in partitions {
                    begun.add_partition_offset(&self.topic, *partition, end(*partition)?)?;
                }
            }
            Positions::Since => {
                let mut times = TopicPartitionList::new();
                for partition in partitions {
                    times.add_partition_offset(&self.topic, *partition, Offset::Offset(self.since))?;
                }
                for found in self.consumer.offsets_for_times(times, METADATA)?.elements() {
                    let position = match found.offset() {
                        Offset::Offset(offset) => Offset::Offset(offset),
                        _ => end(found.partition())?,
                    };
                    begun.add_partition_offset(&self.topic, found.partition(), position)?;
                }
            }
        }
        Ok(begun)
    }
}

fn is_lost_position(error: &KafkaError) -> bool {
    let lost = [RDKafkaErrorCode::OffsetOutOfRange, RDKafkaErrorCode::AutoOffsetReset];
    error.rdkafka_error_code().is_some_and(|code| lost.contains(&code))
}
