//! What the platform does around a worker: structures, channels, files and analyses on the real servers, queue documents
//! with the four fixed fields, and worker processes with the fixed variables.

use super::servers::TestServers;
use mongodb::bson::{Bson, Document, doc, oid::ObjectId};
use oma_worker::model::channel::Channel;
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use oma_worker::stores::platform::{NewStructure, Platform as _};
use oma_worker::stores::servers::Servers;
use serde_json::{Value, json};
use std::fmt::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub(crate) const TENANT: i64 = 9;
pub(crate) const USER: i64 = 7;
/// The `<n>` of `measures_<n>`.
pub(crate) const STRUCTURE_NUMBER: i64 = 43;
/// Longer than anything that a test waits for: what takes longer hangs.
const LONGEST_WAIT: Duration = Duration::from_secs(90);

/// The platform's part of a test.
pub(crate) struct Platform {
    pub(crate) servers: TestServers,
    client: mongodb::Client,
    pub(crate) structure: ObjectId,
    /// The file of each sensor.
    pub(crate) files: Vec<String>,
    folder: tempfile::TempDir,
}

impl Platform {
    /// Topics, and a structure of three channels with a minute of samples each: a run takes a fraction of a second.
    pub(crate) async fn fresh() -> Platform {
        Platform::with_samples(6000).await
    }

    pub(crate) async fn with_samples(samples: usize) -> Platform {
        Platform::on(TestServers::fresh(), samples).await
    }

    pub(crate) async fn on(servers: TestServers, samples: usize) -> Platform {
        servers.make_topic(&servers.settings.kafka.output_topic, 4).await;
        servers.make_topic(&servers.settings.kafka.broadcast_topic, 4).await;
        let client = servers.mongodb().await;
        let folder = tempfile::tempdir().unwrap();
        let chain = ShearChain { dofs: 3, top_frequency_hz: 20.0, damping: Damping::Rising };
        let measurement = Measurement { dofs: vec![0, 1, 2], sampling_rate_hz: 100.0, samples, noise: 0.05, seed: 3 };
        let files = chain.record(&measurement).iter().map(|samples| csv(samples)).collect();
        let platform = Platform { servers, client, structure: ObjectId::new(), files, folder };
        platform.seed().await;
        platform
    }

    async fn seed(&self) {
        self.make_structure(self.structure, STRUCTURE_NUMBER).await;
        for (sensor, text) in self.files.iter().enumerate() {
            let key = self.file_key(sensor + 1);
            self.put_file(&key, text).await;
            let id = (sensor + 1).to_string();
            let measure = json!({"sensor_id": id, "channels": ["x"], "sampling_rate_hz": 100.0, "key": key});
            self.insert_measure(STRUCTURE_NUMBER, measure).await;
        }
    }

    pub(crate) async fn put_file(&self, key: &str, text: &str) {
        let objects = self.clients().await.stores().objects;
        let path = self.folder.path().join("transfer.csv");
        std::fs::write(&path, text).unwrap();
        objects.put(&self.servers.settings.names.file_bucket, key, &path).await.unwrap();
    }

    /// A structure of a tenant named as the test, with three sensors of one channel each: for number 43 they are 1, 2
    /// and 3, for others number · 10 + 1, 2 and 3.
    pub(crate) async fn make_structure(&self, id: ObjectId, number: i64) {
        let first = if number == STRUCTURE_NUMBER { 0 } else { 10 * number };
        let channel = |index: i64| Channel {
            sensor_id: (first + index).to_string(),
            sensor_name: format!("s{index}"),
            node: index.to_string(),
            axis: "x".into(),
            unit: "m/s^2".into(),
            ..Channel::named(&format!("c{index}"))
        };
        let structure = NewStructure {
            id: Some(id.to_hex().as_str().into()),
            number: Some(number),
            name: "bridge".into(),
            tenant_id: TENANT,
            tenant_name: self.servers.tag.clone(),
            geometry: Value::Null,
            channels: (1..=3).map(channel).collect(),
        };
        // The test's own database is made with the first client of it.
        self.servers.mysql().await;
        self.clients().await.add_structure(&structure).await.unwrap();
    }

    /// The platform's part of the stores.
    async fn clients(&self) -> Servers {
        Servers::connect(&self.servers.settings).await.unwrap()
    }

    /// Where a sensor's file lies.
    pub(crate) fn file_key(&self, sensor: usize) -> String {
        format!("{}/{sensor}.csv", self.servers.tag)
    }

    /// Returns the document's id.
    pub(crate) async fn insert(&self, collection: &str, document: Document) -> Bson {
        let database = self.client.database(&self.servers.settings.mongodb.database);
        database.collection::<Document>(collection).insert_one(document).await.unwrap().inserted_id
    }

    pub(crate) async fn insert_measure(&self, structure: i64, measure: Value) {
        self.clients().await.add_measure(structure, &measure).await.unwrap();
    }

    pub(crate) async fn analysis(&self, of: ObjectId, fields: Document) -> ObjectId {
        let id = ObjectId::new();
        let mut document = doc! {"_id": id, "tenant_id": TENANT, "user_id": USER, "status": "READY"};
        document.extend(fields);
        self.insert(&format!("{}_{of}", self.servers.settings.names.analyses), document).await;
        id
    }

    /// A queue document with the four fixed fields.
    pub(crate) async fn enqueue(&self, analysis: ObjectId, run_type: &str) -> Bson {
        self.insert(&self.servers.settings.names.queue, self.queue_document(analysis, run_type)).await
    }

    pub(crate) fn queue_document(&self, analysis: ObjectId, run_type: &str) -> Document {
        let (structure, analysis) = (self.structure.to_hex(), analysis.to_hex());
        doc! {"status": "QUEUED", "structure_id": structure, "analysis_id": analysis, "type": run_type}
    }

    pub(crate) async fn read_analysis(&self, id: ObjectId) -> Value {
        self.read_analysis_of(self.structure, id).await
    }

    pub(crate) async fn read_analysis_of(&self, structure: ObjectId, id: ObjectId) -> Value {
        let database = self.client.database(&self.servers.settings.mongodb.database);
        let collection =
            database.collection::<Document>(&format!("{}_{structure}", self.servers.settings.names.analyses));
        let found = collection.find_one(doc! {"_id": id}).await.unwrap().unwrap();
        Bson::Document(found).into_relaxed_extjson()
    }

    pub(crate) async fn queue_length(&self) -> u64 {
        self.look_at_queue().await.unwrap()
    }

    /// Whether MongoDB answers again: one that was just started does not, until it has its keys (error 211).
    pub(crate) async fn is_answered(&self) -> bool {
        self.look_at_queue().await.is_ok()
    }

    async fn look_at_queue(&self) -> mongodb::error::Result<u64> {
        let database = self.client.database(&self.servers.settings.mongodb.database);
        let queue = database.collection::<Document>(&self.servers.settings.names.queue);
        queue.count_documents(doc! {}).await
    }

    /// Waits until all runs are through.
    pub(crate) async fn queue_is_empty(&self) {
        let (mut length, mut since) = (u64::MAX, Instant::now());
        while length > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = self.queue_length().await;
            if now != length {
                (length, since) = (now, Instant::now());
            }
            assert!(since.elapsed() < LONGEST_WAIT, "{length} documents stay in the queue");
        }
    }

    /// The variables of contract §2.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let settings = &self.servers.settings;
        let (mongodb, mysql, s3, kafka) = (&settings.mongodb, &settings.mysql, &settings.s3, &settings.kafka);
        vec![
            ("SLEEP_TIME", "0.1".into()),
            ("MONGODB_DATABASE", mongodb.database.clone()),
            ("MONGODB_DATABASE_MEASURES", mongodb.measures_database.clone()),
            ("MONGODB_DOMAIN", mongodb.domain.clone()),
            ("MONGODB_PORT", mongodb.port.to_string()),
            ("MONGODB_OPTIONS", mongodb.options.reveal().into()),
            ("MONGODB_USERNAME", mongodb.username.clone().unwrap()),
            ("MONGODB_PASSWORD", mongodb.password.reveal().into()),
            ("MONGODB_PREFIX", mongodb.prefix.clone()),
            ("MONGODB_STRUCTURE_COLLECTION", settings.names.structures.clone()),
            ("KAFKA_BROKER", kafka.broker.clone()),
            ("KAFKA_TOPIC_BROADCAST", kafka.broadcast_topic.clone()),
            ("KAFKA_CONSUMER_GROUP", kafka.consumer_group.clone()),
            ("KAFKA_TOPIC_OUTPUT", kafka.output_topic.clone()),
            ("KAFKA_OPTIONS", kafka.options.reveal().into()),
            ("MYSQL_USERNAME", mysql.username.clone()),
            ("MYSQL_PASSWORD", mysql.password.reveal().into()),
            ("MYSQL_HOST", mysql.host.clone()),
            ("MYSQL_PORT", mysql.port.to_string()),
            ("MYSQL_DATABASE", mysql.database.clone()),
            ("AWS_ACCESS_KEY_ID", s3.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", s3.secret_access_key.reveal().into()),
            ("AWS_REGION", s3.region.clone()),
            ("AWS_ENDPOINT_URL", s3.endpoint.clone().unwrap()),
            ("FILE_BUCKET", settings.names.file_bucket.clone()),
            ("CACHE_BUCKET", settings.names.cache_bucket.clone()),
        ]
    }

    /// The program: the one that was built, or that of OMA_TEST_WORKER, so that a long run of tests is not disturbed by
    /// a build.
    pub(crate) fn program() -> String {
        std::env::var("OMA_TEST_WORKER").unwrap_or_else(|_| env!("CARGO_BIN_EXE_oma-worker").to_owned())
    }

    /// A worker process with these variables, and those in `more` over them.
    pub(crate) fn worker(&self, more: &[(&str, &str)]) -> WorkerProcess {
        self.start(Command::new(Platform::program()).arg("run"), more)
    }

    pub(crate) fn start(&self, command: &mut Command, more: &[(&str, &str)]) -> WorkerProcess {
        let home = tempfile::tempdir().unwrap();
        command.env_clear().current_dir(home.path()).envs(self.environment()).env("DATA_PATH", home.path());
        command.envs(more.iter().copied());
        let log = std::fs::File::create(home.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        WorkerProcess { child: command.spawn().unwrap(), home }
    }
}

fn csv(samples: &[f32]) -> String {
    let mut text = String::from("time,x\n");
    samples.iter().enumerate().for_each(|(k, y)| writeln!(text, "{:.2},{y}", k as f64 / 100.0).unwrap());
    text
}

/// Looks again and again until `holds`.
pub(crate) async fn wait_until(what: &str, holds: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < LONGEST_WAIT, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A worker process; killed when dropped.
pub(crate) struct WorkerProcess {
    child: Child,
    home: tempfile::TempDir,
}

impl WorkerProcess {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has said so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap()
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// SIGTERM, and the end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// For a command that ends by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the worker said:\n{}", self.said());
        }
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(process: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).status().unwrap();
    assert!(sent.success(), "no process {process} for SIG{name}");
}
