"""What we know of the internals of Flask, gevent, gunicorn and sockets."""
