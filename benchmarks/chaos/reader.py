"""A client of a stream: it disconnects, and reconnects to any server with the number of its last event."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from dataclasses import field
from random import Random
from time import time
from urllib.parse import quote

from .client import Response
from .client import requested
from .question import Plan
from .question import Question
from .witness import REFUSED
from .witness import Event
from .witness import Witness

PATIENCE_S = 300.0
LONGEST_RETRY_S = 2.0
ENDS = ("interrupted", "worker_lost", "cancelled", "abandoned", "idle_timeout", "first_token_timeout", "total_timeout")
CUT_REQUEST = (400, 408)
"""How servers respond to half a request, which happens because a link may close the client's half early."""


@dataclass
class Asking:
    """The state that a question's readers share."""

    question: Question
    port: int
    witness: Witness
    has_id: asyncio.Event = field(default_factory=asyncio.Event)
    stream_id: str = ""
    """The newest."""


class Reader:
    def __init__(self, asking: Asking, plan: Plan) -> None:
        self._asking = asking
        self._plan = plan
        self._chance = Random(f"{asking.question.seed}:{plan.name}")
        self._drops = list(plan.drops)
        self._id = "" if plan.asks else asking.stream_id
        self._last = 0
        self.begun_at = time()
        self.told = ""
        """The way in which the server ended the reading."""

    @property
    def _number(self) -> int:
        return self._asking.question.number

    @property
    def who(self) -> str:
        return f"{self._plan.name} of question {self._asking.question.number}"

    async def read(self) -> None:
        """Read until the end, or until the reader's patience ends."""
        witness, until = self._asking.witness, time() + PATIENCE_S
        witness.counts["readers"] += 1
        while not self.told:
            if time() > until:
                self.told = "nothing"
                witness.fault(
                    "readers without an end", f"{self.who} of {self._id or 'no stream'}-{self._last}", self._number
                )
                return
            try:
                pause_s = await self._visit()
            except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError):
                pause_s = self._chance.uniform(0.1, 1.0)
            if not self.told:
                if not self._plan.is_patient and self._last:
                    self.told = "it left"
                    return
                await asyncio.sleep(pause_s)
                witness.counts["reconnects"] += 1

    async def _visit(self) -> float:
        """Send one request. Return the wait before the next."""
        method, path, headers, body = self._request()
        async with requested(self._asking.port, method, path, headers, body) as response:
            if response.status == 200:
                return await self._follow(response)
            return self._refused(response, await response.body())

    def _request(self) -> tuple[str, str, dict[str, str], bytes]:
        question = self._asking.question
        headers = {"X-Owner": question.owner}
        body = json.dumps({"prompt": question.prompt, "key": question.key}).encode()
        address = f"/llm/chat?prompt={quote(question.prompt)}&key={question.key}"
        if not self._id:
            return self._chance.choice([("POST", "/llm/chat", headers, body), ("GET", address, headers, b"")])
        place, stream = f"{self._id}-{self._last}", f"/llm/streams/{self._id}"
        resumed = headers | {"Last-Event-ID": place}
        ways = [("GET", stream, resumed, b""), ("GET", f"{stream}?after={self._last}", headers, b"")]
        ways += [("GET", f"/llm/streams?after={place}", headers, b"")]
        if self._last:
            ways += [("GET", address, resumed, b""), ("POST", "/llm/chat", resumed, body)]
        return self._chance.choice(ways)

    async def _follow(self, response: Response) -> float:
        drop_after = self._drops.pop(0) if self._drops else None
        events = 0
        async for fields in response.blocks():
            event = Event(fields.get("event", "message"), fields["data"])
            if event.kind == "status":
                return self._refused_together(event)
            self._take(fields["id"], event)
            events += 1
            if event.kind == "done":
                return self._ended()
            if drop_after is not None and events >= drop_after:
                return self._chance.uniform(0.0, 2.5)
        raise EOFError

    def _take(self, event_id: str, event: Event) -> None:
        stream_id, _, number = event_id.rpartition("-")
        asking, witness = self._asking, self._asking.witness
        if self._last and stream_id != self._id:
            witness.fault(
                "readers that were given another stream", f"{self.who}: {stream_id}, not {self._id}", self._number
            )
        witness.saw(self.who, asking.question.number, stream_id, self._last, int(number), event)
        self._id, self._last = stream_id, int(number)
        asking.stream_id = stream_id
        asking.has_id.set()

    def _ended(self) -> float:
        """Repeat the request for a refused stream, because nothing was bought."""
        if self._asking.witness.streams[self._id].is_refused:
            self._asking.witness.counts["refusals"] += 1
            if self._plan.asks:
                self._id, self._last = "", 0
                return LONGEST_RETRY_S
        self.told = "done"
        return 0.0

    def _refused_together(self, event: Event) -> float:
        status = int(event.get("status"))
        if status in (204, 404, 410):
            self.told = str(status)
        return LONGEST_RETRY_S

    def _refused(self, response: Response, body: bytes) -> float:
        witness, status = self._asking.witness, response.status
        code = json.loads(body)["error"]["code"] if body.startswith(b'{"') and b'"error"' in body else ""
        if status in (204, 404, 410):
            self.told = str(status)
        elif status in (429, 503) and (code in REFUSED or not code):
            witness.counts["refusals"] += 1
        elif status in (502, 504) and not code:
            witness.counts["refusals by nginx"] += 1
        elif status in CUT_REQUEST:
            witness.counts["requests that arrived cut"] += 1
        elif code in ENDS or code.startswith("upstream_"):
            self.told = code
        else:
            witness.fault(
                "answers that were not expected", f"{self.who} {self._id}: {status} {body[:300]!r}", self._number
            )
            self.told = str(status)
        return min(float(response.headers.get("retry-after", "1")), LONGEST_RETRY_S)


async def stop(asking: Asking) -> None:
    """Send the stop until a server says that the stream is stopped, or does not exist."""
    headers = {"X-Owner": asking.question.owner}
    until = time() + PATIENCE_S
    while time() < until:
        path = f"/llm/streams/{asking.stream_id}"
        try:
            async with requested(asking.port, "DELETE", path, headers) as response:
                if response.status in (204, 404, 410):
                    return
        except (OSError, EOFError, TimeoutError):
            pass
        await asyncio.sleep(0.5)
    asking.witness.fault("stops that were not confirmed", asking.stream_id, asking.question.number)
