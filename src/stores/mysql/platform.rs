//! What a platform writes into the tables of `deploy/schema.sql`.

use super::{MySql, QUERY, failed};
use crate::model::channel::Channel;
use crate::stores::documents::Id;
use crate::stores::platform::NewStructure;
use crate::stores::{StoreError, StoreResult};
use sqlx::MySqlConnection;

impl MySql {
    /// Adds a structure with its channels, all or nothing; its number, and the channels with the ids of their sensors.
    pub(in crate::stores) async fn add_structure(
        &self,
        id: &Id,
        structure: &NewStructure,
    ) -> StoreResult<(i64, Vec<Channel>)> {
        let doing = "add a structure to the tables of deploy/schema.sql";
        let added = async {
            let mut transaction = self.pool.begin().await?;
            let number = add(&mut transaction, id, structure).await?;
            let mut channels = Vec::new();
            for channel in &structure.channels {
                let sensor_id = add_channel(&mut transaction, number, channel).await?.to_string();
                channels.push(Channel { sensor_id, ..channel.clone() });
            }
            transaction.commit().await?;
            Ok((number, channels))
        };
        let added = tokio::time::timeout(QUERY, added).await.map_err(|_| StoreError::timeout(doing, QUERY))?;
        added.map_err(|error| failed(doing, error))
    }
}

async fn add(to: &mut MySqlConnection, id: &Id, structure: &NewStructure) -> sqlx::Result<i64> {
    sqlx::query("INSERT IGNORE INTO tenants (id, name) VALUES (?, ?)")
        .bind(structure.tenant_id)
        .bind(&structure.tenant_name)
        .execute(&mut *to)
        .await?;
    let added = sqlx::query("INSERT INTO structures (id, tenant_id, mongo_id, name) VALUES (?, ?, ?, ?)")
        .bind(structure.number)
        .bind(structure.tenant_id)
        .bind(id.as_str())
        .bind(&structure.name)
        .execute(&mut *to)
        .await?;
    Ok(structure.number.unwrap_or(added.last_insert_id() as i64))
}

/// Returns the id of the sensor.
async fn add_channel(to: &mut MySqlConnection, number: i64, channel: &Channel) -> sqlx::Result<i64> {
    let known: Option<i64> = channel.sensor_id.parse().ok();
    let added = sqlx::query("INSERT INTO sensors (id, structure_id, name, node, x, y, z) VALUES (?, ?, ?, ?, ?, ?, ?)")
        .bind(known)
        .bind(number)
        .bind(&channel.sensor_name)
        .bind(&channel.node)
        .bind(channel.position[0])
        .bind(channel.position[1])
        .bind(channel.position[2])
        .execute(&mut *to)
        .await?;
    let sensor = known.unwrap_or(added.last_insert_id() as i64);
    sqlx::query(
        "INSERT INTO channels (sensor_id, name, axis, dir_x, dir_y, dir_z, quantity, unit, sampling_rate_hz, \
         sensitivity, `offset`, clock_offset_s, is_reference, active) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(sensor)
    .bind(&channel.name)
    .bind(&channel.axis)
    .bind(channel.direction[0])
    .bind(channel.direction[1])
    .bind(channel.direction[2])
    .bind(&channel.quantity)
    .bind(&channel.unit)
    .bind(channel.sampling_rate_hz)
    .bind(channel.sensitivity)
    .bind(channel.offset)
    .bind(channel.clock_offset_s)
    .bind(channel.is_reference)
    .bind(channel.active)
    .execute(to)
    .await?;
    Ok(sensor)
}
