# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A CMP server, tests/fixtures/cmpserver.c, and a server whose issuer is behind it."""

import datetime
import ssl
import subprocess
import urllib.parse
import urllib.request

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs12

import gatewayca
import standintls

from . import environment, remote, standard
from .config import CRL_AND_CA, issuer, location

SECRET = "seeded-cmp-secret"
REFERENCE = "gatehouse-ra"
ISSUER = remote.ISSUER
PASSPHRASE = "seeded-cmp-passphrase"


def make_ca(name, key, issuer_name, issuer_key):
    """A CA that may sign messages too."""
    start = gatewayca.utcnow() - gatewayca.HOUR
    return (x509.CertificateBuilder().subject_name(name).issuer_name(issuer_name)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(start).not_valid_after(start + datetime.timedelta(days=1000))
            .add_extension(x509.BasicConstraints(True, None), True)
            .add_extension(x509.KeyUsage(True, False, False, False, False, True, True, False,
                                         False), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(
                issuer_key.public_key()), False)
            .sign(issuer_key, hashes.SHA256()))


class CmpServer:
    def __init__(self, folder, tls=False):
        folder.chmod(0o755)
        for parent in list(folder.parents)[:3]:
            parent.chmod(parent.stat().st_mode | 0o055)
        self.folder = folder
        root_key, key = gatewayca.load("rsa2048-09"), gatewayca.load("rsa3072-01")
        root_name = gatewayca.common_name("CMP Root")
        self.ca = make_ca(gatewayca.common_name("CMP CA"), key, root_name, root_key)
        self._write("root.pem", make_ca(root_name, root_key, root_name, root_key))
        self._write("ca.pem", self.ca)
        (folder / "ca.key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))
        (folder / "secret").write_text(SECRET)
        self._make_credential(key)
        files = ["-", "-"]
        if tls:
            self.tls = standintls.Tls(folder)
            self.tls.context(clients=False)
            files = [folder / "server-good.pem", folder / "server.key"]
        self.process = subprocess.Popen(
            [environment.build() / "cmpserver", folder / "ca.pem", folder / "ca.key", REFERENCE,
             folder / "secret", *files, folder / "ca.pem"], stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/.well-known/cmp"

    def _write(self, name, certificate):
        (self.folder / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _make_credential(self, ca_key):
        """A PKCS#12 by which messages are signed."""
        key = gatewayca.load("rsa2048-10")
        certificate = gatewayca.make_certificate(
            gatewayca.common_name("RA"), key.public_key(), self.ca.subject, ca_key, days=400)
        self.credential = self.folder / "ra.p12"
        self.credential.write_bytes(pkcs12.serialize_key_and_certificates(
            b"ra", key, certificate, None,
            serialization.BestAvailableEncryption(PASSPHRASE.encode())))
        self.credential.chmod(0o600)

    def ask(self, path):
        base = self.url[:-len("/.well-known/cmp")]
        with urllib.request.urlopen(base + path, timeout=10,
                                    context=ssl._create_unverified_context()) as answer:
            return answer.read().decode().splitlines()

    def fault(self, body, kind, value="-", times=1):
        self.ask(f"/fault/{body}/{kind}/{urllib.parse.quote(str(value), safe='')}/{times}")

    def clear(self):
        self.ask("/clear")

    def issued(self, subject=""):
        """(serial, state, reason) of what was issued to a subject."""
        name = subject.split(",")[0]
        rows = [line.split(" ", 3) for line in self.ask("/issued")]
        return [(f"{int(serial, 16):x}", state, int(reason))
                for serial, state, reason, whom in rows if name in whom]

    def count(self, body):
        return {line.split()[0]: int(line.split()[1]) for line in self.ask("/count")}[body]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def section(server, cmp, name=ISSUER, **directives):
    """<Issuer>. directives: by what follows "Issuer"; None leaves one out, a function is given the
    server."""
    lines = {
        "Backend": f"cmp {cmp.url}",
        "Certificate": f'"{cmp.folder}/ca.pem"',
        "Chain": f'"{cmp.folder}/root.pem"',
        "CMP": f'ref={REFERENCE} secret=file:{server.make_secret("cmp", SECRET)}',
        "Wait": "5s max-waiting=32",
        "Limits": "rate=100 timeout=4s",
    }
    lines.update(directives)
    body = "".join(f"    Issuer{key} {value(server) if callable(value) else value}\n"
                   for key, value in lines.items() if value is not None)
    return f"<Issuer {name}>\n{body}</Issuer>\n"


def content(cmp, more="", **directives):
    def made(server):
        return "".join([
            "SCEPFailureLimit off\n", section(server, cmp, **directives),
            issuer(server.authority), remote.worker_path(server),
            location("/scep", "SetHandler gatehouse-scep", f"SCEPTenant acme {ISSUER} devices",
                     "SCEPProfiles scep-*"),
            location(remote.PATH, standard.challenge(server)),
            location(standard.STATIC, standard.challenge(server)),
            CRL_AND_CA, more,
        ])
    return made


class CmpRemote(remote.Remote):
    """As remote.Remote, with a CMP server."""

    def __init__(self, make_server, cmp, more="", **directives):
        self.gateway = self.cmp = cmp
        self.server = make_server(content(cmp, more, **directives), modules=remote.MODULES)
