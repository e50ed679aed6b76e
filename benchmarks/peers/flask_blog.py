"""The same pattern in Flask: a sync client and a generator, under gunicorn with gevent."""

import json
import os

from flask import Flask
from flask import Response
from flask import request
from flask import stream_with_context
from openai import OpenAI

app = Flask(__name__)
client = OpenAI(base_url=os.environ["UPSTREAM"], api_key="none")


@app.post("/chat")
def chat():
    body = request.get_json()

    def generate():
        stream = client.chat.completions.create(
            model=body["model"], messages=[{"role": "user", "content": body["prompt"]}], stream=True
        )
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield f"data: {json.dumps({'text': chunk.choices[0].delta.content})}\n\n"
        yield "data: [DONE]\n\n"

    return Response(stream_with_context(generate()), mimetype="text/event-stream")
