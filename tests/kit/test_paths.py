"""What a container's path is called outside: by real forms of mountinfo, and by real mounts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nemotron.kit import HostPath, host_path
from nemotron.lineage.filesystems import LOCAL, filesystem

ROOT = Path(__file__).parents[2]

# As proc(5) and the documents of each engine say. pyxis and enroot have no overlay: a root unpacked
# into a folder, and everything else from the host.
HOST, BTRFS_HOST, DOCKER, PODMAN, PYXIS = (
    (Path(__file__).parent / "mountinfo" / name).read_text()
    for name in ("host", "host-btrfs", "docker", "podman", "pyxis")
)
PYXIS_WITHOUT_THE_WHOLE = "\n".join(
    line for line in PYXIS.splitlines() if not line.startswith("905 ")
)


def _at(path: str, mountinfo: str, **environ: str) -> HostPath:
    return host_path(path, mountinfo=mountinfo, environ=environ)


def _known(path: str, mountinfo: str, **environ: str) -> tuple[str, str]:
    found = _at(path, mountinfo, **environ)
    return found.path, found.how


# ------------------------------------------------------------------- on a plain host


@pytest.mark.parametrize(
    "path", ["/", "/home/me/x", "/lustre/fsw/x", "/data/x", "/nemo_run/x", "/nope"]
)
@pytest.mark.parametrize("mountinfo", [HOST, BTRFS_HOST], ids=["ext4", "btrfs"])
def test_path_of_a_plain_host_is_the_same(path: str, mountinfo: str) -> None:
    assert _at(path, mountinfo, NEMO_RUN_DIR="/elsewhere") == HostPath(path, "same")


def test_mounts_of_this_process_are_read_where_no_text_is_given() -> None:
    text = Path("/proc/self/mountinfo").read_text()
    assert host_path(ROOT) == host_path(ROOT, mountinfo=text)


def test_relative_paths_and_detours_are_taken_out(tmp_path: Path) -> None:
    assert host_path("x/../y", mountinfo=HOST).path == str(tmp_path / "y")
    assert _known("/nemo_run/../runs2/x", DOCKER)[1] == "unknown"
    assert _known("/runs/../nemo_run//x/", DOCKER)[0] == "/home/me/experiments/sft_1/train/x"


# ---------------------------------------------------- folders of the host's root filesystem


def test_folder_of_the_root_filesystem_has_the_path_that_it_has_there() -> None:
    found = _at("/nemo_run/checkpoints/iter_0000100", DOCKER)
    assert found.path == "/home/me/experiments/sft_1/train/checkpoints/iter_0000100"
    assert found.how == "mountinfo"
    assert "as /etc/resolv.conf is" in found.note
    assert _known("/nemo_run", DOCKER)[0] == "/home/me/experiments/sft_1/train"


def test_names_with_odd_characters_are_unescaped() -> None:
    assert _known("/odd place/x", DOCKER) == ("/srv/a b/c\\d/x", "mountinfo")


def test_folder_mounted_where_the_host_has_it_is_the_same() -> None:
    found = _at("/srv/same/x", DOCKER)
    assert (found.path, found.how) == ("/srv/same/x", "same")
    assert found.note


def test_subvolume_with_the_hosts_own_files_is_the_root() -> None:
    assert _known("/models/a", PODMAN) == ("/srv/models/a", "mountinfo")
    found = _at("/nemo_run/x", PODMAN)
    assert (found.path, found.how) == ("/nemo_run/x", "unknown")
    assert "/nemo_run is /@home/me/run of /dev/sda2 (btrfs)" in found.note


# -------------------------------------------------------------------- file servers


def test_folder_of_a_filesystem_that_is_mounted_whole_is_found_there() -> None:
    found = _at("/nemo_run/checkpoints/iter_1", PYXIS)
    assert found.path == "/lustre/fsw/me/experiments/sft_1/train/checkpoints/iter_1"
    assert found.how == "mountinfo"
    assert "all of which is at /lustre" in found.note


def test_whole_network_filesystem_is_taken_to_be_there_for_all() -> None:
    found = _at("/lustre/fsw/me/x", PYXIS)
    assert (found.path, found.how) == ("/lustre/fsw/me/x", "same")
    assert "10.1.0.5@o2ib:/scratch" in found.note


def test_folder_of_a_file_server_has_its_name_there() -> None:
    assert _known("/nemo_run/x", PYXIS_WITHOUT_THE_WHOLE) == (
        "10.1.0.5@o2ib:/scratch/fsw/me/experiments/sft_1/train/x",
        "mountinfo",
    )
    # any folder of NFS counts as the root of its mount: the source tells which it is
    found = _at("/workspace/src", DOCKER)
    assert (found.path, found.how) == ("filer:/export/home/me/code/src", "mountinfo")
    assert "cannot be seen from here" in found.note


def test_source_without_a_server_is_named_with_its_folder() -> None:
    gpfs = PYXIS_WITHOUT_THE_WHOLE.replace("lustre 10.1.0.5@o2ib:/scratch", "gpfs gpfs0")
    assert _known("/nemo_run/x", gpfs)[0] == "gpfs0:/fsw/me/experiments/sft_1/train/x"


def test_whole_filesystem_at_nemo_run_is_not_there_for_all() -> None:
    whole = PYXIS_WITHOUT_THE_WHOLE.replace(
        "/fsw/me/experiments/sft_1/train /nemo_run", "/ /nemo_run"
    )
    assert _known("/nemo_run/x", whole) == ("10.1.0.5@o2ib:/scratch/x", "mountinfo")


# ------------------------------------------------------------- what cannot be known


@pytest.mark.parametrize(
    ("path", "mountinfo", "says"),
    [
        ("/opt/model", DOCKER, "container's own layer"),
        ("/nemo_run2/x", DOCKER, "container's own layer"),
        ("/dev/shm/x", DOCKER, "/dev/shm is tmpfs"),
        ("/runs/x", DOCKER, "/runs is /runs of /dev/nvme1n1 (xfs), and where the host mounts"),
        ("/shared/x", DOCKER, "/shared is /repo of share (virtiofs)"),
        ("/mystery/x", DOCKER, "/mystery is /x of mystery (fuse.mystery)"),
        ("/gone/x", DOCKER, "what /gone shows was deleted"),
        ("/opt/model", PYXIS, "container's own layer"),
        ("/raid/x", PYXIS, "/raid is / of /dev/md0 (xfs)"),
        ("/opt/model", PODMAN, "container's own layer"),
    ],
)
def test_what_cannot_be_known_is_said(path: str, mountinfo: str, says: str) -> None:
    found = _at(path, mountinfo)
    assert (found.path, found.how) == (path, "unknown")
    assert says in found.note


@pytest.mark.parametrize("text", ["", "nonsense\n", "1 2 3 - \n", "a b c d e f - g\n"])
def test_text_that_is_no_mountinfo_tells_nothing(text: str) -> None:
    assert _known("/x", text) == ("/x", "unknown")


# -------------------------------------------------------------------- NEMO_RUN_DIR


def test_variable_counts_where_the_mounts_tell_nothing() -> None:
    found = _at("/nemo_run/x", PODMAN, NEMO_RUN_DIR="/home/me/run/")
    assert (found.path, found.how) == ("/home/me/run/x", "NEMO_RUN_DIR")
    assert "may be wrong" in found.note
    assert _known("/nemo_run2/x", PODMAN, NEMO_RUN_DIR="/home/me/run")[1] == "unknown"
    assert _known("/opt/x", PODMAN, NEMO_RUN_DIR="/home/me/run")[1] == "unknown"


def test_mounts_count_before_the_variable() -> None:
    assert _known("/nemo_run/x", DOCKER, NEMO_RUN_DIR="/wrong")[1] == "mountinfo"
    assert _known("/nemo_run/x", PYXIS_WITHOUT_THE_WHOLE, NEMO_RUN_DIR="/wrong")[1] == "mountinfo"


def test_variable_that_agrees_with_the_file_server_gives_the_path() -> None:
    folder = "/mnt/fsw/me/experiments/sft_1/train"
    found = _at("/nemo_run/x", PYXIS_WITHOUT_THE_WHOLE, NEMO_RUN_DIR=folder)
    assert (found.path, found.how) == (f"{folder}/x", "NEMO_RUN_DIR")
    assert "10.1.0.5@o2ib:/scratch/fsw/me/experiments/sft_1/train" in found.note


@pytest.mark.parametrize("folder", ["/nemo_run", "/nemo_run/", "/nemo_run/x", "", "relative"])
def test_variable_that_names_the_container_is_ignored(folder: str) -> None:
    assert _known("/nemo_run/x", PODMAN, NEMO_RUN_DIR=folder) == ("/nemo_run/x", "unknown")


def test_variable_is_asked_where_there_is_no_mountinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert host_path("/nemo_run/x", environ={}).how == "unknown"
    found = host_path("/nemo_run/x", environ={"NEMO_RUN_DIR": "/job"})
    assert (found.path, found.how) == ("/job/x", "NEMO_RUN_DIR")
    assert "Permission denied" in found.note


# ---------------------------------------------------------------- one mount over another


def test_later_mount_covers_what_was_there() -> None:
    again = DOCKER + "700 623 0:50 / /nemo_run rw - lustre 10.1.0.5@o2ib:/scratch/job rw\n"
    assert _known("/nemo_run/x", again) == ("10.1.0.5@o2ib:/scratch/job/x", "mountinfo")


def test_mount_on_a_parent_hides_those_below_it() -> None:
    below = DOCKER + "700 612 259:2 /srv/old /top/old rw - ext4 /dev/nvme0n1p2 rw\n"
    assert _known("/top/old/x", below)[0] == "/srv/old/x"
    hidden = below + "701 612 259:2 /srv/new /top rw - ext4 /dev/nvme0n1p2 rw\n"
    assert _known("/top/old/x", hidden)[0] == "/srv/new/old/x"


def test_mount_inside_a_mount_counts() -> None:
    inner = DOCKER + "700 623 259:2 /srv/ckpt /nemo_run/ckpt rw - ext4 /dev/nvme0n1p2 rw\n"
    assert _known("/nemo_run/ckpt/x", inner)[0] == "/srv/ckpt/x"
    assert _known("/nemo_run/ckpt2/x", inner)[0] == "/home/me/experiments/sft_1/train/ckpt2/x"


# ------------------------------------------------------------------------ real mounts

SHOW = """
import sys
from nemotron.kit import host_path
print(*map(host_path, sys.argv[1:]), sep="\\n")
"""
# A container of our own: an overlay of this machine as its root, a job's folder at /nemo_run.
CONTAINER = """\
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$BOX/layers"
cd "$BOX/layers"
mkdir upper work
mount -t overlay overlay -o "lowerdir=/,upperdir=upper,workdir=work" "$BOX/root"
mkdir -p "$BOX/root/nemo_run" "$BOX/root/nemo_run2" "$BOX/root/a b"
mount --bind "$BOX/job" "$BOX/root/nemo_run"
mount --bind "$BOX/job/a b" "$BOX/root/a b"
mount --bind /etc/passwd "$BOX/root/etc/passwd"
mount -t proc proc "$BOX/root/proc"
exec chroot "$BOX/root" "$PYTHON" -c "$SHOW" /nemo_run/ckpt '/a b/x' /nemo_run2/x /opt/x
"""


@pytest.mark.root
def test_paths_of_a_real_container(tmp_path: Path) -> None:
    if filesystem(tmp_path)[0] != LOCAL or tmp_path.stat().st_dev != Path("/etc").stat().st_dev:
        pytest.skip("the folder for tests is not on the root filesystem")
    for name in ("layers", "root", "job/a b"):
        (tmp_path / name).mkdir(parents=True)
    environ = {
        **os.environ, "BOX": str(tmp_path), "PYTHON": sys.executable, "SHOW": SHOW,
        "PYTHONPATH": str(ROOT / "tools" / "ns"),
    }  # fmt: skip
    result = subprocess.run(
        ["unshare", "--mount", "bash", "-c", CONTAINER], env=environ, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = result.stdout.splitlines()
    assert f"path='{tmp_path}/job/ckpt', how='mountinfo'" in found[0]
    assert f"path='{tmp_path}/job/a b/x', how='mountinfo'" in found[1]
    assert "path='/nemo_run2/x', how='unknown'" in found[2]
    assert "path='/opt/x', how='unknown'" in found[3]


@pytest.mark.root
def test_bind_mounts_of_a_host_hide_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    words = ["unshare", "--mount", "bash", "-c"]
    words += [f'mount --bind "{tmp_path}/a" "{tmp_path}/b" && exec "$0" -c "$1" "{tmp_path}/b/x"']
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns")}
    result = subprocess.run(
        [*words, sys.executable, SHOW], env=environ, capture_output=True, text=True, check=True
    )
    same = f"path='{tmp_path}/b/x', how='same'" in result.stdout
    assert same or filesystem("/")[0] != LOCAL, result.stdout
