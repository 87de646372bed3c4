"""Export: trained pairs to bundles, and what needs both torch and the engine.

What a run directory holds becomes ONNX graphs that the server reads; parity against torch is
measured before a bundle may exist, and its quality by `evaluate` afterwards.
"""
