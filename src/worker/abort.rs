//! Broadcasts that abort the run at work.

use super::retry::Retry;
use crate::stores::Aborts;
use crate::stores::documents::Id;
use futures::StreamExt;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Which analysis is at work and how to abort it: the meeting point of the listener and the run loop.
#[derive(Default)]
pub(crate) struct AtWork {
    current: Mutex<Option<(Id, CancellationToken)>>,
    ignored: Mutex<u64>,
}

/// An analysis at work; dropping it ends that.
pub(crate) struct Watch<'a> {
    at_work: &'a AtWork,
    aborted: CancellationToken,
}

impl Watch<'_> {
    /// Cancelled by a broadcast for the analysis.
    pub(crate) fn aborted(&self) -> &CancellationToken {
        &self.aborted
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.at_work.current.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl AtWork {
    /// From now on a broadcast for this analysis counts.
    pub(crate) fn watch(&self, analysis_id: &Id) -> Watch<'_> {
        let aborted = CancellationToken::new();
        let entry = Some((analysis_id.clone(), aborted.clone()));
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = entry;
        Watch { at_work: self, aborted }
    }

    /// Broadcasts so far that concerned no run at work here.
    pub(crate) fn ignored(&self) -> u64 {
        *self.ignored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one payload, whatever is in it.
    fn receive(&self, payload: &[u8]) {
        let wanted = aborted_analysis(payload);
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some((analysis_id, aborted)) if wanted.as_ref() == Some(analysis_id) => {
                tracing::info!(%analysis_id, "abort received");
                aborted.cancel();
            }
            _ => {
                *self.ignored.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                tracing::debug!(bytes = payload.len(), ?wanted, "broadcast ignored");
            }
        }
    }
}

/// The analysis that a payload names, if it is JSON and names one.
fn aborted_analysis(payload: &[u8]) -> Option<Id> {
    let message: Value = serde_json::from_slice(payload).ok()?;
    Id::from_value(message.get("analysis_id")?)
}

/// An abort has a second to take effect, and half of it may pass unheard.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Feeds `at_work` for ever; `ready` hears of the first subscription. A subscription that ends is renewed.
pub(crate) async fn listen(aborts: Arc<dyn Aborts>, at_work: Arc<AtWork>, retry: Retry, ready: oneshot::Sender<()>) {
    let mut ready = Some(ready);
    let mut failures = 0;
    loop {
        let subscription = aborts.clone();
        match retry.once("subscribe to broadcasts", async move { subscription.subscribe().await }).await {
            Ok(mut payloads) => {
                if let Some(ready) = ready.take() {
                    let _ = ready.send(());
                }
                while let Some(item) = payloads.next().await {
                    match item {
                        Ok(payload) => {
                            failures = 0;
                            at_work.receive(&payload);
                        }
                        Err(error) => {
                            tracing::warn!(error = %error, "broadcasts are not to be read for now");
                            tokio::time::sleep(retry.wait(failures).min(LONGEST_PAUSE)).await;
                            failures += 1;
                        }
                    }
                }
                tracing::warn!("the broadcasts ended, subscribing again");
            }
            Err(error) => tracing::warn!(error = %error, "cannot subscribe to broadcasts"),
        }
        tokio::time::sleep(retry.wait(failures).min(LONGEST_PAUSE)).await;
        failures += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "65e08e66bfe58ba848bccee0";

    #[test]
    fn a_payload_names_its_analysis_as_string_or_object_id() {
        let as_string = format!(r#"{{"analysis_id": "{ID}", "more": 1}}"#);
        let as_object_id = format!(r#"{{"analysis_id": {{"$oid": "{ID}"}}}}"#);
        assert_eq!(aborted_analysis(as_string.as_bytes()), Some(Id::from(ID)));
        assert_eq!(aborted_analysis(as_object_id.as_bytes()), Some(Id::from(ID)));
        assert_eq!(aborted_analysis(as_string.to_uppercase().as_bytes()), None);
    }

    #[test]
    fn junk_aborts_nothing_and_is_counted() {
        let at_work = AtWork::default();
        let watch = at_work.watch(&Id::from(ID));
        let megabyte = vec![b'{'; 1 << 20];
        let deep = "[".repeat(100_000);
        let junk: [&[u8]; 12] = [
            b"",
            b"null",
            b"5",
            b"[]",
            b"not json",
            b"{}",
            b"\xff\xfe\x00",
            br#"{"analysis_id": null}"#,
            br#"{"analysis_id": 7}"#,
            br#"{"analysis_id": "65e08e66bfe58ba848bccee1"}"#,
            &megabyte,
            deep.as_bytes(),
        ];
        for payload in junk {
            at_work.receive(payload);
        }
        assert_eq!(at_work.ignored(), 12);
        assert!(!watch.aborted().is_cancelled());
    }

    #[test]
    fn only_the_analysis_at_work_is_aborted() {
        let at_work = AtWork::default();
        let payload = format!(r#"{{"analysis_id": "{ID}"}}"#);
        at_work.receive(payload.as_bytes());
        let watch = at_work.watch(&Id::from(ID));
        assert!(!watch.aborted().is_cancelled());
        at_work.receive(payload.as_bytes());
        assert!(watch.aborted().is_cancelled());
        drop(watch);
        at_work.receive(payload.as_bytes());
        assert_eq!(at_work.ignored(), 2);
    }
}
