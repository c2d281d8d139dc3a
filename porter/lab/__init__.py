"""A hybrid cloud on one Linux machine: hosts made of namespaces, joined by a limited WAN."""
