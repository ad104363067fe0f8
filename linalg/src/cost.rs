//! When the leading part of a decomposition costs less than all of it.
//!
//! `cargo bench --bench methods -- crossover` measures both sides of each choice, from where one wins to where the other
//! does: a constant is wrong where the side that it takes is the slower one.

/// Columns that a step adds to either basis of singular vectors: a product with that many takes as long for its
/// arithmetic as for reading the matrix, and a start of that many finds up to that many equal singular values.
pub(super) const BLOCK: usize = 16;

/// Most steps for eigenpairs. One costs 8 n² flops, a full decomposition with vectors some 60 n³.
pub(super) const PAIR_STEPS: usize = 64;

/// How far steps for singular triplets go.
pub(super) struct Steps {
    /// Size of the bases at the first look: a flat spectrum takes one and a half times the rank.
    pub(super) first_look: usize,
    /// Size at which they are given up.
    pub(super) most: usize,
}

impl Steps {
    /// Size at the look after one at `size`: a look costs a small decomposition.
    pub(super) fn next_look(size: usize) -> usize {
        size + (size / 6).max(2 * BLOCK)
    }
}

/// Steps for the leading `rank` triplets of a matrix by its smaller dimension; `None` where a full decomposition costs
/// less.
pub(super) fn triplets(smaller: usize, rank: usize) -> Option<Steps> {
    /// Up to this size a full decomposition takes less than the steps.
    const FULL_UP_TO: usize = 280;
    // Among singular values of a flat floor, beyond the rank of the signal, steps do not converge. No look tells these cases
    // early from those that end well, in which residuals stay and then fall at once (5e-2, 3e-2, 1e-9), so the trial is what
    // has to be cheap: given up at half of the dimension it has cost less than half of the full decomposition that follows.
    let steps = Steps { first_look: rank + rank / 2 + BLOCK, most: smaller / 2 };
    (smaller > FULL_UP_TO && steps.first_look <= steps.most).then_some(steps)
}

/// Whether steps for the leading `count` eigenpairs of a Hermitian matrix of size `n` are worth their while.
pub(super) fn pairs(n: usize, count: usize) -> bool {
    /// Up to this size a full decomposition takes less than the steps.
    const FULL_UP_TO: usize = 24;
    // Of more pairs the last ones seldom converge within the steps.
    n > FULL_UP_TO && count <= PAIR_STEPS / 8
}
