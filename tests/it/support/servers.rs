//! The real servers that the environment names, each test with names of its own on them.

use futures::StreamExt;
use mongodb::bson::{Bson, Document};
use oma_worker::model::run::StatusMessage;
use oma_worker::stores::documents::Id;
use oma_worker::stores::kafka::KafkaSettings;
use oma_worker::stores::mongo::MongoSettings;
use oma_worker::stores::mysql::{CHANNELS_QUERY, MySqlSettings, MySqlSslMode};
use oma_worker::stores::names::Names;
use oma_worker::stores::s3::S3Settings;
use oma_worker::stores::servers::ServerSettings;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde_json::Value;
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions};
use std::time::Duration;

/// How long a server may take to answer a test.
const PATIENCE: Duration = Duration::from_secs(30);

/// The servers, under names that no other test has.
#[derive(Clone)]
pub(crate) struct TestServers {
    pub(crate) settings: ServerSettings,
    /// Unique to the test.
    pub(crate) tag: String,
}

/// Sends broadcasts over one connection.
pub(crate) struct Broadcaster {
    producer: FutureProducer,
    topic: String,
}

impl Broadcaster {
    pub(crate) async fn send(&self, payload: Option<&[u8]>) {
        self.send_to(None, payload).await;
    }

    /// Sends to one partition.
    pub(crate) async fn send_to(&self, partition: Option<i32>, payload: Option<&[u8]>) {
        let mut record = FutureRecord::<(), [u8]>::to(&self.topic);
        (record.partition, record.payload) = (partition, payload);
        self.producer.send(record, PATIENCE).await.unwrap();
    }
}

impl TestServers {
    /// Those that the environment names.
    pub(crate) fn fresh() -> TestServers {
        TestServers::of(|name| std::env::var(name).ok())
    }

    /// Those whose variables `lookup` knows.
    pub(crate) fn of(lookup: impl Fn(&str) -> Option<String>) -> TestServers {
        let variable = |name: &str| {
            let name = format!("OMA_TEST_{name}");
            lookup(&name).unwrap_or_else(|| {
                panic!(
                    "{name} is not set: this test needs the real servers. Start them by `scripts/services up`, then \
                     `eval \"$(scripts/services env)\"`; `scripts/test` does both"
                )
            })
        };
        let tag = format!("oma_test_{}", Id::fresh());
        let settings = ServerSettings {
            mongodb: MongoSettings {
                prefix: "mongodb".into(),
                domain: variable("MONGODB_DOMAIN"),
                port: variable("MONGODB_PORT").parse().unwrap(),
                options: variable("MONGODB_OPTIONS").as_str().into(),
                username: Some(variable("MONGODB_USERNAME")),
                password: variable("MONGODB_PASSWORD").as_str().into(),
                database: tag.clone(),
                measures_database: format!("{tag}_m"),
            },
            mysql: MySqlSettings {
                host: variable("MYSQL_HOST"),
                port: variable("MYSQL_PORT").parse().unwrap(),
                username: variable("MYSQL_USERNAME"),
                password: variable("MYSQL_PASSWORD").as_str().into(),
                database: tag.clone(),
                ssl_mode: MySqlSslMode::Preferred,
                ssl_ca: None,
                channels_query: CHANNELS_QUERY.into(),
            },
            s3: S3Settings {
                endpoint: Some(variable("AWS_ENDPOINT_URL")),
                region: variable("AWS_REGION"),
                access_key_id: variable("AWS_ACCESS_KEY_ID"),
                secret_access_key: variable("AWS_SECRET_ACCESS_KEY").as_str().into(),
            },
            kafka: KafkaSettings {
                broker: variable("KAFKA_BROKER"),
                broadcast_topic: format!("{tag}_broadcasts"),
                output_topic: format!("{tag}_statuses"),
                consumer_group: tag.clone(),
                options: variable("KAFKA_OPTIONS").as_str().into(),
            },
            names: Names {
                file_bucket: variable("FILE_BUCKET"),
                cache_bucket: variable("CACHE_BUCKET"),
                ..Names::default()
            },
            string_paths: false,
        };
        TestServers { settings, tag }
    }

    /// A client of MongoDB that is not the worker's.
    pub(crate) async fn mongodb(&self) -> mongodb::Client {
        use mongodb::options::{ClientOptions, Credential, ServerAddress};
        let settings = &self.settings.mongodb;
        let text = format!("mongodb://{}:{}/?{}", settings.domain, settings.port, settings.options.reveal());
        let mut options = ClientOptions::parse(text).await.unwrap();
        let mut credential = Credential::default();
        credential.username = settings.username.clone();
        credential.password = Some(settings.password.reveal().into());
        credential.source = Some("admin".into());
        options.credential = Some(credential);
        assert!(matches!(options.hosts[..], [ServerAddress::Tcp { .. }]));
        mongodb::Client::with_options(options).unwrap()
    }

    pub(crate) async fn collection(&self, name: &str) -> mongodb::Collection<Document> {
        self.mongodb().await.database(&self.settings.mongodb.database).collection(name)
    }

    fn mysql_options(&self) -> MySqlConnectOptions {
        let MySqlSettings { host, port, username, password, .. } = &self.settings.mysql;
        MySqlConnectOptions::new().host(host).port(*port).username(username).password(password.reveal())
    }

    /// The test's own database of channels, made by the schema that is shipped where it is not there yet.
    pub(crate) async fn mysql(&self) -> MySqlPool {
        let pool = |options| MySqlPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).connect_with(options);
        let server = pool(self.mysql_options()).await.unwrap();
        let make = format!("CREATE DATABASE IF NOT EXISTS {}", self.tag);
        sqlx::raw_sql(sqlx::AssertSqlSafe(make)).execute(&server).await.unwrap();
        server.close().await;
        let database = pool(self.mysql_options().database(&self.tag)).await.unwrap();
        sqlx::raw_sql(include_str!("../../../deploy/schema.sql")).execute(&database).await.unwrap();
        database
    }

    fn kafka(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in self.settings.kafka.parsed_options().unwrap() {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.settings.kafka.broker).set("group.id", &self.tag);
        config
    }

    pub(crate) async fn make_topic(&self, topic: &str, partitions: i32) {
        use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
        let admin: AdminClient<_> = self.kafka().create().unwrap();
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let made = admin.create_topics([&topic], &AdminOptions::new().operation_timeout(Some(PATIENCE))).await.unwrap();
        made[0].as_ref().unwrap();
    }

    pub(crate) fn broadcaster(&self) -> Broadcaster {
        let producer = self.kafka().set("linger.ms", "0").create().unwrap();
        Broadcaster { producer, topic: self.settings.kafka.broadcast_topic.clone() }
    }

    pub(crate) async fn broadcast(&self, payload: Option<&[u8]>) {
        self.broadcaster().send(payload).await;
    }

    /// The partitions of a topic.
    pub(crate) fn partitions(&self, topic: &str) -> Vec<i32> {
        let consumer: BaseConsumer = self.kafka().create().unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        metadata.topics()[0].partitions().iter().map(|partition| partition.id()).collect()
    }

    /// Everything in the topic of status messages, as raw bytes, in the order of each partition. Ends at the position
    /// of a last message that this writes itself.
    pub(crate) async fn raw_messages(&self) -> Vec<(Option<Vec<u8>>, Vec<u8>)> {
        let topic = self.settings.kafka.output_topic.clone();
        let config = self.kafka();
        let producer: FutureProducer = config.create().unwrap();
        let consumer: BaseConsumer = {
            let mut config = config.clone();
            config.set("enable.auto.commit", "false").set("fetch.wait.max.ms", "50").create().unwrap()
        };
        // A mark at the end of each partition says when everything before it has been read.
        let partitions = self.partitions(&topic);
        let mark = format!("mark {}", Id::fresh());
        let mut all = TopicPartitionList::new();
        for partition in &partitions {
            let record = FutureRecord::<(), str>::to(&topic).payload(&mark).partition(*partition);
            producer.send(record, PATIENCE).await.unwrap();
            all.add_partition_offset(&topic, *partition, Offset::Beginning).unwrap();
        }
        tokio::task::spawn_blocking(move || {
            consumer.assign(&all).unwrap();
            let (mut messages, mut left) = (Vec::new(), partitions.len());
            while left > 0 {
                let Some(Ok(message)) = consumer.poll(PATIENCE) else { panic!("the topic {topic} is not to be read") };
                let payload = message.payload().unwrap_or_default();
                match payload == mark.as_bytes() {
                    true => left -= 1,
                    false if payload.starts_with(b"mark ") => {}
                    false => messages.push((message.key().map(<[u8]>::to_vec), payload.to_vec())),
                }
            }
            messages
        })
        .await
        .unwrap()
    }

    pub(crate) async fn messages(&self) -> Vec<StatusMessage> {
        self.raw_messages().await.iter().map(|(_, payload)| serde_json::from_slice(payload).unwrap()).collect()
    }

    /// Every document of a collection as JSON, ascending by id.
    pub(crate) async fn documents(&self, name: &str) -> Vec<Value> {
        let found =
            self.collection(name).await.find(Document::new()).sort(mongodb::bson::doc! {"_id": 1}).await.unwrap();
        found.map(|document| Bson::Document(document.unwrap()).into_relaxed_extjson()).collect().await
    }

    /// Removes the test's databases.
    pub(crate) async fn remove(&self) {
        let client = self.mongodb().await;
        client.database(&self.settings.mongodb.database).drop().await.unwrap();
        client.database(&self.settings.mongodb.measures_database).drop().await.unwrap();
        let server = MySqlPoolOptions::new().max_connections(1).connect_with(self.mysql_options()).await.unwrap();
        let remove = format!("DROP DATABASE IF EXISTS {}", self.tag);
        sqlx::raw_sql(sqlx::AssertSqlSafe(remove)).execute(&server).await.unwrap();
    }
}
