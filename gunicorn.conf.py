"""`gunicorn -c gunicorn.conf.py wsgi:app`; any of these can be overridden on its command line."""

import os

bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))  # logs are in the memory of one worker
worker_class = "gevent"
worker_connections = 2000  # above LLM_STREAM_MAX_STREAMS, or nobody could press Stop
preload_app = False  # gevent patches a worker after the fork; what is imported before that is not patched
graceful_timeout = 630  # above LLM_STREAM_TOTAL_S: a deploy waits for the answers that are being written
limit_request_line = 8190  # prompts may come in the query
control_socket_disable = True
accesslog = None


# imported inside the hooks: this file is read before gevent has patched anything
def post_worker_init(worker):
    from llm_stream import worker as llm

    llm.post_worker_init(worker)


def worker_int(worker):
    from llm_stream import worker as llm

    llm.worker_int(worker)


def worker_exit(server, worker):
    from llm_stream import worker as llm

    llm.worker_exit(server, worker)
