"""The HTTP edge: JSON in, JSON out, and a clear answer to everything that is wrong."""
