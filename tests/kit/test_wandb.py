"""W&B: its section in env.toml, and its run; without wandb. The real one: tests/integration."""

from __future__ import annotations

import dataclasses
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from nemotron import kit
from nemotron.kit import (
    SettingsError,
    WandbConfig,
    add_wandb_tags,
    finish_wandb,
    init_wandb_if_configured,
    load_wandb_config,
)
from nemotron.kit.train_script import init_wandb_from_env

ROOT = Path(__file__).parents[2]
KEY = "0123456789abcdef0123456789abcdef01234567"
Warned = Callable[[], list[str]]


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Warned:
    return lambda: [record.getMessage() for record in caplog.records]


def _settings(text: str, path: Path = Path("env.toml")) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# ------------------------------------------------------------------------- the configuration


def test_project_is_what_turns_tracking_on() -> None:
    assert [field.name for field in dataclasses.fields(WandbConfig)] == [
        "project", "entity", "run_name", "tags", "notes",
    ]  # fmt: skip
    assert WandbConfig() == WandbConfig(None, None, None, (), None)
    assert WandbConfig(project="p").enabled is True
    for off in (None, "", " ", "\n"):
        assert WandbConfig(project=off, entity="e").enabled is False
    assert isinstance(vars(WandbConfig)["enabled"], property)


@pytest.mark.parametrize("module", ["nemotron.kit.wandb", "nemotron.kit"])
def test_names_are_the_same_wherever_they_are_imported_from(module: str) -> None:
    home = importlib.import_module("nemotron.kit.wandb")
    for name in home.__all__:
        assert getattr(importlib.import_module(module), name) is getattr(home, name)
    assert kit.load_wandb_config is importlib.import_module("nemotron.kit.run").load_wandb_config
    assert kit.init_wandb_from_env is init_wandb_from_env


def test_section_of_the_settings_is_read(warned: Warned) -> None:
    _settings("""
        [wandb]
        project = "nemotron"
        entity = "my-team"
        run_name = "first"
        tags = ["sft", "nano"]
        notes = "about"
        [a-profile]
        executor = "slurm"
    """)
    expected = WandbConfig("nemotron", "my-team", "first", ("sft", "nano"), "about")
    assert load_wandb_config() == expected
    assert not warned()


def test_no_file_and_no_section_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _settings("", tmp_path / "pyproject.toml")  # the search does not leave this folder
    assert load_wandb_config() is None
    _settings("[artifacts]\nstore = 'x.db'\n")
    assert load_wandb_config() is None
    assert load_wandb_config("env.toml") is None
    with pytest.raises(SettingsError, match=r"other\.toml: is not there"):
        load_wandb_config("other.toml")
    monkeypatch.setenv("NEMOTRON_ENV_FILE", "gone.toml")
    with pytest.raises(SettingsError, match=r"gone\.toml: is not there, and NEMOTRON_ENV_FILE"):
        load_wandb_config()


def test_file_is_searched_upwards_until_the_project_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _settings('[wandb]\nproject = "above"\n', tmp_path / "env.toml")
    _settings("", tmp_path / "repo" / "pyproject.toml")
    below = tmp_path / "repo" / "src"
    below.mkdir()
    monkeypatch.chdir(below)
    assert load_wandb_config() is None
    _settings('[wandb]\nproject = "repo"\n', tmp_path / "repo" / "env.toml")
    assert load_wandb_config() == WandbConfig(project="repo")
    for explicit in (tmp_path / "env.toml", "../../env.toml"):
        assert load_wandb_config(explicit) == WandbConfig(project="above")
    monkeypatch.setenv("NEMOTRON_ENV_FILE", str(tmp_path / "env.toml"))
    assert load_wandb_config() == WandbConfig(project="above")


def test_name_is_short_for_run_name() -> None:
    _settings('[wandb]\nproject = "p"\nname = "short"\n')
    assert load_wandb_config() == WandbConfig(project="p", run_name="short")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ('proyect = "x"', "did you mean project?"),
        ('run-name = "x"', "did you mean run_name?"),
        ('mode = "offline"', "for a run of this process set WANDB_MODE"),
        ('group = "x"', "for a run of this process set WANDB_GROUP"),
        ("zzz = 1", "base_url"),  # the last one of the known keys
    ],
)
def test_unknown_key_is_ignored_with_a_warning(line: str, hint: str, warned: Warned) -> None:
    _settings(f'[wandb]\nproject = "p"\n{line}\n')
    assert load_wandb_config() == WandbConfig(project="p")
    (message,) = warned()
    assert f"env.toml [wandb] {line.split(maxsplit=1)[0]}: is n" in message
    assert message.endswith(hint)


@pytest.mark.parametrize("text", ['project = ""', 'project = " "', 'entity = "e"'])
def test_blank_or_missing_project_turns_tracking_off(text: str, warned: Warned) -> None:
    _settings(f"[wandb]\n{text}\nnotes = 'x'\n")
    config = load_wandb_config()
    assert config is not None
    assert not config.enabled
    (message,) = warned()
    assert "so tracking stays off" in message
    _settings("[wandb]\n")
    assert load_wandb_config() == WandbConfig()


@pytest.mark.parametrize("key", ["api_key", "password", "API_KEY"])
def test_secret_in_the_file_is_an_error_that_does_not_show_it(key: str, warned: Warned) -> None:
    _settings(f'[wandb]\nproject = "p"\n{key} = "{KEY}"\n')
    with pytest.raises(SettingsError, match="run: wandb login") as error:
        load_wandb_config()
    assert KEY not in f"{error.value} {warned()}"


@pytest.mark.parametrize(
    "text",
    ["[wandb]\nproject = 1", '[wandb]\ntags = "a"', "[wandb]\ntags = [1]", f'wandb = "{KEY}"', "["],
)
def test_what_makes_no_sense_is_an_error(text: str) -> None:
    _settings(f"{text}\n")
    with pytest.raises(SettingsError, match=r"env\.toml") as error:
        load_wandb_config()
    assert KEY not in str(error.value)


# ------------------------------------------------------------------------- without wandb


def _python(program: str, *, where: Path | None = None, **environ: str) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False,
        env={**os.environ, **environ, "PYTHONPATH": str(ROOT / "tools" / "ns")}, cwd=where,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


_WITHOUT = """
import sys
sys.modules["wandb"] = None  # not installed
from nemotron.kit import *
from nemotron.kit.wandb import WandbConfig, init_wandb_if_configured
from nemotron.kit.run import load_wandb_config
from nemotron.kit.train_script import init_wandb_from_env
"""


def test_without_wandb_all_works_until_a_project_asks_for_it() -> None:
    program = """
init_wandb_if_configured(None)
init_wandb_if_configured(WandbConfig())
init_wandb_if_configured(WandbConfig(entity="e"), job_type="training", tags=["a"])
init_wandb_if_configured(WandbConfig(project=" "))
init_wandb_from_env()
add_wandb_tags(["a"])
add_run_tags(["a"])
log_wandb_config(WandbConfig())
finish_wandb()
finish_run()
assert load_wandb_config() is None
try:
    init_wandb_if_configured(WandbConfig(project="nemotron"))
except ImportError as error:
    print(error)
"""
    sentence = (
        "the W&B project 'nemotron' needs wandb, which is not installed; "
        "run: pip install 'wandb>=0.26'\n"
    )
    assert _python(_WITHOUT + program) == sentence
    program = "try: init_wandb_from_env()\nexcept ImportError as error: print(error)"
    assert _python(_WITHOUT + program, WANDB_PROJECT="nemotron") == sentence
    assert _python(_WITHOUT + program, WANDB_PROJECT=" ", WANDB_ENTITY="e") == ""


def test_importing_the_kit_does_not_import_wandb() -> None:
    program = """
import sys
from nemotron.kit import *
init_wandb_if_configured(WandbConfig()); add_wandb_tags(["a"]); finish_wandb()
assert "wandb" not in sys.modules
"""
    _python(program)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (["wandb/offline-run-1/x"], "which is not installed"),  # the folder of offline runs
        (["wandb/__init__.py"], "which is installed and fails to import: No module named 'gone'"),
    ],
)
def test_what_keeps_wandb_from_being_imported_is_said(
    tmp_path: Path, files: list[str], sentence: str
) -> None:
    for file in files:
        _settings("import gone\n", tmp_path / "here" / file)
    program = """
import sys
sys.path = ["."] + [each for each in sys.path if "site-packages" not in each]
from nemotron.kit import WandbConfig, init_wandb_if_configured
try: init_wandb_if_configured(WandbConfig(project="p"))
except ImportError as error: print(error)
"""
    assert sentence in _python(program, where=tmp_path / "here")


class Sdk(ModuleType):
    """wandb as far as it is used here; tests/integration/wandb hold the real one against it."""

    told: dict[str, object]
    exit_code: int | None

    def __init__(self) -> None:
        super().__init__("wandb")
        self.run: SimpleNamespace | None = None
        self.init = self._init

    def _init(self, **told: object) -> object:
        self.told = told
        tags = tuple(told["tags"] or ())  # type: ignore[call-overload]  # the tags of a run
        self.run = SimpleNamespace(tags=tags, finish=self.finish, disabled=True)
        return self.run

    def finish(self, exit_code: int | None = None) -> None:
        self.run, self.exit_code = None, exit_code


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Sdk:
    sdk = Sdk()
    monkeypatch.setitem(sys.modules, "wandb", sdk)
    return sdk


def test_what_is_configured_reaches_wandb(sdk: Sdk) -> None:
    config = WandbConfig("p", "e", "n", ("a", "b"), "about")
    init_wandb_if_configured(config, job_type="training", tags=["b", "c"])
    assert sdk.told == {
        "project": "p", "entity": "e", "name": "n", "tags": ["a", "b", "c"], "notes": "about",
        "job_type": "training", "group": None,
    }  # fmt: skip
    add_wandb_tags(["d", "a"])
    assert sdk.run.tags == ("a", "b", "c", "d")
    finish_wandb(exit_code=2)
    assert (sdk.run, sdk.exit_code) == (None, 2)
    finish_wandb()
    add_wandb_tags(["x"])
    assert sdk.exit_code == 2


def test_defaults_leave_the_choice_to_wandb(sdk: Sdk) -> None:
    init_wandb_if_configured(WandbConfig(project="p", entity=" "))
    nothing = dict.fromkeys(("entity", "name", "tags", "notes", "group"))
    assert sdk.told == {"project": "p", "job_type": "data-prep", **nothing}


def test_active_run_is_kept(sdk: Sdk, monkeypatch: pytest.MonkeyPatch) -> None:
    init_wandb_if_configured(WandbConfig(project="p"), tags=["a"])
    first = sdk.run
    init_wandb_if_configured(WandbConfig(project="q"), tags=["b"])
    monkeypatch.setenv("WANDB_PROJECT", "r")
    init_wandb_from_env()
    init_wandb_from_env()
    assert sdk.run is first
    assert sdk.told["project"] == "p"
    assert first.tags == ("a",)


def test_environment_of_a_job_describes_the_run(sdk: Sdk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_ENTITY", "e")
    init_wandb_from_env()
    assert sdk.run is None
    _settings('[wandb]\nproject = "not-read"\n')  # a container has none
    monkeypatch.setenv("WANDB_PROJECT", "p")
    init_wandb_from_env()
    told = {"project": "p", "entity": "e", "name": None, "tags": None, "notes": None}
    assert sdk.told == {**told, "job_type": "data-prep", "group": None}
    finish_wandb()
    for name, value in {
        "NAME": "n", "GROUP": "g", "JOB_TYPE": "training", "TAGS": "a, b,,",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"WANDB_{name}", value)
    init_wandb_from_env()
    told |= {"name": "n", "tags": ["a", "b"]}
    assert sdk.told == {**told, "job_type": "training", "group": "g"}


def test_function_of_wandb_is_put_back_when_a_store_is_chosen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def init() -> None: ...

    wandb = ModuleType("wandb")
    vars(wandb).update(init=init, run=None, __version__="0.26.0")
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    kit.init(root=tmp_path / "first.db")
    kit.track()
    assert vars(wandb)["init"] is not init
    kit.init(root=tmp_path / "second.db")
    assert vars(wandb)["init"] is init
