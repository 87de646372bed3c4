"""Figures of quality: one file per metric, pure functions on arrays.

Images are uint8 [N, H, W, C] here, codes and features float [N, D], labels integers [N].  Nothing
here reads a file, knows a model or draws a number without being handed the generator or a seed.
"""
