"""Sparse layers: they keep, train and run nothing but the kept weights of masks."""
