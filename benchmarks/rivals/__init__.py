"""What phew is compared with: walk engines, the graphs that they take, and runtimes of networks."""
