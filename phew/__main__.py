"""The command line as `python -m phew`."""

from phew.cli import main

main()
