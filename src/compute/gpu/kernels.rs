//! Pipelines, made once, and one function for each kernel that records its dispatch.

use super::Gpu;
use super::clock::Stamps;
use super::device::{Buffer, DeviceError, Ticket, Use};
use super::disk::Disk;
use super::layout::{
    self, CorrelationParams, CrossParams, LagParams, PeakParams, ProductParams, SegmentParams, Shader, Tile,
    TotalParams, Transform,
};
use std::collections::HashMap;
use std::f64::consts::PI;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

/// Most workgroups in one dimension: the least that every adapter has.
const MOST_GROUPS: usize = 65535;

/// Shader, entry point, shape of the workgroup.
type Key = (&'static str, &'static str, usize, usize);

/// Compiled kernels of a device.
#[derive(Debug, Default)]
pub(super) struct Pipelines(Mutex<HashMap<Key, wgpu::ComputePipeline>>);

/// Twiddles exp(−2πi k/N), k = 0 .. N − 1, computed in f64.
pub(super) fn twiddles(length: usize) -> Vec<f32> {
    let angle = |k: usize| -2.0 * PI * k as f64 / length as f64;
    (0..length).flat_map(|k| [angle(k).cos() as f32, angle(k).sin() as f32]).collect()
}

/// Commands of one submission, and the buffers that must live until it is through.
pub(super) struct Commands<'a> {
    gpu: &'a Gpu,
    encoder: wgpu::CommandEncoder,
    stamps: Option<Stamps>,
    held: Vec<Buffer>,
}

/// Which spectra are multiplied.
pub(super) struct Sides<'a> {
    pub(super) left: (&'a Buffer, usize),
    pub(super) right: (&'a Buffer, usize),
    /// Only j ≤ i.
    pub(super) is_lower: bool,
}

impl Sides<'_> {
    pub(super) fn pairs(&self) -> usize {
        let (rows, columns) = (self.left.1, self.right.1);
        if self.is_lower { rows * (rows + 1) / 2 } else { rows * columns }
    }
}

/// Tiles of a matrix of pairs that are computed.
pub(super) fn tiles(tile: Tile, rows: usize, columns: usize, is_lower: bool) -> Vec<u32> {
    let count = |n: usize| n.div_ceil(tile.channels());
    let column = move |i: usize| (0..if is_lower { i + 1 } else { count(columns) }).map(move |j| [i as u32, j as u32]);
    (0..count(rows)).flat_map(column).flatten().collect()
}

/// Seconds that one dispatch of lines may take, so that it stays far below the watchdogs of desktops, at
/// the measured rate.
const DISPATCH_SECONDS: f64 = 0.05;

impl<'a> Commands<'a> {
    pub(super) fn new(gpu: &'a Gpu) -> Commands<'a> {
        Commands { gpu, encoder: gpu.device.encoder(), stamps: gpu.device.stamps(), held: Vec::new() }
    }

    pub(super) fn hold(&mut self, buffer: Buffer) {
        self.held.push(buffer);
    }

    pub(super) fn copy(&mut self, from: &Buffer, to: &Buffer, bytes: u64) {
        self.copy_from((from, 0), to, bytes);
    }

    /// From so many bytes behind the beginning on.
    pub(super) fn copy_from(&mut self, (from, at): (&Buffer, u64), to: &Buffer, bytes: u64) {
        self.encoder.copy_buffer_to_buffer(from.raw(), at, to.raw(), 0, bytes);
    }

    /// Hands the commands over; the buffers stay with the caller until it has waited.
    pub(super) fn submit(self) -> Result<(Ticket, Vec<Buffer>), DeviceError> {
        Ok((send(self.gpu, self.encoder, self.stamps)?, self.held))
    }

    fn pipeline(
        &self,
        shader: Shader,
        entry: &'static str,
        shape: (usize, usize),
        constants: &[(&str, f64)],
    ) -> Result<wgpu::ComputePipeline, DeviceError> {
        let mut made = self.gpu.pipelines.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (shader.name, entry, shape.0, shape.1);
        if let Some(pipeline) = made.get(&key) {
            return Ok(pipeline.clone());
        }
        let pipeline = self.gpu.device.scoped(shader.name, |device| {
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(shader.name),
                source: wgpu::ShaderSource::Wgsl(shader.source.into()),
            });
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(shader.name),
                layout: None,
                module: &module,
                entry_point: Some(entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants,
                    // Every kernel writes its workgroup memory before it reads it; zeroing costs seconds on SwiftShader.
                    zero_initialize_workgroup_memory: false,
                },
                cache: self.gpu.device.disk.as_ref().map(Disk::cache),
            })
        })?;
        made.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    fn dispatch(
        &mut self,
        what: &'static str,
        pipeline: &wgpu::ComputePipeline,
        buffers: &[(u32, &Buffer)],
        uniform: (u32, &[u8]),
        groups: [usize; 3],
    ) -> Result<(), DeviceError> {
        let sizes = self.gpu.device.filled(Use::Uniform, "sizes", uniform.1)?;
        let all = buffers.iter().copied().chain([(uniform.0, &sizes)]);
        // A buffer of the arena may be larger than the data, never than the limit of a binding.
        let entry =
            |(binding, buffer)| wgpu::BindGroupEntry { binding, resource: Buffer::raw(buffer).as_entire_binding() };
        let entries: Vec<_> = all.map(entry).collect();
        let (encoder, stamps) = (&mut self.encoder, &mut self.stamps);
        self.gpu.device.scoped(what, |device| {
            let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(what),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &entries,
            });
            let timestamp_writes = stamps.as_mut().and_then(|stamps| stamps.next(what));
            let mut pass =
                encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some(what), timestamp_writes });
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, &group, &[]);
            let [x, y, z] = groups.map(|count| count as u32);
            pass.dispatch_workgroups(x, y, z);
        })?;
        self.gpu.device.counters.dispatches.fetch_add(1, Ordering::Relaxed);
        self.hold(sizes);
        Ok(())
    }

    /// Spectra of `stretches` of the rows that `channels` lists.
    pub(super) fn segment_spectra(
        &mut self,
        shape: Transform,
        [samples, twiddles, window, stretches, channels, spectra]: [&Buffer; 6],
        params: SegmentParams,
    ) -> Result<(), DeviceError> {
        let key = (shape.points, shape.rows);
        let pipeline = self.pipeline(layout::SEGMENT_SPECTRA, "main", key, &shape.constants())?;
        let buffers = [(0, samples), (1, twiddles), (2, window), (3, stretches), (4, channels), (5, spectra)];
        let groups = [(params.rows as usize).div_ceil(shape.rows), params.stretches as usize, 1];
        let uniform = (6, bytemuck::bytes_of(&params));
        self.dispatch(layout::SEGMENT_SPECTRA.name, &pipeline, &buffers, uniform, groups)
    }

    /// Products of the spectra of both sides at `lines`, over `stretches`; `sums` has these lines.
    pub(super) fn cross_spectra(
        &mut self,
        sides: &Sides<'_>,
        sums: &Buffer,
        tile_list: (Tile, &Buffer, usize),
        (lines, stretches): (Range<usize>, usize),
        is_start: bool,
    ) -> Result<(), DeviceError> {
        let (tile, list, tile_count) = tile_list;
        let pipeline = self.pipeline(layout::CROSS_SPECTRA, "main", (tile.side, 0), &tile.constants())?;
        let width = |rows: usize| (rows.next_multiple_of(layout::PAD) / 2) as u32;
        // Complex multiply-adds are eight operations.
        let band = self.band((8 * tile_count * tile.channels().pow(2) * stretches) as f64, lines.len());
        for first_line in lines.clone().step_by(band) {
            let start = if is_start { layout::START } else { 0 };
            let lower = if sides.is_lower { layout::LOWER } else { 0 };
            let params = CrossParams {
                stretches: stretches as u32,
                left_width: width(sides.left.1),
                right_width: width(sides.right.1),
                rows: sides.left.1 as u32,
                columns: sides.right.1 as u32,
                first_line: first_line as u32,
                base_line: lines.start as u32,
                pairs: sides.pairs() as u32,
                flags: start | lower,
            };
            let buffers = [(0, sides.left.0), (1, sides.right.0), (2, sums), (3, list)];
            let groups = [tile_count, band.min(lines.end - first_line), 1];
            let uniform = (4, bytemuck::bytes_of(&params));
            self.dispatch(layout::CROSS_SPECTRA.name, &pipeline, &buffers, uniform, groups)?;
            if first_line + band < lines.end {
                self.cut()?;
            }
        }
        Ok(())
    }

    /// Lines of one dispatch, of so many operations each.
    fn band(&self, line_flops: f64, lines: usize) -> usize {
        let rate = self.gpu.rates().flops;
        let band = ((DISPATCH_SECONDS * rate / line_flops) as usize).clamp(1, MOST_GROUPS);
        // Before the rate is known the jobs are small.
        if rate == 0.0 { MOST_GROUPS } else { band.max(lines.div_ceil(MOST_BANDS)).min(MOST_GROUPS) }
    }

    /// Ends a submission within the commands, so that none takes long.
    fn cut(&mut self) -> Result<(), DeviceError> {
        let encoder = std::mem::replace(&mut self.encoder, self.gpu.device.encoder());
        let stamps = std::mem::replace(&mut self.stamps, self.gpu.device.stamps());
        let ticket = send(self.gpu, encoder, stamps)?;
        self.gpu.device.wait(&ticket)
    }

    /// One of the two kernels of [`super::peaks`]; `params.groups` is set here.
    pub(super) fn peak_rates(
        &mut self,
        [from, to]: [&Buffer; 2],
        params: PeakParams,
        is_copy: bool,
    ) -> Result<(), DeviceError> {
        let pipeline = self.pipeline(layout::PEAK_RATES, if is_copy { "copy" } else { "main" }, (0, 0), &[])?;
        let groups = (params.numbers as usize).div_ceil(layout::PEAK_THREADS);
        let x = groups.min(MOST_GROUPS);
        let params = PeakParams { groups: x as u32, ..params };
        let uniform = (2, bytemuck::bytes_of(&params));
        let grid = [x, groups.div_ceil(x), 1];
        let buffers = [(1, to), (0, from)];
        let buffers = if is_copy { &buffers[..] } else { &buffers[..1] };
        self.dispatch(layout::PEAK_RATES.name, &pipeline, buffers, uniform, grid)
    }

    /// Correlations from summed products of spectra.
    pub(super) fn correlations(
        &mut self,
        shape: Transform,
        [spectra, twiddles, products]: [&Buffer; 3],
        (pairs, lags): (usize, usize),
    ) -> Result<(), DeviceError> {
        let pipeline = self.pipeline(layout::CORRELATIONS, "main", (shape.points, shape.rows), &shape.constants())?;
        let groups = pairs.div_ceil(shape.rows);
        let x = groups.min(MOST_GROUPS);
        let params = CorrelationParams { pairs: pairs as u32, lags: lags as u32, groups: x as u32, unused: 0 };
        let buffers = [(0, spectra), (1, twiddles), (2, products)];
        let uniform = (3, bytemuck::bytes_of(&params));
        self.dispatch(layout::CORRELATIONS.name, &pipeline, &buffers, uniform, [x, groups.div_ceil(x), 1])
    }

    /// Products of the matrices of `count` listed lines with vectors; `params.first` is set here.
    pub(super) fn hermitian_products(
        &mut self,
        [sums, lines, vectors, products]: [&Buffer; 4],
        params: ProductParams,
        count: usize,
    ) -> Result<(), DeviceError> {
        let pipeline = self.pipeline(layout::HERMITIAN_PRODUCTS, "main", (0, 0), &[])?;
        let tiles = (params.rows as usize).div_ceil(layout::PRODUCT_TILE);
        let padded = tiles * layout::PRODUCT_TILE;
        let band = self.band((8 * padded * padded * layout::PRODUCT_VECTORS) as f64, count);
        let buffers = [(0, sums), (1, lines), (2, vectors), (3, products)];
        for first in (0..count).step_by(band) {
            let params = ProductParams { first: first as u32, ..params };
            let uniform = (4, bytemuck::bytes_of(&params));
            let groups = [tiles, band.min(count - first), 1];
            self.dispatch(layout::HERMITIAN_PRODUCTS.name, &pipeline, &buffers, uniform, groups)?;
            if first + band < count {
                self.cut()?;
            }
        }
        Ok(())
    }

    /// An entry point of `line_totals`: the total of the sums' real parts over lines (`main`), the diagonals of the lines
    /// (`diagonals`), or the sums added to others (`gather`); `params.groups` is set here.
    pub(super) fn line_totals(
        &mut self,
        [sums, totals]: [&Buffer; 2],
        params: TotalParams,
        entry: &'static str,
    ) -> Result<(), DeviceError> {
        let pipeline = self.pipeline(layout::LINE_TOTALS, entry, (0, 0), &[])?;
        let numbers = match entry {
            "main" => params.pairs,
            "diagonals" => params.lines * params.rows,
            _ => params.lines * params.pairs,
        } as usize;
        let groups = numbers.div_ceil(layout::TOTAL_THREADS);
        let x = groups.min(MOST_GROUPS);
        let params = TotalParams { groups: x as u32, ..params };
        let uniform = (2, bytemuck::bytes_of(&params));
        let grid = [x, groups.div_ceil(x), 1];
        self.dispatch(layout::LINE_TOTALS.name, &pipeline, &[(0, sums), (1, totals)], uniform, grid)
    }

    /// Lag products of `slabs`, added to `products`.
    pub(super) fn lag_products(
        &mut self,
        [samples, slabs, references, partials, products]: [&Buffer; 5],
        params: LagParams,
    ) -> Result<(), DeviceError> {
        let (channels, lags, factors) = (params.channels as usize, params.lags as usize, params.references as usize);
        let main = self.pipeline(layout::LAG_PRODUCTS, "main", (0, 0), &[])?;
        let gather = self.pipeline(layout::LAG_PRODUCTS, "gather", (0, 0), &[])?;
        let groups = [
            channels.div_ceil(layout::CHANNEL_TILE),
            lags.div_ceil(layout::LAG_TILE) * factors.div_ceil(layout::REFERENCE_TILE),
            params.slabs as usize,
        ];
        let inputs = [(0, samples), (1, slabs), (2, references), (3, partials)];
        let uniform = (5, bytemuck::bytes_of(&params));
        self.dispatch("lag_products", &main, &inputs, uniform, groups)?;
        let threads = (channels * factors * lags).div_ceil(layout::LAG_THREADS);
        let x = threads.min(MOST_GROUPS);
        let outputs = [(3, partials), (4, products)];
        self.dispatch("lag_products", &gather, &outputs, uniform, [x, threads.div_ceil(x), 1])
    }
}

fn send(gpu: &Gpu, encoder: wgpu::CommandEncoder, stamps: Option<Stamps>) -> Result<Ticket, DeviceError> {
    match stamps {
        Some(stamps) => stamps.submit(&gpu.device, encoder),
        None => gpu.device.submit(encoder),
    }
}

/// Pieces at most into which the lines of one job are cut, so that the number of submissions stays bounded on a device
/// that is slow beyond measure.
const MOST_BANDS: usize = 8;
