#!/usr/bin/env python3
"""The usual way to serve such a model: Flask over transformers, behind gunicorn, a worker a core.

Needs: python >= 3.10, flask, gunicorn, torch 2.11.0, transformers 4.57.1.

    FOLDER=DIR gunicorn --chdir bench/peers --workers N --bind 127.0.0.1:PORT flask_app:app

DIR is a folder of `albert export`. `POST / {"text": [...]}` gives `{"results": [{"label", "confidence"},
...]}`: the texts of a request are one padded batch, in f32. A worker computes on one thread, so that the
workers do not stand in each other's way.
"""

import os

import torch
from flask import Flask, jsonify, request
from transformers import AlbertForSequenceClassification, AutoTokenizer, logging

logging.set_verbosity_error()
torch.set_num_threads(1)
FOLDER = os.environ["FOLDER"]
MOST = int(os.environ.get("MAX_LENGTH", "512"))
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AlbertForSequenceClassification.from_pretrained(FOLDER).eval()
app = Flask(__name__)


@app.get("/ready")
def ready():
    return "ready"


@app.post("/")
@torch.inference_mode()
def classify():
    texts = request.get_json()["text"]
    rows = tokenizer(texts, padding=True, truncation=True, max_length=MOST, return_tensors="pt")
    confidence, classes = model(**rows).logits.softmax(-1).max(-1)
    named = [model.config.id2label[index] for index in classes.tolist()]
    return jsonify(results=[dict(label=label, confidence=share) for label, share in zip(named, confidence.tolist())])
