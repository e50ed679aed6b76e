"""How gunicorn serves the app: one function for each setting that may harm streams."""

from __future__ import annotations

from .finding import Finding
from .finding import NotChecked
from .patient import Patient

MOST_NAMED = 6
HEADROOM_S = 30
SHORTEST_TIMEOUT_S = 10
"""A worker that pauses for longer, say while a machine swaps, is killed with all its streams."""


def patching(patient: Patient) -> Finding | None:
    gunicorn = patient.gunicorn
    if gunicorn.is_gevent and gunicorn.preload_app:
        raise NotChecked("preload_app imports everything too early")
    packages = list(dict.fromkeys(module.partition(".")[0] for module in gunicorn.imported_early))
    if not gunicorn.is_gevent or not packages:
        return None
    named = ", ".join(packages[:MOST_NAMED]) + (" and others" if len(packages) > MOST_NAMED else "")
    return Finding(
        f"Before gevent patched the standard library, these were imported: {named}.",
        "They have sockets, locks or sleeps that block the whole worker, and TLS may fail with a RecursionError.",
        "Import nothing of that in gunicorn.conf.py (import it inside the hooks).",
        "error",
    )


def worker_class(patient: Patient) -> Finding | None:
    kind, threads = patient.gunicorn.worker_class.rpartition(".")[2], patient.gunicorn.threads
    if kind in ("sync", "SyncWorker"):
        what = "gunicorn runs sync workers."
    elif kind in ("gthread", "ThreadWorker") and threads == 1:
        what = "gunicorn runs gthread workers with one thread."
    else:
        return None
    return Finding(
        what,
        "Each answers one request at a time, and hears no Stop meanwhile: gunicorn does not start.",
        'Set worker_class = "gevent", or "gthread" with enough threads.',
        "error",
    )


def preload(patient: Patient) -> Finding | None:
    gunicorn = patient.gunicorn
    if not (gunicorn.is_gevent and gunicorn.preload_app):
        return None
    return Finding(
        "preload_app is on with gevent workers.",
        "The app is imported before gevent patches the standard library, so its locks and sleeps stop all streams.",
        "Set preload_app = False.",
        "error",
    )


def workers(patient: Patient) -> Finding | None:
    if patient.settings.is_shared or patient.gunicorn.has_one_process:
        return None
    return Finding(
        f"There are several workers ({patient.gunicorn.workers}), and LLM_STREAM_LOG_URL is memory://.",
        "A reader that comes back would often reach a worker that does not know its stream: gunicorn does not start.",
        "Set workers = 1 (or WEB_CONCURRENCY=1), or share the streams: LLM_STREAM_LOG_URL=redis://…",
        "error",
    )


def connections(patient: Patient) -> Finding | None:
    gunicorn, most = patient.gunicorn, patient.settings.max_streams
    if not gunicorn.is_gevent or gunicorn.worker_connections > most:
        return None
    return Finding(
        f"worker_connections is {gunicorn.worker_connections}, and LLM_STREAM_MAX_STREAMS is {most}.",
        "When the worker is full of answers, a request to stop one cannot get in.",
        f"Set worker_connections = {2 * most}, or lower LLM_STREAM_MAX_STREAMS.",
    )


def grace(patient: Patient) -> Finding | None:
    gunicorn, longest = patient.gunicorn, patient.settings.total_s
    if gunicorn.graceful_timeout > longest:
        return None
    return Finding(
        f"graceful_timeout is {gunicorn.graceful_timeout} s, and an answer may take {longest:.0f} s.",
        "A deploy interrupts the answers that take longer.",
        f"Set graceful_timeout = {longest + HEADROOM_S:.0f}, or lower LLM_STREAM_TOTAL_S.",
    )


def timeout(patient: Patient) -> Finding | None:
    seconds = patient.gunicorn.timeout
    if seconds >= SHORTEST_TIMEOUT_S:
        return None
    causes = f"A worker that pauses for {seconds} s is killed with all its streams."
    if not seconds:
        causes = "A worker that hangs is never replaced."
    return Finding(f"gunicorn's timeout is {seconds} s.", causes, "Set timeout = 30. It does not limit answers.")


def recycling(patient: Patient) -> Finding | None:
    gunicorn = patient.gunicorn
    if not gunicorn.max_requests or not gunicorn.has_one_process:
        return None
    return Finding(
        f"max_requests is {gunicorn.max_requests}, and there is one worker.",
        "While it is recycled, it takes no new requests until its last answer is finished.",
        "Set max_requests = 0, or run several workers with LLM_STREAM_LOG_URL=redis://…",
    )


def hooks(patient: Patient) -> Finding | None:
    missing = patient.gunicorn.missing_hooks
    if not missing:
        return None
    return Finding(
        f"These hooks of gunicorn do not call those of llm_stream.worker: {', '.join(missing)}.",
        "A worker that stops cuts its answers off, and their records may be lost.",
        "Take the hooks over from the gunicorn.conf.py of flask-llm-stream.",
    )


def debug(patient: Patient) -> Finding | None:
    if not patient.state.app.debug or not patient.gunicorn:
        return None
    return Finding(
        "The app is in debug mode, under gunicorn.",
        "Exceptions pass Flask by, so the app's error pages are not shown, and templates are read anew each time.",
        "Unset FLASK_DEBUG, and set app.debug = False.",
    )


def public(patient: Patient) -> Finding | None:
    if not patient.settings.public or patient.llm.is_guarded or patient.has_budgets:
        return None
    if patient.gunicorn.is_local:
        return None
    return Finding(
        "LLM_STREAM_PUBLIC is on without a budget, and gunicorn listens to other machines:"
        f" {', '.join(patient.gunicorn.addresses)}.",
        "Everybody who reaches it spends your money, without a limit.",
        f"Decorate a function with @{patient.llm.name}.authorize, or set LLM_STREAM_BUDGETS.",
    )


def approvals(patient: Patient) -> Finding | None:
    if not any(tool.needs_approval for tool in patient.llm.tools):
        raise NotChecked("no tool needs approval")
    if patient.state.app.secret_key or not patient.settings.is_shared:
        return None
    return Finding(
        "Tools need approval, and the app has no SECRET_KEY.",
        "Each worker signs with a key of its own, so another worker refuses the reader's decision.",
        "Set the same SECRET_KEY for all workers.",
        "error",
    )
