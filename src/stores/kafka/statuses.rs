//! [`Statuses`] as messages of a topic, keyed by the analysis, so that those of one analysis keep their order.

use super::{KafkaSettings, Quiet, failed};
use crate::model::run::StatusMessage;
use crate::stores::{Statuses, StoreError, StoreErrorKind, StoreResult};
use async_trait::async_trait;
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The library looks for messages that are too old once a second, so it is told to give up that much earlier.
const LOOK: Duration = Duration::from_secs(1);
/// A message that must be gone sooner is not even tried: a broker takes a millisecond or two.
const SHORTEST: Duration = Duration::from_millis(20);

/// A producer and how long its messages live.
struct Producer {
    client: FutureProducer<Quiet>,
    within: Duration,
}

/// The topic of status messages.
pub struct KafkaStatuses {
    settings: KafkaSettings,
    producer: Mutex<Option<Arc<Producer>>>,
}

impl KafkaStatuses {
    /// A sender; the first message connects.
    pub fn new(settings: &KafkaSettings) -> KafkaStatuses {
        KafkaStatuses { settings: settings.clone(), producer: Mutex::new(None) }
    }

    /// The producer whose messages live for `within`: the same one as long as nothing fails.
    fn producer(&self, within: Duration) -> StoreResult<Arc<Producer>> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = producer.as_ref().filter(|producer| producer.within == within) {
            return Ok(producer.clone());
        }
        let mut config = self.settings.client();
        let timeout = within - LOOK.min(within / 4);
        config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "0");
        config.set("message.timeout.ms", timeout.as_millis().to_string());
        let client = config.create_with_context(Quiet).map_err(|error| failed("make a Kafka producer", error))?;
        let made = Arc::new(Producer { client, within });
        if let Some(old) = producer.replace(made.clone()) {
            discard(old);
        }
        Ok(made)
    }

    /// A producer that failed once may fail for ever (a broker that was stopped fences it), so the next message gets a
    /// new one.
    fn give_up(&self, failed: Arc<Producer>) {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if producer.as_ref().is_some_and(|current| Arc::ptr_eq(current, &failed)) {
            *producer = None;
        }
        discard(failed);
    }
}

/// The last owner of a producer waits for its threads.
fn discard(producer: Arc<Producer>) {
    drop(tokio::task::spawn_blocking(move || drop(producer)));
}

#[async_trait]
impl Statuses for KafkaStatuses {
    async fn send(&self, message: &StatusMessage, within: Duration) -> StoreResult<()> {
        let doing = "send a status message";
        if within < SHORTEST {
            return Err(StoreError::timeout(doing, within));
        }
        let payload = serde_json::to_string(message).map_err(|error| StoreError::invalid(doing, error.to_string()))?;
        let producer = self.producer(within)?;
        let record = FutureRecord::to(&self.settings.output_topic).key(&message.document_id).payload(&payload);
        let delivered = match producer.client.send_result(record) {
            Ok(delivery) => match delivery.await {
                Ok(delivered) => delivered.map(drop).map_err(|(error, _)| failed(doing, error)),
                Err(_) => Err(StoreError::new(StoreErrorKind::Unavailable, doing, "the producer was closed")),
            },
            Err((error, _)) => Err(failed(doing, error)),
        };
        if delivered.is_err() {
            self.give_up(producer);
        }
        delivered
    }
}
