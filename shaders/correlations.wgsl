// Correlations: the inverse real transform of summed cross-spectra, of which the first lags are kept.
//
// CPU twin  tests/it/support/twins.rs, correlations
// Formula   P(m) = (1/N) Σ_k S[k] exp(+2πi k m / N) over all N = 2·POINTS lines, S[N−k] = S*[k], by a complex transform of
//           half the length: Z[k] = (S[k] + S*[M−k]) + i exp(+2πi k/N) (S[k] − S*[M−k]), P(2m) + i P(2m+1) = z(m)/N.
//           The inverse transform is the forward one with real and imaginary parts exchanged before and after.
// Bindings  spectra    S, [line][pair], line = 0 .. POINTS
//           twiddles   see fft.wgsl
//           products   P, [pair][lag], lags of them; unit² of the channels
//           p          sizes, see layout.rs
// Workgroup ROWS pairs; grid ⌈pairs/ROWS⌉ × 1, in two dimensions beyond 65535.
// Sizes     those of fft.wgsl; lags ≤ 2·POINTS.
// Accuracy  1.3e-7 of the norm of P over all N lags.

struct CorrelationParams {
    pairs: u32,
    lags: u32,
    groups: u32,
    unused: u32,
}

@group(0) @binding(0) var<storage, read> spectra: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> products: array<f32>;
@group(0) @binding(3) var<uniform> p: CorrelationParams;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let at = lane_of(index);
    let pair = (group.y * p.groups + group.x) * ROWS + at.row;
    // A pair too many computes the last one again and stores nothing.
    let source = min(pair, p.pairs - 1u);
    var v: array<vec2<f32>, 8>;
    for (var k = 0u; k < 8u; k++) {
        let line = at.lane + k * LANES;
        let s = spectra[line * p.pairs + source];
        let o = spectra[(POINTS - line) * p.pairs + source];
        let c = vec2<f32>(o.x, -o.y);
        let w = twiddles[line];
        let turned = rotate(s - c, vec2<f32>(w.x, -w.y));
        let z = (s + c) + vec2<f32>(-turned.y, turned.x);
        v[k] = z.yx;
    }
    transform(&v, at);
    if pair < p.pairs {
        let scale = 1.0 / f32(2u * POINTS);
        for (var k = 0u; k < 8u; k++) {
            let lag = 2u * (at.lane + k * LANES);
            if lag < p.lags {
                products[pair * p.lags + lag] = v[k].y * scale;
            }
            if lag + 1u < p.lags {
                products[pair * p.lags + lag + 1u] = v[k].x * scale;
            }
        }
    }
}

override THREADS: u32;
