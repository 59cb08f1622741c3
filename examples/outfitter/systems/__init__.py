"""The services of the outfitter example: an order agent, a payment agent in two versions, a warehouse.

Each runs as its own process with its own state, knows nothing of the control plane, and can be told to misbehave. The
HTTP part is that of the broadband example. Everything in them is invented.
"""
