// Line totals: what is asked of the spectral sums besides products: their diagonals, and their real parts over lines.
//
// CPU twin  tests/it/support/twins.rs, line_totals
// Formula   T_ij = Σ_k c_k Re S_ij(k) with c_k = 1, except 1/2 at 0 Hz and Nyquist (entry point main);
//           D_i(k) = S_ii(k) (entry point diagonals); S'_ij(k) ← S'_ij(k) + S_ij(k) (entry point gather).
// Bindings  sums    S, [line][pair], packed lower triangles as cross_spectra leaves them
//           totals  T, [pair], or D, [line][row], or S', as S, re and im in turn; unit² of the channels
//           p       sizes, see layout.rs
// Workgroup THREADS numbers of the output, one a thread; grid over them, in two dimensions beyond 65535.
// Sizes     lines ≤ 8193, all that there are.
// Accuracy  f32 sums of 128 lines, and of at most 65 such sums: 3e-7 of Σ_k √(S_ii S_jj); gather: one rounding.

struct TotalParams {
    rows: u32,
    pairs: u32,
    first: u32,
    lines: u32,
    base_line: u32,
    nyquist: u32,
    groups: u32,
}

const THREADS: u32 = 64u;
const TOGETHER: u32 = 128u;

@group(0) @binding(0) var<storage, read> sums: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read_write> totals: array<f32>;
@group(0) @binding(2) var<uniform> p: TotalParams;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let pair = (group.y * p.groups + group.x) * THREADS + index;
    if pair < p.pairs {
        var total = 0.0;
        let end = p.first + p.lines;
        for (var block = p.first; block < end; block += TOGETHER) {
            var sum = 0.0;
            for (var k = block; k < min(block + TOGETHER, end); k++) {
                let line = p.base_line + k;
                let weight = select(1.0, 0.5, line == 0u || line == p.nyquist);
                sum += weight * sums[k * p.pairs + pair].x;
            }
            total += sum;
        }
        totals[pair] = total;
    }
}

@compute @workgroup_size(THREADS)
fn gather(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let at = (group.y * p.groups + group.x) * THREADS + index;
    if at < p.lines * p.pairs {
        let sum = sums[at];
        totals[2u * at] += sum.x;
        totals[2u * at + 1u] += sum.y;
    }
}

@compute @workgroup_size(THREADS)
fn diagonals(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let at = (group.y * p.groups + group.x) * THREADS + index;
    if at < p.lines * p.rows {
        let i = at % p.rows;
        totals[at] = sums[(p.first + at / p.rows) * p.pairs + i * (i + 3u) / 2u].x;
    }
}
