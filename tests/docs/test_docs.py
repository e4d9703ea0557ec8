"""Every example of the documentation is run, and what it shows is what comes out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"(?ms)^(?:<!-- (?P<note>[^\n]*?) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$")
_SHIM = """#!{python}
import sys
sys.path.insert(0, {source!r})
from nemotron.lineage.cli.main import main
sys.exit(main())
"""


@dataclass
class Block:
    """One fenced block of a page."""

    kind: str
    note: str
    text: str
    line: int


def _blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(m["kind"], m["note"] or "", m["text"], text[: m.start()].count("\n") + 1)
        for m in _BLOCK.finditer(text)
    ]


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """An environment whose `lineage` and `python` are ours."""
    shims = tmp_path / "bin"
    shims.mkdir()
    source = str(ROOT / "tools" / "ns")
    (shims / "lineage").write_text(_SHIM.format(python=sys.executable, source=source))
    (shims / "lineage").chmod(0o755)
    (shims / "python").symlink_to(sys.executable)
    return {
        **os.environ, "PATH": f"{shims}:{os.environ['PATH']}", "PYTHONPATH": source,
        "COLUMNS": "100", "VIRTUAL_ENV": "",
    }  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_page_runs_as_it_stands(page: Path, tmp_path: Path, shell: dict[str, str]) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    for block in _blocks(page):
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if block.note.startswith("setup: "):
            _run(block.note.removeprefix("setup: "), folder, shell, where)
        if block.note.startswith("not run: "):
            continue
        if block.kind == "python":
            (folder / "example.py").write_text(block.text)
            _run(f"{sys.executable} example.py", folder, shell, where)
        elif block.kind == "console":
            _console(block.text, folder, shell, where)


def _console(text: str, folder: Path, shell: dict[str, str], where: str) -> None:
    """Run each ``$ command`` and compare its output; ``...`` stands for anything on a line."""
    for part in re.split(r"(?m)^\$ ", text)[1:]:
        command, _, expected = part.partition("\n")
        while command.endswith("\\"):
            more, _, expected = expected.partition("\n")
            command = f"{command[:-1]} {more}"
        found = _run(command, folder, shell, where)
        if expected.strip():
            _compare(expected.rstrip("\n"), found.rstrip("\n"), f"{where}: {command}")


def _compare(expected: str, found: str, where: str) -> None:
    wanted = expected.split("\n")
    shown = found.split("\n")
    if wanted[-1] == "...":  # the rest is of no interest
        wanted, shown = wanted[:-1], shown[: len(wanted) - 1]
    patterns = [".*".join(map(re.escape, re.split(r"\s*\.\.\.\s*", line))) for line in wanted]
    assert len(shown) == len(patterns), f"{where}\n{found}"
    for pattern, line in zip(patterns, shown, strict=True):
        assert re.fullmatch(pattern, line), f"{where}\nexpected: {pattern}\nfound:    {line}"


def _run(command: str, folder: Path, shell: dict[str, str], where: str) -> str:
    result = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=shell, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    # an example may show an error: then it shows the sentence too
    assert result.returncode == 0 or result.stderr.startswith("lineage: "), (
        f"{where}: {command}\n{result.stderr}"
    )
    return result.stdout + ("" if result.returncode == 0 else result.stderr)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text())
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)[^)]*\)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_readme_shows_the_two_commands_first() -> None:
    (first, *_), text = _blocks_of_any_kind(ROOT / "README.md"), (ROOT / "README.md").read_text()
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make demo", "make test"]
    assert text.index("make demo") < 200


def _blocks_of_any_kind(page: Path) -> list[str]:
    return re.findall(r"(?ms)^```\w*\n(.*?)^```$", page.read_text())


def test_every_page_is_reached_from_the_readme() -> None:
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)[^)]*\)", page.read_text()):
            path = (page.parent / target).resolve()
            todo += sorted(path.glob("*.md")) if path.is_dir() else [path] * (path.suffix == ".md")
    assert {str(p) for p in PAGES} <= {str(p) for p in reached}


def test_reference_is_what_the_code_says() -> None:
    result = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_setting_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    code = "".join(path.read_text() for path in (ROOT / "lineage").rglob("*.py"))
    for name in set(re.findall(r'"((?:LINEAGE|NEMOTRON|XDG|SLURM|TORCHELASTIC)_[A-Z_]+)"', code)):
        assert name in page or name.startswith("SLURM_"), name


def test_contract_names_tests_that_are_there() -> None:
    text = (ROOT / "docs" / "reference" / "kit-contract.md").read_text()
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text))
    assert len(named) > 20
    for path, test in named:
        assert f"def {test}(" in (ROOT / path).read_text(), f"{path}::{test}"
