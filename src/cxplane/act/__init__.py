"""Carrying out what was allowed, exactly once, and finding out what is not known.

Takes an `Allowed`, reaches systems through the port `systems`, and gives back an `Outcome`. Decides nothing.
"""
