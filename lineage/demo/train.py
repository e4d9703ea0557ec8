"""The training stages: pretrain on text, tune on answers, then learn from rewards."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..registry import open_store
from .model import CONTEXT, Adam, LetterModel, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..model import Source, Version
    from ..run import Run

__all__ = ["pretrain", "rl", "sft"]

_BATCH = 256
_SAMPLES, _LENGTH = 128, 32  # texts a reward step, letters a text


class _Bar(Protocol):
    def __call__(self, **facts: float) -> None: ...


class _Batches(Protocol):
    def __call__(self) -> tuple[Tokens, Tokens]: ...


def pretrain(folder: str) -> None:
    """Train from nothing on a blend of the two token files."""
    config = {"steps": 600, "rate": 3e-3, "seed": 1, "save_every": 120}
    blend = {"demo/manual-tokens": 0.8, "demo/project-tokens": 0.2}
    with open_store() as store, store.run("pretrain", job_type="training", config=config) as run:
        tokenizer = run.use("demo/tokenizer", role="tokenizer")
        parts = [
            (_tokens(run.use(name, role="data", weight=weight)), weight)
            for name, weight in blend.items()
        ]
        model = LetterModel.fresh(int(tokenizer.metadata["vocabulary"]), seed=1)
        draw = np.random.default_rng(1)

        def batch() -> tuple[Tokens, Tokens]:
            halves = [_windows(part, int(_BATCH * weight), draw) for part, weight in parts]
            return _join(halves)

        _train(run, model, batch, Path(folder) / "pretrain", "demo/pretrain-model", config)


def sft(folder: str) -> None:
    """Go on from the newest pretrained checkpoint, on questions with answers."""
    config = {"steps": 240, "rate": 1e-3, "seed": 2, "save_every": 80}
    with open_store() as store, store.run("sft", job_type="training", config=config) as run:
        letters = json.loads(run.use("demo/tokenizer", role="tokenizer").path.read_text())
        base = run.use("demo/pretrain-model:latest", role="init")
        answers = run.use("demo/answers", role="data", split="train")
        model = LetterModel.load(base.path)
        number = {letter: at for at, letter in enumerate(letters)}
        pairs = [json.loads(line) for line in answers.path.read_text().splitlines()]
        texts = [f"{pair['question']}\n{pair['answer']}\n" for pair in pairs]
        tokens = np.array([number.get(c, 0) for text in texts for c in text], np.int64)
        draw = np.random.default_rng(2)

        def batch() -> tuple[Tokens, Tokens]:
            return _windows(tokens, _BATCH, draw)

        _train(run, model, batch, Path(folder) / "sft", "demo/sft-model", config)


def rl(folder: str) -> None:
    """Go on from the tuned model with REINFORCE: known words in what it writes are rewarded."""
    config = {"steps": 60, "rate": 1e-3, "seed": 3, "save_every": 20}
    with open_store() as store, store.run("rl", job_type="training", config=config) as run:
        letters = json.loads(run.use("demo/tokenizer", role="tokenizer").path.read_text())
        base = run.use("demo/sft-model:latest", role="init")
        words = frozenset(json.loads(run.use("demo/words", role="reward").path.read_text()))
        model = LetterModel.load(base.path)
        optimiser, draw = Adam(model, config["rate"]), np.random.default_rng(3)
        start = np.full((_SAMPLES, CONTEXT), letters.index("\n"), np.int64)
        steps, every = int(config["steps"]), int(config["save_every"])
        with _progress("rl", steps) as bar:
            for step in range(1, steps + 1):
                texts = _sample(model, start, draw)
                rewards = np.array([_reward(text, letters, words) for text in texts[:, CONTEXT:]])
                context, target = _all_windows(texts)
                advantage = (rewards - rewards.mean()) / (rewards.std() + 1e-6)
                share = np.repeat(advantage / len(target), _LENGTH).astype(np.float32)
                _, gradients = model.gradients(context, target, share)
                optimiser.step(gradients)
                bar(reward=float(rewards.mean()))
                if step % every == 0:
                    facts = {"step": step, "reward": float(rewards.mean())}
                    last = _publish(run, model, Path(folder) / "rl", "demo/rl-model", facts)
        store.alias(last, "final")


def _train(
    run: Run,
    model: LetterModel,
    batch: _Batches,
    folder: Path,
    name: str,
    config: dict[str, float],
) -> None:
    """Train, and publish a checkpoint every now and then."""
    optimiser, losses = Adam(model, config["rate"]), []
    share = np.full(_BATCH, 1 / _BATCH, np.float32)
    steps = int(config["steps"])
    with _progress(run.name, steps) as bar:
        for step in range(1, steps + 1):
            context, target = batch()
            loss, gradients = model.gradients(context, target, share[: len(target)])
            optimiser.step(gradients)
            losses.append(loss)
            bar(loss=loss)
            if step % int(config["save_every"]) == 0:
                facts = {"step": step, "loss": float(np.mean(losses[-20:]))}
                _publish(run, model, folder, name, facts)


def _publish(
    run: Run, model: LetterModel, folder: Path, name: str, facts: dict[str, float]
) -> Version:
    """Save a checkpoint and publish it: one line beside the framework's own save."""
    step = int(facts["step"])
    path = folder / f"iter_{step:07d}"
    model.save(path, facts)
    return run.publish(name, path=path, type="model", metadata=facts, aliases=[f"step_{step}"])


def _tokens(version: Version | Source) -> Tokens:
    tokens: Tokens = np.load(version.path).astype(np.int64)
    return tokens


def _windows(tokens: Tokens, count: int, draw: np.random.Generator) -> tuple[Tokens, Tokens]:
    """Draw contexts (count, CONTEXT) and the tokens that follow them (count,)."""
    at = draw.integers(0, len(tokens) - CONTEXT, count)
    window = tokens[at[:, None] + np.arange(CONTEXT + 1)]
    return window[:, :-1], window[:, -1]


def _all_windows(texts: Tokens) -> tuple[Tokens, Tokens]:
    """Return every context and target of sampled texts (B, CONTEXT + LENGTH), text by text."""
    windows = np.lib.stride_tricks.sliding_window_view(texts, CONTEXT + 1, axis=1)
    flat = windows.reshape(-1, CONTEXT + 1)
    return flat[:, :-1], flat[:, -1]


def _join(parts: list[tuple[Tokens, Tokens]]) -> tuple[Tokens, Tokens]:
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _sample(model: LetterModel, start: Tokens, draw: np.random.Generator) -> Tokens:
    """Let the model write LENGTH letters behind each start."""
    texts = start
    for _ in range(_LENGTH):
        chance, _, _ = model.probabilities(texts[:, -CONTEXT:])
        level = draw.random((len(texts), 1))
        following = (chance.cumsum(axis=1) < level).sum(axis=1).clip(max=chance.shape[1] - 1)
        texts = np.concatenate([texts, following[:, None]], axis=1)
    return texts


def _reward(text: Tokens, letters: list[str], words: frozenset[str]) -> float:
    """Return the share of a text's letters that belong to known words."""
    written = "".join(letters[at] for at in text).lower()
    return sum(len(w) for w in re.findall(r"[a-z]{3,}", written) if w in words) / len(text)


@contextmanager
def _progress(title: str, steps: int) -> Iterator[_Bar]:
    """Show a bar with the newest figures; plain lines when this is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress

    console = Console()
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[facts]}")
    seen: list[dict[str, float]] = []
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=steps, facts="")

        def advance(**facts: float) -> None:
            seen.append(facts)
            text = " ".join(f"{name} {value:.3f}" for name, value in facts.items())
            bar.update(task, advance=1, facts=text)

        yield advance
    first, last = ({k: np.mean([s[k] for s in part]) for k in part[0]}
                   for part in (seen[:20], seen[-20:]))  # fmt: skip
    print(", ".join(f"{name} {first[name]:.3f} -> {last[name]:.3f}" for name in first))
