"""Helpers that know no networks: files, tables, progress bars, warnings, default devices."""
