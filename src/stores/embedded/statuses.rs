//! [`Statuses`] in a file: one message a line.

use super::Embedded;
use crate::model::run::StatusMessage;
use crate::stores::{Statuses, StoreError, StoreResult};
use async_trait::async_trait;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

#[async_trait]
impl Statuses for Embedded {
    async fn send(&self, message: &StatusMessage, within: Duration) -> StoreResult<()> {
        let called = Instant::now();
        let doing = "append a status message";
        let line = serde_json::to_string(message).map_err(|error| StoreError::invalid(doing, error.to_string()))?;
        tracing::info!(target: "status", "{line}");
        let file = self.statuses_file();
        let append = move || match called.elapsed() < within {
            true => append_line(&file, &line).map_err(|error| StoreError::unavailable(doing, error)),
            false => Err(StoreError::timeout(doing, within)),
        };
        tokio::task::spawn_blocking(append).await.map_err(|error| StoreError::unavailable(doing, error))?
    }
}

/// Appends the line by a single write, so that lines of several processes do not mix; after a line that a crash of the
/// machine left half written, a new one is begun.
fn append_line(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut bytes = Vec::with_capacity(line.len() + 2);
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            bytes.push(b'\n');
        }
    }
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
    file.write_all(&bytes)?;
    file.sync_data()
}
