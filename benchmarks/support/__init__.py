"""Modules that all benchmarks use: command line, machine, processes, graphs and tables of text."""
