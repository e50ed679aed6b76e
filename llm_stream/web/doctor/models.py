"""Checks the models, their prices, their upstreams, and the tools that monitor calls."""

from __future__ import annotations

from ...events import Usage
from ...upstream.observers import observers
from ...upstream.reach import Trouble
from ...upstream.reach import trouble_with
from ...upstream.upstreams import Candidate
from ...usage.price import cost_of
from .finding import Finding
from .patient import Patient

SOME = Usage(input_tokens=1, output_tokens=1)

UNASKED = {"sentry_sdk"}
"""Sentry patches OpenAI's client by default, even in apps that use only its error reports."""


def prices(patient: Patient) -> Finding | None:
    without = [each.name for each in patient.candidates if not _has_price(patient, each)]
    if not without:
        return None
    budgets = patient.settings.budgets
    is_refused = budgets is not None and budgets.unpriced == "refuse"
    causes = "Unless the provider reports a cost, the cost is unknown in the usage records"
    return Finding(
        f"No price is known for {', '.join(dict.fromkeys(without))}.",
        f"{causes}, and LLM_STREAM_BUDGETS refuses every request." if is_refused else f"{causes}.",
        'Set LLM_STREAM_PRICES: {"<model>": {"input": "…", "output": "…"}}, "0" for a free model.',
        "error" if is_refused else "warning",
    )


def _has_price(patient: Patient, candidate: Candidate) -> bool:
    provider = candidate.provider
    # a worker creates its client for the first stream
    known = provider.client.configured_base_url if patient.is_worker else provider.client.base_url
    names = [name for name in (candidate.model, candidate.alias) if name]
    return cost_of(SOME, names, patient.settings.prices, provider.base_url or known) is not None


def upstream(patient: Patient) -> Finding | None:
    providers = {each.provider.name: each.provider.client for each in patient.candidates}
    troubles = [(name, trouble) for name, client in providers.items() if (trouble := trouble_with(client))]
    if not troubles:
        return None
    is_only = len(troubles) == len(providers)
    return Finding(
        " ".join(_said(name, trouble) for name, trouble in troubles),
        "Every request for an answer fails."
        if is_only
        else "Answers come from the other upstreams, if those have the model.",
        ADVICE[troubles[0][1].kind],
        "error",
    )


ADVICE = {
    "no key": "Set OPENAI_API_KEY, or pass a client: LLMStream(…, client=…).",
    "wrong key": "Check the key and its rights: OPENAI_API_KEY, or the key_variable in LLM_STREAM_UPSTREAMS.",
    "unreachable": "Check the base URL (OPENAI_BASE_URL), the network and its proxies.",
    "broken": "Check the provider's status page, and run the doctor again later.",
}


def _said(name: str | None, trouble: Trouble) -> str:
    who = f"The upstream {name!r}" if name else "The upstream"
    said = {
        "no key": f"has no key: {trouble.what}.",
        "wrong key": f"refuses the key ({trouble.what}).",
        "unreachable": f"cannot be reached ({trouble.what}).",
        "broken": f"fails ({trouble.what}).",
    }
    return f"{who} {said[trouble.kind]}"


def watchers(patient: Patient) -> Finding | None:
    found = observers()
    if not found:
        return None
    are_unasked = all(module.partition(".")[0] in UNASKED for module in found)
    return Finding(
        f"{', '.join(found)} watches the methods of OpenAI's client.",
        "Most requests for answers do not use these methods, so it sees few of them or none.",
        "Use on_usage, or the OpenTelemetry metrics and spans of each stream: pip install '.[otel]'.",
        "note" if are_unasked else "warning",
    )
