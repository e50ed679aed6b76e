"""The record of every stream in a database: written before the stream is bought, settled at its end."""
