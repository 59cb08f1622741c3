"""The open control plane for customer service."""

__version__ = "0.1.0"
