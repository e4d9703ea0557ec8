"""Stages that are configured in YAML and name their inputs there, with ``${art:KEY,FIELD}``.

    python examples/yaml_stages.py [FOLDER]

Each stage is a process of its own with one file of ``configs/``, as on a cluster. The models are
tiny: how likely each word follows another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from pydantic import Field

import nemotron.kit as kit
from nemotron.kit import Artifact, ModelArtifact
from nemotron.kit.resolvers import register_resolvers_from_config

TEXT = "the cat sat on the mat . the dog sat on the log . the cat saw the dog . the dog ran ."
CONFIGS = Path(__file__).with_name("configs")


class WordTokens(Artifact):
    """Text as numbers, one for each word."""

    artifact_type = "dataset"

    vocabulary: Annotated[int, Field(ge=1)]
    source: str

    def get_input_uris(self) -> list[str]:
        """It was made from the raw text."""
        return [self.source]


def prep(config: DictConfig) -> None:
    """Turn the raw text into numbers."""
    Path(config.text).write_text(TEXT)
    words = TEXT.split()
    known = sorted(set(words))
    folder = Path(config.output)
    folder.mkdir()
    (folder / "tokens.json").write_text(json.dumps([known.index(word) for word in words]))
    WordTokens(path=folder, vocabulary=len(known), source=config.text).save(name="word-tokens")


def pretrain(config: DictConfig) -> None:
    """Learn which word follows which, from even odds."""
    size = config.recipe.vocabulary
    tokens = json.loads(Path(config.recipe.tokens).read_text())
    odds = [[1 / size] * size for _ in range(size)]
    for step in range(1, max(config.recipe.steps) + 1):
        _learn(odds, tokens)
        if step in config.recipe.steps:
            _save(odds, tokens, Path(config.output) / f"iter_{step:07d}", "word-model", step)


def tune(config: DictConfig) -> None:
    """Go on from a checkpoint, on the end of the text."""
    start = Path(config.recipe.pretrained_checkpoint) / f"iter_{config.recipe.ckpt_step:07d}"
    odds = json.loads((start / "odds.json").read_text())
    tokens = json.loads(Path(config.recipe.tokens).read_text())[-9:]
    for _ in range(5):
        _learn(odds, tokens)
    _save(odds, tokens, Path(config.output) / "iter_0000005", "tuned-model", 5)


def _learn(odds: list[list[float]], tokens: list[int], rate: float = 0.05) -> None:
    """Move the odds towards the words that followed."""
    for word, following in pairwise(tokens):
        odds[word] = [(1 - rate) * chance for chance in odds[word]]
        odds[word][following] += rate


def _save(odds: Any, tokens: list[int], folder: Path, name: str, step: int) -> None:
    pairs = list(pairwise(tokens))
    hit = sum(odds[word][following] for word, following in pairs) / len(pairs)
    folder.mkdir(parents=True)
    (folder / "odds.json").write_text(json.dumps(odds))
    model = ModelArtifact(path=folder, step=step, hit=round(hit, 3))
    model.save(name=name)
    print(f"{model.uri} guesses the next word with odds of {model.hit:.2f}")


def main(folder: Path) -> None:
    """Run the stages, then ask where the last model came from."""
    environment = {**os.environ, "LINEAGE_STORE": str(folder / "lineage.db")}
    for stage in ("prep", "pretrain", "tune"):
        command = [sys.executable, __file__, "--stage", stage, folder]
        subprocess.run(command, env=environment, check=True)
    kit.init(root=folder / "lineage.db")
    print(f"\n{kit.store().lineage('tuned-model').tree()}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--stage"]:
        stage, where = sys.argv[2:]
        config = OmegaConf.merge(OmegaConf.load(CONFIGS / f"{stage}.yaml"), {"folder": where})
        register_resolvers_from_config(config)
        with kit.start_run(stage, config=OmegaConf.to_container(config, resolve=True)):
            {"prep": prep, "pretrain": pretrain, "tune": tune}[stage](config)
    elif len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        main(Path(sys.argv[1]).resolve())
    else:
        with TemporaryDirectory() as temporary:
            main(Path(temporary))
