"""Take down every lab on this machine: `python -m porter.lab`. `make clean` calls it."""

from __future__ import annotations

from porter.lab import state
from porter.lab.lab import Lab


def main() -> None:
    """Take down every lab that left a directory."""
    for name in state.names():
        Lab(name).down()
        print(f"the lab {name} is gone")


if __name__ == "__main__":
    main()
