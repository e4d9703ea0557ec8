"""Lineage in other forms: pictures and texts that others read."""
