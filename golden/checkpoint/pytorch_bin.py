#!/usr/bin/env python3
"""A `pytorch_model.bin`, the same tensors as safetensors, and the same in shards.

Made with Python 3.11, PyTorch 2.15.0, transformers 4.57.1 and safetensors:

    python golden/checkpoint/pytorch_bin.py

Writes torch/pytorch_model.bin, torch/model.safetensors (which a test moves apart), shards as transformers
cuts them with their index in torch/shards, and torch/config.json: a tiny masked-LM ALBERT under the names of older files (`gamma`, `beta`), with a
tied decoder that shares its storage, one tensor in f16, one in bf16, and a view into the middle of a
larger storage.
"""

import json
import pathlib

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file
from transformers import AlbertConfig, AlbertForMaskedLM

HERE = pathlib.Path(__file__).resolve().parent / "torch"


def main():
    torch.manual_seed(0)
    config = AlbertConfig(
        vocab_size=11,
        embedding_size=4,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=6,
    )
    model = AlbertForMaskedLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    tensors = {}
    for name, value in model.state_dict().items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        name = name.replace("LayerNorm.bias", "LayerNorm.beta")
        tensors[name] = value
    key = next(k for k in tensors if k.endswith("attention.key.weight"))
    tensors[key] = tensors[key].half()
    key = next(k for k in tensors if k.endswith("attention.value.weight"))
    tensors[key] = tensors[key].bfloat16()
    key = next(k for k in tensors if k.endswith("ffn.weight"))
    stacked = torch.stack([torch.zeros_like(tensors[key]), tensors[key]])
    tensors[key] = stacked[1]
    HERE.mkdir(exist_ok=True)
    torch.save(tensors, HERE / "pytorch_model.bin")
    save_file({k: v.clone().contiguous() for k, v in tensors.items()}, HERE / "model.safetensors")
    shards = HERE / "shards"
    shards.mkdir(exist_ok=True)
    split = split_torch_state_dict_into_shards(
        tensors, filename_pattern="pytorch_model{suffix}.bin", max_shard_size=1200
    )
    for file, names in split.filename_to_tensors.items():
        torch.save({name: tensors[name] for name in names}, shards / file)
    index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
    (shards / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    config.architectures = ["AlbertForMaskedLM"]
    config.save_pretrained(HERE)


if __name__ == "__main__":
    main()
