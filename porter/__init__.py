"""Porter moves running containers between hosts, with memory, files, address and connections."""

__version__ = "0.1.0"
