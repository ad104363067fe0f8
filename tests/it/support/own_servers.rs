//! Real servers that belong to one test, which may kill them.

use super::platform::{signal, wait_until};
use super::servers::TestServers;
use oma_worker::stores::Objects;
use oma_worker::stores::s3::{S3, S3Settings};
use serde_json::Value;
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

/// A set of servers on ports of its own; gone when dropped.
pub(crate) struct OwnServers {
    folder: tempfile::TempDir,
    variables: HashMap<String, String>,
}

impl OwnServers {
    pub(crate) fn up() -> OwnServers {
        let folder = tempfile::tempdir().unwrap();
        let mut servers = OwnServers { folder, variables: HashMap::new() };
        servers.services(&["up"]);
        // A shell takes the quotes off.
        let environment = servers.services(&["env"]);
        let script = format!("{environment}\nenv -0");
        let output = Command::new("bash").args(["-c", &script]).output().unwrap();
        let pairs = String::from_utf8(output.stdout).unwrap();
        servers.variables = pairs.split('\0').filter_map(|pair| pair.split_once('=')).map(owned).collect();
        servers
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("services")
    }

    fn services(&self, arguments: &[&str]) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/services");
        let output = Command::new(script).args(arguments).env("OMA_TEST_SERVICES", self.state()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The servers for a test with names of its own.
    pub(crate) fn test(&self) -> TestServers {
        TestServers::of(|name| self.variables.get(name).cloned())
    }

    pub(crate) fn signal(&self, server: &str, name: &str) {
        let pid = std::fs::read_to_string(self.state().join(format!("{server}.pid"))).unwrap();
        signal(pid.parse().unwrap(), name);
    }

    /// Gives a topic more partitions. The broker keeps what it knows of topics in an object, and looks at it at every
    /// request; it has no request of its own for this.
    pub(crate) async fn set_partitions(&self, test: &TestServers, topic: &str, count: usize) {
        let description = std::fs::read_to_string(self.state().join("kafka-store.json")).unwrap();
        let description: Value = serde_json::from_str(&description).unwrap();
        let endpoint = format!("http://127.0.0.1:{}", description["port"]);
        let store = S3::connect(&S3Settings { endpoint: Some(endpoint), ..test.settings.s3.clone() });
        let (key, path) = ("clusters/tansu_cluster/meta.json", self.folder.path().join("meta.json"));
        let is_known = async || {
            // Again and again, because the broker may write it, too.
            store.get("topics", key, &path).await.unwrap().unwrap();
            let mut known: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            known["topics"][topic]["topic"]["num_partitions"] = count.into();
            std::fs::write(&path, known.to_string()).unwrap();
            store.put("topics", key, &path).await.unwrap();
            test.partitions(topic).len() == count
        };
        wait_until("the broker knows of the partitions", is_known).await;
    }

    /// Starts a server again with the same port and data.
    pub(crate) fn start(&self, server: &str) {
        self.services(&["start", server]);
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

impl Drop for OwnServers {
    fn drop(&mut self) {
        self.services(&["down"]);
    }
}
