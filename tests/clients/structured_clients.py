# mypy: ignore-errors
"""What the tests have instructor and pydantic-ai do, in an environment of their own: `python … <command> <url>`.

It prints one JSON value.
"""

import json
import sys

import instructor
from openai import OpenAI
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai import NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

HI = [{"role": "user", "content": "hi"}]


class Item(BaseModel):
    name: str
    price: float


class Invoice(BaseModel):
    number: int
    items: list[Item]


def instructor_of(url, mode):
    return instructor.from_openai(OpenAI(base_url=url, api_key="sk-of-a-caller"), mode=getattr(instructor.Mode, mode))


def create(url, mode):
    client = instructor_of(url, mode)
    made = client.chat.completions.create(model="scripted", messages=HI, response_model=Invoice, max_retries=2)
    return made.model_dump()


def create_partial(url, mode):
    client = instructor_of(url, mode)
    partials = client.chat.completions.create_partial(model="scripted", messages=HI, response_model=Invoice)
    return [partial.model_dump() for partial in partials]


def create_iterable(url, mode):
    client = instructor_of(url, mode)
    return [
        item.model_dump()
        for item in client.chat.completions.create_iterable(model="scripted", messages=HI, response_model=Item)
    ]


def agent(url, output):
    model = OpenAIChatModel("scripted", provider=OpenAIProvider(base_url=url, api_key="sk-of-a-caller"))
    return Agent(model, output_type=NativeOutput(Invoice) if output == "native" else Invoice, retries=2)


def run(url, output):
    return agent(url, output).run_sync("hi").output.model_dump()


def run_stream(url, output):
    result = agent(url, output).run_stream_sync("hi")
    return [partial.model_dump() for partial in result.stream_output(debounce_by=None)]


command, url, how = sys.argv[1:]
print(json.dumps(globals()[command](url, how)))
