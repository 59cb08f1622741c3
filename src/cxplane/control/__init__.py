"""The control repo: read, checked, tested, compared, released."""
