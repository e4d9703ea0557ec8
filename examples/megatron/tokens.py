"""Writes a small token file in Megatron's indexed form.

python tokens.py PREFIX
"""

from __future__ import annotations

import sys

import shim

shim.install()


def main(prefix: str) -> None:
    """Write 64 documents of 200 tokens."""
    import numpy as np
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    numbers = np.random.default_rng(7)
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=np.uint16)
    for _ in range(64):
        builder.add_item(torch.tensor(numbers.integers(0, 255, 200)))
        builder.end_document()
    builder.finalize(f"{prefix}.idx")


if __name__ == "__main__":
    main(sys.argv[1])
