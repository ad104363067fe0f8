// Cross-spectra: for every line, products of the spectra of all channels (or channels and references), summed over
// stretches: a batched Hermitian rank-S update.
//
// CPU twin  tests/it/support/twins.rs, cross_spectra
// Formula   G_ij(k) (+)= Σ_s A_i(k, s) B*_j(k, s); Hermitian: B = A and only j ≤ i is computed and stored, packed at
//           i(i+1)/2 + j; otherwise at i·columns + j.
// Bindings  left, right  spectra, [line][stretch][row] as two complex numbers a vec4, rows padded to a multiple of 4
//           sums         G, [line][pair], from base_line on
//           tiles        row and column of each tile of 4·SIDE × 4·SIDE pairs that is computed
//           p            sizes, see layout.rs
// Workgroup one tile of one line: SIDE × SIDE threads with 4 × 4 pairs each in registers. SLAB stretches of both sides
//           lie in workgroup memory; the next ones are on their way from memory while these are multiplied (xGPU: Clark,
//           La Plante & Greenhill 2013). Grid: tiles × lines.
// Sizes     SIDE 4, 8 or 16; SLAB = SIDE/2, so that each thread loads one piece; STAGE = 8·SLAB·SIDE vec4.
// Accuracy  one f32 sum over at most 64 stretches a dispatch, added to the sums of earlier dispatches: two levels,
//           1.2e-7 of √(G_ii G_jj) after 64 dispatches, then the sums go home and are added in f64.

struct CrossParams {
    stretches: u32,
    left_width: u32,
    right_width: u32,
    rows: u32,
    columns: u32,
    first_line: u32,
    base_line: u32,
    pairs: u32,
    flags: u32,
}

/// Flags: the sums start here; the pairs are Hermitian.
const START: u32 = 1u;
const LOWER: u32 = 2u;

override SIDE: u32;
override SLAB: u32;
override STAGE: u32;

@group(0) @binding(0) var<storage, read> left: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> right: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> tiles: array<vec2<u32>>;
@group(0) @binding(4) var<uniform> p: CrossParams;

/// [buffer][side][re, im][stretch][four channels]
var<workgroup> stage: array<vec4<f32>, STAGE>;

struct Piece {
    re: vec4<f32>,
    im: vec4<f32>,
}

fn split(a: vec4<f32>, b: vec4<f32>) -> Piece {
    return Piece(vec4<f32>(a.x, a.z, b.x, b.z), vec4<f32>(a.y, a.w, b.y, b.w));
}

/// Four channels of one stretch; zero beyond the last stretch or channel.
fn load(is_right: bool, line: u32, stretch: u32, four: u32) -> Piece {
    let width = select(p.left_width, p.right_width, is_right);
    if stretch >= p.stretches || 2u * four >= width {
        return Piece(vec4<f32>(0.0), vec4<f32>(0.0));
    }
    let at = (line * p.stretches + stretch) * width + 2u * four;
    if is_right {
        return split(right[at], right[at + 1u]);
    }
    return split(left[at], left[at + 1u]);
}

fn store(line: u32, i: u32, j: u32, value: vec2<f32>) {
    if i >= p.rows || j >= p.columns {
        return;
    }
    var place = i * p.columns + j;
    if (p.flags & LOWER) != 0u {
        if j > i {
            return;
        }
        place = i * (i + 1u) / 2u + j;
    }
    let at = (line - p.base_line) * p.pairs + place;
    if (p.flags & START) != 0u {
        sums[at] = value;
    } else {
        sums[at] += value;
    }
}

fn store_row(line: u32, i: u32, j: u32, re: vec4<f32>, im: vec4<f32>) {
    store(line, i, j, vec2<f32>(re.x, im.x));
    store(line, i, j + 1u, vec2<f32>(re.y, im.y));
    store(line, i, j + 2u, vec2<f32>(re.z, im.z));
    store(line, i, j + 3u, vec2<f32>(re.w, im.w));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let tile = tiles[group.x];
    let line = p.first_line + group.y;
    // The piece that this thread loads …
    let is_right = index >= SLAB * SIDE;
    let slab = (index / SIDE) % SLAB;
    let four = select(tile.x, tile.y, is_right) * SIDE + index % SIDE;
    let room = (select(0u, 2u, is_right) * SLAB + slab) * SIDE + index % SIDE;
    let part = SLAB * SIDE;
    // … and the pairs that it sums.
    let own_row = index / SIDE;
    let own_column = index % SIDE;
    var re0 = vec4<f32>(0.0);
    var re1 = vec4<f32>(0.0);
    var re2 = vec4<f32>(0.0);
    var re3 = vec4<f32>(0.0);
    var im0 = vec4<f32>(0.0);
    var im1 = vec4<f32>(0.0);
    var im2 = vec4<f32>(0.0);
    var im3 = vec4<f32>(0.0);

    let here = load(is_right, line, slab, four);
    stage[room] = here.re;
    stage[room + part] = here.im;
    workgroupBarrier();
    var buffer = 0u;
    for (var first = 0u; first < p.stretches; first += SLAB) {
        let next = load(is_right, line, first + SLAB + slab, four);
        for (var s = 0u; s < SLAB; s++) {
            let a = buffer + s * SIDE + own_row;
            let b = buffer + 2u * part + s * SIDE + own_column;
            let ar = stage[a];
            let ai = stage[a + part];
            let br = stage[b];
            let bi = stage[b + part];
            re0 += ar.x * br + ai.x * bi;
            im0 += ai.x * br - ar.x * bi;
            re1 += ar.y * br + ai.y * bi;
            im1 += ai.y * br - ar.y * bi;
            re2 += ar.z * br + ai.z * bi;
            im2 += ai.z * br - ar.z * bi;
            re3 += ar.w * br + ai.w * bi;
            im3 += ai.w * br - ar.w * bi;
        }
        buffer = 4u * part - buffer;
        stage[buffer + room] = next.re;
        stage[buffer + room + part] = next.im;
        workgroupBarrier();
    }

    let i = (tile.x * SIDE + own_row) * 4u;
    let j = (tile.y * SIDE + own_column) * 4u;
    store_row(line, i, j, re0, im0);
    store_row(line, i + 1u, j, re1, im1);
    store_row(line, i + 2u, j, re2, im2);
    store_row(line, i + 3u, j, re3, im3);
}

override THREADS: u32;
