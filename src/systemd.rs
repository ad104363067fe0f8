//! What systemd is told of a worker that it started (`Type=notify`): that it is up, what it is at, that it ends, and,
//! where the unit has a watchdog, that it moves. Started by anything else, nobody is told.

use crate::worker::{CurrentRun, Shutdown, Vitals};
use sd_notify::NotifyState;
use std::sync::Arc;
use std::time::Duration;

/// Between two lines in `systemctl status`, where no watchdog wants to hear more often.
const TELL: Duration = Duration::from_secs(10);

/// Tells until the process ends. A watchdog is fed twice as often as it asks for, while both the run loop and the
/// thread of the heartbeats move; when one stands still systemd kills the process, and another worker takes its run over.
pub async fn tell(vitals: Arc<Vitals>, shutdown: Shutdown) {
    let watched = sd_notify::watchdog_enabled();
    let mut ticks = tokio::time::interval(watched.map_or(TELL, |every| TELL.min(every / 2)));
    say(&[NotifyState::Ready]);
    let mut is_ending = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.requested(), if !is_ending => {
                is_ending = true;
                say(&[NotifyState::Stopping]);
            }
        }
        match vitals.stands_still() {
            None => say(&[NotifyState::Status(&line(vitals.current())), NotifyState::Watchdog]),
            Some(what) => say(&[NotifyState::Status(&what)]),
        }
    }
}

fn line(run: Option<CurrentRun>) -> String {
    match run {
        None => "waits for runs".into(),
        Some(CurrentRun { run_type, analysis_id, stage, fraction, .. }) => {
            format!("{run_type} of {analysis_id}: {stage} {:.0} %", 100.0 * fraction)
        }
    }
}

fn say(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(error = %error, "systemd is not told");
    }
}
