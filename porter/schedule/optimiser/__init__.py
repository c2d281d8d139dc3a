"""Which moves are cheapest, proven as far as time allows: a `Problem` in, an `Answer` out. Pure."""
