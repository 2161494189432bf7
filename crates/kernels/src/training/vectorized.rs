//! One plain loop, compiled for several instruction sets and chosen at run time.

/// Defines functions whose bodies are compiled for AVX-512, for AVX2 and for the target's
/// baseline; calling one takes the best that the processor has. The bodies are plain Rust that
/// compilers vectorise.
macro_rules! vectorized {
    ($($(#[$meta:meta])* $visibility:vis fn $name:ident(
        $($argument:ident: $type:ty),* $(,)?
    ) $(-> $output:ty)? $body:block)*) => {$(
        $(#[$meta])*
        #[allow(unsafe_code, clippy::too_many_arguments)]
        $visibility fn $name($($argument: $type),*) $(-> $output)? {
            #[inline(always)]
            fn plain($($argument: $type),*) $(-> $output)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($argument: $type),*) $(-> $output)? {
                    plain($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) $(-> $output)? {
                    plain($($argument),*)
                }
                match $crate::training::vectorized::level() {
                    // SAFETY: the processor has these features.
                    2 => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    1 => return unsafe { avx2($($argument),*) },
                    _ => {}
                }
            }
            plain($($argument),*)
        }
    )*};
}
pub(super) use vectorized;

/// 2 with AVX-512, 1 with AVX2, else 0.
#[cfg(target_arch = "x86_64")]
pub(super) fn level() -> u8 {
    use std::sync::OnceLock;
    static LEVEL: OnceLock<u8> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        match (avx2, avx512) {
            (true, true) => 2,
            (true, false) => 1,
            _ => 0,
        }
    })
}

/// Lanes of the sums that `sum` keeps apart, so that its loop vectorises; the order in which they
/// are added is the same on every processor.
const LANES: usize = 32;

/// The sum of `term(i)` for i below `count`.
#[inline(always)]
pub(super) fn sum(count: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let whole = count / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
    }
    let mut rest = 0.0;
    for i in whole..count {
        rest += term(i);
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0] + rest
}

/// The largest of `values`; negative infinity where there are none, and NaN is passed over.
#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    let all = lanes.iter().chain(rest);
    all.fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
}

/// exp(x) within 2 ulp; the argument is held in [-87.3, 88], where the result is a normal number.
///
/// `2^k exp(r)` with k = round(x / ln 2), and the Taylor series of exp(r) to the seventh power.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves no bits for the fraction: the sum's low bits are the integer.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    // ln 2 in two parts; the first has few enough bits that its product with k is exact.
    let r = (x - k * 0.693_359_4) + k * 2.121_944_4e-4;
    let mut y = 1.0 / 5040.0;
    y = y * r + 1.0 / 720.0;
    y = y * r + 1.0 / 120.0;
    y = y * r + 1.0 / 24.0;
    y = y * r + 1.0 / 6.0;
    y = y * r + 0.5;
    y = y * r + 1.0;
    y = y * r + 1.0;
    y * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp() {
        for i in -87_000..88_000 {
            let x = i as f32 / 1000.0;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            let ulp = f64::from((expected as f32).abs()) * f64::from(f32::EPSILON);
            assert!(
                (found - expected).abs() <= 2.0 * ulp,
                "exp({x}) = {found}, not {expected}"
            );
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-1e9) < 2e-38);
    }

    #[test]
    fn largest_looks_at_every_value() {
        assert_eq!(largest(&[]), f32::NEG_INFINITY);
        for count in [1, 31, 32, 33, 100] {
            for place in 0..count {
                let mut values = vec![-3.0; count];
                values[place] = -1.0;
                assert_eq!(largest(&values), -1.0);
            }
        }
    }

    #[test]
    fn sum_adds_every_term_once() {
        for count in [0, 1, 31, 32, 33, 100] {
            let expected = (0..count).sum::<usize>() as f32;
            assert_eq!(sum(count, |i| i as f32), expected);
        }
    }
}
