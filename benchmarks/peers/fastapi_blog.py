"""The pattern of the blog posts: FastAPI, AsyncOpenAI, StreamingResponse."""

import json
import os

from fastapi import FastAPI
from fastapi import Request
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI

app = FastAPI()
client = AsyncOpenAI(base_url=os.environ["UPSTREAM"], api_key="none")


@app.post("/chat")
async def chat(request: Request):
    body = await request.json()

    async def generate():
        stream = await client.chat.completions.create(
            model=body["model"], messages=[{"role": "user", "content": body["prompt"]}], stream=True
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield f"data: {json.dumps({'text': chunk.choices[0].delta.content})}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(generate(), media_type="text/event-stream")
