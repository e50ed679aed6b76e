"""The soak run; `benchmarks/soak.py` starts it.

- `app` is what the server serves, with a view that counts what the worker holds.
- `course` starts server, upstream and readers (`benchmarks/soak.c`), and takes a sample of all quantities.
- `judge` says what has not come back to where it was.
- `report` writes the table and the panels.
"""
