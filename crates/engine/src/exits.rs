//! Rows that leave before the last layer (PABEE, Zhou et al. 2020).
//!
//! After each layer a classifier looks at every row's first token; a row whose classifiers agreed
//! often enough leaves the batch with the last of their answers. To look costs little: only first
//! tokens go through what follows attention before it is known which rows go on.

use std::ops::Range;

use albert_checkpoint::ProblemType;
use albert_kernels::Activation;

use crate::batch::Batch;
use crate::dense::Dense;
use crate::heads::Head;
use crate::layer::take;
use crate::model::{Model, Workspace};
use crate::outputs::{EarlyExit, Outputs, What, likeliest};

/// A model that rows may leave, and when.
pub(crate) struct Exiting<'m> {
    model: &'m Model,
    pooler: &'m Dense,
    last: &'m Dense,
    exits: &'m [Dense],
    when: EarlyExit,
}

/// A row on its way.
struct Row {
    /// Its number in the batch.
    number: usize,
    tokens: Range<usize>,
    /// What the classifier before said.
    said: Vec<f32>,
    /// How many classifiers in a row agreed with the one before them.
    agreed: usize,
}

impl<'m> Exiting<'m> {
    /// If rows may leave: the model has exits, and nothing is asked for that they would lack.
    pub(crate) fn new(model: &'m Model, what: &What) -> Option<Self> {
        let alone = what.head && !what.hidden_states && !what.last_hidden_state && !what.pooled;
        match (&model.head, &model.pooler, what.early_exit) {
            (Head::Sequence(last, exits), Some(pooler), Some(when))
                if alone && !exits.is_empty() =>
            {
                Some(Exiting {
                    model,
                    pooler,
                    last,
                    exits,
                    when,
                })
            }
            _ => None,
        }
    }

    pub(crate) fn run(&self, batch: &Batch, workspace: &mut Workspace) -> Outputs {
        let model = self.model;
        let hidden = model.config.hidden_size;
        let labels = self.last.outputs();
        let mut logits = vec![0.0; batch.ranges().len() * labels];
        let mut layers = vec![0; batch.ranges().len()];

        let states = take(&mut workspace.states, batch.tokens() * hidden);
        let embedded = &mut workspace.embedded;
        model.embeddings.forward(batch, embedded, states); // [tokens, hidden]
        let mut len = states.len();
        let row = |(number, tokens): (usize, &Range<usize>)| Row {
            number,
            tokens: tokens.clone(),
            said: Vec::new(),
            agreed: 0,
        };
        let mut rows: Vec<Row> = batch.ranges().iter().enumerate().map(row).collect();

        for depth in 1..=model.config.num_hidden_layers {
            let ranges: Vec<Range<usize>> = rows.iter().map(|row| row.tokens.clone()).collect();
            let group = &model.groups[model.config.group_of_layer(depth - 1)];
            let Some((layer, before)) = group.split_last() else {
                break;
            };
            let work = &mut workspace.layer;
            for layer in before {
                layer.forward(&mut states[..len], &ranges, None, work);
            }
            layer.attend(&states[..len], &ranges, work);
            let first: Vec<usize> = ranges.iter().map(|range| range.start).collect();
            let first = layer.peek(&states[..len], &first, work); // [rows, hidden]
            let pooled = self.pooler.apply_activate(first, Activation::Tanh);
            let exit = self.exits.get(depth - 1);
            let said = exit.unwrap_or(self.last).apply(&pooled); // [rows, labels]
            let mut left = Vec::with_capacity(rows.len());
            for (mut row, said) in rows.into_iter().zip(said.chunks_exact(labels)) {
                if !row.said.is_empty() {
                    row.agreed = match self.agree(&row.said, said) {
                        true => row.agreed + 1,
                        false => 0,
                    };
                }
                if exit.is_none() || row.agreed >= self.when.patience {
                    logits[row.number * labels..][..labels].copy_from_slice(said);
                    layers[row.number] = depth;
                } else {
                    row.said = said.to_vec();
                    left.push(row);
                }
            }
            rows = left;
            if rows.is_empty() {
                break;
            }
            if rows.len() < ranges.len() {
                let kept: Vec<Range<usize>> = rows.iter().map(|row| row.tokens.clone()).collect();
                len = layer.drop_others(&mut states[..len], &kept, work);
                let mut start = 0;
                for row in &mut rows {
                    row.tokens = start..start + row.tokens.len();
                    start = row.tokens.end;
                }
            }
            layer.complete(&mut states[..len], work);
        }
        Outputs {
            rows: batch.ranges().to_vec(),
            sequence_logits: Some(logits),
            exit_layers: Some(layers),
            ..Outputs::default()
        }
    }

    /// Whether two classifiers say the same of a row.
    fn agree(&self, a: &[f32], b: &[f32]) -> bool {
        let mut pairs = a.iter().zip(b);
        match self.model.config.problem() {
            ProblemType::Regression => pairs.all(|(a, b)| (a - b).abs() <= self.when.tolerance),
            ProblemType::MultiLabel => pairs.all(|(a, b)| (*a > 0.0) == (*b > 0.0)),
            ProblemType::SingleLabel => likeliest(a) == likeliest(b),
        }
    }
}
