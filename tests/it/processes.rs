//! Two processes `oma-worker run --embedded` on one workspace, killed with SIGKILL at random moments.

use crate::support::flaky::Dice;
use oma_worker::model::channel::Channel;
use oma_worker::model::run::{RunType, Status, StatusMessage};
use oma_worker::simulate::{Damping, Measurement, ShearChain};
use oma_worker::stores::Objects;
use oma_worker::stores::documents::Id;
use oma_worker::stores::embedded::Embedded;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const ROUNDS: usize = 50;
const STRUCTURE: i64 = 5;
/// A round takes one to three leases of a second; what takes longer than this hangs.
const LONGEST_ROUND: Duration = Duration::from_secs(120);

/// A worker process; killed when dropped.
struct Process(Child);

impl Process {
    fn start(folder: &Path) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oma-worker"));
        command.env_clear().current_dir(folder).args(["run", "--embedded", "."]);
        command.args(["--lease-seconds=1", "--sleep-time=0.05", "--max-attempts=5"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
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

/// A structure of three channels with a minute of samples each: a run takes a fraction of a second.
async fn small_structure(workspace: &Embedded, folder: &Path) -> Id {
    let structure = json!({"name": "s", "tenant_id": 9, "mysql_id": STRUCTURE});
    let structure_id = workspace.insert_structure(&structure).await.unwrap();
    let chain = ShearChain { dofs: 3, top_frequency_hz: 20.0, damping: Damping::Rising };
    let record = chain.record(&Measurement {
        dofs: vec![0, 1, 2],
        sampling_rate_hz: 100.0,
        samples: 6000,
        noise: 0.05,
        seed: 3,
    });
    for (sensor, samples) in record.iter().enumerate() {
        let sensor_id = sensor.to_string();
        let channel = Channel { sensor_id: sensor_id.clone(), axis: "x".into(), ..Channel::named(&sensor_id) };
        workspace.insert_channel(STRUCTURE, &channel).await.unwrap();
        let mut text = String::from("time,x\n");
        samples.iter().enumerate().for_each(|(k, y)| writeln!(text, "{:.2},{y}", k as f64 / 100.0).unwrap());
        let (key, path) = (format!("raw/{sensor}.csv"), folder.join("transfer.csv"));
        std::fs::write(&path, text).unwrap();
        workspace.put(&workspace.names().file_bucket, &key, &path).await.unwrap();
        let measure = json!({"sensor_id": sensor_id, "channels": ["x"], "sampling_rate_hz": 100.0, "key": key});
        workspace.insert_measure(STRUCTURE, &measure).await.unwrap();
    }
    structure_id
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
        let structure_id = small_structure(&workspace, folder.path()).await;
        let dice = Dice::new(7);
        let mut processes = [Process::start(folder.path()), Process::start(folder.path())];
        let (mut kills, mut done) = (0, 0);
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
                done += check(&workspace, &structure_id, analysis, &messages, round).await;
            }
        }
        assert!(workspace.dead_letters().await.unwrap().is_empty());
        eprintln!("{ROUNDS} rounds, {kills} kills, {done} runs DONE");
        assert!(done >= ROUNDS, "only {done} runs were DONE");
    });
}

/// Each run has one end, told in order; the last message is the analysis' status; results are there. The number of
/// runs DONE.
async fn check(
    workspace: &Embedded,
    structure_id: &Id,
    analysis: &Analysis,
    messages: &[StatusMessage],
    round: usize,
) -> usize {
    let mut done = 0;
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
            done += 1;
        } else {
            assert_eq!(body["error"]["code"], "attempts_exhausted", "round {round}: {body}");
        }
    }
    assert_eq!(told, expected, "round {round}");
    assert_eq!(body["status"], json!(told.last().unwrap().1), "round {round}");
    assert_eq!(body["worker"]["queue_id"], Value::Null, "round {round}");
    done
}
