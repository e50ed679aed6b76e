"""The life of a stream: a producer fills it, readers follow it, and it settles once."""
