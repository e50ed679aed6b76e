"""Checks whether an upstream is reachable and accepts our key. It requests the list of models, which is free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import httpx2
import openai

from .client import Client

WITHIN_S = 5.0


@dataclass(frozen=True)
class Trouble:
    kind: Literal["no key", "wrong key", "unreachable", "broken"]
    what: str
    """In our words, because the provider's message is never shown."""


def trouble_with(client: Client) -> Trouble | None:
    try:
        client.endpoint().list_models(WITHIN_S)
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        return Trouble("wrong key", f"HTTP {error.status_code}")
    except openai.APIStatusError as error:  # below 500 the upstream is up: some have no list of models, or throttle
        return Trouble("broken", f"HTTP {error.status_code}") if error.status_code >= 500 else None
    except openai.APITimeoutError:
        return Trouble("unreachable", f"no answer within {WITHIN_S:.0f} seconds")
    except (openai.APIConnectionError, httpx2.TransportError) as error:
        cause = error.__cause__ or error
        return Trouble("unreachable", f"{type(cause).__name__}: {cause}")
    except openai.OpenAIError as error:  # the client cannot be made
        return Trouble("no key", str(error).split(". ")[0].splitlines()[0])
    except (ValueError, TypeError):  # the upstream is up, but its answer is not a list
        return None
    return None
