"""The host daemon: runs commands, keeps a journal, streams state to its peers."""
