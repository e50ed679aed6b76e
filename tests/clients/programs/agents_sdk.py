"""OpenAI's Agents SDK, which asks by the Responses API unless it is told otherwise."""

from agents import Agent
from agents import HostedMCPTool
from agents import ModelSettings
from agents import OpenAIChatCompletionsModel
from agents import OpenAIResponsesModel
from agents import Runner
from agents import function_tool
from openai import AsyncOpenAI

MODEL = "gpt-4o-mini"
called = []


@function_tool
def weather(city: str) -> str:
    """The weather of a city."""
    called.append(city)
    return "7 degrees"


def model_of(url, api):
    """With the Responses API it is the default: only the client's address is ours."""
    client = AsyncOpenAI(base_url=f"{url}/llm/v1", api_key="sk-of-a-caller")
    return {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}[api](MODEL, openai_client=client)


def agent_of(url, api, tools=False, **more):
    """Over chat completions a stream's usage is asked for, as everywhere."""
    called.clear()
    settings = ModelSettings(include_usage=True if api == "chat" else None, **more)
    options = {"instructions": "Be brief.", "model_settings": settings, "tools": [weather] if tools else []}
    return Agent("helper", model=model_of(url, api), **options)


def shown(result):
    usage = result.context_wrapper.usage
    return {
        "text": result.final_output,
        "called": called[:],
        "results": [
            item.raw_item.output for item in result.new_items if getattr(item.raw_item, "type", "") == "mcp_call"
        ],
        "cited": [
            annotation.url
            for item in result.new_items
            if item.type == "message_output_item"
            for part in item.raw_item.content
            for annotation in part.annotations
        ],
        "items": [item.type for item in result.new_items],
        "reasons": [
            part.text for item in result.new_items if item.type == "reasoning_item" for part in item.raw_item.summary
        ],
        "usage": [usage.requests, usage.input_tokens, usage.output_tokens, usage.total_tokens],
        "cached": usage.input_tokens_details.cached_tokens,
        "reasoning": usage.output_tokens_details.reasoning_tokens,
    }


async def ask(url, api, tools=False):
    return shown(await Runner.run(agent_of(url, api, tools), "hi"))


async def stream(url, api, tools=False):
    result = Runner.run_streamed(agent_of(url, api, tools), "hi")
    deltas = []
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            deltas.append(event.data.delta)
    return shown(result) | {"deltas": deltas}


async def stop(url, api):
    """Leave after the first piece."""
    result = Runner.run_streamed(agent_of(url, api), "hi")
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            result.cancel()
            return event.data.delta


async def again(url, api, key):
    """The same question twice, with the same key."""
    agent = agent_of(url, api, extra_headers={"Idempotency-Key": key})
    return [(await Runner.run(agent, "hi")).final_output for _ in range(2)]


async def defaults():
    """Nothing is said but the model: the address and the key are in the environment."""
    called.clear()
    return shown(await Runner.run(Agent("helper", model=MODEL, tools=[weather]), "hi"))


async def continued(url):
    """A second run after the first one, by the id of its response."""
    agent = Agent("helper", model=model_of(url, "responses"))
    first = await Runner.run(agent, "hi")
    second = await Runner.run(agent, "and then?", previous_response_id=first.last_response_id)
    return [shown(first)["text"], shown(second)["text"]]


async def decide(url, approved):
    """A call of the server's that needs approval interrupts the run: its tools are an MCP server to the SDK."""
    ours = {"type": "mcp", "server_label": "llm_stream", "server_url": url, "require_approval": "always"}
    agent = Agent("helper", model=model_of(url, "responses"), tools=[HostedMCPTool(tool_config=ours)])
    first = await Runner.run(agent, "hi")
    (question,) = first.interruptions
    state = first.to_state()
    (state.approve if approved else state.reject)(question)
    second = await Runner.run(agent, state)
    return {"text": second.final_output, "asked": [question.raw_item.name, question.raw_item.arguments]}


async def failed(url, api):
    agent = Agent("helper", model=model_of(url, api))
    try:
        await Runner.run(agent, "hi")
    except Exception as error:
        return {"type": type(error).__name__, "status": getattr(error, "status_code", None)}
    return None
