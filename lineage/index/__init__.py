"""The index: tables that answer questions, projected from the journal."""
