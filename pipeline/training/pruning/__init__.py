"""Structured pruning: channels taken out of a convolutional network, which then learns from the whole one."""
