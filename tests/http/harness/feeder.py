# Licensed under the Apache License, Version 2.0. See LICENSE.
"""The OCSP feeder under an httpd that has nothing else to do, and servers for it to fetch from."""

import datetime
import hashlib
import http.server
import json
import os
import pathlib
import socket
import ssl
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from . import environment, pki
from .server import wait_until

DER = serialization.Encoding.DER
SECOND = 1000000


def spki_digest(certificate, name, store, complete):
    """ocsp_authority_digest()"""
    spki = certificate.public_key().public_bytes(
        DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(name.encode() + b"\0" + bytes([0 if store else 1, 1 if complete else 0])
                          + spki).hexdigest()


def make_crl(authority, revoked=(), number=1, hours=24, age=0, key=None, delta=None):
    """DER of a CRL. revoked: serial numbers"""
    now = datetime.datetime.utcnow().replace(microsecond=0) - datetime.timedelta(seconds=age)
    builder = (x509.CertificateRevocationListBuilder()
               .issuer_name(authority.certificate.subject).last_update(now)
               .next_update(now + datetime.timedelta(hours=hours))
               .add_extension(x509.CRLNumber(number), False)
               .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(
                   authority.certificate.public_key()), False))
    if delta is not None:
        builder = builder.add_extension(x509.DeltaCRLIndicator(delta), True)
    for serial in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build())
    return builder.sign(key or authority.key_source, hashes.SHA256()).public_bytes(DER)


def source(kind, url=None, **options):
    """A source as the feeder is told of it."""
    made = {"kind": kind, "url": url, "delta": None, "interval": SECOND, "timeout": SECOND,
            "retry": SECOND // 2, "warn": 0, "serve_expired": False, "whole": False, "shrink": 0,
            "max_size": 0,
            "ca_file": None, "proxy": None, "dn": None, "attribute": None, "bind": None,
            "password": None, "starttls": False}
    assert not set(options) - set(made)
    made.update(options)
    return {name: value for name, value in made.items() if value is not None}


class Feeder:
    """authorities: lists of sources by name; "store" alone is the issuer of that name."""

    def __init__(self, make_server, authorities, start=True, **options):
        self.authorities = authorities
        self.server = make_server(self.content, start=False, **options)
        if start:
            self.start()

    def start(self):
        self.server.start()

    def folder(self, server=None):
        path = (server or self.server).root / "ocsp"
        if not path.exists():
            path.mkdir(mode=0o750)
            os.chown(path, *environment.run_as()[:2])
        return path

    def configuration(self, server):
        certificate = server.authority.certificate
        store = any(s["kind"] == "store" for sources in self.authorities.values() for s in sources)
        return {"folder": str(self.folder(server)),
                **({"store": server.store_uri} if store else {}),
                "authorities": [
                    {"name": name,
                     **({"issuer": name} if sources[0]["kind"] == "store" else {}),
                     "digest": spki_digest(certificate, name, sources[0]["kind"] == "store",
                                           any(s["kind"] != "crl" for s in sources)),
                     "certificate": certificate.public_bytes(DER).hex(), "retention": 0,
                     "serve_endless": False, "sources": sources} for name, sources in self.authorities.items()]}

    def content(self, server):
        path = server.root / "feeder.conf"
        text = json.dumps(self.configuration(server)).replace("\\", "\\\\").replace("'", "\\'")
        path.write_text(f"TestWorker ocsp-feeder '{text}' gatehouse-ocsp-feeder\n")
        return (f"LoadModule test_worker_module "
                f"{environment.build()}/tests/fixtures/.libs/mod_test_worker.so\n"
                f'Include "{path}"\n')

    def configure(self, authorities):
        self.authorities = authorities
        self.server.configure(self.content)

    def pids(self):
        found = []
        for pid in self.server.children():
            try:
                name = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
            except OSError:
                continue
            if name == "gatehouse-ocsp-feeder":
                found.append(pid)
        return found

    def pid(self):
        return wait_until(self.pids, 5, what="the feeder")[0]

    def state(self, name):
        try:
            return json.loads((self.folder() / f"{name}.state").read_text())
        except FileNotFoundError:
            return None

    def wait(self, name, condition, seconds=10, what="a state of the feeder"):
        def look():
            state = self.state(name)
            return state if state and condition(state) else None
        return wait_until(look, seconds, what=what)

    def wait_index(self, name, after=0, seconds=10):
        return self.wait(name, lambda state: state["generation"] > after, seconds, "an index")

    def wait_error(self, name, number, seconds=10, of=0):
        return self.wait(name, lambda state: (state["sources"][of]["error"] or {}).get("gh")
                         == number, seconds, f"{number} of {name}")


def written(state, what="written"):
    return datetime.datetime.strptime(state[what], "%Y-%m-%dT%H:%M:%SZ")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        with server.lock:
            server.requests.append((self.path, dict(self.headers)))
        behaviour = server.paths.get(self.path)
        if behaviour is None:
            self.reply(404, b"not here")
        elif callable(behaviour):
            behaviour(self)
        else:
            self.serve(behaviour)

    def serve(self, body):
        etag = '"%s"' % hashlib.sha256(body).hexdigest()[:16]
        if self.headers.get("If-None-Match") == etag:
            self.reply(304, b"")
        else:
            self.reply(200, body, ETag=etag)

    def reply(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Source:
    """An HTTP server: paths are bytes, or functions that get the handler."""

    def __init__(self, certificate=None, key=None, address="127.0.0.1"):
        kind = type("Server", (http.server.ThreadingHTTPServer,), {
            "address_family": socket.AF_INET6 if ":" in address else socket.AF_INET})
        self.host = f"[{address}]" if ":" in address else address
        self.http = kind((address, 0), Handler)
        self.http.daemon_threads = True
        self.http.lock = threading.Lock()
        self.http.requests = []
        self.http.paths = {}
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
            self.scheme = "https"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05},
                         daemon=True).start()

    def __setitem__(self, path, behaviour):
        self.http.paths[path] = behaviour

    def url(self, path):
        return f"{self.scheme}://{self.host}:{self.http.server_address[1]}{path}"

    def requests(self, path):
        with self.http.lock:
            return [headers for asked, headers in self.http.requests if asked == path]

    def close(self):
        self.http.shutdown()
        self.http.server_close()


def hang(handler):
    """Answers nothing until the client goes away."""
    handler.connection.settimeout(60)
    try:
        handler.connection.recv(1)
    except OSError:
        pass
    handler.close_connection = True


def drip(handler):
    """Sends a byte now and then."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    try:
        for _ in range(600):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.1)
    except OSError:
        pass
    handler.close_connection = True
