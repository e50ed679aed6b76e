"""What we know of gevent, gunicorn and sockets."""
