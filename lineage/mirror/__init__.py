"""Outside systems that are fed from the journal, and catch up whenever they can be reached."""
