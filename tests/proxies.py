"""The proxies of docs/guides/proxies.md, each with the configuration that the page has."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from .conftest import PATIENCE_S
from .conftest import ROOT
from .conftest import eventually
from .conftest import missing
from .ports import free_port
from .reading import Http1

PAGE = ROOT / "docs/guides/proxies.md"
ENVIRONMENT = ROOT / ".venv-proxies"

NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/etc/nginx/conf.d/*.conf;
}}
"""
"""What Debian's own nginx.conf has around the files of `conf.d`."""


@dataclass(frozen=True)
class Kind:
    """A program, and how it is told its configuration: `{folder}` has the files of the page, below `etc`."""

    program: str
    arguments: str
    package: str = ""
    """Debian's; the other ones come from PyPI."""
    compresses: bool = False
    """Also an answer, which says `no-transform`."""


KINDS = {
    "nginx": Kind("nginx", "-c {folder}/nginx.conf -p {folder}", "nginx", compresses=True),
    "haproxy": Kind("haproxy", "-db -f {folder}/etc/haproxy/haproxy.cfg", "haproxy"),
    "Caddy": Kind("caddy", "run --adapter caddyfile --config {folder}/etc/caddy/Caddyfile"),
    "Traefik": Kind("traefik", "--configFile={folder}/etc/traefik/traefik.yml", compresses=True),
    "Envoy": Kind("envoy", "-c {folder}/etc/envoy/envoy.yaml --use-dynamic-base-id --concurrency 1 -l error"),
}


def files_of(name: str) -> dict[str, str]:
    """The configuration in the section of this name: the first line of each block is a comment with its path."""
    (section,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return dict(re.findall(r"^```\w+\n# /(\S+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))


def program_of(kind: Kind) -> str:
    """Its path; without it the test is skipped, in CI it fails."""
    path = shutil.which(kind.program) or shutil.which(kind.program, path=ENVIRONMENT / "bin")
    if path is None:
        install = f"apt-get install {kind.package}" if kind.package else "make .venv-proxies/ready"
        missing(f"{kind.program} is missing: {install}")
    assert path is not None
    return path


class RunningProxy:
    """A proxy in a folder of its own; `files` are its configuration, by their paths without the first slash."""

    def __init__(self, name: str, folder: Path, files: dict[str, str], answers: Callable[[], bool]) -> None:
        program = program_of(KINDS[name])
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
        self._log = folder / "log"
        command = [program, *KINDS[name].arguments.format(folder=folder).split()]
        with self._log.open("wb") as log:
            home = os.environ | {"HOME": str(folder)}  # Caddy keeps its configuration there
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=home)
        eventually(lambda: self._is_alive() and answers(), f"the first answer through {name}")

    def _is_alive(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        return True

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)


class Proxies:
    """Starts proxies, all with one certificate, which `context` trusts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[RunningProxy] = []
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        self._certificate = certificate.private_key_and_cert_chain_pem.bytes()
        self._key = certificate.private_key_pem.bytes()
        self.context = ssl.create_default_context()
        authority.configure_trust(self.context)

    def start(self, name: str, backend: int, replaced: dict[str, str] | None = None) -> int:
        """Put a proxy with the page's configuration before the server at a port; the proxy's own port.

        In the configuration the ports and the folder become those of the test. `replaced` are further words to replace.
        """
        folder, port = self._new_folder(), free_port()
        words = (replaced or {}) | {"/etc/": f"{folder}/etc/", "8443": str(port), "8000": str(backend)}
        files = files_of(name)
        for old, new in words.items():
            assert any(old in text for text in files.values()), f"the page has no {old!r} for {name}"
            files = {path: text.replace(old, new) for path, text in files.items()}
        self._start(name, folder, files, lambda: self._answers(port))
        return port

    def start_bare_nginx(self, location: str) -> int:
        """Start an nginx of which nothing is configured but a location, without TLS; its port."""
        folder, port = self._new_folder(), free_port()
        site = f"server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }}\n"
        self._start("nginx", folder, {"etc/nginx/conf.d/app.conf": site}, lambda: is_listening(port))
        return port

    @contextmanager
    def stopping_again(self) -> Iterator[None]:
        """What is started inside is stopped at the end."""
        before = len(self._running)
        try:
            yield
        finally:
            while len(self._running) > before:
                self._running.pop().stop()

    def _new_folder(self) -> Path:
        folder = self._folder / f"proxy-{len(list(self._folder.glob('proxy-*')))}"
        (folder / "etc/ssl").mkdir(parents=True)
        (folder / "etc/ssl/site.pem").write_bytes(self._certificate)
        (folder / "etc/ssl/site.key").write_bytes(self._key)
        return folder

    def _start(self, name: str, folder: Path, files: dict[str, str], answers: Callable[[], bool]) -> None:
        self._running.append(RunningProxy(name, folder, files, answers))

    def _answers(self, port: int) -> bool:
        """Traefik listens before it has read its configuration."""
        try:
            reading = Http1(port, "/worker", self.context)
        except OSError:
            return False
        reading.close()
        return reading.status == 200


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
