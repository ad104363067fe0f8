//! Ids as MongoDB keeps them: usually an ObjectId, sometimes a string, and whatever else a foreign program made one of.

use crate::stores::documents::Id;
use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use serde_json::Value;

/// How the id of a key begins that neither is an ObjectId nor reads back as the string that it is.
const ODD: &str = r#"{"$key":"#;

/// The id of a stored `_id`. One that is no ObjectId and no plain string becomes its extended JSON.
pub(super) fn from_key(key: Bson) -> Id {
    match &key {
        Bson::ObjectId(oid) => return Id::from(oid.to_hex().as_str()),
        Bson::String(text) if !text.is_empty() && !text.starts_with(ODD) => {
            let id = Id::from(text.as_str());
            if id.as_str() == text {
                return id;
            }
        }
        _ => {}
    }
    Id::from(format!("{ODD}{}}}", key.into_canonical_extjson()).as_str())
}

/// A key that is no ObjectId and no plain string.
fn odd_key(id: &Id) -> Option<Bson> {
    let json: Value = serde_json::from_str(id.as_str().strip_prefix(ODD)?.strip_suffix('}')?).ok()?;
    Bson::try_from(json).ok()
}

/// The id as it is written where it names another document: an ObjectId where it is one.
pub(super) fn reference(id: &Id) -> Bson {
    ObjectId::parse_str(id.as_str()).map_or_else(|_| Bson::String(id.as_str().into()), Bson::ObjectId)
}

/// The id as the `_id` of a new document.
pub(super) fn key(id: &Id) -> Bson {
    odd_key(id).unwrap_or_else(|| reference(id))
}

/// The forms in which a reference to an id may be stored.
pub(super) fn forms(id: &Id) -> Vec<Bson> {
    match reference(id) {
        Bson::ObjectId(oid) => {
            let text = id.as_str();
            vec![Bson::ObjectId(oid), Bson::String(text.into()), Bson::String(text.to_uppercase())]
        }
        other => vec![other],
    }
}

/// Matches a reference in each of its forms.
pub(super) fn any_form(id: &Id) -> Document {
    doc! {"$in": forms(id)}
}

/// The forms in which an id may be a key.
pub(super) fn key_forms(id: &Id) -> Vec<Bson> {
    match odd_key(id) {
        Some(key) => vec![key],
        // An upper-case string is an odd key.
        None => forms(id).into_iter().take(2).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_again() {
        let oid = ObjectId::parse_str("65e08e66bfe58ba848bccee0").unwrap();
        let odd = [Bson::Int32(5), Bson::Int64(1 << 40), Bson::Null, Bson::Boolean(true), Bson::Double(1.5)];
        let texts = ["", "5", "65E08E66BFE58BA848BCCEE0", "65e08e66bfe58ba848bccee0", "{\"$key\":1}", "run 1"];
        let keys = odd.into_iter().chain(texts.map(|text| Bson::String(text.into())));
        for stored in keys.chain([Bson::ObjectId(oid), Bson::Document(doc! {"a": 1, "b": oid})]) {
            let id = from_key(stored.clone());
            assert!(key_forms(&id).contains(&stored), "{stored} became {id}, looked for as {:?}", key_forms(&id));
        }
    }
}
