# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Sends messages and reads what comes back."""

import base64
import http.client
import ssl
import urllib.parse
from dataclasses import dataclass, field
from xml.etree import ElementTree

from cryptography import x509

from . import envelope as e

NAMES = {"s": e.SOAP, "a": e.ADDRESSING, "o": e.WSSE, "u": e.WSU, "t": e.TRUST, "w": e.ENROLMENT,
         "x": e.POLICY}
NIL = f"{{{e.XSI}}}nil"


class Fault(Exception):
    """A SOAP fault."""

    def __init__(self, status, root):
        fault = root.find("s:Body/s:Fault", NAMES)
        self.status = status
        self.code = fault.findtext("s:Code/s:Value", None, NAMES)
        self.reason = fault.findtext("s:Reason/s:Text", None, NAMES)
        self.language = fault.find("s:Reason/s:Text", NAMES).get(
            "{http://www.w3.org/XML/1998/namespace}lang")
        self.relates_to = root.findtext("s:Header/a:RelatesTo", None, NAMES)
        self.detail = fault.find("s:Detail/w:CertificateEnrollmentWSDetail", NAMES)
        code = self.find("ErrorCode")
        self.hresult = None if code is None else int(code) & 0xFFFFFFFF
        self.invalid = self.find("InvalidRequest") == "true"
        self.request_id = self.find("RequestID")
        self.number = self.reason.split(":")[0]
        super().__init__(f"{self.code} {self.reason} {self.hresult and hex(self.hresult)}")

    def find(self, name):
        node = None if self.detail is None else self.detail.find(f"w:{name}", NAMES)
        return None if node is None or node.get(NIL) == "true" else node.text


@dataclass
class Response:
    status: int
    headers: object
    body: bytes

    @property
    def root(self):
        return ElementTree.fromstring(self.body)


@dataclass
class Issued:
    """The answer to Issue and QueryTokenStatus."""
    message: str
    request_id: str
    response: bytes
    certificate: object = None
    reference: str = None
    relates_to: str = None
    action: str = None
    stamped: bool = False


@dataclass
class Policy:
    """One template."""
    name: str
    oid: str
    cas: list
    node: object = field(repr=False)

    def text(self, path):
        return self.node.findtext("x:attributes/" + "/".join(f"x:{n}" for n in path.split("/")),
                                  None, NAMES)


@dataclass
class Policies:
    id: str
    name: str
    hours: int
    not_changed: str
    policies: dict
    cas: dict
    oids: dict
    root: object = field(repr=False)


class Client:
    def __init__(self, url, user=None, password=None, timeout=60, context=None):
        self.url = url
        self.user = user
        self.password = password
        self.timeout = timeout
        self.context = context or ssl._create_unverified_context()

    def send(self, body, content_type="application/soap+xml; charset=utf-8", method="POST",
             headers=None, url=None):
        """One HTTP request."""
        parts = urllib.parse.urlsplit(url or self.url)
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(parts.netloc, timeout=self.timeout,
                                                     context=self.context)
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=self.timeout)
        try:
            data = str(body).encode() if not isinstance(body, (bytes, type(None))) else body
            sent = {"Content-Type": content_type} if content_type else {}
            try:
                connection.request(method, parts.path, data, {**sent, **(headers or {})})
            except (BrokenPipeError, ConnectionResetError):
                pass        # the answer may be there before all was sent
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def call(self, message):
        """Sends an envelope. @return the root of the answer"""
        response = self.send(message)
        if not response.headers["Content-Type"].startswith("application/soap+xml"):
            raise AssertionError(f"{response.status} {response.body[:300]}")
        root = response.root
        if root.find("s:Body/s:Fault", NAMES) is not None:
            raise Fault(response.status, root)
        assert response.status == 200, response.status
        return root

    def envelope(self, action, body, **options):
        options = {"user": self.user, "password": self.password, "to": self.url, **options}
        return e.Envelope(action, body, **options)

    # WSTEP

    def request(self, body, **options):
        message = self.envelope(options.pop("action", e.RST), body, **options)
        answer = self.call(message)
        assert answer.findtext("s:Header/a:RelatesTo", None, NAMES) == message.message_id
        return self.read(answer)

    @staticmethod
    def read(root):
        responses = root.findall("s:Body/t:RequestSecurityTokenResponseCollection/"
                                 "t:RequestSecurityTokenResponse", NAMES)
        assert len(responses) == 1
        node = responses[0]
        assert node.findtext("t:TokenType", None, NAMES) == e.X509V3
        token = node.find("o:BinarySecurityToken", NAMES)
        certificate = node.findtext("t:RequestedSecurityToken/o:BinarySecurityToken", None, NAMES)
        reference = node.find("t:RequestedSecurityToken/o:SecurityTokenReference/o:Reference",
                              NAMES)
        return Issued(
            node.findtext("w:DispositionMessage", None, NAMES),
            node.findtext("w:RequestID", None, NAMES),
            None if token is None else base64.b64decode(token.text),
            certificate and x509.load_der_x509_certificate(base64.b64decode(certificate)),
            None if reference is None else reference.get("URI"),
            root.findtext("s:Header/a:RelatesTo", None, NAMES),
            root.findtext("s:Header/a:Action", None, NAMES),
            root.find("s:Header/o:Security/u:Timestamp", NAMES) is not None)

    def issue(self, token, request_options=None, **options):
        return self.request(e.request(e.ISSUE, token, **(request_options or {})), **options)

    def query(self, request_id, **options):
        return self.request(e.request(e.QUERY, request_id=request_id), **options)

    # XCEP

    def policies(self, body=None, **options):
        root = self.call(self.envelope(e.GET_POLICIES, body or e.get_policies(), **options))
        answer = root.find("s:Body/x:GetPoliciesResponse", NAMES)
        response = answer.find("x:response", NAMES)
        oids = {o.findtext("x:oIDReferenceID", None, NAMES):
                (o.findtext("x:value", None, NAMES), int(o.findtext("x:group", None, NAMES)))
                for o in answer.findall("x:oIDs/x:oID", NAMES)}
        cas = {c.findtext("x:cAReferenceID", None, NAMES): c
               for c in answer.findall("x:cAs/x:cA", NAMES)}
        policies = {}
        for node in response.findall("x:policies/x:policy", NAMES):
            policy = Policy(node.findtext("x:attributes/x:commonName", None, NAMES),
                            oids[node.findtext("x:policyOIDReference", None, NAMES)][0],
                            [cas[r.text] for r in node.findall("x:cAs/x:cAReference", NAMES)],
                            node)
            assert policy.name not in policies
            policies[policy.name] = policy
        return Policies(response.findtext("x:policyID", None, NAMES),
                        response.findtext("x:policyFriendlyName", None, NAMES),
                        int(response.findtext("x:nextUpdateHours", None, NAMES)),
                        response.findtext("x:policiesNotChanged", None, NAMES), policies, cas,
                        oids, root)
