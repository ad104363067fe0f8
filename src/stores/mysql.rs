//! Channels in MySQL or MariaDB: read only, by one query whose text is a setting.

mod platform;

use super::documents::Structure;
use super::secret::Secret;
use super::{Complaint, StoreError, StoreResult};
use crate::model::channel::Channel;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::{AssertSqlSafe, Column, Connection, Executor, Row, SqlSafeStr, Statement};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use sqlx::mysql::MySqlSslMode;

/// The query for the tables of `deploy/schema.sql`; `?` is the `mysql_id` of the structure.
pub const CHANNELS_QUERY: &str = "\
SELECT c.name, c.axis, c.dir_x, c.dir_y, c.dir_z, c.quantity, c.unit, c.sampling_rate_hz, c.sensitivity, c.`offset`,
       c.clock_offset_s, c.is_reference, c.active, s.id AS sensor_id, s.name AS sensor_name, s.node, s.x, s.y, s.z,
       t.name AS tenant_name
FROM channels c
JOIN sensors s ON s.id = c.sensor_id
JOIN structures st ON st.id = s.structure_id
JOIN tenants t ON t.id = st.tenant_id
WHERE s.structure_id = ?
ORDER BY c.id";

/// A few readers at once; the server holds a thread for each.
const CONNECTIONS: u32 = 4;
/// How long a connection may take.
const ACQUIRE: Duration = Duration::from_secs(5);
/// How long a query may take: it reads some hundred rows by a key.
const QUERY: Duration = Duration::from_secs(10);
/// A server closes connections that were idle for `wait_timeout`; this is below every sensible one.
const IDLE: Duration = Duration::from_secs(60);

/// Where the server is and who asks.
#[derive(Debug, Clone, Default)]
pub struct MySqlSettings {
    /// The host (`MYSQL_HOST`).
    pub host: String,
    /// Its port (`MYSQL_PORT`).
    pub port: u16,
    /// The user (`MYSQL_USERNAME`).
    pub username: String,
    /// The password, any characters (`MYSQL_PASSWORD`).
    pub password: Secret,
    /// The database (`MYSQL_DATABASE`).
    pub database: String,
    /// Whether the connection is encrypted and the server's certificate looked at (`MYSQL_SSL_MODE`).
    pub ssl_mode: MySqlSslMode,
    /// Certificates that the server's is held against, besides those of the web (`MYSQL_SSL_CA`).
    pub ssl_ca: Option<PathBuf>,
    /// The query for the channels of a structure (`MYSQL_CHANNELS_QUERY`).
    pub channels_query: String,
}

/// A pool of connections. Clones share it.
#[derive(Clone)]
pub struct MySql {
    pool: MySqlPool,
    query: Arc<str>,
}

impl MySql {
    /// A client of the server; the first call connects.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(settings: &MySqlSettings) -> MySql {
        let mut options = MySqlConnectOptions::new()
            .host(&settings.host)
            .port(settings.port)
            .username(&settings.username)
            .database(&settings.database)
            .ssl_mode(settings.ssl_mode);
        if !settings.password.is_empty() {
            options = options.password(settings.password.reveal());
        }
        if let Some(file) = &settings.ssl_ca {
            options = options.ssl_ca(file);
        }
        let pool = MySqlPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE)
            .idle_timeout(IDLE)
            .connect_lazy_with(options);
        MySql { pool, query: settings.channels_query.as_str().into() }
    }

    /// The channels of the structure with this number, in the order of the query.
    pub(in crate::stores) async fn channels(&self, mysql_id: i64) -> StoreResult<Vec<Channel>> {
        self.rows(mysql_id).await?.iter().map(channel).collect()
    }

    /// The name of the structure's tenant, if the query tells it.
    pub(in crate::stores) async fn tenant_name(&self, structure: &Structure) -> StoreResult<Option<String>> {
        let Some(mysql_id) = structure.mysql_id else { return Ok(None) };
        Ok(self.rows(mysql_id).await?.first().and_then(|row| text(row, "tenant_name").ok().flatten()))
    }

    /// Whether the server answers, takes our credentials, and the query has every column; which they are, in a
    /// sentence.
    ///
    /// # Errors
    /// [`Complaint`] if not.
    pub async fn check(&self) -> Result<String, Complaint> {
        // Not by the pool, which goes on trying and then says nothing but that it took too long.
        let options = self.pool.connect_options();
        let connected = MySqlConnection::connect_with(&options);
        let late = |_| Complaint::new("MYSQL_HOST and MYSQL_PORT", StoreError::timeout("reach MySQL", QUERY));
        let connected = tokio::time::timeout(QUERY, connected).await.map_err(late)?;
        let mut connection = connected.map_err(complaint)?;
        let doing = "prepare MYSQL_CHANNELS_QUERY";
        let of_query = |error| Complaint::new("MYSQL_CHANNELS_QUERY and MYSQL_DATABASE", error);
        let query = AssertSqlSafe(self.query.to_string()).into_sql_str();
        let prepared = tokio::time::timeout(QUERY, (&mut connection).prepare(query)).await;
        let prepared = prepared.map_err(|_| of_query(StoreError::timeout(doing, QUERY)))?;
        let prepared = prepared.map_err(|error| of_query(failed(doing, error)))?;
        let names: Vec<&str> = prepared.columns().iter().map(Column::name).collect();
        match COLUMNS.iter().find(|column| !names.contains(column)) {
            Some(column) => Err(of_query(missing(column))),
            None => Ok(format!("the query of channels has its {} columns", COLUMNS.len())),
        }
    }

    async fn rows(&self, mysql_id: i64) -> StoreResult<Vec<MySqlRow>> {
        let doing = "read the channels";
        let mut connection = self.pool.acquire().await.map_err(|error| failed(doing, error))?;
        let query = sqlx::query(AssertSqlSafe(self.query.to_string())).bind(mysql_id).fetch_all(&mut *connection);
        match tokio::time::timeout(QUERY, query).await {
            Ok(rows) => rows.map_err(|error| failed(doing, error)),
            Err(_) => {
                // Nothing can be said of a connection that does not answer: it must not go back into the pool.
                drop(connection.detach());
                Err(StoreError::timeout(doing, QUERY))
            }
        }
    }
}

/// An error of the driver as a store's. What the server says of the query itself it will say again.
fn failed(doing: &'static str, error: sqlx::Error) -> StoreError {
    // ER_BAD_FIELD_ERROR, ER_PARSE_ERROR, ER_NO_SUCH_TABLE.
    const OF_THE_QUERY: [u16; 3] = [1054, 1064, 1146];
    if let sqlx::Error::Database(refused) = &error
        && let Some(refused) = refused.try_downcast_ref::<MySqlDatabaseError>()
        && OF_THE_QUERY.contains(&refused.number())
    {
        return StoreError::invalid(doing, format!("MYSQL_CHANNELS_QUERY: {}", refused.message()));
    }
    StoreError::unavailable(doing, error)
}

/// The driver's error with the settings that decide about it.
fn complaint(error: sqlx::Error) -> Complaint {
    let refused = error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    let settings = match (&error, refused.map(MySqlDatabaseError::number)) {
        // ER_ACCESS_DENIED_ERROR; ER_DBACCESS_DENIED_ERROR and ER_BAD_DB_ERROR.
        (_, Some(1045)) => "MYSQL_USERNAME and MYSQL_PASSWORD",
        (_, Some(1044 | 1049)) => "MYSQL_DATABASE",
        (sqlx::Error::Tls(_), _) => "MYSQL_SSL_MODE and MYSQL_SSL_CA",
        // How a certificate that is not trusted comes out of the handshake.
        (sqlx::Error::Io(error), _) if error.kind() == std::io::ErrorKind::InvalidData => {
            "MYSQL_SSL_MODE and MYSQL_SSL_CA"
        }
        _ => "MYSQL_HOST and MYSQL_PORT",
    };
    Complaint::new(settings, failed("reach MySQL", error))
}

/// What the query must have.
const COLUMNS: [&str; 19] = [
    "name",
    "axis",
    "dir_x",
    "dir_y",
    "dir_z",
    "quantity",
    "unit",
    "sampling_rate_hz",
    "sensitivity",
    "offset",
    "clock_offset_s",
    "is_reference",
    "active",
    "sensor_id",
    "sensor_name",
    "node",
    "x",
    "y",
    "z",
];

fn missing(column: &str) -> StoreError {
    StoreError::invalid("read the channels", format!("MYSQL_CHANNELS_QUERY has no column {column}"))
}

fn channel(row: &MySqlRow) -> StoreResult<Channel> {
    let default = Channel::default();
    let word = |column, otherwise: &str| Ok(text(row, column)?.unwrap_or_else(|| otherwise.to_owned()));
    let value = |column, otherwise: f64| Ok(number(row, column)?.unwrap_or(otherwise));
    let is = |column, otherwise| Ok(number(row, column)?.map_or(otherwise, |x: f64| x != 0.0));
    let name = text(row, "name")?.filter(|name| !name.is_empty());
    Ok(Channel {
        name: name.ok_or_else(|| StoreError::invalid("read the channels", "a channel has no name"))?,
        sensor_id: word("sensor_id", "")?,
        sensor_name: word("sensor_name", "")?,
        node: word("node", "")?,
        axis: word("axis", "")?,
        position: [value("x", 0.0)?, value("y", 0.0)?, value("z", 0.0)?],
        direction: [value("dir_x", 0.0)?, value("dir_y", 0.0)?, value("dir_z", 0.0)?],
        quantity: word("quantity", &default.quantity)?,
        unit: word("unit", "")?,
        sampling_rate_hz: number(row, "sampling_rate_hz")?,
        sensitivity: value("sensitivity", default.sensitivity)?,
        offset: value("offset", 0.0)?,
        clock_offset_s: value("clock_offset_s", 0.0)?,
        is_reference: is("is_reference", default.is_reference)?,
        active: is("active", default.active)?,
        file_format: None,
    })
}

/// A number of whatever type the column has; NULL is none.
fn number(row: &MySqlRow, column: &'static str) -> StoreResult<Option<f64>> {
    let is_known = row.try_get_raw(column).is_ok();
    if !is_known {
        return Err(missing(column));
    }
    if let Ok(value) = row.try_get::<Option<f64>, _>(column) {
        return Ok(value);
    }
    if let Ok(value) = row.try_get::<Option<f32>, _>(column) {
        return Ok(value.map(f64::from));
    }
    if let Ok(value) = row.try_get::<Option<i64>, _>(column) {
        return Ok(value.map(|value| value as f64));
    }
    if let Ok(value) = row.try_get::<Option<u64>, _>(column) {
        return Ok(value.map(|value| value as f64));
    }
    // DECIMAL travels as text.
    let Ok(written) = row.try_get_unchecked::<Option<String>, _>(column) else { return Err(no_number(column)) };
    written.map(|text| text.trim().parse().map_err(|_| no_number(column))).transpose()
}

fn no_number(column: &str) -> StoreError {
    StoreError::invalid("read the channels", format!("column {column} of MYSQL_CHANNELS_QUERY is no number"))
}

/// A text, or a whole number as text; NULL is none.
fn text(row: &MySqlRow, column: &'static str) -> StoreResult<Option<String>> {
    if row.try_get_raw(column).is_err() {
        return Err(missing(column));
    }
    if let Ok(value) = row.try_get::<Option<String>, _>(column) {
        return Ok(value);
    }
    if let Ok(value) = row.try_get::<Option<i64>, _>(column) {
        return Ok(value.map(|value| value.to_string()));
    }
    if let Ok(value) = row.try_get::<Option<u64>, _>(column) {
        return Ok(value.map(|value| value.to_string()));
    }
    let wrong =
        |_| StoreError::invalid("read the channels", format!("column {column} of MYSQL_CHANNELS_QUERY is no text"));
    row.try_get_unchecked::<Option<String>, _>(column).map_err(wrong)
}
