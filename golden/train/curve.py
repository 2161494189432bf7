#!/usr/bin/env python3
"""Holds 500 steps of our training loss against PyTorch's, in f32, from the same weights and batches.

    golden/train/curve.py [--steps 500] [--seeds 4] [--threads 2]

Written for torch 2.15.0, transformers 4.57.1, safetensors 0.8.0; run it with their Python from
anywhere in the repository.

The text is a chain in which each piece mostly decides the next, so that there is something to
learn; 15% of the positions are masked, and half of the pairs are swapped. Both sides run the same
batches from the same initial weights with AdamW at a constant rate. Floating-point sums in
another order send two runs slowly apart, so the yardstick is the noise of training itself:
PyTorch's own curves from initial weights of other seeds. All curves are smoothed over 20 steps. By
the largest distance at any step, ours must lie nearer to PyTorch's curve of the same weights than
any two of PyTorch's curves lie to each other; and over the first 20 steps, not smoothed, it must
lie within 1e-4, before rounding has had time to grow.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AlbertConfig, AlbertForPreTraining

REPO = Path(__file__).resolve().parents[2]
VOCAB, ROWS, LENGTH, RATE = 500, 16, 32, 1e-3


def batches(steps):
    generator = torch.Generator().manual_seed(1)
    following = torch.randint(5, VOCAB, (VOCAB,), generator=generator)
    draw = lambda shape: torch.rand(shape, generator=generator)
    shape = (steps, ROWS, LENGTH)
    ids = torch.randint(5, VOCAB, shape, generator=generator)
    for column in range(1, LENGTH):
        keep = draw((steps, ROWS)) < 0.9
        ids[:, :, column] = torch.where(keep, following[ids[:, :, column - 1]], ids[:, :, column])
    half = LENGTH // 2
    order = (draw((steps, ROWS)) < 0.5).int()
    swapped = torch.cat([ids[:, :, half:], ids[:, :, :half]], dim=2)
    ids = torch.where(order[:, :, None] == 1, swapped, ids)
    ids[:, :, 0], ids[:, :, half], ids[:, :, -1] = 2, 3, 3
    types = torch.zeros(shape, dtype=torch.int32)
    types[:, :, half + 1 :] = 1
    chosen = (draw(shape) < 0.15) & (ids >= 5)
    labels = torch.where(chosen, ids, torch.full_like(ids, -1))
    ids = torch.where(chosen, torch.full_like(ids, 4), ids)
    return {
        "ids": ids.int().contiguous(),
        "types": types,
        "labels": labels.int().contiguous(),
        "order": order.contiguous(),
    }


def fresh(seed):
    torch.manual_seed(seed)
    config = AlbertConfig(
        vocab_size=VOCAB,
        embedding_size=32,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=LENGTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        classifier_dropout_prob=0.0,
        initializer_range=0.05,
    )
    return AlbertForPreTraining(config)


def theirs(model, data):
    excluded = lambda name: name.endswith("bias") or "LayerNorm" in name or "layer_norm" in name
    groups = [
        {"params": [p for n, p in model.named_parameters() if excluded(n)], "weight_decay": 0.0},
        {"params": [p for n, p in model.named_parameters() if not excluded(n)]},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, eps=1e-8, weight_decay=0.01)
    losses = []
    for step in range(len(data["ids"])):
        labels = data["labels"][step].long()
        loss = model(
            input_ids=data["ids"][step].long(),
            token_type_ids=data["types"][step].long(),
            labels=torch.where(labels < 0, torch.full_like(labels, -100), labels),
            sentence_order_label=data["order"][step].long(),
        ).loss
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return losses


def smoothed(losses, window=20):
    return torch.tensor(losses, dtype=torch.float64).unfold(0, window, 1).mean(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = batches(args.steps)
    with tempfile.TemporaryDirectory() as folder:
        model = fresh(0)
        model.save_pretrained(folder)
        save_file(data, Path(folder) / "batches.safetensors")
        # The whole workspace, or Burn is built once more with other features.
        build = ["cargo", "build", "--release", "--quiet", "--workspace", "--example", "curve"]
        subprocess.run(build, cwd=REPO, check=True)
        target = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target"))
        command = [target / "release" / "examples" / "curve", folder]
        command += [f"{folder}/batches.safetensors", str(RATE)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr)
        ours = [float(line) for line in done.stdout.split()]
    reference = theirs(model, data)
    others = [smoothed(theirs(fresh(seed), data)) for seed in range(1, args.seeds + 1)]
    curves = torch.stack([smoothed(reference), *others])
    apart = (smoothed(ours) - curves[0]).abs()
    first = max(abs(a - b) for a, b in zip(ours[:20], reference[:20]))
    pairs = [(a - b).abs() for a, b in itertools.combinations(curves, 2)]
    nearest = min(float(pair.max()) for pair in pairs)
    usual = float(torch.stack(pairs).mean())
    print(f"loss at step 1 / {args.steps}: {reference[0]:.4f} / {curves[0][-1]:.4f}")
    print(f"distance of ours, steps 1 to 20, not smoothed: largest {first:.2e}")
    print(f"distance of ours, smoothed: mean {float(apart.mean()):.2e}, largest {float(apart.max()):.2e}")
    print(f"distance of two of {len(curves)} seeds: mean {usual:.2e}, smallest of the largest {nearest:.2e}")
    if not (first < 1e-4 and float(apart.max()) < nearest):
        sys.exit("ours leaves PyTorch's curve further than rounding and the seeds explain")


if __name__ == "__main__":
    main()
