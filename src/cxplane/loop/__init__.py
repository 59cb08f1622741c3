"""Where the stages meet: ask → judge → do, with people in command and everything on record."""

from cxplane.loop.live import Live
from cxplane.loop.plane import Plane

__all__ = ["Live", "Plane"]
