"""A tool-calling agent of smolagents."""

from smolagents import LogLevel
from smolagents import OpenAIServerModel
from smolagents import ToolCallingAgent
from smolagents import tool

called = []


@tool
def weather(city: str) -> str:
    """The weather of a city.

    Args:
        city: Its name.
    """
    called.append(city)
    return "7 degrees"


HI = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]


def model_of(url, **options):
    return OpenAIServerModel("gpt-4o-mini", api_base=f"{url}/llm/v1", api_key="sk-of-a-caller", **options)


def ask(url):
    answer = model_of(url).generate(HI)
    return {"text": answer.content, "usage": [answer.token_usage.input_tokens, answer.token_usage.output_tokens]}


def agent(url, streamed):
    called.clear()
    agent = ToolCallingAgent([weather], model_of(url), stream_outputs=streamed, verbosity_level=LogLevel.OFF)
    text = agent.run("How warm is it in Bonn?")
    used = agent.monitor.get_total_token_counts()
    return {"text": text, "called": called[:], "usage": [used.input_tokens, used.output_tokens]}


def again(url, key):
    """The same question twice, with the same key."""
    model = model_of(url, client_kwargs={"default_headers": {"Idempotency-Key": key}})
    return [model.generate(HI).content for _ in range(2)]


def failed(url):
    try:
        model_of(url).generate(HI)
    except Exception as error:
        return {"type": type(error).__name__, "status": getattr(error, "status_code", None)}
    return None
