# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A server with connections to a stand-in of Intune, and what tests ask of both."""

import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import pkcs12

from intune import Intune
from standintls import PASSPHRASE

from . import config, remote, standard
from .config import CRL_AND_CA, location
from .server import wait_until

APPLICATION = "0b1d2f3a-1111-4222-8333-444455556666"
PROFILE = "intune-digital-signature-key-encipherment"
LOCAL = f"/scep/acme/devices/{PROFILE}"
GATEWAY = f"/scep/acme/{remote.ISSUER}/{PROFILE}"
SECRETS = ("client secret: one & ä", "client secret: two+2")
LIMITS = "rate=100 timeout=3s wait=3s"


def start_intune(folder, tenants=("contoso",)):
    folder.chmod(0o755)
    for parent in list(folder.parents)[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    made = Intune(folder, tenants=tenants)
    for tenant in made.tenants.values():
        tenant.application, tenant.secret = APPLICATION, SECRETS[0]
    return made


def connection(server, cloud, name="cloud", tenant="contoso", secrets=(0,), **directives):
    """<IntuneConnection>. directives: by what follows "Intune", in small letters; None leaves one
    out, a list says it several times."""
    lines = {
        "tenant": tenant, "application": APPLICATION,
        "secret": [f'file:{server.make_secret(f"intune-{number}", SECRETS[number])}'
                   for number in secrets],
        "endpoints": f"authority={cloud.url}/ graph={cloud.url}/",
        "trust": f'"{cloud.tls.ca_path}"', "limits": LIMITS, "revocation": "off",
    }
    lines.update(directives)
    body = "".join(
        f"    Intune{key.capitalize()} {text}\n"
        for key, value in lines.items() if value is not None
        for text in (value if isinstance(value, list) else [value]))
    return f"<IntuneConnection {name}>\n{body}</IntuneConnection>\n"


def credential(server, cloud, tenant):
    """For IntuneCredential; its certificate is registered for the tenant's application."""
    path = cloud.tls.credential(f"application-{tenant}.p12", "intune application",
                                key_name="rsa2048-05")
    made = pkcs12.load_key_and_certificates(path.read_bytes(), PASSPHRASE.encode())[1]
    cloud.tenants[tenant].certificate = made
    return f'"{path}" passphrase=file:{server.make_secret("application", PASSPHRASE)}'


def content(cloud, gateway=None, more="", name="cloud", **directives):
    """For make_server(): a location of Intune of an issuer that signs here, of one behind a
    gateway if there is one, and a plain one."""
    def made(server):
        issuers = f"devices {remote.ISSUER}" if gateway else "devices"
        return "".join([
            "SCEPFailureLimit off\n",
            remote.issuer(server, gateway) if gateway else "",
            config.issuer(server.authority), remote.worker_path(server),
            connection(server, cloud, name, **directives),
            location("/scep", "SetHandler gatehouse-scep", f"SCEPTenant acme {issuers}",
                     "SCEPProfiles scep-* intune-*" + (" test-*" if gateway else "")),
            location(f"{LOCAL}/intune", f"SCEPIntune {name}"),
            location(f"{GATEWAY}/intune", f"SCEPIntune {name}") if gateway else "",
            location(standard.STATIC, standard.challenge(server)),
            CRL_AND_CA,
            more(server) if callable(more) else more,
        ])
    return made


class Managed:
    """One such server with its stand-in."""

    def __init__(self, make_server, cloud, gateway=None, more="", options=None, **directives):
        self.cloud, self.gateway = cloud, gateway
        self.server = make_server(content(cloud, gateway, more, **directives),
                                  modules=remote.MODULES, **(options or {}))

    def client(self, path=LOCAL):
        return self.server.client(path + "/intune")

    def enrol(self, subject, challenge=None, path=LOCAL, key=None, **options):
        return self.client(path).enrol(key or next(remote.FRESH),
                                       challenge or f"ok-{os.urandom(8).hex()}", subject,
                                       **options)

    def issued(self, subject, path=LOCAL, **options):
        """Enrols, and polls where a busy machine takes longer than a request waits."""
        reply = self.enrol(subject, path=path, **options)
        if reply.pending:
            reply = self.wait(reply, path)
        assert reply.succeeded, reply
        return reply

    def wait(self, reply, path=LOCAL, seconds=30):
        """Polls until the answer is final."""
        client = self.client(path)
        return wait_until(lambda: (lambda answer: None if answer.pending else answer)(
            client.poll(reply.request)), seconds, 0.2, "a final answer")

    def row(self, reply):
        rows = [row for row in self.server.ctl_ok("enrolment", "list").objects
                if row["transaction"] == reply.request.transaction]
        assert len(rows) == 1, rows
        return rows[0]

    def told(self, reply, tenant="contoso"):
        """What Intune knows of the transaction."""
        return self.cloud.transaction(reply.request.transaction, tenant)

    def worker(self):
        return wait_until(lambda: remote.Remote.workers(self), 10, what="the worker")[0]


def check_success(told, certificate, issuer):
    """The notification of a success has what is in the certificate."""
    made = x509.load_der_x509_certificate(certificate)
    assert told["certificateThumbprint"] == made.fingerprint(hashes.SHA1()).hex().upper()
    serial = f"{made.serial_number:X}"
    assert told["certificateSerialNumber"] == serial.zfill(len(serial) + len(serial) % 2)
    assert told["certificateExpirationDateUtc"] \
        == made.not_valid_after.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    assert issuer in told["issuingCertificateAuthority"]
    assert told["callerInfo"].startswith("Gatehouse/")
