"""Layers of checkpoints in object stores and directories."""
