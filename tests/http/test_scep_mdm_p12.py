# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Keys that the server makes for devices: the web service, the worker that makes them, and what is
left behind."""

import base64
import concurrent.futures
import json
import os
import signal
import sqlite3
import subprocess
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from harness import config, standard
from harness.config import location
from harness.pki import verify_chain
from harness.remote import ISSUER, KILLED, MODULES as PROXY, Remote, start_gateway, worker_path
from harness.server import wait_until
from harness.web import PASSWORDS, USERS, ask, audited, basic, make_users, problem

MODULES = (*PROXY, *PASSWORDS)
TYPE = {"Content-Type": "application/json"}
SERVICE = "/mdm/services/acme"
PROFILE = "mdmws-p12-digital-signature-key-encipherment"
PASSWORD = "a password of device management"


def digital_id(name, issuer, *lines):
    return f"""<DigitalID "{name}">
    DigitalIDTenant acme
    DigitalIDIssuer {issuer}
    DigitalIDProfile {PROFILE}
    DigitalIDParentDN "o=Example"
    DigitalIDRDN "cn=<name>"
    DigitalIDSubjectAltName email "<name>@example.com"
    DigitalIDModes p12
""" + "".join(f"    {line}\n" for line in lines) + "</DigitalID>\n"


def service(server):
    make_users(server)
    return location("/mdm/services", "SetHandler gatehouse-mdm", *basic(server))


def content(server):
    return "".join([
        config.issuer(server.authority), worker_path(server),
        digital_id("people", "devices"),
        digital_id("managers", "devices", "DigitalIDKeySize 3072", "DigitalIDUsers mdm"),
        location("/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
                 "SCEPProfiles scep-*"),
        service(server), config.CRL_AND_CA,
    ])


@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server(content, modules=MODULES, loglevel="trace8")


def post(server, path, user="mdm", **members):
    return ask(server, SERVICE + path, "POST", json.dumps(members), user=user, headers=TYPE)


def person(subject, **more):
    name = subject.split("=")[1].split(",")[0]
    return {"digitalId": "people", "variables": {"name": name}, **more}


def answer(response):
    assert response.status in (200, 202), (response, response.body)
    assert response.headers["Cache-Control"] == "no-store"
    return json.loads(response.body)


def fetched(server, response, **members):
    """The answer, now or later: a busy machine may take longer than a request waits."""
    done = answer(response)
    if response.status == 200:
        return done
    assert response.headers["Retry-After"] and "pkcs12" not in done

    def ready():
        later = post(server, f"/requests/{done['id']}/p12", **members)
        return answer(later) if later.status != 202 else None

    return wait_until(ready, 60, 0.5, "the key")


def opened(made, password):
    return pkcs12.load_key_and_certificates(base64.b64decode(made["pkcs12"]), password.encode())


def sealed(server, identifier):
    path = server.store_uri.split(":", 1)[1]
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        row = connection.execute("SELECT sealed, fetched FROM mdm_request WHERE id = ?",
                                 (identifier,)).fetchone()
    return row


def test_issue(server, subject, tmp_path):
    response = post(server, "/p12s", **person(subject, device="user-1", password=PASSWORD))
    made = fetched(server, response, password=PASSWORD)
    assert "password" not in made
    key, certificate, chain = opened(made, PASSWORD)
    assert key.key_size == 2048
    assert key.public_key().public_numbers() == certificate.public_key().public_numbers()
    assert certificate.subject.rfc4514_string() == made["subject"]
    assert int(made["serial"], 16) == certificate.serial_number
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [n.value for n in names] == [made["subject"].split("=")[1].split(",")[0]
                                        + "@example.com"]
    assert [one.subject for one in chain] == [server.authority.certificate.subject,
                                              server.authority.certificate.issuer]

    (tmp_path / "file.p12").write_bytes(base64.b64decode(made["pkcs12"]))
    shown = subprocess.run(
        ["openssl", "pkcs12", "-in", "file.p12", "-info", "-noout", "-passin", f"pass:{PASSWORD}"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
    assert "MAC: sha256" in shown and "RC2" not in shown
    assert shown.count("PBES2, PBKDF2, AES-256-CBC") == 2, shown

    state = answer(ask(server, f"{SERVICE}/requests/{made['id']}"))
    assert (state["mode"], state["state"], state["status"], state["device"]) == (
        "p12", "issued", "good", "user-1")
    problem(post(server, f"/requests/{made['id']}/p12"), 404, "GH1027")
    problem(post(server, f"/requests/{made['id']}/p12", "other"), 403, "GH1460")
    assert sealed(server, made["id"])[0] is None
    text = server.audit_path.read_text() + server.error_log_path.read_text(errors="replace")
    assert PASSWORD not in text and made["pkcs12"][:60] not in text
    lines = [json.loads(line) for line in server.audit_path.read_text().splitlines()
             if made["id"] in line]
    assert {"mdm"} == {line["user"] for line in lines} == {line["protocol"] for line in lines}
    assert "issued" in [line["result"] for line in lines]


def test_verifies(server, subject):
    made = fetched(server, post(server, "/p12s", **person(subject, password=PASSWORD)),
                   password=PASSWORD)
    der = answer(ask(server, f"{SERVICE}/requests/{made['id']}/certificate"))["certificate"]
    assert verify_chain(base64.b64decode(der), server.authority)[0] == 0


def test_password_made_here(server, subject):
    made = fetched(server, post(server, "/p12s", **{**person(subject), "digitalId": "managers"}))
    assert len(made["password"]) == 40
    key = opened(made, made["password"])[0]
    assert key.key_size == 3072
    with pytest.raises(ValueError):
        opened(made, "x" + made["password"])
    for path in (server.error_log_path, server.audit_path, server.root / "log" / "access.log"):
        text = path.read_text(errors="replace")
        assert made["password"] not in text
        assert all(secret not in text for secret in USERS.values())


def test_refusals(server, subject):
    problem(post(server, "/p12s", **person(subject, password="short")), 400, "GH1025")
    problem(post(server, "/p12s", **{**person(subject), "variables": {}}), 400, "GH0988")
    problem(post(server, "/challenges", **person(subject)), 400, "GH1014")
    problem(post(server, "/p12s", "other", **{**person(subject), "digitalId": "managers"}), 404,
            "GH1013")
    response = post(server, "/p12s", **{**person(subject), "digitalId": "nobody"})
    problem(response, 404, "GH1013")
    assert audited(server, response)["user"] == "mdm"
    assert server.get("/scep/acme/people/mdm?operation=GetCACaps").status == 404


def test_transaction(server, subject):
    """The same request again goes on with the same row."""
    first = post(server, "/p12s", **person(subject, password=PASSWORD, transaction=subject))
    made = fetched(server, first, password=PASSWORD)

    def again():
        """A reply that was lost may be asked for again until the key is erased, right behind it."""
        response = post(server, "/p12s", **person(subject, password=PASSWORD, transaction=subject))
        return response if response.status != 200 else None

    again = wait_until(again, 5, what="the key to be erased")
    assert made["id"] in problem(again, 404, "GH1027")["detail"]
    other = {**person(subject, transaction=subject), "variables": {"name": "other"}}
    problem(post(server, "/p12s", **other), 409, "GH1022")


def test_renew_and_revoke(server, subject):
    made = fetched(server, post(server, "/p12s", **person(subject)))
    response = post(server, f"/requests/{made['id']}/renew", password=PASSWORD)
    renewed = fetched(server, response, password=PASSWORD)
    assert renewed["subject"] == made["subject"] and renewed["serial"] != made["serial"]
    assert opened(renewed, PASSWORD)[0].private_numbers() != \
        opened(made, made["password"])[0].private_numbers()
    assert answer(post(server, f"/requests/{made['id']}/revoke",
                       reason="superseded"))["status"] == "revoked"


def of_subject(server, subject):
    name = subject.split("=")[1].split(",")[0]
    return [row for row in server.certificates() if name in row["subject"]]


def test_worker_is_killed(make_server, subject):
    """What it was asked for is done by the next one."""
    server = make_server(content, modules=MODULES)
    server.allow(*KILLED, "GH0886", "AH01067", "AH01075", "AH01079", "AH02454", "AH01068")
    end = threading.Event()

    def kill():
        # httpd waits longer each time before it starts one again
        for _ in range(2):
            end.wait(0.7)
            for pid in workers(server):
                os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        answers = [post(server, "/p12s", **person(subject.replace("CN=", f"CN={number}-"),
                                                  password=PASSWORD)) for number in range(4)]
    finally:
        end.set()
        killer.join()
    for number, response in enumerate(answers):
        made = fetched(server, response, password=PASSWORD)
        assert opened(made, PASSWORD)[0].key_size == 2048
        assert len(of_subject(server, subject.replace("CN=", f"CN={number}-"))) == 1


def workers(server):
    found = []
    for pid in server.children():
        try:
            name = os.path.basename(os.readlink(f"/proc/{pid}/exe").split(" ")[0])
        except OSError:
            continue
        if name in ("gatehouse-ca-worker", "lt-gatehouse-ca-worker"):
            found.append(pid)
    return found


def test_handed_out_to_one_of_many(server, subject):
    """Of many requests at the same moment one is given the key; the others come later, or are told
    that it is gone."""
    members = person(subject, password=PASSWORD)
    for round_ in range(3):
        members["transaction"] = f"many-{round_}"
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            responses = list(pool.map(lambda _: post(server, "/p12s", **members), range(8)))
        assert {response.status for response in responses} <= {200, 202, 404}
        given = [response for response in responses if response.status == 200]
        assert len(given) <= 1
        if not given:
            waiting = next(one for one in responses if one.status == 202)
            fetched(server, waiting, password=PASSWORD)


def test_children_are_killed(make_server, subject):
    """Who repeats a request that went unanswered gets one certificate, or is told that its key is
    gone."""
    server = make_server(content, modules=MODULES)
    server.allow(*KILLED, "GH0886")
    members = person(subject, password=PASSWORD, transaction="once")
    wait_until(lambda: workers(server), 20, 0.1, "the worker")
    killer = threading.Timer(0.3, server.kill_children)
    killer.start()

    def attempt():
        try:
            response = post(server, "/p12s", **members)
        except OSError:
            return None
        return response if response.status in (200, 404) else None

    response = wait_until(attempt, 60, 0.2, "an answer")
    killer.join()
    if response.status == 200:
        assert opened(json.loads(response.body), PASSWORD)[0].key_size == 2048
    assert len(of_subject(server, subject)) == 1


def test_ca_elsewhere(make_server, tmp_path, subject):
    gateway = start_gateway(tmp_path)
    try:
        remote = Remote(make_server, gateway, modules=PASSWORDS, more=lambda server: "".join([
            digital_id("people", ISSUER), service(server)]),
            gatewayprofile=f"{PROFILE} {standard.BASE}").ready()
        made = fetched(remote.server, post(remote.server, "/p12s",
                                           **person(subject, password=PASSWORD)),
                       password=PASSWORD)
        key, certificate, _ = opened(made, PASSWORD)
        assert key.key_size == 2048
        issued, = remote.at_ca(subject)
        assert issued.certificate == certificate
    finally:
        gateway.close()


@pytest.mark.parametrize("old, new, number", [
    (f"DigitalIDProfile {PROFILE}", "DigitalIDProfile scep-digital-signature", "GH1006"),
    ("DigitalIDKeySize 3072", "DigitalIDKeySize 4096", "GH0997"),
])
def test_configtest(make_server, old, new, number):
    server = make_server(lambda s: content(s).replace(old, new), modules=MODULES, start=False)
    result = server.configtest()
    assert result.returncode != 0 and number in result.stderr, result.stderr
