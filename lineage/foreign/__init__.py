"""Layouts of other registries: read into a store, and written from one for tools that read them."""
