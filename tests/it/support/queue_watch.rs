//! What the database itself says of every change of the queue.

use super::platform::wait_until;
use futures::StreamExt;
use mongodb::Collection;
use mongodb::bson::{Bson, Document};
use mongodb::change_stream::event::{ChangeStreamEvent, OperationType};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio_util::task::AbortOnDropHandle;

/// What was done to one document.
#[derive(Debug, Clone, Default)]
struct Seen {
    outcomes: usize,
    is_deleted: bool,
}

/// Reads the change stream of a queue from now on.
pub(crate) struct QueueWatch {
    seen: Arc<Mutex<HashMap<String, Seen>>>,
    _reader: AbortOnDropHandle<()>,
}

impl QueueWatch {
    pub(crate) async fn start(queue: Collection<Document>) -> QueueWatch {
        let seen = Arc::<Mutex<HashMap<String, Seen>>>::default();
        let mut changes = queue.watch().await.unwrap();
        let noted = seen.clone();
        let reader = tokio::spawn(async move {
            while let Some(event) = changes.next().await {
                // The driver goes on by itself where it can; where it cannot, a document is missed, and that shows.
                if let Ok(event) = event {
                    note(&mut noted.lock().unwrap(), &event);
                }
            }
        });
        QueueWatch { seen, _reader: AbortOnDropHandle::new(reader) }
    }

    /// Each of these documents was given one outcome, and is gone.
    pub(crate) async fn judge(&self, documents: &[Bson]) {
        let ids: Vec<String> = documents.iter().map(Bson::to_string).collect();
        let are_gone = async || {
            let seen = self.seen.lock().unwrap();
            ids.iter().all(|id| seen.get(id).is_some_and(|seen| seen.is_deleted))
        };
        wait_until("the database has told of every deletion", are_gone).await;
        let seen = self.seen.lock().unwrap();
        for id in ids {
            assert_eq!(seen[&id].outcomes, 1, "outcomes of {id}");
        }
    }
}

fn note(seen: &mut HashMap<String, Seen>, event: &ChangeStreamEvent<Document>) {
    let Some(id) = event.document_key.as_ref().and_then(|key| key.get("_id")) else { return };
    let seen = seen.entry(id.to_string()).or_default();
    let changed = event.update_description.iter().flat_map(|update| &update.updated_fields);
    let is_outcome = |(name, value): (&String, &Bson)| match name.as_str() {
        "worker" => value.as_document().is_some_and(|worker| worker.contains_key("outcome")),
        name => name.starts_with("worker.outcome"),
    };
    seen.outcomes += usize::from(changed.into_iter().any(is_outcome));
    seen.is_deleted |= event.operation_type == OperationType::Delete;
}
