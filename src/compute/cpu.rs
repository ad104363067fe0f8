//! The CPU backend: f64 throughout, all cores, the definition that other backends are held to.

pub(super) mod lags;
mod welch;

use super::{Backend, CrossSpectra, LagAccumulator, LagPlan, WelchPlan};
use std::sync::OnceLock;
use std::time::Instant;

/// The CPU backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu;

impl Cpu {
    /// Operations a second that all cores reach in spectral sums ([`WelchPlan::operations`]); measured when first asked for, in
    /// a few hundredths of a second.
    pub fn rate(self) -> f64 {
        /// 32 channels, 63 segments: far above what the start of threads takes, and what one of the smaller jobs does.
        const CHANNELS: usize = 32;
        const LENGTH: usize = 1024;
        const SAMPLES: usize = 32 * LENGTH;
        static RATE: OnceLock<f64> = OnceLock::new();
        *RATE.get_or_init(|| {
            let plan = WelchPlan::new(CHANNELS, 1.0, LENGTH, LENGTH / 2);
            let block = super::noise(CHANNELS, SAMPLES);
            let seconds = || {
                let start = Instant::now();
                let mut sums = self.cross_spectra(&plan);
                sums.push(&block);
                drop(sums.finish());
                start.elapsed().as_secs_f64()
            };
            // The first run starts the threads and gets the memory.
            seconds();
            plan.operations(SAMPLES as u64) / seconds().min(seconds())
        })
    }
}

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn cross_spectra(&self, plan: &WelchPlan) -> Box<dyn CrossSpectra> {
        Box::new(welch::Welch::new(plan))
    }

    fn lag_products(&self, plan: &LagPlan) -> Box<dyn LagAccumulator> {
        Box::new(lags::Lags::new(plan))
    }
}
