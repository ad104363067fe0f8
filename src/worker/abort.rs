//! Broadcasts that abort the run at work.

use super::Vitals;
use super::retry::{Retry, kafka};
use crate::stores::Aborts;
use crate::stores::documents::Id;
use futures::StreamExt;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Which analysis is at work and how to abort it: the meeting point of the listener and the run loop.
pub(crate) struct AtWork {
    current: Mutex<Option<Current>>,
    vitals: Arc<Vitals>,
}

struct Current {
    analysis_id: Id,
    aborted: CancellationToken,
    /// When the first abort came.
    since: Option<Instant>,
    /// The run's.
    span: tracing::Span,
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
        let current = self.at_work.current.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(since) = current.and_then(|current| current.since) {
            metrics::histogram!("oma_abort_seconds").record(since.elapsed().as_secs_f64());
        }
    }
}

impl AtWork {
    /// Nothing is at work yet; `vitals` count what is ignored.
    pub(crate) fn new(vitals: Arc<Vitals>) -> AtWork {
        AtWork { current: Mutex::default(), vitals }
    }

    /// From now on a broadcast for this analysis counts.
    pub(crate) fn watch(&self, analysis_id: &Id) -> Watch<'_> {
        let aborted = CancellationToken::new();
        let (analysis_id, span) = (analysis_id.clone(), tracing::Span::current());
        let entry = Current { analysis_id, aborted: aborted.clone(), since: None, span };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(entry);
        Watch { at_work: self, aborted }
    }

    /// Takes one payload, whatever is in it.
    fn receive(&self, payload: &[u8]) {
        let wanted = aborted_analysis(payload);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *current {
            Some(current) if wanted.as_ref() == Some(&current.analysis_id) => {
                current.span.in_scope(|| tracing::info!("abort received"));
                current.since.get_or_insert_with(Instant::now);
                current.aborted.cancel();
            }
            _ => {
                self.vitals.counts.lock().unwrap_or_else(PoisonError::into_inner).broadcasts_ignored += 1;
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
        match retry.once(kafka("subscribe to broadcasts"), async move { subscription.subscribe().await }).await {
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
        let at_work = AtWork::new(Arc::default());
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
        assert_eq!(at_work.vitals.counts().broadcasts_ignored, 12);
        assert!(!watch.aborted().is_cancelled());
    }

    #[test]
    fn only_the_analysis_at_work_is_aborted() {
        let at_work = AtWork::new(Arc::default());
        let payload = format!(r#"{{"analysis_id": "{ID}"}}"#);
        at_work.receive(payload.as_bytes());
        let watch = at_work.watch(&Id::from(ID));
        assert!(!watch.aborted().is_cancelled());
        at_work.receive(payload.as_bytes());
        assert!(watch.aborted().is_cancelled());
        drop(watch);
        at_work.receive(payload.as_bytes());
        assert_eq!(at_work.vitals.counts().broadcasts_ignored, 2);
    }
}
