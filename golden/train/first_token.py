#!/usr/bin/env python3
"""How much the outputs of `[CLS]` and of other tokens differ from text to text, with transformers.

    albert score --model models/mini --corpus heldout.jsonl.zst --limit 60 --examples rows.jsonl
    python golden/train/first_token.py --model models/mini --examples rows.jsonl

Written for torch 2.x and transformers 4.57.1. Takes rows that `albert score` wrote, and prints the
standard deviation over rows of a number of the last layer's output, averaged over the numbers: for
`[CLS]`, for the tokens 5 to 8 of each row, and for the pooled output; and that of the difference of the
order head's two logits.
"""

import argparse
import json

import torch
from transformers import AlbertForPreTraining

# The places of the tokens that `[CLS]` is held against.
OTHERS = slice(5, 9)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--examples", required=True)
    parser.add_argument("--rows", type=int, default=48)
    args = parser.parse_args()

    model = AlbertForPreTraining.from_pretrained(args.model).float().eval()
    first, others, pooled, orders = [], [], [], []
    with open(args.examples, encoding="utf-8") as lines, torch.no_grad():
        for line in lines:
            row = json.loads(line)
            ids = torch.tensor([row["input_ids"]])
            if ids.shape[1] < OTHERS.stop:
                continue
            output = model.albert(ids, token_type_ids=torch.tensor([row["token_type_ids"]]))
            hidden = output.last_hidden_state[0]
            first.append(hidden[0])
            others.append(hidden[OTHERS])
            pooled.append(output.pooler_output[0])
            logits = model.sop_classifier(output.pooler_output)[0]
            orders.append(logits[1] - logits[0])
            if len(first) == args.rows:
                break

    def spread(values):
        return values.std(0).mean().item()

    print(f"rows                      {len(first)}")
    print(f"[CLS]                     {spread(torch.stack(first)):.3f}")
    print(f"tokens 5 to 8             {spread(torch.cat(others)):.3f}")
    print(f"pooled                    {spread(torch.stack(pooled)):.3f}")
    print(f"order, logits' difference {torch.stack(orders).std().item():.4f}")


if __name__ == "__main__":
    main()
