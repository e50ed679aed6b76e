"""The fuzzers that `fuzz.py` runs. Each module has two names:

`NAME`                                  the fuzzer's title in the table
`run(seconds: float, seed: int)`        what it counted, `dict[str, int | float]`, in the order of the table's rows

The count `"faults"` is how many promises were broken. A fuzzer prints each fault itself, with what repeats it.
"""
