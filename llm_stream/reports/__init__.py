"""Usage reports from the ledger: as a page, as JSON and CSV, in a terminal, and compared with a provider's export."""
