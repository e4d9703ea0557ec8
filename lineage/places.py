"""Where a path lies and who sees it, as a value."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import lru_cache

from .errors import PublishRefused
from .filesystems import FLEETING, LOCAL, filesystem
from .model import Location
from .source import SourceURI

__all__ = ["Outside", "Places"]

Outside = Callable[[str], str]


class Places:
    """Describes paths as this host sees them; remembers what kind each device is.

    Args:
        outside: tells what a path is called outside of the container that this process is in.
    """

    def __init__(self, outside: Outside | None = None) -> None:
        self.host = socket.gethostname()
        self._outside = outside
        self._shared: dict[int, bool] = {}

    def locate(self, path: str | os.PathLike[str], *, external: bool = False) -> Location:
        """Describe where a path or an address lies, links resolved.

        A path of a local filesystem is bound to this host: another host's ``/tmp/out`` is another
        place. An external path is taken as it is, for whoever sees it.

        Raises:
            URIError: an address that holds a user name or password.
            PublishRefused: a path whose bytes are no UTF-8.
        """
        text = os.fspath(path)
        if "://" in text:
            return _address(text)
        if external:
            return Location(_checked(os.path.abspath(text)), None, external=True)
        real, device = _real(text)
        host = None if self._is_shared(real, device) else self.host
        called = self._outside(real) if self._outside is not None else real
        return Location(_checked(called), host)

    def is_there(self, location: Location) -> bool | None:
        """Tell whether there is something at a place; None when this host cannot know.

        Whoever declares an external path does not say which host sees it.
        """
        elsewhere = location.host not in (None, self.host)
        if elsewhere or location.external or location.is_address:
            return None
        try:
            os.stat(location.path)
        except FileNotFoundError:
            # a parent that cannot be read proves nothing, nor does an unmounted filesystem
            return None if not os.path.isdir(os.path.dirname(location.path)) else False
        except OSError:
            return None
        return True

    def _is_shared(self, path: str, device: int | None) -> bool:
        if device is None:
            return filesystem(path)[0] not in (LOCAL, FLEETING)
        if device not in self._shared:
            self._shared[device] = filesystem(path)[0] not in (LOCAL, FLEETING)
        return self._shared[device]


def _checked(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise PublishRefused(
            f"{path!r} is no UTF-8, and no record can hold it; rename it"
        ) from None
    return path


@lru_cache
def _address(text: str) -> Location:
    return Location(str(SourceURI.parse(text)), None, external=True)


def _real(path: str) -> tuple[str, int | None]:
    """Return a path without links, and its device; None when nothing is there.

    One open asks the kernel where the path leads; realpath would look at every folder of it.
    """
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return os.path.realpath(path), None
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor).st_dev
    except OSError:  # no /proc
        return os.path.realpath(path), os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)
