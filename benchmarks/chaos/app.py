"""What the servers of the run serve: the owner is named by a header, and the hook writes a line per stream."""

from __future__ import annotations

import json
import os
from time import time

from flask import Flask
from flask import request

from llm_stream import LLMStream
from llm_stream import UsageRecord


def create_app() -> Flask:
    app = Flask("chaos")
    llm = LLMStream("llm", __name__, model="chaos")

    @llm.authorize
    def owner() -> str:
        return request.headers["X-Owner"]

    @llm.on_usage
    def write_down(record: UsageRecord) -> None:
        line = json.dumps({"id": record.id, "status": record.status, "pid": os.getpid(), "at": time()}) + "\n"
        hooks = os.open(os.environ["CHAOS_HOOKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(hooks, line.encode())  # one call: lines of several processes do not mix
        os.close(hooks)

    app.register_blueprint(llm, url_prefix="/llm")
    return app
