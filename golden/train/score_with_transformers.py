#!/usr/bin/env python3
"""Recompute `albert score`'s scores with transformers, from the same folder and rows.

    albert score --model models/mini --corpus heldout.jsonl.zst --examples rows.jsonl --json > score.json
    python golden/train/score_with_transformers.py --model models/mini --examples rows.jsonl --score score.json

Written for torch 2.x and transformers 4.57.1.

Taken from the rows that `albert score` wrote, and not made anew: the piece ids with their masks,
the types, the masked positions and their labels, the number of characters that the masked words
cover, and the order labels. No text is read and nothing is tokenised or drawn; each row is only
held against those rules of the protocol (crates/train/src/score.rs) that can be seen in a row.

Recomputed from the rows and the folder's weights: the logits of both heads, and from them the
masked-LM loss and accuracy, the bits per character, the sentence-order accuracy and the counts of
pairs and masked pieces. Not recomputed: the interval and the counts of documents and tokens.

The exit status is 1 if a score differs by more than the tolerance.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch
from transformers import AlbertForPreTraining

# Both sides compute in 32 bits in another order; a mean over thousands of pieces agrees far
# closer than this. An accuracy may differ where two guesses tie within rounding: one item.
LOSS_TOLERANCE = 1e-4

CLS, SEP, MASK = 2, 3, 4


def check(row):
    """The protocol's rules that can be seen in a row."""
    ids, types = row["input_ids"], row["token_type_ids"]
    assert len(ids) == len(types) <= 128
    assert ids[0] == CLS and ids[-1] == SEP
    separators = [i for i, piece in enumerate(ids) if piece == SEP]
    pair = row["sentence_order_label"] is not None
    assert len(separators) == 1 + pair
    assert types == [0] * (separators[0] + 1) + [1] * (len(ids) - separators[0] - 1)
    assert len(row["masked_positions"]) == len(row["labels"]) > 0
    assert all(ids[i] == MASK for i in row["masked_positions"]), "every piece is [MASK]"


def main():
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=root / "models" / "mini", help="a checkpoint folder")
    parser.add_argument("--examples", required=True, help="rows that `albert score` wrote")
    parser.add_argument("--score", help="the JSON that `albert score` printed, to hold against")
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()

    model = AlbertForPreTraining.from_pretrained(arguments.model, dtype=torch.float32).eval()
    with open(arguments.examples, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    nats, right, masked, characters, pairs, ordered = 0.0, 0, 0, 0, 0, 0
    for start in range(0, len(rows), arguments.batch):
        batch = rows[start : start + arguments.batch]
        longest = max(len(row["input_ids"]) for row in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        types, attention = torch.zeros_like(ids), torch.zeros_like(ids)
        for i, row in enumerate(batch):
            check(row)
            length = len(row["input_ids"])
            ids[i, :length] = torch.tensor(row["input_ids"])
            types[i, :length] = torch.tensor(row["token_type_ids"])
            attention[i, :length] = 1
        with torch.no_grad():
            output = model.albert(input_ids=ids, token_type_ids=types, attention_mask=attention)
            order_logits = model.sop_classifier(output.pooler_output)
        for i, row in enumerate(batch):
            # The head at the masked positions alone: the same numbers, in a fraction of the time.
            with torch.no_grad():
                hidden = output.last_hidden_state[i, row["masked_positions"]]
                logits = model.predictions(hidden).double()
            labels = torch.tensor(row["labels"])
            nats += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            right += (logits.argmax(-1) == labels).sum().item()
            masked += len(labels)
            characters += row["characters"]
            if row["sentence_order_label"] is not None:
                pairs += 1
                guess = order_logits[i].argmax().item()
                ordered += guess == row["sentence_order_label"]
    if not masked:
        sys.exit(f"{arguments.examples}: no rows")
    scores = {
        "masked_lm_loss": nats / masked,
        "masked_lm_accuracy": right / masked,
        "masked_bits_per_character": nats / math.log(2) / max(characters, 1),
        "sentence_order_accuracy": ordered / pairs if pairs else None,
        "pairs": pairs,
        "masked": masked,
    }
    print(json.dumps(scores, indent=2))

    if arguments.score:
        expected = json.loads(Path(arguments.score).read_text(encoding="utf-8"))
        tolerances = {
            "masked_lm_loss": LOSS_TOLERANCE,
            "masked_lm_accuracy": 1.5 / masked,
            "masked_bits_per_character": LOSS_TOLERANCE,
            "sentence_order_accuracy": 1.5 / max(pairs, 1),
            "pairs": 0,
            "masked": 0,
        }

        def differ(key):
            ours, theirs = expected[key], scores[key]
            if ours is None or theirs is None:  # no pairs, no order
                return ours is not theirs
            return abs(ours - theirs) > tolerances[key]

        wrong = [
            f"{key}: {expected[key]} by albert, {scores[key]} by transformers"
            for key in tolerances
            if differ(key)
        ]
        for line in wrong:
            print(line, file=sys.stderr)
        print("the scores differ" if wrong else "the scores agree")
        sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
