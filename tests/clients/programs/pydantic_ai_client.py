"""Agents of pydantic-ai."""

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

called = []


class Weather(BaseModel):
    degrees: int


def weather(city: str) -> str:
    """The weather of a city."""
    called.append(city)
    return "7 degrees"


def agent_of(url, api, **options):
    called.clear()
    provider = OpenAIProvider(base_url=f"{url}/llm/v1", api_key="sk-of-a-caller")
    model = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}[api]("gpt-4o-mini", provider=provider)
    return Agent(model, instructions="Be brief.", retries=0, **options)


def shown(result, text):
    usage = result.usage() if callable(result.usage) else result.usage
    return {
        "text": text,
        "called": called[:],
        "usage": [usage.requests, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens],
    }


async def ask(url, api):
    result = await agent_of(url, api, tools=[weather]).run("hi")
    return shown(result, result.output)


async def stream(url, api):
    async with agent_of(url, api, tools=[weather]).run_stream("hi") as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    return shown(result, "".join(pieces)) | {"pieces": pieces}


async def failed(url, api):
    try:
        await agent_of(url, api).run("hi")
    except Exception as error:
        return {"type": type(error).__name__, "status": getattr(error, "status_code", None)}
    return None
