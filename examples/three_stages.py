"""Three stages, from raw text to a model that rewards have taught, and what is known afterwards.

    python examples/three_stages.py [FOLDER]

The models are tiny: how often each word follows another. The stages hand nothing to each other
but names, as on a cluster: each finds its input by ``art://`` and publishes what it made.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import nemotron.lineage as lineage

TEXT = "the cat sat on the mat . the dog sat on the log . the cat saw the dog . the dog ran ."
LIKED = "cat mat"


def prep(store: lineage.Lineage, folder: Path) -> None:
    """Turn the raw text into numbers, one for each word."""
    raw = folder / "raw.txt"
    raw.write_text(TEXT)
    with store.run("prep", job_type="data-prep") as run:
        words = run.use(raw, role="data").path.read_text().split()
        vocabulary = sorted(set(words))
        tokens = folder / "tokens.json"
        numbers = [vocabulary.index(word) for word in words]
        tokens.write_text(json.dumps({"vocabulary": vocabulary, "tokens": numbers}))
        run.publish(
            "sft-tokens", path=tokens, type="dataset", metadata={"total_tokens": len(numbers)}
        )


def sft(store: lineage.Lineage, folder: Path) -> None:
    """Learn which word follows which."""
    with store.run("sft", job_type="training", config={"passes": 2}) as run:
        data = run.use("art://sft-tokens:latest", role="data", weight=1.0)
        text = json.loads(data.path.read_text())
        words = [text["vocabulary"][number] for number in text["tokens"]]
        scores: Counter[str] = Counter()
        for step in (1, 2):
            scores.update(f"{word} {after}" for word, after in pairwise(words))
            run.publish(
                "sft-model",
                path=save(scores, folder / "sft" / f"iter_{step}"),
                type="model",
                metadata={"step": step},
                aliases=[f"step_{step}"],
            )


def rl(store: lineage.Lineage, folder: Path) -> lineage.Version:
    """Go on from the newest model: what leads to a liked word is rewarded."""
    liked = folder / "liked.txt"
    liked.write_text(LIKED)
    with store.run("rl", job_type="training", config={"reward": 3}) as run:
        base = run.use("art://sft-model:latest", role="init")
        words = run.use(liked, role="reward").path.read_text().split()
        scores = Counter(json.loads((base.path / "scores.json").read_text()))
        scores.update({pair: 3 for pair in scores if pair.split()[1] in words})
        (best, _), *_ = scores.most_common(1)
        return run.publish(
            "rl-model",
            path=save(scores, folder / "rl" / "iter_1"),
            type="model",
            metadata={"step": 1, "best": best},
        )


def save(scores: Counter[str], folder: Path) -> Path:
    """Write a checkpoint, as a framework would."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scores.json").write_text(json.dumps(scores))
    return folder


def main(folder: Path) -> None:
    """Run the stages, then ask."""
    folder.mkdir(parents=True, exist_ok=True)
    with lineage.open(folder / "lineage.db") as store:
        prep(store, folder)
        sft(store, folder)
        model = rl(store, folder)

        print(f"published {model.uri}, which writes {model.metadata['best']!r}")

        print("\nWhere does it come from?\n")
        print(store.lineage(model).tree())

        print("\nWhat did the raw text lead to?\n")
        raw = (folder / "raw.txt").resolve().as_uri()
        for node in store.lineage(raw).descendants():
            print(f"{node.uri} ({node.type})")

        print("\nWhat does it build on that the first checkpoint does not?\n")
        for node in store.lineage().diff("art://sft-model:step_1", model).only_right:
            print(node.uri)


if __name__ == "__main__":
    if sys.argv[1:]:
        main(Path(sys.argv[1]))
    else:
        with TemporaryDirectory() as folder:
            main(Path(folder))
