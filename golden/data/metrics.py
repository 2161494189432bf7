#!/usr/bin/env python3
"""Holds our metrics against the reference implementations on random sets of predictions.

Made with Python 3.11, scikit-learn 1.7.2, scipy 1.17.1 and seqeval 1.2.2:

    cargo build --release -p albert-data --example score_sets
    python golden/data/metrics.py --squad FOLDER [--sets 1000] [--write]

Classes are scored by scikit-learn, numbers by scipy, tags by seqeval, answers by SQuAD's official
scripts: FOLDER holds `evaluate-v1.1.py` and `evaluate-v2.0.py` of
https://rajpurkar.github.io/SQuAD-explorer, which are imported, not copied. Both normalise and compare
answers; 2.0's also finds thresholds. Their normalisation is compared over every character of Python's
Unicode too. The calibration error is worked out with numpy, bin by bin, from its definition (Guo et
al. 2017).

Prints the largest difference of each score and fails above 1e-9. --write also writes the first sets
of each kind with their scores to metrics.json, which the crate's tests read.
"""

import argparse
import collections
import importlib.util
import json
import pathlib
import random
import subprocess
import sys
import unicodedata
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


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem.replace("-", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Squad:
    """SQuAD's official scripts."""

    old = new = None

    @staticmethod
    def kept(right):
        return [r for r in right if Squad.new.normalize_answer(r)] or [""]

    @staticmethod
    def scores(guess, right):
        kept = Squad.kept(right)
        exact = max(Squad.new.compute_exact(r, guess) for r in kept)
        f1 = max(Squad.new.compute_f1(r, guess) for r in kept)
        return exact, f1

    @staticmethod
    def old_scores(guesses, right):
        """1.1's, of the questions that have an answer."""
        asked = [(g, r) for g, r in zip(guesses, right) if r]
        mean = lambda of: sum(
            Squad.old.metric_max_over_ground_truths(of, g, r) for g, r in asked
        ) / max(len(asked), 1)
        return {
            "exact_of_1_1": mean(Squad.old.exact_match_score),
            "f1_of_1_1": mean(Squad.old.f1_score),
        }

    @staticmethod
    def best(guesses, scores, no_answer, has_answer):
        ids = range(len(guesses))
        table = lambda values: dict(zip(ids, values))
        found = Squad.new.find_best_thresh(
            table(guesses), table(scores), table(no_answer), table(has_answer)
        )
        return found[0] / 100, found[1]


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
    pairs = [Squad.scores(g, r) for g, r in zip(guesses, right)]
    hit, f1 = [list(column) for column in zip(*pairs)]
    best_f1 = Squad.best(guesses, f1, no_answer, has)
    best_hit = Squad.best(guesses, hit, no_answer, has)
    scores = {
        **Squad.old_scores(guesses, right),
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


def characters():
    """One set in which each character stands beside an article, against what the script makes of it."""
    known = [
        chr(c) for c in range(sys.maxunicode + 1)
        if unicodedata.category(chr(c)) not in ("Cn", "Cs")
    ]
    guesses = [f"x{c}the{c} B" for c in known]
    right = [[Squad.new.normalize_answer(guess)] for guess in guesses]
    pairs = [Squad.scores(g, r) for g, r in zip(guesses, right)]
    hit, f1 = [list(column) for column in zip(*pairs)]
    scores = {"exact": sum(hit) / len(hit), "f1": sum(f1) / len(f1)}
    return {"kind": "answers", "guesses": guesses, "answers": right,
            "no_answer": [0.0] * len(guesses)}, scores


MAKERS = [classes, any_classes, numbers, tags, answers, confidences]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", type=int, default=1000, help="of each kind")
    parser.add_argument("--squad", type=pathlib.Path, required=True, metavar="FOLDER")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    Squad.old = load(args.squad / "evaluate-v1.1.py")
    Squad.new = load(args.squad / "evaluate-v2.0.py")
    warnings.simplefilter("ignore")

    sets = []
    for number in range(args.sets * len(MAKERS)):
        maker = MAKERS[number % len(MAKERS)]
        given, scores = maker(random.Random(number))
        scores = {name: None if s is None else float(s) for name, s in scores.items()}
        sets.append(({"kind": maker.__name__, **given}, scores))
    if args.sets >= 1000:
        sets.append(characters())
    lines = "".join(json.dumps(given) + "\n" for given, _ in sets)
    ours = subprocess.run([PROGRAM], input=lines, capture_output=True, text=True, check=True)
    largest = collections.Counter()
    for (given, expected), line in zip(sets, ours.stdout.splitlines(), strict=True):
        found = json.loads(line)
        assert found.keys() >= expected.keys(), (found, expected)
        for name, value in expected.items():
            if (value is None) != (found[name] is None):
                sys.exit(f"{str(given)[:2000]}: {name} is {found[name]}, not {value}")
            if value is not None:
                key = f"{given['kind']}.{name}"
                largest[key] = max(largest[key], abs(found[name] - value))
                if largest[key] > TOLERANCE:
                    sys.exit(f"{str(given)[:2000]}: {name} is {found[name]}, not {value}")
    for name, difference in sorted(largest.items()):
        print(f"{name:35} {difference:.1e}")
    print(f"{args.sets} sets of each kind agree within {TOLERANCE}")
    if args.write:
        kept = [
            {"set": given, "scores": scores}
            for given, scores in sets[: KEPT * len(MAKERS)]
        ]
        text = ",\n".join(json.dumps(k, ensure_ascii=False) for k in kept)
        (HERE / "metrics.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
