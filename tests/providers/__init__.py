"""Answers of providers, byte for byte in the form that each documents.

They are documented, not recorded: the form is the provider's, the words are ours. Each has the address of its source.
"""
