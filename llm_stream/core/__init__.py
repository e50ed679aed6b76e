"""A stream's life: what fills its log, who reads it, when it ends."""
