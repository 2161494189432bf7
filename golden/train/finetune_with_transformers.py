#!/usr/bin/env python3
"""Fine-tunes the same checkpoint on the same examples here and with transformers.

Made with Python 3.11, PyTorch 2.15.0 and transformers 4.57.1:

    ALBERT_DATA=DATA python golden/train/finetune_with_transformers.py sst2
    ALBERT_DATA=DATA python golden/train/finetune_with_transformers.py squad --squad FOLDER

(FOLDER holds SQuAD's official `evaluate-v2.0.py`, by which the other side's answers are scored.)

Both sides begin with models/mini, take the same first examples of the training file, and go by one
recipe: AdamW (decay 0.01, not of norms and biases), the rate up in the first tenth of the steps and
down in a straight line to 0, gradient norm clipped at 1, f32, the model's dropout, the weights of
the last step. Seeds draw the head, the order and the dropout of each side. Prints the dev score of
every seed, the means and their difference in standard deviations of the seeds.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from transformers import (
    AlbertForQuestionAnswering,
    AlbertForSequenceClassification,
    PreTrainedTokenizerFast,
    get_linear_schedule_with_warmup,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "golden" / "data"))
MINI = ROOT / "models" / "mini"
PROGRAM = os.environ.get("ALBERT", ROOT / "target" / "release" / "albert")
EPOCHS, CLIP = 2, 1.0
STRIDE, ANSWER_PIECES, CANDIDATES = 64, 30, 20


def tokenizer():
    return PreTrainedTokenizerFast(
        tokenizer_file=str(MINI / "tokenizer.json"), pad_token="<pad>", unk_token="<unk>",
        cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    )


def steps_of(model, batches, rate, forward):
    """Trains over lists of batches, one list a pass."""
    excluded = ("bias", "LayerNorm.weight", "layer_norm.weight")
    groups = [
        {"params": [p for n, p in model.named_parameters() if not n.endswith(excluded)],
         "weight_decay": 0.01},
        {"params": [p for n, p in model.named_parameters() if n.endswith(excluded)],
         "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate)
    total = sum(len(b) for b in batches)
    schedule = get_linear_schedule_with_warmup(optimizer, total // 10, total)
    model.train()
    for batch in (b for one in batches for b in one):
        loss = forward(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()


def shuffled(items, size, seed):
    torch.manual_seed(seed)
    passes = []
    for _ in range(EPOCHS):
        order = torch.randperm(len(items)).tolist()
        passes.append([[items[i] for i in order[at : at + size]]
                       for at in range(0, len(order), size)])
    return passes


class Sst2:
    rate, batch, length, metric = 2e-4, 32, 64, "accuracy"

    def __init__(self, data, examples):
        self.examples = examples or 8000
        self.dev = data / "glue" / "SST-2" / "dev.tsv"
        lines = (data / "glue" / "SST-2" / "train.tsv").read_text("utf-8").splitlines(True)
        self.train_text = "".join(lines[: self.examples + 1])
        self.command = ["classify", "--format", "sst2"]
        self.name = "train.tsv"

    def rows(self, text):
        rows = [line.split("\t") for line in text.splitlines()[1:]]
        return [(text, int(label)) for text, label in rows]

    def theirs(self, seed):
        torch.manual_seed(seed)
        model = AlbertForSequenceClassification.from_pretrained(MINI, num_labels=2)
        model = model.float()
        cut = tokenizer()

        def encode(rows):
            given = cut([text for text, _ in rows], padding=True, truncation=True,
                        max_length=self.length, return_tensors="pt")
            return given, torch.tensor([label for _, label in rows])

        def forward(rows):
            given, labels = encode(rows)
            return model(**given, labels=labels).loss

        passes = shuffled(self.rows(self.train_text), self.batch, seed)
        steps_of(model, passes, self.rate, forward)
        dev, right = self.rows(self.dev.read_text("utf-8")), 0
        with torch.no_grad():
            for at in range(0, len(dev), 64):
                given, labels = encode(dev[at : at + 64])
                right += int((model(**given).logits.argmax(1) == labels).sum())
        return right / len(dev)


class Squad:
    rate, batch, length, metric = 3e-4, 16, 256, "f1"

    def __init__(self, data, examples):
        self.examples = examples or 1500
        self.dev = data / "squad" / "dev-v1.1.json"
        whole = json.loads((data / "squad" / "train-v1.1.json").read_text("utf-8"))
        left, articles = self.examples, []
        for article in whole["data"]:
            for paragraph in article["paragraphs"]:
                paragraph["qas"] = paragraph["qas"][:left]
                left -= len(paragraph["qas"])
            articles.append(article)
            if left <= 0:
                break
        self.train_text = json.dumps({"version": "1.1", "data": articles})
        self.command = ["answer", "--format", "squad"]
        self.name = "train.json"

    def questions(self, text):
        for article in json.loads(text)["data"]:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    yield asked["question"], paragraph["context"], asked["answers"]

    def windows(self, cut, question, context):
        given = cut(question, context, truncation="only_second", max_length=self.length,
                    stride=STRIDE, return_overflowing_tokens=True, return_offsets_mapping=True)
        for i in range(len(given["input_ids"])):
            yield {
                "ids": given["input_ids"][i],
                "types": given["token_type_ids"][i],
                "offsets": given["offset_mapping"][i],
                "context": [s == 1 for s in given.sequence_ids(i)],
            }

    def padded(self, windows):
        longest = max(len(w["ids"]) for w in windows)
        pad = lambda values: values + [0] * (longest - len(values))
        return {
            "input_ids": torch.tensor([pad(w["ids"]) for w in windows]),
            "token_type_ids": torch.tensor([pad(w["types"]) for w in windows]),
            "attention_mask": torch.tensor([pad([1] * len(w["ids"])) for w in windows]),
        }

    def theirs(self, seed):
        from metrics import load

        official = load(self.official / "evaluate-v2.0.py")
        torch.manual_seed(seed)
        model = AlbertForQuestionAnswering.from_pretrained(MINI).float()
        cut = tokenizer()
        items = []
        for question, context, answers in self.questions(self.train_text):
            answer, start = answers[0]["text"].strip(), answers[0]["answer_start"]
            places = [i for i in range(len(context)) if context.startswith(answer, i)]
            if not places:
                continue
            first = min(places, key=lambda i: abs(i - start))
            last = first + len(answer)
            for window in self.windows(cut, question, context):
                pieces = [i for i, is_context in enumerate(window["context"]) if is_context]
                offsets = window["offsets"]
                window["span"] = (0, 0)
                if offsets[pieces[0]][0] <= first and offsets[pieces[-1]][1] >= last:
                    window["span"] = (
                        next(i for i in pieces if offsets[i][1] > first),
                        next(i for i in reversed(pieces) if offsets[i][0] < last),
                    )
                items.append(window)

        def forward(windows):
            spans = torch.tensor([w["span"] for w in windows])
            given = self.padded(windows)
            return model(**given, start_positions=spans[:, 0], end_positions=spans[:, 1]).loss

        steps_of(model, shuffled(items, self.batch, seed), self.rate, forward)
        scores = []
        for question, context, answers in self.questions(self.dev.read_text("utf-8")):
            windows = list(self.windows(cut, question, context))
            with torch.no_grad():
                said = model(**self.padded(windows))
            best = (-1e30, "")
            for window, start, end in zip(windows, said.start_logits, said.end_logits):
                pieces = [i for i, is_context in enumerate(window["context"]) if is_context]
                top = lambda logits: sorted(pieces, key=lambda i: -float(logits[i]))[:CANDIDATES]
                for a in top(start):
                    for b in top(end):
                        score = float(start[a] + end[b])
                        if a <= b < a + ANSWER_PIECES and score > best[0]:
                            place = window["offsets"][a][0], window["offsets"][b][1]
                            best = score, context[place[0] : place[1]]
            scores.append(max(official.compute_f1(a["text"], best[1]) for a in answers))
        return sum(scores) / len(scores)


def ours(task, seed):
    with tempfile.TemporaryDirectory() as home:
        home = pathlib.Path(home)
        train, recipe = home / task.name, home / "recipe.toml"
        train.write_text(task.train_text, encoding="utf-8")
        # One look, at the end: what is kept is the last.
        recipe.write_text(
            f"epochs = {EPOCHS}\nbatch = {task.batch}\nrates = [{task.rate}]\n"
            f"max_length = {task.length}\nstride = {STRIDE}\nclip = {CLIP}\n"
            f"evaluations = {1 / EPOCHS}\nseed = {seed}\n"
        )
        command = [
            PROGRAM, "finetune", *task.command, "--model", MINI, "--train", train, "--dev",
            task.dev, "--output", home / "model", "--recipe", recipe, "--json",
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(said.stdout.splitlines()[-1])["dev"]["values"][task.metric]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=["sst2", "squad"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--squad", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--examples", type=int, help="training examples or questions")
    args = parser.parse_args()
    data = pathlib.Path(os.environ["ALBERT_DATA"])
    task = {"sst2": Sst2, "squad": Squad}[args.task](data, args.examples)
    task.official = args.squad
    scores = {"albert": [], "transformers": []}
    for seed in range(args.seeds):
        for name, side in [("albert", lambda: ours(task, seed)),
                           ("transformers", lambda: task.theirs(seed))]:
            began = time.time()
            scores[name].append(side())
            print(f"{name}, seed {seed}: {task.metric} {scores[name][-1]:.4f} "
                  f"in {time.time() - began:.0f} s", flush=True)
    means = {name: statistics.mean(values) for name, values in scores.items()}
    spread = max(statistics.stdev(values) for values in scores.values())
    for name, mean in means.items():
        print(f"{name}: mean {mean:.4f}, deviation {statistics.stdev(scores[name]):.4f}")
    difference = means["albert"] - means["transformers"]
    print(f"difference {difference:+.4f}, {abs(difference) / spread:.1f} deviations of the seeds")


if __name__ == "__main__":
    main()
