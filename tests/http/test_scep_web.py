# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Pages that make one-time challenges: for programs, and for those that read pages of NDES."""

import concurrent.futures
import datetime
import hashlib
import json
import re
import ssl
import time

import pytest

from harness import environment, standard
from harness.checks import refused
from harness.config import location
from harness.pki import PEM, certificate, key, write_secret
from harness.postgres import Cluster
from harness.server import Server, free_port
from harness.web import (PASSWORDS, USERS, ask, audited, basic, make_users, names_line, page_lines,
                         problem)
from scep import extension
from scep.identity import private_pem

MODULES = (*PASSWORDS, "remoteip", "ssl")
# What Fleet and Zentral look for.
FLEET = re.compile(r"(?i)The enrollment challenge password is: <B> (?P<password>\S*)")
ZENTRAL = re.compile(r"challenge password is: <B> ([A-Z0-9]{16,32}) </B>")
FULL = "The password cache is full."
DENIED = "You do not have sufficient permission to enroll with SCEP."
TYPE = {"Content-Type": "application/json"}


def tls_files(server):
    """The server's certificate and a client's, both by the test's root; what they are called."""
    folder = server.root / "ca"
    for name, number in (("tls", "rsa2048-09"), ("client", "rsa2048-10")):
        made = certificate("localhost" if name == "tls" else "mdm-server", key(number), "Test Root",
                           key("p256-01"), 30, ca=False)
        (folder / f"{name}.pem").write_bytes(made.public_bytes(PEM))
        write_secret(folder / f"{name}.key", private_pem(key(number)))


def content(server):
    make_users(server)
    tls_files(server)
    server.tls_port = free_port()
    pages = [
        location("/challenges", "SetHandler gatehouse-scep-challenge", *basic(server),
                 "SCEPChallengeFor acme devices scep-digital-*",
                 "SCEPChallengeFor acme devices scep-key-encipherment printers",
                 "SCEPChallengePermit \"%{REMOTE_USER} != 'guest'\""),
        location("/challenges/plain", "SCEPChallengePlain on"),
        location("/by-certificate", "SetHandler gatehouse-scep-challenge",
                 "SCEPChallengeFor beta devices scep-digital-signature"),
        location("/certsrv/mscep_admin", "SetHandler gatehouse-scep-ndes", *basic(server),
                 "SCEPChallengeFor acme devices scep-digital-signature",
                 "SCEPNDESPasswords 3", "SCEPChallengePermit \"%{REMOTE_USER} != 'guest'\""),
    ]
    return standard.content(server) + "".join(pages) + f"""
RemoteIPHeader X-Forwarded-For
RemoteIPInternalProxy 127.0.0.1
Listen 127.0.0.1:{server.tls_port}
<VirtualHost 127.0.0.1:{server.tls_port}>
    SSLEngine on
    SSLCertificateFile "{server.root}/ca/tls.pem"
    SSLCertificateKeyFile "{server.root}/ca/tls.key"
    SSLCACertificateFile "{server.authority.root_path}"
    SSLVerifyClient optional_no_ca
    <Location "/by-certificate">
        SSLUserName SSL_CLIENT_S_DN_CN
    </Location>
</VirtualHost>
"""


def announce(server):
    """What is said at the start: "by-certificate" has no AuthType, and SSLVerifyClient only in the
    virtual host. mod_ssl misses a session cache, and the OpenSSL that it was built with."""
    server.expect("GH0539")
    server.allow("AH01873", "AH01882")
    return server


@pytest.fixture(scope="module")
def server(make_module_server):
    return announce(make_module_server(content, modules=MODULES, loglevel="trace8"))


def wish(**members):
    return {"tenant": "acme", "issuer": "devices", "profile": "scep-digital-signature", **members}


def make(server, path="/challenges", **options):
    """Asks for a challenge; the members of the request that are no options of ask()."""
    known = {name: options.pop(name) for name in ("user", "tls", "cert", "headers")
             if name in options}
    known["headers"] = {**TYPE, **known.get("headers", {})}
    return ask(server, path, "POST", json.dumps(wish(**options)), **known)


def made(response):
    assert response.status == 201, response
    assert response.type == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    answer = json.loads(response.body)
    assert set(answer) == {"id", "challenge", "expires", "url"}
    assert re.fullmatch("[0-9a-f]{40}", answer["challenge"])
    return answer


def page(response):
    """Text of a page of NDES."""
    assert response.status == 200, response
    assert response.type == "text/html; charset=utf-16"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.body[:2] == b"\xff\xfe"
    return response.body.decode("utf-16")


def password(response):
    text = page(response)
    found = FLEET.search(text)["password"]
    assert ZENTRAL.search(text)[1] == found
    assert re.fullmatch("[0-9A-F]{32}", found)
    return found


def spend(server, challenge, subject="CN=device", endpoint=standard.ONETIME, number=1, **options):
    """Enrols with a challenge, twice: with another key it is used up."""
    client = server.client(endpoint)
    reply = client.enrol(standard.device_key(number), challenge, subject, **options)
    assert reply.succeeded, reply
    refused(client.enrol(standard.device_key(number + 1), challenge, subject, **options))
    return reply


# For programs

def test_challenge(server, subject):
    response = make(server)
    answer = made(response)
    assert answer["url"] == server.url(standard.ONETIME)
    left = (datetime.datetime.strptime(answer["expires"], "%Y-%m-%dT%H:%M:%SZ")
            - datetime.datetime.utcnow()).total_seconds()
    assert 3590 < left <= 3600
    line = audited(server, response)
    assert (line["event"], line["protocol"], line["user"], line["result"]) == (
        "challenge", "http", "mdm", "done")
    assert (line["tenant"], line["issuer"], line["profile"], line["client"]) == (
        "acme", "devices", "scep-digital-signature", "127.0.0.1")
    assert answer["id"] in line["message"]
    spend(server, answer["challenge"], subject)


def test_urls(server):
    """gatehousectl lists the pages, for each endpoint that they make challenges for."""
    host = f"://localhost:{server.port}"
    rows = [(row["kind"], row["url"].replace(host, "", 1), row["tenant"], row["profile"],
             row["challenges"])
            for row in server.ctl_ok("urls").objects if row["kind"] not in ("scep", "crl", "ca")]
    both = [("scep-digital-signature", ["onetime"]),
            ("scep-key-encipherment", ["onetime:printers"])]
    expected = [
        *(("challenge", f"{scheme}{path}", "acme", *target)
          for scheme, path in (("https", "/challenges"), ("http", "/challenges/plain"))
          for target in both),
        ("challenge", "https/by-certificate", "beta", *both[0]),
        ("ndes", "https/certsrv/mscep_admin", "acme", *both[0])]
    assert sorted(rows) == sorted(expected)


def test_challenge_by_tls(server, subject):
    spend(server, made(make(server, tls=True))["challenge"], subject)


def test_challenge_by_certificate(server, subject):
    cert = (server.root / "ca" / "client.pem", server.root / "ca" / "client.key")
    response = make(server, "/by-certificate", user=None, tls=True, cert=cert, tenant="beta")
    assert made(response)["url"] == server.url(standard.BETA)
    line = audited(server, response)
    assert line["user"] == "CN=mdm-server" and line["tenant"] == "beta"
    spend(server, made(response)["challenge"], subject, standard.BETA)


def test_certificate_that_nobody_verified(server, tmp_path):
    """SSLUserName makes a user of it, all the same."""
    stranger = certificate("mdm-server", key("rsa2048-08"), "mdm-server", key("rsa2048-08"), 30,
                           ca=False)
    (tmp_path / "cert.pem").write_bytes(stranger.public_bytes(PEM))
    write_secret(tmp_path / "key.pem", private_pem(key("rsa2048-08")))
    response = make(server, "/by-certificate", user=None, tls=True, tenant="beta",
                    cert=(tmp_path / "cert.pem", tmp_path / "key.pem"))
    problem(response, 403, "GH0522")


def test_nobody(server):
    response = make(server, "/by-certificate", user=None, tenant="beta")
    problem(response, 403, "GH0522")
    line = audited(server, response)
    assert (line["event"], line["result"], line["gh"]) == ("challenge", "refused", "GH0522")
    server.expect("AH01618")            # a user whom httpd does not know
    assert make(server, user=None).status == 401
    assert make(server, user="stranger").status == 401


def test_user_without_permission(server):
    response = make(server, user="guest")
    assert "guest" in problem(response, 403, "GH0520")["detail"]
    line = audited(server, response)
    assert (line["user"], line["result"], line["rule"]) == ("guest", "refused", "challenge.permit")


def test_bound_to_a_subject(server, subject):
    answer = made(make(server, subject=subject + ",C=DE"))
    client = server.client(standard.ONETIME)
    refused(client.enrol(standard.device_key(), answer["challenge"], subject))
    assert client.enrol(standard.device_key(2), answer["challenge"],
                        f"C=DE,O=Example,{subject.split(',')[0]}").succeeded


def test_bound_to_alternative_names(server, subject):
    answer = made(make(server, sans=["DNS:a.example", "email:a@b.example"]))
    client = server.client(standard.ONETIME)
    wrong = [extension("san", "DNS:a.example")]
    right = [extension("san", "DNS:a.example", "email:a@b.example")]
    refused(client.enrol(standard.device_key(), answer["challenge"], subject, wrong))
    refused(client.enrol(standard.device_key(2), answer["challenge"], subject))
    assert client.enrol(standard.device_key(3), answer["challenge"], subject, right).succeeded
    none = made(make(server, sans=[]))["challenge"]
    refused(client.enrol(standard.device_key(4), none, subject, wrong))
    assert client.enrol(standard.device_key(5), none, subject).succeeded


def test_expired(server, subject):
    client = server.client(standard.ONETIME)
    answers = [made(make(server, expires=expires)) for expires in (1, "1s", "PT1S")]
    assert client.enrol(standard.device_key(4), made(make(server, expires=60))["challenge"],
                        subject).succeeded
    time.sleep(1.2)
    for number, answer in enumerate(answers, 1):
        refused(client.enrol(standard.device_key(number), answer["challenge"], subject))


def test_sets(server, subject):
    answer = made(make(server, profile="scep-key-encipherment", set="printers"))
    assert answer["url"] == server.url(standard.ONETIME_SET)
    spend(server, answer["challenge"], subject, standard.ONETIME_SET)
    assert made(make(server, profile="scep-key-encipherment"))["url"] == answer["url"]
    for other in ("", "phones"):
        problem(make(server, profile="scep-key-encipherment", set=other), 403, "GH0524")
    problem(make(server, set="printers"), 403, "GH0524")


@pytest.mark.parametrize("other", [
    {"tenant": "beta"}, {"issuer": "other"}, {"tenant": "nobody"}, {"profile": "nothing"},
    {"profile": "test-legacy"},             # not permitted here
    {"profile": standard.BASE},             # permitted, but takes no one-time challenges
], ids=lambda other: "-".join(*other.items()))
def test_endpoint_that_is_not_for_this_page(server, other):
    response = make(server, **other)
    problem(response, 403, "GH0524")
    assert audited(server, response)["rule"] == "challenge.for"


def test_challenge_is_for_its_endpoint(server, subject):
    answer = made(make(server))
    refused(server.client(standard.BETA).enrol(standard.device_key(), answer["challenge"], subject))


@pytest.mark.parametrize("member", [
    {"subjct": "CN=a"}, {"subject": 7}, {"subject": None}, {"sans": "DNS:a"}, {"sans": ["DNS:a", 1]},
    {"expires": 0}, {"expires": -5}, {"expires": "5"}, {"expires": 366 * 86400 + 1},
    {"expires": "367d"}, {"expires": 1.5}, {"expires": True}, {"set": []}, {"tenant": ["acme"]},
    {"expires": 2 ** 63 - 1},
], ids=str)
def test_members_that_are_not_as_they_should_be(server, member):
    problem(make(server, **member), 400, "GH0525")


@pytest.mark.parametrize("member, number", [
    ({"subject": "no name"}, "GH0125"), ({"sans": ["a.example"]}, "GH0457"),
    ({"sans": ["DNS:not a name"]}, "GH0127"), ({"sans": [f"DNS:a{i}" for i in range(65)]}, "GH0456"),
], ids=lambda value: value if isinstance(value, str) else str(value)[:40])
def test_names_that_cannot_be_read(server, member, number):
    problem(make(server, **member), 400, number)


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b'"tenant"', b"null", b'{"tenant":"acme","tenant":"beta"}', b"\xff\xfe{}",
    b"[" * 5000, b'{"tenant":"a\\u0000b"}', b"{} {}"], ids=lambda body: repr(body[:20]))
def test_bodies_that_are_no_object(server, body):
    problem(ask(server, "/challenges", "POST", body, headers=TYPE), 400, "GH0526")


def test_body_without_names(server):
    problem(ask(server, "/challenges", "POST", b"{}", headers=TYPE), 400, "GH0527")


def test_long_body(server):
    body = json.dumps(wish(subject="CN=" + "a" * 16384))
    problem(ask(server, "/challenges", "POST", body, headers=TYPE), 413, "GH0529")
    chunks = iter([body[:100].encode(), body[100:].encode()])
    problem(ask(server, "/challenges", "POST", chunks, headers=TYPE), 413, "GH0529")
    assert make(server, headers={"X": "y"}).status == 201


@pytest.mark.parametrize("kind", [
    None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx",
    "application/json-patch+json"])
def test_other_content_types(server, kind):
    headers = {"Content-Type": kind} if kind else {}
    problem(ask(server, "/challenges", "POST", json.dumps(wish()).encode(), headers=headers), 415,
            "GH0528")


def test_content_type_with_a_parameter(server):
    made(make(server, headers={"Content-Type": "Application/JSON; charset=utf-8"}))


@pytest.mark.parametrize("path, method, allowed", [
    ("/challenges", "GET", "POST"), ("/challenges", "HEAD", "POST"), ("/challenges", "PUT", "POST"),
    ("/certsrv/mscep_admin/", "POST", "GET"), ("/certsrv/mscep_admin/", "HEAD", "GET")])
def test_other_methods(server, path, method, allowed):
    response = ask(server, path, method, b"" if method in ("PUT", "POST") else None)
    assert response.status == 405 and response.headers["Allow"] == allowed, response
    if method != "HEAD":
        problem(response, 405, "GH0519")


def test_plain_connections(server):
    """mod_remoteip says that the request came through a proxy: nobody knows how."""
    far = {"X-Forwarded-For": "192.0.2.7"}
    response = make(server, headers=far)
    problem(response, 403, "GH0521")
    assert audited(server, response)["client"] == "192.0.2.7"
    problem(ask(server, "/certsrv/mscep_admin/", headers=far), 403, "GH0521")
    made(make(server, "/challenges/plain", headers=far))
    made(make(server, tls=True, headers=far))
    made(make(server, headers={"X-Forwarded-For": "127.8.9.10"}))


# NDES

def test_ndes(server, subject):
    response = ask(server, "/certsrv/mscep_admin/")
    text = page(response)
    assert "This password can be used only once and will expire within 60 minutes." in text
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(
        server.authority.certificate_path.read_text())).hexdigest().upper()
    groups = " ".join(digest[i:i + 8] for i in range(0, 64, 8))
    assert f"The thumbprint (hash value) for the CA certificate is: <B> {groups} </B>" in text
    line = audited(server, response)
    assert (line["event"], line["protocol"], line["user"], line["result"]) == (
        "challenge", "ndes", "mdm", "done")
    spend(server, password(response), subject)


def test_ndes_by_tls_and_without_the_slash(server, subject):
    spend(server, password(ask(server, "/certsrv/mscep_admin", tls=True)), subject)


def test_ndes_full(server, subject):
    """Each user has three; one that was used makes room for another."""
    passwords = [password(ask(server, "/certsrv/mscep_admin/", user="other")) for _ in range(3)]
    assert len(set(passwords)) == 3
    response = ask(server, "/certsrv/mscep_admin/", user="other")
    assert FULL in page(response) and not FLEET.search(page(response))
    line = audited(server, response)
    assert (line["result"], line["gh"], line["user"]) == ("refused", "GH0492", "other")
    # those of the other page do not count
    made(make(server, user="other"))
    assert FULL not in page(ask(server, "/certsrv/mscep_admin/"))
    spend(server, passwords[1], subject)
    assert FULL not in page(ask(server, "/certsrv/mscep_admin/", user="other"))
    assert FULL in page(ask(server, "/certsrv/mscep_admin/", user="other"))


def test_ndes_without_permission(server):
    response = ask(server, "/certsrv/mscep_admin/", user="guest")
    assert DENIED in page(response) and not FLEET.search(page(response))
    line = audited(server, response)
    assert (line["result"], line["gh"], line["user"]) == ("refused", "GH0520", "guest")
    server.expect("AH01618")
    assert ask(server, "/certsrv/mscep_admin/", user=None).status == 401
    assert ask(server, "/certsrv/mscep_admin/", user="stranger").status == 401


@pytest.fixture(scope="module")
def cluster():
    with Cluster() as started:
        yield started


@pytest.mark.parametrize("store", ["sqlite", "pgsql"])
def test_ndes_race(make_server, cluster, store):
    """As many as there may be, however many ask at once."""
    server = announce(make_server(lambda s: content(s).replace("SCEPNDESPasswords 3", ""),
                                  modules=MODULES,
                                  store=cluster.database() if store == "pgsql" else store))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        pages = list(pool.map(lambda _: page(ask(server, "/certsrv/mscep_admin/")), range(48)))
    assert sum(1 for text in pages if FLEET.search(text)) == 5
    assert sum(1 for text in pages if FULL in text) == 43


@pytest.mark.slow
def test_postgresql(make_server, cluster, subject):
    server = announce(make_server(content, modules=MODULES, store=cluster.database()))
    spend(server, made(make(server))["challenge"], subject)
    passwords = [password(ask(server, "/certsrv/mscep_admin/")) for _ in range(3)]
    assert FULL in page(ask(server, "/certsrv/mscep_admin/"))
    spend(server, passwords[0], subject)
    password(ask(server, "/certsrv/mscep_admin/"))


def test_disk_that_does_not_flush(make_server):
    """What is not stored is not given away."""
    server = make_server(content, modules=MODULES, start=False,
                         preload=environment.check_library("failfsync"))
    switch = server.root / "run" / "fail"
    server.environment["FAILFSYNC_TRIGGER"] = str(switch)
    announce(server.start())
    made(make(server))
    switch.write_text("")
    switch.chmod(0o644)
    server.expect("GH0066")
    server.allow("GH0053", "GH0065", "GH0066")
    for response in (make(server), ask(server, "/certsrv/mscep_admin/")):
        assert response.status == 503 and response.headers["Retry-After"] == "10", response
        answer = json.loads(response.body)
        assert answer["gh"] in ("GH0053", "GH0065", "GH0066") and "challenge" not in answer
        assert "gatehouse.db" not in response.body.decode()


# Secrets

def test_challenges_are_in_no_log(server, subject):
    challenges = [made(make(server))["challenge"], made(make(server, tls=True))["challenge"],
                  password(ask(server, "/certsrv/mscep_admin/", tls=True))]
    client = server.client(standard.ONETIME)
    for challenge in challenges:
        client.enrol(standard.device_key(), challenge, subject)
    made(make(server, headers={"X-Request-Id": "seen-in-the-logs"}))
    time.sleep(0.5)
    everything = b"".join(path.read_bytes() for folder in ("log", "store", "run")
                          for path in (server.root / folder).rglob("*") if path.is_file())
    assert b"seen-in-the-logs" in everything
    for challenge in challenges:
        assert challenge.encode() not in everything
        assert challenge.lower().encode() not in everything
        assert bytes.fromhex(challenge) not in everything
    for secret in USERS.values():
        assert secret.encode() not in everything


# Configuration

FOR = "SCEPChallengeFor acme devices scep-digital-signature"
BAD = {
    "no target": (page_lines(), "SetHandler", "GH0537"),
    "unknown tenant": (page_lines("SCEPChallengeFor zeta devices scep-*"), "SCEPChallengeFor",
                       "GH0534"),
    "endpoint without one-time challenges": (
        page_lines(f"SCEPChallengeFor acme devices {standard.BASE}"), "SCEPChallengeFor", "GH0534"),
    "unknown set": (page_lines(FOR + " phones"), "SCEPChallengeFor", "GH0534"),
    "set that must be named": (page_lines("SCEPChallengeFor acme devices scep-key-encipherment"),
                               "SCEPChallengeFor", "GH0534"),
    "set with a bad name": (page_lines(FOR + " a/b"), "SCEPChallengeFor", "GH0513"),
    "too few names": (page_lines("SCEPChallengeFor acme devices"), "SCEPChallengeFor", "GH0512"),
    "wildcard for NDES": (page_lines("SCEPChallengeFor acme devices scep-digital-*", handler="ndes"),
                          "SCEPChallengeFor", "GH0535"),
    "two targets for NDES": (
        page_lines(FOR, "SCEPChallengeFor beta devices scep-digital-signature", handler="ndes"),
        "SCEPChallengeFor beta", "GH0538"),
    "no page": (page_lines(FOR, handler=None), "SCEPChallengeFor", "GH0541"),
    "permission that is no expression": (page_lines(FOR, 'SCEPChallengePermit "%{"'),
                                         "SCEPChallengePermit", "GH0514"),
    "permission twice": (page_lines(FOR, "SCEPChallengePermit true", "SCEPChallengePermit false"),
                         "SCEPChallengePermit false", "GH0511"),
    "no passwords": (page_lines(FOR, "SCEPNDESPasswords 0", handler="ndes"), "SCEPNDESPasswords",
                     "GH0515"),
    "many passwords": (page_lines(FOR, "SCEPNDESPasswords 10001", handler="ndes"),
                       "SCEPNDESPasswords", "GH0515"),
    "plain is on or off": (page_lines(FOR, "SCEPChallengePlain maybe"), "SCEPChallengePlain",
                           "On or Off"),
    "handler in a pattern": (
        '<LocationMatch "^/page">\nSetHandler gatehouse-scep-ndes\n</LocationMatch>\n',
        "SetHandler gatehouse-scep-ndes", "GH0542"),
    "directive in a pattern": (f'<LocationMatch "^/page">\n{FOR}\n</LocationMatch>\n',
                               "SCEPChallengeFor", "GH0510"),
    "wide behind narrow": (page_lines(FOR, path="/page/a") + page_lines(FOR, path="/page"),
                           "SCEPChallengeFor|<Location \"/page\">", "GH0540"),
    "privileged profile": (
        location("/scep/acme/devices/test-code-signing", "SCEPChallenge onetime")
        + page_lines("SCEPChallengeFor acme devices test-code-*"), "SCEPChallengeFor", "GH0534"),
}


@pytest.fixture(scope="module")
def unstarted():
    made = Server(standard.content, modules=MODULES)
    yield made
    made.close()


@pytest.mark.parametrize("name", BAD)
def test_bad_configuration(unstarted, name):
    lines, place, reason = BAD[name]
    unstarted.configure(standard.content(unstarted).replace("SCEPProfiles scep-* test-*",
                                                            "SCEPProfiles scep-* test-* "
                                                            "test-code-signing") + lines)
    result = unstarted.configtest()
    text = result.stderr + result.stdout
    assert result.returncode != 0 and reason in text, text
    assert names_line(unstarted, result, place), text


@pytest.mark.parametrize("lines, warns", [
    (page_lines(FOR), False), (page_lines(FOR, auth=False), True),
    (page_lines(FOR, auth=False) + location("/", "AuthType Basic"), False),
    (page_lines(FOR, "AuthType None", auth=False), True),
    (page_lines(FOR, auth=False) + location("/other", "AuthType Basic"), True)],
    ids=["AuthType", "none", "wider", "AuthType None", "elsewhere"])
def test_page_that_authenticates_nobody(unstarted, lines, warns):
    unstarted.configure(standard.content(unstarted) + lines)
    result = unstarted.configtest()
    assert result.returncode == 0, result.stderr
    assert ("GH0539" in result.stderr) == warns, result.stderr


def test_narrower_location_restricts(make_server):
    """A narrower location replaces SCEPChallengeFor; settings that it does not have stay."""
    def lines(server):
        make_users(server)
        return standard.content(server) + location(
            "/c", "SetHandler gatehouse-scep-challenge", *basic(server), FOR,
            "SCEPChallengePermit \"%{REMOTE_USER} != 'guest'\"") + location(
            "/c/beta", "SCEPChallengeFor beta devices scep-digital-signature")

    server = make_server(lines, modules=PASSWORDS)
    made(make(server, "/c"))
    made(make(server, "/c/beta", tenant="beta"))
    problem(make(server, "/c/beta"), 403, "GH0524")
    problem(make(server, "/c", tenant="beta"), 403, "GH0524")
    problem(make(server, "/c/beta", tenant="beta", user="guest"), 403, "GH0520")
