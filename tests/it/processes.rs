//! Two real worker processes on one embedded workspace, killed with SIGKILL at random moments.
//!
//! The processes are this test binary, told by a variable to be a worker; the computation is a wait.

use crate::support::flaky::Dice;
use async_trait::async_trait;
use oma_worker::model::control::Control;
use oma_worker::model::run::{RunType, Status, StatusMessage};
use oma_worker::stores::RunQueue;
use oma_worker::stores::documents::Id;
use oma_worker::stores::embedded::Embedded;
use oma_worker::worker::{Compute, ComputedResult, Fault, Heart, Job, Shutdown, Worker, WorkerOptions};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const WORKSPACE: &str = "OMA_TEST_WORKER_ON";
const LEASE: Duration = Duration::from_millis(600);
const ROUNDS: usize = 50;
/// A round takes one to three leases; what takes longer than this hangs.
const LONGEST_ROUND: Duration = Duration::from_secs(60);

struct Wait(Dice);

#[async_trait]
impl Compute for Wait {
    async fn compute(&self, job: Job, control: Control) -> Result<ComputedResult, Fault> {
        control.progress("wait", 0.0);
        tokio::select! {
            () = control.token().cancelled() => Err(Fault::Aborted),
            () = sleep(self.0.duration(Duration::from_millis(150))) => {
                Ok(ComputedResult { document: json!({"type": job.run_type}) })
            }
        }
    }
}

/// Not a test of its own: the worker process of the test below, which sets the variable. Without it there is nothing
/// to do.
#[test]
fn child_worker() {
    let Some(folder) = std::env::var_os(WORKSPACE).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let workspace = Embedded::open(&folder).await.unwrap();
        let open = move || async move { Ok(Arc::new(Embedded::open(&folder).await?) as Arc<dyn RunQueue>) };
        let heart = Heart::on_own_thread(open).await.unwrap();
        let options = WorkerOptions {
            lease: LEASE,
            sleep_time: Duration::from_millis(40),
            max_attempts: 5,
            ..WorkerOptions::default()
        };
        let compute = Arc::new(Wait(Dice::new(u64::from(std::process::id()))));
        Worker::new(workspace.stores(), heart, options, compute).run(Shutdown::new()).await
    });
}

/// A worker process; killed when dropped.
struct Process(Child);

impl Process {
    fn start(folder: &Path) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "processes::child_worker", "--nocapture", "--test-threads", "1"]);
        command.env(WORKSPACE, folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Process(command.spawn().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Analysis {
    id: Id,
    runs: Vec<RunType>,
}

async fn queue_some(workspace: &Embedded, structure_id: &Id, dice: &Dice) -> Vec<Analysis> {
    let mut analyses = Vec::new();
    for _ in 0..1 + dice.below(3) {
        let body = json!({"tenant_id": 9, "user_id": 7, "name": "killed"});
        let id = workspace.insert_analysis(structure_id, &body).await.unwrap();
        let runs = RunType::ALL[..1 + dice.below(3)].to_vec();
        for run_type in &runs {
            workspace.enqueue(&id, *run_type).await.unwrap();
        }
        analyses.push(Analysis { id, runs });
    }
    analyses
}

#[test]
fn two_processes_killed_at_random_moments_lose_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Embedded::create(folder.path()).await.unwrap();
        let structure_id = workspace.insert_structure(&json!({"name": "s", "tenant_id": 9})).await.unwrap();
        let dice = Dice::new(7);
        let mut processes = [Process::start(folder.path()), Process::start(folder.path())];
        let mut kills = 0;
        for round in 0..ROUNDS {
            let analyses = queue_some(&workspace, &structure_id, &dice).await;
            let started = Instant::now();
            for _ in 0..1 + dice.below(2) {
                sleep(dice.duration(Duration::from_millis(500))).await;
                let victim = &mut processes[dice.below(2)];
                victim.kill();
                *victim = Process::start(folder.path());
                kills += 1;
            }
            while !workspace.queue_documents().await.unwrap().is_empty() {
                assert!(started.elapsed() < LONGEST_ROUND, "round {round}: {:#?}", workspace.queue_documents().await);
                sleep(Duration::from_millis(20)).await;
            }
            let messages = workspace.status_messages().await.unwrap();
            for analysis in &analyses {
                check(&workspace, &structure_id, analysis, &messages, round).await;
            }
        }
        assert!(workspace.dead_letters().await.unwrap().is_empty());
        eprintln!("{ROUNDS} rounds, {kills} kills");
    });
}

/// Each run has one end, told in order; the last message is the analysis' status; results are there.
async fn check(workspace: &Embedded, structure_id: &Id, analysis: &Analysis, messages: &[StatusMessage], round: usize) {
    let listing = workspace.listing().await.unwrap();
    let body = &listing.iter().find(|listed| listed.analysis_id == analysis.id).unwrap().analysis;
    let own: Vec<_> = messages.iter().filter(|message| message.document_id == analysis.id.as_str()).collect();
    let mut told: Vec<(&str, Status)> = own.iter().map(|message| (message.run_type.as_str(), message.status)).collect();
    told.dedup();
    let mut expected = Vec::new();
    for run_type in &analysis.runs {
        let by_type = body["status_by_type"][run_type.as_str()].clone();
        let end: Status = serde_json::from_value(by_type).unwrap();
        assert!(end.is_terminal(), "round {round}: {body}");
        expected.extend([(run_type.as_str(), Status::Running), (run_type.as_str(), end)]);
        if end == Status::Done {
            let result = Id::from_value(&body["results"][run_type.as_str()]).unwrap();
            assert!(workspace.result(structure_id, &result).await.unwrap().is_some(), "round {round}: {body}");
        } else {
            assert_eq!(body["error"]["code"], "attempts_exhausted", "round {round}: {body}");
        }
    }
    assert_eq!(told, expected, "round {round}");
    assert_eq!(body["status"], json!(told.last().unwrap().1), "round {round}");
    assert_eq!(body["worker"]["queue_id"], Value::Null, "round {round}");
}
