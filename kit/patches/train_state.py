"""Reads the counters of a Megatron-Bridge checkpoint without importing torch.

``train_state.pt`` is an archive with a pickle of zero-dimensional tensors. Of what a pickle can
name, three things are let through; everything else is refused.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

__all__ = ["read_train_state"]

Number = int | float | bool

# struct's letters for the types of torch's storages
_TYPES = {
    "BoolStorage": "?", "ByteStorage": "B", "CharStorage": "b", "DoubleStorage": "d",
    "FloatStorage": "f", "HalfStorage": "e", "IntStorage": "i", "LongStorage": "q",
    "ShortStorage": "h",
}  # fmt: skip


def read_train_state(path: str | os.PathLike[str]) -> dict[str, Number]:
    """Return the counters by name, e.g. ``step`` and ``consumed_train_samples``.

    What is no single number is left out, and so are negative counters: releases before 0.5 count
    in 32 bits, and overflow.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = [each for each in archive.namelist() if each.endswith("/data.pkl")]
            with archive.open(name) as file:
                found = _Reader(file, archive, name.removesuffix("data.pkl")).load()
    except (
        zipfile.BadZipFile, pickle.UnpicklingError, EOFError, LookupError, TypeError, struct.error,
    ) as error:  # fmt: skip
        raise ValueError(f"{path} is no train state: {error}") from error
    counters = found.items() if isinstance(found, dict) else ()
    return {
        str(key): value for key, value in counters if isinstance(value, Number) and not (value < 0)
    }


class _Reader(pickle.Unpickler):
    """Unpickles tensors of one number as that number."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, prefix: str) -> None:
        super().__init__(file)
        self._archive, self._prefix = archive, prefix

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
        return letter, self._archive.read(f"{self._prefix}data/{key}")


def _number(storage: tuple[str, bytes], offset: int, size: tuple[int, ...], *_: Any) -> Any:
    letter, data = storage
    if size:
        return None
    (value,) = struct.unpack_from(f"<{letter}", data, offset * struct.calcsize(letter))
    return value
