"""LlamaIndex, unmodified, with the blueprint in place of OpenAI.

make run                                      # in one terminal
pip install llama-index-llms-openai-like      # in another
python examples/llama_index_client.py "Explain how JWT tokens work"
"""

import os
import sys

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

model = OpenAILike(
    model="openai/gpt-4o-mini",
    api_base=os.environ.get("BASE_URL", "http://127.0.0.1:8000/llm/v1"),
    api_key="the token that your authorize() expects",  # sent as `Authorization: Bearer …`
    is_chat_model=True,
    is_function_calling_model=True,
    additional_kwargs={"stream_options": {"include_usage": True}},
)
question = [ChatMessage("Be brief.", role="system"), ChatMessage(" ".join(sys.argv[1:]) or "Hello")]
for piece in model.stream_chat(question):
    print(piece.delta, end="", flush=True)
print("\n\n", piece.raw.usage, sep="")
