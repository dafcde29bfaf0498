"""Pixel operations around the networks: one file an operation, each a pure function on arrays.

The NumPy/OpenCV versions live here; their CUDA twins take the same arguments and agree within a stated tolerance.
"""
