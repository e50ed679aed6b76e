"""The ledger: a database with a usage record of every stream."""
