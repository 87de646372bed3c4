"""A small batch and a pair of networks."""

from games import pair, x, z

__all__ = ["pair", "x", "z"]
