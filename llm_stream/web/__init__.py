"""The Flask side of an `LLMStream`: its routes, responses and commands."""
