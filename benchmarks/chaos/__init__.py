"""The chaos run; `benchmarks/chaos.py` starts it.

- `plan` lists the troubles and their times; the seed determines it. `troubles` carries it out.
- `house` is one of the two set-ups. `server`, `engine`, `postgresql` and `nginx` are its processes, and `ledger` is its
  database.
- `network` is the link between two processes. `clock` is the time of day that a server sees.
- `question` is one requested stream and the plan for its readers. `model` answers, and counts the bought answers.
- `reader` is a client that disconnects and reconnects; `client` is its HTTP.
- `witness` records the readers' events. `judge` compares them with the ledger, the hooks and the model's bill. `leaks`
  looks for resources that are still in use. `past` knows which faults the troubles excuse.
- `run` combines these for one house, and `report` prints the outcome.
"""
