// Hermitian products: the matrices of many lines, as they lie in the sums, times a few vectors each.
//
// CPU twin  tests/it/support/twins.rs, hermitian_products
// Formula   y_i = Σ_j G_ij x_j at each listed line, G_ij = S[i(i+1)/2 + j] for j ≤ i and G_ij = G*_ji above.
// Bindings  sums      S, [line][pair], packed lower triangles as cross_spectra leaves them
//           lines     places of the lines in `sums`
//           vectors   x, [listed line][row][vector]; the same for all lines where `stride` is 0
//           products  y, [listed line][row][vector], unit² of the channels for vectors without one
//           p         sizes, see layout.rs
// Workgroup TILE rows of one line times VECTORS vectors, one of each a thread. A tile of G and of x at a time lies in
//           workgroup memory: below the diagonal it is read along rows, above it along columns, which are rows of what is
//           stored. Rows of the tile are one longer than they need be, so that threads of different rows meet in
//           different banks. Grid ⌈rows/TILE⌉ × listed lines.
// Sizes     rows ≤ 64·TILE, for the accuracy; vectors ≤ VECTORS.
// Accuracy  sums of TILE terms, and of at most 64 such sums: two levels, 2e-7 of Σ_j |G_ij| |x_j|.

struct ProductParams {
    rows: u32,
    pairs: u32,
    vectors: u32,
    stride: u32,
    first: u32,
}

const TILE: u32 = 32u;
const VECTORS: u32 = 4u;
const THREADS: u32 = 128u;

@group(0) @binding(0) var<storage, read> sums: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> lines: array<u32>;
@group(0) @binding(2) var<storage, read> vectors: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> products: array<vec2<f32>>;
@group(0) @binding(4) var<uniform> p: ProductParams;

/// [row][column], rows of TILE + 1.
var<workgroup> tile: array<vec2<f32>, 1056>;
/// [column][vector]
var<workgroup> part: array<vec2<f32>, 128>;

/// G_ij; zero beyond the last row or column.
fn entry(line: u32, i: u32, j: u32) -> vec2<f32> {
    if i >= p.rows || j >= p.rows {
        return vec2<f32>(0.0);
    }
    if j <= i {
        return sums[line * p.pairs + i * (i + 1u) / 2u + j];
    }
    let mirrored = sums[line * p.pairs + j * (j + 1u) / 2u + i];
    return vec2<f32>(mirrored.x, -mirrored.y);
}

fn component(listed: u32, j: u32, vector: u32) -> vec2<f32> {
    if j >= p.rows || vector >= p.vectors {
        return vec2<f32>(0.0);
    }
    return vectors[listed * p.stride + j * p.vectors + vector];
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let listed = p.first + group.y;
    let line = lines[listed];
    let first_row = group.x * TILE;
    let row = index / VECTORS;
    let vector = index % VECTORS;
    var total = vec2<f32>(0.0);
    for (var first_column = 0u; first_column < p.rows; first_column += TILE) {
        let is_above = first_column > first_row;
        for (var at = index; at < TILE * TILE; at += THREADS) {
            let i = select(at / TILE, at % TILE, is_above);
            let j = select(at % TILE, at / TILE, is_above);
            tile[i * (TILE + 1u) + j] = entry(line, first_row + i, first_column + j);
        }
        part[index] = component(listed, first_column + row, vector);
        workgroupBarrier();
        var sum = vec2<f32>(0.0);
        for (var j = 0u; j < TILE; j++) {
            let g = tile[row * (TILE + 1u) + j];
            let x = part[j * VECTORS + vector];
            sum += vec2<f32>(g.x * x.x - g.y * x.y, g.x * x.y + g.y * x.x);
        }
        total += sum;
        workgroupBarrier();
    }
    let i = first_row + row;
    if i < p.rows && vector < p.vectors {
        products[(listed * p.rows + i) * p.vectors + vector] = total;
    }
}
