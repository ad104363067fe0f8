//! The demo through the binary: the whole worker finds the modes of a structure whose modes are exactly known, and a
//! person goes on with the workspace that it left.

use oma_worker::stores::documents::Id;
use oma_worker::stores::embedded::Embedded;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn oma(folder: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oma-worker"));
    command.env_clear().current_dir(folder).args(line.split_whitespace()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_demo_keeps_its_promise_and_its_workspace_can_be_worked_on() {
    let folder = tempfile::tempdir().unwrap();
    let demo = oma(folder.path(), "demo --dir w");
    let said = text(&demo.stdout);
    assert_eq!(demo.status.code(), Some(0), "{said}{}", text(&demo.stderr));
    for line in
        ["PREPROCESSING  RUNNING", "FDD            DONE", "SSI            DONE", "all 6 modes found", "queue empty"]
    {
        assert!(said.contains(line), "{line:?} is missing in {said}");
    }

    let statuses = std::fs::read_to_string(folder.path().join("w/statuses.jsonl")).unwrap();
    let words: Vec<String> = statuses
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|m| format!("{} {}", m["run_type"].as_str().unwrap(), m["status"].as_str().unwrap()))
        .collect();
    let expected =
        ["PREPROCESSING RUNNING", "PREPROCESSING DONE", "FDD RUNNING", "FDD DONE", "SSI RUNNING", "SSI DONE"];
    assert_eq!(words, expected);

    let page = std::fs::read_to_string(folder.path().join("w/report.html")).unwrap();
    for part in ["Exact and identified modes", "Stabilization diagram", "Singular values", "storey 6"] {
        assert!(page.contains(part), "{part} is missing on the page");
    }

    let again = oma(folder.path(), "demo --dir w");
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("holds a workspace already"));

    let status: Value = serde_json::from_slice(&oma(folder.path(), "status --embedded w --json").stdout).unwrap();
    let analysis = status["analyses"][0]["analysis_id"].as_str().unwrap().to_owned();
    assert_eq!(status["analyses"][0]["analysis"]["status_by_type"]["SSI"], "DONE");
    assert_eq!(status["analyses"][0]["queue"], serde_json::json!([]));

    let queued = oma(folder.path(), &format!("enqueue --embedded w --analysis {analysis} --type FDD"));
    assert_eq!(queued.status.code(), Some(0), "{}", text(&queued.stderr));
    let run = oma(folder.path(), "run --embedded w --once --sleep-time 0.05 --reports yes");
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    assert!(text(&oma(folder.path(), "status --embedded w").stdout).contains(&analysis));
    let statuses = std::fs::read_to_string(folder.path().join("w/statuses.jsonl")).unwrap();
    assert_eq!(statuses.lines().count(), expected.len() + 2);
    keeps_its_page(&folder.path().join("w"));
    let check = oma(folder.path(), "check --embedded w");
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stdout));
}

/// The last result of the workspace's one analysis names its page, which lies in the cache as the result says.
fn keeps_its_page(workspace: &Path) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let workspace = Embedded::open(workspace).await.unwrap();
        let listing = workspace.listing().await.unwrap().remove(0);
        let id = Id::from_value(&listing.analysis["results"]["FDD"]).unwrap();
        let document = workspace.result(&listing.structure_id, &id).await.unwrap().unwrap();
        let (key, sha256) =
            (document["report"]["key"].as_str().unwrap(), document["report"]["sha256"].as_str().unwrap());
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let bucket = &workspace.names().cache_bucket;
        let object = workspace.stores().objects.get(bucket, key, &path).await.unwrap().unwrap();
        // The embedded store's etag is the content's SHA-256.
        assert_eq!(object.etag, sha256);
        let page = std::fs::read_to_string(&path).unwrap();
        assert!(page.contains("Modes by fdd") && page.contains("plotly.js"));
    });
}
