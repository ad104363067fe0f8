//! Two workers on one queue while processes die or stand still, on servers of this test's own: workers, MongoDB, MySQL,
//! the S3 store and the Kafka broker are killed or stopped at random moments, the store answers wrongly, a disk is full.
//!
//! Judged from outside, by what the databases, the buckets and the topic hold and by the change stream of the queue:
//! every acknowledged queue insert is given exactly one outcome, the last message equals it, messages of an analysis are
//! in order, no document is left, no result is lost, no object that a result names is missing. `scripts/faults` does
//! each fault twenty times.
//!
//! That it can go red was tried on a worker without one of its safeguards: without the condition of the commit
//! `WorkerStoppedAt(Commit)` sees two outcomes of one document, without the fence in OWN `WorkerStoppedAt(Work)` sees
//! RUNNING after the terminal message. The fence of the mark alone, and "no outcome" alone, are needed where a write of
//! a worker's own comes late or is repeated while its run goes on elsewhere: histories in protocol.rs go wrong without
//! either, and `MarkArrivesLate` makes the first of these moments here.

use crate::support::flaky::Dice;
use crate::support::own_servers::OwnServers;
use crate::support::platform::{Platform, WorkerProcess, wait_until};
use crate::support::queue_watch::QueueWatch;
use crate::support::s3_proxy;
use crate::support::way::{self, Customs};
use mongodb::bson::{Bson, Document, doc, oid::ObjectId};
use oma_worker::model::run::{RunType, Status, StatusMessage};
use oma_worker::stores::servers::Servers;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep;

/// Short, so that what a dead worker leaves is soon taken over; longer than a server's usual stall.
const LEASE: Duration = Duration::from_secs(4);
/// Longer than any lease, and than what the clients' own time-outs would bridge.
const STANDSTILL: Duration = Duration::from_secs(15);

/// Twenty minutes at 100 Hz: a run takes a good part of a second.
const SAMPLES: usize = 120_000;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    WorkerKilled,
    WorkerStopped,
    WorkerStoppedAt(Moment),
    MarkArrivesLate,
    ServerKilled(&'static str),
    ServerStopped(&'static str),
    BrokerDownForTheWholeRun,
    StoreAnswersWrongly,
    DiskFull,
}

/// When a worker is stopped, for so long that another one takes its run over and decides it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    /// It has claimed, and is about to mark.
    Claim,
    /// It is computing, and no broker is there: the messages of both workers wait.
    Work,
    /// Its result is there, it is about to commit. No broker is there, so that the document is still there when it does.
    Commit,
}

const FAULTS: [Fault; 17] = [
    Fault::WorkerKilled,
    Fault::WorkerStopped,
    Fault::WorkerStoppedAt(Moment::Claim),
    Fault::WorkerStoppedAt(Moment::Work),
    Fault::WorkerStoppedAt(Moment::Commit),
    Fault::MarkArrivesLate,
    Fault::ServerKilled("mongodb"),
    Fault::ServerStopped("mongodb"),
    Fault::ServerKilled("mysql"),
    Fault::ServerStopped("mysql"),
    Fault::ServerKilled("s3"),
    Fault::ServerStopped("s3"),
    Fault::ServerKilled("kafka"),
    Fault::ServerStopped("kafka"),
    Fault::BrokerDownForTheWholeRun,
    Fault::StoreAnswersWrongly,
    Fault::DiskFull,
];

struct Analysis {
    id: ObjectId,
    runs: Vec<RunType>,
    queued: Vec<Bson>,
}

struct Scene<'a> {
    platform: Platform,
    servers: &'a OwnServers,
    workers: [WorkerProcess; 2],
    watch: QueueWatch,
    /// What the first worker writes to MongoDB passes here, where a mark may be held.
    customs: watch::Sender<Customs>,
}

fn worker(platform: &Platform, more: &[(&str, &str)]) -> WorkerProcess {
    let lease = LEASE.as_secs().to_string();
    let mut settings = vec![("OMA_LEASE_SECONDS", lease.as_str()), ("SLEEP_TIME", "0.1"), ("OMA_MAX_ATTEMPTS", "9")];
    settings.extend(more);
    platform.worker(&settings)
}

/// What each piece takes on a slow way: from one write to the next there is time enough to look and to stop the worker.
const DELAY: Duration = Duration::from_millis(100);

/// A field that marks alone write.
const OF_A_MARK: &str = "started_at";

/// A worker with this way to MongoDB.
fn worker_by(platform: &Platform, way: SocketAddr) -> WorkerProcess {
    // Otherwise the server's own address would be taken.
    let options = "authSource=admin&directConnection=true";
    worker(platform, &[("MONGODB_PORT", &way.port().to_string()), ("MONGODB_OPTIONS", options)])
}

/// A worker that may write no file of more than 16 KiB, and so none of the raw ones.
fn worker_without_room(platform: &Platform) -> WorkerProcess {
    let lease = LEASE.as_secs().to_string();
    let settings = [("OMA_LEASE_SECONDS", lease.as_str()), ("SLEEP_TIME", "0.1"), ("OMA_MAX_ATTEMPTS", "9")];
    let mut command = Command::new("bash");
    // Without the signal the write fails with an error, as on a full disk.
    command.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" run", &Platform::program()]);
    platform.start(&mut command, &settings)
}

async fn queue_some(platform: &Platform, dice: &Dice) -> Vec<Analysis> {
    let mut analyses = Vec::new();
    for _ in 0..2 + dice.below(4) {
        // A setting of its own for each: a record from the cache would leave little time to die in.
        let preprocessing = doc! {"max_gap_samples": dice.below(16_000) as i64};
        let id = platform.analysis(platform.structure, doc! {"preprocessing": preprocessing}).await;
        let runs = RunType::ALL[..1 + dice.below(3)].to_vec();
        let mut queued = Vec::new();
        for run_type in &runs {
            queued.push(platform.enqueue(id, run_type.as_str()).await);
        }
        analyses.push(Analysis { id, runs, queued });
    }
    analyses
}

impl Scene<'_> {
    async fn fresh(servers: &OwnServers, fault: Fault) -> Scene<'_> {
        let platform = Platform::on(servers.test(), SAMPLES).await;
        let proxy = s3_proxy::unreliable(&platform.servers.settings.s3).await;
        let mongodb = &platform.servers.settings.mongodb;
        let mongodb = format!("{}:{}", mongodb.domain, mongodb.port);
        let (past_customs, customs) = way::past_customs(mongodb.clone(), OF_A_MARK).await;
        let workers = match fault {
            Fault::StoreAnswersWrongly => {
                let endpoint = [("AWS_ENDPOINT_URL", proxy.as_str())];
                [worker(&platform, &endpoint), worker(&platform, &endpoint)]
            }
            Fault::DiskFull => [worker_without_room(&platform), worker(&platform, &[])],
            Fault::WorkerStoppedAt(_) => {
                [worker_by(&platform, way::slow(mongodb, DELAY).await), worker(&platform, &[])]
            }
            Fault::MarkArrivesLate => [worker_by(&platform, past_customs), worker(&platform, &[])],
            _ => [worker(&platform, &[]), worker(&platform, &[])],
        };
        let watch = QueueWatch::start(platform.servers.collection(&platform.servers.settings.names.queue).await).await;
        Scene { platform, servers, workers, watch, customs }
    }

    /// Stops the first worker at this moment, and lets it go on when the other one has decided its run.
    async fn stop_at(&self, moment: Moment) {
        let [victim, other] = &self.workers;
        let queue = self.platform.servers.collection(&self.platform.servers.settings.names.queue).await;
        // Its id has that of the process in it.
        let of_victim = doc! {
            "worker.id": {"$regex": format!("-{}-", victim.id())}, "status": "RUNNING", "worker.outcome": null,
        };
        let at_moment = async || match queue.find_one(of_victim.clone()).await.unwrap() {
            Some(document) if self.is_at(moment, &document).await => Some(document),
            _ => None,
        };
        let all_decided = async || queue.count_documents(doc! {"worker.outcome": null}).await.unwrap() == 0;
        let document = loop {
            let is_there = async || at_moment().await.is_some() || all_decided().await;
            wait_until("the worker has come to that point", is_there).await;
            victim.signal("STOP");
            // What was on its way has arrived then.
            sleep(2 * DELAY).await;
            if let Some(document) = at_moment().await {
                break document;
            }
            // Too late for this run; if it was the last one, for all of them.
            victim.signal("CONT");
            if all_decided().await {
                return other.signal("CONT");
            }
        };
        other.signal("CONT");
        let id = document.get("_id").unwrap();
        let is_decided = async || {
            let undecided = doc! {"_id": id, "worker.outcome": null};
            queue.find_one(undecided).await.unwrap().is_none()
        };
        wait_until("the other worker has decided the run", is_decided).await;
        victim.signal("CONT");
    }

    /// Holds a mark on its way, and with it the first worker, until the other one is through with its run; then the
    /// server gets it.
    async fn delay_a_mark(&self) {
        let [victim, other] = &self.workers;
        wait_until("a mark is held", async || *self.customs.borrow() == Customs::Holding).await;
        victim.signal("STOP");
        other.signal("CONT");
        self.platform.queue_is_empty().await;
        self.customs.send_replace(Customs::Open);
        // It arrives.
        sleep(2 * DELAY).await;
        victim.signal("CONT");
        // The worker finds out, and does what it still does.
        sleep(LEASE / 2).await;
    }

    /// Whether the worker of this claimed document has come to that point.
    async fn is_at(&self, moment: Moment, document: &Document) -> bool {
        let analysis_id = document.get_str("analysis_id").unwrap();
        let body = self.platform.read_analysis(analysis_id.parse().unwrap()).await;
        let is_marked = body["worker"]["queue_id"] == document.get("_id").unwrap().clone().into_relaxed_extjson();
        let results = async || {
            let names = &self.platform.servers.settings.names;
            let collection = format!("{}_{}", names.results, self.platform.structure);
            let of_run = doc! {"analysis_id": analysis_id, "type": document.get_str("type").unwrap()};
            self.platform.servers.collection(&collection).await.count_documents(of_run).await.unwrap()
        };
        match moment {
            Moment::Claim => !is_marked,
            Moment::Work => is_marked,
            Moment::Commit => is_marked && results().await > 0,
        }
    }

    /// Does the harm, and undoes it.
    async fn harm(&mut self, fault: Fault, dice: &Dice) {
        if fault == Fault::MarkArrivesLate {
            return self.delay_a_mark().await;
        }
        if let Fault::WorkerStoppedAt(moment) = fault {
            self.stop_at(moment).await;
            if moment != Moment::Claim {
                // The worker that was stopped finds out, and does what it still does.
                sleep(LEASE / 2).await;
                self.servers.start("kafka");
            }
            return;
        }
        sleep(dice.duration(Duration::from_millis(1500))).await;
        match fault {
            Fault::WorkerKilled => {
                let victim = dice.below(2);
                self.workers[victim].kill();
                self.workers[victim] = worker(&self.platform, &[]);
            }
            Fault::WorkerStopped => {
                let victim = &self.workers[dice.below(2)];
                victim.signal("STOP");
                // When it wakes, another one is at its run.
                sleep(LEASE + dice.duration(LEASE / 2)).await;
                victim.signal("CONT");
            }
            Fault::ServerKilled(name) => {
                self.servers.signal(name, "KILL");
                sleep(dice.duration(Duration::from_secs(3))).await;
                self.servers.start(name);
                wait_until("MongoDB answers", async || self.platform.is_answered().await).await;
            }
            Fault::ServerStopped(name) => {
                self.servers.signal(name, "STOP");
                sleep(STANDSTILL).await;
                self.servers.signal(name, "CONT");
            }
            Fault::WorkerStoppedAt(_)
            | Fault::MarkArrivesLate
            | Fault::BrokerDownForTheWholeRun
            | Fault::StoreAnswersWrongly
            | Fault::DiskFull => {}
        }
    }

    async fn round(&mut self, fault: Fault, dice: &Dice) -> usize {
        if matches!(fault, Fault::BrokerDownForTheWholeRun | Fault::WorkerStoppedAt(Moment::Work | Moment::Commit)) {
            self.servers.signal("kafka", "KILL");
        }
        if matches!(fault, Fault::WorkerStoppedAt(_) | Fault::MarkArrivesLate) {
            self.workers[1].signal("STOP");
        }
        if fault == Fault::MarkArrivesLate {
            self.customs.send_replace(Customs::Waiting);
        }
        let analyses = queue_some(&self.platform, dice).await;
        self.harm(fault, dice).await;
        if fault == Fault::BrokerDownForTheWholeRun {
            let platform = &self.platform;
            let all_ended = async || {
                for analysis in &analyses {
                    let body = platform.read_analysis(analysis.id).await;
                    let last = body["status_by_type"][analysis.runs.last().unwrap().as_str()].clone();
                    if !serde_json::from_value(last).is_ok_and(Status::is_terminal) {
                        return false;
                    }
                }
                true
            };
            wait_until("runs end without a broker", all_ended).await;
            assert_ne!(self.platform.queue_length().await, 0, "messages wait in the queue");
            self.servers.start("kafka");
        }
        self.platform.queue_is_empty().await;
        let messages = self.platform.servers.messages().await;
        for analysis in &analyses {
            self.watch.judge(&analysis.queued).await;
            self.judge(analysis, &messages).await;
        }
        analyses.iter().map(|analysis| analysis.runs.len()).sum()
    }

    /// What must be true of an analysis whose runs are through.
    async fn judge(&self, analysis: &Analysis, messages: &[StatusMessage]) {
        let body = self.platform.read_analysis(analysis.id).await;
        let own: Vec<_> = messages.iter().filter(|message| message.document_id == analysis.id.to_hex()).collect();
        let told = format!("{:?}", own.iter().map(|m| (&m.run_type, m.status)).collect::<Vec<_>>());
        let mut rest = own.as_slice();
        for run_type in &analysis.runs {
            let end: Status = serde_json::from_value(body["status_by_type"][run_type.as_str()].clone()).unwrap();
            assert_eq!(end, Status::Done, "{run_type} of {body}");
            let length = rest.iter().take_while(|message| message.run_type == run_type.as_str()).count();
            let (of_run, others) = rest.split_at(length);
            let way: Vec<Status> =
                of_run.iter().map(|message| message.status).take_while(|s| !s.is_terminal()).collect();
            assert_eq!(way.first(), Some(&Status::Running), "{told}");
            assert!(of_run.len() > way.len() && of_run[way.len()..].iter().all(|m| m.status == end), "{told}");
            rest = others;
            self.judge_result(&body["results"][run_type.as_str()]).await;
        }
        assert!(rest.is_empty(), "{told}");
        assert_eq!(body["status"], json!(own.last().unwrap().status), "{told}");
        assert_eq!(body["worker"]["queue_id"], Value::Null, "{body}");
    }

    /// The result is there, and so is the record that it names, whole.
    async fn judge_result(&self, id: &Value) {
        let settings = &self.platform.servers.settings;
        let collection = format!("{}_{}", settings.names.results, self.platform.structure);
        let results = self.platform.servers.documents(&collection).await;
        let result = results.iter().find(|result| result["_id"] == *id);
        let Some(result) = result else { panic!("result {id} is lost") };
        if let Some(key) = result["cache_key"].as_str() {
            let objects = Servers::connect(settings).await.unwrap().stores().objects;
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("record");
            // A store that has just been started answers with errors for a while.
            let is_there =
                async || objects.get(&settings.names.cache_bucket, key, &path).await.is_ok_and(|o| o.is_some());
            wait_until("the record that a result names is there", is_there).await;
            oma_worker::ingest::cache::CachedRecord::open(&path).unwrap();
        }
    }
}

/// How often each fault is done: once, or OMA_FAULT_ROUNDS times; OMA_FAULT names a single one.
fn rounds() -> usize {
    std::env::var("OMA_FAULT_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap())
}

#[tokio::test]
async fn whatever_dies_or_stands_still_nothing_is_lost() {
    let wanted = std::env::var("OMA_FAULT").unwrap_or_default();
    let dice = Dice::new(23);
    let servers = OwnServers::up();
    for fault in FAULTS.into_iter().filter(|fault| format!("{fault:?}").contains(&wanted)) {
        let started = Instant::now();
        let mut scene = Scene::fresh(&servers, fault).await;
        let mut runs = 0;
        for _ in 0..rounds() {
            runs += scene.round(fault, &dice).await;
        }
        let queue = &scene.platform.servers.settings.names.queue;
        let dead = scene.platform.servers.documents(&format!("{queue}_dead")).await;
        assert!(dead.is_empty(), "{dead:?}");
        eprintln!("{fault:?}: {} times, {runs} runs DONE, {:.0} s", rounds(), started.elapsed().as_secs_f64());
    }
}
