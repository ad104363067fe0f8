//! Clauses of the catalog, the objects, the statuses and the aborts.

use super::*;

pub(super) async fn catalog_tells_structures_channels_and_measures(bench: &impl Bench) {
    let catalog = bench.stores().catalog;
    assert_eq!(catalog.structure(&id(0xa)).await.unwrap(), None);
    bench.put_structure(json!({"_id": id(0xa), "name": "bridge", "tenant_id": 9, "mysql_id": 43})).await;
    let structure = catalog.structure(&id(0xa)).await.unwrap().unwrap();
    assert_eq!((structure.name.as_str(), structure.tenant_id, structure.mysql_id), ("bridge", Some(9), Some(43)));
    let names = ["z", "x", "y"];
    for name in names {
        bench.put_channel(43, &Channel { active: name != "x", ..Channel::named(name) }).await;
    }
    bench.put_channel(44, &Channel::named("other")).await;
    let channels = catalog.channels(&structure).await.unwrap();
    assert_eq!(channels.iter().map(|channel| channel.name.as_str()).collect::<Vec<_>>(), names);
    assert!(!channels[1].active);
    for hour in [2, 1] {
        let start = format!("2026-01-01T{hour:02}:00:00Z");
        bench
            .put_measure(43, json!({"sensor_id": "s", "channels": ["x"], "start": start, "key": format!("k{hour}")}))
            .await;
    }
    bench.put_measure(44, json!({"key": "other"})).await;
    let measures = catalog.measures(&structure, (None, None)).await.unwrap();
    let keys: Vec<_> = measures.iter().map(|measure| measure.key.as_deref()).collect();
    assert_eq!(keys, [Some("k1"), Some("k2")]);
    assert_eq!(measures[0].channels, ["x"]);
    // What may lie in the period is there, whatever form its times have, or if it has none.
    let time = |text: &str| Some(text.parse::<jiff::Timestamp>().unwrap());
    let dated = |start: &str, end: &str, key: &str| {
        let date = |text: &str| json!(Date(time(text).unwrap().as_millisecond()));
        json!({"sensor_id": "s", "start": date(start), "end": date(end), "key": key})
    };
    for measure in [
        dated("2026-01-01T03:00:00Z", "2026-01-01T04:00:00Z", "before"),
        dated("2026-01-01T04:30:00Z", "2026-01-01T05:00:00Z", "from"),
        dated("2026-01-01T06:00:00Z", "2026-01-01T07:00:00Z", "to"),
        dated("2026-01-01T06:00:00.001Z", "2026-01-01T08:00:00Z", "after"),
        json!({"sensor_id": "s", "key": "undated"}),
    ] {
        bench.put_measure(45, measure).await;
    }
    let dated = Structure { mysql_id: Some(45), ..structure.clone() };
    let period = (time("2026-01-01T05:00:00Z"), time("2026-01-01T06:00:00Z"));
    let measures = catalog.measures(&dated, period).await.unwrap();
    let mut keys: Vec<_> = measures.iter().filter(|m| m.overlaps(period)).map(|m| m.key.as_deref().unwrap()).collect();
    keys.sort();
    assert_eq!(keys, ["from", "to", "undated"]);
    let unknown = Structure { mysql_id: Some(99), ..structure };
    assert!(catalog.channels(&unknown).await.unwrap().is_empty());
    assert!(catalog.measures(&unknown, (None, None)).await.unwrap().is_empty());
}

fn file(folder: &tempfile::TempDir, content: &[u8]) -> std::path::PathBuf {
    let path = folder.path().join("content");
    std::fs::write(&path, content).unwrap();
    path
}

pub(super) async fn objects_are_put_got_and_looked_at(bench: &impl Bench) {
    let objects = bench.stores().objects;
    let folder = tempfile::tempdir().unwrap();
    let first = objects.put("files", "a/b c/ü.csv", &file(&folder, b"one")).await.unwrap();
    assert_eq!((first.key.as_str(), first.size), ("a/b c/ü.csv", 3));
    assert_eq!(objects.head("files", "a/b c/ü.csv").await.unwrap(), Some(first.clone()));
    let second = objects.put("files", "a/b c/ü.csv", &file(&folder, b"two")).await.unwrap();
    assert_ne!(first.etag, second.etag);
    let again = objects.put("files", "a/b c/ü.csv", &file(&folder, b"two")).await.unwrap();
    assert_eq!(again, second);
    let target = folder.path().join("got");
    assert_eq!(objects.get("files", "a/b c/ü.csv", &target).await.unwrap(), Some(second));
    assert_eq!(std::fs::read(&target).unwrap(), b"two");
    let empty = objects.put("files", "empty", &file(&folder, b"")).await.unwrap();
    assert_eq!(empty.size, 0);
}

pub(super) async fn a_missing_object_is_none(bench: &impl Bench) {
    let objects = bench.stores().objects;
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("got");
    objects.put("files", "a/b", &file(&folder, b"1")).await.unwrap();
    for (bucket, key) in [("files", "c"), ("files", "a"), ("files", "a/b/c"), ("other", "a/b")] {
        assert_eq!(objects.head(bucket, key).await.unwrap(), None, "{bucket}/{key}");
        assert_eq!(objects.get(bucket, key, &target).await.unwrap(), None, "{bucket}/{key}");
        assert!(!target.exists());
    }
}

pub(super) async fn objects_are_listed_by_prefix_in_pages(bench: &impl Bench) {
    let objects = bench.stores().objects;
    let folder = tempfile::tempdir().unwrap();
    let content = file(&folder, b"1");
    for key in ["a/1/x.csv", "a/1/y.csv", "a/10/z.csv", "b/1/x.csv"] {
        objects.put("files", key, &content).await.unwrap();
    }
    let keys = async |prefix: &str, after: Option<&str>| {
        let page = objects.list("files", prefix, after).await.unwrap();
        (page.objects.into_iter().map(|object| object.key).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(keys("a/1/", None).await, (vec!["a/1/x.csv".into(), "a/1/y.csv".into()], None));
    assert_eq!(keys("a/1", None).await.0.len(), 3);
    assert_eq!(keys("", None).await.0.len(), 4);
    assert_eq!(keys("a/", Some("a/1/x.csv")).await.0, ["a/1/y.csv", "a/10/z.csv"]);
    assert_eq!(keys("c/", None).await, (Vec::new(), None));
    let page = objects.list("files", "a/1/", None).await.unwrap();
    assert_eq!(Some(page.objects[0].clone()), objects.head("files", "a/1/x.csv").await.unwrap());
}

pub(super) async fn a_key_cannot_leave_its_bucket(bench: &impl Bench) {
    let objects = bench.stores().objects;
    let folder = tempfile::tempdir().unwrap();
    for key in ["../x", "/x", "a/../../x", ""] {
        let error = objects.put("files", key, &file(&folder, b"1")).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Invalid, "{key}");
    }
}

pub(super) async fn a_concurrent_put_is_seen_whole(bench: &impl Bench) {
    let folder = tempfile::tempdir().unwrap();
    let contents: Vec<Vec<u8>> = (0..4_u8).map(|byte| vec![byte; 200_000]).collect();
    let paths: Vec<_> = (0..4).map(|number| folder.path().join(number.to_string())).collect();
    for (path, content) in paths.iter().zip(&contents) {
        std::fs::write(path, content).unwrap();
    }
    bench.stores().objects.put("cache", "k", &paths[0]).await.unwrap();
    let puts = paths.iter().cloned().map(|path| {
        let objects = bench.stores().objects;
        tokio::spawn(async move { objects.put("cache", "k", &path).await.unwrap() })
    });
    let gets = (0..8).map(|number| {
        let (objects, target) = (bench.stores().objects, folder.path().join(format!("got{number}")));
        tokio::spawn(async move {
            let info = objects.get("cache", "k", &target).await.unwrap().unwrap();
            (info, std::fs::read(&target).unwrap())
        })
    });
    let (puts, gets): (Vec<_>, Vec<_>) = (puts.collect(), gets.collect());
    let infos = futures::future::try_join_all(puts).await.unwrap();
    for (info, content) in futures::future::try_join_all(gets).await.unwrap() {
        assert!(contents.contains(&content));
        assert!(infos.contains(&info));
    }
}

fn message(status: Status) -> StatusMessage {
    let run_type = "SSI".into();
    StatusMessage { tenant_id: 9, user_id: 7, document_id: id(0xb).to_string(), run_type, status }
}

pub(super) async fn statuses_keep_their_order_and_their_words(bench: &impl Bench) {
    let statuses = bench.stores().statuses;
    let sent: Vec<StatusMessage> = [Status::Running, Status::Queued, Status::Running, Status::Done].map(message).into();
    for message in &sent {
        statuses.send(message, Duration::from_secs(10)).await.unwrap();
    }
    assert_eq!(bench.messages().await, sent);
    let wire =
        r#"{"tenant_id":9,"user_id":7,"document_id":"00000000000000000000000b","run_type":"SSI","status":"DONE"}"#;
    assert_eq!(serde_json::to_string(&sent[3]).unwrap(), wire);
}

pub(super) async fn a_status_is_not_sent_too_late(bench: &impl Bench) {
    let error = bench.stores().statuses.send(&message(Status::Done), Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Timeout);
    assert!(bench.messages().await.is_empty());
}

pub(super) async fn broadcasts_reach_every_subscriber_from_now_on(bench: &impl Bench) {
    let aborts = bench.stores().aborts;
    bench.broadcast(b"early").await;
    let (mut one, mut two) = (aborts.subscribe().await.unwrap(), aborts.subscribe().await.unwrap());
    bench.broadcast(b"\xff\x00junk").await;
    bench.broadcast(b"{}").await;
    for subscriber in [&mut one, &mut two] {
        assert_eq!(subscriber.next().await.unwrap().unwrap(), b"\xff\x00junk");
        assert_eq!(subscriber.next().await.unwrap().unwrap(), b"{}");
    }
}
