"""Rivals that phew is compared with: walk engines and their graphs, and runtimes of networks."""
