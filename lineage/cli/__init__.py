"""The command ``lineage``."""
