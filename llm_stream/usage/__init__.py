"""Usage: what a stream cost, and what its owner may spend."""
