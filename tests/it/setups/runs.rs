//! Runs of the whole worker over an analysis that names setups.

use super::eight;
use crate::support::memory_stores::Memory;
use nalgebra::{Complex, DVector};
use oma_worker::modal::indicators::mac;
use oma_worker::model::channel::Channel;
use oma_worker::model::merging::Strategy;
use oma_worker::model::record::{Block, Record};
use oma_worker::model::result::AnalysisResult;
use oma_worker::report;
use oma_worker::stores::Objects;
use oma_worker::stores::documents::{AnalysisKey, Id};
use oma_worker::stores::names::Names;
use oma_worker::worker::{Execute, Heart, Shutdown, Worker, WorkerOptions};
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Arc;

fn id(number: u32) -> Id {
    Id::from(format!("{number:024x}").as_str())
}

/// A structure with eight channels and a file of each of three setups, an hour apart.
async fn stores() -> (Memory, Vec<Value>) {
    let (memory, names) = (Memory::new(), Names::default());
    let (_, setups) = eight();
    let folder = tempfile::tempdir().unwrap();
    let (mut measures, mut records) = (Vec::new(), Vec::new());
    for (hour, (dofs, record)) in setups.iter().enumerate() {
        let channels: Vec<String> = dofs.iter().map(|dof| format!("storey {dof}")).collect();
        let mut text = channels.join(",") + "\n";
        let (mut source, mut block) = (record.blocks().unwrap(), Block::default());
        while source.next_block(&mut block).unwrap() {
            for t in 0..block.samples {
                let row: Vec<String> = (0..dofs.len()).map(|c| block.channel(c)[t].to_string()).collect();
                writeln!(text, "{}", row.join(",")).unwrap();
            }
        }
        let (path, key) = (folder.path().join("setup.csv"), format!("s/{hour}.csv"));
        std::fs::write(&path, text).unwrap();
        memory.put(&names.file_bucket, &key, &path).await.unwrap();
        let (start, end) = (format!("2026-05-04T0{hour}:00:00Z"), format!("2026-05-04T0{hour}:10:00Z"));
        measures.push(json!({
            "sensor_id": "s", "channels": channels, "key": key, "start": start, "end": end, "sampling_rate_hz": 100.0,
        }));
        records.push(json!({"start": start, "end": end, "channels": channels}));
    }
    let mut state = memory.state();
    state.structures.insert(id(1), json!({"name": "tower", "tenant_id": 9, "mysql_id": 43}));
    let channel = |dof: usize| {
        let name = format!("storey {dof}");
        Channel { sensor_id: "s".into(), axis: name.clone(), ..Channel::named(&name) }
    };
    state.channels.insert(43, (0..8).map(channel).collect());
    state.measures.insert(43, measures);
    drop(state);
    (memory, records)
}

/// One run over an analysis with these setups: its result, or its error.
async fn run(memory: &Memory, run_type: &str, setups: Value, number: u32) -> Result<AnalysisResult, Value> {
    let key = AnalysisKey { structure_id: id(1), analysis_id: id(number) };
    let body = json!({
        "tenant_id": 9, "user_id": 7, "status": "READY", "setups": setups,
        "period": {"start": "2026-05-04T00:00:00Z", "end": "2026-05-04T00:10:00Z"},
        "channels": ["storey 7", "storey 4"],
    });
    memory.insert_analysis(&key, body);
    let queued = json!({"status": "QUEUED", "structure_id": id(1), "analysis_id": id(number), "type": run_type});
    memory.insert_queue_document(&id(100 + number), queued);
    let (stores, data) = (memory.stores(), tempfile::tempdir().unwrap());
    let execute = Execute::new(stores.clone(), Names::default(), data.path(), u64::MAX, false);
    let options = WorkerOptions { once: true, ..WorkerOptions::default() };
    let heart = Heart::here(stores.queue.clone());
    Worker::new(stores, heart, options, Arc::new(execute)).run(Shutdown::new()).await;
    let body = memory.state().analyses[&key].body.clone();
    if !body["error"].is_null() {
        return Err(body["error"].clone());
    }
    let results: Vec<AnalysisResult> =
        memory.state().results.values().map(|result| serde_json::from_value(result.clone()).unwrap()).collect();
    Ok(results.into_iter().find(|result| result.analysis_id == Some(id(number).to_string())).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analysis_that_names_setups_has_the_modes_of_the_whole_structure() {
    let (memory, records) = stores().await;
    let (chain, _) = eight();
    for (number, (name, strategy)) in
        (2..).zip([("preger", Strategy::Preger), ("poger", Strategy::Poger), ("poser", Strategy::Poser)])
    {
        let setups = json!({"strategy": name, "records": records});
        let result = run(&memory, "SSI", setups, number).await.unwrap();
        assert_eq!((result.modes.len(), result.data.channels.len()), (8, 8), "{name}");
        assert_eq!(result.merging.as_ref().map(|merging| merging.strategy), Some(strategy));
        for (mode, exact) in result.modes.iter().zip(chain.modes()) {
            let error = (mode.frequency_hz - exact.frequency_hz).abs();
            assert!(error <= 4.0 * mode.frequency_std_hz.unwrap(), "{name}: {mode:?}");
            let place = |name: &String| name.trim_start_matches("storey ").parse::<usize>().unwrap();
            let shape = result.data.channels.iter().map(|name| Complex::from(exact.shape[place(name)]));
            let shape = DVector::from_iterator(8, shape);
            assert!(mac(mode.shape.0.as_view(), shape.as_view()) >= 0.99, "{name}: {mode:?}");
        }
        // The modes of all explain each setup's own channels and spectra, whatever excited it.
        assert_eq!(result.by_setup.len(), if strategy == Strategy::Poser { 0 } else { 3 }, "{name}");
        let merging = result.merging.as_ref().unwrap();
        for (setup, of) in result.by_setup.iter().zip(&merging.setups) {
            let validation = setup.validation.as_ref().unwrap();
            let channels: Vec<&String> = validation.channels.iter().map(|fit| &fit.channel).collect();
            assert_eq!(channels, of.data.channels.iter().collect::<Vec<_>>(), "{name}");
            for fit in &validation.channels {
                assert!(fit.correlation_fit >= 0.9, "{name}: {fit:?}");
                // Scatter, and as much again of the noise and of modes that a channel hardly sees.
                let error = fit.spectrum_error_db.unwrap();
                assert!(error < 2.0 * validation.scatter_db, "{name}: {error} dB beside {} dB", validation.scatter_db);
            }
            assert_eq!(setup.spectrum.singular_values.len(), 1);
            assert_eq!(setup.spectrum.singular_values[0].len(), validation.synthesis.measured[0].len());
        }
        let page = report::page("Tower", &[], std::slice::from_ref(&result));
        let told = (1..=3).filter(|number| page.contains(&format!("<h3>Setup {number}</h3>"))).count();
        assert_eq!(
            (told, page.matches("Spectra by the modes").count() > 0),
            (result.by_setup.len(), told > 0),
            "{name}"
        );
        // Each setup's record is made once and found again by the other strategies.
        let cached = memory.state().objects.keys().filter(|(_, key)| key.ends_with(".parquet")).count();
        assert_eq!(cached, 3, "{name}");
    }
    // What PREPROCESSING shows is the analysis' own period and channels.
    let shown = run(&memory, "PREPROCESSING", json!({"records": records}), 9).await.unwrap();
    assert_eq!(shown.data.channels, ["storey 7", "storey 4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn setups_that_make_no_sense_end_in_error_with_what_is_wrong() {
    let (memory, records) = stores().await;
    let elsewhere = json!({"start": "2025-01-01T00:00:00Z", "end": "2025-01-01T01:00:00Z"});
    let wrong_end = json!({"start": 7.5, "end": null});
    for (number, (setups, run_type, code, words)) in (2..).zip([
        (json!({"records": [records[0]]}), "SSI", "bad_analysis", "has 1 records, must have 2 or more"),
        (json!({"strategy": "best", "records": records}), "SSI", "bad_analysis", "poser, preger or poger"),
        (json!({"records": records, "rule": 1}), "SSI", "bad_analysis", "\"rule\", known are strategy, records"),
        (json!({"records": [records[0], wrong_end]}), "FDD", "bad_analysis", "7.5 as start"),
        (json!({"records": [records[0], 5]}), "FDD", "bad_analysis", "5 where an object must be"),
        (json!({"strategy": "preger", "records": records}), "FDD", "bad_parameter", "needs method ssi-cov"),
        (json!({"records": [records[0], elsewhere]}), "SSI", "no_files", "setup 2: no raw file"),
    ]) {
        let error = run(&memory, run_type, setups.clone(), number).await.unwrap_err();
        let message = error["message"].as_str().unwrap();
        assert!(error["code"] == code && message.contains(words), "{setups}: {error}");
    }
}
