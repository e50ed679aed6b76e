"""Sources of events: the client, its calls with retries, decoding, and iterables."""
