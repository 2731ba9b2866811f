"""What benchmarks share: command line, machine, processes, graphs and tables of text."""
