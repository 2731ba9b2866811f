"""From a graph and a density to the weights that walks visit."""
