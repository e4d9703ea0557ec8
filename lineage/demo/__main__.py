"""Runs one stage of the demo: ``python -m nemotron.lineage.demo STAGE FOLDER``."""

import sys

from . import prepare, train

STAGES = {
    "prepare": prepare.prepare,
    "pretrain": train.pretrain,
    "sft": train.sft,
    "rl": train.rl,
}

if __name__ == "__main__":
    STAGES[sys.argv[1]](sys.argv[2])
