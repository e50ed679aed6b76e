"""The soak run; `benchmarks/soak.py` starts it.

- `app` is the served app, with a view that counts the worker's objects.
- `course` starts server, upstream and readers (`benchmarks/soak.c`), and samples all quantities.
- `judge` finds quantities that did not return to their initial values.
- `report` writes the table and the panels.
"""
