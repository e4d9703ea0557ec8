"""How a run ends when its program does: real programs, left in every way there is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nemotron import lineage

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("last", "status"),
    [
        ("kit.start_run('x')", "ok"),
        ("kit.start_run('x'); raise ValueError('no')", "failed"),
        ("kit.start_run('x'); raise KeyboardInterrupt", "aborted"),
        ("kit.start_run('x'); sys.exit(0)", "ok"),
        # nothing is left of it by then: what cannot be known is not guessed
        ("kit.start_run('x'); sys.exit(1)", "ok"),
        ("with kit.start_run('x'): sys.exit(1)", "failed"),
        ("with kit.start_run('x'): sys.exit('it went wrong')", "failed"),
        ("with kit.start_run('x'): sys.exit(0)", "ok"),
        ("with kit.start_run('x'): raise KeyboardInterrupt", "aborted"),
    ],
)
def test_run_ends_as_its_program_does(tmp_path: Path, last: str, status: str) -> None:
    script = tmp_path / "job.py"
    script.write_text(f"import sys\nimport nemotron.kit as kit\n{last}\n")
    store = tmp_path / "lineage.db"
    subprocess.run(
        [sys.executable, str(script)], check=False, capture_output=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns"), "LINEAGE_STORE": str(store)},
    )  # fmt: skip
    with lineage.open(store) as opened:
        (run,) = opened.runs()
    assert run.status == status
