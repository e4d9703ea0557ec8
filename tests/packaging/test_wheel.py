"""The sdist holds what `make test` needs; the wheel made from it works by itself, demo and all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("kit", "lineage")
LINKS = {f"tools/ns/nemotron/{name}" for name in PACKAGES}  # make makes them
FOLDERS = (*PACKAGES, ".ci", "benchmarks", "docs", "examples", "locks", "tests")
FILES = ("LICENSE", "MANIFEST.in", "Makefile", "README.md", "pyproject.toml")


@dataclass
class Built:
    """An sdist, unpacked, and a wheel made from it."""

    sdist: Path
    wheel: Path


@dataclass
class Installed:
    """A fresh environment with the wheel in it, and the dependencies of the running one."""

    packages: Path
    scripts: Path

    def run(self, *words: str, where: Path) -> str:
        """Run a program of the environment, far from the checkout; return what it printed."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LINEAGE_"))}
        result = subprocess.run(
            [self.scripts / words[0], *words[1:]], cwd=where, capture_output=True, text=True,
            env={**clean, "HOME": str(where), "COLUMNS": "200"}, check=False, timeout=120,
        )  # fmt: skip
        assert (result.returncode, result.stderr) == (0, ""), result.stdout
        return result.stdout


def _files(folder: Path) -> Iterator[str]:
    """Yield the files below a folder, without what running leaves there."""
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            yield str(path.relative_to(folder))


def _python(*words: str | Path, where: Path) -> None:
    result = subprocess.run(
        [sys.executable, *words], cwd=where, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    # in a copy: building leaves files beside the source
    work = tmp_path_factory.mktemp("build")
    source, out = work / "source", work / "out"
    out.mkdir()
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, source)
    (source / "tools" / "ns" / "nemotron").mkdir(parents=True)
    for name in LINKS:
        (source / name).symlink_to(Path("../../..") / Path(name).name)
    _python("-c", f"from setuptools.build_meta import *; build_sdist({str(out)!r})", where=source)
    (archive,) = out.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        # Debian's Python 3.11.2 has no filters, newer ones warn when none is chosen
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(work)
    sdist = work / archive.name.removesuffix(".tar.gz")
    _python(
        "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation",
        "--wheel-dir", out, sdist, where=work,
    )  # fmt: skip
    (wheel,) = out.glob("*.whl")
    return Built(sdist, wheel)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    home = tmp_path_factory.mktemp("installed") / "venv"
    _python("-m", "venv", "--without-pip", home, where=home.parent)
    python = home / "bin" / "python"
    _python(
        "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps",
        built.wheel, where=home.parent,
    )  # fmt: skip
    (packages,) = (home / "lib").glob("python*/site-packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "nemotron" not in entry.name and not (packages / entry.name).exists():
            (packages / entry.name).symlink_to(entry)
    return Installed(packages, home / "bin")


def test_wheel_holds_the_two_packages_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    wanted = {f"nemotron/{name}/{path}" for name in PACKAGES for path in _files(ROOT / name)}
    assert held == wanted
    assert {"nemotron/kit/py.typed", "nemotron/lineage/py.typed"} <= held
    assert "nemotron/__init__.py" not in held


def test_wheel_is_for_every_platform_and_carries_its_licence(built: Built) -> None:
    assert built.wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(built.wheel) as wheel:
        about = {Path(name).name for name in wheel.namelist() if ".dist-info/" in name}
    assert about >= {"LICENSE", "METADATA", "entry_points.txt"}


def test_sdist_holds_every_file_of_the_folders(built: Built) -> None:
    wanted = {f"{folder}/{path}" for folder in FOLDERS for path in _files(ROOT / folder)}
    assert {*wanted, *FILES} <= set(_files(built.sdist))
    assert os.access(built.sdist / ".ci" / "run", os.X_OK)


def test_sdist_holds_what_git_tracks(built: Built) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    tracked = {name for name in listed if name and (ROOT / name).exists()}
    assert tracked - set(_files(built.sdist)) == {".gitignore", *LINKS}


def test_installed_package_is_what_runs(installed: Installed, tmp_path: Path) -> None:
    told = installed.run(
        "python", "-c",
        "import nemotron, nemotron.lineage as it; print(nemotron.__file__); print(it.__file__)",
        where=tmp_path,
    )  # fmt: skip
    assert told.splitlines() == ["None", f"{installed.packages}/nemotron/lineage/__init__.py"]


def test_installed_command_helps_and_finds_itself_healthy(
    installed: Installed, tmp_path: Path
) -> None:
    assert "    resolve " in installed.run("lineage", "--help", where=tmp_path)
    installed.run("lineage", "doctor", where=tmp_path)
    assert "usage: lineage env" in installed.run("lineage", "env", "--help", where=tmp_path)


def test_installed_demo_trains_and_shows_where_the_model_came_from(
    installed: Installed, tmp_path: Path
) -> None:
    told = installed.run("lineage", "demo", "out", where=tmp_path)

    up, down = told.split("Which models learned from")
    assert "art://demo/rl-model:v3 (model by run rl)\n" in up
    for line in (
        "init: art://demo/sft-model:v3 (model by run sft)",
        "init: art://demo/pretrain-model:v5 (model by run pretrain)",
        "data [weight 0.8]: art://demo/manual-tokens:v1 (dataset by run prepare-text)",
        "data: art://demo/tokenizer:v1 (tokenizer by run prepare-text)",
    ):
        assert f"── {line}\n" in up
    assert "pydoc_data/topics.py\n" in up
    assert f"file://{tmp_path}/out/data/README.md\n" in up
    assert "art://demo/pretrain-model:v1 (model by run pretrain) [deleted]\n" in down

    page = (tmp_path / "out" / "lineage.html").read_text()
    picture = ET.fromstring(page[page.index("<svg") : page.index("</svg>") + len("</svg>")])
    drawn = {node.get("data-uri") for node in picture.iter()}
    assert {"art://demo/rl-model:v3", "art://demo/tokenizer:v1"} <= drawn

    store = ("--store", "out/lineage.db")
    log = installed.run("lineage", "log", "demo/pretrain-model", *store, where=tmp_path)
    states = {line.split()[0][-2:]: line.split()[2] for line in log.splitlines()[1:]}
    assert states == {"v5": "live", "v4": "live", "v3": "live", "v2": "live", "v1": "deleted"}
    assert not (tmp_path / "out" / "pretrain" / "iter_0000120").exists()
    assert (tmp_path / "out" / "pretrain" / "iter_0000240").is_dir()
    assert installed.run("lineage", "fsck", *store, where=tmp_path).startswith("clean: ")
