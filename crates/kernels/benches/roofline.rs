//! The layer's operations at the base shape: how many they are, how many bytes they must move and
//! how long they take. `bench/roofline` draws what this prints, a JSON object a line.

use std::hint::black_box;
use std::time::Instant;

use albert_kernels::{
    Activation, PackedMatrix, QuantizedMatrix, QuantizedRows, ThreadPool, attention, f32_peak,
    gelu_tanh, int8_peak, layer_norm,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

const HIDDEN: usize = 768;
const INTERMEDIATE: usize = 3072;
const HEADS: usize = 12;
const F32: usize = size_of::<f32>();

/// Elements that are read to measure the memory: more than any cache holds.
const STREAM: usize = 64 << 20;

fn main() {
    let pool = ThreadPool::new(None).expect("threads");
    pool.install(|| {
        for tokens in [1, 16, 64, 128] {
            roofs();
            products(tokens);
        }
        roofs();
        for (rows, length) in [(1, 128), (8, 128), (4, 384)] {
            of_attention(rows, length);
        }
        element_wise(1024);
        roofs();
    });
}

/// What the machine can do at most.
fn roofs() {
    println!(
        r#"{{"threads":{},"f32_peak":{:e},"int8_peak":{:e},"memory":{:e}}}"#,
        rayon::current_num_threads(),
        f32_peak(),
        int8_peak(),
        bandwidth(),
    );
}

/// Bytes a second that all threads read from memory.
fn bandwidth() -> f64 {
    let numbers = vec![1.0_f32; STREAM];
    let part = STREAM / rayon::current_num_threads();
    let read = || {
        let sums = numbers.par_chunks(part).map(|part| {
            let mut sums = [0.0_f32; 64];
            for numbers in part.chunks_exact(64) {
                for (sum, number) in sums.iter_mut().zip(numbers) {
                    *sum += number;
                }
            }
            sums.iter().sum::<f32>()
        });
        black_box(sums.sum::<f32>());
    };
    (STREAM * F32) as f64 / seconds(read)
}

/// The shortest of many runs, after one that does not count.
fn seconds(mut work: impl FnMut()) -> f64 {
    work();
    let (mut least, begin) = (f64::INFINITY, Instant::now());
    let mut runs = 0;
    while runs < 5 || begin.elapsed().as_secs_f64() < 0.5 {
        let start = Instant::now();
        work();
        least = least.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    least
}

fn report(name: &str, precision: &str, tokens: usize, operations: f64, bytes: usize, seconds: f64) {
    println!(
        r#"{{"name":"{name}","precision":"{precision}","tokens":{tokens},"operations":{operations:e},"bytes":{bytes},"seconds":{seconds:e}}}"#
    );
}

fn random(len: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(len as u64);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Nearly normal numbers, as rows of a model are: their bytes are seldom near the ends of their range.
fn normal(len: usize) -> Vec<f32> {
    let uniform = random(12 * len);
    uniform.chunks_exact(12).map(|of| of.iter().sum()).collect()
}

/// The dense products of a layer; bytes are those of rows, weights and results, once each.
fn products(tokens: usize) {
    for (name, inputs, outputs, activation) in [
        ("query, key, value", HIDDEN, 3 * HIDDEN, None),
        ("attention's output", HIDDEN, HIDDEN, None),
        (
            "feed-forward, GELU",
            HIDDEN,
            INTERMEDIATE,
            Some(Activation::GeluTanh),
        ),
        ("feed-forward's output", INTERMEDIATE, HIDDEN, None),
    ] {
        let weight = random(inputs * outputs);
        let (x, bias) = (normal(tokens * inputs), random(outputs));
        let mut out = vec![0.0; tokens * outputs];
        let operations = 2.0 * (tokens * inputs * outputs) as f64;

        let matrix = PackedMatrix::new(&weight, outputs, inputs);
        let took = seconds(|| match activation {
            None => matrix.multiply(&x, Some(&bias), &mut out),
            Some(activation) => matrix.multiply_activate(&x, Some(&bias), activation, &mut out),
        });
        let bytes = F32 * (weight.len() + x.len() + out.len());
        report(name, "f32", tokens, operations, bytes, took);

        let matrix = QuantizedMatrix::new(&weight, outputs, inputs);
        let mut rows = QuantizedRows::default();
        let took = seconds(|| {
            rows.quantize(&x, inputs);
            matrix.multiply(&rows, Some(&bias), activation, &mut out);
        });
        let bytes = weight.len() + F32 * (x.len() + out.len());
        report(name, "int8", tokens, operations, bytes, took);
    }
}

/// Attention of rows over themselves: two products of every query with every key.
fn of_attention(rows: usize, length: usize) {
    let tokens = rows * length;
    let qkv = random(3 * tokens * HIDDEN);
    let mut out = vec![0.0; tokens * HIDDEN];
    let ranges: Vec<_> = (0..rows)
        .map(|row| row * length..(row + 1) * length)
        .collect();
    let took = seconds(|| attention(&qkv, &ranges, HEADS, HIDDEN / HEADS, &mut out));
    let operations = 4.0 * (tokens * length * HIDDEN) as f64;
    let bytes = F32 * (qkv.len() + out.len());
    let name = format!("attention, rows of {length}");
    report(&name, "f32", tokens, operations, bytes, took);
}

/// What reads and writes every number once: a few operations each.
fn element_wise(tokens: usize) {
    let mut x = random(tokens * HIDDEN);
    let (weight, bias) = (vec![1.0; HIDDEN], vec![0.0; HIDDEN]);
    let took = seconds(|| layer_norm(&mut x, &weight, &bias, 1e-12));
    let len = x.len();
    // A mean, a variance and a scaled difference: nine for each number.
    let operations = 9.0 * len as f64;
    report("layer norm", "f32", tokens, operations, 2 * F32 * len, took);

    let start = random(tokens * INTERMEDIATE);
    let mut x = start.clone();
    // From the same numbers each time: those that are left over come nearer to 0 with every run.
    let both = seconds(|| {
        x.copy_from_slice(&start);
        gelu_tanh(&mut x);
    });
    let took = both - seconds(|| x.copy_from_slice(black_box(&start)));
    let len = start.len();
    // As for the polynomial and the quotient that the kernel takes.
    let operations = 30.0 * len as f64;
    report("GELU alone", "f32", tokens, operations, 2 * F32 * len, took);
}
