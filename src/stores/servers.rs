//! All six ports on real servers: MongoDB for the queue, analyses, results, structures and measures; MySQL for the
//! channels; S3 for raw files and cache; Kafka for messages and broadcasts.

use super::documents::{Id, Measure, Period, Structure};
use super::kafka::{KafkaAborts, KafkaSettings, KafkaStatuses};
use super::mongo::{Mongo, MongoSettings};
use super::mysql::{MySql, MySqlSettings};
use super::names::Names;
use super::platform::{AddedStructure, NewStructure, Platform};
use super::s3::{S3, S3Settings};
use super::{Catalog, Complaint, StoreError, StoreResult, Stores};
use crate::model::channel::Channel;
use crate::model::run::RunType;
use async_trait::async_trait;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Where the servers are, and the names of what they hold.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Queue, analyses, results, structures, measures.
    pub mongodb: MongoSettings,
    /// Channels.
    pub mysql: MySqlSettings,
    /// Raw files and cache.
    pub s3: S3Settings,
    /// Messages and broadcasts.
    pub kafka: KafkaSettings,
    /// Collections and buckets.
    pub names: Names,
    /// Whether keys of raw files are made of names, so that a structure's tenant must have one (`USE_S3_STRING_PATHS`).
    pub string_paths: bool,
}

/// Clients of the four servers.
pub struct Servers {
    /// The client of MongoDB.
    pub mongo: Mongo,
    /// The client of MySQL.
    pub mysql: MySql,
    /// The client of S3.
    pub s3: S3,
    settings: ServerSettings,
}

impl Servers {
    /// Makes the clients; a server that is down shows with the first call.
    ///
    /// # Errors
    /// [`StoreError`] if a setting cannot be understood or the name of a `mongodb+srv` host is not
    /// found.
    pub async fn connect(settings: &ServerSettings) -> StoreResult<Servers> {
        settings.kafka.check_options()?;
        Ok(Servers {
            mongo: Mongo::connect(&settings.mongodb, &settings.names).await?,
            mysql: MySql::connect(&settings.mysql),
            s3: S3::connect(&settings.s3),
            settings: settings.clone(),
        })
    }

    /// Asks each of the servers whether it can be used: its name, and what it has or what is wrong.
    pub async fn check(&self) -> Vec<(&'static str, Result<String, Complaint>)> {
        let kafka = self.settings.kafka.clone();
        let names = &self.settings.names;
        let buckets = async {
            self.s3.check(&names.file_bucket, "FILE_BUCKET").await?;
            self.s3.check(&names.cache_bucket, "CACHE_BUCKET").await?;
            Ok(format!("buckets {} and {}", names.file_bucket, names.cache_bucket))
        };
        let kafka = async {
            let died = |error| Complaint::new("KAFKA_BROKER", StoreError::unavailable("reach Kafka", error));
            tokio::task::spawn_blocking(move || kafka.check()).await.map_err(died)?
        };
        let (mongodb, mysql, s3, kafka) = tokio::join!(self.mongo.check(), self.mysql.check(), buckets, kafka);
        vec![("MongoDB", mongodb), ("MySQL", mysql), ("S3", s3), ("Kafka", kafka)]
    }

    /// The six ports.
    pub fn stores(&self) -> Stores {
        let catalog = ServerCatalog {
            mongo: self.mongo.clone(),
            mysql: self.mysql.clone(),
            string_paths: self.settings.string_paths,
        };
        Stores {
            queue: Arc::new(self.mongo.clone()),
            analyses: Arc::new(self.mongo.clone()),
            catalog: Arc::new(catalog),
            objects: Arc::new(self.s3.clone()),
            statuses: Arc::new(KafkaStatuses::new(&self.settings.kafka)),
            aborts: Arc::new(KafkaAborts::new(&self.settings.kafka)),
        }
    }
}

/// The catalog, of which each of two servers has a part.
struct ServerCatalog {
    mongo: Mongo,
    mysql: MySql,
    string_paths: bool,
}

#[async_trait]
impl Catalog for ServerCatalog {
    async fn structure(&self, id: &Id) -> StoreResult<Option<Structure>> {
        let Some(mut structure) = self.mongo.structure(id).await? else { return Ok(None) };
        if self.string_paths && structure.tenant_name.is_none() {
            structure.tenant_name = self.mysql.tenant_name(&structure).await?;
        }
        Ok(Some(structure))
    }

    async fn channels(&self, structure: &Structure) -> StoreResult<Vec<Channel>> {
        match structure.mysql_id {
            Some(mysql_id) => self.mysql.channels(mysql_id).await,
            None => Ok(Vec::new()),
        }
    }

    async fn measures(&self, structure: &Structure, period: Period) -> StoreResult<Vec<Measure>> {
        match structure.mysql_id {
            Some(mysql_id) => self.mongo.measures(mysql_id, period).await,
            None => Ok(Vec::new()),
        }
    }
}

#[async_trait]
impl Platform for Servers {
    async fn add_structure(&self, structure: &NewStructure) -> StoreResult<AddedStructure> {
        let id = structure.id.clone().unwrap_or_else(Id::fresh);
        let (number, channels) = self.mysql.add_structure(&id, structure).await?;
        self.mongo.add_structure(&id, &structure.document(number)).await?;
        Ok(AddedStructure { id, number, channels })
    }

    async fn add_measure(&self, number: i64, measure: &Value) -> StoreResult<()> {
        self.mongo.add_measure(number, measure).await
    }

    async fn add_analysis(&self, structure_id: &Id, fields: &Map<String, Value>) -> StoreResult<Id> {
        self.mongo.add_analysis(structure_id, fields).await
    }

    async fn add_run(&self, structure_id: &Id, analysis_id: &Id, run_type: RunType) -> StoreResult<Id> {
        self.mongo.add_run(structure_id, analysis_id, run_type).await
    }
}
