"""Filesystems, the choice of a store, and where paths lie."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.lineage import StoreError, StoreNotFoundError, StoreUnsuitable
from nemotron.lineage.filesystems import cache_folder, filesystem
from nemotron.lineage.journal.directory import DirectoryJournal
from nemotron.lineage.journal.kinds import absolute_address, folder_beside
from nemotron.lineage.journal.sqlite import SQLiteJournal
from nemotron.lineage.places import Places
from nemotron.lineage.settings import choose_store

MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
23 22 0:5 / /lustre rw,relatime shared:1 - lustre mds@o2ib:/scratch rw
24 22 0:6 / /home rw - nfs4 server:/home rw
25 22 0:7 / /home/local\\040disk rw - xfs /dev/sdb rw
26 22 0:8 / /odd rw - fuse.mystery mystery rw
27 22 0:9 / /box rw - overlay overlay rw
28 22 0:10 / /s3 rw - fuse.s3fs s3fs rw
29 22 0:11 / /gcs rw - fuse.gcsfuse team-bucket rw
30 22 0:12 / /mountpoint rw - fuse mountpoint-s3 rw
31 22 0:13 / /rclone rw - fuse.rclone remote:bucket rw
"""


@pytest.fixture
def mounts(tmp_path: Path) -> str:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS)
    return str(path)


@pytest.mark.parametrize(
    ("path", "kind", "name"),
    [
        ("/data/x", "local", "ext4"),
        ("/lustre/run", "network", "lustre"),
        ("/lustre2/run", "local", "ext4"),
        ("/home/me/x", "network", "nfs4"),
        ("/home/local disk/x", "local", "xfs"),
        ("/odd/x", "unknown", "fuse.mystery"),
        ("/box/x", "fleeting", "overlay"),
        ("/s3/x", "bucket", "fuse.s3fs"),
        ("/gcs/x", "bucket", "fuse.gcsfuse"),
        ("/mountpoint/x", "bucket", "fuse.mountpoint-s3"),
        ("/rclone/x", "bucket", "fuse.rclone"),
    ],
)
def test_filesystem_of_a_path(
    path: str, kind: str, name: str, mounts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # these mounts are not here: take every path as it stands
    monkeypatch.setattr(os.path, "exists", lambda _: True)
    assert filesystem(path, mounts) == (kind, name)


def test_without_mountinfo_a_path_is_local(tmp_path: Path) -> None:
    assert filesystem(tmp_path, str(tmp_path / "nope")) == ("local", "?")


@pytest.fixture
def network_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every path were on NFS."""
    for module in ("journal.sqlite", "settings", "filesystems"):
        monkeypatch.setattr(f"nemotron.lineage.{module}.filesystem", lambda _: ("network", "nfs4"))


@pytest.mark.usefixtures("network_home")
def test_sqlite_on_a_network_filesystem_is_refused_with_the_alternative(tmp_path: Path) -> None:
    with pytest.raises(StoreUnsuitable, match=r"nfs4.*directory journal instead: .*/lineage/"):
        SQLiteJournal(tmp_path / "lineage.db")
    assert not (tmp_path / "lineage.db").exists()


def test_sqlite_on_an_unknown_filesystem_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nemotron.lineage.journal.sqlite.filesystem", lambda _: ("unknown", "x"))
    with pytest.raises(StoreUnsuitable, match="unknown filesystem"):
        lineage.open(tmp_path / "lineage.db")


# ----------------------------------------------------------- which store is meant


def test_argument_beats_all(tmp_path: Path) -> None:
    environ = {"LINEAGE_STORE": "/elsewhere", "HOME": str(tmp_path)}
    assert choose_store("/mine", environ, tmp_path)[:2] == ("/mine", "named by the caller")


def test_variable_beats_settings(tmp_path: Path) -> None:
    (tmp_path / "env.toml").write_text('[artifacts]\nstore = "x"\n')
    environ = {"LINEAGE_STORE": "/elsewhere", "HOME": str(tmp_path)}
    assert choose_store(None, environ, tmp_path)[0] == "/elsewhere"


def test_settings_are_found_upwards_and_relative_to_their_folder(tmp_path: Path) -> None:
    (tmp_path / "env.toml").write_text('[artifacts]\nstore = "stores/x.db"\n')
    (tmp_path / "a" / "b").mkdir(parents=True)
    address, why, _ = choose_store(None, {"HOME": str(tmp_path)}, tmp_path / "a" / "b")
    assert address == str(tmp_path / "stores" / "x.db")
    assert str(tmp_path / "env.toml") in why


def test_search_for_settings_stops_at_the_project(tmp_path: Path) -> None:
    (tmp_path / "env.toml").write_text('[artifacts]\nstore = "x"\n')
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").touch()
    address, _, _ = choose_store(None, {"HOME": str(tmp_path)}, project)
    assert address == str(tmp_path / ".local/share/nemotron-lineage/lineage.db")


def test_named_settings_count_and_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('[artifacts]\nstore = "s3://bucket/x"\n')
    environ = {"NEMOTRON_ENV_FILE": str(tmp_path / "other.toml"), "HOME": str(tmp_path)}
    assert choose_store(None, environ, tmp_path)[0] == "s3://bucket/x"
    environ["NEMOTRON_ENV_FILE"] = str(tmp_path / "nope.toml")
    with pytest.raises(StoreError, match=r"nope\.toml, which is not there"):
        choose_store(None, environ, tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [("[artifacts]\nstore = 3\n", "must be an address"), ("[artifacts\n", "line 1")],
)
def test_bad_settings_are_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "env.toml").write_text(text)
    with pytest.raises(StoreError, match=says):
        choose_store(None, {"HOME": str(tmp_path)}, tmp_path)


@pytest.mark.usefixtures("network_home")
def test_default_is_a_folder_when_home_is_on_the_network(tmp_path: Path) -> None:
    address, why, _ = choose_store(None, {"HOME": str(tmp_path)}, tmp_path)
    assert address.endswith("nemotron-lineage/journal")
    assert "nfs4" in why


def test_default_warns_in_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("nemotron.lineage.settings.filesystem", lambda _: ("fleeting", "overlay"))
    with caplog.at_level(logging.WARNING), lineage.open():
        pass
    assert "thrown away with this container" in caplog.text


# --------------------------------------------------------------- kinds of address


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("sqlite:///a.db", "sqlite"),
        ("a.db", "sqlite"),
        ("folder", "directory"),
        ("file://{here}/folder", "directory"),
        ("sqlite:///{here}/b.db", "sqlite"),
        ("memory:", "memory"),
    ],
)
def test_address_says_the_kind(tmp_path: Path, address: str, kind: str) -> None:
    with lineage.open(address.format(here=tmp_path)) as store:
        assert store.journal.kind == kind
        with lineage.open(store.journal.address) as again:
            assert kind == "memory" or again.journal.id == store.journal.id


def test_unknown_scheme_is_refused() -> None:
    with pytest.raises(StoreUnsuitable, match="ftp:// is no kind of store"):
        lineage.open("ftp://host/x")


@pytest.mark.parametrize("address", ["nope.db", "nope"])
def test_store_that_is_not_there_is_not_made_for_reading(tmp_path: Path, address: str) -> None:
    with pytest.raises(StoreNotFoundError, match="there is no store at"):
        lineage.open(tmp_path / address, create=False)
    assert not (tmp_path / address).exists()


def test_folder_with_other_things_is_no_store(out: Path) -> None:
    with pytest.raises(StoreUnsuitable, match="holds other files"):
        DirectoryJournal(out)


def test_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("hello" * 1000)
    with pytest.raises(StoreError, match="damaged or no lineage store"):
        lineage.open(tmp_path / "x.db")


# -------------------------------------------------------------------- locations


def test_local_path_is_bound_to_its_host(out: Path) -> None:
    location = Places().locate(out)
    assert location.path == str(out.resolve())
    assert location.host == socket.gethostname()


def test_path_on_the_network_is_everybodys(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemotron.lineage.places.filesystem", lambda _: ("network", "lustre"))
    assert Places().locate(out).host is None


def test_address_is_external_and_everybodys() -> None:
    location = Places().locate("s3://bucket/key")
    assert (location.path, location.host, location.external) == ("s3://bucket/key", None, True)


def test_links_are_resolved(out: Path) -> None:
    (out.parent / "latest").symlink_to(out)
    assert Places().locate(out.parent / "latest") == Places().locate(out)


def test_cache_is_on_a_local_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    assert cache_folder(str(tmp_path), "id", environ) == str(tmp_path / "cache")
    assert cache_folder(str(tmp_path), "id", {**environ, "LINEAGE_CACHE": "/c"}) == "/c/id"

    def only_tmp_is_local(path: object) -> tuple[str, str]:
        local = "nemotron-lineage-" in str(path)
        return ("local", "ext4") if local else ("network", "nfs")

    monkeypatch.setattr("nemotron.lineage.filesystems.filesystem", only_tmp_is_local)
    folder = cache_folder(str(tmp_path), "id", environ)
    assert folder == str(tmp_path / f"nemotron-lineage-{os.getuid()}" / "id")
    (tmp_path / f"nemotron-lineage-{os.getuid()}").chmod(0o777)
    assert cache_folder(str(tmp_path), "id", environ) is None


def test_nobody_knows_here_whether_an_external_path_is_there(out: Path) -> None:
    places = Places()
    assert places.is_there(places.locate(out)) is True
    assert places.is_there(places.locate(out, external=True)) is None
    assert places.is_there(places.locate("s3://bucket/key")) is None


@pytest.mark.parametrize("path", ["/a b/100%/lineage.db", "relative.db", "/a/folder", "folder"])
def test_absolute_address_opens_the_same_store(path: str) -> None:
    address = absolute_address(path)
    assert folder_beside(address, "x") == folder_beside(path, "x")
    assert absolute_address(address) == address
    assert absolute_address("memory:") == "memory:"


@pytest.mark.parametrize(
    ("one", "other"),
    [("s3://b/p", "s3://b/p/"), ("postgresql://h/d?schema=s", "postgres://h/d?schema=s")],
)
def test_what_waits_for_a_far_store_lies_in_one_folder(one: str, other: str) -> None:
    assert folder_beside(one, "intake") == folder_beside(other, "intake")
    assert folder_beside(one, "intake") != folder_beside(f"{one}2", "intake")
