"""People: who may decide what waits for a person."""
