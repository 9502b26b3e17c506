# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Device management: digital IDs, the web service, and devices that enrol with its challenges."""

import base64
import json
import re
import subprocess
import time
import urllib.parse

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from harness import standard
from harness.checks import decision, refused
from harness.config import CRL_AND_CA, issuer, location
from harness.pki import PEM, certificate, key, verify_chain, write_secret
from harness.server import free_port, wait_until
from harness.web import PASSWORDS, USERS, ask, audited, basic, make_users, names_line, problem
from scep.identity import private_pem

MODULES = (*PASSWORDS, "ssl")
TYPE = {"Content-Type": "application/json"}
SERVICE = "/mdm/services/acme"
MOBILE = "/scep/acme/Mobile%20Devices/mdm"
LAPTOPS = "/scep/acme/laptops/mdm"
PROFILE = "mdmws-digital-signature-key-encipherment"

DIGITAL_IDS = f"""
<DigitalID "Mobile Devices">
    DigitalIDTenant  acme
    DigitalIDIssuer  devices
    DigitalIDProfile {PROFILE}
    DigitalIDParentDN "ou=Devices,o=Example,c=DE"
    DigitalIDRDN     "cn=<firstname> <lastname>"
    DigitalIDSubjectAltName email "<mail:lower>"
    DigitalIDUsers   mdm
</DigitalID>
<DigitalID laptops>
    DigitalIDTenant  acme
    DigitalIDIssuer  devices
    DigitalIDProfile {PROFILE}
    DigitalIDRDN     "cn=<host>,ou=<group:default=Staff>"
    DigitalIDLifetime 10m
    DigitalIDModes   scep
    DigitalIDUsers   mdm other
</DigitalID>
<DigitalID tablets>
    DigitalIDTenant  beta
    DigitalIDIssuer  devices
    DigitalIDProfile {PROFILE}
    DigitalIDRDN     "cn=<host>"
</DigitalID>
"""


def content(server):
    make_users(server)
    made = certificate("localhost", key("rsa2048-09"), "Test Root", key("p256-01"), 30, ca=False)
    (server.root / "ca" / "tls.pem").write_bytes(made.public_bytes(PEM))
    write_secret(server.root / "ca" / "tls.key", private_pem(key("rsa2048-09")))
    server.tls_port = free_port()
    return "".join([
        "SCEPFailureLimit off\n", issuer(server.authority), DIGITAL_IDS,
        location("/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
                 "SCEPProfiles scep-*", "SCEPRenewal by-certificate"),
        location(standard.ONETIME, "SCEPChallenge onetime"),
        # pki of strongSwan knows no AES in SCEP
        location("/scep/acme/laptops/mdm", "SCEPAllow 3des"),
        location("/mdm/services", "SetHandler gatehouse-mdm", *basic(server)),
        CRL_AND_CA,
        f"""Listen 127.0.0.1:{server.tls_port}
<VirtualHost 127.0.0.1:{server.tls_port}>
    SSLEngine on
    SSLCertificateFile "{server.root}/ca/tls.pem"
    SSLCertificateKeyFile "{server.root}/ca/tls.key"
</VirtualHost>
"""])


@pytest.fixture(scope="module")
def server(make_module_server):
    made = make_module_server(content, modules=MODULES, loglevel="trace8")
    made.allow("AH01873", "AH01882")
    return made


def post(server, path, user="mdm", body=None, **members):
    return ask(server, SERVICE + path, "POST", json.dumps(members) if body is None else body,
               user=user, tls=True, headers=TYPE)


def get(server, path, user="mdm", service=SERVICE):
    return ask(server, service + path, user=user, tls=True)


def answer(response, status=200):
    assert response.status == status, (response, response.body)
    assert response.type == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    return json.loads(response.body)


def person(name, **more):
    return {"digitalId": "Mobile Devices",
            "variables": {"firstname": "Anna", "lastname": name, "mail": f"{name}@Example.com"},
            **more}


def laptop(host, **more):
    return {"digitalId": "laptops", "variables": {"host": host}, **more}


def challenge(server, user="mdm", **members):
    made = answer(post(server, "/challenges", user, **members), 201)
    assert re.fullmatch("[0-9a-f]{40}", made["challenge"])
    return made


def common_name(subject):
    return subject.split("=")[1].split(",")[0]


def enrol(server, made, number=1, subject="CN=what the device says"):
    path = urllib.parse.urlsplit(made["url"]).path
    return server.client(path).enrol(standard.device_key(number), made["challenge"], subject)


# The service

def test_version_and_list(server):
    assert answer(get(server, "")) == {"product": "Gatehouse", "version": 1, "tenant": "acme"}
    listed = {one["name"]: one for one in answer(get(server, "/digital-ids"))["digitalIds"]}
    assert set(listed) == {"Mobile Devices", "laptops"}
    mobile = listed["Mobile Devices"]
    assert mobile["modes"] == ["scep"] and mobile["lifetime"] == 3600
    assert [(one["name"], one["required"]) for one in mobile["variables"]] == [
        ("firstname", True), ("lastname", True), ("mail", True)]
    assert mobile["url"] == server.url(MOBILE)
    assert [(one["name"], one["required"]) for one in listed["laptops"]["variables"]] == [
        ("host", True), ("group", False)]
    listed = answer(get(server, "/digital-ids", "other"))["digitalIds"]
    assert [one["name"] for one in listed] == ["laptops"]


def test_who_may(server, subject):
    server.expect("AH01617", "AH01618")
    assert get(server, "", None).status == 401
    assert get(server, "", "nobody").status == 401
    wrong = base64.b64encode(b"mdm:wrong").decode()
    assert ask(server, SERVICE, user=None, headers={"Authorization": f"Basic {wrong}"},
               tls=True).status == 401
    name = common_name(subject)
    problem(post(server, "/challenges", "other", **person(name)), 404, "GH1013")
    problem(post(server, "/challenges", "guest", **laptop(name)), 404, "GH1013")
    made = challenge(server, "other", **laptop(name))
    answer(get(server, f"/requests/{made['id']}", "mdm"))
    problem(get(server, f"/requests/{made['id']}", "guest"), 404, "GH1017")
    problem(get(server, f"/requests/{made['id']}", service="/mdm/services/beta"), 404, "GH1017")
    problem(get(server, "", service="/mdm/services/gamma"), 404, "GH1010")


def test_transport(server):
    """By plain HTTP nothing is answered, unless it comes from this machine; this one does."""
    assert answer(ask(server, SERVICE))["version"] == 1
    problem(ask(server, SERVICE + "/challenges", tls=True), 405, "GH0519")
    problem(ask(server, SERVICE + "/challenges", "POST", "{}", tls=True), 415, "GH0528")
    problem(post(server, "/challenges", body="[]"), 400, "GH1011")
    problem(post(server, "/challenges", body="x" * 20000), 413, "GH0529")
    problem(post(server, "/nothing"), 405, "GH0519")
    problem(get(server, "/nothing"), 404, "GH1010")


@pytest.mark.parametrize("change, number", [
    ({"variables": {"firstname": "A", "lastname": "B"}}, "GH0988"),
    ({"variables": {"firstname": "A", "lastname": "B", "mail": "a@b.example", "x": "y"}}, "GH0989"),
    ({"variables": {"firstname": "A", "lastname": "B\n", "mail": "a@b.example"}}, "GH0990"),
    ({"variables": {"firstname": "A", "lastname": "B" * 100, "mail": "a@b.example"}}, "GH0991"),
    ({"variables": {"firstname": "A", "lastname": "B", "mail": "nobody"}}, "GH0992"),
    ({"variables": {"firstname": 1}}, "GH1012"),
    ({"variables": []}, "GH1012"),
    ({"expires": -1}, "GH1012"),
    ({"device": ""}, "GH1012"),
    ({"subject": "CN=a"}, "GH1012"),
    ({"password": "secret"}, "GH1012"),
])
def test_requests_that_are_refused(server, change, number):
    response = post(server, "/challenges", **{**person("Berg"), **change})
    refusal = problem(response, 400, number)
    if number == "GH0988":
        assert "<mail>" in refusal["detail"]
    line = audited(server, response)
    assert (line["event"], line["protocol"], line["user"], line["gh"]) == (
        "challenge", "mdm", "mdm", number)


# Devices

def test_enrolment(server, subject):
    name = common_name(subject)
    made = challenge(server, **person(name, device="phone-1"))
    assert made["subject"] == f"CN=Anna {name},OU=Devices,O=Example,C=DE"
    assert made["subjectAltNames"] == [f"email:{name.lower()}@example.com"]
    assert made["url"] == server.url(MOBILE)
    ca = x509.load_pem_x509_certificate(server.authority.certificate_path.read_bytes())
    assert made["caFingerprint"] == ca.fingerprint(hashes.SHA256()).hex()
    state = answer(get(server, f"/requests/{made['id']}"))
    assert (state["state"], state["device"], state["requester"]) == ("waiting", "phone-1", "mdm")
    problem(get(server, f"/requests/{made['id']}/certificate"), 404, "GH1015")

    reply = enrol(server, made)
    assert reply.succeeded, reply
    issued = x509.load_der_x509_certificate(reply.issued)
    assert issued.subject.rfc4514_string() == made["subject"]
    names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [n.value for n in names] == [f"{name.lower()}@example.com"]
    assert verify_chain(reply.issued, server.authority)[0] == 0
    line = decision(server, reply)
    assert line["rule"] == "challenge.mdm" and made["id"] in line["message"]
    assert line["tenant"] == "acme"

    state = answer(get(server, f"/requests/{made['id']}"))
    assert (state["state"], state["status"]) == ("issued", "good")
    assert int(state["serial"], 16) == issued.serial_number
    whole = answer(get(server, f"/requests/{made['id']}/certificate"))
    assert base64.b64decode(whole["certificate"]) == reply.issued
    assert base64.b64decode(whole["chain"][0]) == ca.public_bytes(serialization.Encoding.DER)
    listed = answer(get(server, "/certificates?device=phone-1"))["requests"]
    assert made["id"] in [one["id"] for one in listed]
    quoted = urllib.parse.quote(made["subject"])
    assert [one["id"] for one in answer(get(server, f"/certificates?subject={quoted}"))["requests"]] \
        == [made["id"]]
    assert answer(get(server, "/certificates?device=phone-2"))["requests"] == []
    problem(get(server, "/certificates"), 400, "GH1018")


def test_audit_links_user_and_challenge(server, subject):
    response = post(server, "/challenges", **laptop(common_name(subject)))
    made = answer(response, 201)
    line = audited(server, response)
    assert (line["event"], line["protocol"], line["user"], line["result"]) == (
        "challenge", "mdm", "mdm", "done")
    assert made["id"] in line["message"] and made["challenge"] not in json.dumps(line)


def test_challenge_is_good_once(server, subject):
    made = challenge(server, **laptop(common_name(subject)))
    client = server.client(LAPTOPS)
    reply = client.enrol(standard.device_key(1), made["challenge"], subject)
    assert reply.succeeded, reply
    again = client.read(client.send(reply.request), reply.request)
    assert again.succeeded and again.issued == reply.issued
    refused(client.enrol(standard.device_key(2), made["challenge"], subject))
    refused(client.enrol(standard.device_key(1), made["challenge"], "CN=other"))


def test_other_places(server, subject):
    """A challenge is for one digital ID, and for nothing else."""
    name = common_name(subject)
    made = challenge(server, **laptop(name))
    for path in (MOBILE, "/scep/beta/tablets/mdm", standard.ONETIME):
        refused(server.client(path).enrol(standard.device_key(1), made["challenge"], subject))
    assert enrol(server, made).succeeded
    other = server.ctl_ok("challenge", "new", "--tenant", "acme", "--issuer", "devices",
                          "--profile", "scep-digital-signature").object["challenge"]
    refused(server.client(LAPTOPS).enrol(standard.device_key(1), other, subject))
    refused(server.client(LAPTOPS).enrol(standard.device_key(1), "", subject))


def test_expiry(server, subject):
    made = challenge(server, **laptop(common_name(subject), expires=1))
    time.sleep(1.1)
    refused(enrol(server, made))
    assert answer(get(server, f"/requests/{made['id']}"))["state"] == "expired"


def test_lifetime_is_not_exceeded(server, subject):
    made = challenge(server, **laptop(common_name(subject), expires="20d"))
    begin = time.strptime(answer(get(server, f"/requests/{made['id']}"))["created"],
                          "%Y-%m-%dT%H:%M:%SZ")
    end = time.strptime(made["expires"], "%Y-%m-%dT%H:%M:%SZ")
    assert 599 <= time.mktime(end) - time.mktime(begin) <= 601


@pytest.mark.parametrize("value", ["a,ou=Admins", "a+ou=Admins", "a\\,o=b", "\"a\",o=b", "a\\"])
def test_injection(server, value, subject):
    host = f"{value}{common_name(subject)[-8:]}"
    reply = enrol(server, challenge(server, **laptop(host)))
    assert reply.succeeded, reply
    name = x509.load_der_x509_certificate(reply.issued).subject
    assert [(a.oid._name, a.value) for a in name] == [("organizationalUnitName", "Staff"),
                                                     ("commonName", host)]
    assert all(len(list(rdn)) == 1 for rdn in name.rdns)


def test_paths(server):
    """Trailing slashes and what clients append; nothing that is not configured."""
    for tail in ("", "/", "/nop", "/pkiclient.exe"):
        assert server.get(f"{MOBILE}{tail}?operation=GetCACaps").status == 200
    for path in ("/scep/acme/Mobile%20Devices", "/scep/acme/nothing/mdm", "/scep/beta/laptops/mdm",
                 "/scep/acme/LAPTOPS/mdm", "/scep/acme/laptops/MDM", "/scep/acme/laptops/mdm/x"):
        assert server.get(f"{path}?operation=GetCACaps").status == 404


def test_renewal_by_the_device(server, subject):
    """The certificate vouches for the next one, whose names are those of the first."""
    made = challenge(server, **laptop(common_name(subject)))
    reply = enrol(server, made)
    assert reply.succeeded, reply
    rows = [url for url in server.ctl_ok("urls").objects if url["challenges"] == ["mdm"]]
    assert server.url(LAPTOPS) in [row["url"] for row in rows]
    assert server.url(MOBILE) in [row["url"] for row in rows]


def test_renew_and_revoke(server, subject):
    made = challenge(server, **person(common_name(subject), device="phone-3"))
    reply = enrol(server, made)
    assert reply.succeeded, reply
    renewed = answer(post(server, f"/requests/{made['id']}/renew"), 201)
    assert renewed["subject"] == made["subject"] and renewed["id"] != made["id"]
    assert renewed["subjectAltNames"] == made["subjectAltNames"]
    second = enrol(server, renewed, 2)
    assert second.succeeded, second
    subjects = {x509.load_der_x509_certificate(one.issued).subject for one in (reply, second)}
    assert len(subjects) == 1

    problem(post(server, f"/requests/{made['id']}/revoke", reason="because"), 400, "GH1016")
    problem(post(server, f"/requests/{made['id']}/revoke", "other"), 404, "GH1017")
    response = post(server, f"/requests/{made['id']}/revoke", reason="keyCompromise")
    assert answer(response)["status"] == "revoked"
    line = audited(server, response)
    assert (line["event"], line["user"], line["protocol"], line["message"]) == (
        "revoke", "mdm", "mdm", "keyCompromise")
    states = {one["id"]: (one["status"], one.get("reason"))
              for one in answer(get(server, "/certificates?device=phone-3"))["requests"]}
    assert states == {made["id"]: ("revoked", "keyCompromise"), renewed["id"]: ("good", None)}
    waiting = challenge(server, **laptop(common_name(subject)))
    problem(post(server, f"/requests/{waiting['id']}/revoke"), 404, "GH1015")


def test_strongswan(server, subject, tmp_path):
    made = challenge(server, **laptop(common_name(subject)))
    client = server.client(LAPTOPS)
    for name, der in (("ra", client.ra), ("ca", client.certificates[1])):
        (tmp_path / f"{name}.der").write_bytes(der)
    (tmp_path / "root.pem").write_bytes(server.authority.root_path.read_bytes())
    (tmp_path / "key.pem").write_bytes(private_pem(standard.device_key(7)))
    done = subprocess.run(
        ["pki", "--scep", "--url", made["url"], "--cacert-enc", "ra.der", "--cacert-sig", "ra.der",
         "--cacert", "ca.der", "--cacert", "root.pem", "--cipher", "des3",
         "--digest", "sha256", "--in", "key.pem", "--dn", "CN=what pki says", "--password",
         made["challenge"], "--outform", "pem"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    issued = x509.load_pem_x509_certificate(done.stdout)
    assert issued.subject.rfc4514_string() == made["subject"]


def test_secrets(server):
    """Challenges and passwords of users are in no log."""
    made = challenge(server, **laptop("secret-test"))
    assert enrol(server, made, 3).succeeded
    wait_until(lambda: made["id"] in server.audit_path.read_text(), what="the audit line")
    for path in (server.error_log_path, server.audit_path, server.root / "log" / "access.log"):
        text = path.read_text(errors="replace")
        assert made["challenge"] not in text
        assert all(secret not in text for secret in USERS.values())


# What "httpd -t" says

def broken(server, old, new):
    server.configure(lambda s: content(s).replace(old, new, 1))
    return server.configtest()


@pytest.mark.parametrize("old, new, number", [
    ('"Mobile Devices"', '"Mob"', "GH1002"),
    ('"Mobile Devices"', '"Mobile/Devices"', "GH1002"),
    ('"Mobile Devices"', '"laptops"', "GH1005"),
    ("    DigitalIDTenant  acme\n", "", "GH1004"),
    ("DigitalIDIssuer  devices", "DigitalIDIssuer  nobody", "GH1006"),
    (f"DigitalIDProfile {PROFILE}", "DigitalIDProfile nothing", "GH1006"),
    ("DigitalIDModes   scep", "DigitalIDModes   p12", "GH1006"),
    ("DigitalIDModes   scep", "DigitalIDModes   both", "GH0999"),
    ("DigitalIDModes   scep", "DigitalIDKeySize 1024", "GH0997"),
    ("DigitalIDModes   scep", "DigitalIDModes", "GH1000"),
    ("DigitalIDUsers   mdm\n", "DigitalIDUsers\n", "GH1001"),
    ("DigitalIDLifetime 10m", "DigitalIDLifetime 10", "GH0996"),
    ("DigitalIDLifetime 10m", "DigitalIDLifetime 10m\n    DigitalIDLifetime 10m", "GH0995"),
    ("DigitalIDLifetime 10m", "SetHandler none", "GH1003"),
    ('"cn=<host>"', '"cn=<host"', "GH0998"),
    ('"ou=Devices,o=Example,c=DE"', '"Devices"', "GH0998"),
    ("email \"<mail:lower>\"", "mail \"<mail:lower>\"", "GH0998"),
    ("SetHandler gatehouse-scep", "SetHandler default-handler", "GH0993"),
    ('<Location "/mdm/services">', '<Location "/mdm/other">', "GH1007"),
    ("SetHandler gatehouse-mdm", "SetHandler gatehouse-mdm\n    SCEPChallengeFor acme devices "
                                 "scep-digital-signature", "GH1008"),
    ("SCEPFailureLimit off", "DigitalIDTenant acme", "GH0994"),
])
def test_configtest(make_server, old, new, number):
    server = make_server(content, modules=MODULES, start=False)
    result = broken(server, old, new)
    assert result.returncode != 0 and number in result.stderr, result.stderr
    assert names_line(server, result, r"DigitalID|Location|SCEPChallengeFor|SetHandler"), result


def test_configtest_good(make_server):
    server = make_server(content, modules=MODULES, start=False)
    result = server.configtest()
    assert result.returncode == 0, result.stderr
