#!/usr/bin/env python3
"""Reference outputs of transformers' ALBERT on small configurations.

Needs: python >= 3.10, torch 2.15.0, transformers 4.57.1, safetensors 0.6 or later, numpy.

    python golden/engine/generate.py [--out golden/engine]

Writes one folder a case: `config.json` and `model.safetensors` as `save_pretrained`
writes them, and `expected.safetensors` with, for each row i run alone (so without padding),

    input_ids.i, token_type_ids.i       [length]                  int64
    hidden_states.L.i                   [length, hidden_size]     L = 0 .. num_hidden_layers
    last_hidden_state.i                 [length, hidden_size]
    pooler_output.i                     [hidden_size]             where there is a pooler
    prediction_logits.i, sop_logits.i   [length, vocab], [labels] AlbertForPreTraining
    logits.i                            masked LM [length, vocab], sequence [labels],
                                        token [length, labels], multiple choice [1]
    start_logits.i, end_logits.i        [length]                  AlbertForQuestionAnswering

Every parameter is drawn at random, biases and LayerNorms too, so that nothing is zero or one
by chance of initialisation. Weights are drawn in scale with their fan-in, so that attention is
far from uniform and activations leave their linear range.
"""

import argparse
import math
import shutil
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers import AlbertConfig

LENGTHS = [1, 2, 7, 16, 33]

TINY = dict(
    vocab_size=97,
    embedding_size=16,
    hidden_size=32,
    num_hidden_layers=2,
    num_hidden_groups=1,
    num_attention_heads=4,
    intermediate_size=48,
    inner_group_num=1,
    hidden_act="gelu_new",
    max_position_embeddings=40,
    type_vocab_size=2,
    layer_norm_eps=1e-12,
)

# name: (class, dtype of the file, changes to TINY)
CASES = {
    "base": ("AlbertModel", torch.float32, {}),
    "base_groups2": (
        "AlbertModel",
        torch.float32,
        dict(num_hidden_layers=5, num_hidden_groups=2, num_attention_heads=2, hidden_act="gelu"),
    ),
    "base_groups3_inner2": (
        "AlbertModel",
        torch.float32,
        dict(num_hidden_layers=6, num_hidden_groups=3, inner_group_num=2, hidden_act="relu"),
    ),
    "base_inner2_silu": (
        "AlbertModel",
        torch.float32,
        dict(num_hidden_layers=3, inner_group_num=2, hidden_act="silu"),
    ),
    "base_odd_tanh": (
        "AlbertModel",
        torch.float32,
        dict(
            vocab_size=61,
            embedding_size=13,
            hidden_size=35,
            num_attention_heads=5,
            intermediate_size=51,
            type_vocab_size=3,
            hidden_act="tanh",
        ),
    ),
    "base_square_one_head": (
        "AlbertModel",
        torch.float32,
        dict(embedding_size=72, hidden_size=72, num_attention_heads=1, type_vocab_size=1, layer_norm_eps=1e-5),
    ),
    "base_f16": ("AlbertModel", torch.float16, dict(hidden_act="gelu")),
    "base_bf16": ("AlbertModel", torch.bfloat16, {}),
    "pretraining": ("AlbertForPreTraining", torch.float32, dict(num_hidden_layers=3)),
    "pretraining_groups2_gelu": (
        "AlbertForPreTraining",
        torch.float32,
        dict(num_hidden_layers=4, num_hidden_groups=2, hidden_act="gelu", num_attention_heads=8, embedding_size=24),
    ),
    "masked_lm": ("AlbertForMaskedLM", torch.float32, dict(vocab_size=131)),
    "masked_lm_relu": ("AlbertForMaskedLM", torch.float32, dict(hidden_act="relu", embedding_size=9)),
    "sequence_classes2": ("AlbertForSequenceClassification", torch.float32, dict(num_labels=2)),
    "sequence_classes3": (
        "AlbertForSequenceClassification",
        torch.float32,
        dict(num_labels=3, hidden_size=48, num_attention_heads=2, intermediate_size=80),
    ),
    "sequence_regression": (
        "AlbertForSequenceClassification",
        torch.float32,
        dict(num_labels=1, problem_type="regression", hidden_act="gelu"),
    ),
    "token_classes5": ("AlbertForTokenClassification", torch.float32, dict(num_labels=5)),
    "question": ("AlbertForQuestionAnswering", torch.float32, dict(num_hidden_groups=2, type_vocab_size=4)),
    "multiple_choice": ("AlbertForMultipleChoice", torch.float32, dict(num_labels=4)),
}


def randomise(model, generator):
    """Draws every parameter anew."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "LayerNorm.weight" in name or "layer_norm.weight" in name:
            value = 1.0 + 0.2 * noise
        elif parameter.ndim == 1:
            value = 0.2 * noise
        elif "embeddings" in name:
            value = 0.5 * noise
        else:
            scale = 2.5 if ".query." in name or ".key." in name else 1.2
            value = noise * scale / math.sqrt(parameter.shape[1])
        parameter.data.copy_(value)


def rows(config, generator):
    """One row a length; types grow along the row from type 0."""
    for length in LENGTHS:
        ids = torch.randint(0, config.vocab_size, (length,), generator=generator)
        types = torch.arange(length) * config.type_vocab_size // length
        yield ids, types


def expected(name, model, config, generator):
    """All outputs of all rows, without the batch dimension."""
    out = {}
    for i, (ids, types) in enumerate(rows(config, generator)):
        out[f"input_ids.{i}"] = ids
        out[f"token_type_ids.{i}"] = types
        batch = dict(input_ids=ids[None], token_type_ids=types[None])
        body = model if name == "AlbertModel" else model.albert
        base = body(**batch, output_hidden_states=True)
        for layer, states in enumerate(base.hidden_states):
            out[f"hidden_states.{layer}.{i}"] = states[0]
        out[f"last_hidden_state.{i}"] = base.last_hidden_state[0]
        if base.pooler_output is not None:
            out[f"pooler_output.{i}"] = base.pooler_output[0]
        if name == "AlbertModel":
            continue
        if name == "AlbertForMultipleChoice":
            batch = {key: value[None] for key, value in batch.items()}
        head = model(**batch)
        for key in ["prediction_logits", "sop_logits", "logits", "start_logits", "end_logits"]:
            if key in head:
                out[f"{key}.{i}"] = head[key][0]
    return {key: value.clone().contiguous() for key, value in out.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)

    total = 0
    for seed, (case, (name, dtype, changes)) in enumerate(CASES.items()):
        generator = torch.Generator().manual_seed(seed)
        config = AlbertConfig(**{**TINY, **changes})
        model = getattr(transformers, name)(config).eval()
        randomise(model, generator)
        # The reference runs in f32 on the values that the file holds.
        model = model.to(dtype).to(torch.float32)
        with torch.no_grad():
            out = expected(name, model, config, generator)
        spread = min(np.ptp(v.numpy()) for k, v in out.items() if "ids" not in k and v.numel() > 1)
        folder = args.out / case
        shutil.rmtree(folder, ignore_errors=True)
        model.to(dtype).save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        save_file(out, folder / "expected.safetensors")
        size = sum(path.stat().st_size for path in folder.iterdir())
        total += size
        print(f"{case:28} {name:32} {size / 1e3:7.1f} kB, smallest range {spread:.3f}")
    print(f"{total / 1e6:.2f} MB, transformers {transformers.__version__}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
