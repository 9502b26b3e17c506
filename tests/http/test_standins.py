# Licensed under the Apache License, Version 2.0. See LICENSE.
"""The stand-in of a CA gateway does what one does, and fails as it is told to: seen with curl."""

import base64
import datetime
import json
import subprocess
import sys
import time

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from cagateway import CONTEXT, PASSPHRASE, Gateway
from harness import environment, pki
from harness.server import wait_until
from scep import Csr, extension
from scep.csr import other_name

PROFILE = "scep-digital-signature-key-encipherment"
CA = "/v1/certificate-authorities/CA1001"
ENROLL = CA + "/enrollments"
# exit statuses of curl
COULD_NOT_CONNECT, PARTIAL, TIMED_OUT, EMPTY, UNTRUSTED = 7, 18, 28, 52, 60
LOST = (EMPTY, 56)                      # with TLS, curl tells of an end without close_notify


class Curl:
    def __init__(self, gateway):
        self.gateway = gateway
        self.url = gateway.url
        self.client = gateway.tls.client_pem()
        self.tls_ca = str(gateway.tls.ca_path)

    def run(self, path, *options, client=None, body=None, seconds=20):
        """(exit status of curl, HTTP status, JSON or text, seconds)"""
        command = ["curl", "-sS", "--noproxy", "*", "--cacert", self.tls_ca, "-m", str(seconds),
                   "-w", "\n%{http_code} %{time_total} %header{retry-after}", *options]
        if client is not False:
            command += ["--cert", str(client or self.client)]
        if body is not None:
            command += ["-H", "Content-Type: application/json", "--data-binary", json.dumps(body)]
        done = subprocess.run([*command, self.url + path], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)
        text, _, last = done.stdout.rpartition("\n")
        status, took, *self.retry_after = last.split()
        try:
            text = json.loads(text)
        except ValueError:
            pass
        return done.returncode, int(status), text, float(took)

    def ok(self, path, *options, **more):
        code, status, value, _ = self.run(path, *options, **more)
        assert code == 0 and status in (200, 201, 202), (code, status, value)
        return value

    def refused(self, path, status, code, **more):
        done, got, value, _ = self.run(path, **more)
        assert (done, got) == (0, status), (done, got, value)
        assert value["type"] == "ErrorResponse" and value["error"]["code"] == code, value


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("gateway"))
    yield gateway
    gateway.close()


@pytest.fixture
def gateway(running):
    fresh = dict(hosted=True, events_lag=0.0, cursor_at_end=False, strict_actions=False, rate=None,
                 latency=0.0)
    running.faults.clear()
    for name, value in fresh.items():
        setattr(running, name, value)
    yield running
    running.check()


@pytest.fixture
def curl(gateway):
    return Curl(gateway)


def order(number=1, subject="CN=host1,O=Example", **more):
    csr = Csr(pki.key(f"rsa2048-{number:02d}"), subject, None,
              [extension("san", "DNS:of-the-csr.example")])
    return {"profileId": PROFILE, "csr": base64.b64encode(csr.der).decode(),
            "requiredFormat": {"format": "X509"}, "includeCa": True,
            "subjectAltNames": [{"type": "dNSName", "value": "host1.example"}],
            **more, "optionalCertificateRequestDetails": {
                "subjectDn": subject, **more.get("optionalCertificateRequestDetails", {})}}


def certificate(text):
    return x509.load_der_x509_certificate(base64.b64decode(text, validate=True))


def names(made):
    return made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def verify(gateway, made, ca="CA1001"):
    path = gateway.folder / "verify.pem"
    path.write_bytes(made.public_bytes(pki.PEM))
    subprocess.run(["openssl", "verify", "-x509_strict", "-CAfile",
                    gateway.folder / f"{ca}-root.pem", "-untrusted", gateway.folder / f"{ca}.pem",
                    path], check=True, stdout=subprocess.DEVNULL)


# who may speak

def test_a_client_without_certificate_is_refused(curl):
    code, status, *_ = curl.run("/v1", client=False)
    assert code != 0 and status == 0


def test_a_client_of_another_ca_is_refused(gateway, curl):
    other = gateway.tls.client_pem("stranger", issuer=pki.key("p521-01"))
    code, status, *_ = curl.run("/v1", client=other)
    assert code != 0 and status == 0


def test_clients_have_roles(gateway, curl):
    curl.refused("/v1", 403, "cagw-4031", client=gateway.tls.client_pem("nobody"))
    reader = gateway.tls.client_pem("reader")
    assert curl.ok(CA + "/status", client=reader)["status"] == "UP"
    curl.refused(ENROLL, 403, "cagw-4032", client=reader, body=order())


def test_the_credential_opens(gateway, curl):
    (gateway.folder / "pass").write_text(PASSPHRASE)
    pem = subprocess.run(["openssl", "pkcs12", "-in", gateway.credential, "-nodes", "-passin",
                          f"file:{gateway.folder}/pass"], check=True, stdout=subprocess.PIPE).stdout
    assert b"friendlyName: gateway" in pem and pem.count(b"BEGIN CERTIFICATE") == 2
    (gateway.folder / "from-p12.pem").write_bytes(pem)
    assert curl.ok("/v1", client=gateway.folder / "from-p12.pem")["type"] == "VersionResponse"


@pytest.mark.parametrize("kind", ["expired", "other-name", "other-issuer"])
def test_server_certificates(gateway, curl, kind):
    gateway.server_certificate(kind)
    try:
        assert curl.run("/v1")[0] == UNTRUSTED
    finally:
        gateway.server_certificate("good")
    curl.ok("/v1")


# what it knows

def test_cas_and_profiles(gateway, curl):
    listed = curl.ok("/v1/certificate-authorities")
    assert [ca["id"] for ca in listed["caList"]] == ["CA1001", "acme~devices"]
    assert listed["x-laterVersion"]     # what clients have to ignore
    for path in ("acme~devices", "acme%7Edevices"):
        one = curl.ok(f"/v1/certificate-authorities/{path}")["ca"]
        assert certificate(one["certificate"]["certificateData"]) \
            == gateway.cas["acme~devices"].certificate
        assert len(one["chain"]) == 2
    assert "certificate" not in curl.ok(CA + "?%24fields=ca.chain")["ca"]
    assert PROFILE in [p["id"] for p in curl.ok(CA + "/profiles")["profiles"]]
    assert curl.ok(f"{CA}/profiles/{PROFILE}")["profile"]["name"] == PROFILE
    assert curl.ok(CA + "/properties?fields=defaultPolicyOIDs")["type"] == "CAPropertiesResponse"
    curl.refused("/v1/certificate-authorities/none", 404, "cagw-4018")
    curl.refused(CA + "/profiles/none", 404, "cagw-4019")
    curl.refused("/v2", 404, "unknown")


# enrolment

def test_enrolment(gateway, curl):
    answer = curl.ok(ENROLL, body=order())["enrollment"]
    made = certificate(answer["body"])
    verify(gateway, made)
    assert made.subject.rfc4514_string() == "CN=host1,O=Example"
    assert list(names(made)) == [x509.DNSName("host1.example")]
    usage = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and usage.key_encipherment and not usage.key_cert_sign
    assert made.public_key().public_numbers() == pki.key("rsa2048-01").public_key().public_numbers()
    assert int(answer["serialNumber"], 16) == made.serial_number
    assert [certificate(c["certificateData"]) for c in answer["chain"]] \
        == [gateway.cas["CA1001"].certificate, gateway.root]
    assert gateway.issued(made.public_key())[-1].serial == made.serial_number
    found = curl.ok(f"{CA}/certificates/{answer['serialNumber'].upper()}")["certificate"]
    assert found["status"] == "normal" and certificate(found["certificateData"]) == made
    curl.refused(f"{CA}/certificates/1234", 404, "cagw-4040")
    curl.refused(f"/v1/certificate-authorities/acme~devices/certificates/{answer['serialNumber']}",
                 404, "cagw-4040")


def test_one_goes_on_where_another_has_ended(tmp_path):
    first = Gateway(tmp_path, keep=True)
    serial = Curl(first).ok(ENROLL, body=order())["enrollment"]["serialNumber"]
    Curl(first).ok(f"{CA}/certificates/{serial}/actions",
                   body={"action": {"type": "RevokeAction", "reason": "superseded"}})
    first.close()
    again = Gateway(tmp_path, keep=True)
    try:
        found = Curl(again).ok(f"{CA}/certificates/{serial}")["certificate"]
        assert found["status"] == "revoked"
        assert found["revocationInfo"]["reason"] == "superseded"
        verify(again, certificate(found["certificateData"]))
        assert [event.action for event in again.cas["CA1001"].events] == ["issued", "revoked"]
    finally:
        again.close()
    again.check()


def test_names_usages_and_extensions(gateway, curl):
    details = {"extensions": [
        {"oid": "2.5.29.37", "critical": False, "value": "1.3.6.1.5.5.7.3.2"},
        {"oid": "1.2.3.4", "critical": False, "value": base64.b64encode(b"\x05\x00").decode()}],
        "subjectDn": ""}
    alternative = [{"type": "rfc822Name", "value": "a@example.com"},
                   {"type": "IPADDRESS", "value": "10.0.0.1"},
                   {"type": "UserPrincipalName", "value": "müller@example.com"},
                   {"type": "uniformResourceIdentifier", "value": "urn:x"},
                   {"type": "directoryName", "value": "CN=x,O=y"},
                   {"type": "registeredID", "value": "1.2.3"}]
    body = order(optionalCertificateRequestDetails=details, subjectAltNames=alternative)
    made = certificate(curl.ok(ENROLL, body=body)["enrollment"]["body"])
    assert not list(made.subject) and len(list(names(made))) == 6
    assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) \
        == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert made.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.2.3.4"))
    several = base64.b64encode(extension("eku", "clientAuth", "emailProtection").value).decode()
    body["optionalCertificateRequestDetails"]["extensions"] = [
        {"oid": "2.5.29.37", "critical": False, "value": several}]
    body["subjectAltNames"] = [{"type": "otherName", "der": base64.b64encode(other_name(
        "1.2.840.113556.1.4.656", b"\x0c\x01x")).decode()}]
    made = certificate(curl.ok(ENROLL, body=body)["enrollment"]["body"])
    assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) \
        == [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.EMAIL_PROTECTION]
    assert list(names(made)) == [x509.OtherName(x509.ObjectIdentifier("1.2.840.113556.1.4.656"),
                                                b"\x0c\x01x")]
    details["extensions"] = [{"oid": "2.5.29.19", "critical": True, "value": "MAMBAf8="}]
    curl.refused(ENROLL, 400, "cagw-4011", body=order(optionalCertificateRequestDetails=details))


def test_names_of_the_csr(gateway, curl):
    use = order(optionalCertificateRequestDetails={"useSANFromCSR": True}, subjectAltNames=[])
    made = certificate(curl.ok(ENROLL, body=use)["enrollment"]["body"])
    with pytest.raises(x509.ExtensionNotFound):
        names(made)
    gateway.hosted = False
    made = certificate(curl.ok(ENROLL, body=use)["enrollment"]["body"])
    assert list(names(made)) == [x509.DNSName("of-the-csr.example")]


def test_formats(gateway, curl):
    text = curl.ok(ENROLL, body=order(requiredFormat={"format": "PEM"}))["enrollment"]["body"]
    assert x509.load_pem_x509_certificate(text.encode())
    protection = {"type": "PasswordProtection", "password": "of the file"}
    made = curl.ok(ENROLL, body=order(
        requiredFormat={"format": "PKCS12", "protection": protection}))["enrollment"]["body"]
    from cryptography.hazmat.primitives.serialization import pkcs12
    key, own, chain = pkcs12.load_key_and_certificates(base64.b64decode(made), b"of the file")
    assert own.public_key().public_numbers() == key.public_key().public_numbers()
    assert [one.subject for one in chain] == [own.issuer, gateway.root.subject]
    gateway.faults.add("key-of-another", on="enroll", times=1)
    made = curl.ok(ENROLL, body=order(
        requiredFormat={"format": "PKCS12", "protection": protection}))["enrollment"]["body"]
    key, own, chain = pkcs12.load_key_and_certificates(base64.b64decode(made), b"of the file")
    assert own is None and len(chain) == 3
    curl.refused(ENROLL, 400, "cagw-4003", body=order(requiredFormat={"format": "PKCS12"}))


@pytest.mark.parametrize("text,days", [
    ("2026-01-01T00:00Z/2026-01-31T00:00:00Z", 30), ("P30D", 30), ("PT3600S", 0), ("P1Y", 365),
    ("2026-01-01T00:00:00.123456789Z/2026-01-02T00:00:00Z", 1)])
def test_validity(curl, text, days):
    body = order(optionalCertificateRequestDetails={"validityPeriod": text})
    made = certificate(curl.ok(ENROLL, body=body)["enrollment"]["body"])
    assert (made.not_valid_after - made.not_valid_before).days == days


def test_what_is_refused(curl):
    curl.refused(ENROLL, 404, "cagw-4019", body=order(profileId="none"))
    one = order()
    for text in ("-----BEGIN CERTIFICATE REQUEST-----", one["csr"][:64] + "\n" + one["csr"][64:],
                 one["csr"][:100], None):
        curl.refused(ENROLL, 400, "cagw-4002", body={**one, "csr": text})
    spoilt = base64.b64encode(Csr(pki.key("rsa2048-01"), "CN=x", bad_signature=True).der).decode()
    curl.refused(ENROLL, 400, "cagw-4008", body={**one, "csr": spoilt})
    curl.refused(ENROLL, 400, "cagw-4009", body=order(
        subjectAltNames=[{"type": "shoeSize", "value": "43"}]))
    for text, code in (("P100Y", "cagw-4027"), ("soon", "cagw-4001"), ("P", "cagw-4001"),
                       ("2026-01-02T00:00Z/2026-01-01T00:00Z", "cagw-4001")):
        curl.refused(ENROLL, 400, code, body=order(
            optionalCertificateRequestDetails={"validityPeriod": text}))
    curl.refused(ENROLL, 400, "cagw-4006", body=order(
        optionalCertificateRequestDetails={"subjectDn": "no name"}))


# certificates

def act(curl, serial, kind, reason="unspecified"):
    return {"path": f"{CA}/certificates/{serial}/actions",
            "body": {"action": {"type": kind, "reason": reason, "issueCrl": "true"}}}


def test_actions(gateway, curl):
    serial = curl.ok(ENROLL, body=order())["enrollment"]["serialNumber"]

    def status():
        return curl.ok(f"{CA}/certificates/{serial}")["certificate"]["status"]

    for kind, after in (("HoldAction", "held"), ("UnholdAction", "normal"),
                        ("RevokeAction", "revoked"), ("RevokeAction", "revoked")):
        done = curl.ok(**act(curl, serial, kind, "keyCompromise"))["action"]
        assert done["status"] == "COMPLETED" and done["succeedIfAlreadyInRequestedState"]
        assert status() == after
    curl.refused(**act(curl, serial, "UnholdAction"), status=400, code="cagw-4013")
    curl.refused(**act(curl, serial, "RenewAction"), status=501, code="cagw-5010")
    curl.refused(**act(curl, serial, "RevokeAction", "mood"), status=400, code="cagw-4012")
    gateway.strict_actions = True
    curl.refused(**act(curl, serial, "RevokeAction"), status=409, code="cagw-4091")


def events(curl, start, size=3):
    """All events since then, page by page."""
    found, position = [], None
    while True:
        query = f"nextPageIndex={position}" if position else f"startDate={start}"
        page = curl.ok(f"{CA}/certificate-events?preferredPageSize={size}&{query}")
        assert len(page["events"]) <= size + 1
        found += page["events"]
        position = page.get("nextPageIndex")
        if not page["morePages"]:
            return found, position


def now():
    return datetime.datetime.utcnow().strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_events(gateway, curl):
    time.sleep(1)                       # dates of events have no fractions here
    start = now()
    serials = [curl.ok(ENROLL, body=order(1 + n % 3))["enrollment"]["serialNumber"]
               for n in range(7)]
    curl.ok(**act(curl, serials[2], "RevokeAction", "superseded"))
    found, position = events(curl, start)
    assert [(e["action"], e["serialNumber"]) for e in found] \
        == [("issued", s) for s in serials] + [("revoked", serials[2])]
    assert found[-1]["reason"] == "superseded" and position is None
    assert f"{certificate(found[0]['certificate']).serial_number:x}".lstrip("0") \
        == serials[0].lower().lstrip("0")
    gateway.cursor_at_end = True
    _, position = events(curl, start)
    curl.ok(ENROLL, body=order())
    page = curl.ok(f"{CA}/certificate-events?nextPageIndex={position}"
                   "&%24fields=-events.certificate")
    assert len(page["events"]) == 1 and "certificate" not in page["events"][0]


def test_events_lag(gateway, curl):
    start = now()
    gateway.events_lag = 1.0
    curl.ok(ENROLL, body=order())
    assert events(curl, start)[0] == []
    wait_until(lambda: len(events(curl, start)[0]) == 1, 5, what="the event")


def test_a_bad_event_in_a_page(gateway, curl):
    start = now()
    gateway.faults.add("bad-event", on="events", times=1)
    curl.ok(ENROLL, body=order())
    found, _ = events(curl, start)
    assert len(found) == 2 and "\x01" in found[0]["serialNumber"]


# faults

def test_latency(gateway, curl):
    gateway.faults.add("latency", seconds=0.7, times=1)
    assert curl.run("/v1")[3] >= 0.7
    assert curl.run("/v1")[3] < 0.7
    gateway.faults.add("hang", times=1)
    before = len(gateway.issued())
    assert curl.run(ENROLL, body=order(), seconds=1)[0] == TIMED_OUT
    assert len(gateway.issued()) == before


@pytest.mark.parametrize("code", [429, 500, 502, 503])
def test_statuses(gateway, curl, code):
    before = len(gateway.issued())
    gateway.faults.add("status", on="enroll", times=1, code=code, retry_after=7)
    curl.refused(ENROLL, code, f"fault-{code}", body=order())
    assert curl.retry_after == ["7"]
    gateway.faults.add("status", on="enroll", times=1, code=code, bare=True)
    assert curl.run(ENROLL, body=order())[1:3] == (code, "")
    assert len(gateway.issued()) == before
    gateway.faults.add("failed", on="enroll", times=1, code=code)
    curl.refused(ENROLL, code, f"fault-{code}", body=order())
    assert len(gateway.issued()) == before + 1


@pytest.mark.parametrize("kind,exits,made", [
    ("drop", LOST, 0), ("lost", LOST, 1), ("half", (PARTIAL, 56), 1), ("deaf", (TIMED_OUT,), 1)])
def test_broken_connections(gateway, curl, kind, exits, made):
    before = len(gateway.issued())
    gateway.faults.add(kind, on="enroll", times=1)
    assert curl.run(ENROLL, body=order(), seconds=2)[0] in exits
    assert len(gateway.issued()) == before + made
    curl.ok(ENROLL, body=order())


def test_broken_answers(gateway, curl):
    gateway.faults.add("malformed", on="enroll", times=1)
    code, status, text, _ = curl.run(ENROLL, body=order())
    assert (code, status) == (0, 200) and isinstance(text, str) and text.startswith("{")
    first = curl.ok(ENROLL, body=order(1))
    gateway.faults.add("stale", on="enroll", times=1)
    assert curl.ok(ENROLL, body=order(2)) == first
    gateway.faults.add("repeat", on="enroll", times=1)
    assert curl.ok(ENROLL, body=order(3))["enrollment"]["body"]
    gateway.faults.add("error", on="enroll", times=1, message="not today")
    value = curl.ok(ENROLL, body=order())
    assert value["type"] == "ErrorResponse" and value["error"]["message"] == "not today"
    gateway.faults.add("no-chain", on="enroll", times=1)
    assert "chain" not in curl.ok(ENROLL, body=order())["enrollment"]
    gateway.faults.add("short-dates", on="enroll", times=1)
    assert curl.ok(ENROLL, body=order())["enrollment"]["validityPeriod"].count(":") == 2


@pytest.mark.parametrize("kind", ["other-key", "other-issuer", "forged-issuer", "more-usages",
                                  "more-names", "other-subject", "past", "ca"])
def test_wrong_certificates(gateway, curl, kind):
    good = certificate(curl.ok(ENROLL, body=order())["enrollment"]["body"])
    gateway.faults.add(kind, on="enroll", times=1)
    wrong = certificate(curl.ok(ENROLL, body=order())["enrollment"]["body"])

    def differs(what):
        return what(wrong) != what(good)

    def of(extension_class):
        def value(made):
            try:
                return made.extensions.get_extension_for_class(extension_class).value
            except x509.ExtensionNotFound:
                return None
        return value

    differences = {
        "other-key": lambda c: c.public_key().public_numbers(), "other-issuer": lambda c: c.issuer,
        "forged-issuer": of(x509.AuthorityKeyIdentifier), "more-usages": of(x509.ExtendedKeyUsage),
        "more-names": of(x509.SubjectAlternativeName), "other-subject": lambda c: c.subject,
        "past": lambda c: c.not_valid_after, "ca": of(x509.BasicConstraints)}
    assert differs(differences[kind])


def test_accepted_and_there_later(gateway, curl):
    before = len(gateway.issued())
    gateway.faults.add("accepted", on="enroll", times=1, delay=1.0, serial=True)
    answer = curl.ok(ENROLL, body=order())["enrollment"]
    assert answer["id"] and "body" not in answer
    curl.refused(f"{CA}/certificates/{answer['serialNumber']}", 404, "cagw-4040")
    wait_until(lambda: curl.run(f"{CA}/certificates/{answer['serialNumber']}")[1] == 200, 5,
               what="the certificate")
    assert len(gateway.issued()) == before + 1
    gateway.faults.add("accepted", on="enroll", times=1)
    assert "serialNumber" not in curl.ok(ENROLL, body=order())["enrollment"]


def test_two_certificates_for_one_order(gateway, curl):
    public = pki.key("rsa2048-04").public_key()
    before = len(gateway.issued(public))
    gateway.faults.add("twice", on="enroll", times=1)
    curl.ok(ENROLL, body=order(4))
    assert len(gateway.issued(public)) == before + 2


def test_rate(gateway, curl):
    gateway.rate = 2
    statuses = [curl.run(ENROLL, body=order())[1] for _ in range(4)]
    assert statuses[:2] == [200, 200] and 429 in statuses[2:]


def test_shares_depend_on_the_seed_alone(gateway):
    def drawn(seed):
        gateway.faults.clear()
        gateway.faults.seed(seed)
        gateway.faults.add("drop", on="enroll", share=0.3, skip=2)
        return [bool(gateway.faults.meet("enroll")) for _ in range(200)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert drawn(1)[:2] == [False, False] and 30 < sum(drawn(1)) < 90


def test_down_and_up(gateway, curl):
    curl.ok(ENROLL, body=order())
    before = len(gateway.issued())
    gateway.stop()
    assert curl.run("/v1")[0] == COULD_NOT_CONNECT
    gateway.start()
    curl.ok("/v1")
    assert len(gateway.issued()) == before


def test_as_a_program(tmp_path):
    process = subprocess.Popen(
        [sys.executable, environment.SOURCE / "tests/fixtures/cagateway.py", "--dir", tmp_path,
         "--ca", "CA7", "--latency", "0.1"], stdout=subprocess.PIPE, text=True)
    try:
        told = json.loads(process.stdout.readline())

        def control(name, **arguments):
            done = subprocess.run(
                ["curl", "-sS", "--noproxy", "*", "--data-binary", json.dumps(arguments),
                 f"{told['control']}/{name}"], check=True, stdout=subprocess.PIPE)
            return json.loads(done.stdout)

        client = tmp_path / "client.pem"
        client.write_bytes(subprocess.run(
            ["openssl", "pkcs12", "-in", told["credential"], "-nodes", "-passin", "stdin"],
            input=told["passphrase"].encode() + b"\n", stdout=subprocess.PIPE, check=True).stdout)
        base = ["curl", "-sS", "--noproxy", "*", "--cacert", told["tls_ca"], "--cert", client]
        enroll = [*base, "-H", "Content-Type: application/json", "--data-binary",
                  json.dumps(order()), f"{told['url']}/v1/certificate-authorities/CA7/enrollments"]
        assert told["url"].endswith(CONTEXT)
        assert b'"body"' in subprocess.run(enroll, check=True, stdout=subprocess.PIPE).stdout
        control("fault", kind="lost", on="enroll", times=1)
        assert subprocess.run(enroll, stderr=subprocess.DEVNULL, check=False).returncode in LOST
        assert list(control("per_key")["value"].values()) == [2]
        assert [i["status"] for i in control("issued")["value"]] == ["normal"] * 2
        calls = control("calls", endpoint="enroll")["value"]
        assert [call["faults"] for call in calls] == [[], ["lost"]]
        assert [call["status"] for call in calls] == [200, None]
        assert "error" in control("manners", nothing=1) and "error" in control("nonsense")
        control("manners", events_lag=3.0)
        assert control("state")["value"]["defects"] == []
        control("stop")
        assert subprocess.run(enroll, stderr=subprocess.DEVNULL, check=False).returncode \
            == COULD_NOT_CONNECT
    finally:
        process.terminate()
        assert process.wait(10) == 0
