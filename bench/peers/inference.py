#!/usr/bin/env python3
"""Forward passes of one ALBERT in the runtimes that people use for it, timed on request.

    inference.py prepare FOLDER             save a random ALBERT and BERT there, and what peers make of them
    inference.py tokenizer SPIECE FOLDER    save a tokenizer there
    inference.py serve PEER FOLDER THREADS  PEER is one of PEERS below
    inference.py once PEER FOLDER THREADS TEXT  run one text and end

Needs the packages of requirements.txt. `prepare` writes the base shape (12 layers, hidden 768,
vocabulary 30,000; BERT's 30,522). `serve` reads lines and answers each with one:

    shape BATCH LENGTH ITERATIONS   so many times in milliseconds, one forward pass each, on fresh
                                    random ids, rows of equal length, without padding
    mixture FILE BATCH              seconds for all rows of the file, which has a length a line: in
                                    order, BATCH rows at a time, padded to the longest, with a mask

All give every position of the last layer and the pooler's output.
"""

import sys
import time
from pathlib import Path

PEERS = {
    "pytorch-f32": "PyTorch f32",
    "pytorch-bf16": "PyTorch bf16",
    "onnxruntime-f32": "ONNX Runtime f32",
    "onnxruntime-int8": "ONNX Runtime int8",
    "openvino-f32": "OpenVINO f32",
    "openvino-bf16": "OpenVINO bf16",
    "openvino-int8": "OpenVINO int8",
    "bert-onnxruntime-int8": "BERT-base, ONNX Runtime int8",
}


def prepare(folder):
    import torch
    from transformers import AlbertConfig, AlbertModel, BertConfig, BertModel, logging

    logging.set_verbosity_error()
    torch.manual_seed(0)
    config = AlbertConfig(hidden_size=768, num_attention_heads=12, intermediate_size=3072)
    albert = AlbertModel(config).eval()
    albert.save_pretrained(folder)
    export(albert, folder / "model.onnx")
    export(BertModel(BertConfig()).eval(), folder / "bert.onnx")

    from onnxruntime.quantization import QuantType, quantize_dynamic

    for name in ("model", "bert"):
        quantize_dynamic(str(folder / f"{name}.onnx"), str(folder / f"{name}.int8.onnx"),
                         weight_type=QuantType.QInt8)
    openvino_int8(folder)


def export(model, path):
    import torch

    class Body(torch.nn.Module):
        """Gives the two outputs as a tuple, which is what the exporter wants."""

        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            out = self.model(input_ids, attention_mask)
            return out.last_hidden_state, out.pooler_output

    axes = {0: "batch", 1: "length"}
    ids = torch.ones(2, 8, dtype=torch.long)
    torch.onnx.export(
        Body(), (ids, ids), str(path), input_names=["input_ids", "attention_mask"],
        output_names=["last_hidden_state", "pooler_output"],
        dynamic_axes={"input_ids": axes, "attention_mask": axes, "last_hidden_state": axes,
                      "pooler_output": {0: "batch"}},
        opset_version=17, dynamo=False,
    )


def openvino_int8(folder):
    """OpenVINO's own quantiser, as its guide has it for transformers, on random ids."""
    import nncf
    import numpy as np
    import openvino as ov

    random = np.random.default_rng(1)
    samples = [inputs(random.integers(5, 30000, (1, 64), dtype=np.int64)) for _ in range(32)]
    model = ov.Core().read_model(str(folder / "model.onnx"))
    model = nncf.quantize(model, nncf.Dataset(samples), model_type=nncf.ModelType.TRANSFORMER,
                          subset_size=len(samples))
    ov.save_model(model, str(folder / "model.int8.xml"))


def inputs(ids, mask=None):
    import numpy as np

    return {"input_ids": ids, "attention_mask": np.ones_like(ids) if mask is None else mask}


def pytorch(folder, threads, bf16):
    import torch
    from transformers import AlbertModel

    torch.set_num_threads(threads)
    model = AlbertModel.from_pretrained(folder).eval()

    def forward(ids, mask):
        mask = None if mask is None else torch.from_numpy(mask)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = model(torch.from_numpy(ids), mask)
        return out.last_hidden_state.float().numpy(), out.pooler_output.float().numpy()

    return forward


def onnxruntime(path, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda ids, mask: session.run(None, inputs(ids, mask))


def openvino(path, threads, precision):
    import openvino as ov

    hints = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision,
             "PERFORMANCE_HINT": "LATENCY"}
    model = ov.Core().compile_model(str(path), "CPU", hints)
    request = model.create_infer_request()

    def forward(ids, mask):
        out = request.infer(inputs(ids, mask))
        return out[0], out[1]

    return forward


def opened(peer, folder, threads):
    match peer:
        case "pytorch-f32":
            return pytorch(folder, threads, False)
        case "pytorch-bf16":
            return pytorch(folder, threads, True)
        case "onnxruntime-f32":
            return onnxruntime(folder / "model.onnx", threads)
        case "onnxruntime-int8":
            return onnxruntime(folder / "model.int8.onnx", threads)
        case "bert-onnxruntime-int8":
            return onnxruntime(folder / "bert.int8.onnx", threads)
        case "openvino-f32":
            return openvino(folder / "model.onnx", threads, "f32")
        case "openvino-bf16":
            return openvino(folder / "model.onnx", threads, "bf16")
        case "openvino-int8":
            return openvino(folder / "model.int8.xml", threads, "f32")
    sys.exit(f"`{peer}` is none of {', '.join(PEERS)}")


def shape(forward, random, batch, length, iterations):
    import numpy as np

    times = []
    for _ in range(iterations):
        ids = random.integers(5, 30000, (batch, length), dtype=np.int64)
        start = time.perf_counter()
        forward(ids, None)
        times.append((time.perf_counter() - start) * 1e3)
    return " ".join(f"{t:.4f}" for t in times)


def mixture(forward, random, file, batch):
    import numpy as np

    lengths = [int(line) for line in Path(file).read_text().split()]
    batches = []
    for at in range(0, len(lengths), batch):
        rows = lengths[at : at + batch]
        ids = random.integers(5, 30000, (len(rows), max(rows)), dtype=np.int64)
        mask = np.array([[int(i < length) for i in range(max(rows))] for length in rows])
        batches.append((ids * mask, mask.astype(np.int64)))
    start = time.perf_counter()
    for ids, mask in batches:
        forward(ids, mask)
    return f"{time.perf_counter() - start:.4f}"


def once(forward, folder, text):
    """The vector of one text, as a program does that has nothing else to do."""
    import numpy as np
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
    print(forward(ids, None)[1][0].tolist())


def save_tokenizer(spiece, folder):
    from transformers import AlbertTokenizerFast

    AlbertTokenizerFast(str(spiece)).save_pretrained(folder)


def serve(forward):
    import numpy as np

    random = np.random.default_rng(0)
    print("ready", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["shape", *numbers]:
                print(shape(forward, random, *map(int, numbers)), flush=True)
            case ["mixture", file, batch]:
                print(mixture(forward, random, file, int(batch)), flush=True)
            case _:
                sys.exit(f"`{line.strip()}` is not understood")


def main():
    match sys.argv[1:]:
        case ["prepare", folder]:
            prepare(Path(folder))
        case ["tokenizer", spiece, folder]:
            save_tokenizer(Path(spiece), Path(folder))
        case ["once", peer, folder, threads, text]:
            once(opened(peer, Path(folder), int(threads)), Path(folder), text)
        case ["serve", peer, folder, threads]:
            serve(opened(peer, Path(folder), int(threads)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
