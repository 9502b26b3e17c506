# Licensed under the Apache License, Version 2.0. See LICENSE.
"""What "httpd -t" says of issuers behind gateways that would not work."""

import datetime

import pytest

from harness import remote
from harness.config import issuer
from harness.server import Server
from harness.web import names_line


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    made = remote.start_gateway(tmp_path_factory.mktemp("gateway"))
    made.stop()                         # configtest asks nobody
    yield made


@pytest.fixture(scope="module")
def server():
    made = Server(modules=remote.MODULES)
    yield made
    made.close()


def configtest(server, gateway, more="", **directives):
    server.configure(remote.content(gateway, more, **directives))
    return server.configtest()


def passphrase(server, name="gateway"):
    return f"passphrase=file:{server.secret(name)}"


def test_what_is_right(server, gateway):
    result = configtest(server, gateway, gatewayprofile='scep-digital-signature "Device Auth"',
                        proxy="http://127.0.0.1:3128", subject="any",
                        limits="concurrent=4 rate=0.5 timeout=30s deadline=2d",
                        search="on lag=5m", wait="0s",
                        events="on every=5m since=2026-01-31T00:00Z serials-only")
    assert result.returncode == 0, result.stderr
    assert "GH09" not in result.stderr


@pytest.mark.parametrize("directives,number,line", [
    ({"backend": "cagw"}, "GH0861", "IssuerBackend"),
    ({"backend": "cagw https://127.0.0.1/cagw"}, "GH0861", "IssuerBackend"),
    ({"backend": "cagw https://127.0.0.1/cagw ca="}, "GH0861", "IssuerBackend"),
    ({"backend": "cagw https://127.0.0.1/cagw/ ca=CA1"}, "GH0862", "IssuerBackend"),
    ({"backend": "cagw https://127.0.0.1/cagw/v1 ca=CA1"}, "GH0862", "IssuerBackend"),
    ({"backend": "cagw http://127.0.0.1/cagw ca=CA1"}, "GH0862", "IssuerBackend"),
    ({"backend": "cagw https://user:secret@127.0.0.1/cagw ca=CA1"}, "GH0862", "IssuerBackend"),
    ({"backend": "gateway https://127.0.0.1/cagw ca=CA1"}, "GH0282", "IssuerBackend"),
    ({"credential": None}, "GH0876", "IssuerBackend"),
    ({"trust": '"/nowhere.pem"'}, None, "IssuerTrust"),
    ({"wait": "5m"}, "GH0869", "IssuerWait"),
    ({"wait": "5s max-waiting=0"}, "GH0869", "IssuerWait"),
    ({"search": "off lag=5s"}, "GH0870", "IssuerSearch"),
    ({"search": "perhaps"}, "GH0870", "IssuerSearch"),
    ({"events": "perhaps"}, "GH0853", "IssuerEvents"),
    ({"events": "off every=5s"}, "GH0853", "IssuerEvents"),
    ({"events": "on every=0s"}, "GH0853", "IssuerEvents"),
    ({"events": "on since=yesterday"}, "GH0853", "IssuerEvents"),
    ({"limits": "rate=0"}, "GH0871", "IssuerLimits"),
    ({"limits": "timeout=0s"}, "GH0871", "IssuerLimits"),
    ({"limits": "speed=9"}, "GH0871", "IssuerLimits"),
    ({"proxy": "http://user:hidden-secret@proxy:1"}, "GH0866", "IssuerProxy"),
    ({"proxy": "socks5://proxy:1"}, "GH0866", "IssuerProxy"),
    ({"subject": "whoever"}, "GH0868", "IssuerSubject"),
    ({"gatewayprofile": "no-such-profile theirs"}, "GH0874", "IssuerGatewayProfile"),
    ({"chain": None}, "GH0775", None),
])
def test_directives(server, gateway, directives, number, line):
    result = configtest(server, gateway, **directives)
    assert result.returncode != 0, result.stderr
    if number:
        assert number in result.stderr, result.stderr
    if line:
        assert names_line(server, result, line), result.stderr
    assert "hidden-secret" not in result.stderr


def test_an_issuer_key_too(server, gateway):
    result = configtest(server, gateway, key=f'"{server.authority.key_path}"')
    assert result.returncode != 0 and "GH0774" in result.stderr


def credential(server, gateway, **options):
    """IssuerCredential of another file than the right one."""
    path = gateway.tls.credential("other.p12", **options)
    return f'"{path}" {passphrase(server)}', path


def expired():
    return dict(days=1, start=datetime.datetime.utcnow() - datetime.timedelta(days=3))


def test_credentials(server, gateway):
    """Each fault has its own number."""
    said = {}

    def refused(name, line, number):
        result = configtest(server, gateway, credential=line)
        assert result.returncode != 0 and number in result.stderr, (name, result.stderr)
        assert names_line(server, result, "IssuerCredential"), (name, result.stderr)
        assert remote.PASSPHRASE not in result.stderr
        said[name] = number

    good = f'"{gateway.credential}"'
    server.make_secret("gateway", remote.PASSPHRASE)
    server.make_secret("wrong", "not it")
    refused("password", f'{good} {passphrase(server, "wrong")}', "GH0799")
    refused("alias", f'{good} {passphrase(server)} alias=nobody', "GH0793")
    ended = configtest(server, gateway, credential=credential(server, gateway, **expired())[0])
    # what else httpd does is in no need of it
    assert ended.returncode == 0 and "GH0796" in ended.stderr, ended.stderr
    assert names_line(server, ended, "IssuerCredential"), ended.stderr
    rubbish = gateway.folder / "rubbish.p12"
    rubbish.write_bytes(b"this is no PKCS#12")
    rubbish.chmod(0o600)
    refused("rubbish", f'"{rubbish}" {passphrase(server)}', "GH0798")
    line, path = credential(server, gateway)
    path.chmod(0o640)
    refused("readable", line, "GH0800")
    refused("inline", f"{good} passphrase=secret", "GH0864")
    assert len(set(said.values())) == len(said)
    result = configtest(server, gateway, credential=f"{good} {passphrase(server)} alias=gateway")
    assert result.returncode == 0, result.stderr


def test_a_credential_that_ends_soon(server, gateway):
    result = configtest(server, gateway, credential=credential(server, gateway, days=10)[0])
    assert result.returncode == 0 and "GH0872" in result.stderr


@pytest.mark.parametrize("with_ca", [True, False])
def test_trust_from_the_credential(server, gateway, with_ca):
    result = configtest(server, gateway, trust="credential",
                        credential=credential(server, gateway, with_ca=with_ca)[0])
    assert (result.returncode == 0) == with_ca, result.stderr
    assert ("GH0873" in result.stderr) != with_ca


def test_a_path_to_the_worker(server, gateway):
    server.configure(remote.content(gateway))
    right = server.conf.read_text()
    for old, new, number in ((" timeout=20", "", "GH0879"), ("ProxyPass ", "# ", "GH0878")):
        assert old in right
        server.conf.write_text(right.replace(old, new))
        result = server.configtest()
        assert result.returncode == 0 and number in result.stderr, result.stderr


def test_where_it_has_no_effect(server, gateway):
    """Directives of gateways at an issuer that signs here."""
    for line in ("IssuerWait 5s", f'IssuerTrust "{gateway.tls.ca_path}"', "IssuerSearch off",
                 "IssuerEvents on"):
        server.configure(issuer(server.authority, extra=f"    {line}\n"))
        result = server.configtest()
        assert result.returncode != 0 and "GH0875" in result.stderr, result.stderr
