//! [`Statuses`](super::Statuses) and [`Aborts`](super::Aborts) over Kafka.

mod aborts;
mod statuses;

pub use aborts::KafkaAborts;
pub use statuses::KafkaStatuses;

use super::secret::Secret;
use super::{Complaint, StoreError, StoreErrorKind, StoreResult};
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::metadata::MetadataTopic;
use std::time::Duration;

/// How long the broker may take to tell of a topic.
const METADATA: Duration = Duration::from_secs(3);

/// Where the broker is and which topics are ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KafkaSettings {
    /// One or several `host:port`, separated by commas (`KAFKA_BROKER`).
    pub broker: String,
    /// The topic that aborts are read from (`KAFKA_TOPIC_BROADCAST`).
    pub broadcast_topic: String,
    /// The topic that status messages are sent to (`KAFKA_TOPIC_OUTPUT`).
    pub output_topic: String,
    /// A name that the client asks for; no group is joined, because every worker must see every broadcast
    /// (`KAFKA_CONSUMER_GROUP`).
    pub consumer_group: String,
    /// More settings of the client, `name=value,name=value`: TLS, SASL; may hold passwords (`KAFKA_OPTIONS`).
    pub options: Secret,
}

impl KafkaSettings {
    /// The options one by one; `None`: they cannot be understood. A value may have commas.
    pub fn parsed_options(&self) -> Option<Vec<(String, String)>> {
        let mut options: Vec<(String, String)> = Vec::new();
        for part in self.options.reveal().split(',').filter(|part| !part.trim().is_empty()) {
            match (part.split_once('='), options.last_mut()) {
                (Some((name, value)), _) if !name.trim().is_empty() => {
                    options.push((name.trim().to_owned(), value.trim().to_owned()));
                }
                (None, Some((_, value))) => {
                    value.push(',');
                    value.push_str(part);
                }
                _ => return None,
            }
        }
        Some(options)
    }

    /// What producer and consumer have in common.
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "oma-worker");
        config.set("socket.keepalive.enable", "true").set("socket.timeout.ms", "10000");
        config.set("reconnect.backoff.ms", "100").set("reconnect.backoff.max.ms", "1000");
        for (name, value) in self.parsed_options().unwrap_or_default() {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.broker);
        config
    }

    fn consumer(&self) -> StoreResult<BaseConsumer<Quiet>> {
        let mut config = self.client();
        // The library wants a group even where none is joined.
        config.set("group.id", &self.consumer_group).set("enable.auto.commit", "false");
        config.set("auto.offset.reset", "error").set("allow.auto.create.topics", "false");
        config.set("fetch.wait.max.ms", "100");
        config.create_with_context(Quiet).map_err(|error| failed("make a Kafka consumer", error))
    }

    /// Whether the client takes the options; nothing is connected.
    ///
    /// # Errors
    /// [`StoreError`] that names the option.
    pub fn check_options(&self) -> StoreResult<()> {
        self.consumer().map(drop)
    }

    /// Reaches the broker and looks for both topics; how many partitions they have, in a sentence. Blocks for some
    /// seconds at most.
    ///
    /// # Errors
    /// [`Complaint`] for what is not there.
    pub fn check(&self) -> Result<String, Complaint> {
        let consumer = self.consumer().map_err(|error| Complaint::new("KAFKA_OPTIONS", error))?;
        let count = |setting, topic: &str| {
            let doing = format!("look for the topic {topic}");
            let metadata = consumer.fetch_metadata(Some(topic), METADATA);
            let metadata = metadata.map_err(|e| Complaint::new("KAFKA_BROKER and KAFKA_OPTIONS", failed(&doing, e)))?;
            let found = partitions(metadata.topics(), topic, &doing);
            found.map(|found| found.len()).map_err(|error| Complaint::new(setting, error))
        };
        let output = count("KAFKA_TOPIC_OUTPUT", &self.output_topic)?;
        let broadcast = count("KAFKA_TOPIC_BROADCAST", &self.broadcast_topic)?;
        Ok(format!("{output} partitions of {}, {broadcast} of {}", self.output_topic, self.broadcast_topic))
    }
}

/// The partitions of a topic that exists.
fn partitions(topics: &[MetadataTopic], topic: &str, doing: &str) -> StoreResult<Vec<i32>> {
    let known = topics.iter().find(|known| known.name() == topic && known.error().is_none());
    let partitions: Vec<i32> = known.into_iter().flat_map(|known| known.partitions()).map(|p| p.id()).collect();
    match partitions.is_empty() {
        true => Err(StoreError::new(StoreErrorKind::Unavailable, doing, "the broker has no such topic")),
        false => Ok(partitions),
    }
}

/// An error of the library as a store's. What it says of a setting that it refuses could show a password.
fn failed(doing: &str, error: KafkaError) -> StoreError {
    match error {
        KafkaError::ClientConfig(_, _, name, _) => StoreError::invalid(
            doing,
            format!("KAFKA_OPTIONS: {name} is no setting of the client or has a wrong value"),
        ),
        KafkaError::ClientCreation(text) => StoreError::invalid(doing, format!("KAFKA_OPTIONS: {text}")),
        other => StoreError::new(StoreErrorKind::Unavailable, doing, other.to_string()),
    }
}

/// Leaves what the library has to say to the log.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug => tracing::trace!(facility, "{message}"),
            _ => tracing::debug!(facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(error = %error, reason, "Kafka client");
    }
}

impl ConsumerContext for Quiet {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_told_apart_by_their_names() {
        let parsed = |text: &str| KafkaSettings { options: text.into(), ..KafkaSettings::default() }.parsed_options();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(parsed(""), Some(Vec::new()));
        assert_eq!(
            parsed("security.protocol=sasl_ssl, sasl.password=a=b,c"),
            Some(vec![pair("security.protocol", "sasl_ssl"), pair("sasl.password", "a=b,c")])
        );
        assert_eq!(parsed("debug"), None);
        assert_eq!(parsed("=x"), None);
    }

    #[test]
    fn a_refused_option_is_named_without_its_value() {
        let options = "no.such.setting=geheim".into();
        let settings = KafkaSettings { consumer_group: "g".into(), options, ..KafkaSettings::default() };
        let error = settings.consumer().err().unwrap().to_string();
        assert!(error.contains("no.such.setting") && !error.contains("geheim"), "{error}");
    }
}
