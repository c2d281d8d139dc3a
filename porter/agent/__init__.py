"""The host daemon: command loop, journal of operations and handovers, streams between hosts."""
