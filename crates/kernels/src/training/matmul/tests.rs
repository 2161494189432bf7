use super::*;

/// Numbers in [-1, 1) from a linear congruence; the same in every run.
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn plain(a: Matrix<'_>, b: Matrix<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let at = |m: Matrix<'_>, row: usize, column: usize| {
        let index = match m.transposed {
            false => row * m.stride + column,
            true => column * m.stride + row,
        };
        f64::from(m.data[index])
    };
    let mut out = Vec::new();
    for row in 0..a.rows {
        for column in 0..b.columns {
            let sum: f64 = (0..a.columns)
                .map(|d| at(a, row, d) * at(b, d, column))
                .sum();
            out.push((sum + bias.map_or(0.0, |bias| f64::from(bias[column]))) as f32);
        }
    }
    out
}

fn check(kernel: Kernel, tolerance: impl Fn(usize) -> f32) {
    let shapes = [
        (1, 1, 1),
        (3, 5, 7),
        (12, 32, 16),
        (13, 33, 17),
        (25, 16, 31),
        (11, 31, 255),
        (24, 64, 257),
        (30, 70, 600),
        (4, 16, 512),
        (5, 100, 513),
        (200, 129, 40),
        // Rows a page apart, which are packed.
        (13, 33, 1024),
        (25, 40, 2048),
        (0, 3, 4),
        (3, 0, 4),
        (3, 4, 0),
    ];
    for (m, n, k) in shapes {
        for (left_transposed, right_transposed) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let (a, b) = (numbers(1, m * k), numbers(2, k * n));
            let bias = numbers(3, n);
            let left = match left_transposed {
                false => Matrix::new(&a, m, k),
                true => Matrix::new(&a, k, m).transposed(),
            };
            let right = match right_transposed {
                false => Matrix::new(&b, k, n),
                true => Matrix::new(&b, n, k).transposed(),
            };
            for bias in [None, Some(bias.as_slice())] {
                let start = bias.map_or(Start::Zero, Start::Bias);
                let mut found = vec![f32::NAN; m * n];
                let data = found.as_mut_ptr();
                let target = Target { data, stride: n };
                run(kernel, left, right, Begin::At(start), target, k % 2 == 0);
                let mut expected = plain(left, right, bias);
                let what = format!("{m} x {n} x {k}, {left_transposed} {right_transposed}");
                near(&found, &expected, tolerance(k), &what);
                // Once more, on top of what is there.
                let data = found.as_mut_ptr();
                let target = Target { data, stride: n };
                run(kernel, left, right, Begin::Held, target, k % 2 == 1);
                let more = plain(left, right, None);
                for (expected, more) in expected.iter_mut().zip(more) {
                    *expected += more;
                }
                near(&found, &expected, 3.0 * tolerance(k), &what);
            }
        }
    }
}

fn near(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    for (found, expected) in found.iter().zip(expected) {
        let difference = (found - expected).abs();
        assert!(difference <= tolerance, "{what}: {found} {expected}");
    }
}

/// Whatever the precision, and wherever the sides lie.
#[test]
fn a_side_packed_once_gives_the_same_bits_every_time() {
    for precision in [Precision::F32, Precision::Bf16] {
        for (m, n, k) in [
            (13, 33, 1024),
            (30, 70, 600),
            (1, 1, 1),
            (3, 4, 0),
            (0, 3, 4),
            (3, 0, 4),
        ] {
            let (a, b, bias) = (numbers(1, m * k), numbers(2, k * n), numbers(3, n));
            let left = Matrix::new(&a, m, k);
            for right in [Matrix::new(&b, k, n), Matrix::new(&b, n, k).transposed()] {
                let packed = Packed::new(precision, right);
                for start in [Start::Zero, Start::Bias(&bias)] {
                    let found = matmul_packed(left, &packed, start);
                    assert_eq!(
                        found,
                        matmul(precision, left, right, start),
                        "{m} x {n} x {k}"
                    );
                }
            }
        }
    }
}

#[test]
fn rows_that_lie_apart_are_read_where_they_lie() {
    let (m, n, k, stride) = (29, 35, 70, 99);
    let (a, b) = (numbers(1, (m - 1) * stride + k), numbers(2, k * n));
    let left = Matrix::strided(&a, m, k, stride);
    let together: Vec<f32> = (0..m)
        .flat_map(|row| &a[row * stride..][..k])
        .copied()
        .collect();
    let right = Matrix::new(&b, k, n);
    assert_eq!(
        matmul(Precision::F32, left, right, Start::Zero),
        matmul(
            Precision::F32,
            Matrix::new(&together, m, k),
            right,
            Start::Zero
        )
    );
}

/// A sum of k products below 1 rounds at most k + 1 times by half a unit of its size, k.
fn f32_bound(k: usize) -> f32 {
    (k + 1) as f32 * k as f32 * f32::EPSILON
}

/// Both factors are off by up to 2^-9 of their size, besides.
fn bf16_bound(k: usize) -> f32 {
    f32_bound(k) + k as f32 * 2.1 / 512.0
}

#[test]
fn portable_kernel_equals_the_definition() {
    check(portable::KERNEL, f32_bound);
}

#[test]
fn f32_kernel_of_this_processor_equals_the_definition() {
    check(kernel(Precision::F32), f32_bound);
}

#[test]
fn bf16_kernel_of_this_processor_equals_the_definition() {
    check(kernel(Precision::Bf16), bf16_bound);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn avx512_bf16_kernel_equals_the_definition() {
    if is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bf16")
    {
        check(x86::AVX512_BF16, bf16_bound);
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn avx2_kernel_equals_the_definition() {
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        check(x86::AVX2, f32_bound);
    }
}

#[test]
fn threads_do_not_change_the_bits() {
    let (m, n, k) = (150, 130, 700);
    let (a, b) = (numbers(1, m * k), numbers(2, k * n));
    let product = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let (a, b) = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
        let run = || matmul(Precision::F32, a, b, Start::Zero);
        pool.map(|pool| pool.install(run)).ok()
    };
    let one = product(1);
    assert!(one.is_some());
    for threads in [2, 3, 7] {
        assert_eq!(product(threads), one);
    }
}
