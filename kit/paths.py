"""What a path inside a container is called outside of it, as far as this can be known.

``/proc/self/mountinfo`` (proc(5)) tells of each mount which folder of which filesystem it shows,
never where the host has mounted that filesystem. So the name that a file server gives a folder is
certain, and a path of the host's root filesystem is; anything else is said to be unknown.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from nemotron.lineage import filesystem_kind

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HostPath", "host_path", "in_container", "mount_points"]

NEMO_RUN = "/nemo_run"  # where nemo-run mounts a job's folder, whatever it is called outside

_ESCAPE = re.compile(r"\\([0-7]{3})")
_OF_A_MACHINE = ("9p", "virtiofs")  # folders that a virtual machine has from the one below it
# Container engines put these files over those of the image.
_OVERLAID = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
# A filesystem that holds one of these is the host's root: nowhere else has a folder of that path.
_OF_THE_ROOT = (
    "/etc", "/usr", "/var/lib/containerd", "/var/lib/containers", "/var/lib/docker",
    "/var/lib/kubelet",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class HostPath:
    """A path as others see it.

    Attributes:
        path: the path outside of the container; on a file server whose mount point outside is not
            known, its name there, such as ``server:/export/folder``; the path itself where nothing
            is known.
        how: ``same``: it is called the same outside; ``mountinfo``: the mounts tell;
            ``NEMO_RUN_DIR``: that variable says so; ``unknown``: it cannot be known.
        note: what this rests on, or why it cannot be known; empty outside of containers.
    """

    path: str
    how: Literal["same", "mountinfo", "NEMO_RUN_DIR", "unknown"]
    note: str = ""


class _Mount(NamedTuple):
    """One line of mountinfo."""

    id: str
    parent: str
    device: str
    root: str  # the folder of the filesystem that is shown
    point: str  # where it is shown
    kind: str
    source: str
    volume: str  # on btrfs, the subvolume: not all of them are mounted at one place

    @property
    def name(self) -> str:
        """What the file server calls the folder; NFS tells all of it in the source."""
        root = "" if self.root == "/" else self.root
        is_server = ":/" in self.source or self.source.startswith("//")
        return f"{self.source.rstrip('/') if is_server else f'{self.source}:'}{root}"


def host_path(
    path: str | os.PathLike[str],
    *,
    mountinfo: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> HostPath:
    """Tell what a path is called outside of the container that this process runs in.

    Reads one file of /proc, or none when its text is given; touches neither the path nor a network.

    Args:
        path: with its links resolved, as in a version's ``location``.
        mountinfo: the text of ``/proc/self/mountinfo``, by default read now.
        environ: for ``NEMO_RUN_DIR``, by default that of the process.

    >>> host_path("/data/x", mountinfo="22 1 8:1 / / rw - ext4 /dev/sda1 rw").how
    'same'
    """
    text = os.path.abspath(os.fspath(path))
    environ = os.environ if environ is None else environ
    if mountinfo is None:
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                mountinfo = file.read()
        except OSError as error:
            return _by_variable(text, f"/proc/self/mountinfo: {error.strerror}", environ)
    if not in_container(mountinfo):
        return HostPath(text, "same")
    mounts = _parse(mountinfo)
    mount = _mount_of(mounts, text)
    if mount is None or mount.point == "/":
        why = "it lies in the container's own layer, which ends with it"
        return _by_variable(text, why, environ)
    if mount.root.endswith("//deleted"):
        return _by_variable(text, f"what {mount.point} shows was deleted outside", environ)
    kind = filesystem_kind(mount.kind)
    if kind == "network" and mount.kind not in _OF_A_MACHINE:
        return _on_server(mounts, mount, text, environ)
    if kind == "fleeting":
        return _by_variable(
            text, f"{mount.point} is {mount.kind}, which no other host sees", environ
        )
    evidence = next((each for each in mounts if _shows_root(each, mount)), None)
    if evidence is not None:
        outside = os.path.normpath(_inside_volume(mount) + text[len(mount.point) :])
        note = f"{mount.point} is a folder of the host's root filesystem, as {evidence.point} is"
        return HostPath(outside, "same" if outside == text else "mountinfo", note)
    what = f"{mount.point} is {mount.root} of {mount.source} ({mount.kind})"
    why = f"{what}, and where the host mounts that cannot be seen from here"
    return _by_variable(text, why, environ)


def mount_points(mountinfo: str) -> list[str]:
    """Return where something is mounted, the longest path first.

    Args:
        mountinfo: the text of ``/proc/self/mountinfo``.
    """
    return sorted({each.point for each in _parse(mountinfo)}, key=len, reverse=True)


@lru_cache(maxsize=2)
def _parse(mountinfo: str) -> tuple[_Mount, ...]:
    """Read the lines of mountinfo; what is no such line is left out."""
    found = []
    for line in mountinfo.split("\n"):  # a name may hold other ends of lines
        left, mark, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if mark and len(fields) >= 6 and len(rest) >= 3:
            root, point, source = map(_unescape, (fields[3], fields[4], rest[1]))
            options = dict(option.partition("=")[::2] for option in rest[2].split(","))
            volume = _unescape(options.get("subvol", "")) if rest[0] == "btrfs" else ""
            found.append(
                _Mount(fields[0], fields[1], fields[2], root, point, rest[0], source, volume)
            )
    return tuple(found)


def _unescape(text: str) -> str:
    """Bring back spaces, tabs, line feeds and backslashes, which are written as octal numbers."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


@lru_cache(maxsize=2)
def in_container(mountinfo: str) -> bool:
    """Tell by the mounts alone: the root is a layer or a folder, or an engine put its files in.

    Args:
        mountinfo: the text of ``/proc/self/mountinfo``.
    """
    mounts = _parse(mountinfo)
    root = _mount_of(mounts, "/")
    return (
        root is None
        or filesystem_kind(root.kind) == "fleeting"
        or _inside_volume(root) != "/"
        or any(each.point in _OVERLAID for each in mounts)
    )


def _mount_of(mounts: tuple[_Mount, ...], path: str) -> _Mount | None:
    """Follow a path from the root on, through one mount after the other, as the kernel does."""
    ids = {each.id for each in mounts}
    here = next((each for each in mounts if each.parent not in ids or each.parent == each.id), None)
    while here is not None:
        inner = [
            each
            for each in mounts
            if each.parent == here.id != each.id and _is_within(path, each.point)
        ]
        if not inner:
            return here
        here = min(inner, key=lambda each: len(each.point))  # the first that the path meets
    return None


def _is_within(path: str, folder: str) -> bool:
    """Compare by whole segments: /nemo_run2 is not below /nemo_run."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _inside_volume(mount: _Mount) -> str:
    """Return the folder that a mount shows, as seen from the top of its volume."""
    if mount.volume in ("", "/") or not _is_within(mount.root, mount.volume):
        return mount.root
    return mount.root[len(mount.volume) :] or "/"


def _shows_root(mount: _Mount, other: _Mount) -> bool:
    """Tell whether a mount proves that the filesystem of another one is the host's root."""
    same = (mount.device, mount.volume) == (other.device, other.volume)
    folder = _inside_volume(mount)
    return same and any(_is_within(folder, each) for each in _OF_THE_ROOT)


def _is_whole(mount: _Mount) -> bool:
    """Tell whether a mount shows all of a network filesystem, as hosts have it.

    Of NFS that cannot be known: there every folder counts as the root.
    """
    is_nfs = mount.kind in ("nfs", "nfs4")
    return mount.root == "/" and not is_nfs and not _is_within(mount.point, NEMO_RUN)


def _on_server(
    mounts: tuple[_Mount, ...], mount: _Mount, text: str, environ: Mapping[str, str]
) -> HostPath:
    """Name a path of a network filesystem."""
    if _is_whole(mount):
        note = f"all of {mount.source} is at {mount.point}, as on the hosts that mount it there"
        return HostPath(text, "same", note)
    rest = text[len(mount.point) :]
    for each in mounts:
        if (
            each.device == mount.device
            and _is_whole(each)
            and each is _mount_of(mounts, each.point)
        ):
            note = f"{mount.point} is a folder of {each.source}, all of which is at {each.point}"
            return HostPath(f"{each.point.rstrip('/')}{mount.root}{rest}", "mountinfo", note)
    folder = _run_folder(environ)
    if folder and mount.point == NEMO_RUN and _last(folder) == _last(mount.name):
        return HostPath(f"{folder}{rest}", "NEMO_RUN_DIR", f"its mount agrees, it is {mount.name}")
    note = f"the name on the file server; where hosts mount {mount.source} cannot be seen from here"
    return HostPath(f"{mount.name}{rest}", "mountinfo", note)


def _by_variable(text: str, why: str, environ: Mapping[str, str]) -> HostPath:
    """Fall back to NEMO_RUN_DIR, or say why a path's name outside cannot be known."""
    folder = _run_folder(environ)
    if folder and _is_within(text, NEMO_RUN):
        note = f"NEMO_RUN_DIR says so and may be wrong: {why}"
        return HostPath(f"{folder}{text[len(NEMO_RUN) :]}", "NEMO_RUN_DIR", note)
    return HostPath(text, "unknown", why)


def _run_folder(environ: Mapping[str, str]) -> str | None:
    """Return what NEMO_RUN_DIR says is mounted at /nemo_run; inside a container it says that."""
    folder = environ.get("NEMO_RUN_DIR", "")
    if not os.path.isabs(folder) or _is_within(os.path.normpath(folder), NEMO_RUN):
        return None
    return os.path.normpath(folder)


def _last(path: str) -> str:
    return path.rpartition("/")[2]
