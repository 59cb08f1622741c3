"""Reading the record: what happened to a request and why, from its entries alone."""
