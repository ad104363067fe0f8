//! The CPU backend: f64 throughout, all cores, the definition that other backends are held to.

pub(super) mod lags;
mod welch;

use super::{Backend, CrossSpectra, LagAccumulator, LagPlan, WelchPlan};

/// The CPU backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu;

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
