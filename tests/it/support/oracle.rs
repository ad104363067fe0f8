//! What must be true after any history: each run has exactly one end, messages tell of it in order, nothing is lost,
//! nothing is left.

use super::memory_stores::{Event, State};
use oma_worker::model::run::Status;
use oma_worker::stores::documents::{AnalysisKey, Id, Unsent};
use std::collections::{BTreeMap, BTreeSet};

/// A run that a history has put into the queue.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    pub(crate) id: Id,
    pub(crate) key: AnalysisKey,
    /// Unique in its analysis, so that messages can be told apart.
    pub(crate) run_type: &'static str,
}

/// Everything that is wrong with the end state and the log.
pub(crate) fn violations(state: &State, queued: &[Queued], foreign: Option<&Id>) -> Vec<String> {
    let mut wrong = Vec::new();
    for id in state.queue.keys().filter(|id| Some(*id) != foreign) {
        wrong.push(format!("document {id} is left in the queue"));
    }
    if let Some(foreign) = foreign
        && state.queue.get(foreign).is_none_or(|document| document.worker.fence != 0)
    {
        wrong.push(format!("document {foreign}, which no worker may touch, was touched"));
    }
    if !state.dead.is_empty() {
        wrong.push(format!("dead letters: {:?}", state.dead.keys()));
    }
    let keys: BTreeSet<&AnalysisKey> = queued.iter().map(|queued| &queued.key).collect();
    for key in keys {
        let runs: Vec<&Queued> = queued.iter().filter(|queued| queued.key == *key).collect();
        wrong.extend(analysis(state, key, &runs).into_iter().map(|text| format!("{}: {text}", key.analysis_id)));
    }
    wrong
}

/// The entries that a document has put into its outbox, and how it ended.
#[derive(Default)]
struct Truth {
    entries: Vec<Unsent>,
    commits: Vec<Status>,
    is_removed: bool,
}

fn truth(log: &[Event], id: &Id) -> (Truth, Vec<String>) {
    let mut truth = Truth::default();
    let mut wrong = Vec::new();
    let mut fence = None;
    for event in log {
        match event {
            Event::Claimed { document, entry } if document == id => {
                fence = Some(entry.fence);
                truth.entries.push(*entry);
            }
            Event::Raised { document, fence: raised } if document == id => fence = Some(*raised),
            Event::Released { document, entry } if document == id => truth.entries.push(*entry),
            Event::HandedBack { document, entry } if document == id => truth.entries.retain(|e| e != entry),
            Event::Committed { document, outcome } if document == id => {
                if fence != Some(outcome.fence) {
                    wrong.push(format!("{id} is decided by a worker that has lost it"));
                }
                truth.entries.push(Unsent { fence: outcome.fence, status: outcome.status });
                truth.commits.push(outcome.status);
            }
            Event::Removed { document } if document == id => truth.is_removed = true,
            Event::Computing { document } if document == id && !truth.commits.is_empty() => {
                wrong.push(format!("{id} is computed after its commit"));
            }
            _ => {}
        }
    }
    (truth, wrong)
}

/// Without repetitions of the message before.
fn collapsed(statuses: impl Iterator<Item = Status>) -> Vec<Status> {
    let mut all: Vec<Status> = statuses.collect();
    all.dedup();
    all
}

fn analysis(state: &State, key: &AnalysisKey, runs: &[&Queued]) -> Vec<String> {
    let mut wrong = holding(&state.log, key);
    let document = &state.analyses[key];
    let sent: Vec<(&str, Status)> = state.log.iter().filter_map(|event| sent_about(event, key)).collect();
    let mut removed = BTreeSet::new();
    let mut ends: BTreeMap<i64, (&Queued, Status)> = BTreeMap::new();
    for run in runs {
        let (truth, mut of_run) = truth(&state.log, &run.id);
        wrong.append(&mut of_run);
        let messages = collapsed(sent.iter().filter(|(t, _)| *t == run.run_type).map(|(_, status)| *status));
        let told = collapsed(truth.entries.iter().map(|entry| entry.status));
        if truth.is_removed {
            removed.insert(run.run_type);
            // Whatever was sent is the beginning of what should have been, and perhaps a last word.
            let common = messages.iter().zip(&told).take_while(|(a, b)| a == b).count();
            let rest = &messages[common..];
            if !(rest.is_empty() || matches!(rest, [last] if last.is_terminal())) {
                wrong.push(format!("{} (removed): messages {messages:?}, statuses {told:?}", run.run_type));
            }
            continue;
        }
        if truth.commits.len() != 1 {
            wrong.push(format!("{}: ended {} times: {:?}", run.run_type, truth.commits.len(), truth.commits));
        }
        if messages != told {
            wrong.push(format!("{}: messages {messages:?}, statuses {told:?}", run.run_type));
        }
        if let (Some(end), Some(entry)) = (truth.commits.last(), truth.entries.last()) {
            ends.insert(entry.fence, (run, *end));
            let by_type = document.body["status_by_type"][run.run_type].as_str();
            if by_type != Some(end.as_str()) {
                wrong.push(format!("{}: committed {end}, the analysis says {by_type:?}", run.run_type));
            }
            let result = Id::from_value(&document.body["results"][run.run_type]);
            let is_kept = result.is_some_and(|id| state.results.contains_key(&(key.structure_id.clone(), id)));
            if *end == Status::Done && !is_kept {
                wrong.push(format!("{}: the result is lost", run.run_type));
            }
        }
    }
    // A document that is deleted after its commit takes its place in the order of messages with it: the last one may
    // still be on its way when the next run, which has nothing to wait for any more, sends its first.
    let of_kept: Vec<_> = sent.iter().copied().filter(|(run_type, _)| !removed.contains(run_type)).collect();
    wrong.extend(interleaving(&of_kept));
    if removed.is_empty() {
        if let Some((_, (_, last))) = ends.last_key_value()
            && document.status() != last.as_str()
        {
            wrong.push(format!("ended {last}, the analysis says {}", document.status()));
        }
        if sent.last().map(|(_, status)| status.as_str()) != Some(document.status()) {
            wrong.push(format!("last message {:?}, the analysis says {}", sent.last(), document.status()));
        }
        if document.holder().queue_id.is_some() {
            wrong.push(format!("still held by {:?}", document.holder()));
        }
        if !ends.values().map(|(run, _)| &run.id).is_sorted() {
            wrong.push(format!("a later run came first: {:?}", ends.values()));
        }
        let order: Vec<&str> = ends.values().map(|(run, _)| run.run_type).collect();
        let mut told: Vec<&str> = sent.iter().map(|(run_type, _)| *run_type).collect();
        told.dedup();
        if order != told {
            wrong.push(format!("runs ended in the order {order:?}, messages came in {told:?}"));
        }
    }
    wrong
}

fn sent_about<'a>(event: &'a Event, key: &AnalysisKey) -> Option<(&'a str, Status)> {
    match event {
        Event::Sent(message) if message.document_id == key.analysis_id.as_str() => {
            Some((message.run_type.as_str(), message.status))
        }
        _ => None,
    }
}

/// Messages of one run come without those of another one in between.
fn interleaving(sent: &[(&str, Status)]) -> Option<String> {
    let mut order: Vec<&str> = sent.iter().map(|(run_type, _)| *run_type).collect();
    order.dedup();
    let distinct: BTreeSet<&&str> = order.iter().collect();
    (distinct.len() < order.len()).then(|| format!("messages of runs interleave: {order:?}"))
}

/// From mark to settle an analysis belongs to one document.
fn holding(log: &[Event], key: &AnalysisKey) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut holder: Option<&Id> = None;
    for event in log {
        match event {
            Event::Marked { document, key: of } if of == key => {
                if let Some(other) = holder.filter(|other| *other != document) {
                    wrong.push(format!("{document} marks while {other} holds the analysis"));
                }
                holder = Some(document);
            }
            Event::Settled { document, key: of } | Event::Freed { document, key: of } if of == key => {
                if holder != Some(document) {
                    wrong.push(format!("{document} settles, the holder is {holder:?}"));
                }
                holder = None;
            }
            _ => {}
        }
    }
    wrong
}
