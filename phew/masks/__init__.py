"""Masks: which weights are kept. They know parameters by name, and nothing of walks."""
