"""The `porter` command."""
