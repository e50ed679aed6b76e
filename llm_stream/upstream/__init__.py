"""Sources of events: upstream calls with retries and their decoding, and iterables."""
