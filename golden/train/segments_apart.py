#!/usr/bin/env python3
"""Moves the embeddings of the two segments apart, as the run of `configs/order.toml` begins.

    golden/train/segments_apart.py MODEL OUTPUT

Needs: torch 2.x, safetensors. In a model that has learnt masked words alone, the two embeddings differ
by a quarter of the length of a word's: what a token says hardly depends on its segment, and the order's
loss has nothing to hold on to. This adds a direction drawn at random to one and takes it from the other,
so that they lie as far apart as a word's embedding is long (the mean over the vocabulary) and a little more.
Copies the folder's other files.
"""

import pathlib
import shutil
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

SEGMENTS = "albert.embeddings.token_type_embeddings.weight"
WORDS = "albert.embeddings.word_embeddings.weight"


def main():
    model, output = map(pathlib.Path, sys.argv[1:])
    output.mkdir()
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(model / name, output / name)
    weights = load_file(model / "model.safetensors")
    with safe_open(model / "model.safetensors", "pt") as file:
        metadata = file.metadata()
    segments = weights[SEGMENTS].float()
    length = weights[WORDS].float().norm(dim=1).mean()
    torch.manual_seed(0)
    direction = torch.randn(segments.shape[1])
    direction *= length / 2 / direction.norm()
    before = (segments[1] - segments[0]).norm()
    segments[0] -= direction
    segments[1] += direction
    print(f"a word's embedding {length:.3f}; segments apart {before:.3f}, now {(segments[1] - segments[0]).norm():.3f}")
    weights[SEGMENTS] = segments.to(weights[SEGMENTS].dtype)
    save_file(weights, output / "model.safetensors", metadata)


if __name__ == "__main__":
    main()
