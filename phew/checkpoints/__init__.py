"""Checkpoints of any size, pruned where they are on disk."""
