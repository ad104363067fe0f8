//! What a worker process tells systemd, on a socket that stands for systemd's.

use crate::support::platform::{Platform, wait_until};
use mongodb::bson::doc;
use std::cell::RefCell;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

#[tokio::test]
async fn systemd_is_told_of_the_start_the_run_and_the_end_and_its_watchdog_is_fed() {
    let platform = Platform::fresh().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let told = RefCell::new(Vec::<String>::new());
    let has = |line: &str| {
        let mut message = [0; 4096];
        while let Ok(length) = socket.recv(&mut message) {
            let text = std::str::from_utf8(&message[..length]).unwrap();
            told.borrow_mut().extend(text.lines().map(str::to_owned));
        }
        told.borrow().iter().filter(|said| said.starts_with(line)).count()
    };
    let watchdog = Duration::from_millis(200);
    let settings = [
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", &watchdog.as_micros().to_string()),
        // A run that waits for S3 is at work for as long as this test likes.
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("OMA_DRAIN_SECONDS", "0"),
    ];
    let analysis = platform.analysis(platform.structure, doc! {}).await;
    let mut worker = platform.worker(&settings);
    wait_until("the worker is up", async || has("READY=1") == 1).await;
    wait_until("it waits", async || has("STATUS=waits for runs") > 0).await;
    platform.enqueue(analysis, "FDD").await;
    wait_until("its run is told", async || has(&format!("STATUS=FDD of {analysis}: inputs")) > 0).await;
    let fed = has("WATCHDOG=1");
    wait_until("the watchdog is fed while the run waits", async || has("WATCHDOG=1") > fed + 5).await;
    assert_eq!(has("STOPPING=1"), 0);
    assert_eq!(worker.end().code(), Some(0));
    assert_eq!((has("READY=1"), has("STOPPING=1")), (1, 1));
    platform.servers.remove().await;
}
