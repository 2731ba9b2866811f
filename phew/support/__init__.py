"""Helpers that know nothing of networks: files, tables, progress bars, default devices."""
