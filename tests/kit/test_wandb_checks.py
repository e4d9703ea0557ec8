"""The doctor names cause and cure of everything that keeps runs from reaching W&B."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nemotron.kit.wandb_checks import look_at_wandb

KEY = "f" * 40


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()  # no env.toml above counts


def _look(*, sdk: str = "0.30.0", online: bool = False, **environ: str) -> dict[str, bool]:
    told = look_at_wandb(online=online, environ={"HOME": "/nowhere", **environ}, sdk=sdk)
    found = {sentence: fine for fine, sentence in told}
    assert KEY not in str(found)
    return found


def _wrong(**facts: Any) -> list[str]:
    return [sentence for sentence, fine in _look(**facts).items() if not fine]


def test_nothing_is_wrong_where_wandb_is_not_wanted() -> None:
    assert all(_look().values())
    assert "off: no env.toml was found and WANDB_PROJECT is not set" in str(_look())
    Path("env.toml").write_text("[cli]\n")
    assert "env.toml has no section [wandb] and WANDB_PROJECT" in str(_look())
    Path("env.toml").write_text('[wandb]\nentity = "e"\n')
    assert "[wandb] of env.toml has no project" in str(_look())


@pytest.mark.parametrize(
    ("release", "said"),
    [
        ("0.23.1", ["older than 0.26", "wandb/wandb#10819"]),
        ("0.25.1", ["older than 0.26", "wandb/wandb#11039"]),
        ("0.22.0", ["older than 0.26"]),
        ("0.26.0", []), ("0.31.0", []),
    ],
)  # fmt: skip
def test_known_faults_of_releases_are_told_with_the_cure(release: str, said: list[str]) -> None:
    told = _wrong(sdk=release)
    assert len(told) == len(said)
    for words, sentence in zip(said, told, strict=True):
        assert words in sentence
        assert "pip install -U" in sentence or "patch_wandb_runid_for_seeded_random" in sentence


def test_server_is_the_one_that_the_release_asks() -> None:
    assert "server: https://api.wandb.ai" in str(_look(sdk="0.30.0"))
    assert "server: https://api.forge.coreweave.com" in str(_look(sdk="0.31.0"))
    Path("env.toml").write_text('[wandb]\nproject = "p"\nbase_url = "https://wandb.example.com"\n')
    assert "server: https://wandb.example.com" in _look()


@pytest.mark.parametrize("url", ["wandb.example.com", "ftp://x", "https://"])
def test_address_that_is_none_is_told(url: str) -> None:
    (said,) = _wrong(WANDB_BASE_URL=url)
    assert "write one such as https://wandb.example.com" in said


def test_login_in_an_address_is_not_shown() -> None:
    (said,) = _wrong(WANDB_BASE_URL=f"https://me:{KEY}@wandb.example.com")
    assert "does not belong there" in said


def test_project_that_is_not_there_is_made_by_the_first_run() -> None:
    found = _look(WANDB_PROJECT="p", WANDB_API_KEY=KEY)
    assert all(found.values())
    assert "project p: it need not exist, the first run makes it" in str(found)
    assert "lineage sync delivers" in str(_look(WANDB_PROJECT="p", WANDB_MODE="offline"))


def test_two_logins_at_once_are_refused_by_wandb() -> None:
    (said,) = _wrong(WANDB_API_KEY=KEY, WANDB_IDENTITY_TOKEN_FILE="/t")
    assert "unset one of them" in said


def test_variables_that_did_not_reach_a_job_are_named() -> None:
    (said,) = _wrong(SLURM_JOB_ID="7")
    assert "WANDB_PROJECT did not reach it; submit it with lineage run" in said
    (said,) = _wrong(SLURM_JOB_ID="7", WANDB_PROJECT="p")
    assert "WANDB_API_KEY did not reach it" in said
    assert not _wrong(SLURM_JOB_ID="7", WANDB_PROJECT="p", WANDB_API_KEY=KEY)


def test_ray_workers_are_told_by_their_runtime_environment() -> None:
    (said,) = _wrong(RAY_JOB_ID="01000000")
    assert "a Ray worker" in said
    assert "env_vars of runtime_env" in said


# ------------------------------------------------------------------------- online


@contextmanager
def _serving(
    status: int, viewer: object, elsewhere: str | None = None
) -> Iterator[tuple[str, list[str]]]:
    logins: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def do_GET(self) -> None:
            logins.append(self.headers.get("Authorization", ""))
            body = json.dumps({"data": {"viewer": viewer}}).encode()
            self.send_response(status)
            if elsewhere is not None:
                self.send_header("Location", elsewhere)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", logins
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "viewer", "said"),
    [
        (200, {"entity": "team"}, "answers; the login is that of team"),
        (200, None, "knows no such login; run: wandb login --relogin"),
        (401, None, "refuses the login from WANDB_API_KEY; run: wandb login --relogin"),
        (503, None, "answers with status 503"),
    ],
)
def test_server_is_asked_who_is_logged_in(status: int, viewer: object, said: str) -> None:
    with _serving(status, viewer) as (url, logins):
        assert "lineage doctor --online" in str(_look(WANDB_BASE_URL=url, WANDB_API_KEY=KEY))
        assert not logins  # nobody is asked unless that is wanted
        found = _look(online=True, WANDB_BASE_URL=url, WANDB_API_KEY=KEY)
    (sentence,) = [each for each in found if said in each]
    assert found[sentence] is (viewer is not None)
    assert len(logins) == 1


def test_key_does_not_follow_to_where_a_server_sends_us_on_to() -> None:
    with (
        _serving(200, {"entity": "x"}) as (other, theirs),
        _serving(302, None, f"{other}/graphql") as (url, logins),
    ):
        list(_look(online=True, WANDB_BASE_URL=url, WANDB_API_KEY=KEY))
    assert logins[0].startswith("Basic ")
    assert theirs == [""]


def test_server_that_speaks_no_http_is_told_with_the_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                asked = b""
                while b"viewer" not in asked:
                    asked += connection.recv(1 << 16)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        port = listening.getsockname()[1]
        (said,) = _wrong(online=True, WANDB_BASE_URL=f"http://127.0.0.1:{port}")
        thread.join()
    assert said.endswith("delivered later")
    assert "does not answer (SSH-2.0-OpenSSH); look at base_url" in said


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://me:hunter2hunter2@127.0.0.1:1", "holds a login"),
        ("http://me:hunter2hunter2@[::1", "holds a login"),
        ("http://127.0.0.1:port", "is no address"),
        ("http://[::1", "is no address"),
        ("http://a b", "is no address"),
    ],
)
def test_address_that_is_none_is_not_asked_and_no_login_in_it_is_shown(url: str, said: str) -> None:
    (found,) = _wrong(online=True, WANDB_BASE_URL=url)
    assert said in found
    assert "hunter2" not in str(_look(online=True, WANDB_BASE_URL=url))


def test_server_that_is_down_is_told_with_the_cure() -> None:
    with _serving(200, {}) as (url, _):
        pass
    (said,) = _wrong(online=True, WANDB_BASE_URL=url)
    assert "does not answer" in said
    assert "delivered later" in said


def test_key_of_one_server_is_not_shown_to_another(tmp_path: Path) -> None:
    """A server of one's own, named by env.toml, beside a login at W&B's own service."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine api.wandb.ai login user password {KEY}\n")
    netrc.chmod(0o600)
    with _serving(200, None) as (url, logins):
        Path("env.toml").write_text(f'[wandb]\nproject = "p"\nbase_url = "{url}"\n')
        said = _wrong(online=True, NETRC=str(netrc))
    assert logins == [""]
    assert any("answers, and knows no such login; " in each for each in said)
