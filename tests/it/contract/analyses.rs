//! Clauses of [`Analyses`](oma_worker::stores::Analyses).

use super::*;

fn mark(queue_id: u64, fence: i64) -> Mark {
    Mark { queue_id: id(queue_id), fence, run_type: "SSI".into() }
}

async fn body(bench: &dyn Bench) -> Value {
    bench.stores().analyses.find(&key()).await.unwrap().unwrap().body
}

async fn holder(bench: &dyn Bench) -> Holder {
    bench.stores().analyses.find(&key()).await.unwrap().unwrap().holder()
}

async fn marked(bench: &dyn Bench, mark: &Mark) -> bool {
    bench.stores().analyses.mark(&key(), mark).await.unwrap()
}

pub(super) async fn mark_takes_a_free_analysis_with_a_lower_fence(bench: &impl Bench) {
    bench.put_analysis(&key(), json!({})).await;
    assert!(marked(bench, &mark(1, 5)).await, "never held");
    for (fence, takes) in [(4, false), (5, false), (6, true)] {
        bench.put_analysis(&key(), json!({"worker": {"fence": 5, "queue_id": null}})).await;
        assert_eq!(marked(bench, &mark(2, fence)).await, takes, "fence {fence}");
    }
}

pub(super) async fn mark_takes_its_own_analysis_again(bench: &impl Bench) {
    for queue_id in [json!(id(1)), json!({"$oid": id(1)})] {
        for (fence, takes) in [(4, false), (5, true), (6, true)] {
            bench.put_analysis(&key(), json!({"worker": {"fence": 5, "queue_id": queue_id}})).await;
            assert_eq!(marked(bench, &mark(1, fence)).await, takes, "fence {fence}");
        }
    }
}

pub(super) async fn mark_leaves_what_another_one_holds(bench: &impl Bench) {
    bench.put_analysis(&key(), json!({"worker": {"fence": 5, "queue_id": id(1)}})).await;
    assert!(!marked(bench, &mark(2, 6)).await);
    assert_eq!(holder(bench).await, Holder { fence: Some(5), queue_id: Some(id(1)) });
}

pub(super) async fn mark_writes_status_and_holder(bench: &impl Bench) {
    bench.put_analysis(&key(), json!({"name": "n", "status_by_type": {"FDD": "DONE"}, "worker": {"more": 1}})).await;
    assert!(marked(bench, &mark(1, 5)).await);
    let body = body(bench).await;
    assert_eq!((&body["status"], &body["name"]), (&json!("RUNNING"), &json!("n")));
    assert_eq!(body["status_by_type"], json!({"FDD": "DONE", "SSI": "RUNNING"}));
    assert_eq!(body["worker"]["more"], 1);
    assert!(Date::from_value(&body["started_at"]).is_some());
    assert_eq!(holder(bench).await, Holder { fence: Some(5), queue_id: Some(id(1)) });
}

pub(super) async fn mark_of_an_unknown_type_writes_no_field_of_that_name(bench: &impl Bench) {
    bench.put_analysis(&key(), json!({})).await;
    assert!(marked(bench, &Mark { run_type: "$a.b".into(), ..mark(1, 5) }).await);
    let body = body(bench).await;
    assert_eq!(body["status"], "RUNNING");
    assert_eq!(body["status_by_type"], Value::Null);
}

pub(super) async fn take_over_needs_the_holder_as_read(bench: &impl Bench) {
    let take_over = async |fence, queue_id| {
        let read = Holder { fence: Some(fence), queue_id: Some(id(queue_id)) };
        bench.stores().analyses.take_over(&key(), &mark(2, 9), &read).await.unwrap()
    };
    bench.put_analysis(&key(), json!({"worker": {"fence": 5, "queue_id": id(1)}})).await;
    assert!(!take_over(4, 1).await);
    assert!(!take_over(5, 3).await);
    assert!(take_over(5, 1).await);
    assert_eq!(holder(bench).await, Holder { fence: Some(9), queue_id: Some(id(2)) });
    assert_eq!(body(bench).await["status"], "RUNNING");
}

async fn settled(bench: &dyn Bench, outcome: &Outcome) -> bool {
    bench.stores().analyses.settle(&key(), &id(1), "SSI", outcome).await.unwrap()
}

pub(super) async fn settle_writes_the_outcome_once(bench: &impl Bench) {
    bench.put_analysis(&key(), json!({"results": {"FDD": "x"}})).await;
    assert!(!settled(bench, &outcome(5, Status::Done)).await, "not held");
    marked(bench, &mark(1, 5)).await;
    assert!(settled(bench, &Outcome { results: Some(id(0xd)), ..outcome(5, Status::Done) }).await);
    assert!(!settled(bench, &outcome(5, Status::Aborted)).await);
    let body = body(bench).await;
    assert_eq!((&body["status"], &body["status_by_type"]["SSI"]), (&json!("DONE"), &json!("DONE")));
    assert_eq!((&body["results"]["FDD"], Id::from_value(&body["results"]["SSI"])), (&json!("x"), Some(id(0xd))));
    assert!(Date::from_value(&body["finished_at"]).is_some());
    assert_eq!(holder(bench).await, Holder { fence: Some(5), queue_id: None });
}

pub(super) async fn settle_clears_an_old_error(bench: &impl Bench) {
    bench.put_analysis(&key(), json!({})).await;
    marked(bench, &mark(1, 5)).await;
    let error = Some(RunError { code: "data_too_short".into(), message: "812 samples".into() });
    settled(bench, &Outcome { error, ..outcome(5, Status::Error) }).await;
    let shown = &body(bench).await["error"];
    assert_eq!((&shown["code"], &shown["run_type"]), (&json!("data_too_short"), &json!("SSI")));
    assert_eq!(shown["message"], "812 samples");
    assert!(Date::from_value(&shown["at"]).is_some());
    marked(bench, &mark(1, 6)).await;
    settled(bench, &outcome(6, Status::Done)).await;
    assert_eq!(body(bench).await["error"], Value::Null);
}

/// Calls `write` with marks that do not hold the analysis, then with the one that does.
async fn needs_hold(bench: &dyn Bench, write: impl AsyncFn(Stores, Mark) -> bool) {
    bench.put_analysis(&key(), json!({})).await;
    marked(bench, &mark(1, 5)).await;
    let before = body(bench).await;
    assert!(!write(bench.stores(), mark(1, 4)).await);
    assert!(!write(bench.stores(), mark(1, 6)).await);
    assert!(!write(bench.stores(), mark(2, 5)).await);
    assert_eq!(body(bench).await, before);
    assert!(write(bench.stores(), mark(1, 5)).await);
}

pub(super) async fn release_of_an_analysis_keeps_it_held(bench: &impl Bench) {
    needs_hold(bench, async |stores: Stores, mark: Mark| stores.analyses.release(&key(), &mark).await.unwrap()).await;
    let body = body(bench).await;
    assert_eq!((&body["status"], &body["status_by_type"]["SSI"]), (&json!("QUEUED"), &json!("QUEUED")));
    assert_eq!(holder(bench).await, Holder { fence: Some(5), queue_id: Some(id(1)) });
}

pub(super) async fn withdraw_writes_the_outcome_and_keeps_it_held(bench: &impl Bench) {
    let aborted = outcome(5, Status::Aborted);
    let withdraw = async |stores: Stores, mark: Mark| stores.analyses.withdraw(&key(), &mark, &aborted).await.unwrap();
    needs_hold(bench, withdraw).await;
    let body = body(bench).await;
    assert_eq!((&body["status"], &body["status_by_type"]["SSI"]), (&json!("ABORTED"), &json!("ABORTED")));
    assert!(Date::from_value(&body["finished_at"]).is_some());
    assert_eq!(holder(bench).await, Holder { fence: Some(5), queue_id: Some(id(1)) });
}

pub(super) async fn free_needs_queue_id_and_fence(bench: &impl Bench) {
    needs_hold(bench, async |stores: Stores, mark: Mark| stores.analyses.free(&key(), &mark).await.unwrap()).await;
    assert_eq!(holder(bench).await, Holder { fence: Some(5), queue_id: None });
}

pub(super) async fn progress_needs_queue_id_and_fence(bench: &impl Bench) {
    let progress =
        async |stores: Stores, mark: Mark| stores.analyses.progress(&key(), &mark, "spectra", 0.25).await.unwrap();
    needs_hold(bench, progress).await;
    assert_eq!(body(bench).await["progress"], json!({"stage": "spectra", "fraction": 0.25}));
}

pub(super) async fn a_missing_analysis_matches_nothing(bench: &impl Bench) {
    let analyses = bench.stores().analyses;
    assert_eq!(analyses.find(&key()).await.unwrap(), None);
    assert!(!marked(bench, &mark(1, 5)).await);
    assert!(!settled(bench, &outcome(5, Status::Done)).await);
    assert!(!analyses.free(&key(), &mark(1, 5)).await.unwrap());
    assert_eq!(analyses.find(&key()).await.unwrap(), None);
}

pub(super) async fn a_result_is_replaced_under_its_id(bench: &impl Bench) {
    let analyses = bench.stores().analyses;
    for number in [1, 2, 2] {
        analyses.put_result(&id(0xa), &id(0xd), &json!({"number": number, "modes": [1.5, null]})).await.unwrap();
    }
    let result = bench.result(&id(0xa), &id(0xd)).await.unwrap();
    assert_eq!((&result["number"], &result["modes"]), (&json!(2), &json!([1.5, null])));
    assert_eq!(bench.result(&id(0xb), &id(0xd)).await, None);
}

pub(super) async fn results_beside_are_the_newest_of_the_other_analyses(bench: &impl Bench) {
    let analyses = bench.stores().analyses;
    let key = |structure, analysis| AnalysisKey { structure_id: id(structure), analysis_id: id(analysis) };
    let put = async |structure, number: u64, analysis, run_type: &str| {
        let result = json!({
            "type": run_type, "analysis_id": id(analysis).as_str(), "number": number, "modes": [{"frequency_hz": 1.5}],
            "stabilization": {"order": [2]}, "geometry": null,
        });
        analyses.put_result(&id(structure), &id(number), &result).await.unwrap();
    };
    for (number, analysis) in [(3, 0x31), (1, 0x32), (2, 0x33), (4, 0x30)] {
        put(0xa, number, analysis, "SSI").await;
    }
    put(0xa, 5, 0x34, "FDD").await;
    put(0xb, 6, 0x35, "SSI").await;
    // Somebody else's.
    analyses.put_result(&id(0xa), &id(7), &json!({"kind": "SSI"})).await.unwrap();
    let beside = async |structure, limit| analyses.results_beside(&key(structure, 0x30), RunType::Ssi, limit).await;
    let numbers = async |structure, limit| {
        let found = beside(structure, limit).await.unwrap();
        found.iter().map(|result| result["number"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(0xa, 10).await, [3, 2, 1], "of other analyses, the newest first");
    assert_eq!(numbers(0xa, 2).await, [3, 2]);
    assert_eq!(numbers(0xc, 2).await, [0; 0]);
    let newest = &beside(0xa, 1).await.unwrap()[0];
    assert_eq!(newest["modes"], json!([{"frequency_hz": 1.5}]));
    assert!(newest.get("stabilization").is_none() && newest.get("geometry").is_none(), "{newest}");
}

pub(super) async fn a_result_of_more_than_16_mib_is_refused(bench: &impl Bench) {
    let analyses = bench.stores().analyses;
    let put = async |length: usize| {
        let result = json!({"text": "x".repeat(length)});
        analyses.put_result(&id(0xa), &id(0xd), &result).await
    };
    // 16 bytes are around the text: lengths, the type and the name, zeros.
    put(LARGEST_RESULT - 16).await.unwrap();
    let error = put(LARGEST_RESULT - 15).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Invalid);
    assert_eq!(bench.result(&id(0xa), &id(0xd)).await.unwrap()["text"].as_str().unwrap().len(), LARGEST_RESULT - 16);
}
