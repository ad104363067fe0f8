// Peak rates: what an adapter can copy, and multiply and add, at most; the other kernels' times are held to that.
//
// CPU twin  tests/it/support/twins.rs, peak_rates
// Formula   y ← y/2 + 1, `steps` times from y = index + chain, in eight chains of four a thread, of which the sum is stored:
//           16 each after 160 steps from anywhere (entry point main); copies = numbers (entry point copy).
// Bindings  numbers  any
//           copies   those, or one sum of each component of eight vec4 a thread
//           p        sizes, see layout.rs
// Workgroup THREADS vec4 of `copies`; grid over them, in two dimensions beyond 65535.
// Sizes     any.
// Accuracy  exact.

struct PeakParams {
    numbers: u32,
    steps: u32,
    groups: u32,
}

const THREADS: u32 = 256u;

@group(0) @binding(0) var<storage, read> numbers: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> copies: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> p: PeakParams;

@compute @workgroup_size(THREADS)
fn copy(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let at = (group.y * p.groups + group.x) * THREADS + index;
    if at < p.numbers {
        copies[at] = numbers[at];
    }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let at = (group.y * p.groups + group.x) * THREADS + index;
    let halved = vec4<f32>(0.5);
    let one = vec4<f32>(1.0);
    var y0 = vec4<f32>(f32(at));
    var y1 = y0 + one;
    var y2 = y1 + one;
    var y3 = y2 + one;
    var y4 = y3 + one;
    var y5 = y4 + one;
    var y6 = y5 + one;
    var y7 = y6 + one;
    for (var k = 0u; k < p.steps; k++) {
        y0 = y0 * halved + one;
        y1 = y1 * halved + one;
        y2 = y2 * halved + one;
        y3 = y3 * halved + one;
        y4 = y4 * halved + one;
        y5 = y5 * halved + one;
        y6 = y6 * halved + one;
        y7 = y7 * halved + one;
    }
    if at < p.numbers {
        copies[at] = ((y0 + y1) + (y2 + y3)) + ((y4 + y5) + (y6 + y7));
    }
}
