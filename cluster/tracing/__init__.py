"""Traces of sampled images for OpenTelemetry: which calls held one, and their spans."""
