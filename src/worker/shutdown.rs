//! How a worker is told to end.

use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The request to end, made once (drain) or twice (at once); clones share it.
#[derive(Clone, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    now: CancellationToken,
    requested_at: Arc<OnceLock<Instant>>,
}

impl Shutdown {
    /// A shutdown that nobody has requested yet.
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// A shutdown requested by each SIGTERM and SIGINT.
    ///
    /// # Errors
    /// If the process cannot be told of signals.
    pub fn on_signals() -> std::io::Result<Shutdown> {
        use tokio::signal::unix::{SignalKind, signal};
        let shutdown = Shutdown::new();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let requested = shutdown.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                requested.request();
            }
        });
        Ok(shutdown)
    }

    /// Requests the end: the first time after the drain time, the second time at once.
    pub fn request(&self) {
        if self.drain.is_cancelled() {
            self.now.cancel();
        }
        self.requested_at.get_or_init(Instant::now);
        self.drain.cancel();
    }

    /// Whether it was requested.
    pub fn is_requested(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Waits until it is requested.
    pub async fn requested(&self) {
        self.drain.cancelled().await;
    }

    /// Waits until it was requested for the second time, or `drain` has passed since the first.
    pub(crate) async fn expired(&self, drain: Duration) {
        self.drain.cancelled().await;
        let since = self.requested_at.get().copied().unwrap_or_else(Instant::now);
        tokio::select! {
            biased;
            () = self.now.cancelled() => {}
            () = tokio::time::sleep_until(since + drain) => {}
        }
    }
}
