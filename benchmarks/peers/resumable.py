"""fastapi-resumable-stream as its README has it, around the pattern of the blog posts."""

import json
import os
from uuid import uuid4

from fastapi import FastAPI
from fastapi import Header
from fastapi import Request
from fastapi import Response
from fastapi_resumable_stream import ActiveStreamRegistry
from fastapi_resumable_stream import ResumableStream
from fastapi_resumable_stream import StopController
from fastapi_resumable_stream import resume_conversation_stream
from fastapi_resumable_stream import start_conversation_stream
from fastapi_resumable_stream import streaming_response
from openai import AsyncOpenAI
from redis.asyncio import Redis

app = FastAPI()
client = AsyncOpenAI(base_url=os.environ["UPSTREAM"], api_key="none")
# each reader holds a connection, and redis-py allows 100 by default
redis = Redis.from_url(os.environ["REDIS"], max_connections=10_000)
stream = ResumableStream(redis)
registry = ActiveStreamRegistry(redis)
stop = StopController(redis)


async def call_model(stream_id, body):
    answer = await client.chat.completions.create(
        model=body["model"], messages=[{"role": "user", "content": body["prompt"]}], stream=True
    )
    number = 0
    async for chunk in answer:
        if chunk.choices and chunk.choices[0].delta.content:
            number += 1
            yield f"id: {stream_id}-{number}\ndata: {json.dumps({'text': chunk.choices[0].delta.content})}\n\n"
    yield f"id: {stream_id}-{number + 1}\nevent: done\ndata: {{}}\n\n"


@app.post("/chat")
async def start_stream(request: Request):
    body = await request.json()
    stream_id = uuid4().hex
    return await start_conversation_stream(
        stream, registry, stop, stream_id, stream_id, producer=lambda: call_model(stream_id, body)
    )


@app.get("/streams/{stream_id}")
async def resume_stream(stream_id: str, last_event_id: str = Header(default="-0")):
    after = int(last_event_id.rpartition("-")[2])
    resumed = await resume_conversation_stream(stream, registry, stream_id, after=after)
    return Response(status_code=204) if resumed is None else streaming_response(resumed)
