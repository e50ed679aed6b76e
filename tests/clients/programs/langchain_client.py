"""LangChain's `ChatOpenAI`, by itself and in an agent of LangGraph."""

from langchain.agents import create_agent
from langchain.tools import tool
from langchain_openai import ChatOpenAI

called = []


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    called.append(city)
    return "7 degrees"


def model_of(url, api, **options):
    by_responses = {"use_responses_api": True} if api == "responses" else {}
    options = by_responses | {"max_retries": 0, "stream_usage": True} | options
    return ChatOpenAI(model="gpt-4o-mini", base_url=f"{url}/llm/v1", api_key="sk-of-a-caller", **options)


def shown(message):
    results = [block["output"] for block in message.content_blocks if block["type"] == "server_tool_result"]
    reasons = [block.get("reasoning", "") for block in message.content_blocks if block["type"] == "reasoning"]
    return {"text": message.text, "usage": message.usage_metadata, "reasoning": "".join(reasons), "results": results}


def ask(url, api, **options):
    return shown(model_of(url, api, **options).invoke([("system", "Be brief."), ("user", "hi")]))


def stream(url, api, **options):
    pieces = list(model_of(url, api, **options).stream([("user", "hi")]))
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    return shown(whole) | {"pieces": [piece.text for piece in pieces if piece.text]}


def stop(url, api):
    """Leave after the first piece."""
    pieces = model_of(url, api).stream("hi")
    text = next(piece.text for piece in pieces if piece.text)
    pieces.close()
    return text


def again(url, api, key):
    """The same question twice, with the same key."""
    model = model_of(url, api, default_headers={"Idempotency-Key": key})
    return [model.invoke("hi").text for _ in range(2)]


def calls(url, api):
    message = model_of(url, api).bind_tools([weather]).invoke("hi")
    return [[call["name"], call["args"]] for call in message.tool_calls]


def agent(url, api):
    """The loop of LangGraph: it calls the tool, and asks again."""
    called.clear()
    state = create_agent(model_of(url, api), tools=[weather]).invoke({"messages": [("user", "hi")]})
    return {"text": state["messages"][-1].text, "called": called[:], "types": [m.type for m in state["messages"]]}


def agent_stream(url, api):
    called.clear()
    graph = create_agent(model_of(url, api), tools=[weather])
    pieces = [
        m.text for m, _ in graph.stream({"messages": [("user", "hi")]}, stream_mode="messages") if m.type != "tool"
    ]
    return {"text": "".join(pieces), "called": called[:]}


def continued(url):
    """LangChain sends only what is new, after the id of the last response."""
    model = model_of(url, "responses", use_previous_response_id=True)
    first = model.invoke([("user", "hi")])
    second = model.invoke([("user", "hi"), first, ("user", "and then?")])
    return [first.text, second.text]


def failed(url, api):
    try:
        model_of(url, api).invoke("hi")
    except Exception as error:
        return {"type": type(error).__name__, "status": getattr(error, "status_code", None)}
    return None
