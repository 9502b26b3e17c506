# Licensed under the Apache License, Version 2.0. See LICENSE.
"""The stand-in of Entra ID, Graph and Intune: seen with plain requests over TLS."""

import base64
import hashlib
import http.client
import json
import ssl
import time
import urllib.parse
import uuid

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

import intune
from gatewayca import DER
from harness import pki
from intune import INTUNE_APP, PKI_VERSION, SCEP_VERSION, Intune
from scep import Csr

DISCOVERY = f"/v1.0/servicePrincipals/appId={INTUNE_APP}/endpoints"
TOKEN = "/contoso/oauth2/v2.0/token"
INTUNE_SCOPE = "https://api.manage.microsoft.com//.default"
DOWNLOAD = "/pki/CertificateAuthorityRequests/downloadRevocationRequests"
UPLOAD = "/pki/CertificateAuthorityRequests/uploadRevocationResults"
CALLER = "gatehouse/1.0"


@pytest.fixture
def service(tmp_path):
    made = Intune(tmp_path, tenants=("contoso", "fabrikam"))
    yield made
    made.close()
    made.check()


class Caller:
    def __init__(self, service):
        self.service = service
        self.context = ssl.create_default_context(cafile=service.tls.ca_path)

    def call(self, method, path, body=None, headers=None):
        connection = http.client.HTTPSConnection("127.0.0.1", self.service.port, timeout=10,
                                                 context=self.context)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text

    def token(self, scope, tenant="contoso", **form):
        fields = {"grant_type": "client_credentials", "client_id": f"app-{tenant}",
                  "scope": scope}
        if "client_assertion" not in form:
            fields["client_secret"] = "intune application secret"
        fields.update(form)
        return self.call("POST", f"/{tenant}/oauth2/v2.0/token", urllib.parse.urlencode(fields),
                         {"Content-Type": "application/x-www-form-urlencoded"})

    def bearer(self, scope=INTUNE_SCOPE, **more):
        status, answer = self.token(scope, **more)
        assert status == 200 and answer["token_type"] == "Bearer", answer
        return answer["access_token"]

    def post(self, path, value, token, version=SCEP_VERSION):
        return self.call("POST", path, json.dumps(value), {
            "Authorization": f"Bearer {token}", "Content-Type": "application/json",
            "api-version": version, "client-request-id": str(uuid.uuid4())})

    def discover(self, token):
        return self.call("GET", DISCOVERY, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def caller(service):
    return Caller(service)


def request(challenge, number=1):
    return base64.b64encode(Csr(pki.key(f"rsa2048-{number:02d}"), "CN=d", challenge).der).decode()


def validation(text, transaction="t1"):
    return {"request": {"transactionId": transaction, "certificateRequest": text,
                        "callerInfo": CALLER}}


def success(text, transaction="t1", **more):
    return {"notification": {
        "transactionId": transaction, "certificateRequest": text,
        "certificateThumbprint": "AB" * 20, "certificateSerialNumber": "0102", "issuingCertificateAuthority": "CN=CA",
        "certificateExpirationDateUtc": "2027-06-11T16:11:20.0000000Z", "callerInfo": CALLER,
        "caConfiguration": None, "certificateAuthority": None, **more}}


def test_tokens(service, caller):
    assert caller.token(INTUNE_SCOPE, client_secret="wrong") == (401, {
        "error": "invalid_client", "error_description":
        "AADSTS7000215: invalid client secret provided"})
    assert caller.token("https://elsewhere/.default")[1]["error"] == "invalid_scope"
    assert caller.token(INTUNE_SCOPE, tenant="nobody")[0] == 400
    service.scope_form = "single"
    assert "AADSTS500011" in caller.token(INTUNE_SCOPE)[1]["error_description"]
    assert caller.token("https://api.manage.microsoft.com/.default")[0] == 200
    service.scope_form = "any"
    service.token_seconds = 1
    token = caller.bearer()
    assert caller.post("/scep1/ScepActions/validateRequest", validation(request("ok-1")),
                       token)[0] == 200
    time.sleep(1.1)
    assert caller.post("/scep1/ScepActions/validateRequest", validation(request("ok-1")),
                       token)[0] == 401


def assertion(service, certificate, key, algorithm, **claims):
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    digest = hashlib.sha256(certificate.public_bytes(DER)).digest()
    now = int(time.time())
    told = {"aud": service.url + TOKEN, "iss": "app-contoso", "sub": "app-contoso",
            "jti": str(uuid.uuid4()), "nbf": now, "exp": now + 600, **claims}
    signed = part(json.dumps({"alg": algorithm, "typ": "JWT",
                              "x5t#S256": part(digest).decode()}).encode()) \
        + b"." + part(json.dumps(told).encode())
    form = padding.PKCS1v15() if algorithm == "RS256" \
        else padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    return (signed + b"." + part(key.sign(signed, form, hashes.SHA256()))).decode()


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
def test_tokens_by_certificate(service, caller, algorithm):
    certificate, key = intune.make_application_certificate(service.tls)
    more = {"client_assertion_type": intune.ASSERTION}
    text = assertion(service, certificate, key, algorithm)
    assert caller.token(INTUNE_SCOPE, client_assertion=text, **more)[0] == 401
    service.tenants["contoso"].certificate = certificate
    assert caller.token(INTUNE_SCOPE, client_assertion=text, **more)[0] == 200
    assert caller.token(INTUNE_SCOPE, client_assertion=text, **more)[0] == 401      # its jti
    for claims in ({"aud": service.url}, {"iss": "other"}, {"exp": int(time.time()) - 1}):
        text = assertion(service, certificate, key, algorithm, **claims)
        assert caller.token(INTUNE_SCOPE, client_assertion=text, **more)[0] == 401, claims
    text = assertion(service, certificate, pki.key("rsa2048-01"), algorithm)
    assert caller.token(INTUNE_SCOPE, client_assertion=text, **more)[0] == 401


def test_discovery(service, caller):
    scope = f"{service.url}/.default"
    status, found = caller.discover(caller.bearer(scope))
    uris = {one["providerName"].lower(): one["uri"] for one in found["value"]}
    assert status == 200 and uris["sceprequestvalidationfeservice"] \
        == f"{service.url}/scep1/" and uris["pkiconnectorfeservice"] == f"{service.url}/pki"
    assert caller.discover(caller.bearer())[0] == 401           # a token for something else
    service.move()
    assert f"{service.url}/scep2/" in str(caller.discover(caller.bearer(scope)))
    assert caller.post("/scep1/ScepActions/validateRequest", validation(request("ok-1")),
                       caller.bearer())[0] == 404
    tenant = service.tenants["contoso"]
    tenant.graph = False
    token = caller.bearer(scope)
    tenant.graph = True
    assert caller.discover(token)[1]["error"]["code"] == "Authorization_RequestDenied"
    tenant.intune = False
    assert "scep" not in str(caller.discover(caller.bearer(scope))[1]).lower()


def test_validation(caller):
    token = caller.bearer()

    def validate(text):
        return caller.post("/scep1/ScepActions/validateRequest", validation(text), token)

    assert validate(request("ok-1")) == (200, {"code": "Success", "errorDescription": ""})
    assert validate(request(None))[1]["code"] == "ChallengePasswordMissing"
    assert validate("AAAA")[1]["code"] == "CertificateRequestDecodingFailed"
    assert validate(request("code=ChallengeExpired"))[1]["code"] == "ChallengeExpired"
    assert validate(request("unheard of"))[1]["code"] == "ChallengeDecodingError"
    assert validate(request("http=500"))[0] == 500
    assert validate(request("garbage")) == (200, b"<html>garbage</html>")
    begin = time.monotonic()
    assert validate(request("sleep=0.5"))[0] == 200 and time.monotonic() - begin >= 0.5
    with pytest.raises((OSError, http.client.HTTPException)):
        validate(request("drop"))
    assert caller.post("/scep1/ScepActions/validateRequest", validation(request("ok-1")), token,
                       "2017-01-01")[0] == 400
    assert caller.post("/scep1/ScepActions/validateRequest", validation(request("ok-1")),
                       "none")[0] == 401


def test_notifications(service, caller):
    token, text = caller.bearer(), request("ok-1")
    paths = {kind: f"/scep1/ScepActions/{kind}Notification" for kind in ("success", "failure")}
    assert caller.post(paths["success"], success(text), token)[1]["code"] == "Unknown"
    caller.post("/scep1/ScepActions/validateRequest", validation(text), token)
    service.faults.add("code", on="success", times=1, value="SignatureValidationFailed")
    assert caller.post(paths["success"], success(text), token)[1]["code"] \
        == "SignatureValidationFailed"
    assert "success" not in service.transaction("t1")
    assert caller.post(paths["success"], success(request("ok-2")), token)[1]["code"] == "Unknown"
    assert caller.post(paths["success"], success(text), token)[1]["code"] == "Success"
    assert service.transaction("t1")["success"]["certificateSerialNumber"] == "0102"
    # another tenant knows nothing of it
    other = caller.bearer(tenant="fabrikam")
    assert caller.post(paths["success"], success(text), other)[1]["code"] == "Unknown"
    for wrong in ({"certificateThumbprint": "ab"}, {"certificateSerialNumber": ""},
                  {"certificateExpirationDateUtc": "tomorrow"}):
        assert caller.post(paths["success"], success(text, **wrong), token)[0] == 400
    failure = {"notification": {"transactionId": "t1", "certificateRequest": text,
                                "hResult": -2147418113, "errorDescription": "no",
                                "callerInfo": CALLER}}
    assert caller.post(paths["failure"], failure, token)[1]["code"] == "Success"
    failure["notification"]["errorDescription"] = "x" * 256
    assert caller.post(paths["failure"], failure, token)[0] == 400


def test_revocation(service, caller):
    token = caller.bearer()
    contexts = [service.add_revocation(serial, "CN=CA") for serial in ("01", "02", "03")]

    def download(most=100, issuer=None):
        return caller.post(DOWNLOAD, {"downloadParameters": {"maxRequests": most,
                                                             "issuerName": issuer}},
                           token, PKI_VERSION)[1]["value"]

    def upload(context, succeeded, code):
        return caller.post(UPLOAD, {"results": [{
            "requestContext": context, "succeeded": succeeded, "errorCode": code,
            "errorMessage": None if succeeded else "x"}]}, token, PKI_VERSION)

    assert download(issuer="CN=other") == []
    assert [r["requestContext"] for r in download(2)] == contexts[:2]
    service.pause = 0.5
    assert [r["serialNumber"] for r in download()] == ["03"]
    service.add_revocation("04", "CN=CA")
    assert download() == []
    time.sleep(0.6)
    assert [r["serialNumber"] for r in download()] == ["04"]
    service.faults.add("no", on="upload", times=1)
    assert upload(contexts[0], True, "None") == (200, {"value": False})
    service.faults.add("text", on="upload", times=1)
    assert upload(contexts[0], True, "None") == (200, {"value": "true"})
    assert upload(contexts[1], False, "4004") == (200, {"value": True})
    assert upload(contexts[1], True, "4004")[0] == 400
    assert upload("unknown", True, "None")[0] == 400
    assert upload(contexts[2], False, "ServiceTooBusyException")[0] == 200
    time.sleep(0.6)
    assert [r["serialNumber"] for r in download()] == ["03"]    # it is asked again
    assert caller.post(DOWNLOAD, {"downloadParameters": {"maxRequests": 501}}, token,
                       PKI_VERSION)[0] == 400


def test_faults(service, caller):
    service.faults.add("status", on="token", times=1, code=429, retry_after=3)
    assert caller.token(INTUNE_SCOPE)[0] == 429
    service.faults.add("lost", on="success", times=1)
    token, text = caller.bearer(), request("ok-1")
    caller.post("/scep1/ScepActions/validateRequest", validation(text), token)
    with pytest.raises((OSError, http.client.HTTPException)):
        caller.post("/scep1/ScepActions/successNotification", success(text), token)
    assert service.transaction("t1")["success"]
