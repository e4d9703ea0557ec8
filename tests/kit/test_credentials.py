"""Keys and tokens are found where their SDKs keep them, and shown nowhere."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from nemotron.kit import (
    Credential,
    explain_hf,
    explain_wandb,
    find_hf_token,
    find_wandb_key,
    missing_wandb_login,
    wandb_base_url,
)

ROOT = Path(__file__).parents[2]
KEY = "0123456789abcdef0123456789abcdef01234567"
OTHER = "fedcba9876543210fedcba9876543210fedcba98"
SERVER = "http://127.0.0.1:18765"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("NETRC", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("wandb", "huggingface_hub"):  # another test may have imported them
        monkeypatch.delitem(sys.modules, name, raising=False)
    return Path(os.environ["HOME"])


def _netrc(path: Path, *entries: tuple[str, str]) -> None:
    text = "".join(f"machine {host}\n  login user\n  password {key}\n" for host, key in entries)
    path.write_text(text)
    path.chmod(0o600)


def _found(**environ: str) -> tuple[str, str] | None:
    found = find_wandb_key({**os.environ, **environ})
    return None if found is None else (found.value, found.source)


# ------------------------------------------------------------------------- W&B: the environment


def test_environment_comes_first(home: Path) -> None:
    _netrc(home / ".netrc", ("api.wandb.ai", OTHER))
    assert _found(WANDB_API_KEY=KEY) == (KEY, "WANDB_API_KEY")


@pytest.mark.parametrize("falsy", ["", " ", "\n"])
def test_falsy_key_is_no_key(home: Path, falsy: str) -> None:
    assert _found(WANDB_API_KEY=falsy) is None
    assert ("WANDB_API_KEY", "blank") in explain_wandb({**os.environ, "WANDB_API_KEY": falsy})
    (home / ".netrc").write_text('machine api.wandb.ai login user password ""\n')
    assert _found(WANDB_API_KEY=falsy) is None
    explained = dict(explain_wandb(os.environ))
    assert explained["~/.netrc for api.wandb.ai"] == "an entry without a password"


def test_identity_token_stands_for_a_key(home: Path, tmp_path: Path) -> None:
    _netrc(home / ".netrc", ("api.wandb.ai", KEY))
    token = tmp_path / "token.jwt"
    environ = {**os.environ, "WANDB_IDENTITY_TOKEN_FILE": str(token)}
    assert find_wandb_key(environ) is None
    assert explain_wandb(environ)[1:] == [
        ("WANDB_IDENTITY_TOKEN_FILE", "set, but there is no such file"),
        ("result", "no key is needed: WANDB_IDENTITY_TOKEN_FILE stands for it"),
    ]
    token.write_text("x")
    assert explain_wandb(environ)[1] == ("WANDB_IDENTITY_TOKEN_FILE", "set")


# ------------------------------------------------------------------------- W&B: netrc


def test_login_stored_in_netrc_is_found(home: Path) -> None:
    _netrc(home / ".netrc", ("github.com", OTHER), ("api.wandb.ai", KEY))
    assert _found() == (KEY, "~/.netrc for api.wandb.ai")


def test_own_service_has_two_names(home: Path) -> None:
    _netrc(home / ".netrc", ("api.wandb.ai", KEY), ("api.forge.coreweave.com", OTHER))
    assert _found() == (OTHER, "~/.netrc for api.forge.coreweave.com")
    assert _found(WANDB_BASE_URL="https://api.wandb.ai") == (KEY, "~/.netrc for api.wandb.ai")
    _netrc(home / ".netrc", ("api.forge.coreweave.com", OTHER))
    assert _found(WANDB_BASE_URL="https://api.wandb.ai") is None


@pytest.mark.parametrize(
    ("machine", "url", "found"),
    [
        ("127.0.0.1:18765", SERVER, True),
        ("127.0.0.1:18765", f"{SERVER}/", True),
        ("127.0.0.1", SERVER, False),
        ("127.0.0.1:18766", SERVER, False),
        ("127.0.0.1:18765", "http://127.0.0.1", False),
        ("api.wandb.ai", SERVER, False),
        ("wandb.example.com", "https://wandb.example.com/path", True),
        ("wandb.example.com", "https://me:secret@wandb.example.com", True),
        ("example.com", "https://wandb.example.com", False),
        ("wandb.example.com", "wandb.example.com", False),
        ("wandb.example.com", "http://[", False),
    ],
)
def test_entry_is_that_of_host_and_port(home: Path, machine: str, url: str, *, found: bool) -> None:
    _netrc(home / ".netrc", (machine, KEY))
    expected = (KEY, f"~/.netrc for {machine}") if found else None
    assert _found(WANDB_BASE_URL=url) == expected


@pytest.mark.parametrize("url", ["", SERVER, "https://default"])
def test_default_entry_is_never_taken(home: Path, url: str) -> None:
    (home / ".netrc").write_text(f"default login me password {KEY}\n")
    assert _found(WANDB_BASE_URL=url) is None
    rows = explain_wandb({**os.environ, "WANDB_BASE_URL": url})
    assert "not for W&B" in str(rows) or url == "https://default"


def test_files_are_looked_for_in_order(home: Path, tmp_path: Path) -> None:
    _netrc(home / "_netrc", ("api.wandb.ai", KEY))
    assert _found() == (KEY, "~/_netrc for api.wandb.ai")
    _netrc(home / ".netrc", ("api.wandb.ai", OTHER))
    assert _found() == (OTHER, "~/.netrc for api.wandb.ai")
    _netrc(tmp_path / "mine", ("api.wandb.ai", KEY))
    assert _found(NETRC=str(tmp_path / "mine")) == (KEY, f"{tmp_path}/mine for api.wandb.ai")
    assert _found(NETRC="~/_netrc") == (KEY, "~/_netrc for api.wandb.ai")
    assert _found(NETRC=str(tmp_path / "absent")) is None  # the others are not asked then


@pytest.mark.parametrize(
    "text",
    [
        "machine api.wandb.ai login user password KEY",
        "machine api.wandb.ai\n\tlogin user\n\taccount a\n\tpassword KEY\n",
        "# machine api.wandb.ai password no\nmachine api.wandb.ai password KEY # mine\n",
        "machine other login a password p#a!$s\nmachine api.wandb.ai password KEY\n",
        'machine other login a password "p a\\"ss"\nmachine api.wandb.ai password KEY\n',
        "macdef init\ncd /machine api.wandb.ai\npassword no\n\nmachine api.wandb.ai password KEY\n",
        "default password no\nmachine api.wandb.ai password KEY\n",
        "machine api.wandb.ai password no\nmachine api.wandb.ai password KEY\n",  # as wandb
        'machine api.wandb.ai login user password "KEY"\n',
    ],
)
def test_netrc_is_read_as_it_may_be_written(home: Path, text: str) -> None:
    (home / ".netrc").write_text(text.replace("KEY", KEY))
    assert _found() == (KEY, "~/.netrc for api.wandb.ai")


# ------------------------------------------------------------------------- W&B: settings files


def test_server_comes_from_the_environment_then_from_settings_files(
    home: Path, tmp_path: Path
) -> None:
    common = home / ".config" / "wandb" / "settings"
    common.parent.mkdir(parents=True)
    common.write_text(f"[default]\nbase_url = {SERVER}\n")
    _netrc(home / ".netrc", ("127.0.0.1:18765", KEY), ("local:1", OTHER), ("env", KEY[::-1]))
    assert wandb_base_url() == SERVER
    assert _found() == (KEY, "~/.netrc for 127.0.0.1:18765")

    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text("[default]\nbase_url = https://local:1\n")
    assert wandb_base_url() == "https://local:1"
    assert _found() == (OTHER, "~/.netrc for local:1")

    assert wandb_base_url({**os.environ, "WANDB_BASE_URL": "https://env"}) == "https://env"
    assert _found(WANDB_BASE_URL="https://env") == (KEY[::-1], "~/.netrc for env")

    (tmp_path / "wandb" / "settings").unlink()
    elsewhere = {"WANDB_CONFIG_DIR": str(tmp_path / "config")}
    assert wandb_base_url({**os.environ, **elsewhere}) is None


def test_key_in_a_settings_file_comes_last(home: Path) -> None:
    file = home / ".config" / "wandb" / "settings"
    file.parent.mkdir(parents=True)
    file.write_text(f"[default]\napi_key = {KEY}\n[other]\nbase_url = https://not.this\n")
    assert _found() == (KEY, "~/.config/wandb/settings")
    assert wandb_base_url() is None
    _netrc(home / ".netrc", ("api.wandb.ai", OTHER))
    assert _found() == (OTHER, "~/.netrc for api.wandb.ai")


# ------------------------------------------------------------------------- what cannot be read


@contextmanager
def _nobody() -> Iterator[None]:
    """Be a user who may not read what root wrote."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_unreadable_files_are_told_and_nothing_is_raised(home: Path) -> None:
    (home / ".config" / "wandb").mkdir(parents=True)
    (home / ".cache" / "huggingface").mkdir(parents=True)
    for name in (".netrc", ".config/wandb/settings", ".cache/huggingface/token"):
        (home / name).write_text("x")
        (home / name).chmod(0)
    with _nobody():
        assert find_wandb_key() is None
        assert find_hf_token() is None
        rows = dict(explain_wandb()) | dict(explain_hf())
    denied = "cannot be read: Permission denied"
    for name in ("~/.netrc", "~/.config/wandb/settings", "~/.cache/huggingface/token"):
        assert rows[name] == denied


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00machine"), "cannot be understood"),
        (
            lambda path: path.write_text(f"machine a password a {KEY}\n"),
            "understood, at or before line 2",
        ),
        (lambda path: path.write_text(f"\n{KEY}\n"), "understood, at or before line 3"),
        (lambda path: path.write_text("macdef x\nmachine api.wandb.ai"), "cannot be understood"),
    ],
)
def test_broken_netrc_is_one_sentence(
    home: Path, break_it: Callable[[Path], object], sentence: str
) -> None:
    break_it(home / ".netrc")
    assert find_wandb_key() is None
    rows = dict(explain_wandb())
    assert sentence in rows["~/.netrc"]
    assert "wandb login" in rows["result"]
    assert _found(WANDB_API_KEY=OTHER) == (OTHER, "WANDB_API_KEY")


@pytest.mark.parametrize(
    "text", [f"api_key = {KEY}\n", f"[default]\n{KEY}\n", f"[default]\na = 1\na = {KEY}\n", "\xff"]
)
def test_broken_settings_file_is_one_sentence(home: Path, text: str) -> None:
    file = home / ".config" / "wandb" / "settings"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="latin-1")
    assert find_wandb_key() is None
    rows = dict(explain_wandb())
    assert rows["~/.config/wandb/settings"].startswith("cannot be understood")
    assert KEY not in str(rows)


# ------------------------------------------------------------------------- what is told


def test_search_is_told_in_its_order(home: Path) -> None:
    (home / "_netrc").write_text(f"machine github.com password {OTHER}\n")
    assert explain_wandb() == [
        ("WANDB_API_KEY", "not set"),
        ("WANDB_IDENTITY_TOKEN_FILE", "not set"),
        ("wandb/settings", "not there"),
        ("~/.config/wandb/settings", "not there"),
        ("server, by default", "api.forge.coreweave.com or api.wandb.ai"),
        ("~/_netrc for api.forge.coreweave.com", "no entry"),
        ("~/_netrc for api.wandb.ai", "no entry"),
        ("wandb itself", "not asked: it is not imported"),
        ("result", "no W&B key was found; run: wandb login (or set WANDB_API_KEY)"),
    ]
    _netrc(home / "_netrc", ("api.forge.coreweave.com", KEY))
    assert explain_wandb()[-2:] == [
        ("~/_netrc for api.forge.coreweave.com", "found"),
        ("result", "used: ~/_netrc for api.forge.coreweave.com"),
    ]


def test_missing_login_names_the_command_and_the_server() -> None:
    assert missing_wandb_login() == (
        "no W&B key was found; run: wandb login (or set WANDB_API_KEY)"
    )
    own = missing_wandb_login({"WANDB_BASE_URL": "https://me:secret@wandb.example.com:8080/x"})
    assert "run: wandb login --host=https://wandb.example.com:8080 (or" in own
    for url in ("https://api.wandb.ai", "no address", "http://["):
        assert "run: wandb login (or" in missing_wandb_login({"WANDB_BASE_URL": url})


def test_no_value_is_shown_anywhere(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    shown: list[object] = []
    texts = [
        f"machine api.wandb.ai password {KEY}",
        f"machine api.wandb.ai password a {KEY}",
        f"machine {KEY}",
        f"{KEY}",
        f"default password {KEY}",
        f"machine api.wandb.ai password '{KEY} x'",
    ]
    for text in texts:
        (home / ".netrc").write_text(text)
        shown += [find_wandb_key(), explain_wandb(), missing_wandb_login()]
    url = f"https://me:{KEY}@wandb.example.com"
    for environ in (
        {"WANDB_API_KEY": KEY},
        {"HF_TOKEN": KEY},
        {"HUGGING_FACE_HUB_TOKEN": KEY},
        {"WANDB_BASE_URL": url},
        {"WANDB_BASE_URL": f"{KEY}:/["},
    ):
        shown += [find_wandb_key(environ), find_hf_token(environ), explain_wandb(environ)]
        shown += [explain_hf(environ), missing_wandb_login(environ)]
    token = home / ".cache" / "huggingface" / "token"
    token.parent.mkdir(parents=True)
    for text in (KEY, f"\xff{KEY}"):
        token.write_text(text, encoding="latin-1")
        shown += [find_hf_token(), explain_hf()]
    found = find_wandb_key({"WANDB_API_KEY": KEY})
    assert found is not None
    shown += [f"{found}", str(found), f"{found!r}", [found], {"a": found}]
    with pytest.raises(AttributeError) as error:
        found.value = "x"  # type: ignore[misc]  # it is frozen
    shown += [error.value, error.getrepr()]
    _nowhere(KEY, f"{shown} {caplog.text} {[str(each) for each in shown]}")


def _nowhere(secret: str, text: str) -> None:
    assert secret not in text
    for shift in range(3):  # wherever it would begin in what was encoded
        encoded = base64.b64encode(b"\0" * shift + secret.encode()).decode()
        assert encoded[4:-4] not in text


# ------------------------------------------------------------------------- W&B: the SDK itself


def test_wandb_is_not_imported_unless_it_is_allowed(home: Path) -> None:
    program = """
import sys
from nemotron.kit import find_hf_token, find_wandb_key
assert find_wandb_key() is None and find_hf_token() is None
assert not {"wandb", "huggingface_hub"} & set(sys.modules)
sys.modules["wandb"] = sys.modules["huggingface_hub"] = None  # not installed
from nemotron.kit import explain_hf, explain_wandb
assert find_wandb_key(ask_sdk=True) is None and find_hf_token(ask_sdk=True) is None
assert explain_wandb(ask_sdk=True)[-2][1] == "cannot tell: ModuleNotFoundError"
"""
    _python(program)


def _python(program: str, **environ: str) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False,
        env={**os.environ, **environ, "PYTHONPATH": str(ROOT / "tools" / "ns")},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


class OwnError(Exception):
    """As ``wandb.Error``: a child of Exception alone."""


def _raise(error: Exception) -> object:
    raise error


class Sdk(SimpleNamespace):
    """wandb as it looks once it is imported."""

    Error = OwnError

    def __init__(self, answer: Callable[[], object]) -> None:
        super().__init__()
        self.answer = answer

    @property
    def api(self) -> SimpleNamespace:
        return SimpleNamespace(api_key=self.answer())

    def get_token(self) -> object:
        return self.answer()


@pytest.mark.parametrize("name", ["wandb", "huggingface_hub"])
def test_imported_sdk_is_asked_last(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    find = find_wandb_key if name == "wandb" else find_hf_token
    explain = explain_wandb if name == "wandb" else explain_hf
    monkeypatch.setitem(sys.modules, name, Sdk(lambda: KEY))
    found = find()
    assert found == Credential(KEY, f"{name} itself")
    assert find(dict(os.environ)) is None  # it does not know that environment
    monkeypatch.setenv("WANDB_API_KEY" if name == "wandb" else "HF_TOKEN", OTHER)
    found = find()
    assert found is not None
    assert found.value == OTHER
    monkeypatch.undo()
    for nothing in (None, "", " ", False, object()):
        monkeypatch.setitem(sys.modules, name, Sdk(lambda nothing=nothing: nothing))  # type: ignore[misc]
        assert find() is None
    assert explain()[-2] == (f"{name} itself", "nothing")


@pytest.mark.parametrize("name", ["wandb", "huggingface_hub"])
@pytest.mark.parametrize("kind", [OwnError, RuntimeError, ValueError, OSError, AttributeError])
def test_sdk_that_raises_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: type[Exception]
) -> None:
    monkeypatch.setitem(sys.modules, name, Sdk(lambda: _raise(kind(KEY))))
    assert (find_wandb_key if name == "wandb" else find_hf_token)() is None
    rows = (explain_wandb if name == "wandb" else explain_hf)()
    assert rows[-2] == (f"{name} itself", f"cannot tell: {kind.__name__}")


def test_default_entry_is_not_taken_from_the_sdk_either(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".netrc").write_text(f"default login me password {KEY}\n")
    monkeypatch.setitem(sys.modules, "wandb", Sdk(lambda: KEY))
    assert find_wandb_key() is None
    assert explain_wandb()[-2][1].endswith("not for W&B: not used")


def test_folder_of_runs_is_not_taken_for_wandb(tmp_path: Path) -> None:
    (tmp_path / "wandb" / "offline-run").mkdir(parents=True)
    program = """
import sys
sys.path[1:] = [p for p in sys.path[1:] if "site-packages" not in p]
from nemotron.kit import find_wandb_key
assert find_wandb_key(ask_sdk=True) is None
"""
    _python(program)


# ------------------------------------------------------------------------- the real ones


_SEE = """
import json, sys
import wandb
from nemotron.kit import find_wandb_key
theirs = wandb.api.api_key
modules = {name: sys.modules.pop(name) for name in list(sys.modules) if name == "wandb"}
ours = find_wandb_key()
sys.modules.update(modules)
print(json.dumps([theirs, ours.value if ours else None]))
"""


@pytest.mark.parametrize(
    ("netrc", "settings", "environ"),
    [
        ("", "", {}),
        ("", "", {"WANDB_API_KEY": KEY}),
        ("machine api.wandb.ai password KEY", "", {}),
        ("machine api.forge.coreweave.com password KEY", "", {}),
        ("machine api.wandb.ai password no\nmachine api.forge.coreweave.com password KEY", "", {}),
        ("machine api.forge.coreweave.com password KEY", "base_url = https://api.wandb.ai", {}),
        ("machine 127.0.0.1:1 password KEY", "base_url = http://127.0.0.1:1", {}),
        ("machine 127.0.0.1 password KEY", "base_url = http://127.0.0.1:1", {}),
        ("machine host password KEY", "base_url = http://no", {"WANDB_BASE_URL": "https://host"}),
        ("machine a password KEY\nmachine b", "", {"WANDB_BASE_URL": "https://a/"}),
        ("machine api.wandb.ai pass KEY", "", {}),
        ("", "api_key = KEY", {}),
        ("machine api.wandb.ai password KEY", "", {"NETRC": "absent"}),
    ],
)
def test_we_find_what_wandb_finds(
    home: Path, netrc: str, settings: str, environ: dict[str, str]
) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed here: make test-wandb")
    (home / ".netrc").write_text(netrc.replace("KEY", KEY))
    file = home / ".config" / "wandb" / "settings"
    file.parent.mkdir(parents=True)
    file.write_text(f"[default]\n{settings}\n".replace("KEY", KEY))
    quiet = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    theirs, ours = json.loads(_python(_SEE, **quiet, **environ))
    assert ours == theirs


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".netrc", "machine api.wandb.ai login user KEY"),
        (".config/wandb/settings", "api_key = KEY"),  # without its section
    ],
)
def test_wandb_is_not_made_to_print_a_file_that_it_cannot_understand(
    home: Path, name: str, text: str
) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed here: make test-wandb")
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).write_text(text.replace("KEY", KEY))
    done = subprocess.run(
        [sys.executable, "-c", "from nemotron.kit import *; print(find_wandb_key(ask_sdk=True))"],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns")},
    )  # fmt: skip
    assert done.stdout == "None\n"
    assert KEY not in done.stderr


def test_login_of_this_process_is_found_by_asking_wandb() -> None:
    pytest.importorskip("wandb", reason="wandb is not installed here: make test-wandb")
    program = f"""
import wandb
from nemotron.kit import find_wandb_key
assert find_wandb_key() is None
wandb.setup(settings=wandb.Settings(api_key="{KEY}", silent=True))
found = find_wandb_key()
assert (found.value, found.source) == ("{KEY}", "wandb itself"), found
"""
    _python(program, WANDB_SILENT="true", WANDB_ERROR_REPORTING="false")


def test_token_of_the_real_hub_is_ours(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is missing: make test-wandb")
    program = """
from huggingface_hub import constants, get_token
import sys
theirs = get_token()
del sys.modules["huggingface_hub"]
from nemotron.kit import find_hf_token
ours = find_hf_token()
assert theirs == (ours.value if ours else None)
print(ours)
"""
    assert _python(program) == "None\n"
    for name, environ in {
        ".cache/huggingface/token": {},
        "hf/token": {"HF_HOME": str(home / "hf")},
        "cache/huggingface/token": {"XDG_CACHE_HOME": str(home / "cache")},
        "elsewhere": {"HF_TOKEN_PATH": "~/elsewhere"},
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(f"hf_dummy{len(name)}\n")
        assert _python(program, **environ) == f"Credential(source='~/{name}')\n"
    assert _python(program, HF_TOKEN="hf_dummy") == "Credential(source='HF_TOKEN')\n"


# ------------------------------------------------------------------------- Hugging Face


def test_token_of_the_hub_is_found_in_order(home: Path) -> None:
    def found(**environ: str) -> tuple[str, str] | None:
        token = find_hf_token({**os.environ, **environ})
        return None if token is None else (token.value, token.source)

    assert found() is None
    token = home / ".cache" / "huggingface" / "token"
    token.parent.mkdir(parents=True)
    token.write_text("\n")
    assert found() is None
    token.write_text("hf_file\n")
    assert found() == ("hf_file", "~/.cache/huggingface/token")
    (home / "mine").write_text("hf_mine")
    assert found(HF_TOKEN_PATH=str(home / "mine")) == ("hf_mine", "~/mine")
    assert found(HUGGING_FACE_HUB_TOKEN="hf_old") == ("hf_old", "HUGGING_FACE_HUB_TOKEN")
    assert found(HUGGING_FACE_HUB_TOKEN="hf_old", HF_TOKEN="hf_new") == ("hf_new", "HF_TOKEN")
    assert found(HF_TOKEN=" ") == ("hf_file", "~/.cache/huggingface/token")
    token.unlink()
    assert explain_hf()[-1][1].endswith("run: hf auth login (or set HF_TOKEN)")
