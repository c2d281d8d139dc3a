"""Take down every lab on this machine: `python -m porter.lab`. `make clean` calls it."""

from __future__ import annotations

from porter.lab import state
from porter.lab.fleet import Fleet


def main() -> None:
    """Take down every lab that left a directory, and the control plane in it."""
    for name in state.names():
        Fleet(name).down()
        print(f"the lab {name} is gone")


if __name__ == "__main__":
    main()
