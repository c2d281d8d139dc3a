"""Stand-ins for clouds on this machine, reached through the clouds' own unmodified SDKs."""
