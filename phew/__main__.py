"""The command line as `python -m phew`."""

from phew_cli import main

if __name__ == "__main__":
    main()
