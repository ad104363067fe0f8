//! All six ports in memory. Time is tokio's, so that a test may pause it; the log says what took effect, in order.

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use oma_worker::model::channel::Channel;
use oma_worker::model::result::PLOTTED;
use oma_worker::model::run::{RunType, Status, StatusMessage};
use oma_worker::stores::documents::{
    Analysis, AnalysisKey, Claimant, Date, Holder, Id, Measure, Outcome, Own, Period, QueueDocument, Structure, Unsent,
    bson_size,
};
use oma_worker::stores::{
    Aborts, Analyses, Catalog, LARGEST_RESULT, Mark, ObjectInfo, Objects, Page, RunQueue, Statuses, StoreError,
    StoreErrorKind, StoreResult, Stores, transitions,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The filter part that a broken double leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// `worker.fence` of OWN and of the mark.
    Fence,
    /// `worker.fence` of the mark alone.
    FenceOfMark,
    /// `$type: "date"` of EXPIRED.
    DateGuard,
    /// "outcome null" of LIVE at commit.
    CommitCondition,
    /// "older document first".
    OlderFirst,
    /// "no message before those of an earlier run".
    EarlierOutcome,
    /// The entry that is pulled: the first one goes, whatever it is.
    PulledEntry,
    /// `worker.queue_id` on the analysis: a mark looks at the fence alone.
    QueueId,
}

/// What took effect.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    Claimed {
        document: Id,
        entry: Unsent,
    },
    Raised {
        document: Id,
        fence: i64,
    },
    HandedBack {
        document: Id,
        entry: Unsent,
    },
    Released {
        document: Id,
        entry: Unsent,
    },
    Committed {
        document: Id,
        outcome: Outcome,
    },
    Marked {
        document: Id,
        key: AnalysisKey,
    },
    Settled {
        document: Id,
        key: AnalysisKey,
    },
    Freed {
        document: Id,
        key: AnalysisKey,
    },
    Sent(StatusMessage),
    Computing {
        document: Id,
    },
    /// By the API.
    Removed {
        document: Id,
    },
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) queue: BTreeMap<Id, QueueDocument>,
    pub(crate) analyses: BTreeMap<AnalysisKey, Analysis>,
    pub(crate) results: BTreeMap<(Id, Id), Value>,
    pub(crate) dead: BTreeMap<Id, Value>,
    pub(crate) structures: BTreeMap<Id, Value>,
    pub(crate) channels: BTreeMap<i64, Vec<Channel>>,
    pub(crate) measures: BTreeMap<i64, Vec<Value>>,
    pub(crate) objects: BTreeMap<(String, String), Vec<u8>>,
    pub(crate) log: Vec<Event>,
    /// Added to tokio's clock, ms.
    pub(crate) clock_offset: i64,
    pub(crate) broken: Option<Broken>,
}

/// The stores; clones share the state.
#[derive(Clone)]
pub(crate) struct Memory {
    state: Arc<Mutex<State>>,
    broadcasts: Arc<watch::Sender<Vec<Vec<u8>>>>,
    started: Instant,
}

impl State {
    /// OWN as this double sees it.
    fn own(&self, own: &Own) -> Own {
        let fence = self.queue.get(&own.id).map_or(own.fence, |document| document.worker.fence);
        Own { id: own.id.clone(), fence: if self.broken == Some(Broken::Fence) { fence } else { own.fence } }
    }

    fn change(&mut self, own: &Own, change: impl FnOnce(&mut QueueDocument, &Own) -> bool) -> bool {
        let own = self.own(own);
        self.queue.get_mut(&own.id).is_some_and(|document| change(document, &own))
    }

    fn change_analysis(&mut self, key: &AnalysisKey, change: impl FnOnce(&mut Analysis) -> bool) -> bool {
        self.analyses.get_mut(key).is_some_and(change)
    }

    fn mark(&self, key: &AnalysisKey, mark: &Mark) -> Mark {
        let held = self.analyses.get(key).and_then(|analysis| analysis.holder().fence);
        match (self.broken, held) {
            (Some(Broken::Fence), Some(held)) => Mark { fence: mark.fence.max(held + 1), ..mark.clone() },
            _ => mark.clone(),
        }
    }
}

impl Memory {
    pub(crate) fn new() -> Memory {
        Memory { state: Arc::default(), broadcasts: Arc::new(watch::Sender::new(Vec::new())), started: Instant::now() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The store's clock, ms.
    pub(crate) fn now(&self) -> i64 {
        let offset = self.state().clock_offset;
        1_700_000_000_000 + offset + i64::try_from(self.started.elapsed().as_millis()).unwrap()
    }

    pub(crate) fn log(&self, event: Event) {
        self.state().log.push(event);
    }

    pub(crate) fn broadcast(&self, payload: &[u8]) {
        self.broadcasts.send_modify(|sent| sent.push(payload.to_vec()));
    }

    pub(crate) fn insert_queue_document(&self, id: &Id, body: Value) {
        self.state().queue.insert(id.clone(), QueueDocument::from_body(id.clone(), body));
    }

    pub(crate) fn insert_analysis(&self, key: &AnalysisKey, body: Value) {
        let analysis = Analysis { id: key.analysis_id.clone(), body };
        self.state().analyses.insert(key.clone(), analysis);
    }

    pub(crate) fn stores(&self) -> Stores {
        Stores::of(self.clone())
    }
}

#[async_trait]
impl RunQueue for Memory {
    async fn claim(&self, claimant: &Claimant) -> StoreResult<Option<QueueDocument>> {
        let now = self.now();
        let mut state = self.state();
        let unguarded = state.broken == Some(Broken::DateGuard);
        let claimed = state.queue.values_mut().find_map(|document| {
            if unguarded && document.has_status(Status::Running) && document.worker.heartbeat_at.is_none() {
                document.worker.heartbeat_at = Some(Date(0));
            }
            transitions::claim(document, claimant, now).then(|| document.clone())
        });
        if let Some(document) = &claimed {
            let entry = Unsent { fence: document.worker.fence, status: Status::Running };
            state.log.push(Event::Claimed { document: document.id.clone(), entry });
        }
        Ok(claimed)
    }

    async fn claim_settling(&self, claimant: &Claimant) -> StoreResult<Option<QueueDocument>> {
        let now = self.now();
        let mut state = self.state();
        let mut documents = state.queue.values_mut();
        Ok(documents.find_map(|d| transitions::claim_settling(d, claimant, now).then(|| d.clone())))
    }

    async fn find(&self, id: &Id) -> StoreResult<Option<QueueDocument>> {
        Ok(self.state().queue.get(id).cloned())
    }

    async fn find_own(&self, own: &Own) -> StoreResult<Option<QueueDocument>> {
        let state = self.state();
        let own = state.own(own);
        Ok(state.queue.get(&own.id).filter(|document| document.is_own(&own)).cloned())
    }

    async fn older_pending(&self, analysis_id: &Id, id: &Id) -> StoreResult<bool> {
        let state = self.state();
        let mut others = state.queue.values().filter(|d| d.analysis_id().as_ref() == Some(analysis_id));
        let older = others.any(|document| transitions::is_older_pending(document, id));
        Ok(older && state.broken != Some(Broken::OlderFirst))
    }

    async fn earlier_outcome(&self, analysis_id: &Id, id: &Id, fence: i64) -> StoreResult<bool> {
        let state = self.state();
        let mut others = state.queue.values().filter(|d| d.analysis_id().as_ref() == Some(analysis_id));
        let earlier = others.any(|document| transitions::has_earlier_outcome(document, id, fence));
        Ok(earlier && state.broken != Some(Broken::EarlierOutcome))
    }

    async fn raise(&self, own: &Own, fence: i64) -> StoreResult<bool> {
        let mut state = self.state();
        let matched = state.change(own, |document, own| transitions::raise(document, own, fence));
        if matched {
            state.log.push(Event::Raised { document: own.id.clone(), fence });
        }
        Ok(matched)
    }

    async fn heartbeat(&self, own: &Own) -> StoreResult<bool> {
        let now = self.now();
        Ok(self.state().change(own, |document, own| transitions::heartbeat(document, own, now)))
    }

    async fn hand_back(&self, own: &Own, entry: &Unsent, wait: Duration) -> StoreResult<bool> {
        let now = self.now();
        let mut state = self.state();
        let matched = state.change(own, |document, own| transitions::hand_back(document, own, entry, wait, now));
        if matched {
            state.log.push(Event::HandedBack { document: own.id.clone(), entry: *entry });
        }
        Ok(matched)
    }

    async fn commit(&self, own: &Own, outcome: &Outcome) -> StoreResult<bool> {
        let mut state = self.state();
        let unconditional = state.broken == Some(Broken::CommitCondition);
        let matched = state.change(own, |document, own| {
            if unconditional && document.is_own(own) {
                document.worker.outcome = None;
            }
            transitions::commit(document, own, outcome)
        });
        if matched {
            state.log.push(Event::Committed { document: own.id.clone(), outcome: outcome.clone() });
        }
        Ok(matched)
    }

    async fn pull(&self, own: &Own, entry: &Unsent) -> StoreResult<bool> {
        let mut state = self.state();
        let any = state.broken == Some(Broken::PulledEntry);
        Ok(state.change(own, |document, own| {
            let first = document.worker.unsent.first().copied().filter(|_| any);
            transitions::pull(document, own, &first.unwrap_or(*entry))
        }))
    }

    async fn release(&self, own: &Own, wait: Duration) -> StoreResult<bool> {
        let now = self.now();
        let mut state = self.state();
        let matched = state.change(own, |document, own| transitions::release(document, own, wait, now));
        if matched {
            let fence = state.queue[&own.id].worker.fence;
            let entry = Unsent { fence, status: Status::Queued };
            state.log.push(Event::Released { document: own.id.clone(), entry });
        }
        Ok(matched)
    }

    async fn offer(&self, own: &Own, wait: Duration) -> StoreResult<bool> {
        let now = self.now();
        Ok(self.state().change(own, |document, own| transitions::offer(document, own, wait, now)))
    }

    async fn delete(&self, own: &Own) -> StoreResult<bool> {
        let mut state = self.state();
        let matched = state.change(own, |document, own| transitions::is_deletable(document, own));
        if matched {
            state.queue.remove(&own.id);
        }
        Ok(matched)
    }

    async fn bury(&self, document: &QueueDocument, reason: &str) -> StoreResult<()> {
        let letter = serde_json::json!({"document": document.to_body(), "reason": reason});
        self.state().dead.insert(document.id.clone(), letter);
        Ok(())
    }

    async fn remove(&self, own: &Own) -> StoreResult<bool> {
        let mut state = self.state();
        let matched = state.change(own, |document, own| document.is_own(own));
        if matched {
            state.queue.remove(&own.id);
        }
        Ok(matched)
    }
}

#[async_trait]
impl Analyses for Memory {
    async fn find(&self, key: &AnalysisKey) -> StoreResult<Option<Analysis>> {
        let state = self.state();
        let mut found = state.analyses.get(key).cloned();
        if state.broken == Some(Broken::QueueId)
            && let Some(analysis) = &mut found
        {
            analysis.body["worker"]["queue_id"] = Value::Null;
        }
        Ok(found)
    }

    async fn mark(&self, key: &AnalysisKey, mark: &Mark) -> StoreResult<bool> {
        let now = self.now();
        let mut state = self.state();
        let mark = state.mark(key, mark);
        let blind = state.broken == Some(Broken::QueueId);
        let unfenced = state.broken == Some(Broken::FenceOfMark);
        let matched = state.change_analysis(key, |analysis| match analysis.holder() {
            held if blind && held.fence < Some(mark.fence) => transitions::take_over(analysis, &mark, &held, now),
            held if unfenced && held.queue_id.as_ref().is_none_or(|id| *id == mark.queue_id) => {
                transitions::take_over(analysis, &mark, &held, now)
            }
            _ => transitions::mark(analysis, &mark, now),
        });
        if matched {
            state.log.push(Event::Marked { document: mark.queue_id, key: key.clone() });
        }
        Ok(matched)
    }

    async fn take_over(&self, key: &AnalysisKey, mark: &Mark, read: &Holder) -> StoreResult<bool> {
        let now = self.now();
        let mut state = self.state();
        let matched = state.change_analysis(key, |analysis| transitions::take_over(analysis, mark, read, now));
        if matched {
            if let Some(document) = read.queue_id.clone() {
                state.log.push(Event::Freed { document, key: key.clone() });
            }
            state.log.push(Event::Marked { document: mark.queue_id.clone(), key: key.clone() });
        }
        Ok(matched)
    }

    async fn settle(&self, key: &AnalysisKey, queue_id: &Id, run_type: &str, outcome: &Outcome) -> StoreResult<bool> {
        let now = self.now();
        let mut state = self.state();
        let matched = state.change_analysis(key, |a| transitions::settle(a, queue_id, run_type, outcome, now));
        if matched {
            state.log.push(Event::Settled { document: queue_id.clone(), key: key.clone() });
        }
        Ok(matched)
    }

    async fn release(&self, key: &AnalysisKey, mark: &Mark) -> StoreResult<bool> {
        Ok(self.state().change_analysis(key, |analysis| transitions::release_analysis(analysis, mark)))
    }

    async fn withdraw(&self, key: &AnalysisKey, mark: &Mark, outcome: &Outcome) -> StoreResult<bool> {
        let now = self.now();
        Ok(self.state().change_analysis(key, |analysis| transitions::withdraw(analysis, mark, outcome, now)))
    }

    async fn free(&self, key: &AnalysisKey, mark: &Mark) -> StoreResult<bool> {
        let mut state = self.state();
        let matched = state.change_analysis(key, |analysis| transitions::free(analysis, mark));
        if matched {
            state.log.push(Event::Freed { document: mark.queue_id.clone(), key: key.clone() });
        }
        Ok(matched)
    }

    async fn progress(&self, key: &AnalysisKey, mark: &Mark, stage: &str, fraction: f64) -> StoreResult<bool> {
        Ok(self.state().change_analysis(key, |analysis| transitions::progress(analysis, mark, stage, fraction)))
    }

    async fn put_result(&self, structure_id: &Id, id: &Id, result: &Value) -> StoreResult<()> {
        if bson_size(result) > LARGEST_RESULT {
            return Err(StoreError::invalid("store the result", "it is too large"));
        }
        self.state().results.insert((structure_id.clone(), id.clone()), result.clone());
        Ok(())
    }

    async fn results_beside(&self, key: &AnalysisKey, run_type: RunType, limit: usize) -> StoreResult<Vec<Value>> {
        let state = self.state();
        let of_structure =
            state.results.iter().rev().filter(|((structure_id, _), _)| *structure_id == key.structure_id);
        let beside = of_structure
            .map(|(_, result)| result.clone())
            .filter(|result| result["type"] == run_type.as_str() && result["analysis_id"] != key.analysis_id.as_str());
        let without_plots = |mut result: Value| {
            PLOTTED.iter().for_each(|part| drop(result.as_object_mut().and_then(|fields| fields.remove(*part))));
            result
        };
        Ok(beside.take(limit).map(without_plots).collect())
    }
}

#[async_trait]
impl Catalog for Memory {
    async fn structure(&self, id: &Id) -> StoreResult<Option<Structure>> {
        Ok(self.state().structures.get(id).map(|body| Structure::from_body(id.clone(), body)))
    }

    async fn channels(&self, structure: &Structure) -> StoreResult<Vec<Channel>> {
        let state = self.state();
        Ok(structure.mysql_id.and_then(|n| state.channels.get(&n)).cloned().unwrap_or_default())
    }

    async fn measures(&self, structure: &Structure, _period: Period) -> StoreResult<Vec<Measure>> {
        let state = self.state();
        let bodies = structure.mysql_id.and_then(|n| state.measures.get(&n));
        let mut measures: Vec<Measure> = bodies.into_iter().flatten().map(Measure::from_body).collect();
        measures.sort_by_key(|measure| measure.start);
        Ok(measures)
    }
}

fn info(key: &str, content: &[u8]) -> ObjectInfo {
    let etag = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    ObjectInfo { key: key.into(), size: content.len() as u64, etag }
}

#[async_trait]
impl Objects for Memory {
    async fn head(&self, bucket: &str, key: &str) -> StoreResult<Option<ObjectInfo>> {
        let state = self.state();
        Ok(state.objects.get(&(bucket.into(), key.into())).map(|content| info(key, content)))
    }

    async fn get(&self, bucket: &str, key: &str, path: &Path) -> StoreResult<Option<ObjectInfo>> {
        let content = self.state().objects.get(&(bucket.into(), key.into())).cloned();
        let Some(content) = content else { return Ok(None) };
        std::fs::write(path, &content).map_err(|error| StoreError::unavailable("get", error))?;
        Ok(Some(info(key, &content)))
    }

    async fn put(&self, bucket: &str, key: &str, path: &Path) -> StoreResult<ObjectInfo> {
        if bucket.is_empty() || key.is_empty() || key.starts_with('/') || key.split('/').any(|part| part == "..") {
            return Err(StoreError::invalid("put", "key is no plain relative path"));
        }
        let content = std::fs::read(path).map_err(|error| StoreError::invalid("put", error.to_string()))?;
        let info = info(key, &content);
        self.state().objects.insert((bucket.into(), key.into()), content);
        Ok(info)
    }

    async fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> StoreResult<Page> {
        const PAGE: usize = 1000;
        let state = self.state();
        let of_bucket = state.objects.iter().filter(|((b, _), _)| b == bucket);
        let wanted = of_bucket.filter(|((_, k), _)| k.starts_with(prefix) && after.is_none_or(|a| k.as_str() > a));
        let mut objects: Vec<ObjectInfo> = wanted.map(|((_, key), content)| info(key, content)).collect();
        let next = (objects.len() > PAGE).then(|| objects[PAGE - 1].key.clone());
        objects.truncate(PAGE);
        Ok(Page { objects, next })
    }
}

#[async_trait]
impl Statuses for Memory {
    async fn send(&self, message: &StatusMessage, within: Duration) -> StoreResult<()> {
        if within.is_zero() {
            return Err(StoreError::new(StoreErrorKind::Timeout, "send", "too late"));
        }
        self.log(Event::Sent(message.clone()));
        Ok(())
    }
}

#[async_trait]
impl Aborts for Memory {
    async fn subscribe(&self) -> StoreResult<BoxStream<'static, StoreResult<Vec<u8>>>> {
        let receiver = self.broadcasts.subscribe();
        let seen = receiver.borrow().len();
        let next = |(mut receiver, seen): (watch::Receiver<Vec<Vec<u8>>>, usize)| async move {
            loop {
                let payload = receiver.borrow_and_update().get(seen).cloned();
                if let Some(payload) = payload {
                    return Some((Ok(payload), (receiver, seen + 1)));
                }
                if receiver.changed().await.is_err() {
                    return None;
                }
            }
        };
        Ok(futures::stream::unfold((receiver, seen), next).boxed())
    }
}
