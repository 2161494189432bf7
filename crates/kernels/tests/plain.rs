//! Every fast path against a plain twin in f64, at shapes around the tiles' edges.

use std::ops::Range;

use albert_kernels::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn random(rng: &mut ChaCha8Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Largest difference, over the largest magnitude of what is expected.
fn error(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let scale = expected.iter().fold(1e-30, |m: f64, v| m.max(v.abs()));
    let worst = got.iter().zip(expected).fold(0.0, |m: f64, (g, e)| {
        assert!(g.is_finite(), "{g} where {e} was expected");
        m.max((f64::from(*g) - e).abs())
    });
    worst / scale
}

/// Distance in units of the last place of the expected value, not below the smallest normal number.
fn ulps(got: f32, expected: f64) -> f64 {
    let magnitude = expected.abs().max(f64::from(f32::MIN_POSITIVE)) as f32;
    let unit = f64::from(magnitude.next_up()) - f64::from(magnitude);
    (f64::from(got) - expected).abs() / unit
}

#[test]
fn packed_products() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // Around tile heights (6, 12), panel widths (8, 16, 32), depth blocks (256) and row blocks (144).
    let rows = [1, 2, 3, 5, 6, 7, 11, 12, 13, 24, 67, 143, 144, 145];
    let outputs = [1, 2, 15, 16, 17, 31, 32, 33, 128, 129];
    let inputs = [1, 3, 16, 31, 255, 256, 257, 513];
    for _ in 0..150 {
        let m = rows[rng.random_range(0..rows.len())];
        let n = outputs[rng.random_range(0..outputs.len())];
        let k = inputs[rng.random_range(0..inputs.len())];
        let (x, w) = (random(&mut rng, m * k), random(&mut rng, n * k));
        let bias = rng.random_bool(0.5).then(|| random(&mut rng, n));
        let mut expected = Vec::new();
        for x in x.chunks(k) {
            for (j, w) in w.chunks(k).enumerate() {
                let products = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
                let bias = bias.as_ref().map_or(0.0, |bias| f64::from(bias[j]));
                expected.push(products.sum::<f64>() + bias);
            }
        }
        let mut got = vec![f32::NAN; m * n];
        let weight = PackedMatrix::new(&w, n, k);
        weight.multiply(&x, bias.as_deref(), &mut got);
        // A sum of 513 products of numbers below 1 rounds by some 513 / 2 units of 2^-24 at worst,
        // by their square root as a rule.
        let error = error(&got, &expected);
        assert!(error < 2e-6, "{m} x {k} x {n}: {error:e}");

        // The fused activation is the one that follows, to the bit.
        let mut fused = vec![f32::NAN; m * n];
        weight.multiply_activate(&x, bias.as_deref(), Activation::GeluErf, &mut fused);
        gelu_erf(&mut got);
        assert_eq!(got, fused, "{m} x {k} x {n}");
    }
}

#[test]
fn empty_products() {
    let weight = PackedMatrix::new(&[1.0, 2.0], 2, 1);
    weight.multiply(&[], None, &mut []);
    assert_eq!((weight.inputs(), weight.outputs()), (1, 2));
}

fn plain_attention(qkv: &[f32], rows: &[Range<usize>], heads: usize, dim: usize) -> Vec<f64> {
    let width = heads * dim;
    let at = |token: usize, part: usize, head: usize, i: usize| {
        f64::from(qkv[token * 3 * width + part * width + head * dim + i])
    };
    let mut out = vec![0.0; qkv.len() / 3];
    for row in rows {
        for head in 0..heads {
            for query in row.clone() {
                let scores: Vec<f64> = row
                    .clone()
                    .map(|key| {
                        let dot: f64 = (0..dim)
                            .map(|i| at(query, 0, head, i) * at(key, 1, head, i))
                            .sum();
                        dot / (dim as f64).sqrt()
                    })
                    .collect();
                let largest = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for i in 0..dim {
                    let value: f64 = row
                        .clone()
                        .zip(&weights)
                        .map(|(key, w)| w * at(key, 2, head, i))
                        .sum();
                    out[query * width + head * dim + i] = value / sum;
                }
            }
        }
    }
    out
}

#[test]
fn attention_over_ragged_rows() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..80 {
        let heads = rng.random_range(1..=4);
        let dim = [1, 2, 7, 8, 12, 16, 31, 32, 33, 64, 72][rng.random_range(0..11)];
        let mut rows = Vec::new();
        let mut tokens = 0;
        for _ in 0..rng.random_range(1..=4) {
            let len = [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65, 100][rng.random_range(0..14)];
            rows.push(tokens..tokens + len);
            tokens += len;
        }
        let mut qkv = random(&mut rng, tokens * 3 * heads * dim);
        // Some sharp distributions, too.
        let sharpness = [1.0, 6.0][rng.random_range(0..2)];
        qkv.iter_mut().for_each(|v| *v *= sharpness);
        let mut got = vec![f32::NAN; tokens * heads * dim];
        attention(&qkv, &rows, heads, dim, &mut got);
        let error = error(&got, &plain_attention(&qkv, &rows, heads, dim));
        // A score rounds by some 1e-7 of the largest products' sum (36 * 72 / sqrt(72) here at
        // worst), which the exponential passes on as a relative error.
        let tolerance = if sharpness > 1.0 { 5e-5 } else { 2e-6 };
        assert!(
            error < tolerance,
            "heads {heads}, dim {dim}, rows {rows:?}: {error:e}"
        );
    }
}

#[test]
fn attention_over_scores_far_apart_stays_finite() {
    // Scores of +-4e4: the exponential of the difference is 0, of the largest 1.
    let qkv = [200.0, 200.0, 1.0, 200.0, -200.0, 5.0];
    let mut out = [0.0; 2];
    attention(&qkv, std::slice::from_ref(&(0..2)), 1, 1, &mut out);
    assert_eq!(out, [1.0, 1.0]);
}

#[test]
fn layer_norms() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for width in [1, 2, 3, 8, 15, 16, 17, 31, 32, 33, 48, 100, 128, 768] {
        for rows in [1, 2, 7, 8, 9, 20] {
            // A mean of 10 checks that the variance is not got by cancellation.
            let x: Vec<f32> = random(&mut rng, rows * width)
                .iter()
                .map(|v| v + 10.0)
                .collect();
            let residual = random(&mut rng, rows * width);
            let (weight, bias) = (random(&mut rng, width), random(&mut rng, width));
            for with_residual in [false, true] {
                let epsilon = if width == 1 { 1e-5 } else { 1e-12 };
                let mut expected = Vec::new();
                for (x, r) in x.chunks(width).zip(residual.chunks(width)) {
                    let sum: Vec<f64> = x
                        .iter()
                        .zip(r)
                        .map(|(x, r)| f64::from(if with_residual { x + r } else { *x }))
                        .collect();
                    let mean = sum.iter().sum::<f64>() / width as f64;
                    let variance =
                        sum.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
                    let scale = 1.0 / (variance + f64::from(epsilon)).sqrt();
                    for (i, v) in sum.iter().enumerate() {
                        expected
                            .push((v - mean) * scale * f64::from(weight[i]) + f64::from(bias[i]));
                    }
                }
                let mut got = x.clone();
                if with_residual {
                    add_layer_norm(&mut got, &residual, &weight, &bias, epsilon);
                } else {
                    layer_norm(&mut got, &weight, &bias, epsilon);
                }
                // The mean, near 10, is off by an ulp of 10 or two (1e-6); where few elements lie
                // close together, the small deviation multiplies that.
                let tolerance = if width <= 3 { 1e-3 } else { 2e-5 };
                let error = error(&got, &expected);
                assert!(error < tolerance, "{rows} x {width}: {error:e}");
            }
        }
    }
}

/// Inputs over f32's whole useful range, dense near zero.
fn arguments() -> Vec<f32> {
    let mut x: Vec<f32> = (-160_000..=160_000).map(|i| i as f32 * 1e-4).collect();
    x.extend((-1260..=60).map(|e| (e as f32 / 10.0).exp2()));
    x.extend((-1260..=60).map(|e| -(e as f32 / 10.0).exp2()));
    x.extend([0.0, -0.0]);
    x
}

/// Worst distance in ulps, and where, of those arguments whose result is not tiny.
fn worst(function: fn(&mut [f32]), plain: fn(f64) -> f64, floor: f64) -> (f64, f32) {
    let x = arguments();
    let mut y = x.clone();
    function(&mut y);
    let mut worst = (0.0, 0.0);
    for (x, y) in x.iter().zip(&y) {
        let expected = plain(f64::from(*x));
        if expected.abs() < floor {
            assert!(f64::from(y.abs()) < floor * 1.01, "f({x}) = {y}");
            continue;
        }
        let distance = ulps(*y, expected);
        if distance > worst.0 {
            worst = (distance, *x);
        }
    }
    worst
}

/// Φ by the series of erf near zero and the continued fraction of erfc beyond, to about 1e-15.
fn normal_distribution(x: f64) -> f64 {
    let t = x.abs();
    let density = (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let tail = if t < 3.0 {
        let (mut term, mut sum) = (t, t);
        for n in 1..100 {
            term *= t * t / f64::from(2 * n + 1);
            sum += term;
        }
        0.5 - density * sum
    } else {
        let fraction = (1..=100).rev().fold(t, |f, n| t + f64::from(n) / f);
        density / fraction
    };
    if x < 0.0 { tail } else { 1.0 - tail }
}

#[test]
fn gelu_erf_is_the_true_one() {
    let (distance, at) = worst(gelu_erf, |x| x * normal_distribution(x), 1e-30);
    // Measured 4.3: exponential, quotient, polynomial and three products round once each.
    assert!(distance < 6.0, "{distance} ulp at {at}");
}

#[test]
fn gelu_tanh_equals_its_formula() {
    let plain = |x: f64| {
        let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
        x / (1.0 + (-2.0 * u).exp())
    };
    // Far below zero the exponent's rounding, half an ulp of up to 87, is a relative error of some
    // 1e-6 of a result that is next to nothing: an absolute error is what counts.
    let x = arguments();
    let mut y = x.clone();
    gelu_tanh(&mut y);
    for (x, y) in x.iter().zip(y) {
        let expected = plain(f64::from(*x));
        let allowed = 2.5e-7 * expected.abs().max(0.2);
        assert!(
            (f64::from(y) - expected).abs() <= allowed,
            "f({x}) = {y}, not {expected}"
        );
    }
}

#[test]
fn tanh_silu_relu() {
    let (distance, at) = worst(tanh, f64::tanh, 0.0);
    assert!(distance <= 2.0, "tanh: {distance} ulp at {at}");
    let (distance, at) = worst(silu, |x| x / (1.0 + (-x).exp()), 1e-30);
    assert!(distance <= 4.0, "silu: {distance} ulp at {at}");
    let (distance, at) = worst(relu, |x| x.max(0.0), 0.0);
    assert!(distance == 0.0, "relu: {distance} ulp at {at}");
}

#[test]
fn nan_stays_nan_and_infinities_saturate() {
    for function in [gelu_erf, gelu_tanh, tanh, silu, relu] {
        let mut x = [f32::NAN; 19];
        function(&mut x);
        assert!(x.iter().all(|v| v.is_nan()));
    }
    let mut x = [f32::INFINITY, 3e38, 100.0];
    gelu_tanh(&mut x);
    assert_eq!(x, [f32::INFINITY, 3e38, 100.0]);
}
