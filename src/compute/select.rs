//! Which backend a run takes, and what its result says about it.
//!
//! `auto` takes a real GPU that passed its self-test where the job is large enough to pay for the way there; `cpu` never
//! looks for one; `gpu` insists on one. A software rasteriser is taken only by name. Whatever keeps a job off the device,
//! before or during the run, is a reason in the result, not a failure.

use super::cpu::Cpu;
use super::fallback::{LagSums, OnFailure, Spectra};
use super::gpu::{DeviceError, Form, Gpu, Lags, Welch, lags_unfit, welch_unfit};
use super::{Backend, CrossSpectra, LagAccumulator, LagPlan, WelchPlan};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is asked for (`OMA_BACKEND`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choice {
    /// A GPU where there is one and it pays.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU, or nothing is computed.
    Gpu,
}

/// Seconds that it takes to open a GPU (instance, device, pipelines): 0.1 to 0.6 s on software drivers, at cold start up to
/// a second is told of real ones. `auto` does not look for a GPU for what the CPU does in less.
const OPENING_S: f64 = 1.0;

/// Operations a second of one core in the sums of the CPU backend, for the first look alone, before anything is opened or
/// measured. By `cargo bench --bench methods -- fdd/`, whose spectra of 100 channels are 2.7e9 operations in 132 ms on two cores
/// of an EPYC with AVX2, 1.0e10 a core, and those of 32 channels 3.5e8 in 13.6 ms, 1.3e10 a core. Where it is too small, a GPU
/// is looked for that then is not taken: beside it the CPU's own rate is measured ([`Cpu::rate`]).
const CPU_FLOPS: f64 = 1e10;

/// Part of the adapter's measured peak that the sums reach: the least that is accepted of the products of spectra.
const REACHED: f64 = 0.25;

/// Where the process stands with its device.
#[derive(Debug, Default)]
enum Slot {
    #[default]
    Untried,
    Open(Arc<Gpu>),
    /// There is none, or not the one that is wanted.
    None(String),
}

/// The backends of a process: at most one device, opened when first needed and again after it was lost.
#[derive(Debug, Default)]
pub struct Backends {
    choice: Choice,
    adapter: Option<String>,
    /// Where compiled kernels are kept.
    kernels: Option<PathBuf>,
    slot: Mutex<Slot>,
}

impl Backends {
    /// `adapter`: part of a name, or a PCI bus id (`OMA_GPU_ADAPTER`).
    pub fn new(choice: Choice, adapter: Option<String>) -> Arc<Backends> {
        Backends::keeping(choice, adapter, None)
    }

    /// The same, with compiled kernels of the GPU kept in a folder.
    pub fn keeping(choice: Choice, adapter: Option<String>, kernels: Option<PathBuf>) -> Arc<Backends> {
        Arc::new(Backends { choice, adapter, kernels, slot: Mutex::default() })
    }

    /// Backends that never look for a GPU.
    pub fn cpu() -> Arc<Backends> {
        Backends::new(Choice::Cpu, None)
    }

    /// Backends over a device that is open already.
    pub fn over(gpu: Arc<Gpu>) -> Arc<Backends> {
        let slot = Mutex::new(Slot::Open(gpu));
        Arc::new(Backends { choice: Choice::Gpu, slot, ..Backends::default() })
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device; opened if it was never tried or was lost.
    ///
    /// # Errors
    /// Why there is none.
    pub fn gpu(&self) -> Result<Arc<Gpu>, String> {
        let mut slot = self.slot();
        match &*slot {
            Slot::Open(gpu) => return Ok(gpu.clone()),
            Slot::None(reason) => return Err(reason.clone()),
            Slot::Untried => {}
        }
        match Gpu::open_keeping(self.adapter.as_deref(), self.kernels.as_deref()) {
            Ok(gpu) => {
                let adapter = gpu.adapter();
                tracing::info!(adapter = adapter.name, driver = adapter.driver, "GPU is used");
                *slot = Slot::Open(gpu.clone());
                Ok(gpu)
            }
            Err(error) => {
                let reason = error.to_string();
                tracing::info!(reason, "computing on the CPU");
                *slot = Slot::None(reason.clone());
                Err(reason)
            }
        }
    }

    /// Makes sure that what is insisted on is there.
    ///
    /// # Errors
    /// Why a GPU that is insisted on cannot be had.
    pub fn check(&self) -> Result<(), String> {
        if self.choice == Choice::Gpu { self.gpu().map(drop) } else { Ok(()) }
    }

    /// The backend of one run over a record of so many samples a channel.
    pub fn for_run(self: &Arc<Self>, samples: u64) -> RunBackend {
        RunBackend { backends: self.clone(), samples, told: Arc::default() }
    }
}

/// What a result says of where it was computed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The adapter that summed something.
    pub adapter: Option<String>,
    /// Its driver.
    pub driver: Option<String>,
    /// Why the CPU summed something although it was not asked for.
    pub fallback_reason: Option<String>,
    /// The device failed in mid-run.
    pub is_failed: bool,
}

impl Told {
    /// `gpu`, or `cpu` where no sum, or not every one that was begun, was finished on a device.
    pub fn backend(&self) -> &'static str {
        if self.adapter.is_some() && !self.is_failed { "gpu" } else { "cpu" }
    }
}

/// The backend of one run: a device where it pays, the CPU otherwise and after a failure.
pub struct RunBackend {
    backends: Arc<Backends>,
    samples: u64,
    told: Arc<Mutex<Told>>,
}

impl RunBackend {
    /// What there is to say so far.
    pub fn told(&self) -> Told {
        self.lock().clone()
    }

    /// Logs what went over the bus, also as a multiple of the least (inputs and outputs once), and what each kernel took, since the
    /// device was opened.
    pub fn log_traffic(&self) {
        if let Slot::Open(gpu) = &*self.backends.slot() {
            let traffic = gpu.traffic();
            tracing::debug!(
                uploads_over_least = traffic.uploads_over_least(),
                readbacks_over_least = traffic.readbacks_over_least(),
                ?traffic,
                kernels = ?gpu.times(),
                "GPU"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device for a job of so many operations and uploaded bytes, or why not.
    fn device(&self, flops: f64, bytes: f64, unfit: impl Fn(&Gpu) -> Option<String>) -> Result<Arc<Gpu>, String> {
        if self.lock().is_failed {
            return Err("the device failed before".into());
        }
        let is_auto = self.backends.choice == Choice::Auto;
        let least = OPENING_S * CPU_FLOPS * rayon::current_num_threads() as f64;
        if is_auto && flops < least {
            return Err(format!("too small for a GPU: {flops:.0e} operations, it begins at {least:.0e}"));
        }
        let gpu = self.backends.gpu()?;
        if let Some(reason) = unfit(&gpu) {
            return Err(reason);
        }
        if is_auto {
            let (rates, peaks) = (gpu.rates(), gpu.peaks().map_err(|error| error.to_string())?);
            // Samples are read on the device, spectra written and read, eight times their bytes in all.
            let on_device = (flops / (REACHED * peaks.flops)).max(8.0 * bytes / peaks.copy_bytes);
            let on_gpu = rates.latency_s + bytes / rates.upload_bytes + on_device;
            let on_cpu = flops / Cpu.rate();
            if on_gpu > on_cpu {
                return Err(format!("the GPU would take {on_gpu:.1} s, the CPU {on_cpu:.1} s"));
            }
        }
        Ok(gpu)
    }

    fn took(&self, gpu: &Gpu) {
        let mut told = self.lock();
        told.adapter = Some(gpu.adapter().name.clone());
        told.driver = Some(gpu.adapter().driver.clone());
    }

    fn kept_off(&self, reason: String) {
        if self.backends.choice != Choice::Cpu {
            self.lock().fallback_reason.get_or_insert(reason);
        }
    }

    /// Tells of a failure, and lets the next run open the device anew.
    fn on_failure(&self) -> OnFailure {
        let (told, backends) = (self.told.clone(), self.backends.clone());
        Arc::new(move |error| {
            tracing::warn!(%error, "the GPU failed, the run goes on on the CPU");
            metrics::counter!("oma_gpu_failures_total").increment(1);
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.is_failed = true;
            told.fallback_reason = Some(error.to_string());
            *backends.slot() = Slot::Untried;
        })
    }

    fn start<T>(
        &self,
        gpu: Result<Arc<Gpu>, String>,
        make: impl FnOnce(&Arc<Gpu>) -> Result<T, DeviceError>,
    ) -> Option<T> {
        match gpu {
            Err(reason) => {
                self.kept_off(reason);
                None
            }
            Ok(gpu) => {
                self.took(&gpu);
                make(&gpu).map_err(|error| (self.on_failure())(&error)).ok()
            }
        }
    }
}

impl Backend for RunBackend {
    fn name(&self) -> &'static str {
        self.told().backend()
    }

    fn cross_spectra(&self, plan: &WelchPlan) -> Box<dyn CrossSpectra> {
        if self.backends.choice == Choice::Cpu {
            return Cpu.cross_spectra(plan);
        }
        let bytes = 4.0 * plan.channels as f64 * self.samples as f64;
        let gpu = self.device(plan.operations(self.samples), bytes, |gpu| welch_unfit(gpu, plan));
        match self.start(gpu, |gpu| Welch::new(gpu, plan)) {
            Some(sums) => Box::new(Spectra::new(sums, plan, self.on_failure())),
            None => Cpu.cross_spectra(plan),
        }
    }

    fn in_f64(&self, what: &str) -> Option<&dyn Backend> {
        self.kept_off(format!("{what} divides by its lag products, which only the CPU sums in f64 throughout"));
        Some(&Cpu)
    }

    fn lag_products(&self, plan: &LagPlan) -> Box<dyn LagAccumulator> {
        if self.backends.choice == Choice::Cpu {
            return Cpu.lag_products(plan);
        }
        let samples: u64 = plan.segments.iter().map(|segment| segment.samples).sum();
        let flops = samples as f64 * Form::cheapest(plan).flops(plan);
        let gpu = self.device(flops, 4.0 * (plan.channels as u64 * samples) as f64, |gpu| lags_unfit(gpu, plan));
        match self.start(gpu, |gpu| Lags::new(gpu, plan, Form::of(gpu, plan))) {
            Some(sums) => Box::new(LagSums::new(sums, plan, self.on_failure())),
            None => Cpu.lag_products(plan),
        }
    }
}
