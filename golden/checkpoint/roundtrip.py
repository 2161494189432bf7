"""Folders from transformers, through this program, and back into transformers.

Every architecture is saved by transformers in f32, f16 and bf16, whole and in
shards, opened and saved again by the example `resave`, and loaded by
transformers: no warning, no missing or unexpected key, and the same numbers.
Also from each format to each other. Passes with transformers 4.57.1 and 5.23.0.

    cargo build --release -p albert-checkpoint --examples
    python golden/checkpoint/roundtrip.py [--resave target/release/examples/resave]
"""

import argparse
import logging
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch
import transformers

from common import MODELS, make

REPOSITORY = Path(__file__).resolve().parents[2]
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


class Collector(logging.Handler):
    """Keeps what a library logs at the level of a warning and above."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def load(folder, name, dtype):
    """A model from a folder; fails on any complaint."""
    log = Collector()
    root = logging.getLogger("transformers")
    root.addHandler(log)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model, info = getattr(transformers, name).from_pretrained(
                folder, dtype=dtype, output_loading_info=True
            )
    finally:
        root.removeHandler(log)
    complaints = log.messages + [str(w.message) for w in caught]
    assert not complaints, f"{folder}: {complaints}"
    assert not any(info.values()), f"{folder}: {info}"
    return model


def differing(old, new):
    """Names of the fields in which two configurations differ."""
    old, new = old.to_dict(), new.to_dict()
    # The place a file came from and the format of its numbers are its own.
    ours = {"_name_or_path", "transformers_version", "torch_dtype", "dtype"}
    return [key for key in old | new if key not in ours and old.get(key) != new.get(key)]


def check(resave, home, name, source, target, shards):
    """One model from `source` numbers to `target` numbers."""
    before = home / f"{name}-{source}-{target}-{shards}"
    after = before.with_name(before.name + "-again")
    model = make(name).to(DTYPES[source])
    if shards:
        model.save_pretrained(before, max_shard_size="2KB")
        assert len(list(before.glob("*.safetensors"))) > 1
    else:
        model.save_pretrained(before)
    run = subprocess.run(
        [resave, before, after, target], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert not run.stdout, run.stdout

    again = load(after, name, DTYPES[target])
    assert differing(model.config, again.config) == []
    expected, found = model.state_dict(), again.state_dict()
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert found[key].dtype == DTYPES[target]
        assert torch.equal(value.to(DTYPES[target]), found[key]), f"{after}: {key}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--resave", type=Path, default=REPOSITORY / "target" / "release" / "examples" / "resave"
    )
    resave = parser.parse_args().resave
    torch.manual_seed(0)
    count = 0
    with tempfile.TemporaryDirectory() as home:
        for name in MODELS:
            for source in DTYPES:
                for target in DTYPES:
                    for shards in (False, True):
                        check(resave, Path(home), name, source, target, shards)
                        count += 1
    print(f"{count} folders went through, transformers {transformers.__version__}")


if __name__ == "__main__":
    main()
