"""Runs the functions of a module that its caller names, one line of JSON each, and answers in the same form."""

import asyncio
import importlib
import inspect
import json
import os
import sys
import traceback

# what a client prints does not mix with the answers
ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
sys.stdout = sys.stderr
os.dup2(2, 1)


def run(module, name, options):
    try:
        value = getattr(module, name)(**options)
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
    except Exception:
        return {"error": traceback.format_exc()}
    return {"value": value}


def main():
    module = importlib.import_module(sys.argv[1])
    for line in sys.stdin:
        name, options = json.loads(line)
        print(json.dumps(run(module, name, options)), file=ANSWERS)


main()
