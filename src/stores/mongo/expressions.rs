//! The protocol's filters in MongoDB's language. What another program may have written with a wrong type must neither
//! match by accident nor make an expression fail: a claim that fails on one document would fail for ever.

use super::ids::key_forms;
use crate::stores::documents::Own;
use bson::{Bson, Document, doc};
use std::time::Duration;

/// A lease or a wait of more than a year is none that a worker wrote; larger numbers would overflow a date.
const LONGEST_MS: i64 = 366 * 86_400_000;
/// No clock reaches this fence; a larger number would overflow when one is added.
const HIGHEST_FENCE: i64 = 1 << 62;

/// A wait as it is added to the server's clock.
pub(super) fn ms(wait: Duration) -> i64 {
    i64::try_from(wait.as_millis()).map_or(LONGEST_MS, |ms| ms.min(LONGEST_MS))
}

/// A whole number, 0 where there is none.
pub(super) fn integer(field: &str) -> Document {
    doc! {"$convert": {"input": field, "to": "long", "onError": 0_i64, "onNull": 0_i64}}
}

/// The fence of the document.
pub(super) fn fence() -> Document {
    doc! {"$min": [HIGHEST_FENCE, integer("$worker.fence")]}
}

/// The object in a field, an empty one where it holds something else.
pub(super) fn object(field: &str) -> Document {
    doc! {"$cond": [{"$eq": [{"$type": field}, "object"]}, field, {"$literal": {}}]}
}

/// `value` is `{fence, status}` as a worker writes it.
fn is_entry(value: &str) -> Document {
    let statuses = ["READY", "QUEUED", "RUNNING", "DONE", "ERROR", "ABORTED"];
    doc! {"$and": [
        {"$in": [{"$type": format!("{value}.fence")}, ["int", "long"]]},
        {"$in": [format!("{value}.status"), statuses.as_slice()]},
    ]}
}

/// The outbox without what no worker wrote.
pub(super) fn unsent() -> Document {
    let array = doc! {"$cond": [{"$isArray": ["$worker.unsent"]}, "$worker.unsent", []]};
    doc! {"$filter": {"input": array, "cond": is_entry("$$this")}}
}

/// The outbox without this entry.
pub(super) fn unsent_but(entry: Bson) -> Document {
    let (fence, status) = match &entry {
        Bson::Document(entry) => (entry.get("fence").cloned(), entry.get("status").cloned()),
        _ => (None, None),
    };
    let same = doc! {"$and": [{"$eq": ["$$this.fence", fence]}, {"$eq": ["$$this.status", status]}]};
    doc! {"$filter": {"input": unsent(), "cond": {"$not": [same]}}}
}

/// The outcome, removed where no worker wrote it.
pub(super) fn outcome() -> Document {
    doc! {"$cond": [is_entry("$worker.outcome"), "$worker.outcome", "$$REMOVE"]}
}

/// `worker.lease_ms` as a number that can be added to a date.
pub(super) fn lease_ms() -> Document {
    doc! {"$max": [0_i64, {"$min": [LONGEST_MS, integer("$worker.lease_ms")]}]}
}

/// The filter OWN.
pub(super) fn own(own: &Own) -> Document {
    doc! {"_id": {"$in": key_forms(&own.id)}, "worker.fence": own.fence}
}

/// The filter LIVE.
pub(super) fn live(own_document: &Own) -> Document {
    let mut filter = own(own_document);
    filter.extend(doc! {"status": "RUNNING", "worker.outcome": null});
    filter
}

/// The filter EXPIRED, by the server's clock.
pub(super) fn expired() -> Document {
    doc! {
        "worker.heartbeat_at": {"$type": "date"},
        "$expr": {"$and": [
            // Evaluated also where the line above does not match.
            {"$eq": [{"$type": "$worker.heartbeat_at"}, "date"]},
            {"$lt": [{"$cond": [
                {"$eq": [{"$type": "$worker.heartbeat_at"}, "date"]},
                {"$add": ["$worker.heartbeat_at", lease_ms()]},
                "$$NOW",
            ]}, "$$NOW"]},
        ]},
    }
}

/// `not_before` is absent, no date, or past.
pub(super) fn is_due() -> Document {
    doc! {"$expr": {"$not": [{"$and": [
        {"$eq": [{"$type": "$worker.not_before"}, "date"]},
        {"$gt": ["$worker.not_before", "$$NOW"]},
    ]}]}}
}

/// A value that is no expression, whatever it begins with.
pub(super) fn literal(value: impl Into<Bson>) -> Document {
    doc! {"$literal": value.into()}
}
