"""The first stage: text that is on this machine becomes files of token numbers."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sysconfig
from collections import Counter
from pathlib import Path

import numpy as np

from ..registry import open_store

__all__ = ["prepare"]

_UNKNOWN = "\x00"  # stands for every character that is not in the vocabulary
_RARE = 20  # characters seen less often are unknown
_ANSWER = 160  # characters of an answer
_WORDS = 2000


def prepare(folder: str) -> None:
    """Publish a tokenizer, two token files, questions with answers, and a word list."""
    root = Path(folder) / "data"
    root.mkdir(parents=True)
    manual, readme = _python_manual(), _own_text(root)
    with open_store() as store:
        with store.run("prepare-text", job_type="data-prep") as run:
            run.use(manual, role="data", split="manual")
            run.use(readme, role="data", split="project")
            texts = {"manual": _read(manual), "project": _read(readme)}
            counts = Counter("".join(texts.values()))
            letters = [_UNKNOWN, *sorted(c for c, n in counts.items() if n >= _RARE)]
            tokenizer = root / "tokenizer.json"
            tokenizer.write_text(json.dumps(letters))
            run.publish(
                "demo/tokenizer", path=tokenizer, type="tokenizer",
                metadata={"vocabulary": len(letters)},
            )  # fmt: skip
            for name, source in (("manual", manual), ("project", readme)):
                tokens = _encode(texts[name], letters)
                path = root / f"{name}.npy"
                np.save(path, tokens)
                run.publish(
                    f"demo/{name}-tokens", path=path, type="dataset",
                    metadata={"total_tokens": len(tokens)}, inputs=[source, "demo/tokenizer"],
                )  # fmt: skip
        with store.run("prepare-answers", job_type="data-prep") as run:
            run.use(manual, role="data")
            pairs = _questions(texts["manual"])
            path = root / "answers.jsonl"
            path.write_text("\n".join(json.dumps(pair) for pair in pairs))
            run.publish("demo/answers", path=path, type="dataset", metadata={"pairs": len(pairs)})
            words = Counter(re.findall(r"[a-z]{3,}", texts["manual"].lower()))
            path = root / "words.json"
            path.write_text(json.dumps([word for word, _ in words.most_common(_WORDS)]))
            run.publish("demo/words", path=path, type="dataset", metadata={"words": _WORDS})
    print(f"{len(texts['manual']) + len(texts['project']):,} characters, {len(pairs)} answers")


def _python_manual() -> Path:
    """Return the text of Python's reference that ``help()`` shows; every Python has it."""
    return Path(sysconfig.get_path("stdlib")) / "pydoc_data" / "topics.py"


def _own_text(root: Path) -> Path:
    """Return what this project says of itself: the README, from the folder or the installation."""
    readme = Path(__file__).resolve().parents[2] / "README.md"
    if readme.is_file():
        return readme
    path = root / "README.md"
    path.write_text(importlib.metadata.metadata("nemotron-lineage")["Description"])
    return path


def _read(path: Path) -> str:
    if path.name == "topics.py":
        from pydoc_data.topics import topics

        return "\n\n".join(topics.values())
    return path.read_text(encoding="utf-8")


def _encode(text: str, letters: list[str]) -> np.ndarray:
    number = {letter: at for at, letter in enumerate(letters)}
    return np.array([number.get(letter, 0) for letter in text], dtype=np.uint8)


def _questions(manual: str) -> list[dict[str, str]]:
    """Turn titles with their first sentences into questions and answers."""
    found = re.findall(r"(?m)^([A-Z][^\n]{3,60})\n(?:=|\*|-){4,}\n+((?:[^\n]+\n)+)", manual)
    return [
        {"question": f"What about {title.lower()}?", "answer": " ".join(body.split())[:_ANSWER]}
        for title, body in found
    ]
