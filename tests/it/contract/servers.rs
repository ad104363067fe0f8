//! The real servers under the contract suite.

use super::*;
use crate::support::servers::TestServers;
use mongodb::bson::{Bson, Document, doc, oid::ObjectId};
use oma_worker::stores::servers::Servers;
use oma_worker::stores::{ObjectInfo, Objects, Page, StoreResult};
use std::path::Path;
use std::sync::Arc;

pub(super) struct ServersBench {
    test: TestServers,
    stores: Stores,
}

impl ServersBench {
    pub(super) async fn fresh() -> ServersBench {
        let test = TestServers::fresh();
        let mut stores = Servers::connect(&test.settings).await.unwrap().stores();
        stores.objects = Arc::new(Below { objects: stores.objects, folder: test.tag.clone() });
        ServersBench { test, stores }
    }

    async fn put(&self, collection: &str, body: Value) {
        let collection = self.test.collection(collection).await;
        let Bson::Document(mut document) = bson_of(body) else { panic!("no document") };
        let id = document.remove("_id").unwrap_or_else(|| ObjectId::new().into());
        let id = id.as_str().map_or(id.clone(), |text| ObjectId::parse_str(text).unwrap().into());
        document.insert("_id", id.clone());
        collection.replace_one(doc! {"_id": id}, document).upsert(true).await.unwrap();
    }
}

/// JSON with dates in ms as a client of MongoDB would write it.
fn bson_of(value: Value) -> Bson {
    match value {
        Value::Object(object) => match Date::from_value(&json!(object)) {
            Some(date) => mongodb::bson::DateTime::from_millis(date.0).into(),
            None if object.contains_key("$oid") => json!(object).try_into().unwrap(),
            None => Bson::Document(object.into_iter().map(|(key, value)| (key, bson_of(value))).collect::<Document>()),
        },
        Value::Array(values) => values.into_iter().map(bson_of).collect(),
        other => other.try_into().unwrap(),
    }
}

/// Objects below a folder, so that tests share buckets and nothing else. A key that no store may take is passed on.
struct Below {
    objects: Arc<dyn Objects>,
    folder: String,
}

impl Below {
    fn key(&self, key: &str) -> String {
        if key.is_empty() || key.starts_with('/') { key.to_owned() } else { format!("{}/{key}", self.folder) }
    }

    fn above(&self, info: ObjectInfo) -> ObjectInfo {
        let key = info.key.strip_prefix(&format!("{}/", self.folder)).unwrap().to_owned();
        ObjectInfo { key, ..info }
    }
}

#[async_trait]
impl Objects for Below {
    async fn head(&self, bucket: &str, key: &str) -> StoreResult<Option<ObjectInfo>> {
        Ok(self.objects.head(bucket, &self.key(key)).await?.map(|info| self.above(info)))
    }
    async fn get(&self, bucket: &str, key: &str, path: &Path) -> StoreResult<Option<ObjectInfo>> {
        Ok(self.objects.get(bucket, &self.key(key), path).await?.map(|info| self.above(info)))
    }
    async fn put(&self, bucket: &str, key: &str, path: &Path) -> StoreResult<ObjectInfo> {
        Ok(self.above(self.objects.put(bucket, &self.key(key), path).await?))
    }
    async fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> StoreResult<Page> {
        let prefix = format!("{}/{prefix}", self.folder);
        let page = self.objects.list(bucket, &prefix, after.map(|after| self.key(after)).as_deref()).await?;
        let objects = page.objects.into_iter().map(|info| self.above(info)).collect();
        let next = page.next.map(|next| next.strip_prefix(&format!("{}/", self.folder)).unwrap().to_owned());
        Ok(Page { objects, next })
    }
}

#[async_trait]
impl Bench for ServersBench {
    fn stores(&self) -> Stores {
        self.stores.clone()
    }
    async fn put_queued(&self, id: &Id, body: Value) {
        self.put(&self.test.settings.names.queue, with_id(id, body)).await;
    }
    async fn queued(&self, id: &Id) -> Option<QueueDocument> {
        let all = self.test.documents(&self.test.settings.names.queue).await;
        let read = |mut body: Value| {
            let id = Id::from_value(&body.as_object_mut().unwrap().remove("_id").unwrap()).unwrap();
            QueueDocument::from_body(id, body)
        };
        all.into_iter().map(read).find(|document| document.id == *id)
    }
    async fn put_analysis(&self, key: &AnalysisKey, body: Value) {
        let collection = self.test.settings.names.analyses_of(&key.structure_id);
        self.put(&collection, with_id(&key.analysis_id, body)).await;
    }
    async fn put_structure(&self, body: Value) {
        self.put(&self.test.settings.names.structures, body).await;
    }
    async fn put_channel(&self, mysql_id: i64, channel: &Channel) {
        let pool = self.test.mysql().await;
        let statements = [
            "INSERT IGNORE INTO tenants (id, name) VALUES (1, 'city')".to_owned(),
            format!("INSERT IGNORE INTO structures (id, tenant_id, mongo_id, name) VALUES ({mysql_id}, 1, '', 's')"),
            format!("INSERT INTO sensors (structure_id, name, node) VALUES ({mysql_id}, 'n', '1')"),
            format!(
                "INSERT INTO channels (sensor_id, name, axis, active) VALUES (LAST_INSERT_ID(), '{}', 'x', {})",
                channel.name, channel.active
            ),
        ];
        for statement in statements {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&pool).await.unwrap();
        }
    }
    async fn put_measure(&self, mysql_id: i64, body: Value) {
        let Bson::Document(document) = bson_of(body) else { panic!("no document") };
        let database = self.test.mongodb().await.database(&self.test.settings.mongodb.measures_database);
        let collection = database.collection(&self.test.settings.names.measures_of(mysql_id));
        collection.insert_one(document).await.unwrap();
    }
    async fn result(&self, structure_id: &Id, id: &Id) -> Option<Value> {
        let all = self.test.documents(&self.test.settings.names.results_of(structure_id)).await;
        all.into_iter().find(|body| Id::from_value(&body["_id"]).as_ref() == Some(id))
    }
    async fn dead(&self) -> Vec<(Id, Value)> {
        let all = self.test.documents(&self.test.settings.names.dead()).await;
        all.into_iter().map(|body| (Id::from_value(&body["_id"]).unwrap(), body)).collect()
    }
    async fn messages(&self) -> Vec<StatusMessage> {
        self.test.messages().await
    }
    async fn broadcast(&self, payload: &[u8]) {
        self.test.broadcast(Some(payload)).await;
    }
    async fn remove(&self) {
        self.test.remove().await;
    }
}
