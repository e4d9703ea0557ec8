"""The journal, what it can be kept in, and how a record gets into it."""
