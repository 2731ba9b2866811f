"""The command line as `python -m phew`."""

from phew.cli import main

if __name__ == "__main__":
    main()
