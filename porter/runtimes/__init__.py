"""Container engines behind small protocols (`base`)."""
