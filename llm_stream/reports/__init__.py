"""Usage reports on a ledger: as a page, as JSON and CSV, in a terminal, and reconciled with a provider's export."""
