# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Servers that ask for client certificates, and clients that have one: curl and Python."""

import datetime
import hashlib
import http.client
import json
import pathlib
import socket
import ssl
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from scep.identity import private_pem
from scep.transport import Response

from .pki import PEM, key, write_secret
from .server import free_port

OWN_MODULES = ("gatehouse", "scep", "escrow")
MODULES = ("ssl", "socache_shmcb", "headers")
# what mod_ssl says at a start: that there is no cache of sessions, that names do not agree, and of
# the OpenSSL that it was built with
SSL_CHATTER = ("AH01873", "AH01882", "AH01906", "AH01909", "AH02292")


def make_certificate(name, key_name="p256-01", issuer=None, issuer_key=None, days=30, start=None,
                     usage=None, hosts=(), ca=False):
    """A certificate; self-signed if no issuer is given."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = start or (datetime.datetime.utcnow() - datetime.timedelta(hours=1))
    builder = (x509.CertificateBuilder().subject_name(subject)
               .issuer_name(issuer.subject if issuer else subject)
               .public_key(key(key_name).public_key())
               .serial_number(x509.random_serial_number())
               .not_valid_before(begin).not_valid_after(begin + datetime.timedelta(days=days))
               .add_extension(x509.BasicConstraints(ca, None), True))
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), False)
    if hosts:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), False)
    return builder.sign(key(issuer_key or key_name), hashes.SHA256())


class Identity:
    """A client's certificate and key, in files."""

    def __init__(self, directory, name, key_name="p256-01", **options):
        directory = pathlib.Path(directory)
        self.name = name
        self.key_name = key_name
        self.certificate = make_certificate(name, key_name, **options)
        self.der = self.certificate.public_bytes(Encoding.DER)
        self.pem = self.certificate.public_bytes(PEM).decode()
        self.sha256 = hashlib.sha256(self.der).hexdigest()
        self.sha1 = hashlib.sha1(self.der).hexdigest()
        self.path = directory / f"{name}.pem"
        self.key_path = directory / f"{name}.key"
        self.path.write_text(self.pem)
        write_secret(self.key_path, private_pem(key(key_name)))

    @property
    def pin(self):
        return f"sha256:{self.sha256}"

    @property
    def files(self):
        return str(self.path), str(self.key_path)


def tls_host(server, content, name="localhost", port=None, extra=""):
    """A virtual host that asks for client certificates and takes any; its port is server.tls_port
    unless another is given. The certificate is made at first use: server.tls."""
    if not hasattr(server, "tls"):
        server.tls = Identity(server.root / "ca", "tls", "p256-01",
                              usage=ExtendedKeyUsageOID.SERVER_AUTH, hosts=("localhost",))
    if port is None:
        if not hasattr(server, "tls_port"):
            server.tls_port = free_port()
        port = server.tls_port
    listen = f"Listen 127.0.0.1:{port}\n" if port not in getattr(server, "listening", ()) else ""
    server.listening = getattr(server, "listening", ()) + (port,)
    return f"""{listen}<VirtualHost 127.0.0.1:{port}>
    ServerName {name}
    SSLEngine on
    SSLCertificateFile "{server.tls.path}"
    SSLCertificateKeyFile "{server.tls.key_path}"
    SSLVerifyClient optional_no_ca
{extra}{content}</VirtualHost>
"""


def context(server, identity=None, version=None, verify=True):
    made = ssl.create_default_context(cafile=str(server.tls.path)) if verify \
        else ssl._create_unverified_context()
    made.check_hostname = False
    if version:
        made.minimum_version = made.maximum_version = version
    if identity:
        made.load_cert_chain(*identity.files)
    return made


def connect(server, identity=None, version=None, port=None, session=None, name="localhost",
            made=None):
    """A connection of http.client, already made, that can be kept."""
    made = made or context(server, identity, version)
    connection = http.client.HTTPConnection("127.0.0.1", port or server.tls_port, timeout=30)
    raw = socket.create_connection(("127.0.0.1", port or server.tls_port), timeout=30)
    connection.sock = made.wrap_socket(raw, server_hostname=name, session=session)
    return connection


def on(connection, path, method="GET", body=None, headers=None):
    """A request on a connection that is kept."""
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    return Response(response.status, response.reason, response.headers, response.read())


def ask(server, path, identity=None, method="GET", body=None, headers=None, version=None,
        port=None):
    """A request by TLS on a connection of its own. A body that is no text or bytes becomes JSON."""
    headers = dict(headers or {})
    if body is not None and not isinstance(body, (str, bytes)):
        body = json.dumps(body)
        headers.setdefault("Content-Type", "application/json")
    connection = connect(server, identity, version, port)
    try:
        return on(connection, path, method, body, headers)
    finally:
        connection.close()


def curl(server, path, identity=None, *options, port=None):
    """The same by curl. @return status, headers (lower case), body"""
    command = ["curl", "-sS", "-i", "--max-time", "30", "--noproxy", "*", "--http1.1",
               "--cacert", str(server.tls.path),
               "--resolve", f"localhost:{port or server.tls_port}:127.0.0.1"]
    if identity:
        command += ["--cert", str(identity.path), "--key", str(identity.key_path)]
    done = subprocess.run([*command, *options,
                           f"https://localhost:{port or server.tls_port}{path}"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in lines[1:]}
    return int(lines[0].split()[1]), headers, body


def problem(response, status, number):
    """What a refusal has to say. @return its members"""
    assert response.status == status, (response, response.body)
    assert response.headers["Content-Type"] == "application/problem+json", response
    assert response.headers["Cache-Control"] == "no-store"
    answer = json.loads(response.body)
    assert answer["status"] == status and answer["gh"] == number, answer
    assert answer["type"] and answer["detail"] and answer["title"], answer
    assert answer["instance"] == response.headers["X-Request-Id"]
    return answer
