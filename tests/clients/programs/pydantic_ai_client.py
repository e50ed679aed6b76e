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


def agent_of(url, api, reasons=False, **options):
    """`reasons`: the profile of a model that reasons, which gets its reasoning back. Others are known by name."""
    called.clear()
    profile = {"openai_supports_encrypted_reasoning_content": True} if reasons else None
    provider = OpenAIProvider(base_url=f"{url}/llm/v1", api_key="sk-of-a-caller")
    model = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}[api](
        "gpt-4o-mini", provider=provider, profile=profile
    )
    return Agent(model, instructions="Be brief.", retries=0, **options)


def shown(result, text):
    usage = result.usage() if callable(result.usage) else result.usage
    return {
        "text": text,
        "called": called[:],
        "results": [
            part.content["output"]
            for message in result.all_messages()
            for part in message.parts
            if part.part_kind == "builtin-tool-return"
        ],
        "reasoning": "".join(part.content for part in result.all_messages()[-1].parts if part.part_kind == "thinking"),
        "usage": [usage.requests, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens],
    }


async def ask(url, api, reasons=False):
    result = await agent_of(url, api, reasons, tools=[weather]).run("hi")
    return shown(result, result.output)


async def stream(url, api, reasons=False):
    async with agent_of(url, api, reasons, tools=[weather]).run_stream("hi") as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    return shown(result, "".join(pieces)) | {"pieces": pieces}


async def stop(url, api):
    """Leave after the first piece."""
    async with agent_of(url, api).run_stream("hi") as result:
        async for piece in result.stream_text(delta=True, debounce_by=None):
            return piece


async def again(url, api, key):
    """The same question twice, with the same key."""
    agent = agent_of(url, api, model_settings={"extra_headers": {"Idempotency-Key": key}})
    return [(await agent.run("hi")).output for _ in range(2)]


async def failed(url, api):
    try:
        await agent_of(url, api).run("hi")
    except Exception as error:
        return {"type": type(error).__name__, "status": getattr(error, "status_code", None)}
    return None
