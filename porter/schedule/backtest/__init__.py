"""What moving by itself would have saved: traces replayed through the optimiser. Pure."""
