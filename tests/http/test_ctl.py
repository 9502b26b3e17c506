# Licensed under the Apache License, Version 2.0. See LICENSE.
"""gatehousectl against a running server: every command, its objects, its exit codes."""

import datetime
import json
import os
import subprocess

import pytest
from cryptography import x509

from harness import environment, standard
from harness.checks import issued_to, new_challenge, serial_text
from harness.config import CRL_AND_CA, issuer, location
from harness.legacy import leaf, pem
from harness.pki import Authority
from harness.server import CHALLENGE, wait_until

CERTIFICATE = ["serial", "issuer", "subject", "sans", "profile", "status", "reason", "not_before",
               "not_after", "revoked_at", "sha256", "enrolment"]
ENROLMENT = ["id", "state", "protocol", "tenant", "issuer", "profile", "transaction", "subject",
             "created", "serial"]
CHECK = ["name", "verdict", "gh", "message", "action"]
CHALLENGE_MEMBERS = ["id", "challenge", "expires"]
URL = ["kind", "url", "tenant", "issuer", "profile", "challenges", "server"]
TIME = "%Y-%m-%dT%H:%M:%SZ"


def content(server):
    return standard.content(server) + location(
        "/scep/acme/other/scep-digital-signature", "SCEPChallenge onetime one",
        "SCEPChallenge onetime two") + location(
        "/scep/acme/other/scep-non-repudiation", "SCEPChallenge none insecure")


@pytest.fixture(scope="module")
def server(make_module_server):
    server = make_module_server(content)
    server.allow("GH0259")          # somebody is let in without a challenge
    return server


def run(*arguments, stdin=None, **more):
    """Without -f."""
    return subprocess.run([environment.gatehousectl(), *map(str, arguments)], input=stdin,
                          text=True, check=False, timeout=60, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=environment.variables(**more))


def enrol(server, subject, number=1):
    reply = server.client(standard.STATIC).enrol(standard.device_key(number), CHALLENGE, subject)
    assert reply.succeeded, reply
    return serial_text(reply.certificate.serial_number)


# usage

def test_version_and_help():
    version = run("--version")
    assert version.returncode == 0 and version.stdout.startswith("gatehousectl ")
    usage = run("help")
    assert usage.returncode == 0 and "cert revoke" in usage.stdout and "Exit status" in usage.stdout
    assert run("--help").stdout == usage.stdout
    one = run("help", "cert", "revoke")
    assert one.returncode == 0 and "--reason" in one.stdout and "--tenant" not in one.stdout
    assert run("cert", "revoke", "--help").stdout == one.stdout
    noun = run("help", "enrolment")
    assert noun.returncode == 0 and "approve" in noun.stdout and "deny" in noun.stdout


@pytest.mark.parametrize("arguments", [
    (), ("nonsense",), ("cert",), ("cert", "nonsense"), ("help", "nonsense"),
    ("--nonsense",), ("cert", "list"), ("check",), ("urls",), ("-f",),
    ("-f", "/dev/null", "cert", "show"), ("-f", "/dev/null", "cert", "show", "01", "02"),
    ("-f", "/dev/null", "cert", "list", "--limit", "0"),
    ("-f", "/dev/null", "cert", "list", "--limit", "x"),
    ("-f", "/dev/null", "cert", "list", "--limit"),
    ("-f", "/dev/null", "cert", "list", "--status", "fine"),
    ("-f", "/dev/null", "cert", "list", "--pem"),
    ("-f", "/dev/null", "cert", "list", "--issuer", "a", "--issuer", "b"),
    ("-f", "/dev/null", "cert", "show", "nothex"),
    ("-f", "/dev/null", "cert", "show", "1" * 42),
    ("-f", "/dev/null", "cert", "revoke", "01", "--reason", "whim"),
    ("-f", "/dev/null", "cert", "revoke", "01", "--invalid-from", "yesterday"),
    ("-f", "/dev/null", "cert", "revoke", "01", "--invalid-from", "2999-01-01T00:00:00Z"),
    ("-f", "/dev/null", "cert", "revoke", "-", "--issuer", "devices"),
    ("-f", "/dev/null", "cert", "import", "x.pem"),
    ("-f", "/dev/null", "enrolment", "list", "--state", "fine"),
    ("-f", "/dev/null", "enrolment", "list", "--limit", "-1"),
    ("-f", "/dev/null", "enrolment", "deny", "0" * 32, "--reason", "two\nlines"),
    ("-f", "/dev/null", "enrolment", "deny", "0" * 32, "--reason", "x" * 201),
    ("-f", "/dev/null", "challenge", "new", "--tenant", "a", "--issuer", "b"),
    ("-f", "/dev/null", "challenge", "new", "--tenant", "a", "--issuer", "b", "--profile", "c",
     "--expires", "soon"),
    ("-f", "/dev/null", "challenge", "new", "--tenant", "a", "--issuer", "b", "--profile", "c",
     "--expires", "0s"),
    ("-f", "/dev/null", "challenge", "new", "--tenant", "a", "--issuer", "b", "--profile", "c",
     "--expires", "2y"),
    ("-f", "/dev/null", "challenge", "new", "--tenant", "a", "--issuer", "b", "--profile", "c",
     "--subject", "no name"),
    ("ca", "import", "x.pem"), ("ca", "crl"), ("ca", "init", "extra"),
])
def test_usage(arguments):
    result = run(*arguments)
    assert result.returncode == 2, result
    assert result.stdout == ""
    assert "GH0" in result.stderr or "Usage:" in result.stderr


def test_the_configuration_must_be_there(server, tmp_path):
    assert run("-f", tmp_path / "missing.conf", "cert", "list").returncode == 1
    other = tmp_path / "other.conf"
    other.write_text(f"ServerRoot {tmp_path}\n{environment.load_module('mpm_event')}nonsense\n")
    broken = run("-f", other, "cert", "list")
    assert broken.returncode == 1 and "nonsense" in broken.stderr and "GH0326" in broken.stderr
    other.write_text(f"ServerRoot {tmp_path}\nServerName localhost\nListen 127.0.0.1:1\n"
                     f"ErrorLog {tmp_path}/error.log\n" + environment.load_module("mpm_event"))
    assert "GH0327" in run("-f", other, "cert", "list").stderr
    missing = run("-f", server.conf, "--httpd", "/nonexistent/httpd", "cert", "list")
    assert missing.returncode == 1 and "GH0325" in missing.stderr
    assert run("-f", server.conf, "cert", "list",
               GATEHOUSE_HTTPD="/nonexistent/httpd").returncode == 1


def test_a_relative_path(server):
    result = subprocess.run([environment.gatehousectl(), "-f", "httpd.conf", "urls"],
                            cwd=server.root, env=environment.variables(), check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.returncode == 0, result


def test_json_before_and_behind(server, subject):
    enrol(server, subject)
    before = run("--json", "-f", server.conf, "cert", "list", "--limit", 1)
    behind = run("cert", "list", "--limit", "1", "--json", "-f", server.conf)
    assert before.returncode == behind.returncode == 0
    assert json.loads(before.stdout) == json.loads(behind.stdout)


def test_output_that_does_not_arrive(server):
    if os.path.exists("/dev/full"):
        with open("/dev/full", "w", encoding="ascii") as full:
            result = subprocess.run(
                [environment.gatehousectl(), "-f", str(server.conf), "urls"], stdout=full,
                stderr=subprocess.PIPE, text=True, check=False, env=environment.variables())
        assert result.returncode == 1 and "GH0336" in result.stderr


# certificates

def test_list_and_show(server, subject):
    serial = enrol(server, subject)
    shown = server.ctl_ok("cert", "show", serial).object
    assert list(shown) == CERTIFICATE
    assert shown["serial"] == serial and shown["issuer"] == "devices"
    assert shown["status"] == "good" and shown["reason"] is None and shown["revoked_at"] is None
    assert shown["profile"] == standard.BASE and isinstance(shown["sans"], list)
    assert len(shown["enrolment"]) == 32 and len(shown["sha256"]) == 64
    begin = datetime.datetime.strptime(shown["not_before"], TIME)
    end = datetime.datetime.strptime(shown["not_after"], TIME)
    assert begin < datetime.datetime.utcnow() < end
    text = subject.split(",")[0]
    assert server.certificates("--subject", text) == [shown]
    assert server.certificates("--subject", text.upper()) == [shown]
    assert server.certificates("--subject", text, "--status", "good") == [shown]
    assert server.certificates("--subject", text, "--status", "revoked") == []
    assert server.certificates("--subject", text, "--issuer", "other") == []
    assert server.certificates("--subject", text, "--profile", "other") == []
    for form in (serial.upper(), ":".join(serial[i:i + 2] for i in range(0, len(serial), 2))):
        assert server.ctl_ok("cert", "show", form).object == shown
    pem = server.ctl_ok("cert", "show", serial, "--pem", as_json=False).out
    assert x509.load_pem_x509_certificate(pem.encode()).serial_number == int(serial, 16)
    human = server.ctl_ok("cert", "list", "--subject", text, as_json=False).out.splitlines()
    assert len(human) == 2 and human[0].startswith("SERIAL") and human[1].startswith(serial)
    assert human[0].index("ISSUER") == human[1].index("devices")
    assert serial in server.ctl_ok("cert", "show", serial, as_json=False).out
    assert server.ctl("cert", "show", "0102").status == 3
    assert server.ctl("cert", "show", serial, "--issuer", "other").status == 3


def test_list_in_pages(make_server):
    """More certificates than one transaction reads."""
    server = make_server(lambda s: issuer(s.authority) + CRL_AND_CA)
    made = import_many(server, 1203)
    listed = [row["serial"] for row in server.certificates()]
    assert len(listed) == len(set(listed)) and set(made) <= set(listed)
    assert listed == sorted(listed)
    for limit in (1, 500, 501, 1000):
        assert [row["serial"] for row in server.certificates("--limit", limit)] == listed[:limit]


def import_many(server, count):
    text = pem(*(leaf(server.authority, 0x1000000 + number) for number in range(count)))
    result = server.ctl("cert", "import", "--issuer", "devices", "-", stdin=text)
    assert result.status == 0, result
    assert len(result.objects) == count
    return [row["serial"] for row in result.objects]


def test_states(server, subject):
    serial = enrol(server, subject)

    def state(verb, *options):
        result = server.ctl("cert", verb, serial, *options)
        return result.status, (result.object["status"], result.object["reason"]) \
            if result.status == 0 else None

    assert state("release") [0] in (0, 1)
    assert state("hold") == (0, ("held", "certificateHold"))
    assert state("release") == (0, ("good", None))
    assert state("hold")[0] == 0
    assert state("revoke", "--reason", "superseded") == (0, ("revoked", "superseded"))
    at = server.ctl_ok("cert", "show", serial).object["revoked_at"]
    assert state("revoke", "--reason", "superseded") == (0, ("revoked", "superseded"))
    assert server.ctl_ok("cert", "show", serial).object["revoked_at"] == at
    for reason in ("keyCompromise", "unspecified", "cessationOfOperation"):
        assert state("revoke", "--reason", reason) == (0, ("revoked", "superseded"))
    assert server.ctl_ok("cert", "show", serial).object["revoked_at"] == at
    assert state("hold")[0] == 1 and state("release")[0] == 1
    assert state("revoke", "--reason", "certificateHold")[0] in (1, 2)
    human = server.ctl_ok("cert", "revoke", serial, "--reason", "keyCompromise", as_json=False).out
    assert human.splitlines()[1] == \
        f"It was revoked already, at {at}, for the reason superseded: that stays."
    human = server.ctl_ok("cert", "revoke", serial, "--reason", "superseded", as_json=False).out
    assert human.startswith("unchanged devices " + serial)


def test_invalid_from(server, subject):
    serial = enrol(server, subject)
    human = server.ctl_ok("cert", "revoke", serial, "--reason", "keyCompromise",
                          "--invalid-from", "2020-01-02T03:04:05Z", as_json=False).out
    assert human.startswith(f"revoked devices {serial} (keyCompromise)")
    assert "2020-01-02T03:04:05Z" in server.ctl_ok("cert", "show", serial, as_json=False).out


def test_lines_of_standard_input(server, subject):
    serials = [enrol(server, subject, number) for number in (1, 2, 3)]
    text = (f"# stolen\n\ndevices {serials[0]}\r\n  devices\t{serials[1]} keyCompromise\n"
            f"devices {serials[2]} whim\ndevices {serials[2]} superseded more\n"
            f"{'x' * 5000}\ndevices 0102\nnobody {serials[2]}\ndevices {serials[1]} keyCompromise")
    result = server.ctl("cert", "revoke", "-", "--reason", "superseded", stdin=text)
    assert result.status == 1
    assert [list(row) for row in result.objects] == [
        ["line", "issuer", "serial", "result", "reason", "gh", "message"]] * 8
    assert [(row["line"], row["result"], row["reason"], row["gh"] is not None)
            for row in result.objects] == [
                (3, "revoked", "superseded", False), (4, "revoked", "keyCompromise", False),
                (5, "failed", None, True), (6, "failed", None, True), (7, "failed", None, True),
                (8, "failed", None, True), (9, "failed", None, True),
                (10, "unchanged", "keyCompromise", False)]
    assert server.ctl_ok("cert", "show", serials[2]).object["status"] == "good"
    human = server.ctl("cert", "revoke", "-", as_json=False, stdin=f"devices {serials[2]}\nbad\n")
    assert human.status == 1
    first, second = human.out.splitlines()
    assert first.startswith(f"line 1: revoked devices {serials[2]}")
    assert second.startswith("line 2: failed bad") and "GH0354" in second
    assert server.ctl("cert", "revoke", "-", stdin="").status == 0


def test_a_serial_of_two_issuers(make_server):
    made = {}

    def two(server):
        made["other"] = Authority(server.root / "ca", "other", "rsa3072-01")
        return issuer(server.authority) + issuer(made["other"]) + CRL_AND_CA
    server = make_server(two)
    serial = "5e5e5e5e"
    mine = pem(leaf(server.authority, int(serial, 16), "both"))
    assert server.ctl("cert", "import", "--issuer", "devices", "-", stdin=mine).status == 0
    wrong = server.ctl("cert", "import", "--issuer", "other", "-", stdin=mine)
    assert wrong.status == 1 and "GH0360" in wrong.err
    theirs = pem(leaf(made["other"], int(serial, 16), "both"))
    assert server.ctl("cert", "import", "--issuer", "other", "-", stdin=theirs).status == 0
    for verb in ("show", "revoke", "hold"):
        result = server.ctl("cert", verb, serial)
        assert result.status == 1 and "devices" in result.err and "other" in result.err
    assert server.ctl_ok("cert", "revoke", serial, "--issuer", "other").object["issuer"] == "other"
    assert server.ctl_ok("cert", "show", serial, "--issuer", "devices").object["status"] == "good"


# enrolments

def waiting(server, subject):
    reply = server.client(standard.MANUAL).enrol(standard.device_key(), CHALLENGE, subject)
    assert reply.pending, reply
    rows = [row for row in server.ctl_ok("enrolment", "list", "--state", "waiting").objects
            if row["transaction"] == reply.request.transaction]
    assert len(rows) == 1
    return rows[0]


def test_enrolments(server, subject):
    row = waiting(server, subject)
    assert list(row) == ENROLMENT
    assert row["state"] == "waiting" and row["serial"] is None
    assert server.ctl_ok("enrolment", "show", row["id"]).object == row
    human = server.ctl_ok("enrolment", "show", row["id"], as_json=False).out
    assert "The certificate would have:" in human and "X509v3 Key Usage" in human
    approved = server.ctl_ok("enrolment", "approve", row["id"]).object
    assert approved["id"] == row["id"] and approved["state"] in ("approved", "issued")
    wait_until(lambda: issued_to(server, subject), 5, what="the certificate")
    shown = server.ctl_ok("enrolment", "show", row["id"]).object
    listed = server.ctl_ok("enrolment", "list", "--state", "issued").objects
    assert shown in listed and {one["state"] for one in listed} == {"issued"}
    assert row["id"] not in [one["id"] for one in server.ctl_ok(
        "enrolment", "list", "--state", "waiting").objects]
    assert shown["state"] == "issued" and shown["serial"] == issued_to(server, subject)[0]["serial"]
    for verb in ("approve", "deny"):
        assert server.ctl("enrolment", verb, row["id"]).status == 1
    assert len(server.ctl_ok("enrolment", "list", "--limit", "1").objects) == 1
    for verb in ("show", "approve", "deny"):
        assert server.ctl("enrolment", verb, "f" * 32).status == 3
        assert server.ctl("enrolment", verb, "not-an-id").status == 3


def test_denial(server, subject):
    row = waiting(server, subject)
    denied = server.ctl_ok("enrolment", "deny", row["id"], "--reason", "not ours").object
    assert denied["state"] == "denied"
    assert "not ours" in server.ctl_ok("enrolment", "show", row["id"], as_json=False).out
    lines = wait_until(lambda: [line for line in server.audit() if line["event"] == "deny"
                                and line["transaction"] == row["transaction"]], 5,
                       what="the line of the audit log")
    assert lines[0]["message"] == "not ours" and lines[0]["protocol"] == "ctl"
    assert lines[0]["user"] and lines[0]["node"] == "test-node" and lines[0]["id"]


def test_who_did_it(server, subject):
    serial = enrol(server, subject)
    result = run("-f", server.conf, "cert", "hold", serial, SUDO_USER="alice")
    assert result.returncode == 0, result
    lines = wait_until(lambda: [line for line in server.audit() if line["event"] == "hold"
                                and line["serial"] == serial], 5, what="the line")
    import getpass
    assert lines[0]["user"] == ("alice" if environment.IS_ROOT else getpass.getuser())


# challenges

def challenge(server, *options, issuer_name="devices", profile="scep-digital-signature"):
    return server.ctl("challenge", "new", "--tenant", "acme", "--issuer", issuer_name,
                      "--profile", profile, *options)


def test_challenge(server, subject):
    made = challenge(server, "--expires", "2h").object
    assert list(made) == CHALLENGE_MEMBERS
    expires = datetime.datetime.strptime(made["expires"], TIME) - datetime.datetime.utcnow()
    assert 7190 < expires.total_seconds() <= 7200
    assert len(made["challenge"]) >= 32
    client = server.client(standard.ONETIME)
    reply = client.enrol(standard.device_key(), made["challenge"], subject)
    assert reply.succeeded, reply
    assert client.enrol(standard.device_key(2), made["challenge"], subject).failed
    human = server.ctl_ok("challenge", "new", "--tenant", "acme", "--issuer", "devices",
                          "--profile", "scep-digital-signature", as_json=False).out
    assert [line.split()[0] for line in human.splitlines()] == ["challenge", "id", "expires"]


def test_challenge_by_alias(server, subject):
    """The profile's older name stands for the same endpoint."""
    made = challenge(server, profile="scep-signature-key-encipherment")
    assert made.status == 1 and "GH0346" in made.err      # found, though it takes static ones only


def test_challenge_for_a_subject(server, subject):
    made = new_challenge(server, "--subject", ",".join(reversed(subject.split(","))))
    client = server.client(standard.ONETIME)
    assert client.enrol(standard.device_key(), made, "CN=somebody-else").failed
    assert client.enrol(standard.device_key(), made, subject).succeeded


def test_challenge_sets(server, subject):
    printers = challenge(server, profile="scep-key-encipherment").object["challenge"]
    assert server.client(standard.ONETIME_SET).enrol(
        standard.device_key(), printers, subject).succeeded
    assert challenge(server, "--set", "printers", profile="scep-key-encipherment").status == 0
    assert challenge(server, "--set", "phones", profile="scep-key-encipherment").status == 1
    several = challenge(server, issuer_name="other")
    assert several.status == 1 and "--set" in several.err
    assert challenge(server, "--set", "two", issuer_name="other").status == 0


def test_challenge_without_a_place(server):
    assert challenge(server, issuer_name="nobody").status == 3
    assert challenge(server, profile="nothing").status == 3
    assert challenge(server, profile="test-code-signing").status in (1, 3)
    static = challenge(server, profile=standard.BASE)
    assert static.status == 1 and "SCEPChallenge onetime" in static.err


# check and urls

def verdicts(server):
    result = server.ctl("check")
    assert all(list(row) == CHECK for row in result.objects)
    for row in result.objects:
        assert row["verdict"] in ("ok", "warning", "error") and row["message"]
        assert (row["gh"] is None) == (row["action"] is None) == (row["verdict"] == "ok"), row
    return result.status, {row["name"]: row for row in result.objects}


def test_check(server):
    wait_until(lambda: verdicts(server)[1]["crl.other"]["verdict"] == "ok", 10, what="the CRLs")
    status, rows = verdicts(server)
    assert status == 0, rows
    for name in ("configuration", "user", "certificate.devices", "key.devices", "crl.devices",
                 "sealing", "store", "store.writes", "clock", "key.other"):
        assert rows[name]["verdict"] == "ok", rows[name]
    assert rows["challenges.none"]["verdict"] == "warning"
    assert "scep-non-repudiation" in rows["challenges.none"]["message"]
    assert rows["challenges.missing"]["verdict"] == "warning"
    human = server.ctl_ok("check", as_json=False).out
    assert human.splitlines()[-1] == "0 errors, 3 warnings" or "0 errors" in human


def test_check_finds(make_server):
    server = make_server(lambda s: issuer(Authority(s.root / "ca", "short", "rsa2048-09", days=10))
                         + issuer(Authority(s.root / "ca", "long", "rsa2048-10", days=3650))
                         + issuer(s.authority) + CRL_AND_CA, start=False)
    status, rows = verdicts(server)
    assert status == 1
    assert rows["store"]["verdict"] == "error" and rows["store"]["gh"] == "GH0416"
    assert rows["certificate.short"]["verdict"] == "warning"
    assert rows["certificate.short"]["gh"] == "GH0397"
    assert rows["certificate.long"]["gh"] == "GH0398"       # RSA-2048 beyond 2030
    server.allow("GH0303")          # the same about the key
    server.start()
    wait_until(lambda: verdicts(server)[1]["crl.devices"]["verdict"] == "ok", 10, what="the CRL")
    server.stop()
    assert verdicts(server)[0] == 0


def test_check_of_a_broken_configuration(make_server):
    server = make_server(lambda s: issuer(s.authority), start=False)
    server.authority.key_path.chmod(0o644)
    status, rows = verdicts(server)
    assert status == 1
    assert rows["configuration"]["gh"] == "GH0481" and rows["key.devices"]["gh"] == "GH0100"
    assert "devices.key" in rows["key.devices"]["message"]
    server.authority.key_path.chmod(0o600)
    server.configure("nonsense\n")
    assert "nonsense" in server.ctl("check").object["message"]


def test_urls(server):
    rows = server.ctl_ok("urls").objects
    assert all(list(row) == URL for row in rows)
    by_url = {row["url"]: row for row in rows}
    assert by_url[server.url(standard.ONETIME_SET)]["challenges"] == ["onetime:printers"]
    assert by_url[server.url(standard.STATIC)]["tenant"] == "acme"
    crl = by_url[server.url("/crl/devices.crl")]
    assert crl["kind"] == "crl" and crl["challenges"] is None
    assert server.get("/ca/devices.cer").status == 200
    assert by_url[server.url("/ca/devices.cer")]["kind"] == "ca"
    assert server.url(standard.STATIC) in server.ctl_ok("urls", as_json=False).out


# the store

def test_store_that_is_not_there(make_server):
    server = make_server(lambda s: issuer(s.authority), start=False)
    for command in (("cert", "list"), ("cert", "revoke", "01"), ("enrolment", "list"),
                    ("cert", "revoke", "-")):
        result = server.ctl(*command, stdin="devices 01\n")
        assert result.status == 4 and "GH0416" in result.err, result


def test_privileges_are_dropped(make_server):
    """What whom httpd's children run as may not do, root may not do through gatehousectl."""
    server = make_server(lambda s: issuer(s.authority) + CRL_AND_CA)
    server.stop()
    uid, gid = environment.run_as()[:2]
    folder = server.root / "store"
    assert server.ctl("cert", "list").status == 0
    assert {path.stat().st_uid for path in folder.iterdir()} == {uid}
    folder.chmod(0o000)
    try:
        assert server.ctl("cert", "list").status == 4
        if environment.IS_ROOT:
            os.chown(folder, 0, 0)
            folder.chmod(0o700)
            assert server.ctl("cert", "list").status == 4
    finally:
        os.chown(folder, uid, gid)
        folder.chmod(0o750)
