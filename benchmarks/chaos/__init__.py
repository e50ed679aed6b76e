"""The chaos run of the shared log; `benchmarks/chaos.py` starts it.

- `question` is one stream that is asked for, and what is to happen to it; `model` answers, and counts what was bought.
- `reader` is a client that goes away and comes back; `client` is its HTTP.
- `server` and `engine` are the processes; `troubles` kills, freezes and restarts them by a schedule.
- `witness` records what the readers got; `judge` compares it with the ledger, the hooks and the engine.
- `run` puts these together, and `report` prints the outcome.
"""
