# Licensed under the Apache License, Version 2.0. See LICENSE.
"""EscrowMailDirectory: credentials are made for addresses that a directory has, here slapd."""

import socket
import uuid

import pytest

from harness import config, openapi
from harness.active_directory import PASSWORD, READER, SUFFIX, ActiveDirectory, user
from harness.config import location
from harness.escrow import MODULES, OWN_MODULES, SSL_CHATTER, Identity, ask, problem, tls_host
from harness.pki import write_secret
from harness.server import free_port, wait_until

RULE = "EscrowProvide event=148 issuer=devices encryption=smime-key-encipherment\n"


def content(directory, domains=""):
    def make(server):
        if not hasattr(server, "sender"):
            server.sender = Identity(server.root / "ca", "client", "p256-01")
        vault = write_secret(server.root / "ca" / "vault.key", "17" * 32)
        guard = ("SetHandler gatehouse-escrow", "AuthType gatehouse-cert",
                 f"Require thumbprint {server.sender.pin} role=provider")
        return (config.issuer(server.authority) + config.CRL_AND_CA
                + f"EscrowVaultKey k1 file:{vault}\n" + RULE + domains
                + (directory(server) if callable(directory) else directory)
                + tls_host(server, location("/v1/events", *guard)))
    return make


@pytest.fixture(scope="module")
def directory():
    made = ActiveDirectory(user("ada") + user("bob", relative=1105, mail="Bob.B@example.org")
                           + user("twin", relative=1106, mail="both@example.com")
                           + user("other", relative=1107, mail="both@example.com")
                           + user("star", relative=1108, mail="x*y@example.com"))
    yield made
    made.close()


def serve(make_server, *arguments, **options):
    server = make_server(content(*arguments), own_modules=OWN_MODULES, modules=MODULES, **options)
    server.allow(*SSL_CHATTER)
    return server


def post(server, email, name="ada"):
    event = {"EventId": 148, "DeviceUUID": str(uuid.uuid4()), "EnrollmentUserUUID":
             str(uuid.uuid4()), "EnrollmentEmailAddress": email, "EventTime": str(uuid.uuid4())}
    if name:
        event["EnrollmentUserName"] = name
    return openapi.check("POST", "/v1/events",
                         ask(server, "/v1/events", server.sender, "POST", event))


def base(*urls, more=""):
    return f'EscrowMailDirectory {" ".join(urls)} "base={SUFFIX}" {more}\n'


def test_addresses_of_the_directory(make_server, directory):
    server = serve(make_server, base(directory.url()))
    assert post(server, "ada@example.com").status == 202
    assert post(server, "bob.b@example.org").status == 202
    for address in ("eve@example.com", "both@example.com", "a*@example.com"):
        problem(post(server, address), 403, "GH1332")


def test_with_domains_both_have_to_permit(make_server, directory):
    server = serve(make_server, base(directory.url()), "EscrowMailDomains example.com\n")
    assert post(server, "ada@example.com").status == 202
    problem(post(server, "bob.b@example.org"), 403, "GH1290")
    problem(post(server, "eve@example.com"), 403, "GH1332")


def test_filter_with_the_user(make_server, directory):
    server = serve(make_server, base(
        directory.url(), more='"filter=(&(mail=<email>)(sAMAccountName=<user>))"'))
    assert post(server, "ada@example.com", "ada").status == 202
    for name in ("bob", "*", "ada)(mail=*", None):
        problem(post(server, "ada@example.com", name), 403, "GH1332")


def test_a_server_that_hangs_is_left_alone(make_server, directory):
    """The next event is answered by the other one."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(8)
        url = f"ldap://127.0.0.1:{deaf.getsockname()[1]}"
        server = serve(make_server, base(url, directory.url(), more="timeout=2s"))
        server.allow("GH1333", "GH1406")
        wait_until(lambda: post(server, "ada@example.com").status == 202, 60, what="the other one")


def test_no_directory_no_credentials(make_server):
    server = serve(make_server, base(f"ldap://127.0.0.1:{free_port()}", more="timeout=1s"))
    server.allow("GH1333", "GH1406")
    answer = post(server, "ada@example.com")
    problem(answer, 503, "GH1333")
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize("line, number", [
    ("EscrowMailDirectory ldap://127.0.0.1 filter=(mail=x)", "GH1327"),
    ("EscrowMailDirectory ldap://127.0.0.1 timeout=31s", "GH1327"),
    ("EscrowMailDirectory ldap://127.0.0.1 password=secret", "GH1328"),
    ("EscrowMailDirectory ldap://127.0.0.1\nEscrowMailDirectory ldap://127.0.0.1", "GH1329"),
    (f'EscrowMailDirectory ldap://127.0.0.1 "bind={READER}" password=file:PASSWORD', "GH1404"),
    ("EscrowMailDirectory base=dc=example,dc=com", "GH1404")])
def test_configtest(make_server, line, number):
    def directory_of(server):
        return line.replace("PASSWORD", str(server.make_secret("ldap", PASSWORD))) + "\n"
    server = serve(make_server, directory_of, start=False)
    done = server.configtest()
    assert done.returncode != 0 and number in done.stderr, done.stderr
