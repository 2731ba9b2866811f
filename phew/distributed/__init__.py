"""Several processes: the ranks of a group, and tensors that are sharded among them."""
