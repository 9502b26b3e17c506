# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A client: what it knows of a server, and whole exchanges."""

import os
import time

from cryptography import x509

from . import transport
from .csr import Csr
from .identity import Identity
from .message import CERTPOLL, PKCSREQ, PkiMessage, Recipient, issuer_and_subject
from .reply import CertRep, ProtocolError, certs_only


class Client:
    """Speaks to one SCEP URL."""

    def __init__(self, url, method="POST", leaf_only=True, strict=True):
        self.url = url
        self.method = method
        self.strict = strict
        self.leaf_only = leaf_only
        self._certificates = None

    # GetCACaps, GetCACert

    def caps(self):
        response = transport.request(self.url,
                                     target=transport.operation_target(self.url, "GetCACaps"))
        if response.status != 200:
            raise ProtocolError(f"GetCACaps: {response.status}")
        return response.body.decode("ascii").split()

    @property
    def certificates(self):
        """DER of what GetCACert tells, in its order."""
        if self._certificates is None:
            response = transport.request(
                self.url, target=transport.operation_target(self.url, "GetCACert"))
            if response.status != 200:
                raise ProtocolError(f"GetCACert: {response.status}")
            if response.type == "application/x-x509-ca-cert":
                self._certificates = [response.body]
            elif response.type == "application/x-x509-ca-ra-cert":
                self._certificates = certs_only(response.body)
            else:
                raise ProtocolError(f"GetCACert: {response.type}")
        return self._certificates

    @property
    def ra(self):
        """The certificate that requests are encrypted to and replies are signed with."""
        return self.certificates[0]

    @property
    def ca(self):
        """The issuing CA, parsed: the first certificate that says cA."""
        for der in self.certificates:
            certificate = x509.load_der_x509_certificate(der)
            try:
                constraints = certificate.extensions.get_extension_for_class(
                    x509.BasicConstraints)
            except x509.ExtensionNotFound:
                continue
            if constraints.value.ca:
                return certificate
        raise ProtocolError("GetCACert names no CA")

    # PKIOperation

    def message(self, csr, identity=None, recipient=None, **options):
        """A PKCSReq for a Csr (or DER), signed under a self-signed certificate of its key."""
        if identity is None:
            identity = Identity.self_signed(csr.key, csr.subject)
        content = csr.der if isinstance(csr, Csr) else csr
        recipient = Recipient(self.ra) if recipient is None else recipient
        options.setdefault("message_type", PKCSREQ)
        message = PkiMessage(content, identity, recipient, **options)
        message.csr = csr
        return message

    def poll_message(self, request, **options):
        """CertPoll for an earlier request."""
        content = issuer_and_subject(self.ca.subject.public_bytes(), request.csr.subject)
        options.setdefault("transaction", request.transaction)
        options.setdefault("message_type", CERTPOLL)
        message = PkiMessage(content, options.pop("identity", request.identity),
                             options.pop("recipient", Recipient(self.ra)), **options)
        message.csr = request.csr
        return message

    def post(self, data, headers=None, **options):
        headers = {"Content-Type": "application/x-pki-message"} if headers is None else headers
        return transport.request(
            self.url, "POST", target=transport.operation_target(self.url, "PKIOperation"),
            body=data, headers=headers, **options)

    def get(self, data, escaping="full", **options):
        target = transport.operation_target(self.url, "PKIOperation",
                                            transport.text_of(data, escaping))
        return transport.request(self.url, target=target, **options)

    def send(self, request, escaping="full"):
        """The HTTP response to a request."""
        if self.method == "GET":
            return self.get(request.der, escaping)
        return self.post(request.der)

    def exchange(self, request, escaping="full"):
        """The reply to a request, verified."""
        return self.read(self.send(request, escaping), request)

    def read(self, response, request, echo=True):
        """The reply in a response, verified. echo: see CertRep.verify()"""
        if response.status != 200:
            raise ProtocolError(f"{response.status} {response.body.decode(errors='replace')}")
        if response.type != "application/x-pki-message":
            raise ProtocolError(f"content type {response.type}")
        reply = CertRep(response.body)
        reply.verify(request, self.ra, self.leaf_only, self.strict, echo)
        reply.response = response
        return reply

    def enrol(self, key, challenge=None, subject="CN=device", extensions=(), csr_options=None,
              **options):
        """PKCSReq and its reply; the request is left in reply.request."""
        csr = Csr(key, subject, challenge, list(extensions), **(csr_options or {}))
        request = self.message(csr, **options)
        reply = self.exchange(request)
        reply.request = request
        return reply

    def poll(self, request, **options):
        message = self.poll_message(request, **options)
        reply = self.exchange(message)
        reply.request = request
        return reply

    def wait(self, request, seconds=10, interval=0.1):
        """Polls until the answer is final."""
        end = time.monotonic() + seconds
        while True:
            reply = self.poll(request)
            if not reply.pending or time.monotonic() > end:
                return reply
            time.sleep(interval)


def random_transaction():
    return os.urandom(16).hex()
