#!/usr/bin/env python3
"""Pretraining steps of ALBERT in PyTorch, timed; one JSON line as `albert bench train` prints it.

Needs: python >= 3.10, torch 2.15.0, transformers 4.57.1.

    training.py --preset base|mini --batch N --length N [--precision f32|bf16] [--steps N] [--threads N]
                [--device cpu|cuda] [--compile]

A step is what a user of transformers runs: the forward pass of AlbertForPreTraining over random
ids with 15% of the positions labelled, both losses, the backward pass, clipping at 1.0 and
torch's AdamW (fused, the fastest it has). `bf16` is autocast. Two steps go before the clock starts,
ten where the model is compiled. On a GPU a step ends when the device has done it.
"""

import argparse
import json
import resource
import statistics
import time

PRESETS = {
    "base": dict(hidden_size=768, num_attention_heads=12, intermediate_size=3072),
    "mini": dict(
        vocab_size=16000,
        hidden_size=384,
        num_hidden_layers=4,
        num_attention_heads=6,
        intermediate_size=1536,
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", choices=PRESETS, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()

    import torch
    from transformers import AlbertConfig, AlbertForPreTraining, logging

    logging.set_verbosity_error()
    if args.threads:
        torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    config = AlbertConfig(
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **PRESETS[args.preset]
    )
    model = AlbertForPreTraining(config).train().to(args.device)
    # As people set it who want speed: matrix products of f32 in TF32.
    torch.set_float32_matmul_precision("high" if args.device == "cuda" else "highest")
    forward = torch.compile(model) if args.compile else model
    warmup = 10 if args.compile else 2
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    shape = args.batch, args.length
    times = []
    for step in range(args.steps + warmup):
        ids = torch.randint(5, config.vocab_size, shape, generator=generator)
        chosen = torch.rand(shape, generator=generator) < 0.15
        labels = torch.where(chosen, ids, torch.full_like(ids, -100))
        order = torch.randint(0, 2, shape[:1], generator=generator)
        start = time.perf_counter()
        ids, labels, order = (x.to(args.device) for x in (ids, labels, order))
        bf16 = args.precision == "bf16"
        with torch.autocast(args.device, torch.bfloat16, enabled=bf16):
            loss = forward(input_ids=ids, labels=labels, sentence_order_label=order).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if args.device == "cuda":
            torch.cuda.synchronize()
        if step >= warmup:
            times.append(1e3 * (time.perf_counter() - start))
    median = statistics.median(times)
    report = {
        "preset": args.preset,
        "batch": args.batch,
        "length": args.length,
        "precision": args.precision,
        "threads": torch.get_num_threads(),
        "steps": args.steps,
        "tokens_per_s": args.batch * args.length / median * 1e3,
        "step_ms": median,
        "step_ms_all": times,
        # Linux counts in kibibytes.
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "loss": float(loss),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
