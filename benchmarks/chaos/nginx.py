"""The nginx in front of several workers, configured as in docs/guides/several_workers.md."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from .process import Process
from .process import free_port

CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream app {{
        {servers}
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://app;
            proxy_set_header Host $http_host;
            proxy_connect_timeout 2s;
        }}
    }}
}}
"""


class Nginx(Process):
    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        program = shutil.which("nginx")
        if program is None:
            raise SystemExit("nginx is missing: apt-get install nginx")
        port, config = free_port(), folder / "nginx.conf"
        servers = " ".join(f"server 127.0.0.1:{port} fail_timeout=1s;" for port in ports)
        config.write_text(CONFIG.format(folder=folder, port=port, servers=servers))
        super().__init__(
            [program, "-c", str(config), "-p", str(folder)], port, folder / "nginx.log", folder, os.environ
        )
