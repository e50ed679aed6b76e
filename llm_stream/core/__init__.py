"""Streams: how one is filled, read and ended."""
