"""LangChain, unmodified, with the blueprint in place of OpenAI.

make run                                      # in one terminal
pip install langchain-openai                  # in another
python examples/langchain_client.py "Explain how JWT tokens work"
"""

import os
import sys

from langchain_openai import ChatOpenAI

model = ChatOpenAI(
    model="openai/gpt-4o-mini",
    base_url=os.environ.get("BASE_URL", "http://127.0.0.1:8000/llm/v1"),
    api_key="the token that your authorize() expects",  # sent as `Authorization: Bearer …`
    stream_usage=True,  # by default LangChain requests the usage only from OpenAI itself
)
answer = None
for chunk in model.stream([("system", "Be brief."), ("human", " ".join(sys.argv[1:]) or "Hello")]):
    print(chunk.text, end="", flush=True)
    answer = chunk if answer is None else answer + chunk
print("\n\n", answer.usage_metadata, sep="")
