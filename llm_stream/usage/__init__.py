"""What a stream cost."""
