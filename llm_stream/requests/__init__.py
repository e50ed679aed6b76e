"""What other protocols ask, read as a ChatRequest."""
