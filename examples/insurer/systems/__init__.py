"""The business systems of Aldermoor, an invented household insurer; each a service of its own."""
