# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A server whose issuer is behind a stand-in of a CA gateway."""

import base64
import hashlib
import os
import time

import gatewayca
from cagateway import PASSPHRASE, Gateway
from scep import ProtocolError

from . import config, standard
from .config import CRL_AND_CA, location
from .manykeys import make_keys
from .server import CHALLENGE, wait_until

ISSUER = "corporate"
ID = "CA1001"
PROFILE = standard.BASE
PATH = f"/scep/acme/{ISSUER}/{PROFILE}"
WORKER = "gatehouse-ca-worker"
MODULES = ("proxy", "proxy_fcgi")
FRESH = make_keys()
# what the log may have while a gateway misbehaves: what is said there is tested apart
TROUBLE = ("GH0780", "GH0817", "GH0840", "GH0843")
# and while processes are killed, also a worker that requests wait for
KILLED = ("GH0663", "AH00051", "AH00052", "GH0886", "AH01067", "AH01068", "AH01075")


def issuer(server, gateway, name=ISSUER, ca=ID, wait="5s max-waiting=32", **directives):
    """<Issuer> of a gateway. enrolled: what IssuerCredential enrolled has besides. directives:
    IssuerTrust and so on, by what follows "Issuer" in small letters; None leaves one out."""
    lines = {
        "backend": f"cagw {gateway.url} ca={ca}",
        "certificate": f'"{gateway.folder}/{ca}.pem"',
        "chain": f'"{gateway.folder}/{ca}-root.pem"',
        "credential": f'"{gateway.credential}" '
                      f'passphrase=file:{server.make_secret("gateway", PASSPHRASE)}',
        "trust": f'"{gateway.tls.ca_path}"',
        "wait": wait,
        "search": "on lag=2s",
        "limits": "rate=100 timeout=4s",
        "crl": None,
    }
    if directives.get("enrolled"):
        lines["credential"] = "enrolled " + lines["credential"].replace('"', '"from=', 1) + " " \
            + directives.pop("enrolled")
    names = {"crl": "CRL", "gatewayprofile": "GatewayProfile"}
    lines.update(directives)
    body = "".join(f"    Issuer{names.get(key, key.capitalize())} {value}\n"
                   for key, value in lines.items() if value is not None)
    return f"<Issuer {name}>\n{body}</Issuer>\n"


def worker_path(server):
    return location("/-/worker/", "Require gatehouse-dispatch") + \
        f'ProxyPass "/-/worker/" "unix:{server.root}/run/ca-worker.sock|fcgi://localhost/" ' \
        "timeout=20 retry=0\n"


def content(gateway, more="", **directives):
    """For make_server(): an issuer behind a gateway, one that signs here, and a SCEP location of
    each."""
    def made(server):
        return "".join([
            "SCEPFailureLimit off\n",
            issuer(server, gateway, **directives), config.issuer(server.authority),
            worker_path(server),
            location("/scep", "SetHandler gatehouse-scep", f"SCEPTenant acme {ISSUER} devices",
                     "SCEPProfiles scep-*"),
            location(PATH, standard.challenge(server)),
            location(standard.STATIC, standard.challenge(server)),
            CRL_AND_CA,
            more(server) if callable(more) else more,
        ])
    return made


def start_gateway(folder, **options):
    """A gateway whose files httpd can read."""
    folder.chmod(0o755)
    for parent in list(folder.parents)[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    return Gateway(folder, **options)


def elsewhere(gateway, number, key="p256-01", ca=ID):
    """A certificate that somebody else has got from the CA."""
    name = gatewayca.common_name(f"elsewhere-{number}")
    private = gatewayca.load(key)
    csr = gatewayca.x509.CertificateSigningRequestBuilder().subject_name(name).sign(
        private, gatewayca.hashes.SHA256())
    order = gatewayca.Order({
        "profileId": PROFILE, "csr": base64.b64encode(csr.public_bytes(gatewayca.DER)).decode(),
        "optionalCertificateRequestDetails": {"subjectDn": f"CN=elsewhere-{number}"}},
        gateway.profiles, gateway.cas[ca], True)
    with gateway.lock:
        return gateway.cas[ca].issue(order)


def serial(issued):
    text = f"{issued.serial:x}"
    return text.zfill(len(text) + len(text) % 2)


class Remote:
    """One such server with its gateway, and what tests ask of both."""

    def __init__(self, make_server, gateway, more="", modules=(), start=True, options=None,
                 **directives):
        self.gateway = gateway
        self.server = make_server(content(gateway, more, **directives), start=start,
                                  modules=MODULES + tuple(modules), **(options or {}))

    def client(self):
        return self.server.client(PATH)

    def enrol(self, subject, key=None, client=None, **options):
        """With a key that was never used before, unless one is given. As a device does, it tries
        again when a process that has only just begun does not know its RA yet."""
        client, key = client or self.client(), key or next(FRESH)

        def answer():
            try:
                return client.enrol(key, CHALLENGE, subject, **options)
            except ProtocolError as error:
                assert str(error).startswith(("503 ", "GetCACert: 503")), error
                return None

        return wait_until(answer, 5, 0.2, "an answer")

    def wait(self, reply, seconds=20):
        """Polls until the answer is final."""
        client = self.client()
        return wait_until(lambda: (lambda answer: None if answer.pending else answer)(
            client.poll(reply.request)), seconds, 0.2, "a final answer")

    def row(self, reply):
        rows = [row for row in self.server.ctl_ok("enrolment", "list").objects
                if row["transaction"] == reply.request.transaction]
        assert len(rows) == 1, rows
        return rows[0]

    def wait_state(self, reply, *states, seconds=20):
        return wait_until(lambda: (lambda row: row if row["state"] in states else None)(
            self.row(reply)), seconds, 0.2, f"state {states}")

    def at_ca(self, subject):
        """What the CA has issued to a subject."""
        name = subject.split(",")[0]
        return [issued for issued in self.gateway.issued()
                if name in issued.certificate.subject.rfc4514_string()]

    def posts(self):
        """How many enrolments the gateway was asked for, beside those of RAs."""
        return len(self.gateway.calls_of("enroll"))

    def worker(self):
        """Process id of the worker."""
        return wait_until(lambda: self.workers(), 10, what="the worker")[0]

    def workers(self):
        found = []
        for pid in self.server.children():
            try:
                name = os.path.basename(os.readlink(f"/proc/{pid}/exe").split(" ")[0])
            except OSError:
                continue
            if name in (WORKER, "lt-" + WORKER):
                found.append(pid)
        return found

    def ready(self):
        """Once the RA has its certificate and all children know it, tests can count calls."""
        def known():
            return self.server.get(f"{PATH}?operation=GetCACert").status == 200

        self.server.allow("GH0209", "GH0210", "GH0782")
        wait_until(known, 30, 0.3, "the RA's certificate")
        time.sleep(1.2)     # a child that had none yet looks again a second later
        return self


def key_digest(public):
    return hashlib.sha256(gatewayca.spki(public)).hexdigest()


def succeeded(remote, reply, subject):
    """The reply has the one certificate that the CA has made."""
    assert reply.succeeded, reply
    made = remote.at_ca(subject)
    assert [issued.der for issued in made] == [reply.issued], (subject, len(made))
    return reply
