// Segment spectra: load, centre, window, real transform, store; one read and one write of each segment.
//
// CPU twin  tests/it/support/twins.rs, segment_spectra
// Formula   X[k] = Σ_t w(t) (x(t) − x̄) exp(−2πi k t / N), k = 0 .. N/2, N = 2·POINTS, by a complex transform of half the
//           length: z(m) = y(2m) + i y(2m+1), X[k] = (Z[k] + Z*[M−k])/2 − i/2 exp(−2πi k/N) (Z[k] − Z*[M−k]).
//           A stretch shorter than N counts as followed by zeros.
// Bindings  samples    channel-major, f32 bits or two 16-bit integers a word, unit of the channel
//           twiddles   see fft.wgsl
//           window     w(t), t = 0 .. N − 1
//           stretches  first sample of each stretch in a channel of `samples`, and its samples, at most N
//           channels   row of `samples` for each row of the output
//           spectra    X, [line][stretch][row], rows padded to a multiple of 4; padding is left as it was
//           p          sizes, see layout.rs
// Workgroup ROWS channels of one stretch; grid ⌈rows/ROWS⌉ × stretches.
// Sizes     those of fft.wgsl.
// Accuracy  relative L2 error 2e-7. The mean is taken out in three steps, each exact or of the size of what is left (a
//           sample of the stretch, then twice the mean), so that an offset of 1e6 leaves no trace.

struct SegmentParams {
    stride: u32,
    rows: u32,
    padded: u32,
    stretches: u32,
    packed: u32,
    centre: u32,
    unused_a: u32,
    unused_b: u32,
}

@group(0) @binding(0) var<storage, read> samples: array<u32>;
@group(0) @binding(2) var<storage, read> window: array<f32>;
@group(0) @binding(3) var<storage, read> stretches: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> channels: array<u32>;
@group(0) @binding(5) var<storage, read_write> spectra: array<vec2<f32>>;
@group(0) @binding(6) var<uniform> p: SegmentParams;

fn sample(at: u32) -> f32 {
    if p.packed == 1u {
        let shift = 16u * (1u - (at & 1u));
        return f32(bitcast<i32>(samples[at >> 1u] << shift) >> 16u);
    }
    return bitcast<f32>(samples[at]);
}

/// Sum over the threads of a row.
fn row_sum(value: f32, at: Lane) -> f32 {
    exchange[at.lane * ROWS + at.row] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half = half / 2u) {
        if at.lane < half {
            exchange[at.lane * ROWS + at.row] += exchange[(at.lane + half) * ROWS + at.row];
        }
        workgroupBarrier();
    }
    let sum = exchange[at.row];
    workgroupBarrier();
    return sum;
}

fn lane_sum(v: array<vec2<f32>, 8>) -> f32 {
    let s = ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
    return s.x + s.y;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let at = lane_of(index);
    let row = group.x * ROWS + at.row;
    let stretch = stretches[group.y];
    // A row too many computes the last one again and stores nothing.
    let first = channels[min(row, p.rows - 1u)] * p.stride + stretch.x;
    let count = stretch.y;
    var pivot = 0.0;
    if p.centre == 1u {
        pivot = sample(first + count / 2u);
    }
    var v: array<vec2<f32>, 8>;
    for (var k = 0u; k < 8u; k++) {
        let t = 2u * (at.lane + k * LANES);
        var y = vec2<f32>(0.0, 0.0);
        if t < count {
            y.x = sample(first + t) - pivot;
        }
        if t + 1u < count {
            y.y = sample(first + t + 1u) - pivot;
        }
        v[k] = y;
    }
    if p.centre == 1u {
        for (var again = 0u; again < 2u; again++) {
            let mean = row_sum(lane_sum(v), at) / f32(2u * POINTS);
            for (var k = 0u; k < 8u; k++) {
                v[k] -= vec2<f32>(mean, mean);
            }
        }
    }
    for (var k = 0u; k < 8u; k++) {
        let t = 2u * (at.lane + k * LANES);
        v[k] *= vec2<f32>(window[t], window[t + 1u]);
    }
    transform(&v, at);
    let other = mirrored(v, at);
    if row < p.rows {
        for (var k = 0u; k < 8u; k++) {
            let line = at.lane + k * LANES;
            let z = v[k];
            let c = vec2<f32>(other[k].x, -other[k].y);
            let even = 0.5 * (z + c);
            let odd = 0.5 * (z - c);
            let x = even + rotate(vec2<f32>(odd.y, -odd.x), twiddles[line]);
            spectra[(line * p.stretches + group.y) * p.padded + row] = x;
        }
        if at.lane == 0u {
            spectra[(POINTS * p.stretches + group.y) * p.padded + row] = vec2<f32>(v[0].x - v[0].y, 0.0);
        }
    }
}

override THREADS: u32;
