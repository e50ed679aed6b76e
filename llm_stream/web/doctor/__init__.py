"""Checks a deployment for problems that harm streams: `flask llm doctor`, and the cheap checks in each worker."""
