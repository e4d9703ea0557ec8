"""Reads the counters of a Megatron-Bridge checkpoint without importing torch.

``train_state.pt`` is an archive with a pickle of zero-dimensional tensors. Of what a pickle can
name, three things are let through; everything else is refused.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from .assets import LARGEST

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_train_state"]

Number = int | float | bool

# struct's letters for the types of torch's storages
_TYPES = {
    "BoolStorage": "?", "ByteStorage": "B", "CharStorage": "b", "DoubleStorage": "d",
    "FloatStorage": "f", "HalfStorage": "e", "IntStorage": "i", "LongStorage": "q",
    "ShortStorage": "h",
}  # fmt: skip

_END, _ENTRY = b"PK\x05\x06", b"PK\x01\x02"  # of a ZIP archive's directory


def read_train_state(path: str | os.PathLike[str]) -> dict[str, Number]:
    """Return the counters by name, e.g. ``step`` and ``consumed_train_samples``.

    What is no single number is left out, and so are negative counters: releases before 0.5 count
    in 32 bits, and overflow.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such archive.
    """
    if os.path.getsize(path) > LARGEST:
        raise ValueError(f"{path} has more than {LARGEST:,} bytes")
    with open(path, "rb") as file:
        data = file.read()  # a few KiB
    try:
        entries = _entries(data)
        (name,) = [each for each in entries if each.endswith("/data.pkl")]
        found = _Reader(entries, name.removesuffix("data.pkl")).load()
    except (
        pickle.UnpicklingError,
        EOFError,
        LookupError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        raise ValueError(f"{path} is no train state: {error}") from error
    counters = found.items() if isinstance(found, dict) else ()
    return {
        str(key): value for key, value in counters if isinstance(value, Number) and not (value < 0)
    }


def _entries(data: bytes) -> dict[str, bytes]:
    """Return the entries of a ZIP archive that are stored as they are, as torch stores them.

    The standard library's module takes half as long as the rest of a hook for it.
    """
    end = data.rindex(_END)
    count, _, at = struct.unpack_from("<HII", data, end + 10)
    found = {}
    for _ in range(count):
        signature, method, size, named, extra, comment, start = struct.unpack_from(
            "<4s6xH8xI4xHHH8xI", data, at
        )
        name = data[at + 46 : at + 46 + named].decode()
        if signature != _ENTRY:
            raise LookupError("its directory is damaged")
        if method == 0:
            begin = start + 30 + sum(struct.unpack_from("<HH", data, start + 26))
            found[name] = data[begin : begin + size]
        at += 46 + named + extra + comment
    return found


class _Reader(pickle.Unpickler):
    """Unpickles tensors of one number as that number."""

    def __init__(self, entries: Mapping[str, bytes], prefix: str) -> None:
        super().__init__(io.BytesIO(entries[f"{prefix}data.pkl"]))
        self._entries, self._prefix = entries, prefix

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _number
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not expected in it")

    def persistent_load(self, pid: Any) -> Any:
        _, letter, key, *_ = pid
        return letter, self._entries[f"{self._prefix}data/{key}"]


def _number(storage: tuple[str, bytes], offset: int, size: tuple[int, ...], *_: Any) -> Any:
    letter, data = storage
    if size:
        return None
    (value,) = struct.unpack_from(f"<{letter}", data, offset * struct.calcsize(letter))
    return value
