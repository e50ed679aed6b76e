"""What a ledger says: as a page, as data, in a terminal, and beside what a provider says."""
