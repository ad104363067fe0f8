//! One worker process as the stores see it: its calls fail, hang, come too late; it is paused, and it dies.

use super::memory_stores::Memory;
use async_trait::async_trait;
use futures::stream::BoxStream;
use oma_worker::model::channel::Channel;
use oma_worker::model::run::{RunType, StatusMessage};
use oma_worker::stores::documents::{
    Analysis, AnalysisKey, Claimant, Holder, Id, Measure, Outcome, Own, Period, QueueDocument, Structure, Unsent,
};
use oma_worker::stores::{
    Aborts, Analyses, Catalog, Mark, ObjectInfo, Objects, Page, RunQueue, Statuses, StoreError, StoreErrorKind,
    StoreResult, Stores,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use serde_json::Value;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Draws from one seeded source.
#[derive(Clone)]
pub(crate) struct Dice(Arc<Mutex<ChaCha8Rng>>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        use rand_chacha::rand_core::SeedableRng;
        Dice(Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(seed))))
    }

    /// From 0 to below 1.
    pub(crate) fn fraction(&self) -> f64 {
        f64::from(self.0.lock().unwrap().next_u32()) / 4_294_967_296.0
    }

    /// Whether something of this probability happens.
    pub(crate) fn happens(&self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// From 0 to below `n`.
    pub(crate) fn below(&self, n: usize) -> usize {
        ((self.fraction() * n as f64) as usize).min(n - 1)
    }

    /// From zero to `longest`.
    pub(crate) fn duration(&self, longest: Duration) -> Duration {
        longest.mul_f64(self.fraction())
    }
}

/// How often what goes wrong, per call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {
    pub(crate) error_before: f64,
    pub(crate) error_after: f64,
    pub(crate) hang_before: f64,
    pub(crate) hang_after: f64,
    /// Per write.
    pub(crate) crash_before: f64,
    /// Per write.
    pub(crate) crash_after: f64,
    pub(crate) longest_hang: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    Runs,
    Paused,
    Dead,
}

/// What all workers of a history share.
#[derive(Clone)]
pub(crate) struct Weather {
    pub(crate) rates: Arc<Mutex<Rates>>,
    pub(crate) broker_up: Arc<watch::Sender<bool>>,
    pub(crate) dice: Dice,
}

/// One process; clones are the same one.
#[derive(Clone)]
pub(crate) struct Flaky {
    memory: Memory,
    weather: Weather,
    process: Arc<watch::Sender<Process>>,
}

impl Flaky {
    pub(crate) fn new(memory: &Memory, weather: &Weather) -> Flaky {
        Flaky { memory: memory.clone(), weather: weather.clone(), process: Arc::new(watch::Sender::new(Process::Runs)) }
    }

    pub(crate) fn set(&self, process: Process) {
        self.process.send_if_modified(|now| {
            let change = *now != Process::Dead && *now != process;
            if change {
                *now = process;
            }
            change
        });
    }

    /// Waits until the process has died.
    pub(crate) async fn died(&self) {
        let mut process = self.process.subscribe();
        let _ = process.wait_for(|process| *process == Process::Dead).await;
    }

    /// Nothing passes while the process is paused, and nothing ever again once it is dead.
    async fn gate(&self) {
        let mut process = self.process.subscribe();
        let _ = process.wait_for(|process| *process == Process::Runs).await;
    }

    /// Passes `call` through the weather.
    async fn pass<T>(&self, is_write: bool, call: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
        let rates = *self.weather.rates.lock().unwrap();
        let dice = &self.weather.dice;
        let error = |message: &str| Err(StoreError::new(StoreErrorKind::Unavailable, "flaky", message));
        tokio::time::sleep(dice.duration(Duration::from_millis(20))).await;
        self.gate().await;
        if is_write && dice.happens(rates.crash_before) {
            self.set(Process::Dead);
        }
        if dice.happens(rates.hang_before) {
            tokio::time::sleep(dice.duration(rates.longest_hang)).await;
        }
        self.gate().await;
        if dice.happens(rates.error_before) {
            return error("before the effect");
        }
        let answer = call.await;
        if is_write && dice.happens(rates.crash_after) {
            self.set(Process::Dead);
        }
        if dice.happens(rates.hang_after) {
            tokio::time::sleep(dice.duration(rates.longest_hang)).await;
        }
        self.gate().await;
        match dice.happens(rates.error_after) {
            true => error("after the effect"),
            false => answer,
        }
    }

    pub(crate) fn stores(&self) -> Stores {
        Stores::of(self.clone())
    }
}

#[async_trait]
impl RunQueue for Flaky {
    async fn claim(&self, claimant: &Claimant) -> StoreResult<Option<QueueDocument>> {
        self.pass(true, self.memory.claim(claimant)).await
    }
    async fn claim_settling(&self, claimant: &Claimant) -> StoreResult<Option<QueueDocument>> {
        self.pass(true, self.memory.claim_settling(claimant)).await
    }
    async fn find(&self, id: &Id) -> StoreResult<Option<QueueDocument>> {
        self.pass(false, RunQueue::find(&self.memory, id)).await
    }
    async fn find_own(&self, own: &Own) -> StoreResult<Option<QueueDocument>> {
        self.pass(false, self.memory.find_own(own)).await
    }
    async fn older_pending(&self, analysis_id: &Id, id: &Id) -> StoreResult<bool> {
        self.pass(false, self.memory.older_pending(analysis_id, id)).await
    }
    async fn earlier_outcome(&self, analysis_id: &Id, id: &Id, fence: i64) -> StoreResult<bool> {
        self.pass(false, self.memory.earlier_outcome(analysis_id, id, fence)).await
    }
    async fn raise(&self, own: &Own, fence: i64) -> StoreResult<bool> {
        self.pass(true, self.memory.raise(own, fence)).await
    }
    async fn heartbeat(&self, own: &Own) -> StoreResult<bool> {
        self.pass(true, self.memory.heartbeat(own)).await
    }
    async fn hand_back(&self, own: &Own, entry: &Unsent, wait: Duration) -> StoreResult<bool> {
        self.pass(true, self.memory.hand_back(own, entry, wait)).await
    }
    async fn commit(&self, own: &Own, outcome: &Outcome) -> StoreResult<bool> {
        self.pass(true, self.memory.commit(own, outcome)).await
    }
    async fn pull(&self, own: &Own, entry: &Unsent) -> StoreResult<bool> {
        self.pass(true, self.memory.pull(own, entry)).await
    }
    async fn release(&self, own: &Own, wait: Duration) -> StoreResult<bool> {
        self.pass(true, RunQueue::release(&self.memory, own, wait)).await
    }
    async fn offer(&self, own: &Own, wait: Duration) -> StoreResult<bool> {
        self.pass(true, self.memory.offer(own, wait)).await
    }
    async fn delete(&self, own: &Own) -> StoreResult<bool> {
        self.pass(true, self.memory.delete(own)).await
    }
    async fn bury(&self, document: &QueueDocument, reason: &str) -> StoreResult<()> {
        self.pass(true, self.memory.bury(document, reason)).await
    }
    async fn remove(&self, own: &Own) -> StoreResult<bool> {
        self.pass(true, self.memory.remove(own)).await
    }
}

#[async_trait]
impl Analyses for Flaky {
    async fn find(&self, key: &AnalysisKey) -> StoreResult<Option<Analysis>> {
        self.pass(false, Analyses::find(&self.memory, key)).await
    }
    async fn mark(&self, key: &AnalysisKey, mark: &Mark) -> StoreResult<bool> {
        self.pass(true, self.memory.mark(key, mark)).await
    }
    async fn take_over(&self, key: &AnalysisKey, mark: &Mark, read: &Holder) -> StoreResult<bool> {
        self.pass(true, self.memory.take_over(key, mark, read)).await
    }
    async fn settle(&self, key: &AnalysisKey, queue_id: &Id, run_type: &str, outcome: &Outcome) -> StoreResult<bool> {
        self.pass(true, self.memory.settle(key, queue_id, run_type, outcome)).await
    }
    async fn release(&self, key: &AnalysisKey, mark: &Mark) -> StoreResult<bool> {
        self.pass(true, Analyses::release(&self.memory, key, mark)).await
    }
    async fn withdraw(&self, key: &AnalysisKey, mark: &Mark, outcome: &Outcome) -> StoreResult<bool> {
        self.pass(true, self.memory.withdraw(key, mark, outcome)).await
    }
    async fn free(&self, key: &AnalysisKey, mark: &Mark) -> StoreResult<bool> {
        self.pass(true, self.memory.free(key, mark)).await
    }
    async fn progress(&self, key: &AnalysisKey, mark: &Mark, stage: &str, fraction: f64) -> StoreResult<bool> {
        self.pass(true, self.memory.progress(key, mark, stage, fraction)).await
    }
    async fn put_result(&self, structure_id: &Id, id: &Id, result: &Value) -> StoreResult<()> {
        self.pass(true, self.memory.put_result(structure_id, id, result)).await
    }
    async fn results_beside(&self, key: &AnalysisKey, run_type: RunType, limit: usize) -> StoreResult<Vec<Value>> {
        self.pass(false, self.memory.results_beside(key, run_type, limit)).await
    }
}

#[async_trait]
impl Catalog for Flaky {
    async fn structure(&self, id: &Id) -> StoreResult<Option<Structure>> {
        self.pass(false, self.memory.structure(id)).await
    }
    async fn channels(&self, structure: &Structure) -> StoreResult<Vec<Channel>> {
        self.pass(false, self.memory.channels(structure)).await
    }
    async fn measures(&self, structure: &Structure, period: Period) -> StoreResult<Vec<Measure>> {
        self.pass(false, self.memory.measures(structure, period)).await
    }
}

#[async_trait]
impl Objects for Flaky {
    async fn head(&self, bucket: &str, key: &str) -> StoreResult<Option<ObjectInfo>> {
        self.pass(false, self.memory.head(bucket, key)).await
    }
    async fn get(&self, bucket: &str, key: &str, path: &Path) -> StoreResult<Option<ObjectInfo>> {
        self.pass(false, self.memory.get(bucket, key, path)).await
    }
    async fn put(&self, bucket: &str, key: &str, path: &Path) -> StoreResult<ObjectInfo> {
        self.pass(true, self.memory.put(bucket, key, path)).await
    }
    async fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> StoreResult<Page> {
        self.pass(false, self.memory.list(bucket, prefix, after)).await
    }
}

#[async_trait]
impl Statuses for Flaky {
    /// As a broker's client does it: a message that could not be sent in time is dropped.
    async fn send(&self, message: &StatusMessage, within: Duration) -> StoreResult<()> {
        let deadline = Instant::now() + within;
        let send = async {
            let mut broker = self.weather.broker_up.subscribe();
            let up = tokio::time::timeout_at(deadline, broker.wait_for(|up| *up)).await.is_ok();
            let left = deadline.saturating_duration_since(Instant::now());
            self.memory.send(message, if up { left } else { Duration::ZERO }).await
        };
        self.pass(true, send).await
    }
}

#[async_trait]
impl Aborts for Flaky {
    async fn subscribe(&self) -> StoreResult<BoxStream<'static, StoreResult<Vec<u8>>>> {
        self.pass(false, self.memory.subscribe()).await
    }
}
