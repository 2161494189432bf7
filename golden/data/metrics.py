#!/usr/bin/env python3
"""Holds our metrics against the reference implementations on random sets of predictions.

Made with Python 3.11, scikit-learn 1.7.2, scipy 1.17.1 and seqeval 1.2.2:

    cargo build --release -p albert-data --example score_sets
    python golden/data/metrics.py [--sets 1000] [--write]

Classes are scored by scikit-learn, numbers by scipy, tags by seqeval. SQuAD's official scripts are
not on PyPI: their rules (normalisation, overlap of words, threshold) are written anew below, in
Python, whose string functions they are defined by. The calibration error is worked out with numpy,
bin by bin, from its definition (Guo et al. 2017).

Prints the largest difference of each score and fails above 1e-9. --write also writes the first sets
of each kind with their scores to metrics.json, which the crate's tests read.
"""

import argparse
import collections
import json
import pathlib
import random
import re
import string
import subprocess
import sys
import warnings

import numpy
import scipy.stats
import seqeval.metrics
import sklearn.metrics

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PROGRAM = ROOT / "target" / "release" / "examples" / "score_sets"
TOLERANCE = 1e-9
# So many sets of each kind go into the golden file.
KEPT = 6

WORDS = (
    "the a an The theatre An, U.S. us 1990 1,990 tower Tower's né Élan straße İstanbul "
    "end-to-end — “quoted” _a_ a\u00a0b a\u2009the theta (an) 5% ٣ 漢字 x"
).split(" ")
KINDS = ["city", "date", "x"]


def classes(draw):
    count = draw.choice([2, 2, 3, 7])
    rows = draw.randint(1, 60)
    labels = [draw.randrange(count) for _ in range(rows)]
    guesses = [l if draw.random() < 0.6 else draw.randrange(count) for l in labels]
    if draw.random() < 0.1:
        guesses = [0] * rows
    binary = [int(g == 1) for g in guesses], [int(l == 1) for l in labels]
    scores = {
        "accuracy": sklearn.metrics.accuracy_score(labels, guesses),
        "f1_of_class_1": sklearn.metrics.f1_score(binary[1], binary[0], zero_division=0),
        "macro_f1": sklearn.metrics.f1_score(labels, guesses, average="macro", zero_division=0),
        "matthews": sklearn.metrics.matthews_corrcoef(labels, guesses),
    }
    return {"guesses": guesses, "labels": labels, "classes": count}, scores


def any_classes(draw):
    count, rows = draw.randint(2, 6), draw.randint(2, 40)
    row = lambda share: [draw.random() < share for _ in range(count)]
    labels = [row(0.3) for _ in range(rows)]
    guesses = [l if draw.random() < 0.4 else row(0.3) for l in labels]
    a, b = numpy.array(labels), numpy.array(guesses)
    scores = {
        "micro_f1": sklearn.metrics.f1_score(a, b, average="micro", zero_division=0),
        "subset_accuracy": sklearn.metrics.accuracy_score(a, b),
    }
    return {"guesses": guesses, "labels": labels}, scores


def numbers(draw):
    rows = draw.randint(3, 60)
    coarse = draw.random() < 0.5
    value = lambda: float(draw.randint(0, 5)) if coarse else draw.uniform(-3, 5)
    labels = [value() for _ in range(rows)]
    guesses = [l + draw.gauss(0, 1) if draw.random() < 0.7 else value() for l in labels]
    if draw.random() < 0.1:
        guesses = [1.5] * rows
    scores = {
        "pearson": scipy.stats.pearsonr(guesses, labels).statistic,
        "spearman": scipy.stats.spearmanr(guesses, labels).statistic,
    }
    scores = {name: None if numpy.isnan(value) else value for name, value in scores.items()}
    return {"guesses": guesses, "labels": labels}, scores


def tags(draw):
    def sentence(length):
        # Not always well-formed: I- after nothing, or after another kind.
        return [
            "O" if draw.random() < 0.4 else f"{draw.choice('BI')}-{draw.choice(KINDS)}"
            for _ in range(length)
        ]

    labels = [sentence(draw.randint(1, 12)) for _ in range(draw.randint(1, 12))]
    guesses = [
        l if draw.random() < 0.3 else [t if draw.random() < 0.7 else sentence(1)[0] for t in l]
        for l in labels
    ]
    scores = {
        "precision": seqeval.metrics.precision_score(labels, guesses),
        "recall": seqeval.metrics.recall_score(labels, guesses),
        "f1": seqeval.metrics.f1_score(labels, guesses),
        "accuracy": seqeval.metrics.accuracy_score(labels, guesses),
    }
    return {"guesses": guesses, "labels": labels}, scores


def normal(text):
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact(guess, answer):
    return float(normal(guess) == normal(answer))


def overlap(guess, answer):
    guess, answer = normal(guess).split(), normal(answer).split()
    if not guess or not answer:
        return float(guess == answer)
    shared = sum((collections.Counter(guess) & collections.Counter(answer)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(guess), shared / len(answer)
    return 2 * precision * recall / (precision + recall)


def best(scores, no_answer, has_answer):
    current = total = sum(not has for has in has_answer)
    threshold = 0.0
    for i in sorted(range(len(scores)), key=lambda i: no_answer[i]):
        current += scores[i] if has_answer[i] else -1
        if current > total:
            total, threshold = current, no_answer[i]
    return total / len(scores), threshold


def answers(draw):
    text = lambda: " ".join(draw.choice(WORDS) for _ in range(draw.randint(1, 5)))
    rows = draw.randint(1, 30)
    right = [
        [] if draw.random() < 0.3 else [text() for _ in range(draw.randint(1, 3))]
        for _ in range(rows)
    ]
    guesses = [
        draw.choice(r).upper() if r and draw.random() < 0.4 else text() for r in right
    ]
    no_answer = [draw.gauss(0, 3) for _ in range(rows)]
    has = [bool(r) for r in right]
    of = lambda score: [
        max(score(g, a) for a in (r or [""])) for g, r in zip(guesses, right)
    ]
    # A question without an answer is scored by its own rule in `best`.
    f1, best_f1 = of(overlap), best(of(overlap), no_answer, has)
    hit, best_hit = of(exact), best(of(exact), no_answer, has)
    scores = {
        "exact": sum(hit) / rows,
        "f1": sum(f1) / rows,
        "best_f1": best_f1[0],
        "best_f1_threshold": best_f1[1],
        "best_exact": best_hit[0],
        "best_exact_threshold": best_hit[1],
    }
    return {"guesses": guesses, "answers": right, "no_answer": no_answer}, scores


def confidences(draw):
    rows, bins = draw.randint(1, 200), draw.choice([10, 15])
    sure = [draw.choice([draw.random(), 1.0, draw.randint(1, bins) / bins]) for _ in range(rows)]
    right = [draw.random() < c for c in sure]
    a, b = numpy.array(sure), numpy.array(right, float)
    error = 0.0
    for bin in range(bins):
        # As the products below are rounded, so are the borders.
        inside = numpy.clip(numpy.ceil(a * bins), 1, bins) == bin + 1
        if inside.any():
            error += inside.mean() * abs(a[inside].mean() - b[inside].mean())
    return {"confidences": sure, "right": right, "bins": bins}, {"calibration_error": error}


MAKERS = [classes, any_classes, numbers, tags, answers, confidences]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")

    sets = []
    for number in range(args.sets):
        maker = MAKERS[number % len(MAKERS)]
        given, scores = maker(random.Random(number))
        scores = {name: None if s is None else float(s) for name, s in scores.items()}
        sets.append(({"kind": maker.__name__, **given}, scores))
    lines = "".join(json.dumps(given) + "\n" for given, _ in sets)
    ours = subprocess.run([PROGRAM], input=lines, capture_output=True, text=True, check=True)
    largest = collections.Counter()
    for (given, expected), line in zip(sets, ours.stdout.splitlines(), strict=True):
        found = json.loads(line)
        assert found.keys() == expected.keys(), (found, expected)
        for name, value in expected.items():
            if (value is None) != (found[name] is None):
                sys.exit(f"{given}: {name} is {found[name]}, not {value}")
            if value is not None:
                key = f"{given['kind']}.{name}"
                largest[key] = max(largest[key], abs(found[name] - value))
                if largest[key] > TOLERANCE:
                    sys.exit(f"{given}: {name} is {found[name]}, not {value}")
    for name, difference in sorted(largest.items()):
        print(f"{name:35} {difference:.1e}")
    print(f"{args.sets} sets agree within {TOLERANCE}")
    if args.write:
        kept = [
            {"set": given, "scores": scores}
            for given, scores in sets[: KEPT * len(MAKERS)]
        ]
        text = ",\n".join(json.dumps(k, ensure_ascii=False) for k in kept)
        (HERE / "metrics.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
