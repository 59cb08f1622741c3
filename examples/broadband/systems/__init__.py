"""Four small business systems for the broadband example: crm, billing, cases, field_service.

Each runs as its own process with its own state, knows nothing of the control plane, and can be told to
misbehave. Everything in them is invented.
"""
