"""How a move is decided and driven."""
