"""What kind of filesystem holds a path: it decides who sees the path and which journal fits.

Read from ``/proc/self/mountinfo`` (proc(5)). Where that file is missing, a path counts as local.
``lineage resolve`` stands on this module, so it imports next to nothing.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # as typing's, without its import
    from collections.abc import Mapping

__all__ = [
    "BUCKET",
    "FLEETING",
    "LOCAL",
    "NETWORK",
    "UNKNOWN",
    "cache_folder",
    "data_home",
    "filesystem",
    "filesystem_kind",
    "real_file",
]

LOCAL = "local"
FLEETING = "fleeting"  # a container's layer or memory: local, and gone with it
NETWORK = "network"
BUCKET = "bucket"  # shown as a folder: links, renames and appends are imitated, if at all
UNKNOWN = "unknown"

_LOCAL = frozenset({
    "apfs", "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk", "hfs",
    "hfsplus", "jfs", "nilfs2", "ntfs", "ntfs3", "reiserfs", "udf", "vfat", "xfs", "zfs",
})  # fmt: skip
_FLEETING = frozenset({
    "aufs", "fuse.fuse-overlayfs", "fuse.squashfuse", "fuse.squashfuse_ll", "overlay", "ramfs",
    "rootfs", "squashfs", "tmpfs",
})  # fmt: skip
_NETWORK = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.ceph", "fuse.glusterfs", "fuse.juicefs",
    "fuse.sshfs", "fuse.weka", "gfs2", "glusterfs", "gpfs", "lustre", "mmfs", "nfs", "nfs4",
    "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs",
})  # fmt: skip

_BUCKETS = frozenset({
    "alluxio-fuse", "blobfuse", "blobfuse2", "cosfs", "curlftpfs", "davfs", "davfs2", "fuse_dfs",
    "gcsfuse", "geesefs", "goofys", "hdfs", "jindo-fuse", "mount-s3", "mountpoint-s3", "obsfs",
    "ossfs", "rclone", "riofs", "s3backer", "s3fs", "s3ql", "yas3fs",
})  # fmt: skip

_ESCAPES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))


def filesystem(
    path: "str | os.PathLike[str]", mountinfo: str = "/proc/self/mountinfo"
) -> tuple[str, str]:
    """Return the kind and the name of the filesystem that holds a path.

    The path need not exist yet; its nearest existing parent counts.
    """
    target = os.path.realpath(path)
    while not os.path.exists(target):
        target = os.path.dirname(target)
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return LOCAL, "?"
    best, name, source = "", "?", ""
    for line in lines:
        left, _, right = line.partition(" - ")
        mount = left.split()[4]
        for escape, char in _ESCAPES:
            mount = mount.replace(escape, char)
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):  # a later mount covers an earlier one
            best, (name, source) = mount, right.split()[:2]
    if name == "fuse":  # which program shows it stands in place of a device
        name = f"fuse.{source}"
    return filesystem_kind(name), name


def real_file(path: "str | os.PathLike[str]") -> str:
    """Return the absolute path of a file, or of the one that it is a link to.

    What lies beside a file, such as the gate of a store, is then the same by each of its names.
    """
    path = os.path.abspath(path)
    return os.path.realpath(path) if os.path.islink(path) else path


def filesystem_kind(name: str) -> str:
    """Return the kind of a filesystem by its name, such as ``ext4`` or ``lustre``.

    Returns:
        ``local``; ``fleeting``: a container's layer or memory; ``network``: the same for all hosts
        that mount it; ``bucket``: an object store that is shown as a folder; or ``unknown``.
    """
    if name.removeprefix("fuse.") in _BUCKETS:
        return BUCKET
    if name in _LOCAL:
        return LOCAL
    if name in _FLEETING:
        return FLEETING
    return NETWORK if name in _NETWORK else UNKNOWN


def data_home(environ: "Mapping[str, str]") -> str:
    """Return the folder of the user's data: ``XDG_DATA_HOME``, or ``~/.local/share``."""
    return environ.get("XDG_DATA_HOME") or os.path.join(
        environ.get("HOME") or os.path.expanduser("~"), ".local", "share"
    )


def cache_folder(
    root: str | None, journal: str, environ: "Mapping[str, str] | None" = None
) -> str | None:
    """Choose a folder on a local disk for the projections of a journal, or None for memory.

    In order: ``LINEAGE_CACHE``; the store's own folder (``root``, if it has one) when that is on a
    local disk and writable; ``XDG_CACHE_HOME`` or ``~/.cache`` when that is local; the temporary
    folder.
    """
    environ = os.environ if environ is None else environ
    if environ.get("LINEAGE_CACHE"):
        return os.path.join(environ["LINEAGE_CACHE"], journal)
    local = (LOCAL, FLEETING)
    if root is not None and filesystem(root)[0] in local and os.access(root, os.W_OK):
        return os.path.join(root, "cache")
    home = environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if filesystem(home)[0] in local:
        return os.path.join(home, "nemotron-lineage", journal)
    temporary = environ.get("TMPDIR") or "/tmp"  # noqa: S108 - its owner is checked below
    folder = os.path.join(temporary, f"nemotron-lineage-{os.getuid()}")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        owner = os.stat(folder)
    except OSError:
        return None
    # others must not be able to slip in a file of theirs
    own = owner.st_uid == os.getuid() and not owner.st_mode & 0o022
    return os.path.join(folder, journal) if own and filesystem(folder)[0] in local else None
