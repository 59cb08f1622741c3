"""Our machinery: what fits the ports from our side. Only `wiring` chooses among these."""
