//! What all cores of this machine do at best.

use nalgebra::DMatrix;
use rayon::prelude::*;
use std::fmt;
use std::hint::black_box;
use std::time::Instant;

/// Measured rates.
pub(crate) struct Machine {
    threads: usize,
    /// Multiply-adds as matrix products of f64, a multiply-add being two, 1/s.
    pub(crate) flops: f64,
    /// Bytes read from memory in order, 1/s.
    pub(crate) bytes: f64,
}

impl Machine {
    pub(crate) fn measure() -> Machine {
        const SIZE: usize = 768;
        let a = DMatrix::from_fn(SIZE, SIZE, |i, j| ((i * j) as f64).sin());
        let threads = rayon::current_num_threads();
        let best = |work: &(dyn Fn() + Sync)| {
            let once = || {
                let start = Instant::now();
                (0..threads).into_par_iter().for_each(|_| work());
                start.elapsed().as_secs_f64()
            };
            (0..5).map(|_| once()).fold(f64::INFINITY, f64::min)
        };
        let product = best(&|| drop(black_box(oma_linalg::multiply(&a, &a))));
        let numbers = vec![1.0_f64; 1 << 25];
        let sum = best(&|| {
            let lanes = numbers.chunks_exact(8).fold([0.0; 8], |mut sum, numbers| {
                sum.iter_mut().zip(numbers).for_each(|(sum, x)| *sum += x);
                sum
            });
            black_box(lanes);
        });
        let each = threads as f64;
        let (flops, bytes) = (2.0 * (SIZE as f64).powi(3), 8.0 * numbers.len() as f64);
        Machine { threads, flops: each * flops / product, bytes: each * bytes / sum }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (flops, bytes) = (self.flops / 1e9, self.bytes / 1e9);
        write!(f, "{} threads, {flops:.1} GFLOP/s in matrix products, {bytes:.1} GB/s read", self.threads)
    }
}
