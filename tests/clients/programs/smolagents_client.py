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


def model_of(url):
    return OpenAIServerModel("gpt-4o-mini", api_base=f"{url}/llm/v1", api_key="sk-of-a-caller")


def ask(url):
    answer = model_of(url).generate([{"role": "user", "content": [{"type": "text", "text": "hi"}]}])
    return {"text": answer.content, "usage": [answer.token_usage.input_tokens, answer.token_usage.output_tokens]}


def agent(url, streamed):
    called.clear()
    agent = ToolCallingAgent([weather], model_of(url), stream_outputs=streamed, verbosity_level=LogLevel.OFF)
    text = agent.run("How warm is it in Bonn?")
    used = agent.monitor.get_total_token_counts()
    return {"text": text, "called": called[:], "usage": [used.input_tokens, used.output_tokens]}
