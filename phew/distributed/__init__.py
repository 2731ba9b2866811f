"""Several processes: the ranks of a group, and tensors of which each holds a part."""
