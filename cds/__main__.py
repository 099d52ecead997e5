"""Lets ``python -m cds`` do what the command ``cds`` does."""

from cds.cli import main

if __name__ == "__main__":
    main()
