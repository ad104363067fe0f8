//! Clauses of [`RunQueue`](oma_worker::stores::RunQueue).

use super::*;

pub(super) async fn claim_takes_the_lowest_id(bench: &impl Bench) {
    for number in [3, 1, 2] {
        bench.put_queued(&id(number), waiting()).await;
    }
    for number in [1, 2, 3] {
        assert_eq!(claimed(bench).await.0.id, id(number));
    }
    assert_eq!(bench.stores().queue.claim(&claimant("w")).await.unwrap(), None);
}

pub(super) async fn claim_writes_all_that_it_promises(bench: &impl Bench) {
    let worker = json!({"not_before": {"$date": 1000}, "attempts": 2, "unsent": [{"fence": 4, "status": "QUEUED"}]});
    bench.put_queued(&id(1), held(Status::Queued, worker)).await;
    let (document, own) = claimed(bench).await;
    assert_eq!(Some(&document), bench.queued(&id(1)).await.as_ref());
    assert!(document.has_status(Status::Running));
    let worker = document.worker;
    assert_eq!((worker.id.as_deref(), worker.host.as_deref()), (Some("w"), Some("here")));
    assert_eq!((worker.lease_ms, worker.attempts, worker.not_before), (LEASE, 3, None));
    assert_eq!(worker.heartbeat_at, Some(Date(worker.fence)));
    let expected = [Unsent { fence: 4, status: Status::Queued }, Unsent { fence: own.fence, status: Status::Running }];
    assert_eq!(worker.unsent, expected);
    assert_eq!(worker.outcome, None);
}

pub(super) async fn claim_sets_a_fence_above_the_old_one(bench: &impl Bench) {
    let far = 9_000_000_000_000;
    bench.put_queued(&id(1), held(Status::Queued, json!({"fence": far}))).await;
    assert_eq!(claimed(bench).await.1.fence, far + 1);
}

pub(super) async fn claim_keeps_what_it_does_not_know(bench: &impl Bench) {
    let mut body = held(Status::Queued, json!({"note": [1, 2]}));
    body["priority"] = json!({"level": 5});
    bench.put_queued(&id(1), body).await;
    let (document, _) = claimed(bench).await;
    assert_eq!(document.to_body()["priority"], json!({"level": 5}));
    assert_eq!(document.to_body()["worker"]["note"], json!([1, 2]));
    assert_eq!(bench.queued(&id(1)).await.unwrap().to_body()["worker"]["note"], json!([1, 2]));
}

pub(super) async fn claim_waits_for_not_before(bench: &impl Bench) {
    let (probe, _) = one_claimed(bench).await;
    let now = probe.worker.fence;
    bench.put_queued(&id(2), held(Status::Queued, json!({"not_before": {"$date": now + 3_600_000}}))).await;
    bench.put_queued(&id(3), held(Status::Queued, json!({"not_before": {"$date": now - 1}}))).await;
    assert_eq!(claimed(bench).await.0.id, id(3));
    assert_eq!(bench.stores().queue.claim(&claimant("w")).await.unwrap(), None);
}

pub(super) async fn claim_takes_an_expired_run(bench: &impl Bench) {
    bench.put_queued(&id(1), held(Status::Running, expired())).await;
    let (document, own) = claimed(bench).await;
    assert!(own.fence > 5);
    assert_eq!(document.worker.attempts, 2);
}

pub(super) async fn claim_leaves_a_run_whose_lease_holds(bench: &impl Bench) {
    one_claimed(bench).await;
    assert_eq!(bench.stores().queue.claim(&claimant("v")).await.unwrap(), None);
}

pub(super) async fn claim_never_takes_a_run_without_a_date(bench: &impl Bench) {
    let no_dates = [json!({}), with(expired(), "heartbeat_at", json!("1970-01-01T00:00:00Z"))];
    let also_none = [with(expired(), "heartbeat_at", json!(1000)), with(expired(), "heartbeat_at", Value::Null)];
    for (number, worker) in no_dates.into_iter().chain(also_none).enumerate() {
        bench.put_queued(&id(1 + number as u64), held(Status::Running, worker)).await;
    }
    let mut foreign = waiting();
    foreign["status"] = json!("RUNNING");
    bench.put_queued(&id(9), foreign).await;
    assert_eq!(bench.stores().queue.claim(&claimant("w")).await.unwrap(), None);
    assert_eq!(bench.stores().queue.claim_settling(&claimant("w")).await.unwrap(), None);
}

pub(super) async fn claim_never_takes_a_committed_run(bench: &impl Bench) {
    let worker = with(expired(), "outcome", json!({"status": "DONE", "fence": 5}));
    bench.put_queued(&id(1), held(Status::Running, worker)).await;
    assert_eq!(bench.stores().queue.claim(&claimant("w")).await.unwrap(), None);
}

pub(super) async fn claim_settling_takes_only_committed_and_expired(bench: &impl Bench) {
    let queue = bench.stores().queue;
    bench.put_queued(&id(1), waiting()).await;
    bench.put_queued(&id(2), held(Status::Running, expired())).await;
    assert_eq!(queue.claim_settling(&claimant("w")).await.unwrap(), None);
    let entry = json!([{"fence": 5, "status": "DONE"}]);
    let committed = with(with(expired(), "outcome", json!({"status": "DONE", "fence": 5})), "unsent", entry);
    bench.put_queued(&id(3), held(Status::Running, committed)).await;
    let document = queue.claim_settling(&claimant("w")).await.unwrap().unwrap();
    assert_eq!((document.id, document.worker.attempts), (id(3), 1));
    assert!(document.worker.fence > 5);
    assert_eq!(document.worker.unsent, [Unsent { fence: 5, status: Status::Done }]);
    assert_eq!(document.worker.outcome, Some(outcome(5, Status::Done)));
    assert_eq!(queue.claim_settling(&claimant("v")).await.unwrap(), None);
}

pub(super) async fn concurrent_claims_get_different_documents(bench: &impl Bench) {
    for number in 0..16 {
        bench.put_queued(&id(number), waiting()).await;
    }
    let claims = (0..16).map(|number| {
        let queue = bench.stores().queue;
        tokio::spawn(async move { queue.claim(&claimant(&number.to_string())).await.unwrap().unwrap().id })
    });
    let mut ids: Vec<Id> = futures::future::try_join_all(claims).await.unwrap();
    ids.sort();
    assert_eq!(ids, (0..16).map(id).collect::<Vec<_>>());
}

pub(super) async fn find_tells_what_is_there_and_whose(bench: &impl Bench) {
    let queue = bench.stores().queue;
    assert_eq!(queue.find(&id(1)).await.unwrap(), None);
    let (document, own) = one_claimed(bench).await;
    assert_eq!(queue.find(&id(1)).await.unwrap(), Some(document.clone()));
    assert_eq!(queue.find_own(&own).await.unwrap(), Some(document));
    assert_eq!(queue.find_own(&Own { fence: own.fence - 1, ..own }).await.unwrap(), None);
}

pub(super) async fn older_pending_sees_older_runs_without_an_end(bench: &impl Bench) {
    let queue = bench.stores().queue;
    let is_behind = async || queue.older_pending(&id(0xb), &id(5)).await.unwrap();
    bench.put_queued(&id(5), waiting()).await;
    bench.put_queued(&id(6), waiting()).await;
    let mut other = waiting();
    other["analysis_id"] = json!(id(0xc));
    bench.put_queued(&id(1), other).await;
    let committed = with(expired(), "outcome", json!({"status": "DONE", "fence": 5}));
    bench.put_queued(&id(2), held(Status::Running, committed)).await;
    bench.put_queued(&id(3), held(Status::Running, json!({}))).await;
    assert!(!is_behind().await);
    bench.put_queued(&id(4), held(Status::Running, expired())).await;
    assert!(is_behind().await);
    bench.put_queued(&id(4), waiting()).await;
    assert!(is_behind().await);
    let mut by_object_id = waiting();
    by_object_id["analysis_id"] = json!({"$oid": id(0xb)});
    bench.put_queued(&id(4), by_object_id).await;
    assert!(is_behind().await);
}

pub(super) async fn earlier_outcome_goes_by_fence(bench: &impl Bench) {
    let queue = bench.stores().queue;
    let has_earlier = async |own: u64, fence| queue.earlier_outcome(&id(0xb), &id(own), fence).await.unwrap();
    bench.put_queued(&id(4), waiting()).await;
    let committed = with(expired(), "outcome", json!({"status": "DONE", "fence": 5}));
    bench.put_queued(&id(9), held(Status::Running, committed)).await;
    assert!(has_earlier(4, 6).await);
    assert!(!has_earlier(4, 5).await);
    assert!(!has_earlier(9, 6).await);
    assert!(!queue.earlier_outcome(&id(0xc), &id(4), 6).await.unwrap());
}

/// Calls `write` on documents that are LIVE but for one thing; none may match.
async fn needs_live(bench: &dyn Bench, write: impl AsyncFn(Stores, Own) -> bool) {
    let (document, own) = one_claimed(bench).await;
    assert!(!write(bench.stores(), Own { fence: own.fence + 1, ..own.clone() }).await, "another fence");
    assert!(!write(bench.stores(), Own { id: id(2), ..own.clone() }).await, "another id");
    let mut body = document.to_body();
    body["status"] = json!("QUEUED");
    bench.put_queued(&own.id, body).await;
    assert!(!write(bench.stores(), own.clone()).await, "not RUNNING");
    let mut body = document.to_body();
    body["worker"]["outcome"] = json!({"status": "DONE", "fence": own.fence});
    bench.put_queued(&own.id, body).await;
    let before = bench.queued(&own.id).await;
    assert!(!write(bench.stores(), own.clone()).await, "has an outcome");
    assert_eq!(bench.queued(&own.id).await, before);
    bench.put_queued(&own.id, document.to_body()).await;
    assert!(write(bench.stores(), own).await, "live");
}

pub(super) async fn raise_needs_live(bench: &impl Bench) {
    needs_live(bench, async |stores: Stores, own: Own| stores.queue.raise(&own, own.fence + 9).await.unwrap()).await;
    assert!(bench.queued(&id(1)).await.unwrap().worker.fence > 9);
}

pub(super) async fn heartbeat_needs_own_and_running(bench: &impl Bench) {
    let queue = bench.stores().queue;
    let (document, own) = one_claimed(bench).await;
    let mut body = document.to_body();
    body["worker"]["heartbeat_at"] = json!({"$date": 7});
    body["worker"]["outcome"] = json!({"status": "DONE", "fence": own.fence});
    bench.put_queued(&own.id, body.clone()).await;
    assert!(queue.heartbeat(&own).await.unwrap());
    assert!(bench.queued(&own.id).await.unwrap().worker.heartbeat_at >= document.worker.heartbeat_at);
    assert!(!queue.heartbeat(&Own { fence: own.fence + 1, ..own.clone() }).await.unwrap());
    body["status"] = json!("QUEUED");
    bench.put_queued(&own.id, body).await;
    assert!(!queue.heartbeat(&own).await.unwrap());
    assert_eq!(bench.queued(&own.id).await.unwrap().worker.heartbeat_at, Some(Date(7)));
}

pub(super) async fn hand_back_undoes_a_claim(bench: &impl Bench) {
    let hand_back = async |stores: Stores, own: Own| {
        let entry = Unsent { fence: own.fence, status: Status::Running };
        stores.queue.hand_back(&own, &entry, Duration::from_secs(5)).await.unwrap()
    };
    needs_live(bench, hand_back).await;
    let document = bench.queued(&id(1)).await.unwrap();
    assert!(document.has_status(Status::Queued));
    assert_eq!((document.worker.attempts, document.worker.unsent.len()), (0, 0));
    let waits = document.worker.not_before.unwrap().0 - document.worker.heartbeat_at.unwrap().0;
    assert!((5_000..65_000).contains(&waits), "{waits} ms");
}

pub(super) async fn commit_happens_once(bench: &impl Bench) {
    let (_, own) = one_claimed(bench).await;
    let queue = bench.stores().queue;
    assert!(queue.commit(&own, &outcome(own.fence, Status::Done)).await.unwrap());
    assert!(!queue.commit(&own, &outcome(own.fence, Status::Aborted)).await.unwrap());
    let document = bench.queued(&own.id).await.unwrap();
    assert!(document.has_status(Status::Running));
    assert_eq!(document.worker.outcome, Some(outcome(own.fence, Status::Done)));
    let statuses: Vec<Status> = document.worker.unsent.iter().map(|entry| entry.status).collect();
    assert_eq!(statuses, [Status::Running, Status::Done]);
}

pub(super) async fn commit_needs_the_fence(bench: &impl Bench) {
    let commit = async |stores: Stores, own: Own| {
        let outcome = Outcome {
            results: Some(id(0xd)),
            error: Some(RunError { code: "c".into(), message: "m".into() }),
            ..outcome(own.fence, Status::Error)
        };
        stores.queue.commit(&own, &outcome).await.unwrap()
    };
    needs_live(bench, commit).await;
    let outcome = bench.queued(&id(1)).await.unwrap().worker.outcome.unwrap();
    assert_eq!((outcome.results, outcome.error.unwrap().code.as_str()), (Some(id(0xd)), "c"));
}

pub(super) async fn pull_takes_exactly_the_entry(bench: &impl Bench) {
    let (_, own) = one_claimed(bench).await;
    let queue = bench.stores().queue;
    queue.commit(&own, &outcome(own.fence, Status::Done)).await.unwrap();
    let running = Unsent { fence: own.fence, status: Status::Running };
    let other = Unsent { fence: own.fence - 1, status: Status::Done };
    assert!(!queue.pull(&Own { fence: own.fence - 1, ..own.clone() }, &running).await.unwrap());
    for _ in 0..2 {
        assert!(queue.pull(&own, &running).await.unwrap());
        assert!(queue.pull(&own, &other).await.unwrap());
        let unsent = bench.queued(&own.id).await.unwrap().worker.unsent;
        assert_eq!(unsent, [Unsent { fence: own.fence, status: Status::Done }]);
    }
}

pub(super) async fn release_keeps_others_away_for_a_lease(bench: &impl Bench) {
    for (number, wait, least) in [(1, 0, LEASE), (2, 600_000, 600_000)] {
        bench.put_queued(&id(number), waiting()).await;
        let (before, own) = claimed(bench).await;
        assert!(bench.stores().queue.release(&own, Duration::from_millis(wait)).await.unwrap());
        let document = bench.queued(&own.id).await.unwrap();
        assert!(document.has_status(Status::Queued));
        assert_eq!((document.worker.attempts, document.worker.releases), (0, 1));
        assert_eq!(document.worker.unsent[1], Unsent { fence: own.fence, status: Status::Queued });
        let waits = document.worker.not_before.unwrap().0 - before.worker.heartbeat_at.unwrap().0;
        assert!((least..least + 60_000).contains(&waits), "{waits} ms");
        assert_eq!(bench.stores().queue.claim(&claimant("v")).await.unwrap(), None);
    }
}

pub(super) async fn release_needs_live(bench: &impl Bench) {
    let release = async |stores: Stores, own: Own| stores.queue.release(&own, Duration::ZERO).await.unwrap();
    needs_live(bench, release).await;
}

pub(super) async fn offer_lets_others_claim(bench: &impl Bench) {
    let (_, own) = one_claimed(bench).await;
    let queue = bench.stores().queue;
    assert!(!queue.offer(&own, Duration::ZERO).await.unwrap(), "still RUNNING");
    queue.release(&own, Duration::ZERO).await.unwrap();
    assert!(!queue.offer(&Own { fence: own.fence + 1, ..own.clone() }, Duration::ZERO).await.unwrap());
    assert!(queue.offer(&own, Duration::ZERO).await.unwrap());
    assert_eq!(claimed(bench).await.0.id, own.id);
    assert!(!queue.offer(&own, Duration::ZERO).await.unwrap(), "somebody else's");
}

pub(super) async fn delete_needs_an_outcome_and_an_empty_outbox(bench: &impl Bench) {
    let (_, own) = one_claimed(bench).await;
    let queue = bench.stores().queue;
    let running = Unsent { fence: own.fence, status: Status::Running };
    let done = Unsent { fence: own.fence, status: Status::Done };
    queue.pull(&own, &running).await.unwrap();
    assert!(!queue.delete(&own).await.unwrap(), "no outcome");
    queue.commit(&own, &outcome(own.fence, Status::Done)).await.unwrap();
    assert!(!queue.delete(&own).await.unwrap(), "a message is left");
    queue.pull(&own, &done).await.unwrap();
    assert!(!queue.delete(&Own { fence: own.fence + 1, ..own.clone() }).await.unwrap(), "another fence");
    assert!(queue.delete(&own).await.unwrap());
    assert_eq!(bench.queued(&own.id).await, None);
    assert!(!queue.delete(&own).await.unwrap());
}

pub(super) async fn a_dead_letter_is_copied_then_removed(bench: &impl Bench) {
    let (document, own) = one_claimed(bench).await;
    let queue = bench.stores().queue;
    queue.bury(&document, "first").await.unwrap();
    queue.bury(&document, "unreadable").await.unwrap();
    let dead = bench.dead().await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].0, own.id);
    assert_eq!(dead[0].1["reason"], "unreadable");
    assert_eq!(dead[0].1["document"]["type"], "SSI");
    assert!(!queue.remove(&Own { fence: own.fence + 1, ..own.clone() }).await.unwrap());
    assert!(queue.remove(&own).await.unwrap());
    assert_eq!(bench.queued(&own.id).await, None);
}
