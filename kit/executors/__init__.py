"""From a profile to an executor of nemo-run, with the job's variables and secrets on their way."""

from __future__ import annotations

from .building import build_executor

__all__ = ["build_executor"]
