# Licensed under the Apache License, Version 2.0. See LICENSE.
"""gatehousectl scep explain on messages as they were captured, of our client and of real ones."""

import base64
import http.client
import http.server
import json
import subprocess
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from harness import environment, standard
from harness.checks import serial_text
from harness.pki import Authority
from harness.server import CHALLENGE
from scep import Csr, der, extension, identity as identities
from scep.message import Recipient
from scep.transport import operation_target, text_of

SECRET = CHALLENGE
SCEP_SUBMIT = "/usr/lib/certmonger/scep-submit"
FAIL_INFO_TEXT = "1.3.6.1.5.5.7.24.1"


def content(server):
    # some messages here are encrypted to the root, which takes RSA
    server.authority = Authority(server.root / "ca", root_key="rsa4096-01")
    return standard.content(server)


@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server(content)


@pytest.fixture(scope="module")
def client(server):
    return server.client(standard.STATIC)


def csr_of(number=1, subject="CN=explained,O=Example", **options):
    return Csr(standard.device_key(number), subject, SECRET,
               [extension("san", "DNS:explained.example.org"), extension("eku", "clientAuth")],
               **options)


def run(*arguments, data=None, conf=None):
    """Runs it twice, for people and with --json; neither says the secret."""
    outputs = []
    for options in ([], ["--json"]):
        command = [environment.gatehousectl(), *options]
        if conf:
            command += ["-f", str(conf)]
        command += ["scep", "explain", *map(str, arguments)]
        outputs.append(subprocess.run(command, input=data, check=False, timeout=60,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      env=environment.variables()))
    text, made = outputs
    for output in outputs:
        assert SECRET.encode() not in output.stdout + output.stderr
        assert b"\x1b" not in output.stdout + output.stderr
    assert text.returncode == made.returncode
    return text.returncode, text.stdout.decode(), made.stdout.decode(), text.stderr.decode()


def explain(data, *arguments, conf=None):
    """The object for a message on standard input, and what people read."""
    status, text, made, errors = run("-", *arguments, data=data, conf=conf)
    assert status == 0, errors
    assert len(made.splitlines()) == 1
    return json.loads(made), text


def broken(judgement):
    return {rule["rule"]: rule["gh"] for rule in judgement["rules"]
            if rule["verdict"] == "broken"}


def test_request(client, tmp_path):
    request = client.message(csr_of())
    path = tmp_path / "message"
    path.write_bytes(request.der)
    status, text, made, _ = run(path)
    seen = json.loads(made)
    assert status == 0
    assert seen["kind"] == "request" and seen["form"] == "DER"
    assert seen["bytes"] == len(request.der)
    assert seen["message_type"] == {"number": 19, "name": "PKCSReq"}
    assert seen["transaction"] == request.transaction
    assert seen["sender_nonce"] == request.sender_nonce.hex()
    assert seen["signer"]["subject"] == "O=Example,CN=explained"
    assert seen["signer"]["self_signed"] is True and seen["signer"]["key"] == "RSA-2048"
    assert seen["signature"] == {
        "digest": {"name": "sha256", "oid": "2.16.840.1.101.3.4.2.1"},
        "algorithm": {"name": "rsaEncryption", "oid": "1.2.840.113549.1.1.1"},
        "valid": True, "problem": None}
    assert seen["cipher"] == {"name": "aes-128-cbc", "oid": "2.16.840.1.101.3.4.1.2"}
    ra = x509.load_der_x509_certificate(client.ra)
    [recipient] = seen["recipients"]
    assert int(recipient["serial"], 16) == ra.serial_number
    assert recipient["issuer"] == ra.issuer.rfc4514_string()
    assert recipient["known"] is None and recipient["accepted"] is True
    assert {a["name"] for a in seen["attributes"]} >= {"messageType", "transactionID",
                                                       "senderNonce", "messageDigest"}
    [judgement] = seen["judgements"]
    assert judgement["verdict"] == "unknown" and judgement["locations"] == []
    assert "-f HTTPD_CONF" in seen["note"]
    for line in ("19 PKCSReq", request.transaction, "aes-128-cbc (2.16.840.1.101.3.4.1.2)",
                 "signature        valid", "The envelope was not opened"):
        assert line in text, text


@pytest.mark.parametrize("escaping", ["full", "raw", "equals", "lines", "blanks", "unpadded"])
def test_urls(client, server, escaping):
    request = client.message(csr_of())
    target = operation_target(client.url, "PKIOperation", text_of(request.der, escaping))
    for text in (target, f"http://pki.example.org{target}\n",
                 f'192.0.2.7 - - [20/Nov/2026:10:00:00 +0000] "GET {target} HTTP/1.1" 200 17\n'):
        seen, _ = explain(text.encode(), conf=server.conf)
        assert seen["form"] == "URL" and seen["bytes"] == len(request.der)
        assert seen["location"] == standard.STATIC
        assert seen["transaction"] == request.transaction
        [judgement] = seen["judgements"]
        assert judgement["locations"] == [standard.STATIC]
        assert judgement["verdict"] == "accepted" and judgement["issuer"] == "devices"


def test_base64_and_pem(client):
    request = client.message(csr_of())
    lines = base64.encodebytes(request.der)
    assert explain(lines)[0]["form"] == "base64"
    pem = b"-----BEGIN PKCS7-----\n" + lines + b"-----END PKCS7-----\n"
    seen, _ = explain(pem)
    assert seen["form"] == "PEM" and seen["transaction"] == request.transaction


def test_whom_it_is_for(client, server):
    seen, text = explain(client.message(csr_of()).der, conf=server.conf)
    [recipient] = seen["recipients"]
    assert recipient["known"] == {"issuer": "devices", "role": "RA", "generation": 1,
                                  "state": "usable"}
    assert "RA of issuer devices, generation 1, usable" in text
    places = {tuple(j["allow"]): j for j in seen["judgements"]}
    assert set(places) == {(), ("3des", "sha1")}
    assert all(j["verdict"] == "accepted" and j["issuer"] == "devices" for j in places.values())
    assert standard.LEGACY in places["3des", "sha1"]["locations"]
    assert {standard.STATIC, standard.BETA} <= set(places[()]["locations"])


def test_for_another_issuer(client, server):
    """What everybody does once: the certificate of one CA, the URL of another."""
    other = server.client("/scep/acme/other/scep-digital-signature-key-encipherment")
    der_ = client.message(csr_of(), recipient=Recipient(other.ra)).der
    seen, text = explain(der_, "--location", standard.STATIC, conf=server.conf)
    [judgement] = seen["judgements"]
    assert judgement["verdict"] == "refused" and broken(judgement) == {
        "message.recipient": "GH0202"}
    assert seen["recipients"][0]["known"]["issuer"] == "other"
    assert "GH0202" in text and "GetCACert again" in text


def test_to_the_ca(client, server):
    """Encrypted to a CA instead of the RA, as clients do that choose by name."""
    der_ = client.message(csr_of(), recipient=Recipient(client.certificates[2])).der
    seen, text = explain(der_, conf=server.conf)
    assert seen["recipients"][0]["known"] == {"issuer": "devices", "role": "chain",
                                              "generation": 0, "state": "usable"}
    [judgement] = seen["judgements"]
    assert broken(judgement) == {"message.recipient": "GH0202"}
    assert "above the CA of issuer devices" in text


def test_to_an_ra_that_was_withdrawn(make_server):
    server = make_server(content)
    client = server.client(standard.STATIC)
    message = client.message(csr_of()).der
    serial = serial_text(x509.load_der_x509_certificate(client.ra).serial_number)
    server.ctl_ok("cert", "revoke", serial)
    seen, text = explain(message, "--location", standard.STATIC, conf=server.conf)
    assert seen["recipients"][0]["known"]["state"] == "withdrawn"
    assert broken(seen["judgements"][0]) == {"message.recipient": "GH0202"}
    assert "generation 1, withdrawn" in text


def test_location(client, server):
    legacy = client.message(csr_of(), cipher="3des", digest="sha1").der
    for location, verdict, numbers in (
            (standard.STATIC, "refused", {"message.digest": "GH0195", "message.cipher": "GH0200"}),
            (standard.LEGACY, "accepted", {}),
            (standard.LEGACY + "/pkiclient.exe", "accepted", {})):
        seen, text = explain(legacy, "--location", location, conf=server.conf)
        [judgement] = seen["judgements"]
        assert judgement["verdict"] == verdict and broken(judgement) == numbers
        assert all(number in text for number in numbers.values())
        assert ("SCEPAllow sha1 admits" in text) == bool(numbers)
    plain, _ = explain(legacy)
    assert [(j["allow"], j["verdict"]) for j in plain["judgements"]] == [
        ([], "refused"), (["3des", "sha1"], "unknown")]
    assert plain["signature"]["digest"]["name"] == "sha1"
    assert plain["cipher"]["name"] == "des-ede3-cbc"


def test_location_unknown(client, server):
    message = client.message(csr_of()).der
    status, text, _, errors = run("-", "--location", "/scep/acme/devices/nonsense", data=message,
                                  conf=server.conf)
    assert status == 3 and not text and "GH0426" in errors
    status, text, _, errors = run("-", "--location", standard.STATIC, data=message)
    assert status == 2 and not text and "GH0425" in errors
    url = "/scep/acme/devices/nonsense?operation=PKIOperation&message=" + text_of(message)
    seen, _ = explain(url.encode(), conf=server.conf)
    assert "no location" in seen["note"] and seen["judgements"][0]["locations"] == []


def test_oaep(client, server):
    for digest, accepted in (("sha1", True), ("sha256", True), ("sha224", False)):
        recipient = Recipient(client.ra, "oaep", digest)
        seen, text = explain(client.message(csr_of(), recipient=recipient).der,
                             "--location", standard.STATIC, conf=server.conf)
        assert seen["recipients"][0]["oaep"] == {
            "digest": digest, "mask": "mgf1", "mask_digest": digest, "label_bytes": 0}
        assert seen["recipients"][0]["transport"] == {"name": "rsaesOaep",
                                                      "oid": "1.2.840.113549.1.1.7"}
        assert seen["recipients"][0]["accepted"] is accepted
        assert broken(seen["judgements"][0]) == (
            {} if accepted else {"message.transport": "GH0203"})
        assert f"{digest}, mgf1 with {digest}" in text


def test_everything_wrong_at_once(client, server):
    request = client.message(csr_of(), cipher="des", digest="md5", bad_signature=True,
                             message_type="99", omit={"transactionID", "senderNonce"})
    seen, text = explain(request.der, "--location", standard.STATIC, conf=server.conf)
    assert broken(seen["judgements"][0]) == {
        "message.unknown-type": "GH0225", "message.transaction": "GH0190",
        "message.nonce": "GH0191", "message.digest": "GH0195", "message.signature": "GH0197",
        "message.cipher": "GH0200"}
    assert seen["signature"]["valid"] is False
    assert "NOT valid" in text and "99 unknown" in text


def test_verdicts_are_those_of_the_server(client, server):
    """The first rule that is broken is the one that the audit log names."""
    for options in ({"bad_signature": True}, {"digest": "sha1"}, {"cipher": "3des"},
                    {"message_type": "18"}, {"omit": {"senderNonce"}},
                    {"recipient": Recipient(client.certificates[2])}):
        request = client.message(csr_of(), **options)
        response = client.post(request.der)
        event = [line for line in server.audit()
                 if line["id"] == response.headers["X-Request-Id"]]
        seen, _ = explain(request.der, "--location", standard.STATIC, conf=server.conf)
        numbers = broken(seen["judgements"][0])
        assert [line["gh"] for line in event] == list(numbers.values()), options
        assert [line["rule"] for line in event] == list(numbers), options


def test_poll_and_renewal_are_requests(client, server):
    request = client.message(csr_of())
    seen, _ = explain(client.poll_message(request).der, conf=server.conf)
    assert seen["message_type"] == {"number": 20, "name": "CertPoll"}
    assert seen["transaction"] == request.transaction
    seen, _ = explain(client.message(csr_of(), message_type="17").der)
    assert seen["message_type"]["name"] == "RenewalReq" and broken(seen["judgements"][0]) == {}


def test_replies(server, client, subject):
    manual = server.client(standard.MANUAL)
    cases = (
        (client, CHALLENGE, "SUCCESS", None),
        (client, "seeded-wrong-secret", "FAILURE", "badRequest"),
        (manual, CHALLENGE, "PENDING", None),
    )
    for number, (where, challenge, status, fail_info) in enumerate(cases, 2):
        reply = where.enrol(standard.device_key(number), challenge, f"{subject},OU={number}")
        seen, text = explain(reply.response.body, conf=server.conf)
        assert seen["kind"] == "reply" and seen["message_type"]["name"] == "CertRep"
        assert seen["pki_status"]["name"] == status
        assert (seen["fail_info"] or {}).get("name") == fail_info
        assert (seen["fail_text"] is not None) == (status == "FAILURE")
        assert seen["transaction"] == reply.request.transaction
        assert seen["recipient_nonce"] == reply.request.sender_nonce.hex()
        assert seen["signature"]["valid"] is True
        assert seen["signer"]["known"]["role"] == "RA"
        assert len(seen["recipients"]) == (1 if status == "SUCCESS" else 0)
        assert seen["judgements"] == []
        assert f"{status}\n" in text and "RA of issuer devices" in text


def test_answer_to_getcacert(client, server):
    body = server.get(standard.STATIC + "?operation=GetCACert").body
    seen, text = explain(body, conf=server.conf)
    assert seen["kind"] == "certificates" and "signature" not in seen
    assert [c["known"]["role"] for c in seen["certificates"]] == ["RA", "CA", "chain"]
    assert [c["ca"] for c in seen["certificates"]] == [False, True, True]
    assert set(seen["certificates"][0]["key_usage"]) == {"digitalSignature", "keyEncipherment"}
    assert "key usage      digitalSignature, keyEncipherment" in text
    plain, _ = explain(client.ra)
    assert plain["kind"] == "certificates" and len(plain["certificates"]) == 1


def test_csr():
    seen, text = explain(csr_of().der)
    assert seen["kind"] == "csr"
    csr = seen["csr"]
    assert csr["challenge_bytes"] == len(SECRET)
    assert csr["subject"] == "O=Example,CN=explained" and csr["key"] == "RSA-2048"
    assert csr["sans"] == ["DNS:explained.example.org"]
    assert "Client Authentication" in csr["extended_key_usage"]
    assert len(csr["extensions"]) == 2 and csr["signature_valid"] is True
    assert f"present, {len(SECRET)} bytes" in text
    seen, _ = explain(Csr(standard.device_key(1), "CN=none").der)
    assert seen["csr"]["challenge_bytes"] is None
    bad, _ = explain(csr_of(bad_signature=True).der)
    assert broken(bad["judgements"][0]) == {"csr.signature": "GH0133"}


def test_no_message(client, tmp_path):
    request = client.message(csr_of()).der
    key = identities.private_pem(standard.device_key(1))
    url = f"{standard.STATIC}?operation=".encode()
    for data, number in ((b"", "GH0420"), (SECRET.encode(), "GH0420"), (bytes(300), "GH0420"),
                         (b"\x30\x82\x01\x00" + SECRET.encode(), "GH0423"),
                         (request[:-3], "GH0423"), (request + b"\n", "GH0423"),
                         (key, "GH0421"), (url + b"GetCACaps", "GH0422"),
                         (url + b"PKIOperation", "GH0215"),
                         (url + b"PKIOperation&message=" + SECRET.encode(), "GH0420"),
                         (url + b"PKIOperation&message=!" + SECRET.encode(), "GH0216"),
                         (b"\x30\x82\x00\x80" + bytes(128), "GH0187"),
                         (bytes(300000), "GH0424")):
        status, text, made, errors = run("-", data=data)
        assert (status, text, made) == (1, "", ""), data[:40]
        assert number in errors, (number, errors)
        assert len(errors.splitlines()) == 2        # what is wrong, and what to do
    status, _, _, errors = run(tmp_path / "absent")
    assert status == 1 and "GH0424" in errors
    assert run()[0] == 2 and run("a", "b")[0] == 2


def test_terminals_are_safe(client):
    """Texts of a message come from anybody."""
    text = "\x1b[31mred\x07"
    request = client.message(csr_of(), message_type="3",
                             attributes={FAIL_INFO_TEXT: der.utf8(text)})
    seen, shown = explain(request.der)
    assert seen["kind"] == "reply" and seen["fail_text"] == text
    assert "failInfoText     ?[31mred?" in shown


def test_without_a_store(client, make_server):
    """A configuration whose store was not made yet: by issuer and serial only."""
    other = make_server(content, start=False)
    seen, text = explain(client.message(csr_of()).der, "--location", standard.STATIC,
                         conf=other.conf)
    assert "GH0416" in seen["note"] and "GH0416" in text
    [judgement] = seen["judgements"]
    assert judgement["verdict"] == "unknown" and judgement["locations"] == [standard.STATIC]
    assert seen["recipients"][0]["known"] is None


# real clients, through a proxy that keeps what they say

class Capture:
    """Passes requests on to a server and keeps bodies, request targets and answers."""

    def __init__(self, server):
        self.exchanges = []
        capture = self
        port = int(server.url("").rsplit(":", 1)[1])

        class Handler(http.server.BaseHTTPRequestHandler):
            def pass_on(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request(self.command, self.path, body or None)
                answer = connection.getresponse()
                data = answer.read()
                capture.exchanges.append((self.path, body, data))
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.getheader("Content-Type"))
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                connection.close()

            do_GET = do_POST = pass_on

            def log_message(self, *arguments):
                pass

        self.proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.proxy.serve_forever, daemon=True)
        self.thread.start()

    def url(self, path):
        return f"http://127.0.0.1:{self.proxy.server_address[1]}{path}"

    def operations(self):
        """(what the client has sent, what it got), of each PKIOperation."""
        return [(body or path.encode(), answer) for path, body, answer in self.exchanges
                if "operation=PKIOperation" in path]

    def close(self):
        self.proxy.shutdown()
        self.proxy.server_close()
        self.thread.join()


@pytest.fixture
def capture(server):
    made = Capture(server)
    yield made
    made.close()


@pytest.fixture
def work(tmp_path, server):
    client = server.client(standard.STATIC)
    for name, certificate in (("ra", client.ra), ("ca", client.certificates[1])):
        parsed = x509.load_der_x509_certificate(certificate)
        (tmp_path / f"{name}.pem").write_bytes(parsed.public_bytes(serialization.Encoding.PEM))
        (tmp_path / f"{name}.der").write_bytes(certificate)
    (tmp_path / "root.pem").write_bytes(server.authority.root_path.read_bytes())
    (tmp_path / "key.pem").write_bytes(identities.private_pem(standard.device_key(9)))
    return tmp_path


def check_exchange(server, sent, got, message_type, status):
    seen, _ = explain(sent, conf=server.conf)
    assert seen["kind"] == "request" and seen["message_type"]["name"] == message_type
    assert seen["signature"]["valid"] is True
    assert seen["recipients"][0]["known"]["role"] == "RA"
    answer, _ = explain(got, conf=server.conf)
    assert answer["kind"] == "reply" and answer["pki_status"]["name"] == status
    assert answer["transaction"] == seen["transaction"]
    return seen, answer


@pytest.mark.parametrize("challenge,status", [(CHALLENGE, "SUCCESS"),
                                              ("seeded-wrong-secret", "FAILURE")])
def test_strongswan(server, capture, work, subject, challenge, status):
    name = subject.split("=")[1].split(",")[0]
    completed = subprocess.run(
        ["pki", "--scep", "--url", capture.url(standard.LEGACY), "--in", "key.pem", "--dn",
         f"C=CH, O=Example, CN={name}", "--password", challenge, "--cacert-enc", "ra.der",
         "--cacert-sig", "ra.der", "--cacert", "ca.der", "--cacert", "root.pem", "--cipher", "des3",
         "--digest", "sha256"], cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        timeout=60, check=False)
    assert (completed.returncode == 0) == (status == "SUCCESS"), completed.stderr.decode()
    [(sent, got)] = capture.operations()
    seen, answer = check_exchange(server, sent, got, "PKCSReq", status)
    assert seen["cipher"]["name"] == "des-ede3-cbc"
    assert name in seen["signer"]["subject"]
    refused_at = {j["verdict"]: j["locations"] for j in seen["judgements"]}
    assert standard.STATIC in refused_at["refused"] and standard.LEGACY in refused_at["accepted"]
    assert challenge not in json.dumps([seen, answer])


def test_certmonger(server, capture, work, subject):
    client = server.client(standard.MANUAL)
    request = client.message(Csr(standard.device_key(8), subject, SECRET))
    poll = client.poll_message(request)
    for message, flag in ((request, "-p"), (poll, "-g")):
        pem = base64.encodebytes(message.der).decode()
        (work / "message").write_text(f"-----BEGIN PKCS7-----\n{pem}-----END PKCS7-----\n")
        assert explain((work / "message").read_bytes())[0]["form"] == "PEM"
        completed = subprocess.run(
            [SCEP_SUBMIT, "-v", "-u", capture.url(standard.MANUAL), "-r", "ra.pem", "-R",
             "root.pem", "-N", "root.pem", "-I", "ca.pem", flag, "message"], cwd=work,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
        assert b'SCEP status is "pending"' in completed.stdout, completed.stdout.decode()
    (first, second) = capture.operations()
    check_exchange(server, *first, "PKCSReq", "PENDING")
    check_exchange(server, *second, "CertPoll", "PENDING")
