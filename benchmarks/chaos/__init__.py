"""The chaos run; `benchmarks/chaos.py` starts it.

- `plan` is what goes wrong and when, by the seed: a value. `troubles` makes it.
- `house` is one of the two set-ups; `server`, `engine`, `postgresql` and `nginx` are its processes, and `ledger` its
  database.
- `network` is the link between any two processes, `clock` the time of day that a server sees.
- `question` is one stream that is asked for, and what is to happen to it; `model` answers, and counts what was bought.
- `reader` is a client that goes away and comes back; `client` is its HTTP.
- `witness` records what the readers got; `judge` compares it with the ledger, the hooks and the model's bill; `leaks`
  looks at what is left; `past` knows what the troubles excuse.
- `run` puts these together for one house, and `report` prints the outcome.
"""
