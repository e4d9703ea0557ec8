"""Patches of frameworks: what is observed, how it is put in place and taken back."""

__all__: list[str] = []
