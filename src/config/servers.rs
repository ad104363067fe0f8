//! The settings of the four servers (contract §2). The names are those of the platform.

use super::{Faults, path};
use crate::stores::kafka::KafkaSettings;
use crate::stores::mongo::MongoSettings;
use crate::stores::mysql::{CHANNELS_QUERY, MySqlSettings, MySqlSslMode};
use crate::stores::names::Names;
use crate::stores::s3::S3Settings;
use crate::stores::secret::Secret;
use crate::stores::servers::ServerSettings;

/// Where the servers are and what they hold: needed unless all stores are in a folder.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Servers (not with --embedded)")]
pub struct ServerArgs {
    /// mongodb, or mongodb+srv (then MONGODB_PORT is not used)
    #[arg(long, env = "MONGODB_PREFIX", default_value = "mongodb", value_name = "PREFIX", hide_env_values = true)]
    mongodb_prefix: String,
    /// Host of MongoDB, or several separated by commas
    #[arg(long, env = "MONGODB_DOMAIN", value_name = "HOST", hide_env_values = true)]
    mongodb_domain: Option<String>,
    /// Its port
    #[arg(long, env = "MONGODB_PORT", default_value = "27017", value_name = "PORT", hide_env_values = true)]
    mongodb_port: String,
    /// Options as they follow the ? of a connection string, e.g. replicaSet=rs&tls=true
    #[arg(long, env = "MONGODB_OPTIONS", value_name = "OPTIONS", hide_env_values = true)]
    mongodb_options: Option<Secret>,
    /// User of MongoDB; unset: no authentication
    #[arg(long, env = "MONGODB_USERNAME", value_name = "USER", hide_env_values = true)]
    mongodb_username: Option<String>,
    /// Its password, any characters
    #[arg(long, env = "MONGODB_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    mongodb_password: Option<Secret>,
    /// Database of queue, structures, analyses and results
    #[arg(long, env = "MONGODB_DATABASE", value_name = "NAME", hide_env_values = true)]
    mongodb_database: Option<String>,
    /// Database of the index of raw files
    #[arg(long, env = "MONGODB_DATABASE_MEASURES", value_name = "NAME", hide_env_values = true)]
    mongodb_database_measures: Option<String>,
    /// Collection of queued runs
    #[arg(
        long,
        env = "MONGODB_QUEUE_COLLECTION",
        default_value = "modals_queue",
        value_name = "NAME",
        hide_env_values = true
    )]
    mongodb_queue_collection: String,
    /// Collection of structures
    #[arg(long, env = "MONGODB_STRUCTURE_COLLECTION", value_name = "NAME", hide_env_values = true)]
    mongodb_structure_collection: Option<String>,
    /// Collections of analyses, before _ and the id of the structure
    #[arg(
        long,
        env = "MONGODB_RUN_COLLECTION",
        default_value = "modals_analysis",
        value_name = "NAME",
        hide_env_values = true
    )]
    mongodb_run_collection: String,
    /// Collections of results, before _ and the id of the structure
    #[arg(
        long,
        env = "MONGODB_RES_COLLECTION",
        default_value = "modals_analysis_results",
        value_name = "NAME",
        hide_env_values = true
    )]
    mongodb_res_collection: String,
    /// Collections of the index of raw files, before _ and the mysql_id of the structure
    #[arg(
        long,
        env = "MONGODB_MEASURE_COLLECTION",
        default_value = "measures",
        value_name = "NAME",
        hide_env_values = true
    )]
    mongodb_measure_collection: String,
    /// Brokers, host:port separated by commas
    #[arg(long, env = "KAFKA_BROKER", value_name = "HOST:PORT", hide_env_values = true)]
    kafka_broker: Option<String>,
    /// Topic that aborts are read from
    #[arg(long, env = "KAFKA_TOPIC_BROADCAST", value_name = "TOPIC", hide_env_values = true)]
    kafka_topic_broadcast: Option<String>,
    /// Name of the reader; no group is joined, every worker reads every broadcast
    #[arg(long, env = "KAFKA_CONSUMER_GROUP", value_name = "NAME", hide_env_values = true)]
    kafka_consumer_group: Option<String>,
    /// Topic that statuses are sent to
    #[arg(long, env = "KAFKA_TOPIC_OUTPUT", value_name = "TOPIC", hide_env_values = true)]
    kafka_topic_output: Option<String>,
    /// More settings of librdkafka, name=value separated by commas: TLS, SASL
    #[arg(long, env = "KAFKA_OPTIONS", value_name = "OPTIONS", hide_env_values = true)]
    kafka_options: Option<Secret>,
    /// Host of MySQL
    #[arg(long, env = "MYSQL_HOST", value_name = "HOST", hide_env_values = true)]
    mysql_host: Option<String>,
    /// Its port
    #[arg(long, env = "MYSQL_PORT", default_value = "3306", value_name = "PORT", hide_env_values = true)]
    mysql_port: String,
    /// User of MySQL
    #[arg(long, env = "MYSQL_USERNAME", value_name = "USER", hide_env_values = true)]
    mysql_username: Option<String>,
    /// Its password, any characters
    #[arg(long, env = "MYSQL_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    mysql_password: Option<Secret>,
    /// Database of the channels
    #[arg(long, env = "MYSQL_DATABASE", value_name = "NAME", hide_env_values = true)]
    mysql_database: Option<String>,
    /// disabled, preferred, required, verify_ca or verify_identity
    #[arg(long, env = "MYSQL_SSL_MODE", default_value = "preferred", value_name = "MODE", hide_env_values = true)]
    mysql_ssl_mode: String,
    /// File of certificates that the one of MySQL is held against
    #[arg(long, env = "MYSQL_SSL_CA", value_name = "FILE", hide_env_values = true)]
    mysql_ssl_ca: Option<String>,
    /// Query for the channels of a structure, with ? for its mysql id; the columns are those of deploy/schema.sql
    #[arg(long, env = "MYSQL_CHANNELS_QUERY", value_name = "SQL", hide_env_values = true)]
    mysql_channels_query: Option<String>,
    /// Address of an S3-compatible store; unset: Amazon's
    #[arg(long, env = "AWS_ENDPOINT_URL", value_name = "URL", hide_env_values = true)]
    aws_endpoint_url: Option<String>,
    /// Region of the buckets
    #[arg(long, env = "AWS_REGION", value_name = "REGION", hide_env_values = true)]
    aws_region: Option<String>,
    /// Id of the key
    #[arg(long, env = "AWS_ACCESS_KEY_ID", value_name = "ID", hide_env_values = true)]
    aws_access_key_id: Option<String>,
    /// The key
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", value_name = "KEY", hide_env_values = true)]
    aws_secret_access_key: Option<Secret>,
    /// Bucket of raw files
    #[arg(long, env = "FILE_BUCKET", value_name = "BUCKET", hide_env_values = true)]
    file_bucket: Option<String>,
    /// Bucket of preprocessed records
    #[arg(long, env = "CACHE_BUCKET", value_name = "BUCKET", hide_env_values = true)]
    cache_bucket: Option<String>,
}

impl ServerArgs {
    pub(super) fn collect(&self, string_paths: bool, faults: &mut Faults) -> ServerSettings {
        ServerSettings {
            mongodb: self.mongodb(faults),
            kafka: self.kafka(faults),
            mysql: self.mysql(faults),
            s3: self.s3(faults),
            names: self.names(faults),
            string_paths,
        }
    }

    fn mongodb(&self, faults: &mut Faults) -> MongoSettings {
        let prefix = or(&self.mongodb_prefix, "mongodb");
        if !["mongodb", "mongodb+srv"].contains(&prefix.as_str()) {
            faults.add("MONGODB_PREFIX", &prefix, "mongodb or mongodb+srv");
        }
        let username = given(&self.mongodb_username);
        let password = secret(&self.mongodb_password);
        match (&username, password.is_empty()) {
            (Some(_), true) => faults.unset("MONGODB_PASSWORD", "the password of MONGODB_USERNAME"),
            (None, false) => faults.unset("MONGODB_USERNAME", "the user that MONGODB_PASSWORD belongs to"),
            _ => {}
        }
        MongoSettings {
            prefix,
            domain: needed("MONGODB_DOMAIN", &self.mongodb_domain, "the host of MongoDB", faults),
            port: port("MONGODB_PORT", &self.mongodb_port, 27017, faults),
            options: secret(&self.mongodb_options),
            username,
            password,
            database: needed("MONGODB_DATABASE", &self.mongodb_database, "the name of a database", faults),
            measures_database: needed(
                "MONGODB_DATABASE_MEASURES",
                &self.mongodb_database_measures,
                "the name of a database",
                faults,
            ),
        }
    }

    fn kafka(&self, faults: &mut Faults) -> KafkaSettings {
        let topic = "the name of a topic";
        let settings = KafkaSettings {
            broker: needed("KAFKA_BROKER", &self.kafka_broker, "host:port of a broker", faults),
            broadcast_topic: needed("KAFKA_TOPIC_BROADCAST", &self.kafka_topic_broadcast, topic, faults),
            output_topic: needed("KAFKA_TOPIC_OUTPUT", &self.kafka_topic_output, topic, faults),
            consumer_group: needed("KAFKA_CONSUMER_GROUP", &self.kafka_consumer_group, "a name", faults),
            options: secret(&self.kafka_options),
        };
        if settings.parsed_options().is_none() {
            faults.add("KAFKA_OPTIONS", &settings.options.to_string(), "name=value pairs separated by commas");
        }
        settings
    }

    fn mysql(&self, faults: &mut Faults) -> MySqlSettings {
        let mode = or(&self.mysql_ssl_mode, "preferred");
        let ssl_mode = mode.replace('-', "_").parse().unwrap_or_else(|_| {
            faults.add("MYSQL_SSL_MODE", &mode, "disabled, preferred, required, verify_ca or verify_identity");
            MySqlSslMode::default()
        });
        MySqlSettings {
            host: needed("MYSQL_HOST", &self.mysql_host, "the host of MySQL", faults),
            port: port("MYSQL_PORT", &self.mysql_port, 3306, faults),
            username: needed("MYSQL_USERNAME", &self.mysql_username, "the name of a user", faults),
            password: secret(&self.mysql_password),
            database: needed("MYSQL_DATABASE", &self.mysql_database, "the name of a database", faults),
            ssl_mode,
            ssl_ca: path(self.mysql_ssl_ca.as_deref()),
            channels_query: given(&self.mysql_channels_query).unwrap_or_else(|| CHANNELS_QUERY.to_owned()),
        }
    }

    fn s3(&self, faults: &mut Faults) -> S3Settings {
        let endpoint = given(&self.aws_endpoint_url);
        if let Some(endpoint) =
            endpoint.as_ref().filter(|url| !url.starts_with("http://") && !url.starts_with("https://"))
        {
            faults.add("AWS_ENDPOINT_URL", endpoint, "an address that begins with http:// or https://");
        }
        let secret_access_key = secret(&self.aws_secret_access_key);
        if secret_access_key.is_empty() {
            faults.unset("AWS_SECRET_ACCESS_KEY", "the secret of a key");
        }
        S3Settings {
            endpoint,
            region: needed("AWS_REGION", &self.aws_region, "the region of the buckets", faults),
            access_key_id: needed("AWS_ACCESS_KEY_ID", &self.aws_access_key_id, "the id of a key", faults),
            secret_access_key,
        }
    }

    fn names(&self, faults: &mut Faults) -> Names {
        let default = Names::default();
        let bucket = "the name of a bucket";
        Names {
            queue: or(&self.mongodb_queue_collection, &default.queue),
            structures: needed(
                "MONGODB_STRUCTURE_COLLECTION",
                &self.mongodb_structure_collection,
                "the name of a collection",
                faults,
            ),
            analyses: or(&self.mongodb_run_collection, &default.analyses),
            results: or(&self.mongodb_res_collection, &default.results),
            measures: or(&self.mongodb_measure_collection, &default.measures),
            channels: default.channels,
            file_bucket: needed("FILE_BUCKET", &self.file_bucket, bucket, faults),
            cache_bucket: needed("CACHE_BUCKET", &self.cache_bucket, bucket, faults),
        }
    }
}

fn given(value: &Option<String>) -> Option<String> {
    value.clone().filter(|value| !value.is_empty())
}

fn secret(value: &Option<Secret>) -> Secret {
    value.clone().unwrap_or_default()
}

fn or(value: &str, default: &str) -> String {
    if value.is_empty() { default.to_owned() } else { value.to_owned() }
}

fn needed(setting: &'static str, value: &Option<String>, accepted: &str, faults: &mut Faults) -> String {
    given(value).unwrap_or_else(|| {
        faults.unset(setting, accepted);
        String::new()
    })
}

fn port(setting: &'static str, value: &str, default: u16, faults: &mut Faults) -> u16 {
    if value.is_empty() {
        return default;
    }
    match value.parse() {
        Ok(port @ 1..) => port,
        _ => {
            faults.add(setting, value, "a port from 1 to 65535");
            default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct All {
        #[command(flatten)]
        servers: ServerArgs,
    }

    fn check(flags: &[&str]) -> Result<ServerSettings, Faults> {
        let all = All::try_parse_from(std::iter::once(&"oma-worker").chain(flags)).unwrap();
        let mut faults = Faults::default();
        let settings = all.servers.collect(false, &mut faults);
        faults.or(settings)
    }

    const NEEDED: [&str; 14] = [
        "--mongodb-domain=mongo",
        "--mongodb-database=m",
        "--mongodb-database-measures=mm",
        "--mongodb-structure-collection=structures",
        "--kafka-broker=kafka:9092",
        "--kafka-topic-broadcast=b",
        "--kafka-topic-output=o",
        "--kafka-consumer-group=g",
        "--mysql-host=mysql",
        "--mysql-username=u",
        "--mysql-database=d",
        "--aws-region=eu-west-1",
        "--aws-access-key-id=i",
        "--file-bucket=f",
    ];

    #[test]
    fn what_is_needed_is_asked_for_by_name_all_at_once() {
        let text = check(&[]).unwrap_err().to_string();
        for flag in NEEDED {
            let variable = flag[2..].split('=').next().unwrap().replace('-', "_").to_uppercase();
            assert!(text.contains(&format!("\n  {variable} is not set, must be")), "{variable} is missing in {text}");
        }
        assert!(
            text.contains("CACHE_BUCKET is not set") && text.contains("AWS_SECRET_ACCESS_KEY is not set"),
            "{text}"
        );
    }

    #[test]
    fn a_whole_set_is_taken_with_the_defaults_of_the_contract() {
        let flags: Vec<&str> =
            NEEDED.into_iter().chain(["--cache-bucket=c", "--aws-secret-access-key=k", "--mysql-ssl-mode="]).collect();
        let settings = check(&flags).unwrap();
        assert_eq!(
            (settings.mongodb.prefix.as_str(), settings.mongodb.port, settings.mysql.port),
            ("mongodb", 27017, 3306)
        );
        let names = Names { file_bucket: "f".into(), cache_bucket: "c".into(), ..Names::default() };
        assert_eq!(settings.names, names);
        assert_eq!(settings.mysql.channels_query, CHANNELS_QUERY);
    }

    #[test]
    fn no_fault_and_no_debug_print_shows_a_secret() {
        let flags = [
            "--mongodb-password=geheim",
            "--mysql-password=geheim",
            "--aws-secret-access-key=geheim",
            "--kafka-options=geheim",
            "--mongodb-options=x=geheim",
        ];
        let all = All::try_parse_from(std::iter::once("oma-worker").chain(flags)).unwrap();
        let mut faults = Faults::default();
        let settings = all.servers.collect(false, &mut faults);
        let shown = format!("{:?} {settings:?} {faults} {faults:?}", all.servers);
        assert!(shown.contains("KAFKA_OPTIONS") && !shown.contains("geheim"), "{shown}");
    }
}
