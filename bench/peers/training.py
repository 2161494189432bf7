#!/usr/bin/env python3
"""Pretraining steps of ALBERT in PyTorch, timed on request.

Needs: python >= 3.10, torch 2.15.0, transformers 4.57.1.

    training.py [THREADS]

Reads lines `PRESET ROWS LENGTH PRECISION STEPS` (`base` or `mini`; `f32` or `bf16`) and answers
each with that many times in milliseconds. A step is what a user of transformers runs: the forward
pass of AlbertForPreTraining over random ids with 15% of the positions labelled, both losses, the
backward pass, clipping at 1.0 and torch's AdamW. `bf16` is autocast on the CPU.
"""

import sys
import time

PRESETS = {
    "base": dict(hidden_size=768, num_attention_heads=12, intermediate_size=3072),
    "mini": dict(
        vocab_size=16000,
        hidden_size=256,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=1024,
    ),
}


def main():
    import torch
    from transformers import AlbertConfig, AlbertForPreTraining, logging

    logging.set_verbosity_error()
    if len(sys.argv) > 1:
        torch.set_num_threads(int(sys.argv[1]))
    generator = torch.Generator().manual_seed(0)
    models = {}

    def step(preset, rows, length, precision):
        if preset not in models:
            config = AlbertConfig(
                hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **PRESETS[preset]
            )
            model = AlbertForPreTraining(config).train()
            models[preset] = model, torch.optim.AdamW(model.parameters(), lr=1e-5)
        model, optimizer = models[preset]
        vocabulary = model.config.vocab_size
        ids = torch.randint(5, vocabulary, (rows, length), generator=generator)
        chosen = torch.rand((rows, length), generator=generator) < 0.15
        labels = torch.where(chosen, ids, torch.full_like(ids, -100))
        order = torch.randint(0, 2, (rows,), generator=generator)
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = model(input_ids=ids, labels=labels, sentence_order_label=order).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return 1e3 * (time.perf_counter() - start)

    print("ready", flush=True)
    for line in sys.stdin:
        preset, rows, length, precision, steps = line.split()
        shape = preset, int(rows), int(length), precision
        print(*(f"{step(*shape):.3f}" for _ in range(int(steps))), flush=True)


if __name__ == "__main__":
    main()
