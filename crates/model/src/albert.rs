//! ALBERT without a head.

use albert_checkpoint::AlbertConfig;
use burn::module::Module;
use burn::tensor::{Tensor, TensorData, backend::Backend};

use crate::embeddings::Embeddings;
use crate::heads::Linear;
use crate::layer::{Layer, SharedLayer};
use crate::parameters::Builder;
use crate::{AlbertBackend, DropoutKey, Error, InputBatch, Precision, Result, Rows, Selection};

/// The encoder: embeddings, a mapping to the hidden size, and groups of shared layers
/// (Lan et al. 2019, section 3.1), with the pooler where the architecture has one.
#[derive(Module, Debug)]
pub struct Albert<B: Backend> {
    embeddings: Embeddings<B>,
    mapping: Linear<B>,
    groups: Vec<Vec<Layer<B>>>,
    pooler: Option<Linear<B>>,
    /// How many layers are applied: all, unless a run begins with fewer.
    depth: usize,
    #[module(skip)]
    config: AlbertConfig,
}

/// What the encoder gives.
#[derive(Clone, Debug)]
pub struct AlbertOutput<B: Backend> {
    /// `[tokens, hidden]`: the mapped embeddings, then the output of each layer, where asked for.
    pub hidden_states: Vec<Tensor<B, 2>>,
    /// Output of the last layer, `[tokens, hidden]`.
    pub last_hidden_state: Tensor<B, 2>,
    /// The pooled first token of each row, `[rows, hidden]`, where there is a pooler.
    pub pooled: Option<Tensor<B, 2>>,
}

/// What the layers of each group share in a pass, once one of them has been applied.
type SharedGroups<B> = Vec<Option<Vec<SharedLayer<B>>>>;

impl<B: AlbertBackend> Albert<B> {
    pub(crate) fn build(builder: &mut Builder<'_, B>, config: &AlbertConfig) -> Result<Self> {
        let embeddings = Embeddings::build(builder, config)?;
        let mapping = Linear::build(builder, "albert.encoder.embedding_hidden_mapping_in")?;
        let mut groups = Vec::with_capacity(config.num_hidden_groups);
        for group in 0..config.num_hidden_groups {
            let layers = (0..config.inner_group_num)
                .map(|inner| Layer::build(builder, config, group, inner));
            groups.push(layers.collect::<Result<Vec<_>>>()?);
        }
        let parameters = config.parameters();
        let pooled = parameters.iter().any(|p| p.name == "albert.pooler.weight");
        let pooler = pooled
            .then(|| Linear::build(builder, "albert.pooler"))
            .transpose()?;
        Ok(Self {
            embeddings,
            mapping,
            groups,
            pooler,
            depth: config.num_hidden_layers,
            config: config.clone(),
        })
    }

    pub(crate) fn set_precision(&mut self, precision: Precision) {
        self.mapping.set_precision(precision);
        let layers = self.groups.iter_mut().flatten();
        layers.for_each(|layer| layer.set_precision(precision));
        if let Some(pooler) = &mut self.pooler {
            pooler.set_precision(precision);
        }
    }

    pub(crate) fn set_depth(&mut self, depth: usize) -> Result<()> {
        let (layers, groups) = (self.config.num_hidden_layers, self.config.num_hidden_groups);
        if depth == 0 || depth > layers || (depth < layers && groups > 1) {
            return Err(Error::Depth {
                depth,
                layers,
                groups,
            });
        }
        self.depth = depth;
        Ok(())
    }

    /// The configuration the module was built from.
    pub fn config(&self) -> &AlbertConfig {
        &self.config
    }

    /// The word embeddings `[vocab, embedding]`.
    pub fn words(&self) -> Tensor<B, 2> {
        self.embeddings.words()
    }

    /// Encodes a batch; `hidden_states` asks for the output of every layer.
    ///
    /// # Errors
    /// A row is longer than the position embeddings.
    pub fn forward(
        &self,
        batch: &InputBatch<B>,
        key: Option<DropoutKey>,
        hidden_states: bool,
    ) -> Result<AlbertOutput<B>> {
        let rows = batch.rows();
        let mut x = self.embed(batch, key)?; // [tokens, hidden]
        let mut states = Vec::new();
        let mut groups = self.shared_groups();
        for layer in 0..self.depth {
            if hidden_states {
                states.push(x.clone());
            }
            x = self.apply(layer, &mut groups, x, rows, key);
        }
        if hidden_states {
            states.push(x.clone());
        }

        Ok(AlbertOutput {
            hidden_states: states,
            pooled: self.pool(&x, rows.starts()),
            last_hidden_state: x,
        })
    }

    /// Encodes a batch for selected tokens, the first of each row among them; nothing is dropped.
    /// The last layer's output is `[selected, hidden]`.
    ///
    /// # Errors
    /// A row is longer than the position embeddings.
    pub(crate) fn forward_selected(
        &self,
        batch: &InputBatch<B>,
        selection: &Selection,
    ) -> Result<AlbertOutput<B>> {
        let rows = batch.rows();
        let mut x = self.embed(batch, None)?;
        let last = self.depth - 1;
        let mut groups = self.shared_groups();
        for layer in 0..last {
            x = self.apply(layer, &mut groups, x, rows, None);
        }
        let layers = self.group(last, &mut groups);
        if let Some(((layer, shared), before)) = layers.split_last() {
            for (layer, shared) in before {
                x = layer.forward(x, shared, rows, 0, None);
            }
            x = layer.forward_selected(x, shared, rows, selection);
        }
        let firsts = selection.counts().iter().scan(0, |next, count| {
            let first = *next;
            *next += count;
            Some(first)
        });
        let firsts: Vec<usize> = firsts.collect();
        Ok(AlbertOutput {
            hidden_states: Vec::new(),
            pooled: self.pool(&x, &firsts),
            last_hidden_state: x,
        })
    }

    /// Whether training drops anything.
    pub(crate) fn drops(&self) -> bool {
        self.groups.iter().flatten().any(Layer::drops)
    }

    /// The mapped embeddings `[tokens, hidden]`.
    fn embed(&self, batch: &InputBatch<B>, key: Option<DropoutKey>) -> Result<Tensor<B, 2>> {
        let rows = batch.rows();
        let limit = self.config.max_position_embeddings;
        if rows.longest() > limit {
            let longest = rows.longest();
            let message = format!("a row has {longest} tokens, but there are {limit} positions");
            return Err(Error::Batch(message));
        }
        let (ids, type_ids) = (batch.ids(), batch.type_ids());
        let embedded = self.embeddings.forward(ids, type_ids, rows, key);
        Ok(self.mapping.forward(embedded))
    }

    /// Applies layer `layer`, `[tokens, hidden]` to the same.
    fn apply(
        &self,
        layer: usize,
        groups: &mut SharedGroups<B>,
        mut x: Tensor<B, 2>,
        rows: &Rows,
        key: Option<DropoutKey>,
    ) -> Tensor<B, 2> {
        let layers = self.group(layer, groups);
        for (i, (of_group, shared)) in layers.into_iter().enumerate() {
            let depth = layer * self.config.inner_group_num + i;
            x = of_group.forward(x, shared, rows, depth, key);
        }
        x
    }

    /// Room for what each group shares in a pass.
    fn shared_groups(&self) -> SharedGroups<B> {
        self.groups.iter().map(|_| None).collect()
    }

    /// The layers of the group that is applied as layer `layer`, ready from its first application on.
    fn group<'a>(
        &'a self,
        layer: usize,
        groups: &'a mut SharedGroups<B>,
    ) -> Vec<(&'a Layer<B>, &'a SharedLayer<B>)> {
        let group = self.config.group_of_layer(layer);
        let layers = &self.groups[group];
        let shared = groups[group].get_or_insert_with(|| layers.iter().map(Layer::share).collect());
        layers.iter().zip(&*shared).collect()
    }

    /// The pooled rows `starts` of `x`, `[starts, hidden]`, where there is a pooler.
    pub(crate) fn pool(&self, x: &Tensor<B, 2>, starts: &[usize]) -> Option<Tensor<B, 2>> {
        let pooler = self.pooler.as_ref()?;
        let starts: Vec<i32> = starts.iter().map(|&start| start as i32).collect();
        let starts = Tensor::from_data(TensorData::from(starts.as_slice()), &x.device());
        Some(pooler.forward(B::pick(x.clone(), starts)).tanh())
    }
}
