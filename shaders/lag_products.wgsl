// Lag products, direct: every channel with a few references at every lag. The block Hankel matrix that these fill is
// never stored: each of its blocks is one of the products.
//
// CPU twin  tests/it/support/twins.rs, lag_products
// Formula   P_ij(m) (+)= Σ_t y_i(t + m) r_j(t) over the reference samples t of each slab, where t + m is below the slab's
//           responses.
// Bindings  samples     channel-major, f32 bits or two 16-bit integers a word, unit of the channel
//           slabs       first sample, reference samples, response samples, unused
//           references  row of `samples` of each reference
//           partials    [slab][channel · references + reference][lag]
//           products    P, [channel · references + reference][lag]
//           p           sizes, see layout.rs
// Workgroup `main`: 8 channels × 32 lags × 4 references of one slab; 64 threads with one channel, 4 lags and 4 references
//           each; TIME samples at a time in workgroup memory, of which a thread slides over its window in registers.
//           Grid: ⌈channels/8⌉ × ⌈lags/32⌉·⌈references/4⌉ × slabs. `gather`: one thread a product, sums over the slabs.
// Accuracy  f32 sums of 256 terms, of the tiles of a slab, of the slabs of a dispatch, of at most 64 dispatches: 1e-7 of
//           √(P_ii(0) P_jj(0)); then the sums go home and are added in f64.

struct LagParams {
    stride: u32,
    channels: u32,
    references: u32,
    lags: u32,
    slabs: u32,
    packed: u32,
    start: u32,
    lag_groups: u32,
}

const CHANNELS: u32 = 8u;
const LAGS: u32 = 32u;
const REFERENCES: u32 = 4u;
const TIME: u32 = 256u;
const QUARTER: u32 = TIME / 4u;
const WINDOW: u32 = QUARTER + LAGS / 4u;
const THREADS: u32 = CHANNELS * LAGS / 4u;

@group(0) @binding(0) var<storage, read> samples: array<u32>;
@group(0) @binding(1) var<storage, read> slabs: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> references: array<u32>;
@group(0) @binding(3) var<storage, read_write> partials: array<f32>;
@group(0) @binding(4) var<storage, read_write> products: array<f32>;
@group(0) @binding(5) var<uniform> p: LagParams;

/// Four samples in a row each.
var<workgroup> responses: array<vec4<f32>, CHANNELS * WINDOW>;
var<workgroup> factors: array<vec4<f32>, REFERENCES * QUARTER>;

fn sample(at: u32) -> f32 {
    if p.packed == 1u {
        let shift = 16u * (1u - (at & 1u));
        return f32(bitcast<i32>(samples[at >> 1u] << shift) >> 16u);
    }
    return bitcast<f32>(samples[at]);
}

/// Samples `t` to `t` + 3 after `first`; zero from `count` on.
fn four(first: u32, t: u32, count: u32) -> vec4<f32> {
    var y = vec4<f32>(0.0);
    if t < count {
        y.x = sample(first + t);
    }
    if t + 1u < count {
        y.y = sample(first + t + 1u);
    }
    if t + 2u < count {
        y.z = sample(first + t + 2u);
    }
    if t + 3u < count {
        y.w = sample(first + t + 3u);
    }
    return y;
}

/// Σ over four samples of the factor, for four lags; `a`, `b`: the response's eight samples from the first lag on.
fn slide(r: vec4<f32>, a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return (r.x * a + r.y * vec4<f32>(a.yzw, b.x)) + (r.z * vec4<f32>(a.zw, b.xy) + r.w * vec4<f32>(a.w, b.xyz));
}

fn store(slab: u32, channel: u32, reference: u32, lag: u32, value: vec4<f32>) {
    if channel >= p.channels || reference >= p.references {
        return;
    }
    let at = ((slab * p.channels + channel) * p.references + reference) * p.lags;
    if lag < p.lags {
        partials[at + lag] = value.x;
    }
    if lag + 1u < p.lags {
        partials[at + lag + 1u] = value.y;
    }
    if lag + 2u < p.lags {
        partials[at + lag + 2u] = value.z;
    }
    if lag + 3u < p.lags {
        partials[at + lag + 3u] = value.w;
    }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let slab = slabs[group.z];
    let first_channel = group.x * CHANNELS;
    let first_lag = (group.y % p.lag_groups) * LAGS;
    let first_reference = (group.y / p.lag_groups) * REFERENCES;
    let own_channel = index / (LAGS / 4u);
    let own_lags = index % (LAGS / 4u);
    var total0 = vec4<f32>(0.0);
    var total1 = vec4<f32>(0.0);
    var total2 = vec4<f32>(0.0);
    var total3 = vec4<f32>(0.0);
    for (var t0 = 0u; t0 < slab.y; t0 += TIME) {
        // Channels and references too many repeat the last one and store nothing.
        for (var item = index; item < CHANNELS * WINDOW; item += THREADS) {
            let channel = min(first_channel + item / WINDOW, p.channels - 1u);
            responses[item] = four(channel * p.stride + slab.x, t0 + first_lag + 4u * (item % WINDOW), slab.z);
        }
        for (var item = index; item < REFERENCES * QUARTER; item += THREADS) {
            let reference = references[min(first_reference + item / QUARTER, p.references - 1u)];
            factors[item] = four(reference * p.stride + slab.x, t0 + 4u * (item % QUARTER), slab.y);
        }
        workgroupBarrier();
        var sum0 = vec4<f32>(0.0);
        var sum1 = vec4<f32>(0.0);
        var sum2 = vec4<f32>(0.0);
        var sum3 = vec4<f32>(0.0);
        let window = own_channel * WINDOW + own_lags;
        var a = responses[window];
        for (var q = 0u; q < QUARTER; q++) {
            let b = responses[window + q + 1u];
            sum0 += slide(factors[q], a, b);
            sum1 += slide(factors[QUARTER + q], a, b);
            sum2 += slide(factors[2u * QUARTER + q], a, b);
            sum3 += slide(factors[3u * QUARTER + q], a, b);
            a = b;
        }
        total0 += sum0;
        total1 += sum1;
        total2 += sum2;
        total3 += sum3;
        workgroupBarrier();
    }
    let channel = first_channel + own_channel;
    let lag = first_lag + 4u * own_lags;
    store(group.z, channel, first_reference, lag, total0);
    store(group.z, channel, first_reference + 1u, lag, total1);
    store(group.z, channel, first_reference + 2u, lag, total2);
    store(group.z, channel, first_reference + 3u, lag, total3);
}

@compute @workgroup_size(THREADS)
fn gather(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32,
          @builtin(num_workgroups) groups: vec3<u32>) {
    let size = p.channels * p.references * p.lags;
    let at = (group.y * groups.x + group.x) * THREADS + index;
    if at >= size {
        return;
    }
    var sum = 0.0;
    for (var slab = 0u; slab < p.slabs; slab++) {
        sum += partials[slab * size + at];
    }
    if p.start == 1u {
        products[at] = sum;
    } else {
        products[at] += sum;
    }
}
