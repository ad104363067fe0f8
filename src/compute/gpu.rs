//! The GPU backend: the same sums as the CPU's, in WGSL by way of wgpu (Vulkan, Metal, DX12).
//!
//! Samples go up once, in f32, or as 16-bit integers where they are whole numbers; sums are formed in f32 in blocks and
//! come back seldom, to be added in f64 on the host; or they stay, and only answers to what is asked of them come back
//! (`resident`, `super::leading`). Where the device fails, the sums that are at home stay valid: [`Place`] says from where
//! the record has to be summed again, and `super::fallback` does so on the CPU.

mod bands;
mod clock;
mod device;
mod disk;
mod fault;
mod kernels;
mod lags;
pub mod layout;
mod peaks;
mod resident;
mod self_test;
mod traffic;
mod upload;
mod welch;

pub use clock::Times;
pub use device::DeviceError;
pub use fault::Fault;
pub use peaks::Peaks;
pub use self_test::Rates;
pub use traffic::Traffic;

pub(super) use lags::{Form, Lags, unfit as lags_unfit};
pub(super) use resident::Resident;
pub(super) use welch::{Welch, unfit as welch_unfit};

use super::Place;
use device::Device;
use kernels::Pipelines;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// What is known of an adapter before it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// As the driver names it.
    pub name: String,
    /// Driver and its version.
    pub driver: String,
    /// Vulkan, Metal or Dx12.
    pub api: String,
    /// `bus:device.function`, where the driver tells it.
    pub pci_bus_id: String,
    /// A software rasteriser: slower than the CPU backend, for tests.
    pub is_software: bool,
}

impl Adapter {
    fn of(info: &wgpu::AdapterInfo) -> Adapter {
        Adapter {
            name: info.name.clone(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            api: format!("{:?}", info.backend),
            pci_bus_id: info.device_pci_bus_id.clone(),
            is_software: info.device_type == wgpu::DeviceType::Cpu,
        }
    }

    /// Whether it is meant by a part of its name or by its PCI bus id, upper and lower case alike.
    pub fn is_named(&self, wanted: &str) -> bool {
        let wanted = wanted.to_lowercase();
        self.name.to_lowercase().contains(&wanted) || self.pci_bus_id.eq_ignore_ascii_case(&wanted)
    }
}

fn enumerate() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    let instance = wgpu::Instance::new(descriptor);
    let mut found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    // The fastest kind first; of equals the driver's order stays.
    found.sort_by_key(|adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    found
}

/// Every adapter of the machine, the fastest kind first.
pub fn adapters() -> Vec<Adapter> {
    enumerate().iter().map(|adapter| Adapter::of(&adapter.get_info())).collect()
}

/// An opened adapter whose shaders gave right answers.
#[derive(Debug)]
pub struct Gpu {
    adapter: Adapter,
    rates: OnceLock<Rates>,
    peaks: OnceLock<Result<Peaks, DeviceError>>,
    device: Device,
    pipelines: Pipelines,
}

impl Gpu {
    /// Opens the adapter of that name or PCI bus id, or the first real GPU, and puts it to the test.
    ///
    /// # Errors
    /// [`DeviceError`], with what there is instead.
    pub fn open(wanted: Option<&str>) -> Result<Arc<Gpu>, DeviceError> {
        Gpu::open_keeping(wanted, None)
    }

    /// The same, with compiled kernels kept in a folder for the next process, where the driver can do so.
    ///
    /// # Errors
    /// As [`Gpu::open`]; nothing that is wrong with the folder is one.
    pub fn open_keeping(wanted: Option<&str>, kernels: Option<&Path>) -> Result<Arc<Gpu>, DeviceError> {
        let found = enumerate();
        let is_wanted = |adapter: &Adapter| match wanted {
            Some(name) => adapter.is_named(name),
            None => !adapter.is_software,
        };
        let chosen = found.iter().find(|adapter| is_wanted(&Adapter::of(&adapter.get_info())));
        let Some(chosen) = chosen else {
            let names: Vec<_> = found.iter().map(|adapter| adapter.get_info().name).collect();
            return Err(DeviceError::NoAdapter(match (names.is_empty(), wanted) {
                (true, _) => "no GPU: no driver for Vulkan, Metal or DX12 was found".into(),
                (false, None) => {
                    let names = names.join(", ");
                    format!("no GPU: only software ({names}), which is taken only when OMA_GPU_ADAPTER names it")
                }
                (false, Some(wanted)) => {
                    format!("no adapter is named {wanted:?} (OMA_GPU_ADAPTER); there are {}", names.join(", "))
                }
            }));
        };
        let device = Device::open(chosen, kernels)?;
        let gpu = Gpu {
            adapter: Adapter::of(&chosen.get_info()),
            rates: OnceLock::new(),
            peaks: OnceLock::new(),
            device,
            pipelines: Pipelines::default(),
        };
        let gpu = Arc::new(gpu);
        self_test::run(&gpu)?;
        let rates = self_test::measure(&gpu)?;
        gpu.rates.get_or_init(|| rates);
        gpu.save();
        gpu.device.counters.restart();
        gpu.time_kernels(tracing::enabled!(tracing::Level::DEBUG));
        Ok(gpu)
    }

    /// The adapter.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// What it was measured to do; zero while it is tested.
    pub fn rates(&self) -> Rates {
        self.rates.get().copied().unwrap_or_default()
    }

    /// What it can do at most; measured when first asked for, in about a tenth of a second.
    ///
    /// # Errors
    /// [`DeviceError`] of the measurement.
    pub fn peaks(&self) -> Result<Peaks, DeviceError> {
        self.peaks.get_or_init(|| peaks::measure(self)).clone()
    }

    /// Times every kernel from now on, or no longer; meanwhile every submission is waited for. Nothing is timed where the
    /// adapter has no clock.
    pub fn time_kernels(&self, is_on: bool) {
        self.device.clock.switch(is_on);
    }

    /// Times of kernels while they were timed.
    pub fn times(&self) -> Times {
        self.device.clock.so_far()
    }

    /// Keeps compiled kernels for the next process.
    fn save(&self) {
        self.device.disk.iter().for_each(disk::Disk::save);
    }

    /// Traffic since its self-test.
    pub fn traffic(&self) -> Traffic {
        self.device.counters.so_far()
    }

    /// Lets no buffer be larger than so many bytes. For tests.
    pub fn limit_buffers(&self, bytes: u64) {
        self.device.limit_buffers(bytes);
    }

    /// Makes the device fail: `after` more occasions of that kind go well. For tests.
    pub fn inject(&self, fault: Fault, after: u64) {
        self.device.faults.arm(fault, after);
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        self.save();
    }
}
