"""Code that depends on the internals of Flask, gevent, gunicorn and sockets."""
