"""The artifact page of the earlier kit, its Python examples run as they stand.

The page is NVIDIA's. NEMOTRON_PAGES names a folder that holds it as ``artifacts.md``: docs/train or
docs/nemotron of NVIDIA-NeMo/Nemotron at 0c10cea, which differ in the names they load.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = Path(os.environ.get("NEMOTRON_PAGES", "")) / "artifacts.md"
# What the page takes for granted: versions that earlier stages made, the folder that it saves to.
BEFORE = """
import sys
sys.modules["wandb"] = None  # not installed
from pathlib import Path
import nemotron.kit as kit
from nemotron.kit import ModelArtifact, PretrainBlendsArtifact
kit.init(root="store")
for name in ("DataBlendsArtifact-pretrain", "PretrainBlendsArtifact-tiny"):
    PretrainBlendsArtifact(path=Path(name), total_tokens=7).save(name=name)
ModelArtifact(path=Path("model"), step=100, loss=2.5).save(name="ModelArtifact-sft")
kit.end_run()
"""
# What its classes are good for, once the page has defined them.
AFTER = """
own = MyModelArtifact(path=Path("model"), step=1)
(own.path / "config.yaml").write_text("a: 1")
own.save(name="own")
assert [name for _, name in own.get_wandb_files()] == ["metadata.json", "config.yaml"]
MyDataArtifact(path=Path("raw"), num_samples=1, source_url=None).save(name="RawDataArtifact")
made = ProcessedDataArtifact(path=Path("made"), source_artifact="art://RawDataArtifact:v1")
made.save(name="made")
edges = kit.store().lineage("made").inputs()
assert "art://RawDataArtifact:v1" in [edge.src.uri for edge in edges]
"""


@pytest.mark.skipif(not PAGE.is_file(), reason="NEMOTRON_PAGES names no folder with artifacts.md")
@pytest.mark.skipif(not os.access("/", os.W_OK), reason="the page saves to /output")
def test_artifact_page_of_the_earlier_kit_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```$", PAGE.read_text())
    assert len(blocks) == 6
    (tmp_path / "page.py").write_text("\n".join([BEFORE, *blocks, AFTER]))
    made = not Path("/output").exists()
    result = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns")},
    )  # fmt: skip
    if made:
        shutil.rmtree("/output", ignore_errors=True)
    assert result.returncode == 0, result.stderr
    for line in ("Total tokens: 7", "Training step: 100", "Loss: 2.5", "Samples: 10000"):
        assert line in result.stdout
