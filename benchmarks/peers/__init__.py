"""Other servers of the same graph, after their own documentation, each in its own environment."""
