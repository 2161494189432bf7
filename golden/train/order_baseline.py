#!/usr/bin/env python3
"""How much of sentence order do words alone tell? A linear classifier, for want of a published figure.

    golden/train/order_baseline.py TRAINING.jsonl.zst HELDOUT.jsonl.zst [--documents 14000]

Written for scikit-learn 1.9.1, zstandard 0.25.0.

Consecutive sentences of about 85 words, what 128 positions hold, are split at a random sentence
boundary. The features are the counts of words in the first segment less those in the second, and
the first three words of each with their places, hashed to 2^20; the classifier is logistic
regression by averaged stochastic gradient descent, three passes. Every pair is seen in one order
drawn at random, and the features change sign with the order, so that lengths say nothing. Prints
accuracy on the held-out pairs by the number of pairs that it learnt from.
"""

import argparse
import io
import json
import random
import re

import numpy
import zstandard
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import SGDClassifier

WORDS = 85


def documents(path, most):
    with open(path, "rb") as file:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8")
        for _, line in zip(range(most), lines):
            yield json.loads(line)["paragraphs"]


def pairs(path, most, generator):
    for paragraphs in documents(path, most):
        sentences = [
            sentence.lower().split()
            for paragraph in paragraphs
            for sentence in re.split(r"(?<=[.!?])\s+", paragraph)
            if len(sentence) > 20
        ]
        at = 0
        while at < len(sentences):
            group, words = [], 0
            while at < len(sentences) and (
                len(group) < 2 or words + len(sentences[at]) <= WORDS
            ):
                group.append(sentences[at])
                words += len(sentences[at])
                at += 1
            if len(group) > 1:
                middle = generator.randrange(1, len(group))
                yield sum(group[:middle], []), sum(group[middle:], [])


def features(first, second):
    found = {}
    for segment, sign in ((first, 1), (second, -1)):
        for word in segment:
            found[word] = found.get(word, 0) + sign
        for place, word in enumerate(segment[:3]):
            key = f"{place} {word}"
            found[key] = found.get(key, 0) + sign
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("training")
    parser.add_argument("heldout")
    parser.add_argument("--documents", type=int, default=14_000)
    args = parser.parse_args()
    generator = random.Random(0)
    training = list(pairs(args.training, args.documents, generator))
    generator.shuffle(training)
    heldout = list(pairs(args.heldout, args.documents, generator))
    hasher = FeatureHasher(2**20)
    test = hasher.transform(features(*pair) for pair in heldout)
    for count in (25_000, 50_000, 100_000, 200_000, 400_000):
        count = min(count, len(training))
        sample = hasher.transform(features(*pair) for pair in training[:count])
        order = numpy.where(numpy.random.RandomState(0).rand(count) < 0.5, 1, -1)
        classifier = SGDClassifier(
            loss="log_loss", fit_intercept=False, alpha=1e-3, max_iter=3, tol=None, average=True
        )
        classifier.fit(sample.multiply(order[:, None]).tocsr(), order)
        right = (classifier.decision_function(test) > 0).mean()
        print(f"{count} pairs: {right:.3f} of {len(heldout)} held out", flush=True)


if __name__ == "__main__":
    main()
