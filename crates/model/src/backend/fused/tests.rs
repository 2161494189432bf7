//! Every kernel against its plain twin: results and gradients.

use super::*;
use crate::Cpu;
use crate::backend::twins::{self, agree, random};

#[test]
fn dense_equals_its_plain_twin() {
    twins::dense(Cpu::dense);
}

#[test]
fn shared_layers_equal_their_plain_twin() {
    twins::shared(Cpu::share, Cpu::dense_shared);
}

#[test]
fn gelu_equals_its_plain_twin() {
    twins::gelu(Cpu::activate);
}

#[test]
fn norm_equals_its_plain_twin() {
    twins::norm(Cpu::normalize);
}

#[test]
fn attention_equals_its_plain_twin() -> crate::Result<()> {
    twins::attention(Cpu::attend)
}

#[test]
fn attention_of_selected_tokens_equals_its_plain_twin() -> crate::Result<()> {
    for (lengths, others, heads, dim) in [
        (vec![1], vec![], 1, 4),
        (vec![5, 5, 5], vec![14, 3], 2, 8),
        (vec![17, 1, 33], vec![2, 20, 50, 16, 2], 4, 12),
        (vec![70, 128], (0..198).collect(), 2, 64),
    ] {
        let rows = Rows::new(&lengths)?;
        let selection = Selection::with_starts(&rows, &others)?;
        let selected = selection.tokens().len();
        let all = [rows.tokens(), heads * dim];
        let precision = Precision::F32;
        agree(
            [random([selected, heads * dim]), random(all), random(all)],
            |sides| Cpu::attend_selected(sides, &rows, &selection, heads, precision),
            |sides| plain::attend_selected(sides, &rows, &selection, heads, precision),
        );
    }
    Ok(())
}

#[test]
fn cross_entropy_equals_its_plain_twin() {
    twins::cross_entropy(Cpu::cross_entropy);
}
