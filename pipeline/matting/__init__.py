"""Refinement by the matting network: where its tiles lie, and how their results are joined."""
