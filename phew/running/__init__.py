"""A user's model is run on example inputs, and left as it was."""
