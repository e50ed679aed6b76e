"""`gunicorn -c gunicorn.conf.py wsgi:app`. Command line options override these settings."""

import os

bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))  # more than one worker needs LLM_STREAM_LOG_URL
worker_class = "gevent"
worker_connections = 2000  # above LLM_STREAM_MAX_STREAMS, to leave room for stop requests
preload_app = False  # gevent patches a worker after the fork, and misses modules imported before it
# above LLM_STREAM_TOTAL_S, so that a deploy waits for running streams
graceful_timeout = int(os.environ.get("GRACEFUL_TIMEOUT", "630"))
limit_request_line = 8190  # prompts can be in the query
control_socket_disable = True
accesslog = None


# import inside the hooks: this file is read before gevent patches the standard library
def post_worker_init(worker):
    from llm_stream import worker as llm

    llm.post_worker_init(worker)


def worker_int(worker):
    from llm_stream import worker as llm

    llm.worker_int(worker)


def worker_exit(server, worker):
    from llm_stream import worker as llm

    llm.worker_exit(server, worker)
