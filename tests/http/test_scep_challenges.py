# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Challenge providers: bindings of one-time challenges, registered devices, device managers, and
several of them at one location."""

import concurrent.futures
import datetime
import os
import re

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from harness import standard
from harness.checks import decision, issued_to, new_challenge, refused
from harness.config import CRL_AND_CA, issuer, location
from harness.pki import PEM, certificate, key, write_secret
from harness.postgres import Cluster
from harness.server import CHALLENGE, wait_until
from scep import Csr, Identity, der, extension

ONETIME = "/scep/acme/devices/test-onetime"
DEVICE = "/scep/acme/devices/test-device"
BOUND = "/scep/acme/devices/test-bound"
MANAGER = "/scep/acme/devices/test-manager"
ALL = "/scep/acme/devices/test-all"
BETA = "/scep/beta/devices/test-device"

PROFILES = "".join(f"<CertificateProfile {path.rsplit('/', 1)[1]} base={standard.BASE}>\n"
                   "</CertificateProfile>\n"
                   for path in (ONETIME, DEVICE, BOUND, MANAGER, ALL))

DEVICE_MEMBERS = ["id", "tenant", "fqdn", "issuer", "profile", "has_password", "single_use",
                  "address", "serial_number", "created", "used_at", "used_by"]

UNSTRUCTURED_NAME = "1.2.840.113549.1.9.2"
UNSTRUCTURED_ADDRESS = "1.2.840.113549.1.9.8"

GENERAL = "no device registration grants the request"


def attribute(oid, text):
    return der.sequence(der.oid(oid), der.set_of(der.printable(text)))


def host():
    """A name that no other test uses."""
    return f"r-{os.urandom(5).hex()}.example.com"


class Manager:
    """A device manager with a certificate, in a file."""

    def __init__(self, key_name="rsa2048-05", name="device manager", days=100, start=None):
        self.key = key(key_name)
        self.parsed = certificate(name, self.key, name, self.key, days, ca=False, start=start)
        self.pem = self.parsed.public_bytes(PEM).decode()

    @property
    def identity(self):
        return Identity(self.key, self.parsed.public_bytes(Encoding.DER))


MANAGERS = [Manager("rsa2048-05", "first manager"), Manager("rsa2048-06", "second manager")]


def managers_file(server, *managers):
    path = server.root / "ca" / "managers.pem"
    path.write_text("".join(m if isinstance(m, str) else m.pem for m in managers))
    return path


def content(server):
    managers = managers_file(server, *MANAGERS)
    return "".join([
        # all clients have one address here
        "SCEPFailureLimit off\n", PROFILES, issuer(server.authority),
        location("/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
                 "SCEPTenant beta devices", "SCEPProfiles test-* scep-*"),
        location(standard.STATIC, standard.challenge(server)),
        location(ONETIME, "SCEPChallenge onetime"),
        location(DEVICE, "SCEPChallenge device"),
        location(BOUND, "SCEPChallenge device"),
        location(BETA, "SCEPChallenge device"),
        location(MANAGER, f'SCEPChallenge manager "file:{managers}"'),
        location(ALL, "SCEPChallenge onetime", "SCEPChallenge device",
                 f'SCEPChallenge manager "file:{managers}"', standard.challenge(server)),
        CRL_AND_CA,
    ])


@pytest.fixture(scope="module")
def server(make_module_server):
    return make_module_server(content)


@pytest.fixture(scope="module", params=["sqlite", "pgsql"])
def each_store(request, make_module_server):
    """A server on SQLite, and one on PostgreSQL."""
    if request.param == "sqlite":
        yield make_module_server(content)
        return
    with Cluster() as cluster:
        made = make_module_server(content, store=cluster.database())
        yield made
        made.stop()


def add(server, name, *options, tenant="acme"):
    made = server.ctl_ok("device", "add", "--tenant", tenant, "--fqdn", name, *options).object
    assert list(made)[:len(DEVICE_MEMBERS)] == DEVICE_MEMBERS
    return made


def ask(server, name, challenge=None, path=DEVICE, number=1, subject=None, sans=(), attributes=()):
    return server.client(path).enrol(
        standard.device_key(number), challenge, subject or f"CN={name}",
        [extension("san", *sans)] if sans else [], {"attributes": list(attributes)})


def why(server, reply, rule, general):
    """A refusal tells the requester the rule; the audit log has the cause behind it."""
    refused(reply)
    line = decision(server, reply)
    assert line["rule"] == rule and line["result"] == "refused"
    assert re.fullmatch(rf"GH\d{{4}}: {re.escape(general)}\. .*", reply.fail_text), reply.fail_text
    assert line["message"].startswith(general + ": "), line
    cause = line["message"][len(general) + 2:]
    assert cause not in reply.fail_text
    assert cause in server.log.text()
    return cause


# one-time challenges

def test_onetime_bound_to_alternative_names(server, subject):
    client = server.client(ONETIME)
    first = f"DNS:{host()}"
    challenge = new_challenge(server, "--san", first.upper().replace("DNS", "dns"), "--san",
                              "IP:192.0.2.9", profile="test-onetime")

    def enrol(*sans):
        return client.enrol(standard.device_key(), challenge, subject,
                            [extension("san", *sans)] if sans else [])

    for sans in ((), (first,), ("IP:192.0.2.9",), (first, "IP:192.0.2.10"),
                 (first, "IP:192.0.2.9", "DNS:www.example.com"),
                 (first, "IP:192.0.2.9", "email:a@example.com")):
        cause = why(server, enrol(*sans), "challenge.onetime",
                    "the one-time challenge is not accepted")
        assert re.fullmatch(r"GH0024: the one-time challenge [0-9a-f]{32} was made for other "
                            r"alternative names", cause)
    reply = enrol("IP:192.0.2.9", first)
    assert reply.succeeded
    assert decision(server, reply)["rule"] == "challenge.onetime"


def test_onetime_bound_to_subject_and_names(server, subject):
    client = server.client(ONETIME)
    name, common_name = host(), subject.split(",")[0]
    challenge = new_challenge(server, "--subject", common_name, "--san", f"DNS:{name}",
                              profile="test-onetime")
    for asked, san in ((common_name, host()), ("CN=somebody", name)):
        refused(client.enrol(standard.device_key(), challenge, asked,
                             [extension("san", f"DNS:{san}")]))
    assert client.enrol(standard.device_key(), challenge, common_name,
                        [extension("san", f"DNS:{name}")]).succeeded


@pytest.mark.parametrize("san", ["a.example.com", "DNS:", "DNS:a b", "IP:1.2.3", "fax:1",
                                 "otherName:1.2.3"])
def test_names_that_a_challenge_cannot_be_bound_to(server, san):
    result = server.ctl("challenge", "new", "--tenant", "acme", "--issuer", "devices",
                        "--profile", "test-onetime", "--san", san)
    assert result.status == 2 and re.search(r"GH\d{4}", result.err) and not result.out


def test_unknown_used_and_foreign_challenges_look_the_same(server, subject):
    used = new_challenge(server, profile="test-onetime")
    client = server.client(ONETIME)
    assert client.enrol(standard.device_key(), used, subject).succeeded
    elsewhere = new_challenge(server, profile="test-all")
    texts = {refused(client.enrol(standard.device_key(2), challenge, subject)).fail_text
             for challenge in (used, elsewhere, "0123456789")}
    assert len(texts) == 1, texts


# devices

def test_device_with_a_generated_password(server):
    name = host()
    made = add(server, name.upper(), "--password", "generate")
    assert made["fqdn"] == name and made["has_password"] and not made["single_use"]
    assert re.fullmatch("[0-9a-f]{40}", made["password"])
    reply = ask(server, name, made["password"])
    assert reply.succeeded
    line = decision(server, reply)
    assert line["rule"] == "challenge.device" and made["id"] in line["message"]
    shown = server.ctl_ok("device", "show", name).object
    assert list(shown) == DEVICE_MEMBERS
    assert shown["used_at"] and re.fullmatch("[0-9a-f]{32}", shown["used_by"])
    assert ask(server, name, made["password"], number=2).succeeded      # again
    for challenge, cause in ((None, f"device {name} has a password, and the request has none"),
                             ("wrong password", f"device {name} has another password")):
        assert why(server, ask(server, name, challenge, number=3), "challenge.device",
                   GENERAL) == cause
    other = host()
    assert why(server, ask(server, other, made["password"]), "challenge.device",
               GENERAL) == f"device {other} is not registered"


def test_device_password_from_a_file_and_single_use(server, tmp_path):
    path = write_secret(tmp_path / "password", "open sesame 4711\n")
    for options, single in (((), False), (("--single-use",), True)):
        name = host()
        made = add(server, name, "--password", f"file:{path}", *options)
        assert made["single_use"] == single and "password" not in made
        refused(ask(server, name, "open sesame 4712"))
        assert ask(server, name, "open sesame 4711").succeeded
        again = ask(server, name, "open sesame 4711", number=2)
        assert again.succeeded != single
        if single:
            used = server.ctl_ok("device", "show", name).object["used_by"]
            assert why(server, again, "challenge.device", GENERAL) == (
                f"device {name} has used its registration already, for enrolment {used}")


def test_device_without_a_password_enrols_once(server):
    name = host()
    assert add(server, name)["single_use"]
    first = ask(server, name)
    assert first.succeeded
    refused(ask(server, name, number=2))
    assert server.client(DEVICE).exchange(first.request).issued == first.issued     # repeated
    server.ctl_ok("device", "remove", name)
    refused(ask(server, name, number=2))
    add(server, name)
    assert ask(server, name, number=2).succeeded


def test_device_is_named_in_several_ways(server):
    name = host()
    password = add(server, name, "--password", "generate")["password"]
    good = [
        {"subject": "O=Example", "attributes": [attribute(UNSTRUCTURED_NAME, name)]},
        {"subject": [("O", "Example"), (UNSTRUCTURED_NAME, name.upper())]},
        {"subject": "O=Example", "sans": [f"DNS:{name}"]},
        {"subject": f"CN={name}", "sans": [f"DNS:{name.title()}"],
         "attributes": [attribute(UNSTRUCTURED_NAME, name)]},
    ]
    bad = [
        {"subject": "O=Example"},
        {"subject": f"CN={name}", "sans": [f"DNS:{name}", "DNS:www.example.com"]},
        {"subject": f"CN={name}", "sans": ["DNS:*.example.com"]},
        {"subject": "CN=administrator", "sans": [f"DNS:{name}"]},
        {"subject": f"CN={name}", "attributes": [attribute(UNSTRUCTURED_NAME, host())]},
        {"subject": f"CN={name}", "sans": ["email:a@example.com"]},
        {"subject": f"CN={name}", "sans": ["UPN:a@example.com"]},
        {"subject": f"CN={name}", "sans": ["IP:192.0.2.1"]},
    ]
    for options in good:
        assert ask(server, name, password, **options).succeeded, options
    for options in bad:
        why(server, ask(server, name, password, **options), "challenge.device", GENERAL)


def test_device_with_address_and_serial_number(server):
    name = host()
    password = add(server, name, "--address", "2001:DB8::7", "--serial-number", "FTX1234",
                   "--password", "generate")["password"]
    shown = server.ctl_ok("device", "show", name).object
    assert shown["address"] == "2001:db8::7" and shown["serial_number"] == "FTX1234"
    subject = [("CN", name), ("serialNumber", "FTX1234")]
    address = attribute(UNSTRUCTURED_ADDRESS, "2001:db8:0::7")
    assert ask(server, name, password, subject=subject, sans=["IP:2001:db8::7"]).succeeded
    assert ask(server, name, password, subject=subject, attributes=[address]).succeeded
    for options, cause in (
            ({"subject": subject}, "has a registered address, and the request names none"),
            ({"subject": subject, "sans": ["IP:2001:db8::8"]},
             "has another address than the request names"),
            ({"subject": subject, "sans": ["IP:2001:db8::7", "IP:192.0.2.1"]},
             "has another address than the request names"),
            ({"sans": ["IP:2001:db8::7"]},
             "has a registered serial number, and the request names none"),
            ({"subject": [("CN", name), ("serialNumber", "FTX1235")],
              "sans": ["IP:2001:db8::7"]}, "has another serial number than the request names")):
        assert why(server, ask(server, name, password, **options), "challenge.device",
                   GENERAL) == f"device {name} {cause}"


def test_device_is_bound_to_tenant_issuer_and_profile(server):
    name = host()
    password = add(server, name, "--issuer", "devices", "--profile", "test-bound", "--password",
                   "generate")["password"]
    refused(ask(server, name, password))
    refused(ask(server, name, password, BETA))
    refused(ask(server, name, password, ONETIME))
    assert ask(server, name, password, BOUND).succeeded
    assert add(server, name, tenant="beta")["tenant"] == "beta"     # a tenant has its own devices
    assert ask(server, name, path=BETA).succeeded


def test_device_commands(server):
    name, other = host(), host()
    made = add(server, name, "--password", "generate")
    add(server, other, tenant="beta")
    listed = {row["fqdn"]: row for row in server.ctl_ok("device", "list").objects}
    assert list(listed[name]) == DEVICE_MEMBERS
    assert listed[name]["has_password"] is True and listed[other]["has_password"] is False
    rows = server.ctl_ok("device", "list", "--tenant", "beta").objects
    assert other in {row["fqdn"] for row in rows} and {row["tenant"] for row in rows} == {"beta"}
    assert len(server.ctl_ok("device", "list", "--limit", "1").objects) == 1
    assert server.ctl_ok("device", "show", made["id"]).object["fqdn"] == name
    human = server.ctl_ok("device", "list", as_json=False).out
    assert re.search(rf"^{name} +acme +- +- +yes +as often as it likes +-$", human, re.M), human
    human = server.ctl_ok("device", "show", name, as_json=False).out
    assert re.search(r"^password +generated$", human, re.M) and made["password"] not in human
    human = server.ctl_ok("device", "add", "--tenant", "acme", "--fqdn", host(), "--password",
                          "generate", as_json=False).out
    assert re.fullmatch("[0-9a-f]{40}", human.splitlines()[-1])

    twice = server.ctl("device", "add", "--tenant", "acme", "--fqdn", name)
    assert twice.status == 1 and "GH0478" in twice.err
    add(server, name, tenant="beta")
    several = server.ctl("device", "remove", name)
    assert several.status == 1 and "--tenant" in several.err
    removed = server.ctl_ok("device", "remove", name, "--tenant", "acme").object
    assert removed["id"] == made["id"]
    assert server.ctl("device", "show", made["id"]).status == 3
    assert server.ctl("device", "remove", name, "--tenant", "acme").status == 3
    lines = [line for line in server.ctl_ok("device", "show", name).objects]
    assert [line["tenant"] for line in lines] == ["beta"]


@pytest.mark.parametrize("options, status, number", [
    ((), 2, "GH0493"),
    (("--tenant", "acme"), 2, "GH0493"),
    (("--tenant", "acme", "--fqdn", "not a name"), 1, "GH0474"),
    (("--tenant", "acme", "--fqdn", "*.example.com"), 1, "GH0474"),
    (("--tenant", "acme", "--fqdn", "x.example.com", "--address", "1.2.3"), 1, "GH0475"),
    (("--tenant", "acme", "--fqdn", "x.example.com", "--serial-number", ""), 1, "GH0476"),
    (("--tenant", "acme", "--fqdn", "x.example.com", "--password", "secret"), 2, "GH0495"),
    (("--tenant", "acme", "--fqdn", "x.example.com", "--profile", "test-onetime"), 3, "GH0494"),
    (("--tenant", "acme", "--fqdn", "x.example.com", "--issuer", "other"), 3, "GH0494"),
    (("--tenant", "gamma", "--fqdn", "x.example.com"), 3, "GH0494"),
])
def test_devices_that_cannot_be_registered(server, options, status, number):
    result = server.ctl("device", "add", *options)
    assert result.status == status and number in result.err, result
    assert not result.out


def test_registrations_are_audited_without_passwords(server):
    name = host()
    made = add(server, name, "--password", "generate")
    server.ctl_ok("device", "remove", name)

    def texts():
        return [line["message"] for line in server.audit()
                if line["event"] == "device" and name in line["message"]]

    wait_until(lambda: len(texts()) == 2, 3, what="both lines in the audit log")
    assert texts() == [f"registration {made['id']} of {name} made, generated password",
                       f"registration {made['id']} of {name} removed"]
    line = next(line for line in server.audit() if line["event"] == "device")
    assert line["protocol"] == "ctl" and line["rule"] == "operator" and line["user"]
    password = made["password"].encode()
    for path in server.root.rglob("*"):
        if path.is_file() and path.parent.name in ("log", "store"):
            data = path.read_bytes()
            assert password not in data and bytes.fromhex(made["password"]) not in data, path


@pytest.mark.parametrize("kind", ["challenge", "device"])
def test_used_by_200_at_once_issues_one(each_store, kind):
    name = host()
    challenge, path = None, DEVICE
    if kind == "challenge":
        challenge = new_challenge(each_store, profile="test-onetime")
        path = ONETIME
    else:
        add(each_store, name)
    client = each_store.client(path)
    requests = [client.message(Csr(standard.device_key(1 + i % 4), f"CN={name}", challenge))
                for i in range(200)]
    for request in requests:
        assert request.der
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        replies = list(pool.map(client.exchange, requests))
    assert sorted(r.status for r in replies) == ["0"] + ["2"] * 199
    assert len(issued_to(each_store, f"CN={name}")) == 1


# device managers

def managed(server, identity, subject, path=MANAGER, challenge=None, number=1, **options):
    """A request for a device's key, signed by somebody else."""
    client = server.client(path)
    csr = Csr(standard.device_key(number), subject, challenge, **options)
    request = client.message(csr, identity=identity)
    reply = client.exchange(request)
    reply.request = request
    return reply


NO_MANAGER = "the message is not signed by a device manager that may enrol here"


def test_manager_enrols_on_behalf_of_devices(server, subject):
    for manager, name in zip(MANAGERS, ("first manager", "second manager")):
        for number in (1, 2):
            reply = managed(server, manager.identity, f"{subject},OU={name} {number}",
                            number=number)
            assert reply.succeeded, reply
            assert reply.certificate.public_key().public_numbers() == \
                standard.device_key(number).public_key().public_numbers()
            line = decision(server, reply)
            assert line["rule"] == "manager" and line["result"] == "issued"
            assert line["message"] == f"signed by device manager CN={name}"
    repeated = server.client(MANAGER).exchange(reply.request)
    assert repeated.issued == reply.issued


def test_a_stranger_enrols_for_nobody(server, subject):
    # a certificate of the same name, key and number, of another day
    twin = Manager("rsa2048-05", "first manager", days=99)
    for identity in (twin.identity, Identity.self_signed(key("rsa2048-07"), "CN=first manager")):
        reply = managed(server, identity, subject)
        refused(reply, "1")
    # the device itself is no manager, either
    why(server, server.client(MANAGER).enrol(standard.device_key(), CHALLENGE, subject),
        "manager", NO_MANAGER)
    assert not issued_to(server, subject)


def test_a_manager_does_not_speak_elsewhere(server, subject):
    for path in (ONETIME, DEVICE, standard.STATIC):
        refused(managed(server, MANAGERS[0].identity, subject, path, CHALLENGE), "1")
    assert not issued_to(server, subject)


def test_manager_needs_the_proof_of_the_device(server, subject):
    refused(managed(server, MANAGERS[0].identity, subject, bad_signature=True), "1")
    reply = managed(server, MANAGERS[0].identity, subject,
                    extensions=[extension("eku", "codeSigning")])
    assert refused(reply) and decision(server, reply)["rule"] != "manager"
    assert not issued_to(server, subject)


def test_manager_that_was_revoked(make_server, subject):
    """One of our own certificates; a secret does not help, since the location takes managers."""
    server = make_server(content)
    enrolled = server.client(standard.STATIC).enrol(key("rsa2048-07"), CHALLENGE, "CN=own manager")
    assert enrolled.succeeded
    managers_file(server, MANAGERS[0], enrolled.certificate.public_bytes(PEM).decode())
    server.graceful()
    identity = Identity(key("rsa2048-07"), enrolled.issued)
    assert managed(server, identity, subject).succeeded
    serial = f"{enrolled.certificate.serial_number:x}"
    for command, good in (("hold", False), ("release", True), ("revoke", False)):
        server.ctl_ok("cert", command, serial)
        for path in (MANAGER, ALL):
            reply = managed(server, identity, f"{subject},OU={command}", path, CHALLENGE)
            assert reply.succeeded == good, reply
            if not good:
                assert why(server, reply, "manager", NO_MANAGER) == \
                    "revoked or held: the certificate of manager CN=own manager"
    assert managed(server, MANAGERS[0].identity, subject).succeeded


def test_manager_that_has_expired(make_server, subject):
    old = Manager("rsa2048-08", "old manager", days=1,
                  start=datetime.datetime.utcnow() - datetime.timedelta(days=10))

    def with_old(server):
        text = content(server)
        managers_file(server, old, MANAGERS[0])
        return text

    server = make_server(with_old, start=False)
    server.expect("GH0489")
    server.start()
    for path in (MANAGER, ALL):
        assert why(server, managed(server, old.identity, subject, path, CHALLENGE), "manager",
                   NO_MANAGER) == ("expired or not yet valid: the certificate of manager "
                                   "CN=old manager")
    assert managed(server, MANAGERS[0].identity, subject).succeeded


# several at one location

def test_the_first_that_grants_wins(server, subject):
    name = host()
    password = add(server, name, "--password", "generate")["password"]
    onetime = new_challenge(server, profile="test-all")
    client = server.client(ALL)
    for challenge, rule in ((CHALLENGE, "challenge.static"), (password, "challenge.device"),
                            (onetime, "challenge.onetime")):
        reply = client.enrol(standard.device_key(), challenge, f"CN={name},OU={rule}")
        assert reply.succeeded
        assert decision(server, reply)["rule"] == rule
    reply = managed(server, MANAGERS[0].identity, subject, ALL)
    assert reply.succeeded and decision(server, reply)["rule"] == "manager"


def test_if_none_grants_the_log_says_why_each(server):
    name = host()
    add(server, name, "--password", "generate")
    reply = server.client(ALL).enrol(standard.device_key(), "wrong", f"CN={name}")
    cause = why(server, reply, "challenge", "nothing that this location takes grants the request")
    assert cause == ("manager: its signer is no manager; onetime: GH0024: the one-time challenge "
                     f"is unknown; device: device {name} has another password; static: the "
                     "challenge password is wrong")
    other = server.client(ALL).enrol(standard.device_key(), "wrong", f"CN={host()}")
    assert refused(other).fail_text == reply.fail_text


# configuration

CERTIFICATE_OF_EC = certificate("ec manager", key("p256-01"), "ec manager", key("p256-01"), 10,
                                ca=False).public_bytes(PEM).decode()
SMALL = certificate("small manager", key("rsa1024-01"), "small manager", key("rsa1024-01"), 10,
                    ca=False).public_bytes(PEM).decode()


@pytest.mark.parametrize("line, managers, reason", [
    ("SCEPChallenge device now", "", "GH0491"),
    ("SCEPChallenge manager", "", "GH0486"),
    ("SCEPChallenge manager ca/managers.pem", "", "GH0486"),
    ("SCEPChallenge manager exec:/bin/true", "", "GH0486"),
    ("SCEPChallenge manager file:ca/none.pem", "", "GH0487.*none.pem"),
    ("SCEPChallenge manager file:ca/managers.pem", "", "GH0487.*managers.pem"),
    ("SCEPChallenge manager file:ca/managers.pem", "nonsense\n", "GH0487.*managers.pem"),
    ("SCEPChallenge manager file:ca/managers.pem", CERTIFICATE_OF_EC,
     "GH0488.*ec manager.*managers.pem"),
    ("SCEPChallenge manager file:ca/managers.pem", MANAGERS[0].pem + SMALL,
     "GH0488.*small manager.*managers.pem"),
    ("SCEPChallenge manager file:ca/managers.pem", MANAGERS[0].pem * 2,
     "GH0490.*first manager"),
])
def test_refused_directives(make_server, line, managers, reason):
    server = make_server(start=False)

    def with_line(made):
        text = "".join([PROFILES, issuer(made.authority), location(
            "/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
            "SCEPProfiles test-*"), location(MANAGER, line), CRL_AND_CA])
        managers_file(made, managers)
        return text

    server.configure(with_line)
    result = server.configtest()
    assert result.returncode != 0
    assert re.search(reason, result.stderr), result.stderr
    number = server.conf.read_text().splitlines().index("    " + line) + 1
    assert f"Syntax error on line {number} of {server.conf}" in result.stderr


@pytest.mark.parametrize("twice", ["device", "manager file:ca/managers.pem"])
def test_provider_twice(make_server, twice):
    server = make_server(start=False)

    def with_both(made):
        managers_file(made, *MANAGERS)
        return "".join([PROFILES, issuer(made.authority), location(
            "/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
            "SCEPProfiles test-*"), location(
                MANAGER, f"SCEPChallenge {twice}", "SCEPChallenge onetime",
                f"SCEPChallenge {twice}"), CRL_AND_CA])

    server.configure(with_both)
    result = server.configtest()
    assert result.returncode != 0 and "GH0242" in result.stderr


@pytest.mark.parametrize("days, warned", [(10, True), (100, False)])
def test_manager_that_expires_soon_is_warned_of(make_server, days, warned):
    server = make_server(start=False)

    def with_manager(made):
        managers_file(made, Manager(days=days))
        return "".join([PROFILES, issuer(made.authority), location(
            "/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
            "SCEPProfiles test-*"), location(
                MANAGER, "SCEPChallenge manager file:ca/managers.pem"), CRL_AND_CA])

    server.configure(with_manager)
    result = server.configtest()
    assert result.returncode == 0, result.stderr
    number = [n for n, line in enumerate(server.conf.read_text().splitlines(), 1)
              if "SCEPChallenge manager" in line][0]
    place = f"GH0489: {server.conf}:{number}: SCEPChallenge manager: the certificate of " \
            "CN=device manager is valid from "
    assert (place in result.stderr) == warned, result.stderr
