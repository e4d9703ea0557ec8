"""Starts a job where a profile says, watches it, and records it."""

from __future__ import annotations

from .launcher import LaunchError, Request, launch

__all__ = ["LaunchError", "Request", "launch"]
