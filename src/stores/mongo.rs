//! Queue, analyses, results, structures and measures in MongoDB.
//!
//! Every write is one update of one document with write concern majority and journal, so that it holds on a standalone
//! server, a replica set and a sharded cluster. The calls are bounded by whoever makes them: the driver's futures must
//! not be dropped half-way.

mod analyses;
mod catalog;
mod expressions;
mod ids;
mod platform;
mod queue;

use super::documents::{Date, Id, QueueDocument, Unsent};
use super::names::Names;
use super::secret::Secret;
use super::{Complaint, StoreError, StoreErrorKind, StoreResult, Waiting};
use bson::{Bson, Document, doc};
use futures::TryStreamExt;
use mongodb::error::ErrorKind;
use mongodb::options::{Acknowledgment, ClientOptions, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Collection, Database, IndexModel};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How long a server is looked for; the worker repeats the call.
const SERVER_SELECTION: Duration = Duration::from_secs(5);
/// How long a connection may take; also how long a server may be silent before its connections are given up.
const CONNECT: Duration = Duration::from_secs(3);
/// Between two looks at a server's state: one that hangs is noticed after this and [`CONNECT`].
const LOOK: Duration = Duration::from_secs(2);

/// Where the server is and who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MongoSettings {
    /// `mongodb` or `mongodb+srv`; with the second no port is written (`MONGODB_PREFIX`).
    pub prefix: String,
    /// The host, or several separated by commas (`MONGODB_DOMAIN`).
    pub domain: String,
    /// Its port (`MONGODB_PORT`).
    pub port: u16,
    /// What follows the question mark of a connection string; may hold the password of a key (`MONGODB_OPTIONS`).
    pub options: Secret,
    /// The user; `None`: no authentication (`MONGODB_USERNAME`).
    pub username: Option<String>,
    /// The password, any characters (`MONGODB_PASSWORD`).
    pub password: Secret,
    /// The database of queue, structures, analyses and results (`MONGODB_DATABASE`).
    pub database: String,
    /// The database of measures (`MONGODB_DATABASE_MEASURES`).
    pub measures_database: String,
}

impl MongoSettings {
    /// The hosts with their ports: an entry that names a port keeps it.
    fn hosts(&self) -> String {
        if self.prefix == "mongodb+srv" {
            return self.domain.clone();
        }
        let with_port = |host: &str| match host.rsplit_once(':') {
            Some((_, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host.to_owned(),
            _ => format!("{host}:{}", self.port),
        };
        self.domain.split(',').map(|host| with_port(host.trim())).collect::<Vec<_>>().join(",")
    }

    async fn client_options(&self) -> StoreResult<ClientOptions> {
        // The password is set afterwards, so that no error of the parser can show it.
        let encode = |name: &String| format!("{}:x@", utf8_percent_encode(name, NON_ALPHANUMERIC));
        let user = self.username.as_ref().map(encode).unwrap_or_default();
        let text = format!("{}://{user}{}/?{}", self.prefix, self.hosts(), self.options.reveal());
        let mut options = ClientOptions::parse(text).await.map_err(|error| self.not_understood(&error))?;
        if let Some(credential) = &mut options.credential {
            credential.password = Some(self.password.reveal().to_owned());
        }
        options.app_name.get_or_insert_with(|| "oma-worker".into());
        options.server_selection_timeout.get_or_insert(SERVER_SELECTION);
        options.connect_timeout.get_or_insert(CONNECT);
        options.heartbeat_freq.get_or_insert(LOOK);
        // The promises of the ports hang on these, whatever the options say.
        options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        Ok(options)
    }

    /// What the parser says names an option and its value, and the value may be a secret.
    fn not_understood(&self, error: &mongodb::error::Error) -> StoreError {
        let doing = "understand MONGODB_PREFIX, MONGODB_DOMAIN, MONGODB_PORT and MONGODB_OPTIONS";
        match &*error.kind {
            ErrorKind::InvalidArgument { message, .. } => {
                let values = self.options.reveal().split('&').filter_map(|option| Some(option.split_once('=')?.1));
                let hide = |text: String, value: &str| match value.len() {
                    0..4 => text,
                    _ => text.replace(value, "***"),
                };
                StoreError::invalid(doing, values.fold(message.clone(), hide))
            }
            _ => failed(doing)(error.clone()),
        }
    }
}

/// An open connection. Clones share it.
#[derive(Clone)]
pub struct Mongo {
    database: Database,
    measures_database: Database,
    names: Arc<Names>,
    queue: Collection<Document>,
    dead: Collection<Document>,
}

impl Mongo {
    /// A client of the server; the first call connects.
    ///
    /// # Errors
    /// [`StoreError`] if the settings cannot be understood or the name of a `mongodb+srv` host is not found.
    pub async fn connect(settings: &MongoSettings, names: &Names) -> StoreResult<Mongo> {
        let client = Client::with_options(settings.client_options().await?).map_err(failed("use MONGODB_OPTIONS"))?;
        let database = client.database(&settings.database);
        Ok(Mongo {
            measures_database: client.database(&settings.measures_database),
            queue: database.collection(&names.queue),
            dead: database.collection(&names.dead()),
            names: Arc::new(names.clone()),
            database,
        })
    }

    /// Makes the two indexes that claims and the order of an analysis' runs are read by.
    ///
    /// # Errors
    /// [`StoreError`] where the server is not reached or does not allow it; everything works without them, slower.
    pub async fn make_indexes(&self) -> StoreResult<()> {
        let indexes = [doc! {"status": 1, "_id": 1}, doc! {"analysis_id": 1}];
        let models = indexes.map(|keys| IndexModel::builder().keys(keys).build());
        self.queue.create_indexes(models).await.map(drop).map_err(failed("make the indexes of the queue"))
    }

    /// Whether the server answers, takes our credentials and has the structures; what it has, in a sentence.
    ///
    /// # Errors
    /// [`Complaint`] if not.
    pub async fn check(&self) -> Result<String, Complaint> {
        let list = |database: &Database| {
            let database = database.clone();
            async move { database.list_collection_names().await.map_err(|error| complaint(&error)) }
        };
        let collections = list(&self.database).await?;
        if !collections.contains(&self.names.structures) {
            let doing =
                format!("look for the collection {} in the database {}", self.names.structures, self.database.name());
            let error = StoreError::invalid(doing, "there is none");
            return Err(Complaint::new("MONGODB_DATABASE and MONGODB_STRUCTURE_COLLECTION", error));
        }
        let begin = |name: &&String, prefix: &str| name.starts_with(&format!("{prefix}_"));
        let of = |names: &[String], prefix: &str| names.iter().filter(|name| begin(name, prefix)).count();
        let measures = of(&list(&self.measures_database).await?, &self.names.measures);
        let results = of(&collections, &self.names.results);
        let analyses = of(&collections, &self.names.analyses).saturating_sub(results);
        Ok(format!("analyses of {analyses} structures, measures of {measures}"))
    }

    /// What waits in the queue.
    ///
    /// # Errors
    /// [`StoreError`] if the server does not answer.
    pub async fn waiting(&self) -> StoreResult<Waiting> {
        let doing = "count what waits";
        let queued = self.queue.count_documents(doc! {"status": "QUEUED"}).await.map_err(failed(doing))?;
        let oldest =
            self.queue.find_one(doc! {"status": "QUEUED"}).sort(doc! {"_id": 1}).await.map_err(failed(doing))?;
        let unsent = self.queue.find(doc! {"worker.unsent.0": {"$exists": true}}).await.map_err(failed(doing))?;
        let documents: Vec<Document> = unsent.try_collect().await.map_err(failed(doing))?;
        let read = |document| {
            let (id, body) = from_bson(document);
            QueueDocument::from_body(id, body)
        };
        let messages: Vec<Unsent> = documents.into_iter().flat_map(|document| read(document).worker.unsent).collect();
        let lowest = messages.iter().map(|entry| entry.fence).min();
        let oldest = oldest.map(|document| from_bson(document).0);
        Ok(Waiting::of(jiff::Timestamp::now(), queued, oldest.as_ref(), messages.len() as u64, lowest))
    }
}

/// An error of the driver as a store's. What the server refuses because of what it was sent would be refused again.
fn failed(doing: &'static str) -> impl Fn(mongodb::error::Error) -> StoreError {
    // BSONObjectTooLarge and its kin, InvalidNamespace, DocumentValidationFailure.
    const REFUSED: [i32; 5] = [10334, 17419, 17420, 73, 121];
    move |error| {
        let kind = match &*error.kind {
            ErrorKind::InvalidArgument { .. } | ErrorKind::BsonSerialization(_) | ErrorKind::BsonDeserialization(_) => {
                StoreErrorKind::Invalid
            }
            ErrorKind::Command(command) if REFUSED.contains(&command.code) => StoreErrorKind::Invalid,
            ErrorKind::Write(mongodb::error::WriteFailure::WriteError(write)) if REFUSED.contains(&write.code) => {
                StoreErrorKind::Invalid
            }
            _ => StoreErrorKind::Unavailable,
        };
        StoreError::new(kind, doing, error.kind.to_string())
    }
}

/// The driver's error with the settings that decide about it.
fn complaint(error: &mongodb::error::Error) -> Complaint {
    const UNAUTHORIZED: i32 = 13;
    let settings = match &*error.kind {
        ErrorKind::Authentication { .. } => "MONGODB_USERNAME, MONGODB_PASSWORD and authSource in MONGODB_OPTIONS",
        ErrorKind::Command(command) if command.code == UNAUTHORIZED => {
            "MONGODB_USERNAME and its rights on MONGODB_DATABASE"
        }
        ErrorKind::InvalidTlsConfig { .. } => "tls in MONGODB_OPTIONS",
        _ => "MONGODB_DOMAIN, MONGODB_PORT, and tls and replicaSet in MONGODB_OPTIONS",
    };
    Complaint::new(settings, failed("reach MongoDB")(error.clone()))
}

/// A stored document as its id and JSON.
fn from_bson(mut stored: Document) -> (Id, Value) {
    let id = ids::from_key(stored.remove("_id").unwrap_or_default());
    (id, Bson::Document(stored).into_relaxed_extjson())
}

/// JSON as MongoDB keeps it: ids and dates in extended JSON become what they stand for, and so does everything else in
/// it that can be read; an object that only looks like it stays as it is.
fn to_bson(value: &Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(is) => Bson::Boolean(*is),
        Value::String(text) => Bson::String(text.clone()),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => i32::try_from(whole).map_or(Bson::Int64(whole), Bson::Int32),
            None => Bson::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::Array(values) => values.iter().map(to_bson).collect(),
        Value::Object(object) => {
            let is_extended = object.keys().next().is_some_and(|key| key.starts_with('$'));
            match Date::from_value(value) {
                Some(date) if object.len() == 1 => Bson::DateTime(bson::DateTime::from_millis(date.0)),
                _ if is_extended && let Ok(read) = Bson::try_from(value.clone()) => read,
                _ => Bson::Document(object.iter().map(|(key, value)| (key.clone(), to_bson(value))).collect()),
            }
        }
    }
}

/// What a worker writes, as MongoDB keeps it.
fn written(value: &impl Serialize) -> StoreResult<Bson> {
    let json = serde_json::to_value(value);
    Ok(to_bson(&json.map_err(|error| StoreError::invalid("write a document", error.to_string()))?))
}
