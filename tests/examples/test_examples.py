"""Every example runs as it stands, and prints what its README shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nemotron.lineage as lineage

ROOT = Path(__file__).parents[2]
README = (ROOT / "examples" / "README.md").read_text()
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def _run(example: str, *words: str) -> str:
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / example), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns")},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_prints_what_the_readme_shows_and_leaves_nothing_behind(example: Path) -> None:
    before = sorted(Path.cwd().iterdir())
    after = README[README.index(f"\npython examples/{example.name}\n") :]
    match = re.search(r"(?s)which prints\n\n```\n(.*?)```", after)
    assert match
    assert re.sub(r"file:///.*/", "file:///.../", _run(example.name)) == match[1]
    assert sorted(Path.cwd().iterdir()) == before


def test_three_stages_keep_their_files_in_the_folder_that_is_named() -> None:
    _run("three_stages.py", "out")
    assert Path("out/raw.txt").read_text().startswith("the cat sat")
    with lineage.open("out/lineage.db", create=False) as store:
        model = store.resolve("art://rl-model:latest")
        assert model.path == Path("out/rl/iter_1").resolve()
        assert (model.path / "scores.json").is_file()
        assert [run.name for run in store.runs()] == ["rl", "sft", "prep"]
    # again in their folder they make new versions
    assert "published art://rl-model:v2" in _run("three_stages.py", "out")
