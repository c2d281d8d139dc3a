"""Clouds and other places that have hosts, names and prices."""
