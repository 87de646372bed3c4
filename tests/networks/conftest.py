"""A small batch."""

from games import x, z

__all__ = ["x", "z"]
