# Licensed under the Apache License, Version 2.0. See LICENSE.
"""gatehousectl check and urls: what is wrong is said, once, with its number; and what needs no key
works without one."""

import json
import os
import time

import pytest
from cryptography import x509

from harness import environment, standard
from harness.checks import issued_to, serial_text
from harness.config import CRL_AND_CA, issuer, location
from harness.pki import Authority
from harness.server import CHALLENGE, free_port, wait_until
from scep import transport

STATIC = standard.STATIC
ONETIME = standard.ONETIME


def scep(server, *more):
    return "".join([
        standard.PROFILES, issuer(server.authority),
        location("/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
                 f"SCEPProfiles {standard.BASE} scep-digital-signature"),
        location(STATIC, standard.challenge(server)),
        location(ONETIME, "SCEPChallenge onetime"), CRL_AND_CA, *more])


def verdicts(server):
    """(exit status, rows by name); each name has one row."""
    result = server.ctl("check")
    rows = {row["name"]: row for row in result.objects}
    assert len(rows) == len(result.objects), result
    return result.status, rows


def wrong(rows):
    return {name: row["gh"] for name, row in rows.items() if row["verdict"] != "ok"}


def ra_of(server):
    return x509.load_der_x509_certificate(server.client(STATIC).ra)


def get_ca_cert(server):
    target = transport.operation_target(server.url(STATIC), "GetCACert")
    return transport.request(server.url(STATIC), target=target)


def enrol(server, subject):
    reply = server.client(STATIC).enrol(standard.device_key(), CHALLENGE, subject)
    assert reply.succeeded, reply
    return serial_text(reply.certificate.serial_number)


# keys that do not agree with the store

def test_another_sealing_key(make_server, subject):
    """Nothing can be enrolled then. Who has lost the old one revokes the RA certificate."""
    server = make_server(scep)
    old = serial_text(ra_of(server).serial_number)
    server.stop()
    server.make_secret("sealing-key", os.urandom(32).hex())
    server.expect("GH0210", "GH0121")
    server.start()
    assert get_ca_cert(server).status == 503
    status, rows = verdicts(server)
    assert status == 1 and wrong(rows)["sealing"] == "GH0482", rows
    assert old in rows["sealing"]["message"] and rows["sealing"]["action"]
    line = [line for line in server.log.text().splitlines() if "GH0210" in line][0]
    assert "another key. " in line, line
    server.ctl_ok("cert", "revoke", old, "--reason", "keyCompromise")
    wait_until(lambda: get_ca_cert(server).status == 200, 5, what="another RA key")
    enrol(server, subject)
    status, rows = verdicts(server)
    assert status == 0 and rows["sealing"]["verdict"] == "ok", rows
    assert serial_text(ra_of(server).serial_number) in rows["ra.devices"]["message"]


def test_sealing_key_that_is_none(make_server):
    """What the parent cannot read, httpd says itself: there is one verdict."""
    server = make_server(scep, start=False)
    server.make_secret("sealing-key", "not hexadecimal")
    assert server.configtest().returncode != 0
    status, rows = verdicts(server)
    assert status == 1 and wrong(rows)["configuration"] == "GH0481", rows
    assert rows["sealing"]["verdict"] == "error" and rows["sealing"]["gh"].startswith("GH")
    assert rows["sealing"]["message"].startswith(f"{server.conf}:"), rows["sealing"]


def test_another_ca_under_the_same_name(make_server):
    server = make_server(scep)
    server.crl()                        # the store knows the issuer
    server.stop()
    other = Authority(server.root / "ca", "other", "rsa3072-01")
    old = server.authority
    server.authority = other
    server.configure(lambda s: scep(s).replace("<Issuer other>", "<Issuer devices>"))
    assert server.configtest().returncode == 0
    status, rows = verdicts(server)
    assert status == 1 and wrong(rows)["issuer.devices"] == "GH0483", rows
    assert str(other.certificate_path) in rows["issuer.devices"]["message"]
    server.authority = old
    server.configure(scep)
    status, rows = verdicts(server)
    assert status == 0 and rows["issuer.devices"]["verdict"] == "ok", rows


def test_ra_certificates(make_server):
    server = make_server(scep)
    serial = serial_text(ra_of(server).serial_number)
    end = ra_of(server).not_valid_after.strftime("%Y-%m-%dT%H:%M:%SZ")
    row = verdicts(server)[1]["ra.devices"]
    assert row["verdict"] == "ok" and serial in row["message"] and end in row["message"], row
    server.stop()
    for verb in ("hold", "release", "revoke"):
        server.ctl_ok("cert", verb, serial)
        status, rows = verdicts(server)
        assert status == 0 and wrong(rows).get("ra.devices") == (
            None if verb == "release" else "GH0484"), (verb, rows)
    assert serial in rows["ra.devices"]["message"]


def test_ra_certificate_that_has_expired(make_server):
    server = make_server(lambda s: f"""
<CertificateProfile short-lived-ra base={standard.BASE}>
    ProfileValidity 6s
</CertificateProfile>
SCEPRAProfile short-lived-ra
""" + scep(s))
    end = ra_of(server).not_valid_after
    server.stop()
    wait_until(lambda: time.time() > end.timestamp() - time.timezone, 10, what="its end")
    status, rows = verdicts(server)
    assert status == 0 and wrong(rows)["ra.devices"] == "GH0485", rows


# keys that cannot be had

def remove(path):
    path.unlink()


def open_to_group(path):
    path.chmod(0o640)


@pytest.mark.parametrize("what, change, name, number", [
    ("key", remove, "key.devices", "GH0091"),
    ("key", open_to_group, "key.devices", "GH0100"),
    ("certificate", remove, "certificate.devices", "GH0091"),
    ("chain", remove, "chain.devices", "GH0091"),
    ("sealing", remove, "sealing", "GH0001"),
    ("challenge", remove, "challenges", "GH0001"),
    ("challenge", open_to_group, "challenges", "GH0002"),
])
def test_without_a_key(make_server, subject, what, change, name, number):
    """httpd does not start; what needs no key goes on: certificates can be revoked."""
    server = make_server(scep)
    serial = enrol(server, subject)
    server.stop()
    change({"key": server.authority.key_path, "certificate": server.authority.certificate_path,
            "chain": server.authority.root_path, "sealing": server.secret("sealing-key"),
            "challenge": server.secret("challenge")}[what])
    refused = server.configtest()
    assert refused.returncode != 0 and number in refused.stderr, refused
    assert server.ctl_ok("cert", "revoke", serial).object["status"] == "revoked"
    assert server.ctl_ok("cert", "list").objects and server.ctl_ok("urls").objects
    assert server.ctl("challenge", "new", "--tenant", "acme", "--issuer", "devices", "--profile",
                      "scep-digital-signature").status == 0
    status, rows = verdicts(server)
    assert status == 1
    assert wrong(rows) == {"configuration": "GH0481", name: number}, rows
    assert rows[name]["message"].startswith(f"{server.conf}:") and rows[name]["action"]
    for judged in ("store", "store.writes", "clock", "crl.devices", "ra.devices", "user"):
        assert rows[judged]["verdict"] == "ok", rows


def test_without_several_keys(make_server):
    """Each has its own line."""
    other = {}

    def content(server):
        other["authority"] = Authority(server.root / "ca", "other", "rsa3072-01")
        return scep(server, issuer(other["authority"]), location(
            "/scep/beta", "SCEPTenant beta other"))

    server = make_server(content, start=False)
    server.authority.certificate_path.unlink()
    other["authority"].key_path.unlink()
    server.secret("challenge").unlink()
    server.secret("sealing-key").unlink()
    status, rows = verdicts(server)
    assert status == 1
    assert wrong(rows) == {"configuration": "GH0481", "certificate.devices": "GH0091",
                           "key.other": "GH0091", "challenges": "GH0001", "sealing": "GH0001",
                           "challenges.missing": "GH0406", "store": "GH0416"}
    assert "4 keys or secrets" in rows["configuration"]["message"]
    human = server.ctl("check", as_json=False)
    assert human.status == 1 and human.out.splitlines()[-1] == "6 errors, 1 warnings", human
    dump = server.configtest("-D", "DUMP_GATEHOUSE")
    assert dump.returncode == 0
    assert [(one["name"], one["gh"]) for one in json.loads(dump.stdout)["problems"]] == [
        ("challenges", "GH0001"), ("sealing", "GH0001"), ("certificate.devices", "GH0091"),
        ("key.other", "GH0091")]


def test_a_server_does_not_start_without_a_key(make_server):
    """The dump's indulgence is for the dump only, whatever is defined."""
    server = make_server(scep, start=False)
    server.secret("challenge").unlink()
    server.conf.write_text("Define DUMP_GATEHOUSE\n" + server.conf.read_text())
    with pytest.raises(AssertionError, match="GH0001"):
        server.start()


# what httpd refuses

def test_numbers_of_a_refused_configuration(make_server):
    server = make_server(scep, start=False)
    text = server.conf.read_text()
    server.conf.write_text(text.replace("GatehouseAuditLog", 'GatehouseAuditLog "/no/such/log"\n#'))
    status, rows = verdicts(server)
    assert status == 1 and wrong(rows) == {"configuration": "GH0301"}, rows
    message = rows["configuration"]["message"]
    assert message.startswith(f"{server.conf}:") and "/no/such/" in message
    server.conf.write_text(text.replace("SCEPTenant acme devices", "SCEPTenant acme"))
    status, rows = verdicts(server)
    assert status == 1 and wrong(rows) == {"configuration": "GH0230"}, rows
    assert rows["configuration"]["message"].startswith("line "), rows
    assert str(server.conf) in rows["configuration"]["message"]
    server.conf.write_text(text.replace("SCEPTenant acme devices", "SCEPTenant acme nobody")
                           + issuer(server.authority, "twice")
                           + issuer(server.authority, "thrice"))
    result = server.ctl("check")
    assert result.status == 1
    assert [(row["name"], row["gh"]) for row in result.objects] == [
        ("configuration", "GH0450")] * 3, result


# virtual hosts

def two_hosts(server, first=(), second=()):
    """Two virtual hosts that listen on ports of their own, with the main server's locations."""
    ports = [free_port(), free_port()]
    text = "".join(f"""Listen 127.0.0.1:{port}
<VirtualHost 127.0.0.1:{port}>
    ServerName {name}.example:{port}
    LimitRequestLine 65536
{"".join(lines)}</VirtualHost>
""" for port, name, lines in zip(ports, "ab", (first, second)))
    return text, [f"{name}.example:{port}" for port, name in zip(ports, "ab")]


def scep_urls(server):
    return [row for row in server.ctl_ok("urls").objects if row["kind"] == "scep"]


def test_urls_of_virtual_hosts_that_are_alike(make_server):
    server = make_server(lambda s: scep(s, two_hosts(s)[0]))
    rows = scep_urls(server)
    assert [(row["url"], row["challenges"], row["server"]) for row in rows] == [
        (server.url(ONETIME), ["onetime"], None), (server.url(STATIC), ["static"], None)]
    status, checked = verdicts(server)
    assert status == 0
    assert "1 issuers, 2 SCEP paths" in checked["configuration"]["message"]
    assert checked["challenges"]["message"] == "all 2 SCEP paths ask for a challenge"
    human = server.ctl_ok("urls", as_json=False).out.splitlines()
    assert len(human) == 5 and human[1].split()[-1] == "-"


def test_urls_of_virtual_hosts_that_differ(make_server):
    names = []

    def content(server):
        text, found = two_hosts(server, [location(ONETIME, standard.challenge(server))],
                                [location(STATIC, "SCEPChallenge none insecure")])
        names.extend(found)
        return scep(server, text)

    server = make_server(content)
    server.expect("GH0259")
    first, second = names
    main = f"localhost:{server.port}"
    rows = [(row["url"], row["challenges"], row["server"]) for row in scep_urls(server)]
    assert sorted(rows) == sorted([
        (server.url(ONETIME), ["onetime"], f"{main},{second}"),
        (server.url(ONETIME), ["static"], first),
        (server.url(STATIC), ["static"], f"{main},{first}"),
        (server.url(STATIC), ["none"], second)]), rows
    human = server.ctl_ok("urls", as_json=False).out
    assert "SERVER" in human.splitlines()[0] and f"{main},{second}" in human
    checked = verdicts(server)[1]["challenges.none"]
    assert checked["message"].startswith("1 SCEP paths give"), checked


def test_urls_of_an_issuer_with_its_own(make_server):
    server = make_server(lambda s: scep(s).replace(
        "<Issuer devices>", "<Issuer devices>\n    GatehousePublicURL http://devices.example:81"))
    rows = server.ctl_ok("urls").objects
    assert {row["url"] for row in rows} == {
        f"http://devices.example:81{path}"
        for path in (ONETIME, STATIC, "/crl/devices.crl", "/ca/devices.cer")}


def test_challenge_for_the_virtual_host_that_takes_it(make_server, subject):
    """One has a static challenge on the path, the other one-time challenges."""
    def content(server):
        text, found = two_hosts(server, [location(ONETIME, standard.challenge(server))],
                                [location(ONETIME, "SCEPChallenge onetime phones")])
        server.second = "http://127.0.0.1:" + found[1].rsplit(":", 1)[1]
        return scep(server, text).replace(location(ONETIME, "SCEPChallenge onetime"),
                                          location(ONETIME, standard.challenge(server)))

    server = make_server(content)
    new = ("challenge", "new", "--tenant", "acme", "--issuer", "devices", "--profile",
           "scep-digital-signature")
    made = server.ctl_ok(*new).object["challenge"]
    client = server.client(ONETIME)
    assert client.enrol(standard.device_key(), made, subject).failed
    client.url = server.second + ONETIME
    assert client.enrol(standard.device_key(), made, subject).succeeded
    assert issued_to(server, subject)
    assert server.ctl_ok(*new, "--set", "phones").object["challenge"]
    other = server.ctl(*new, "--set", "printers")
    assert other.status == 1 and "GH0346" in other.err
    # two sets on two hosts: one has to say which
    server.conf.write_text(server.conf.read_text().replace(
        standard.challenge(server) + "\n</Location>\n</VirtualHost>",
        "SCEPChallenge onetime printers\n</Location>\n</VirtualHost>", 1))
    several = server.ctl(*new)
    assert several.status == 1 and "GH0345" in several.err, several
    assert server.ctl_ok(*new, "--set", "printers").object["challenge"]


# the audit log

def test_decisions_come_before_what_follows(make_server):
    server = make_server(lambda s: scep(s).replace(
        location(ONETIME, "SCEPChallenge onetime"),
        location(standard.MANUAL, "SCEPProfiles test-manual", standard.challenge(s))))
    client = server.client(standard.MANUAL)
    for number in range(environment.count(8, 40)):
        pending = client.enrol(standard.device_key(1 + number % 4), CHALLENGE, f"CN=m{number}")
        assert pending.pending, pending
        server.ctl_ok("enrolment", "approve", server.ctl_ok(
            "enrolment", "list", "--state", "waiting").object["id"])
        wanted = pending.request.transaction
        lines = wait_until(lambda: [
            line["event"] for line in server.audit() if line.get("transaction") == wanted
            and line["event"] in ("approve", "issue")][1:], 10, what="both lines")
        order = [line["event"] for line in server.audit()
                 if line.get("transaction") == wanted and line["event"] in ("approve", "issue")]
        assert order == ["approve", "issue"], (number, lines)
