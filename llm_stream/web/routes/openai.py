"""The routes for OpenAI clients: `OpenAI(base_url=".../llm/v1")`."""

from __future__ import annotations

from flask import Response
from werkzeug.exceptions import HTTPException

from ...errors import LLMStreamError
from ...requests.parameters import check_model
from .. import response
from ..registration import Views
from ..service import Service
from . import completions
from . import openai_form
from . import responses


def add_to(llm: Service) -> None:
    v1 = Views("openai", __name__, url_prefix="/v1")  # a nested blueprint, because its errors have their own format
    completions.add_to(v1, llm)
    responses.add_to(v1, llm)

    @v1.get("/models")
    def list_models() -> Response:
        llm.admit()
        names = dict.fromkeys((llm.state.model, *llm.state.settings.models))
        return response.json_response({"object": "list", "data": [_model(name) for name in names]})

    @v1.get("/models/<path:openai_model>")
    def retrieve_model(openai_model: str) -> Response:
        llm.admit()
        return response.json_response(_model(check_model(openai_model, llm.state.settings, llm.state.model)))

    v1.register_error_handler(LLMStreamError, openai_form.of_error)
    v1.register_error_handler(HTTPException, openai_form.of_exception)
    llm.register_blueprint(v1)


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "llm_stream"}
