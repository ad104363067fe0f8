//! Backends: the heavy sums of FDD and SSI over a record, as accumulators of blocks.
