"""The claims of the PHEW paper, tested."""
