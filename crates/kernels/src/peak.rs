//! What the processor's arithmetic units can do at most, measured.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

use crate::int8::QuantizedRows;
use crate::int8::dot::{PANEL, QUAD, TALLEST};

/// Sums that are independent of each other: enough for two units of a latency of four, few enough
/// for AVX2's 16 registers.
const SUMS: usize = 12;

/// How long a thread computes for a measurement: short, so that one of many falls between what else
/// the machine has to do.
const SPAN: Duration = Duration::from_millis(10);

/// Operations a second of f32 multiply-adds, two each, on all threads of the current pool at once,
/// with everything in registers: the best of twenty measurements.
pub fn f32_peak() -> f64 {
    best(|| {
        const ROUNDS: usize = 4096;
        let lanes = MultiplyAdds { rounds: ROUNDS }.dispatch();
        2 * SUMS * ROUNDS * lanes
    })
}

/// Operations a second of 8-bit multiply-adds, two each, on all threads of the current pool at
/// once: the inner loop on rows and a panel in the first cache, the best of twenty measurements.
pub fn int8_peak() -> f64 {
    const QUADS: usize = 64;
    let mut rows = QuantizedRows::default();
    let dot = rows.dot();
    // Numbers on both sides of zero, of which no row is taken apart.
    let numbers: Vec<f32> = (0..TALLEST * QUADS * QUAD)
        .map(|i| if i % 2 == 0 { 1.0 } else { -1.0 })
        .collect();
    rows.quantize(&numbers, QUADS * QUAD);
    let panel = vec![-5_i8; QUADS * PANEL * QUAD];
    best(|| {
        let mut sums = [[0; PANEL]; TALLEST];
        for _ in 0..16 {
            let rows = black_box(&rows).rows_from(0);
            dot.sums(rows, TALLEST, black_box(&panel), &panel, &mut sums);
            black_box(&sums);
        }
        16 * 2 * TALLEST * QUADS * QUAD * PANEL
    })
}

/// The most operations a second, summed over the threads, that `work` does; it returns how many it
/// did.
fn best(work: impl Fn() -> usize + Sync) -> f64 {
    let measure = || {
        let each = rayon::broadcast(|_| {
            let (mut done, start) = (0, Instant::now());
            while start.elapsed() < SPAN {
                done += work();
            }
            done as f64 / start.elapsed().as_secs_f64()
        });
        each.into_iter().sum::<f64>()
    };
    (0..20).map(|_| measure()).fold(0.0, f64::max)
}

/// Multiply-adds on vectors; returns a vector's lanes.
struct MultiplyAdds {
    rounds: usize,
}

impl SimdOp for MultiplyAdds {
    type Output = usize;

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) -> usize {
        let ops = isa.f32();
        let (factor, term) = (ops.splat(black_box(0.999)), ops.splat(black_box(0.001)));
        let mut sums = [ops.splat(black_box(1.0)); SUMS];
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = ops.mul_add(*sum, factor, term);
            }
        }
        let sum = sums
            .into_iter()
            .reduce(|a, b| ops.add(a, b))
            .unwrap_or(term);
        black_box(ops.sum(sum));
        ops.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_those_of_a_processor() {
        let pool = crate::ThreadPool::new(Some(1)).unwrap();
        let (f32, int8) = pool.install(|| (f32_peak(), int8_peak()));
        // A processor from this century, and none from the next.
        assert!((1e8..1e14).contains(&f32), "{f32}");
        assert!((1e8..1e15).contains(&int8), "{int8}");
    }
}
