"""Checks how gunicorn serves the app: one function for each setting that may harm streams."""

from __future__ import annotations

import resource

from .finding import Finding
from .finding import NotChecked
from .patient import Patient

MOST_NAMED = 6
RAISES_LIMIT = "post_worker_init"
"""The hook that raises a worker's soft limit of open files to the hard limit."""
AMPLE_FILES = 16384
OTHER_FILES = 100
"""Log files, the ledger, Redis, the listening sockets and the app's own connections."""
HEADROOM_S = 30
SHORTEST_TIMEOUT_S = 10
"""gunicorn kills a worker that pauses for longer, for example while the machine swaps. All its streams are lost."""


def patching(patient: Patient) -> Finding | None:
    gunicorn = patient.gunicorn
    if gunicorn.is_gevent and gunicorn.preload_app:
        raise NotChecked("preload_app imports all modules before gevent patches: see the check `preload`")
    packages = list(dict.fromkeys(module.partition(".")[0] for module in gunicorn.imported_early))
    if not gunicorn.is_gevent or not packages:
        return None
    named = ", ".join(packages[:MOST_NAMED]) + (" and others" if len(packages) > MOST_NAMED else "")
    return Finding(
        f"These modules were imported before gevent patched the standard library: {named}.",
        "Their sockets, locks and sleeps block the whole worker, and TLS may fail with a RecursionError.",
        "Do not import them at the top of gunicorn.conf.py. Import them inside its hooks.",
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
        "Such a worker serves one request at a time and cannot receive a Stop meanwhile. gunicorn refuses to start.",
        'Set worker_class = "gevent", or "gthread" with one thread for each answer at a time.',
        "error",
    )


def preload(patient: Patient) -> Finding | None:
    gunicorn = patient.gunicorn
    if not (gunicorn.is_gevent and gunicorn.preload_app):
        return None
    return Finding(
        "preload_app is on with gevent workers.",
        "The app is imported before gevent patches the standard library, so its locks and sleeps block all streams.",
        "Set preload_app = False.",
        "error",
    )


def workers(patient: Patient) -> Finding | None:
    if patient.settings.is_shared or patient.gunicorn.has_one_process:
        return None
    return Finding(
        f"There are several workers ({patient.gunicorn.workers}), and LLM_STREAM_LOG_URL is memory://.",
        "A client that reconnects may reach a worker that does not have its stream. gunicorn refuses to start.",
        "Set workers = 1 (or WEB_CONCURRENCY=1), or share the streams: LLM_STREAM_LOG_URL=redis://…",
        "error",
    )


def connections(patient: Patient) -> Finding | None:
    gunicorn, most = patient.gunicorn, patient.settings.max_streams
    if not gunicorn.is_gevent or gunicorn.worker_connections > most:
        return None
    return Finding(
        f"worker_connections is {gunicorn.worker_connections}, and LLM_STREAM_MAX_STREAMS is {most}.",
        "When the worker has as many streams as connections, it cannot accept a request that stops one.",
        f"Set worker_connections = {2 * most}, or lower LLM_STREAM_MAX_STREAMS.",
    )


def files(patient: Patient) -> Finding | None:
    gunicorn, most = patient.gunicorn, patient.settings.max_streams
    if not gunicorn.is_gevent:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = soft if RAISES_LIMIT in gunicorn.missing_hooks else hard
    needed = gunicorn.worker_connections + most + OTHER_FILES
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return None
    return Finding(
        f"A process may open {limit} files here. A full worker needs {needed}.",
        f"The worker has up to {gunicorn.worker_connections} connections to clients (worker_connections) and {most} to"
        " the upstream (LLM_STREAM_MAX_STREAMS). Once no file is left, new connections fail.",
        f"Allow {max(needed, AMPLE_FILES)}: LimitNOFILE= (systemd), --ulimit nofile= (Docker) or ulimit -n (shell).",
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
    causes = f"gunicorn kills a worker that pauses for {seconds} s, and all its streams are lost."
    if not seconds:
        causes = "gunicorn never replaces a worker that hangs."
    advice = "Set timeout = 30. It does not limit how long an answer takes."
    return Finding(f"gunicorn's timeout is {seconds} s.", causes, advice)


def recycling(patient: Patient) -> Finding | None:
    gunicorn = patient.gunicorn
    if not gunicorn.max_requests or not gunicorn.has_one_process:
        return None
    return Finding(
        f"max_requests is {gunicorn.max_requests}, and there is one worker.",
        "When gunicorn recycles the worker, no requests are accepted until its last answer is finished.",
        "Set max_requests = 0, or run several workers with LLM_STREAM_LOG_URL=redis://…",
    )


def hooks(patient: Patient) -> Finding | None:
    missing = patient.gunicorn.missing_hooks
    if not missing:
        return None
    return Finding(
        f"These hooks of gunicorn do not call those of llm_stream.worker: {', '.join(missing)}.",
        "A worker that stops cuts its answers off, and their usage records may be lost.",
        "Copy the hooks from the gunicorn.conf.py of flask-llm-stream.",
    )


def debug(patient: Patient) -> Finding | None:
    if not patient.state.app.debug or not patient.gunicorn:
        return None
    return Finding(
        "The app runs in debug mode under gunicorn.",
        "Flask raises exceptions instead of showing the app's error pages, and checks templates for changes each time.",
        "Unset FLASK_DEBUG, and set app.debug = False.",
    )


def public(patient: Patient) -> Finding | None:
    if not patient.settings.public or patient.llm.is_guarded or patient.has_budgets:
        return None
    if patient.gunicorn.is_local:
        return None
    return Finding(
        "LLM_STREAM_PUBLIC is on without a budget, and other machines can reach gunicorn:"
        f" {', '.join(patient.gunicorn.addresses)}.",
        "Anyone who can reach it spends your money without a limit.",
        f"Decorate a function with @{patient.llm.name}.authorize, or set LLM_STREAM_BUDGETS.",
    )


def approvals(patient: Patient) -> Finding | None:
    if not any(tool.needs_approval for tool in patient.llm.tools):
        raise NotChecked("no tool needs approval")
    if patient.state.app.secret_key or not patient.settings.is_shared:
        return None
    return Finding(
        "Tools need approval, and the app has no SECRET_KEY.",
        "Each worker signs approvals with its own random key, so the other workers refuse the reader's decision.",
        "Set the same SECRET_KEY for all workers.",
        "error",
    )
