"""A stand-in for Megatron-Bridge: its hooks and who calls them, on real folders, without weights.

The signatures are those of tests/data/signatures (``test_observers.py`` compares); the real one is
run by tests/integration/megatron_bridge.
"""

__version__ = "0.3.1"
