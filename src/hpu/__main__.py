"""``python -m hpu`` is the command ``hpu``."""

from hpu.cli import main

if __name__ == "__main__":
    main()
