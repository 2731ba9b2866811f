"""Checkpoints of any size are pruned where they are on disk."""
