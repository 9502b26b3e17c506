# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Of two locations that cover a path the narrower one decides, and the configuration says so in the
order in which httpd applies them; everything else is refused."""

import json
import re

import pytest

from harness import standard
from harness.config import CRL_AND_CA, issuer, location
from harness.server import Server

STATIC = standard.STATIC
SERVES = ("SetHandler gatehouse-scep", "SCEPTenant acme devices", "SCEPProfiles scep-*")
WIDE = {
    "SCEPChallenge": ("SCEPChallenge onetime", "SCEPChallenge none insecure"),
    "SCEPAllow": ("SCEPAllow none", "SCEPAllow 3des sha1"),
    "SCEPProfiles": ("SCEPProfiles scep-digital-signature-key-encipherment",
                     "SCEPProfiles scep-*"),
    "SCEPReplyChain": ("SCEPReplyChain leaf", "SCEPReplyChain full"),
    "GatehouseAllowRequest": ("GatehouseAllowRequest none", "GatehouseAllowRequest UPN"),
    "SetHandler": ("SetHandler none", "SetHandler gatehouse-scep"),
}


@pytest.fixture(scope="module")
def server():
    """Never started."""
    made = Server()
    yield made
    made.close()


def virtual_host(server, text):
    return f"<VirtualHost *:{server.port}>\n    ServerName a.example\n{text}</VirtualHost>\n"


def base(server, *parts):
    return issuer(server.authority) + CRL_AND_CA + "".join(parts)


def lines_with(server, text):
    lines = server.conf.read_text().splitlines()
    return [number for number, line in enumerate(lines, 1) if line.strip() == text]


def refusal(server, content):
    """The one message with which it is refused, beside warnings."""
    server.configure(content)
    result = server.configtest()
    assert result.returncode != 0, result.stderr
    found = [line for line in re.findall(r"GH\d{4}: .*", result.stderr)
             if not line.startswith("GH0259")]
    assert len(found) == 1, result.stderr
    return found[0]


@pytest.mark.parametrize("directive", WIDE)
@pytest.mark.parametrize("where", ["server", "virtual host", "main server first"])
def test_wide_behind_narrow(server, directive, where):
    narrow, wide = WIDE[directive]
    first, last = location(STATIC, narrow), location("/scep/acme", wide)
    serves = location("/scep", *SERVES[:2], *(SERVES[2:] if directive != "SCEPProfiles" else ()))
    content = {"server": lambda: base(server, serves, first, last),
               "virtual host": lambda: base(server, virtual_host(server, serves + first + last)),
               "main server first": lambda: base(server, serves, first,
                                                 virtual_host(server, last))}[where]()
    text = refusal(server, content)
    [before], [behind] = lines_with(server, narrow), lines_with(server, wide)[-1:]
    assert f"{server.conf}:{behind}: " in text and f"line {before} of {server.conf}" in text, text
    assert f'"{STATIC}"' in text and '"/scep/acme"' in text and directive in text, text


def test_what_the_wrong_order_would_have_opened(server):
    """A challenge that a narrow location asks for does not go away."""
    text = refusal(server, base(
        server, location(STATIC, standard.challenge(server), "SCEPReplyChain leaf"),
        location("/scep", *SERVES, "SCEPChallenge none insecure")))
    assert text.startswith("GH0443") and "none insecure" not in text


def test_the_root_covers_everything(server):
    text = refusal(server, base(server, location("/scep", *SERVES),
                                location("/", "SetHandler server-status")))
    assert text.startswith("GH0444")


def test_one_path_twice(server):
    text = refusal(server, base(server, location("/scep", *SERVES),
                                location(STATIC, "GatehouseAllowRequest UPN"),
                                location(STATIC, "GatehouseAllowRequest none")))
    assert text.startswith("GH0449")


def endpoints(server, content):
    """By name of the server and path."""
    server.configure(content)
    result = server.configtest("-D", "DUMP_GATEHOUSE")
    assert result.returncode == 0, result.stderr
    return {(one["server"].split(":")[0], one["path"]): one
            for one in json.loads(result.stdout)["scep"]}


def test_wide_before_narrow(server):
    found = endpoints(server, base(
        server, location("/scep", *SERVES, "SCEPAllow 3des sha1", "SCEPChallenge none insecure"),
        location("/scep/acme", "SCEPAllow sha1"),
        location(STATIC, standard.challenge(server), "SCEPAllow none"),
        location("/scep/acme/devices/scep-key-encipherment", "SetHandler none")))
    static = found["localhost", STATIC]
    assert static["challenges"] == ["static"] and static["algorithms"] == []
    other = found["localhost", "/scep/acme/devices/scep-digital-signature"]
    assert other["challenges"] == ["none"] and other["algorithms"] == ["sha1"]
    assert ("localhost", "/scep/acme/devices/scep-key-encipherment") not in found


def test_virtual_host_says_otherwise_for_a_path(server):
    """It stands behind the main server, and so may repeat its paths and narrow them."""
    found = endpoints(server, base(
        server, location("/scep", *SERVES, "GatehouseAllowRequest UPN"),
        location(STATIC, standard.challenge(server)),
        virtual_host(server, location("/scep", "GatehouseAllowRequest none")
                     + location(STATIC, "SCEPChallenge onetime"))))
    assert found["localhost", STATIC]["challenges"] == ["static"]
    assert found["a.example", STATIC]["challenges"] == ["onetime"]


def test_what_adds_and_what_agrees_may_stand_anywhere(server):
    """Tenants add to those of wider locations; a handler may be repeated."""
    found = endpoints(server, base(
        server, location("/scep/beta", "SCEPTenant beta devices", "SetHandler gatehouse-scep"),
        location("/scep", *SERVES)))
    assert ("localhost", STATIC) in found and ("localhost", STATIC.replace("acme", "beta")) in found


def test_neighbours_are_left_alone(server):
    """Whatever stands beside SCEP in this httpd, also under such a path in another host."""
    server.configure(base(
        server, location("/status/x", "SetHandler none"), location("/status", "SetHandler status"),
        location("/images/", "Require all denied"),
        virtual_host(server, location("/scep", *SERVES)),
        f"<VirtualHost *:{server.port}>\n    ServerName b.example\n",
        location("/scep/other/", "Require all denied"), "</VirtualHost>\n"))
    result = server.configtest()
    assert result.returncode == 0, result.stderr
