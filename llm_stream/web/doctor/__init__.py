"""Finds what harms streams in an app's deployment: `flask llm doctor`, and a few of its checks in each worker."""
