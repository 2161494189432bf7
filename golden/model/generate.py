#!/usr/bin/env python3
"""Reference numbers for learning: gradients, and losses of ten optimiser steps.

Needs torch 2.x, transformers 4.57.1 and safetensors:

    python golden/model/generate.py [--output golden/model]

Everything is computed in float64 from weights that are stored in f32, so that what is written is
right to the last digit of f32. `pytorch_f32` holds how far PyTorch's own f32 lies from that,
which the tests' tolerances refer to.

- `pretraining/`: a small AlbertForPreTraining as transformers saves it
- `batch.json`: rows of ids and type ids, masked places [row, column, label], order labels
- `gradients.safetensors`: the gradient of masked-LM loss plus order loss for every parameter,
  under transformers' names (tied tensors once, as the word embeddings)
- `steps.json`: losses before each of ten steps on that batch, gradient norm clipped at 1.0, for
  LAMB as in Google's optimizer (no bias correction; norms and biases without decay and without
  trust ratio) and for torch.optim.AdamW (norms and biases without decay)
"""

import argparse
import json
import pathlib
import random

import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from transformers import AlbertConfig, AlbertForPreTraining

STEPS = 10
LAMB_RATE = 0.02
ADAMW_RATE = 0.003
DECAY = 0.01


def build(folder):
    config = AlbertConfig(
        vocab_size=50, embedding_size=12, hidden_size=24, num_hidden_layers=4,
        num_hidden_groups=2, inner_group_num=2, num_attention_heads=3, intermediate_size=40,
        max_position_embeddings=16, type_vocab_size=2, hidden_act="gelu_new",
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout_prob=0.0,
        layer_norm_eps=1e-12, initializer_range=0.2,
    )
    torch.manual_seed(7)
    model = AlbertForPreTraining(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.1)
            elif "norm" in name.lower():
                parameter.normal_(1.0, 0.1)
    model.save_pretrained(folder, safe_serialization=True)
    return model


def draw_batch():
    draw = random.Random(3)
    ids, types, masked = [], [], []
    for row, length in enumerate([11, 16, 7, 9]):
        ids.append([2] + [draw.randrange(5, 50) for _ in range(length - 2)] + [3])
        types.append([int(column > length // 2) for column in range(length)])
        for column in sorted(draw.sample(range(1, length - 1), 1 + length // 4)):
            masked.append([row, column, ids[row][column]])
            ids[row][column] = 4
    return {"ids": ids, "type_ids": types, "masked": masked, "order": [0, 1, 1, 0]}


def losses(model, batch):
    width = max(len(row) for row in batch["ids"])
    pad = lambda rows: torch.tensor([row + [0] * (width - len(row)) for row in rows])
    attention = pad([[1] * len(row) for row in batch["ids"]])
    output = model(pad(batch["ids"]), attention_mask=attention, token_type_ids=pad(batch["type_ids"]))
    rows, columns, labels = (list(side) for side in zip(*batch["masked"]))
    words = output.prediction_logits[rows, columns]
    masked_lm = cross_entropy(words, torch.tensor(labels))
    order = cross_entropy(output.sop_logits, torch.tensor(batch["order"]))
    return masked_lm, order


def gradients(model, batch):
    model.zero_grad()
    masked_lm, order = losses(model, batch)
    (masked_lm + order).backward()
    named = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    return named, masked_lm.item(), order.item()


def excluded(name):
    return "LayerNorm" in name or "layer_norm" in name or name.endswith("bias")


class Lamb:
    def __init__(self, model):
        self.model = model
        self.moments = {n: (torch.zeros_like(p), torch.zeros_like(p)) for n, p in model.named_parameters()}

    @torch.no_grad()
    def step(self):
        for name, w in self.model.named_parameters():
            m, v = self.moments[name]
            m.mul_(0.9).add_(w.grad, alpha=0.1)
            v.mul_(0.999).add_(w.grad * w.grad, alpha=0.001)
            update = m / (v.sqrt() + 1e-6)
            ratio = 1.0
            if not excluded(name):
                update = update + DECAY * w
                if w.norm() > 0 and update.norm() > 0:
                    ratio = w.norm() / update.norm()
            w.sub_(LAMB_RATE * ratio * update)


def adamw(model):
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if not excluded(n)], "weight_decay": DECAY},
        {"params": [p for n, p in named if excluded(n)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=ADAMW_RATE, betas=(0.9, 0.999), eps=1e-8)


def steps(model, optimizer, batch):
    out = []
    for _ in range(STEPS):
        model.zero_grad()
        masked_lm, order = losses(model, batch)
        (masked_lm + order).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, error_if_nonfinite=True)
        optimizer.step()
        out.append({"masked_lm": masked_lm.item(), "order": order.item(), "norm": norm.item()})
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    output = parser.parse_args().output
    folder = output / "pretraining"
    build(folder)
    batch = draw_batch()

    def load(dtype):
        # Eager attention: what is differentiated is the published formula.
        model = AlbertForPreTraining.from_pretrained(folder, attn_implementation="eager")
        return model.to(dtype).eval()

    exact, masked_lm, order = gradients(load(torch.float64), batch)
    single, _, _ = gradients(load(torch.float32), batch)
    largest = max(
        ((exact[n] - single[n]).abs().max() / exact[n].abs().max().clamp_min(1e-3)).item() for n in exact
    )
    save_file({n: g.float().contiguous() for n, g in exact.items()}, output / "gradients.safetensors")

    result = {"learning_rates": {"lamb": LAMB_RATE, "adamw": ADAMW_RATE}, "weight_decay": DECAY}
    result["loss"] = {"masked_lm": masked_lm, "order": order}
    result["pytorch_f32"] = {"gradients": largest}
    for name, make in [("lamb", Lamb), ("adamw", adamw)]:
        runs = {}
        for dtype in [torch.float64, torch.float32]:
            model = load(dtype)
            runs[dtype] = steps(model, make(model), batch)
        result[name] = runs[torch.float64]
        result["pytorch_f32"][name] = max(
            abs(a[key] - b[key]) / abs(a[key])
            for a, b in zip(runs[torch.float64], runs[torch.float32])
            for key in a
        )
    (output / "batch.json").write_text(json.dumps(batch) + "\n")
    (output / "steps.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["pytorch_f32"]))


if __name__ == "__main__":
    main()
