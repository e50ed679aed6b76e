"""What the tests have instructor and pydantic-ai do that want objects."""

import instructor
from openai import OpenAI
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai import NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

HI = [{"role": "user", "content": "hi"}]


class Item(BaseModel):
    name: str
    price: float


class Invoice(BaseModel):
    number: int
    items: list[Item]


def instructor_of(url, how):
    return instructor.from_openai(OpenAI(base_url=url, api_key="sk-of-a-caller"), mode=getattr(instructor.Mode, how))


def create(url, how):
    client = instructor_of(url, how)
    made = client.chat.completions.create(model="scripted", messages=HI, response_model=Invoice, max_retries=2)
    return made.model_dump()


def create_partial(url, how):
    client = instructor_of(url, how)
    partials = client.chat.completions.create_partial(model="scripted", messages=HI, response_model=Invoice)
    return [partial.model_dump() for partial in partials]


def create_iterable(url, how):
    client = instructor_of(url, how)
    return [
        item.model_dump()
        for item in client.chat.completions.create_iterable(model="scripted", messages=HI, response_model=Item)
    ]


def create_by_responses(url, how):
    client = instructor_of(url, how)
    return client.responses.create(model="scripted", input="hi", response_model=Invoice, max_retries=2).model_dump()


def agent(url, how, api=OpenAIChatModel):
    model = api("scripted", provider=OpenAIProvider(base_url=url, api_key="sk-of-a-caller"))
    return Agent(model, output_type=NativeOutput(Invoice) if how == "native" else Invoice, retries=2)


def run(url, how):
    return agent(url, how).run_sync("hi").output.model_dump()


def run_by_responses(url, how):
    return agent(url, how, OpenAIResponsesModel).run_sync("hi").output.model_dump()


def run_stream(url, how):
    result = agent(url, how).run_stream_sync("hi")
    return [partial.model_dump() for partial in result.stream_output(debounce_by=None)]
