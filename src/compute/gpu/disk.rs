//! Compiled kernels on disk, where Vulkan allows: the next process need not compile them again.
//!
//! One file for each kind of device. Whatever is wrong with it, the kernels are compiled, and nothing fails.

use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Bytes of the digest before the driver's own.
const DIGEST: usize = 32;

/// Largest file that is read: the kernels of a process take below 1 MiB.
const LARGEST: u64 = 64 << 20;

/// The pipeline cache of a device, and its file.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    cache: wgpu::PipelineCache,
    /// Digest of what the file holds.
    held: Mutex<Option<Vec<u8>>>,
}

impl Disk {
    /// What is needed of the device, if it can have one.
    pub(super) const FEATURE: wgpu::Features = wgpu::Features::PIPELINE_CACHE;

    /// The cache of that adapter, filled from its file in `folder`; `None` where there can be none.
    pub(super) fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo, folder: &Path) -> Option<Disk> {
        let name = wgpu::util::pipeline_cache_key(info)?;
        if !device.features().contains(Disk::FEATURE) {
            return None;
        }
        let path = folder.join(name);
        let data = read(&path);
        let descriptor =
            wgpu::PipelineCacheDescriptor { label: Some("oma-worker"), data: data.as_deref(), fallback: true };
        #[expect(
            unsafe_code,
            reason = "the data came from `get_data`: its digest says so, and wgpu compares device and driver"
        )]
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Disk { path, cache, held: Mutex::new(data.map(|data| Sha256::digest(data).to_vec())) })
    }

    pub(super) fn cache(&self) -> &wgpu::PipelineCache {
        &self.cache
    }

    /// Writes what there is by now, if that is something new.
    pub(super) fn save(&self) {
        let Some(data) = self.cache.get_data() else { return };
        let digest = Some(Sha256::digest(&data).to_vec());
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if *held == digest {
            return;
        }
        *held = digest;
        if let Err(error) = write(&self.path, &data) {
            tracing::debug!(path = %self.path.display(), %error, "compiled GPU kernels are not kept");
        }
    }
}

/// The driver's bytes; `None` if the file is missing, too long, cut short or altered.
fn read(path: &Path) -> Option<Vec<u8>> {
    if std::fs::metadata(path).ok()?.len() > LARGEST {
        return None;
    }
    let mut bytes = std::fs::read(path).ok()?;
    let data = (bytes.len() >= DIGEST).then(|| bytes.split_off(DIGEST))?;
    (Sha256::digest(&data)[..] == bytes[..]).then_some(data)
}

/// Another process may read or write the same: the file is complete before it has its name.
fn write(path: &Path, data: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&Sha256::digest(data))?;
    file.write_all(data)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_what_was_written_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below").join("kernels");
        assert_eq!(read(&path), None);
        write(&path, b"compiled").unwrap();
        assert_eq!(read(&path).as_deref(), Some(&b"compiled"[..]));
        write(&path, b"").unwrap();
        assert_eq!(read(&path).as_deref(), Some(&b""[..]));
        for bytes in [&b"short"[..], &[7; 40]] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path), None);
        }
    }
}
