"""Deciding: facts in, a decision with its reasons out. Nothing here does anything."""
