//! A row's result is the same to the bit whatever is beside it and however many threads run.

use albert_kernels::*;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn random(rng: &mut ChaCha8Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

/// Depths over several blocks, widths off the panels, rows over several blocks.
#[test]
fn products() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let pools = [1, 2, 3, 5].map(|n| ThreadPool::new(Some(n)).unwrap());
    for (inputs, outputs) in [(64, 32), (257, 33), (600, 131), (130, 1100)] {
        let weight = random(&mut rng, outputs * inputs);
        let (weight, bias) = (
            PackedMatrix::new(&weight, outputs, inputs),
            random(&mut rng, outputs),
        );
        let rows: Vec<Vec<f32>> = (0..200).map(|_| random(&mut rng, inputs)).collect();
        let alone: Vec<Vec<u32>> = rows
            .iter()
            .map(|row| {
                let mut out = vec![0.0; outputs];
                weight.multiply(row, Some(&bias), &mut out);
                bits(&out)
            })
            .collect();
        for trial in 0..60 {
            let count = [1, 2, 5, 6, 7, 63, 64, 65, 66, 130, 200][trial % 11];
            let chosen: Vec<usize> = (0..count)
                .map(|_| rng.random_range(0..rows.len()))
                .collect();
            let x: Vec<f32> = chosen
                .iter()
                .flat_map(|i| rows[*i].iter().copied())
                .collect();
            let mut out = vec![f32::NAN; count * outputs];
            let pool = &pools[trial % pools.len()];
            pool.install(|| weight.multiply(&x, Some(&bias), &mut out));
            for (out, i) in out.chunks(outputs).zip(chosen) {
                assert_eq!(
                    bits(out),
                    alone[i],
                    "row {i} of {count}, {inputs} x {outputs}"
                );
            }
        }
    }
}

#[test]
fn attention_and_norm() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let pools = [1, 2, 3, 5].map(|n| ThreadPool::new(Some(n)).unwrap());
    for (heads, dim) in [(2, 32), (3, 12), (1, 40)] {
        let width = heads * dim;
        let (weight, bias) = (random(&mut rng, width), random(&mut rng, width));
        let run = |rows: &[&Vec<f32>]| {
            let mut ranges = Vec::new();
            let mut end = 0;
            for row in rows {
                let start = end;
                end += row.len() / (3 * width);
                ranges.push(start..end);
            }
            let qkv: Vec<f32> = rows.iter().flat_map(|row| row.iter().copied()).collect();
            let mut out = vec![f32::NAN; end * width];
            attention(&qkv, &ranges, heads, dim, &mut out);
            layer_norm(&mut out, &weight, &bias, 1e-12);
            ranges
                .into_iter()
                .map(|range| bits(&out[range.start * width..range.end * width]))
                .collect::<Vec<_>>()
        };
        let rows: Vec<Vec<f32>> = [1, 2, 7, 8, 9, 16, 17, 31, 33, 64, 70, 129]
            .map(|len| random(&mut rng, len * 3 * width))
            .into();
        let alone: Vec<Vec<u32>> = rows.iter().map(|row| run(&[row]).remove(0)).collect();
        for trial in 0..60 {
            let mut order: Vec<usize> = (0..rows.len()).collect();
            order.shuffle(&mut rng);
            order.truncate(rng.random_range(1..=rows.len()));
            let batch: Vec<&Vec<f32>> = order.iter().map(|i| &rows[*i]).collect();
            let got = pools[trial % pools.len()].install(|| run(&batch));
            for (got, i) in got.iter().zip(order) {
                assert_eq!(*got, alone[i], "row {i} of {} heads of {dim}", heads);
            }
        }
    }
}
