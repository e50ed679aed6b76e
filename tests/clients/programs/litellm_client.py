"""LiteLLM, as a client of ours."""

import litellm

MODEL = "openai/gpt-4o-mini"
WEATHER = {"name": "weather", "description": "The weather of a city.", "parameters": {"type": "object"}}
HI = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]


def at(url):
    return {"model": MODEL, "api_base": f"{url}/llm/v1", "api_key": "sk-of-a-caller", "max_retries": 0}


def numbers(usage):
    return [usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens]


def ask(url):
    answer = litellm.completion(messages=HI, **at(url))
    message = answer.choices[0].message
    reasoning = getattr(message, "reasoning_content", None)
    return {"text": message.content, "usage": numbers(answer.usage), "reasoning": reasoning}


def stream(url):
    pieces = list(litellm.completion(messages=HI, stream=True, stream_options={"include_usage": True}, **at(url)))
    usage = next(piece.usage for piece in pieces if getattr(piece, "usage", None))
    deltas = [choice.delta.content for piece in pieces for choice in piece.choices]
    return {"pieces": [delta for delta in deltas if delta], "usage": numbers(usage)}


def tool_round(url):
    tools = [{"type": "function", "function": WEATHER}]
    called = litellm.completion(messages=HI, tools=tools, **at(url)).choices[0].message
    (call,) = called.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": "7 degrees"}
    answer = litellm.completion(messages=[*HI, called, result], tools=tools, **at(url))
    return {"text": answer.choices[0].message.content, "called": [call.function.name, call.function.arguments]}


def stop(url):
    """Leave after the first piece."""
    pieces = litellm.completion(messages=HI, stream=True, **at(url))
    text = next(piece.choices[0].delta.content for piece in pieces if piece.choices[0].delta.content)
    pieces.completion_stream.close()
    return text


def again(url, key):
    """The same question twice, with the same key."""
    asked = {"messages": HI, "extra_headers": {"Idempotency-Key": key}} | at(url)
    return [litellm.completion(**asked).choices[0].message.content for _ in range(2)]


def failed(url):
    try:
        litellm.completion(messages=HI, **at(url))
    except Exception as error:
        return {"type": type(error).__name__, "status": getattr(error, "status_code", None)}
    return None


def response_of(answer):
    usage = answer.usage
    text = "".join(part.text for item in answer.output if item.type == "message" for part in item.content)
    details = usage.input_tokens_details
    return {
        "text": text,
        "status": answer.status,
        "usage": [usage.input_tokens, usage.output_tokens, details.cached_tokens],
    }


def responses(url):
    return response_of(litellm.responses(input="hi", instructions="Be brief.", **at(url)))


def responses_stream(url):
    deltas, last = [], None
    for event in litellm.responses(input="hi", stream=True, **at(url)):
        if event.type == "response.output_text.delta":
            deltas.append(event.delta)
        last = event
    return response_of(last.response) | {"deltas": deltas}


def responses_tool_round(url):
    tools = [{"type": "function", **WEATHER}]
    first = litellm.responses(input="hi", tools=tools, **at(url))
    (call,) = (item for item in first.output if item.type == "function_call")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "7 degrees"}
    items = [{"role": "user", "content": "hi"}, call.model_dump(exclude_none=True), result]
    answer = litellm.responses(input=items, tools=tools, **at(url))
    return {"text": response_of(answer)["text"], "called": [call.name, call.arguments]}
