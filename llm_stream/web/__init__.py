"""Flask: the routes, the responses and the commands of an `LLMStream` in an app."""
