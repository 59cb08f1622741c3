"""What a run does next: a pure function of its definition, its state and what happened."""
