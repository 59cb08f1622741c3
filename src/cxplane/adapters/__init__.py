"""Our machinery: what fits the ports from our side. Only `wiring.py` chooses among these."""
