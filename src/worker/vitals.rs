//! What can be seen of a worker from outside while it works: whether it lives, what it does, what it has done.

use super::Counts;
use super::progress::Progress;
use super::run::Run;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest that the loop may stand still: a run without progress ends the process after 15 minutes, and a store
/// that does not answer is waited for for 5.
const LOOP_LIMIT: Duration = Duration::from_secs(20 * 60);
/// The thread of the heartbeats has nothing else to do and shows itself every second.
const HEART_LIMIT: Duration = Duration::from_secs(15);

/// The signs of life of one worker; whoever shows them holds a clone of the `Arc`.
#[derive(Default)]
pub struct Vitals {
    looped_at: Mutex<Option<Instant>>,
    beat_at: Mutex<Option<Instant>>,
    current: Mutex<Option<Current>>,
    pub(crate) counts: Mutex<Counts>,
}

struct Current {
    run: CurrentRun,
    progress: Progress,
    since: Instant,
}

/// The run at work.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct CurrentRun {
    /// The queue document.
    pub queue_id: String,
    /// The analysis.
    pub analysis_id: String,
    /// The document's word for what is computed.
    pub run_type: String,
    /// Which attempt this is, from 1.
    pub attempt: i64,
    /// What the computation is at.
    pub stage: String,
    /// The part of the stage that is done, 0 to 1.
    pub fraction: f64,
    /// How long it has been computing, s.
    pub seconds: f64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run that is shown until this is dropped.
pub(crate) struct Shown<'a>(&'a Vitals);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        lock(&self.0.current).take();
    }
}

impl Vitals {
    /// The run loop, or a run that it waits for, has moved.
    pub(crate) fn looped(&self) {
        *lock(&self.looped_at) = Some(Instant::now());
    }

    /// The thread of the heartbeats has moved.
    pub(crate) fn beat(&self) {
        *lock(&self.beat_at) = Some(Instant::now());
    }

    pub(crate) fn show(&self, run: &Run, attempt: i64, progress: &Progress) -> Shown<'_> {
        let current = CurrentRun {
            queue_id: run.id().to_string(),
            analysis_id: run.key.analysis_id.to_string(),
            run_type: run.run_type.clone(),
            attempt,
            stage: String::new(),
            fraction: 0.0,
            seconds: 0.0,
        };
        *lock(&self.current) = Some(Current { run: current, progress: progress.clone(), since: Instant::now() });
        Shown(self)
    }

    /// What of the worker has stood still for too long, in words. What has not begun yet is about to.
    pub fn stands_still(&self) -> Option<String> {
        let parts =
            [("run loop", &self.looped_at, LOOP_LIMIT), ("thread of the heartbeats", &self.beat_at, HEART_LIMIT)];
        parts.into_iter().find_map(|(name, moved_at, limit)| {
            let ago = lock(moved_at).filter(|at| at.elapsed() > limit)?.elapsed();
            Some(format!("the {name} has not moved for {:.0} s", ago.as_secs_f64()))
        })
    }

    /// The run at work.
    pub fn current(&self) -> Option<CurrentRun> {
        lock(&self.current).as_ref().map(|current| {
            let (stage, fraction) = current.progress.current();
            CurrentRun { stage, fraction, seconds: current.since.elapsed().as_secs_f64(), ..current.run.clone() }
        })
    }

    /// What the worker has done so far.
    pub fn counts(&self) -> Counts {
        lock(&self.counts).clone()
    }
}

/// Shows the signs of life of the thread that heartbeats come from, for as long as it runs.
pub(crate) async fn pulse(vitals: Arc<Vitals>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        vitals.beat();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_still_is_named_and_what_has_not_begun_is_not() {
        let vitals = Vitals::default();
        assert_eq!(vitals.stands_still(), None);
        vitals.looped();
        vitals.beat();
        assert_eq!(vitals.stands_still(), None);
        let before = |limit: Duration| Instant::now().checked_sub(limit + Duration::from_secs(1));
        *lock(&vitals.beat_at) = before(HEART_LIMIT);
        assert!(vitals.stands_still().unwrap().starts_with("the thread of the heartbeats has not moved for 16 s"));
        *lock(&vitals.looped_at) = before(LOOP_LIMIT);
        assert!(vitals.stands_still().unwrap().starts_with("the run loop has not moved"));
    }
}
