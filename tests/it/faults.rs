//! One fault at a time, on a paused clock: what becomes of the run, of its messages, and of the worker.

use crate::support::flaky::{Dice, Flaky, Rates, Weather};
use crate::support::memory_stores::{Event, Memory};
use async_trait::async_trait;
use futures::future::BoxFuture;
use oma_worker::model::channel::Channel;
use oma_worker::model::control::Control;
use oma_worker::model::run::Status;
use oma_worker::stores::documents::{AnalysisKey, Id, QueueDocument};
use oma_worker::stores::names::Names;
use oma_worker::worker::{
    Compute, ComputedResult, Execute, Fault, Heart, Job, Shutdown, Summary, Worker, WorkerOptions,
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

type Computed = Result<ComputedResult, Fault>;

/// A computation made of a closure.
struct Does<F>(F);

#[async_trait]
impl<F: Fn(Job, Control) -> BoxFuture<'static, Computed> + Send + Sync> Compute for Does<F> {
    async fn compute(&self, job: Job, control: Control) -> Computed {
        (self.0)(job, control).await
    }
}

fn does<F>(compute: impl Fn(Job, Control) -> F + Send + Sync + 'static) -> Arc<dyn Compute>
where
    F: Future<Output = Computed> + Send + 'static,
{
    Arc::new(Does(move |job, control| Box::pin(compute(job, control)) as BoxFuture<'static, Computed>))
}

fn finds_something() -> Computed {
    Ok(ComputedResult { document: json!({"modes": []}) })
}

/// Computes for so long, reporting every second, unless it is cancelled.
fn computes_for(duration: Duration) -> Arc<dyn Compute> {
    does(move |_, control| async move {
        let started = Instant::now();
        while started.elapsed() < duration {
            control.progress("fake", started.elapsed().as_secs_f64());
            tokio::select! {
                () = control.token().cancelled() => return Err(Fault::Aborted),
                () = sleep(Duration::from_secs(1)) => {}
            }
        }
        finds_something()
    })
}

const FOR_EVER: Duration = Duration::from_secs(1 << 30);

struct Bench {
    memory: Memory,
    weather: Weather,
    shutdown: Shutdown,
}

fn id(number: usize) -> Id {
    Id::from(format!("{number:024x}").as_str())
}

fn key(number: usize) -> AnalysisKey {
    AnalysisKey { structure_id: id(0xa), analysis_id: id(0xb0 + number) }
}

impl Bench {
    fn new() -> Bench {
        let weather = Weather {
            rates: Arc::new(Mutex::new(Rates::default())),
            broker_up: Arc::new(watch::Sender::new(true)),
            dice: Dice::new(1),
        };
        Bench { memory: Memory::new(), weather, shutdown: Shutdown::new() }
    }

    /// Queues an SSI run of an analysis of its own.
    fn queue(&self, number: usize) {
        self.memory.insert_analysis(&key(number), json!({"tenant_id": 9, "user_id": 7, "status": "READY"}));
        self.queue_document(number, json!({"type": "SSI"}));
    }

    /// Queues a document; `fields` go over those of an SSI run.
    fn queue_document(&self, number: usize, fields: Value) {
        let key = key(number);
        let mut body = json!({"status": "QUEUED", "structure_id": key.structure_id, "analysis_id": key.analysis_id});
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.memory.insert_queue_document(&id(number), body);
    }

    fn start(&self, compute: Arc<dyn Compute>, options: WorkerOptions) -> JoinHandle<Summary> {
        let stores = Flaky::new(&self.memory, &self.weather).stores();
        let options = WorkerOptions { seed: Some(1), ..options };
        let worker = Worker::new(stores.clone(), Heart::here(stores.queue), options, compute);
        tokio::spawn(worker.run(self.shutdown.clone()))
    }

    /// Works until there has been nothing to do for a minute.
    async fn work_off(&self, compute: Arc<dyn Compute>) -> Summary {
        let options = WorkerOptions { exit_when_idle: Some(Duration::from_secs(60)), ..WorkerOptions::default() };
        self.start(compute, options).await.unwrap()
    }

    fn document(&self, number: usize) -> Option<QueueDocument> {
        self.memory.state().queue.get(&id(number)).cloned()
    }

    fn analysis(&self, number: usize) -> Value {
        self.memory.state().analyses[&key(number)].body.clone()
    }

    fn told(&self, number: usize) -> Vec<Status> {
        let analysis_id = key(number).analysis_id;
        let sent = |event: &Event| match event {
            Event::Sent(message) if message.document_id == analysis_id.as_str() => Some(message.status),
            _ => None,
        };
        self.memory.state().log.iter().filter_map(sent).collect()
    }

    async fn until(&self, condition: impl Fn(&Bench) -> bool) {
        while !condition(self) {
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn is_computing(&self, number: usize) -> bool {
        self.analysis(number)["status"] == "RUNNING" && self.told(number).ends_with(&[Status::Running])
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_is_done_told_of_and_gone() {
    let bench = Bench::new();
    bench.queue(1);
    let summary = bench.work_off(computes_for(Duration::from_secs(600))).await;
    assert_eq!(summary.counts.done, 1);
    assert!(!summary.hung);
    assert_eq!(bench.document(1), None);
    assert_eq!(bench.told(1), [Status::Running, Status::Done]);
    let analysis = bench.analysis(1);
    assert_eq!((&analysis["status"], &analysis["error"]), (&json!("DONE"), &Value::Null));
    let result = Id::from_value(&analysis["results"]["SSI"]).unwrap();
    assert_eq!(bench.memory.state().results[&(id(0xa), result)], json!({"modes": []}));
    assert!(analysis["progress"]["fraction"].as_f64().unwrap() > 500.0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_the_run_at_work_come_to_its_end() {
    let bench = Bench::new();
    bench.queue(1);
    bench.queue(2);
    let worker = bench.start(computes_for(Duration::from_secs(20)), WorkerOptions::default());
    bench.until(|bench| bench.is_computing(1)).await;
    bench.shutdown.request();
    assert_eq!(worker.await.unwrap().counts.done, 1);
    assert_eq!(bench.told(1), [Status::Running, Status::Done]);
    assert!(bench.document(2).unwrap().has_status(Status::Queued));
    assert!(bench.told(2).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_releases_a_run_that_takes_longer_than_the_drain() {
    let bench = Bench::new();
    bench.queue(1);
    let worker = bench.start(computes_for(FOR_EVER), WorkerOptions::default());
    bench.until(|bench| bench.is_computing(1)).await;
    let requested = Instant::now();
    bench.shutdown.request();
    assert_eq!(worker.await.unwrap().counts.released, 1);
    let took = requested.elapsed();
    assert!(took >= Duration::from_secs(25) && took < Duration::from_secs(30), "{took:?}");
    let document = bench.document(1).unwrap();
    assert!(document.has_status(Status::Queued));
    assert_eq!((document.worker.attempts, document.worker.releases), (0, 1));
    assert!(document.worker.not_before.unwrap().0 <= bench.memory.now());
    assert_eq!(bench.told(1), [Status::Running, Status::Queued]);
    assert_eq!(bench.analysis(1)["status"], "QUEUED");
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_releases_at_once() {
    let bench = Bench::new();
    bench.queue(1);
    let worker = bench.start(computes_for(FOR_EVER), WorkerOptions::default());
    bench.until(|bench| bench.is_computing(1)).await;
    let requested = Instant::now();
    bench.shutdown.request();
    bench.shutdown.request();
    worker.await.unwrap();
    assert!(requested.elapsed() < Duration::from_secs(2), "{:?}", requested.elapsed());
    assert_eq!(bench.told(1), [Status::Running, Status::Queued]);
}

#[tokio::test(start_paused = true)]
async fn a_computation_that_does_not_stop_is_not_waited_for_at_shutdown() {
    let bench = Bench::new();
    bench.queue(1);
    let deaf = does(|_, _| async {
        sleep(Duration::from_secs(600)).await;
        finds_something()
    });
    let worker = bench.start(deaf, WorkerOptions::default());
    bench.until(|bench| bench.is_computing(1)).await;
    let requested = Instant::now();
    bench.shutdown.request();
    assert_eq!(worker.await.unwrap().counts.released, 1);
    assert!(requested.elapsed() < Duration::from_secs(35), "{:?}", requested.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error_of_its_run_and_the_worker_lives_on() {
    let bench = Bench::new();
    bench.queue(1);
    bench.queue(2);
    let panics_first = does(|job, _| async move {
        if job.queue_id == id(1) {
            // Without the hook, which would print.
            std::panic::resume_unwind(Box::new("index out of bounds"));
        }
        finds_something()
    });
    let counts = bench.work_off(panics_first).await.counts;
    assert_eq!((counts.error, counts.done), (1, 1));
    assert_eq!(bench.told(1), [Status::Running, Status::Error]);
    let error = &bench.analysis(1)["error"];
    assert_eq!((&error["code"], &error["run_type"]), (&json!("internal"), &json!("SSI")));
    assert!(error["message"].as_str().unwrap().contains("index out of bounds"));
    assert_eq!(bench.told(2), [Status::Running, Status::Done]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_stands_still_is_given_up_with_the_process() {
    let bench = Bench::new();
    bench.queue(1);
    let stands_still = does(|_, control| async move {
        sleep(Duration::from_secs(60)).await;
        control.progress("poles", 0.5);
        loop {
            sleep(Duration::from_secs(1)).await;
            control.progress("poles", 0.5);
        }
    });
    let started = Instant::now();
    let worker = bench.start(stands_still, WorkerOptions::default());
    let summary = worker.await.unwrap();
    assert!(summary.hung);
    let took = started.elapsed();
    assert!(took > Duration::from_secs(16 * 60) && took < Duration::from_secs(17 * 60), "{took:?}");
    let document = bench.document(1).unwrap();
    assert!(document.has_status(Status::Running));
    // Its heartbeats have ended, so the next worker takes it.
    sleep(Duration::from_secs(120)).await;
    assert_eq!(bench.document(1), Some(document));
    assert_eq!(bench.work_off(does(|_, _| async { finds_something() })).await.counts.done, 1);
    assert_eq!(bench.analysis(1)["status"], "DONE");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_takes_too_long_is_an_error() {
    let bench = Bench::new();
    bench.queue(1);
    bench.work_off(computes_for(FOR_EVER)).await;
    assert_eq!(bench.told(1), [Status::Running, Status::Error]);
    assert_eq!(bench.analysis(1)["error"]["code"], "run_timed_out");
}

#[tokio::test(start_paused = true)]
async fn exhausted_attempts_are_an_error_without_another_computation() {
    let bench = Bench::new();
    bench.queue(1);
    bench.queue_document(1, json!({"type": "SSI", "worker": {"attempts": 3}}));
    let computations = Arc::new(AtomicUsize::new(0));
    let counter = computations.clone();
    let counts = bench.work_off(does(move |_, _| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { finds_something() }
    }));
    assert_eq!(counts.await.counts.error, 1);
    assert_eq!(computations.load(Ordering::Relaxed), 0);
    assert_eq!(bench.told(1), [Status::Running, Status::Error]);
    let analysis = bench.analysis(1);
    assert_eq!(analysis["error"]["code"], "attempts_exhausted");
    assert!(analysis["worker"]["fence"].as_i64().unwrap() > 0, "marked before");
}

#[tokio::test(start_paused = true)]
async fn poison_goes_to_the_dead_letters_and_the_worker_lives_on() {
    let bench = Bench::new();
    let poison = [
        json!({"analysis_id": null, "type": "SSI"}),
        json!({"analysis_id": 5, "type": "SSI"}),
        json!({"structure_id": ["a"], "type": "SSI"}),
        json!({"type": null}),
        json!({"type": {"name": "SSI"}}),
        json!({"type": "SSI", "worker": 5, "analysis_id": ""}),
        json!({"type": "SSI", "analysis_id": "nobody knows me"}),
        json!({"type": "SSI", "structure_id": "$.*'; --"}),
    ];
    for (number, fields) in poison.iter().enumerate() {
        bench.queue_document(number, fields.clone());
    }
    bench.queue(9);
    let counts = bench.work_off(does(|_, _| async { finds_something() })).await.counts;
    assert_eq!((counts.dead, counts.done), (poison.len() as u64, 1));
    let state = bench.memory.state();
    assert!(state.queue.is_empty());
    assert_eq!(state.dead.len(), poison.len());
    assert!(state.dead[&id(0)]["reason"].as_str().unwrap().contains("analysis_id"));
    assert!(state.dead[&id(6)]["reason"].as_str().unwrap().contains("does not exist"));
}

#[tokio::test(start_paused = true)]
async fn a_run_of_an_unknown_type_is_an_error_that_is_told() {
    let bench = Bench::new();
    bench.queue(1);
    bench.queue_document(1, json!({"type": "WAVELETS"}));
    bench.work_off(does(|_, _| async { finds_something() })).await;
    assert_eq!(bench.told(1), [Status::Running, Status::Error]);
    let error = bench.analysis(1)["error"].clone();
    assert_eq!((&error["code"], &error["run_type"]), (&json!("unknown_run_type"), &json!("WAVELETS")));
}

#[tokio::test(start_paused = true)]
async fn an_abort_stops_the_run_at_work_and_no_other_one() {
    let bench = Bench::new();
    bench.queue(1);
    bench.queue(2);
    let worker = bench.start(computes_for(Duration::from_secs(600)), WorkerOptions::default());
    bench.until(|bench| bench.is_computing(1)).await;
    let junk = [b"null".to_vec(), vec![b'['; 1 << 20], b"\xff".to_vec(), b"{\"analysis_id\": 1}".to_vec()];
    for payload in &junk {
        bench.memory.broadcast(payload);
    }
    bench.memory.broadcast(json!({"analysis_id": key(2).analysis_id}).to_string().as_bytes());
    sleep(Duration::from_secs(60)).await;
    assert!(bench.is_computing(1));
    let aborted = Instant::now();
    bench.memory.broadcast(json!({"analysis_id": key(1).analysis_id}).to_string().as_bytes());
    bench.until(|bench| bench.told(1) == [Status::Running, Status::Aborted]).await;
    assert!(aborted.elapsed() < Duration::from_secs(2), "{:?}", aborted.elapsed());
    assert_eq!(bench.analysis(1)["status"], "ABORTED");
    bench.until(|bench| bench.told(2) == [Status::Running, Status::Done]).await;
    bench.shutdown.request();
    let counts = worker.await.unwrap().counts;
    assert_eq!((counts.aborted, counts.done, counts.broadcasts_ignored), (1, 1, 5));
}

#[tokio::test(start_paused = true)]
async fn a_transient_fault_releases_the_run_for_longer_and_longer() {
    let bench = Bench::new();
    bench.queue(1);
    let began = Arc::new(Mutex::new(Vec::new()));
    let log = began.clone();
    let fails_thrice = does(move |_, _| {
        let mut began = log.lock().unwrap();
        began.push(Instant::now());
        let attempt = began.len();
        async move { if attempt <= 6 { Err(Fault::Transient("S3 is down".into())) } else { finds_something() } }
    });
    let worker = bench.start(fails_thrice, WorkerOptions::default());
    bench.until(|bench| bench.told(1).ends_with(&[Status::Done])).await;
    bench.shutdown.request();
    assert_eq!(worker.await.unwrap().counts.released, 6);
    let began = began.lock().unwrap();
    let waits: Vec<u64> = began.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert!(waits.is_sorted() && waits[5] >= 320, "{waits:?}");
    let told: Vec<Status> = [[Status::Running, Status::Queued]; 6].concat();
    assert_eq!(bench.told(1), [told, vec![Status::Running, Status::Done]].concat());
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_cannot_do_a_run_leaves_it_to_others_at_once_and_rests_for_longer_and_longer() {
    let bench = Bench::new();
    bench.queue(1);
    let began = Arc::new(Mutex::new(Vec::new()));
    let log = began.clone();
    let has_no_room = does(move |_, _| {
        log.lock().unwrap().push(Instant::now());
        async { Err(Fault::Unfit("no space left on device".into())) }
    });
    let worker = bench.start(has_no_room, WorkerOptions::default());
    bench.until(|_| began.lock().unwrap().len() == 4).await;
    bench.until(|bench| bench.told(1).ends_with(&[Status::Queued])).await;
    let others = WorkerOptions { worker_id: "other".into(), once: true, ..WorkerOptions::default() };
    let since = Instant::now();
    bench.start(does(|_, _| async { finds_something() }), others).await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!(bench.told(1).last(), Some(&Status::Done));
    bench.shutdown.request();
    assert_eq!(worker.await.unwrap().counts.released, 4);
    let waits: Vec<u64> = began.lock().unwrap().windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert_eq!(waits, [10, 20, 40]);
}

#[tokio::test(start_paused = true)]
async fn a_run_without_anybody_to_tell_ends_properly_all_the_same() {
    let bench = Bench::new();
    bench.queue(1);
    bench.memory.insert_analysis(&key(1), json!({"user_id": "7"}));
    let counts = bench.work_off(does(|_, _| async { finds_something() })).await.counts;
    assert_eq!((counts.done, counts.messages_without_addressee), (1, 2));
    assert_eq!(bench.analysis(1)["status"], "DONE");
    assert!(bench.told(1).is_empty());
    // The structure knows the tenant.
    bench.queue(2);
    bench.memory.insert_analysis(&key(2), json!({"user_id": "7"}));
    bench.memory.state().structures.insert(id(0xa), json!({"tenant_id": 9}));
    bench.work_off(does(|_, _| async { finds_something() })).await;
    assert_eq!(bench.told(2), [Status::Running, Status::Done]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_document_stops_its_run_and_is_told_as_aborted() {
    let bench = Bench::new();
    bench.queue(1);
    let worker = bench.start(computes_for(Duration::from_secs(600)), WorkerOptions::default());
    bench.until(|bench| bench.is_computing(1)).await;
    bench.memory.state().queue.remove(&id(1));
    sleep(Duration::from_secs(20)).await;
    assert_eq!(bench.told(1), [Status::Running, Status::Aborted]);
    let analysis = bench.analysis(1);
    assert_eq!((&analysis["status"], &analysis["worker"]["queue_id"]), (&json!("ABORTED"), &Value::Null));
    bench.shutdown.request();
    assert_eq!(worker.await.unwrap().counts.withdrawn, 1);
}

#[tokio::test(start_paused = true)]
async fn runs_go_on_while_the_broker_is_down() {
    let bench = Bench::new();
    bench.queue(1);
    bench.queue(2);
    bench.weather.broker_up.send_replace(false);
    let worker = bench.start(computes_for(Duration::from_secs(30)), WorkerOptions::default());
    sleep(Duration::from_secs(600)).await;
    for number in [1, 2] {
        assert_eq!(bench.analysis(number)["status"], "DONE");
        assert!(bench.told(number).is_empty());
        let document = bench.document(number).unwrap();
        assert!(document.worker.heartbeat_at.unwrap().0 > bench.memory.now() - 20_000, "kept by its heartbeat");
    }
    bench.weather.broker_up.send_replace(true);
    sleep(Duration::from_secs(60)).await;
    for number in [1, 2] {
        assert_eq!(bench.told(number), [Status::Running, Status::Done]);
        assert_eq!(bench.document(number), None);
    }
    bench.shutdown.request();
    assert_eq!(worker.await.unwrap().counts.done, 2);
}

#[tokio::test(start_paused = true)]
async fn once_takes_one_run() {
    let bench = Bench::new();
    bench.queue(1);
    bench.queue(2);
    let once = || WorkerOptions { once: true, ..WorkerOptions::default() };
    let worker = bench.start(computes_for(Duration::from_secs(5)), once());
    assert_eq!(worker.await.unwrap().counts.done, 1);
    assert_eq!(bench.told(1), [Status::Running, Status::Done]);
    assert!(bench.told(2).is_empty());
    bench.start(computes_for(Duration::from_secs(5)), once()).await.unwrap();
    assert_eq!(bench.start(computes_for(Duration::from_secs(5)), once()).await.unwrap().counts.done, 0);
}

/// Runs the real computation on an analysis; returns its error as "code: sentence".
async fn real_error(prepare: impl FnOnce(&Bench), fields: Value) -> String {
    let bench = Bench::new();
    bench.queue(1);
    let mut analysis = json!({"tenant_id": 9, "user_id": 7});
    for (name, value) in fields.as_object().unwrap() {
        analysis[name] = value.clone();
    }
    bench.memory.insert_analysis(&key(1), analysis);
    prepare(&bench);
    let folder = tempfile::tempdir().unwrap();
    let execute = Execute::new(bench.memory.stores(), Names::default(), folder.path(), 1 << 30, false);
    bench.work_off(Arc::new(execute)).await;
    assert_eq!(bench.told(1), [Status::Running, Status::Error]);
    assert_eq!(bench.document(1), None);
    let error = &bench.analysis(1)["error"];
    format!("{}: {}", error["code"].as_str().unwrap(), error["message"].as_str().unwrap())
}

fn structure(bench: &Bench) {
    bench.memory.state().structures.insert(id(0xa), json!({"name": "bridge", "tenant_id": 9, "mysql_id": 43}));
}

fn channel(bench: &Bench, active: bool) {
    let channel = Channel { sensor_id: "s1".into(), active, ..Channel::named("x") };
    bench.memory.state().channels.entry(43).or_default().push(channel);
}

#[tokio::test(start_paused = true)]
async fn what_the_stores_lack_is_an_error_with_a_sentence() {
    let inactive = |bench: &Bench| {
        structure(bench);
        channel(bench, false);
    };
    let no_files = |bench: &Bench| {
        structure(bench);
        channel(bench, true);
    };
    let missing_file = |bench: &Bench| {
        no_files(bench);
        bench.memory.state().measures.insert(43, vec![json!({"sensor_id": "s1", "key": "a/b.csv"})]);
    };
    let no_structure = format!("missing_structure: structure {} does not exist", id(0xa));
    assert_eq!(real_error(|_| {}, json!({})).await, no_structure);
    let expected = "no_channels: structure \"bridge\" has no active channel (0 channels are known)";
    assert_eq!(real_error(structure, json!({})).await, expected);
    let expected = "no_channels: structure \"bridge\" has no active channel (1 channels are known)";
    assert_eq!(real_error(inactive, json!({})).await, expected);
    let expected = "no_files: no raw file of structure \"bridge\" lies in the period of the analysis";
    assert_eq!(real_error(no_files, json!({})).await, expected);
    let expected = "missing_file: raw file a/b.csv does not exist in bucket files";
    assert_eq!(real_error(missing_file, json!({})).await, expected);
}

#[tokio::test(start_paused = true)]
async fn what_the_analysis_gets_wrong_is_an_error_with_a_sentence() {
    let fine_but_for_channels = |bench: &Bench| {
        structure(bench);
        channel(bench, true);
        bench.memory.state().measures.insert(43, vec![json!({"sensor_id": "s1", "values": {"x": [1, 2]}})]);
    };
    let says = |error: String, code: &str, parts: &[&str]| {
        assert!(error.starts_with(code) && parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let error = real_error(|_| {}, json!({"ssi": {"blok_rows": 3}})).await;
    says(error, "bad_parameter: ", &["blok_rows", "block_rows"]);
    let error = real_error(|_| {}, json!({"fdd": {"segment_length": "long"}})).await;
    says(error, "bad_parameter: ", &["fdd.segment_length"]);
    let error = real_error(|_| {}, json!({"period": {"start": "yesterday"}})).await;
    says(error, "bad_analysis: ", &["yesterday"]);
    let error = real_error(fine_but_for_channels, json!({"channels": "x"})).await;
    says(error, "bad_analysis: ", &["must be a list of channel names"]);
}
