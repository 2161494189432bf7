#!/usr/bin/env python3
"""Forward passes of one ALBERT in PyTorch and in ONNX Runtime, timed on request.

Needs: python >= 3.10, torch 2.15.0, transformers 4.57.1, onnxruntime 1.32.0, onnx 1.20 or later.

    inference.py prepare FOLDER                  save a random ALBERT there, and model.onnx beside it
    inference.py serve pytorch FOLDER [THREADS]
    inference.py serve onnxruntime FOLDER [THREADS]

`prepare` writes the base shape (12 layers, hidden 768, vocabulary 30,000). `serve` reads lines
`BATCH LENGTH ITERATIONS` and answers each with that many times in milliseconds, one forward pass
each, on fresh random ids, f32, all positions of the last layer and the pooler's output. The rows
are of equal length, so no side is given a mask.
"""

import os
import sys
import time
from pathlib import Path


def prepare(folder):
    import torch
    from transformers import AlbertConfig, AlbertModel, logging

    logging.set_verbosity_error()
    torch.manual_seed(0)
    config = AlbertConfig(hidden_size=768, num_attention_heads=12, intermediate_size=3072)
    model = AlbertModel(config).eval()
    model.save_pretrained(folder)

    class Body(torch.nn.Module):
        """Gives the two outputs as a tuple, which is what the exporter wants."""

        def __init__(self):
            super().__init__()
            self.albert = model

        def forward(self, input_ids):
            out = self.albert(input_ids)
            return out.last_hidden_state, out.pooler_output

    axes = {0: "batch", 1: "length"}
    torch.onnx.export(
        Body(),
        (torch.zeros(2, 8, dtype=torch.long),),
        str(Path(folder) / "model.onnx"),
        input_names=["input_ids"],
        output_names=["last_hidden_state", "pooler_output"],
        dynamic_axes={"input_ids": axes, "last_hidden_state": axes, "pooler_output": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )


def pytorch(folder, threads):
    import torch
    from transformers import AlbertModel

    torch.set_num_threads(threads)
    model = AlbertModel.from_pretrained(folder).eval()

    def forward(ids):
        with torch.inference_mode():
            out = model(torch.from_numpy(ids))
        return out.last_hidden_state.numpy(), out.pooler_output.numpy()

    return forward


def onnxruntime(folder, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(
        str(Path(folder) / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )

    def forward(ids):
        return session.run(["last_hidden_state", "pooler_output"], {"input_ids": ids})

    return forward


def serve(forward):
    import numpy as np

    random = np.random.default_rng(0)
    print("ready", flush=True)
    for line in sys.stdin:
        batch, length, iterations = map(int, line.split())
        times = []
        for _ in range(iterations):
            ids = random.integers(5, 30000, (batch, length), dtype=np.int64)
            start = time.perf_counter()
            forward(ids)
            times.append((time.perf_counter() - start) * 1e3)
        print(" ".join(f"{t:.4f}" for t in times), flush=True)


def main():
    match sys.argv[1:]:
        case ["prepare", folder]:
            prepare(folder)
        case ["serve", ("pytorch" | "onnxruntime") as peer, folder, *threads]:
            count = int(threads[0]) if threads else len(os.sched_getaffinity(0))
            serve({"pytorch": pytorch, "onnxruntime": onnxruntime}[peer](folder, count))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
