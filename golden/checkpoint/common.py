"""Small ALBERTs of every architecture, shared by generate.py and roundtrip.py."""

import transformers
from transformers import AlbertConfig

SIZES = dict(
    vocab_size=24,
    embedding_size=6,
    hidden_size=12,
    num_hidden_layers=4,
    num_attention_heads=3,
    intermediate_size=20,
    max_position_embeddings=10,
)

# Class, and the fields in which its model differs from the rest.
MODELS = {
    "AlbertModel": dict(num_hidden_groups=2, inner_group_num=2),
    "AlbertForPreTraining": dict(hidden_act="gelu", hidden_dropout_prob=0.1),
    "AlbertForMaskedLM": dict(hidden_act="relu", layer_norm_eps=1e-6),
    "AlbertForSequenceClassification": dict(
        id2label={0: "no", 1: "yes", 2: "maybe"},
        label2id={"no": 0, "yes": 1, "maybe": 2},
        problem_type="multi_label_classification",
        classifier_dropout_prob=0.25,
    ),
    "AlbertForTokenClassification": dict(num_labels=5, hidden_act="silu"),
    "AlbertForQuestionAnswering": dict(embedding_size=12, hidden_act="tanh"),
    "AlbertForMultipleChoice": dict(num_hidden_groups=4, type_vocab_size=3),
}


def make(name, **more):
    """A model of a class with its own fields, freshly initialised."""
    config = AlbertConfig(**(SIZES | MODELS[name] | more))
    return getattr(transformers, name)(config).eval()


def canonical(name, key):
    """The name that a tensor of a class has in this project."""
    return f"albert.{key}" if name == "AlbertModel" else key


# The decoder is the word embedding and its bias the head's.
TIED = ("predictions.decoder.weight", "predictions.decoder.bias")
