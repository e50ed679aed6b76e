"""The app under test, as if another version of a library had renamed a private name that we use."""

from __future__ import annotations

import os
from importlib import import_module

where, _, name = os.environ["RENAMED"].partition(":")
module = import_module(f"llm_stream.{where}")
renamed = 0
for constant, value in list(vars(module).items()):
    if value == name:
        setattr(module, constant, f"{name}_renamed")
    elif isinstance(value, tuple) and name in value:
        setattr(module, constant, tuple(f"{each}_renamed" if each == name else each for each in value))
    elif isinstance(value, dict) and constant == "NAMES":
        value.update({kind: tuple(f"{n}_renamed" if n == name else n for n in names) for kind, names in value.items()})
    else:
        continue
    renamed += 1
assert renamed, f"{where} does not look for {name}"

from . import served  # noqa: E402 (as it is with the names that are there)

app = served.app
