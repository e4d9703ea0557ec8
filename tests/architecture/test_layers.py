"""Imports run one way, third parties stay in their one file, broad excepts are counted."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# From the bottom up; a module may import from its own row and from the rows above it in this list.
LAYERS = [
    ["errors", "grammar", "filesystems", "process", "clock", "waits", "listing", "pace",
     "background"],
    ["uri", "source", "settings", "hashing"],
    ["model", "metadata", "digests", "redact", "launch", "files"],
    ["payloads"],
    ["places", "events", "remembered", "shelf"],
    ["starting"],
    ["commits"],
    ["lines"],
    ["intake"],
    ["journal.gate", "journal.taking", "journal.ledger", "journal.base", "journal",
     "journal.bucket", "journal.database", "journal.rowshelf"],
    ["journal.chain", "journal.decide", "journal.far", "journal.snapshots"],
    ["journal.projection"],
    ["journal.shared", "journal.packs"],
    ["journal.numbered"],
    ["journal.memory", "journal.sqlite", "journal.directory", "journal.objectstore",
     "journal.postgres", "combine"],
    ["journal.kinds"],
    ["index", "index.schema", "index.lookup", "index.project", "index.queries", "index.walks",
     "index.pages", "index.glance", "index.wanted", "index.absent", "index.writer"],
    ["graph"],
    ["claims", "recording", "snapshots"],
    ["recorder"],
    ["render", "run", "missed", "opened", "reading", "seals", "registry", ""],
    ["pins", "sealing"],
    ["upkeep"],
    ["audit", "copying", "merging", "recovery", "export", "export.layout", "export.picture"],
    ["foreign", "foreign.folders", "foreign.references", "foreign.found", "foreign.importing",
     "foreign.exporting", "foreign.manifest", "foreign.art_index"],
    ["mirror", "mirror.addresses", "mirror.base", "mirror.names", "mirror.chosen", "mirror.lease",
     "mirror.wandb_sdk", "mirror.wandb_verify"],
    ["mirror.content", "mirror.deliveries", "mirror.wandb_faults", "mirror.wandb_remote"],
    ["mirror.worker", "mirror.wandb_live", "mirror.wandb_run", "mirror.wandb_standing"],
    ["mirror.wandb", "mirror.openlineage"],
    ["mirror.wandb_desk", "mirror.wandb_import", "mirror.elsewhere"],
    ["mirror.wandb_mirror"],
    ["mirror.live", "mirror.sync"],
    ["demo", "demo.__main__", "demo.model", "demo.prepare", "demo.train"],
    ["testing", "testing.clock", "testing.faults", "testing.faulty", "testing.records",
     "testing.states", "testing.suite"],
    ["cli", "cli.main", "cli.fast", "cli.exits", "cli.present", "cli.words", "cli.commands",
     "cli.show", "cli.graph", "cli.write", "cli.sealing", "cli.foreign", "cli.sync", "cli.care",
     "cli.stores"],
]  # fmt: skip
RANK = {module: rank for rank, row in enumerate(LAYERS) for module in row}
# Third parties, each in the one place that may know it.
ALLOWED = {
    "blake3": {"hashing"},
    "networkx": {"graph"},
    "psycopg": {"journal.database"},
    "obstore": {"journal.bucket"},
    "pydantic_core": {"uri"},
    "rich": {"cli.present", "demo.train"},
    "numpy": {"demo.model", "demo.prepare", "demo.train"},
    "pytest": {"testing.faulty", "testing.suite"},
    "openlineage": {"mirror.openlineage"},
    "wandb": {"mirror.wandb_sdk"},
    "hypothesis": {"testing.states"},
}
# The host must survive us here, and only here (STYLE 13).
# an upload's thread hands what it failed with to the worker, which logs and counts it
BROAD_EXCEPTS = {"mirror.live", "mirror.wandb_live", "mirror.worker"}
UNDO = {
    "files",
    "journal.postgres",
    "journal.projection",
    "journal.shared",
    "mirror.wandb",
}  # `except BaseException` that cleans up and raises again


def _modules(package: str) -> Iterator[tuple[str, Path, ast.Module]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT / package).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        yield name, path, ast.parse(path.read_text())


def _imports(name: str, path: Path, tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Yield (module of ours or third party, whether only for typing)."""
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    here = name.split(".") if name else []
    package = here if path.name == "__init__.py" else here[:-1]
    for node in ast.walk(tree):
        only = id(node) in typing_only
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield f"/{alias.name.partition('.')[0]}", only
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield f"/{(node.module or '').partition('.')[0]}", only
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            target = ".".join([*base, *(node.module.split(".") if node.module else [])])
            for alias in node.names:
                deeper = f"{target}.{alias.name}".strip(".")
                yield deeper if deeper in RANK else target, only


def test_every_module_has_its_layer() -> None:
    assert {name for name, _, _ in _modules("lineage")} == RANK.keys()


def test_imports_run_from_top_to_bottom() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, path, tree in _modules("lineage")
        if name  # the package itself only hands names on
        for target, typing_only in _imports(name, path, tree)
        if not target.startswith("/") and not typing_only and RANK[target] > RANK[name]
    ]
    # drawn by the graph on request; it knows nothing of it until then
    assert wrong == ["graph imports render"]


def test_lineage_never_imports_kit() -> None:
    for name, path, tree in _modules("lineage"):
        targets = {target for target, _ in _imports(name, path, tree)}
        assert not targets & {"/nemotron", "/torch", "/nemo_run"} or name == "cli.care", name


def test_third_parties_are_known_in_one_place() -> None:
    for name, path, tree in _modules("lineage"):
        for target, _ in _imports(name, path, tree):
            other = target.removeprefix("/")
            if target.startswith("/") and other not in sys.stdlib_module_names:
                assert name in ALLOWED.get(other, {name} if other == "nemotron" else set()), (
                    f"{name} imports {other}"
                )


def test_broad_excepts_are_listed() -> None:
    found = set()
    for name, _, tree in _modules("lineage"):
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "bare"
                if caught in ("Exception", "BaseException", "bare"):
                    reraises = any(isinstance(n, ast.Raise) for n in ast.walk(node))
                    assert reraises == (name in UNDO), f"{name}: except {caught}"
                    found |= set() if reraises else {name}
    assert found == BROAD_EXCEPTS


@pytest.mark.parametrize("package", ["kit", "lineage"])
def test_files_stay_readable(package: str) -> None:
    lengths = sorted(len(path.read_text().splitlines()) for _, path, _ in _modules(package))
    assert lengths[len(lengths) // 2] <= 200
    assert lengths[-1] <= 550


@pytest.mark.parametrize("package", ["kit", "lineage"])
def test_every_file_says_its_idea_in_its_first_line(package: str) -> None:
    for name, _, tree in _modules(package):
        docstring = ast.get_docstring(tree)
        assert docstring, name
        assert docstring.splitlines()[0].endswith((".", ":")), name


# --------------------------------------------------------------------- import costs


def loaded_by(code: str) -> set[str]:
    """Return the modules that some code loads beyond what Python itself starts with."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tools/ns')!r}); before = set(sys.modules); "
        f"{code}; print(*(set(sys.modules) - before))"
    )
    result = subprocess.run(
        [sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_importing_lineage_loads_next_to_nothing() -> None:
    assert loaded_by("import nemotron.lineage") == {"nemotron", "nemotron.lineage"}


def test_the_whole_face_stands_on_the_standard_library() -> None:
    loaded = loaded_by(
        "import nemotron.lineage as l; s = l.open('memory:'); r = s.run('x');"
        " r.publish('m', path='.', type='model'); s.lineage('m').tree(); s.close()"
    )
    foreign = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    assert foreign == {"nemotron"}


def test_fast_resolve_imports_no_parser(tmp_path: Path) -> None:
    code = (
        "import nemotron.lineage.cli.main as m, io, contextlib;"
        f" m.main(['resolve', 'x', '--store', {str(tmp_path / 'no.db')!r}])"
    )
    loaded = loaded_by(
        "import nemotron.lineage.cli.fast as f;"
        f" f.resolve(['x', '--store', {str(tmp_path / 'no.db')!r}])"
    )
    assert code
    heavy = {"argparse", "json", "re", "dataclasses", "pathlib", "typing", "enum", "logging"}
    # datetime and collections.abc come with sqlite3 itself
    assert not loaded & heavy, loaded & heavy
