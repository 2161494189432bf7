"""Writes one small checkpoint of every ALBERT architecture as transformers saves it.

The folders lie in `transformers-MAJOR/CLASS`, `expected.json` beside them has the
shape, sum and first number of every parameter. The files here come from
transformers 4.57.1 and 5.23.0 with torch 2.15.0: run the script once under each.

    python golden/checkpoint/generate.py [--output golden/checkpoint]
"""

import argparse
import json
from pathlib import Path

import torch
import transformers

from common import MODELS, TIED, canonical, make


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    out = parser.parse_args().output / f"transformers-{transformers.__version__.split('.')[0]}"

    expected = {}
    for seed, name in enumerate(MODELS):
        torch.manual_seed(seed)
        model = make(name)
        with torch.no_grad():
            # Fresh norms and biases are ones and zeros; these tell tensors apart.
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(out / name)
        expected[name] = {
            canonical(name, key): {
                "shape": list(value.shape),
                "sum": value.double().sum().item(),
                "first": value.flatten()[0].item(),
            }
            for key, value in model.state_dict().items()
            if key not in TIED
        }
    lines = [f"{json.dumps(name)}: {json.dumps(tensors)}" for name, tensors in expected.items()]
    (out / "expected.json").write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
