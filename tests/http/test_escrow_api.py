# Licensed under the Apache License, Version 2.0. See LICENSE.
"""The API of the escrow: what is uploaded and asked, and what is refused."""

import base64
import json
import os
import pathlib
import subprocess
import time
import uuid

import jsonschema
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, pkcs12

from harness.config import location
from harness.credentials import (Credential, Device, SIGNING, base64_of, encryption, new_pair,
                                 query_of, signing, skeleton_of, upload_of)
from harness.escrow import (MODULES, OWN_MODULES, SSL_CHATTER, Identity, ask, connect, on, problem,
                            tls_host)
from harness.pki import key
from harness.postgres import Cluster
from harness.server import free_port, wait_until
from scep.identity import private_pem

CERTIFICATES = "/v2/certificates"
PROFILES = "/v1/profiles"
DEEP = b'{"a":' * 5000 + b"1" + b"}" * 5000

DOCUMENT = json.loads((pathlib.Path(__file__).parents[2] / "mod_escrow" / "openapi.json")
                      .read_text())
seen = set()


def settings(server, more=""):
    return f"""EscrowVaultKey first file:{server.secret("vault")}
EscrowDeviceCA {server.device_ca.path}
EscrowPoll 60s
<UEM demo>
    UEMURL https://127.0.0.1:1/{{{{profile.uuid}}}}
</UEM>
{more}"""


def api(server):
    lines = ["SetHandler gatehouse-escrow", "AuthType gatehouse-cert",
             f"Require thumbprint {server.provider.pin} role=provider role=uem",
             "EscrowDeliver demo"]
    return "".join(location(path, *lines) for path in ("/v1", "/v2")) + \
        location("/v2/open", "SetHandler gatehouse-escrow")


def content(server, more=""):
    if not hasattr(server, "provider"):
        server.make_secret("vault", os.urandom(32).hex())
        server.provider = Identity(server.root / "ca", "provider", "p256-01")
        server.stranger = Identity(server.root / "ca", "stranger", "p384-01")
        server.device_ca = Identity(server.root / "ca", "device-ca", "rsa2048-04", ca=True)
    return settings(server, more) + tls_host(server, api(server))


@pytest.fixture(scope="module")
def server(make_module_server):
    made = make_module_server(content, own_modules=OWN_MODULES, modules=MODULES)
    # the worker looks for work when it starts: the UEM is not there
    made.allow(*SSL_CHATTER, "GH0817", "GH0818")
    return made


def template_of(path):
    return PROFILES + "/{id}" if path.startswith(PROFILES + "/") else path.split("?")[0]


def check_answer(method, path, response):
    """What the document says of an answer is so."""
    operation = DOCUMENT["paths"].get(template_of(path), {}).get(method.lower())
    if operation is None:
        return
    said = operation["responses"][str(response.status)]
    if "$ref" in said:
        said = DOCUMENT["components"]["responses"]["Problem"]
    seen.add((template_of(path), method.lower(), response.status))
    if "content" not in said:
        assert response.body == b""
        return
    kind, media = next(iter(said["content"].items()))
    assert response.headers["Content-Type"] == kind, (response, response.body)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **media["schema"],
              "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(schema).validate(json.loads(response.body))


def call(server, method, path, body=None, status=None, identity=None, **options):
    response = ask(server, path, identity or server.provider, method, body, **options)
    check_answer(method, path, response)
    if status:
        assert response.status == status, (response, response.body)
    return response


def members(response):
    return json.loads(response.body)


def upload(server, pair, status=201, **uses):
    return members(call(server, "POST", CERTIFICATES, upload_of(pair, **uses), status))


def stored(server, pair):
    return members(call(server, "GET", CERTIFICATES + query_of(pair), status=200))["credentials"]


def test_upload(server):
    """A receipt for what was stored; the same again is the same; nothing of it is a key."""
    pair = new_pair()
    one, two = signing(password="seed-9c41 upload"), encryption()
    assert members(call(server, "GET", CERTIFICATES + "/status" + query_of(pair)))["available"] \
        is False
    receipt = upload(server, pair, signing=[one], encryption=[two])
    assert receipt["device_uuid"] == pair["device_uuid"] and receipt["completes"] == []
    assert [(e["use"], e["index"], e["thumbprint_sha256"]) for e in receipt["stored"]] == \
        [("signing", 0, one.sha256), ("encryption", 0, two.sha256)]
    assert receipt["expires_at"] >= receipt["stored"][0]["not_after"]
    assert upload(server, pair, 200, signing=[one], encryption=[two]) == receipt
    listed = stored(server, pair)
    assert [(e["use"], e["thumbprint_sha256"]) for e in listed] == \
        [("signing", one.sha256), ("encryption", two.sha256)]
    assert listed[0]["email"] == "ann@example.com" and listed[0]["subject"] == "CN=ann"
    status = members(call(server, "GET", CERTIFICATES + "/status" + query_of(pair), status=200))
    assert status["available"] and status["signing"] == 1 and status["archived"] == 0
    line, = wait_until(lambda: [line for line in server.audit()
                                if line.get("transaction") == receipt["id"]], 5)
    assert line["event"] == "upload" and line["result"] == "done"
    assert line["protocol"] == "escrow" and line["user"] == server.provider.pin


def test_upper_case(server):
    """UUIDs are the same in any case."""
    pair = new_pair()
    upload(server, {name: value.upper() for name, value in pair.items()}, signing=[signing()])
    assert len(stored(server, pair)) == 1


def test_renewal(server):
    """A newer upload replaces what it names; for encryption, the former is kept to read with."""
    pair = new_pair()
    first, second, old = encryption(), encryption("rsa2048-05"), signing()
    upload(server, pair, signing=[old], encryption=[first])
    upload(server, pair, encryption=[second])
    assert [(e["use"], e["thumbprint_sha256"]) for e in stored(server, pair)] == \
        [("signing", old.sha256), ("encryption", second.sha256), ("archived", first.sha256)]
    upload(server, pair, signing=[], encryption=[second], archived=[first])
    assert [(e["use"], e["thumbprint_sha256"]) for e in stored(server, pair)] == \
        [("encryption", second.sha256), ("archived", first.sha256)]


def test_two_devices(server):
    """Two devices of a user may have the same key."""
    one, other, shared = new_pair(), new_pair(), encryption()
    other["user_uuid"] = one["user_uuid"]
    for pair in one, other:
        upload(server, pair, encryption=[shared])
        assert stored(server, pair)[0]["thumbprint_sha256"] == shared.sha256


def test_remove(server):
    pair = new_pair()
    upload(server, pair, signing=[signing()])
    call(server, "DELETE", CERTIFICATES + query_of(pair), status=204)
    assert stored(server, pair) == []
    answer = call(server, "DELETE", CERTIFICATES + query_of(pair))
    problem(answer, 404, "GH1219")
    upload(server, pair, signing=[signing()])


def two_keys():
    """Not what a library makes: two files in one is what it refuses, so one with none in it."""
    return pkcs12.serialize_key_and_certificates(b"x", None, signing().certificate, None,
                                                 NoEncryption())


def body_with(pair, use, element):
    return upload_of(pair, **{use: [signing(), element] if use == "signing" else [element]})


@pytest.mark.parametrize("element, where", [
    ("no base64!", "smime_certificates.encryption[0]: "),
    (base64_of(b"no PKCS#12"), "smime_certificates.encryption[0]: "),
    (base64_of(two_keys()), "smime_certificates.encryption[0]: "),
    (5, "smime_certificates.encryption[0]: "),
    ({"pkcs12": base64_of(encryption(password="right").pkcs12), "password": "seed-5e1f wrong"},
     "smime_certificates.encryption[0]: "),
    ({"pkcs12": base64_of(encryption().pkcs12), "pasword": "x"},
     "smime_certificates.encryption[0]: "),
    (signing().element(), "smime_certificates.encryption[0]: "),
], ids=["base64", "pkcs12", "no key", "number", "password", "member", "usage"])
def test_bad_element(server, element, where):
    """One bad element refuses all, is named, and nothing is stored."""
    pair = new_pair()
    answer = call(server, "POST", CERTIFICATES,
                  upload_of(pair, signing=[signing()], encryption=[element]), 400)
    assert members(answer)["detail"].startswith(where), answer.body
    assert "seed-5e1f" not in answer.body.decode()
    assert stored(server, pair) == []


def test_iterations_of_an_upload(server, tmp_path):
    """They are counted over all its files: each may ask for as many, both together not."""
    one = encryption()
    for name, text in (("key", private_pem(key(one.key_name))),
                       ("certificate", one.certificate.public_bytes(Encoding.PEM))):
        (tmp_path / name).write_bytes(text)
    subprocess.run(["openssl", "pkcs12", "-export", "-inkey", "key", "-in", "certificate",
                    "-passout", "pass:a", "-iter", "600000", "-out", "file"], cwd=tmp_path,
                   check=True, timeout=60)
    element = {"pkcs12": base64_of((tmp_path / "file").read_bytes()), "password": "a"}
    pair = new_pair()
    answer = call(server, "POST", CERTIFICATES, upload_of(pair, encryption=[element, element]))
    problem(answer, 400, "GH1116")
    assert members(answer)["detail"].startswith("smime_certificates.encryption[1]: ")
    assert stored(server, pair) == []


def test_weak_or_old(server):
    import datetime
    pair = new_pair()
    past = datetime.datetime.utcnow() - datetime.timedelta(days=400)
    old = signing(start=past, days=365)
    for use, bad in (("signing", Credential(SIGNING, "rsa1024-01")), ("signing", old)):
        answer = call(server, "POST", CERTIFICATES, upload_of(pair, **{use: [bad]}), 400)
        assert members(answer)["detail"].startswith("smime_certificates.signing[0]: ")
    assert stored(server, pair) == []
    upload(server, pair, archived=[encryption(start=past, days=365)])


@pytest.mark.parametrize("body, status, number", [
    (b"{", 400, "GH1197"),
    (DEEP, 400, "GH1197"),
    (b'{"a":1,"a":2}', 400, "GH1197"),
    (b"[]", 400, "GH1198"),
    (b"", 400, "GH1197"),
    (b"{}", 400, "GH1199"),
    (json.dumps({**new_pair()}).encode(), 400, "GH1207"),
    (json.dumps({**new_pair(), "smime_certificates": {"sign": []}}).encode(), 400, "GH1203"),
    (json.dumps({**new_pair(), "smime_certificates": {"signing": {}}}).encode(), 400, "GH1205"),
    (json.dumps({**new_pair(), "smime_certificates": {"signing": []}}).encode(), 400, "GH1208"),
    (json.dumps({**new_pair(), "smime_certificates": {"signing": ["QQ=="] * 51}}).encode(), 400,
     "GH1206"),
    (json.dumps({**new_pair(), "x": "y" * 10_000_000}).encode(), 413, "GH1229"),
    (b'{"password":"seed-77aa"', 400, "GH1197"),
])
def test_malformed(server, body, status, number):
    answer = call(server, "POST", CERTIFICATES, body,
                  headers={"Content-Type": "application/json"})
    problem(answer, status, number)
    assert "seed-77aa" not in answer.body.decode()


def test_long_body_without_length(server):
    """The limit holds for a body in chunks, too."""
    connection = connect(server, server.provider)
    connection.request("POST", CERTIFICATES, iter([b"x" * 65536] * 20),
                       {"Content-Type": "application/json"}, encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["gh"] == "GH1229"
    connection.close()


def test_requests(server):
    """What is no request of the API has its problem."""
    json_type = {"Content-Type": "application/json"}
    problem(call(server, "GET", "/v2/nothing"), 404, "GH1231")
    problem(call(server, "GET", PROFILES + "/a/b"), 404, "GH1231")
    answer = call(server, "PUT", CERTIFICATES, b"{}", headers=json_type)
    problem(answer, 405, "GH1232")
    assert answer.headers["Allow"] == "POST, GET, HEAD, DELETE"
    problem(call(server, "POST", CERTIFICATES, b"{}", headers={"Content-Type": "text/plain"}), 415,
            "GH1234")
    problem(call(server, "POST", PROFILES, b"{}"), 415, "GH1234")
    for method, path in (("GET", CERTIFICATES), ("POST", CERTIFICATES), ("DELETE", CERTIFICATES),
                         ("GET", CERTIFICATES + "/status"), ("POST", PROFILES),
                         ("GET", PROFILES + "/x"), ("DELETE", PROFILES + "/x"),
                         ("GET", "/v1/openapi.json")):
        problem(call(server, method, path, b"{}" if method == "POST" else None,
                     headers={**json_type, "Accept": "text/html, image/*"}), 406, "GH1233")
    problem(call(server, "GET", CERTIFICATES), 400, "GH1238")
    problem(call(server, "DELETE", CERTIFICATES + "?device_uuid=x"), 400, "GH1238")
    problem(call(server, "GET", CERTIFICATES + "/status"), 400, "GH1238")
    assert call(server, "HEAD", "/v1/openapi.json").body == b""


def test_open_location(server):
    """A location that lets everybody in serves nobody."""
    problem(ask(server, "/v2/open", server.provider), 404, "GH1231")
    answer = ask(server, "/v2/certificates", None)
    assert answer.status == 401


def test_document(server):
    answer = call(server, "GET", "/v1/openapi.json", status=200)
    assert members(answer) == DOCUMENT


def show(server, accepted):
    return members(call(server, "GET", f"{PROFILES}/{accepted['id']}", status=200))


def send_skeleton(server, body, status=202):
    return members(call(server, "POST", PROFILES, body, status))


def test_skeleton_first(server):
    """It waits, says for what, and goes on with the upload."""
    pair = new_pair()
    device = Device(pair["device_uuid"], server.device_ca)
    body = skeleton_of(pair, device, "{{escrow.signing[0].thumbprint}} "
                       "{{escrow.encryption[0].pkcs12}}", labels={"group": "north"})
    response = call(server, "POST", PROFILES, body, 202)
    accepted = members(response)
    assert response.headers["Location"] == f"{PROFILES}/{accepted['id']}"
    assert accepted["status"] == "waiting"
    assert accepted["waiting_for"] == ["encryption", "signing"] or \
        accepted["waiting_for"] == ["signing", "encryption"]
    assert upload(server, pair, signing=[signing()])["completes"] == []
    assert show(server, accepted)["waiting_for"] == ["encryption"]
    assert upload(server, pair, encryption=[encryption()])["completes"] == [accepted["id"]]
    shown = show(server, accepted)
    assert shown["status"] == "completing" and shown["waiting_for"] == []
    assert shown["labels"] == {"group": "north"} and shown["profile_uuid"] == body["profile_uuid"]
    assert [(e["status"], e["generation"]) for e in shown["history"]] == \
        [("waiting", 1), ("completing", 2)]
    # another skeleton for it, and credentials that are gone
    again = send_skeleton(server, {**body, "skeleton": base64_of(b"{{escrow.archived[0].email}}")})
    assert again["id"] == accepted["id"] and again["status"] == "waiting"
    assert again["generation"] == 3
    call(server, "DELETE", f"{PROFILES}/{accepted['id']}", status=204)
    call(server, "DELETE", f"{PROFILES}/{accepted['id']}", status=204)
    assert show(server, accepted)["status"] == "cancelled"
    upload(server, pair, archived=[encryption()])
    assert show(server, accepted)["status"] == "cancelled"


def test_upload_first(server):
    """It is complete at once, and again with other credentials; not without."""
    pair = new_pair()
    device = Device(pair["device_uuid"], server.device_ca)
    upload(server, pair, signing=[signing()])
    accepted = send_skeleton(server, skeleton_of(pair, device))
    assert accepted["status"] == "completing" and accepted["waiting_for"] == []
    renewed = upload(server, pair, signing=[signing("rsa2048-06")])
    assert renewed["completes"] == [accepted["id"]]
    assert show(server, accepted)["generation"] == 2
    call(server, "DELETE", CERTIFICATES + query_of(pair), status=204)
    assert show(server, accepted)["status"] == "waiting"


def test_recipient(server):
    """Who sends a skeleton cannot name a recipient of his own."""
    pair = new_pair()
    upload(server, pair, signing=[signing()])
    own = Device(pair["device_uuid"], None, "rsa2048-07")
    foreign = Device(str(uuid.uuid4()), server.device_ca, "rsa2048-07")
    for device in own, foreign, Device(pair["device_uuid"] + "x", server.device_ca):
        answer = call(server, "POST", PROFILES, skeleton_of(pair, device))
        assert answer.status == 403, answer.body
    device = Device(pair["device_uuid"], server.device_ca)
    send_skeleton(server, skeleton_of(pair, device))
    send_skeleton(server, skeleton_of(pair, Device(pair["device_uuid"], server.device_ca)))
    server.expect("GH1220")
    other_key = Device(pair["device_uuid"], server.device_ca, "rsa2048-08")
    problem(call(server, "POST", PROFILES, skeleton_of(pair, other_key)), 409, "GH1220")


@pytest.mark.parametrize("change, number", [
    ({"profile_uuid": "x"}, "GH1199"),
    ({"format": 5}, "GH1213"),
    ({"sign": "yes"}, "GH1214"),
    ({"sign": True}, "GH1240"),
    ({"labels": []}, "GH1211"),
    ({"labels": {"a b": "c"}}, "GH1212"),
    ({"skeleton": "?"}, "GH1202"),
    ({"skeleton": None}, "GH1200"),
])
def test_bad_skeleton(server, change, number):
    pair = new_pair()
    body = {**skeleton_of(pair, Device(pair["device_uuid"], server.device_ca)), **change}
    problem(call(server, "POST", PROFILES, body), 400, number)


def test_unknown_token(server):
    pair = new_pair()
    device = Device(pair["device_uuid"], server.device_ca)
    answer = call(server, "POST", PROFILES, skeleton_of(pair, device, "{{escrow.sining[0].email}}"))
    assert answer.status == 400 and "line 1" in members(answer)["detail"]


def test_unknown_profile(server):
    problem(call(server, "GET", PROFILES + "/" + "0" * 32), 404, "GH1241")
    problem(call(server, "DELETE", PROFILES + "/" + "0" * 32), 404, "GH1215")


def test_big_skeleton(server):
    body = {**new_pair(), "x": "y" * 2_000_000}
    problem(call(server, "POST", PROFILES, body), 413, "GH1229")


def private_bytes(key_name):
    """Parts that only the private key has: the modulus is in certificates, too."""
    numbers = key(key_name).private_numbers()
    return tuple(number.to_bytes(256, "big").lstrip(b"\0")[:60]
                 for number in (numbers.d, numbers.p, numbers.q))


def test_no_secret_is_seen(server):
    """Keys and passwords are in no file in clear."""
    wait_until(lambda: any(line["event"] == "upload" for line in server.audit()), 5)
    files = [path for folder in ("log", "store", "run") for path in
             (server.root / folder).rglob("*") if path.is_file()]
    assert any("gatehouse.db" in path.name for path in files)
    wanted = [b"seed-9c41", b"seed-5e1f", b"seed-77aa"]
    for name in "rsa2048-01", "rsa2048-02":
        wanted += private_bytes(name)
        wanted += [base64.b64encode(part)[4:60] for part in private_bytes(name)]
    for path in files:
        data = path.read_bytes()
        for secret in wanted:
            assert secret not in data, path


def test_retention(server):
    """A changed setting is for what is uploaded later."""
    server.allow(*SSL_CHATTER, "GH0817", "GH0818")
    before, days, consumed = new_pair(), new_pair(), new_pair()
    upload(server, before, signing=[signing()])
    server.configure(lambda s: content(s, "EscrowRetention 0.00003\n"))
    server.graceful()
    receipt = upload(server, days, signing=[signing()])
    assert receipt["expires_at"] < receipt["stored"][0]["not_after"]
    wait_until(lambda: stored(server, days) == [], 20)
    assert len(stored(server, before)) == 1
    server.configure(lambda s: content(s, "EscrowRetention consumption\n"
                                       "EscrowArchiveReplaced off\nEscrowMaxCredentials 1\n"
                                       "EscrowMaxBody 20000\nEscrowProfileLife 1\n"
                                       "EscrowRecipient first-use-insecure\n"))
    server.graceful()
    upload(server, consumed, encryption=[encryption()])
    upload(server, consumed, encryption=[encryption("rsa2048-05")])
    assert [e["use"] for e in stored(server, consumed)] == ["encryption"]
    problem(call(server, "POST", CERTIFICATES, upload_of(consumed, signing=[signing()] * 2)), 400,
            "GH1206")
    problem(call(server, "POST", CERTIFICATES, upload_of(consumed, signing=["A" * 20000])), 413,
            "GH1229")
    device = Device(consumed["device_uuid"], None)
    assert send_skeleton(server, skeleton_of(consumed, device))["status"] == "waiting"


def roles_content(server):
    content(server)
    ca = server.root / "ca"
    server.uem = Identity(ca, "uem", "rsa2048-01")
    server.stranger = Identity(ca, "stranger", "p384-01")
    server.any_port = getattr(server, "any_port", None) or free_port()
    (server.root / "pins").write_text(f"{server.provider.pin} provider\n{server.uem.pin} uem\n")
    guard = ("SetHandler gatehouse-escrow", "AuthType gatehouse-cert", "EscrowDeliver demo")
    server.listening = ()
    return settings(server, f'EscrowPinFile "{server.root}/pins"\n') + tls_host(
        server, "".join(location(path, *guard, "Require valid-user") for path in ("/v1", "/v2"))
    ) + tls_host(server, location("/v2", *guard, "Require valid-user", "EscrowRoles any")
                 + location("/v1", *guard[:2], "Require valid-user"), port=server.any_port)


def test_roles(make_server):
    """Require lets everybody in here who has a certificate: the API asks for the role."""
    server = make_server(roles_content, own_modules=OWN_MODULES, modules=(*MODULES, "authz_user"))
    server.allow(*SSL_CHATTER, "GH0817", "GH0818")
    pair = new_pair()
    query = query_of(pair)
    device = Device(pair["device_uuid"], server.device_ca)
    calls = [("provider", "POST", CERTIFICATES, upload_of(pair, signing=[signing()])),
             ("provider", "GET", CERTIFICATES + query, None),
             ("provider", "POST", "/v1/events", {}),
             ("uem", "GET", CERTIFICATES + "/status" + query, None),
             ("uem", "POST", PROFILES, skeleton_of(pair, device)),
             ("uem", "GET", PROFILES + "/" + "0" * 32, None),
             ("uem", "DELETE", PROFILES + "/" + "0" * 32, None),
             ("provider", "DELETE", CERTIFICATES + query, None)]
    for role, method, path, body in calls:
        for name in {"provider", "uem", "stranger"} - {role}:
            problem(ask(server, path, getattr(server, name), method, body), 403, "GH1456")
        assert ask(server, path, getattr(server, role), method, body).status != 403
    assert ask(server, "/v1/openapi.json", server.stranger).status == 200
    assert ask(server, CERTIFICATES + query, server.stranger, port=server.any_port).status == 200
    # where profiles go is not said there
    server.expect("GH1239")
    problem(ask(server, PROFILES, server.uem, "POST", skeleton_of(pair, device),
                port=server.any_port), 503, "GH1239")


# what other files try: test_escrow_events, test_escrow_pins
ELSEWHERE = ("/v1/events", "/v1/configuration")


def test_who_answers(server):
    made = members(call(server, "GET", "/v1/hc", status=200))
    assert members(call(server, "GET", "/v1/hc", status=200)) == made
    problem(call(server, "POST", "/v1/hc", b"{}", headers={"Content-Type": "application/json"}),
            405, "GH1232")


def test_all_of_the_document_was_seen(server):
    """Each answer that the document promises was made by one of the tests before."""
    call(server, "GET", CERTIFICATES + query_of(new_pair()))
    for path, operations in DOCUMENT["paths"].items():
        if path in ELSEWHERE:
            continue
        for method, operation in operations.items():
            for who, status, number in ((None, 401, "GH1149"), (server.stranger, 403, "GH1150")):
                if str(status) in operation["responses"]:
                    answer = ask(server, path.replace("{id}", "0" * 32), who, method.upper())
                    problem(answer, status, number)
                    check_answer(method, path, answer)
    assert len(seen) >= 20, "this looks at what the other tests of the file have seen: run them all"
    for path, operations in DOCUMENT["paths"].items():
        if path in ELSEWHERE:
            continue
        for method, operation in operations.items():
            for status in operation["responses"]:
                if status != "503":
                    assert (path, method, int(status)) in seen, (path, method, status)


def test_on_postgresql(make_server):
    """The thin path on the other store."""
    with Cluster() as cluster:
        server = make_server(content, own_modules=OWN_MODULES, modules=MODULES,
                             store=cluster.database())
        server.allow(*SSL_CHATTER, "GH0083", "GH0817", "GH0818")  # nobody is at its URL
        pair = new_pair()
        device = Device(pair["device_uuid"], server.device_ca)
        accepted = send_skeleton(server, skeleton_of(pair, device))
        assert upload(server, pair, signing=[signing()], encryption=[encryption()])["completes"] \
            == [accepted["id"]]
        assert show(server, accepted)["status"] == "completing"
        server.stop()
