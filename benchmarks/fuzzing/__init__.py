"""The fuzzers that `fuzz.py` runs. Each module has two names:

`NAME`                                  the fuzzer's title in the table
`run(seconds: float, seed: int)`        the counts, `dict[str, int | float]`, in the order of the table's rows

The count `"faults"` is the number of broken promises. A fuzzer prints each fault, with a way to repeat it.
"""
