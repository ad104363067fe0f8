//! Repeats what failed for a passing reason: every call bounded, every wait drawn with full jitter.

use crate::stores::{StoreError, StoreErrorKind, StoreResult};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument;

/// The first wait is drawn from 0 to here: a lost connection is back in about that time.
const BASE: Duration = Duration::from_millis(200);
/// No wait is longer: a service that is back is noticed within that time.
const CAP: Duration = Duration::from_secs(10);

/// Full jitter: `fraction` (0 to 1) of min(cap, base · 2^failures).
///
/// # Source
/// Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
pub(crate) fn full_jitter(failures: u32, fraction: f64) -> Duration {
    let ceiling = BASE.saturating_mul(2_u32.saturating_pow(failures)).min(CAP);
    ceiling.mul_f64(fraction.clamp(0.0, 1.0))
}

/// What is asked of which service: how a call is told of in errors and figures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    service: &'static str,
    doing: &'static str,
}

/// A call to MongoDB, or to what stands for it in a workspace; so are the others.
pub(crate) const fn mongodb(doing: &'static str) -> Call {
    Call { service: "mongodb", doing }
}

/// A call to MySQL.
pub(crate) const fn mysql(doing: &'static str) -> Call {
    Call { service: "mysql", doing }
}

/// A call to S3.
pub(crate) const fn s3(doing: &'static str) -> Call {
    Call { service: "s3", doing }
}

/// A call to Kafka.
pub(crate) const fn kafka(doing: &'static str) -> Call {
    Call { service: "kafka", doing }
}

/// Runs `operation` to its end whatever becomes of the caller, and waits for it no longer than `limit`. A driver's
/// future must not be dropped half-way; this is the one place that keeps to it.
pub(crate) async fn bounded<T: Send + 'static>(
    Call { service, doing }: Call,
    limit: Duration,
    operation: impl Future<Output = StoreResult<T>> + Send + 'static,
) -> StoreResult<T> {
    let began = Instant::now();
    let answer = match tokio::time::timeout(limit, tokio::spawn(operation.in_current_span())).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(died)) => Err(StoreError::new(StoreErrorKind::Unavailable, doing, died.to_string())),
        Err(_) => Err(StoreError::timeout(doing, limit)),
    };
    let outcome = match answer.as_ref().map_err(|error| error.kind) {
        Ok(_) => "ok",
        Err(StoreErrorKind::Unavailable) => "unavailable",
        Err(StoreErrorKind::Timeout) => "timeout",
        Err(StoreErrorKind::Local) => "local",
        Err(StoreErrorKind::Invalid) => "invalid",
    };
    let seconds = began.elapsed().as_secs_f64();
    let labels = [("service", service), ("operation", doing), ("outcome", outcome)];
    metrics::histogram!("oma_operation_seconds", &labels).record(seconds);
    answer
}

/// How calls are bounded and repeated; clones share the source of jitter.
#[derive(Clone)]
pub(crate) struct Retry {
    random: Arc<Mutex<ChaCha8Rng>>,
    call_timeout: Duration,
    patience: Duration,
}

impl Retry {
    /// `seed`: for repeatable tests.
    pub(crate) fn new(seed: Option<u64>, call_timeout: Duration, patience: Duration) -> Retry {
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(std::process::id()));
        let random = Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(seed)));
        Retry { random, call_timeout, patience }
    }

    /// The wait after so many failures in a row.
    pub(crate) fn wait(&self, failures: u32) -> Duration {
        let bits = self.random.lock().unwrap_or_else(PoisonError::into_inner).next_u32();
        full_jitter(failures, f64::from(bits) / f64::from(u32::MAX))
    }

    /// One bounded call.
    pub(crate) async fn once<T: Send + 'static>(
        &self,
        what: Call,
        operation: impl Future<Output = StoreResult<T>> + Send + 'static,
    ) -> StoreResult<T> {
        bounded(what, self.call_timeout, operation).await
    }

    /// Calls until there is an answer, the error is not transient, or the patience is spent.
    pub(crate) async fn call<T: Send + 'static, F>(&self, what: Call, operation: impl Fn() -> F) -> StoreResult<T>
    where
        F: Future<Output = StoreResult<T>> + Send + 'static,
    {
        self.call_within(what, self.call_timeout, operation).await
    }

    /// The same with another bound on each try.
    pub(crate) async fn call_within<T: Send + 'static, F>(
        &self,
        what: Call,
        limit: Duration,
        operation: impl Fn() -> F,
    ) -> StoreResult<T>
    where
        F: Future<Output = StoreResult<T>> + Send + 'static,
    {
        let started = Instant::now();
        let mut failures = 0;
        loop {
            let error = match bounded(what, limit, operation()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let wait = self.wait(failures);
            let is_worth_it = error.is_transient() && error.kind != StoreErrorKind::Local;
            if !is_worth_it || started.elapsed() + wait > self.patience {
                return Err(error);
            }
            tracing::debug!(doing = what.doing, failures, error = %error, "call failed, is repeated");
            failures += 1;
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn jitter_stays_between_zero_and_the_cap(failures: u32, fraction in 0.0..=1.0f64) {
            prop_assert!(full_jitter(failures, fraction) <= CAP);
        }

        #[test]
        fn jitter_never_shrinks_with_failures(failures in 0..1000u32, fraction in 0.0..=1.0f64) {
            prop_assert!(full_jitter(failures, fraction) <= full_jitter(failures + 1, fraction));
        }
    }

    #[test]
    fn jitter_covers_the_whole_range() {
        assert_eq!(full_jitter(0, 0.0), Duration::ZERO);
        assert_eq!(full_jitter(0, 1.0), BASE);
        assert_eq!(full_jitter(2, 1.0), BASE * 4);
        assert_eq!(full_jitter(u32::MAX, 1.0), CAP);
    }

    fn retry() -> Retry {
        Retry::new(Some(1), Duration::from_secs(10), Duration::from_secs(300))
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_gives_up_when_the_patience_is_spent() {
        let started = Instant::now();
        let down = || async { Err::<(), _>(StoreError::new(StoreErrorKind::Unavailable, "try", "down")) };
        assert!(retry().call(mongodb("try"), down).await.is_err());
        assert!(started.elapsed() <= Duration::from_secs(300));
        assert!(started.elapsed() >= Duration::from_secs(300) - CAP);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_never_can_succeed_is_not_repeated() {
        let started = Instant::now();
        let wrong = || async { Err::<(), _>(StoreError::invalid("try", "wrong")) };
        assert!(retry().call(mongodb("try"), wrong).await.is_err());
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_ends_at_its_bound_but_is_not_dropped() {
        let (done, mut finished) = tokio::sync::oneshot::channel();
        let slow = async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let _ = done.send(());
            Ok(())
        };
        let error = retry().once(mongodb("try"), slow).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Timeout);
        assert!(finished.try_recv().is_err());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(finished.try_recv().is_ok());
    }
}
