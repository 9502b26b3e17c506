# Licensed under the Apache License, Version 2.0. See LICENSE.
"""What the documentation shows works, and what it lists is what there is."""

import json
import re
import subprocess

from harness import config, environment, standard
from harness.server import CHALLENGE, Server

README = environment.SOURCE / "README.md"
ARCHITECTURE = environment.SOURCE / "docs" / "architecture.md"
PATH = "/scep/acme/devices/scep-digital-signature-key-encipherment"


def section(heading):
    """A section of docs/architecture.md."""
    return re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", ARCHITECTURE.read_text(), re.S | re.M)[1]


def documented(heading):
    return set(re.findall(r"`([a-z_]+)`", section(heading)))


def configure_as_the_readme(server):
    """The configuration of README.md, with paths and URL that exist here."""
    subprocess.run([environment.gatehousectl(), "ca", "init", "--directory", server.root / "pki",
                    "--name", "devices", "--public-url", server.public_url], check=True,
                   env=environment.variables(), stdout=subprocess.DEVNULL)
    text = re.search(r"^```apache\n(.*?)^```$", README.read_text(), re.S | re.M)[1]
    for old, new in (("/usr/local/etc/gatehouse/profiles.conf",
                      f"{environment.SOURCE}/conf.d/profiles.conf"),
                     ("/etc/gatehouse/ca/", f"{server.root}/pki/"),
                     ("/etc/gatehouse/challenge", str(server.secret("challenge"))),
                     ("/var/lib/gatehouse/", f"{server.root}/store/"),
                     ("http://pki.example.com", server.public_url)):
        assert old in text, f"README.md does not mention {old}"
        text = text.replace(old, new)
    server.conf.write_text(config.frame(server) + text)


def test_configuration_in_the_readme(make_server):
    server = make_server(start=False)
    configure_as_the_readme(server)
    server.start()
    assert PATH in README.read_text()
    reply = server.client(PATH).enrol(standard.device_key(), CHALLENGE, "CN=readme")
    assert reply.succeeded
    assert server.get("/crl/devices.crl").status == 200
    assert server.get("/ca/devices.cer").status == 200


def members(value):
    if isinstance(value, dict):
        for name, inside in value.items():
            yield name
            yield from members(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from members(inside)


def test_dump_is_documented(make_server):
    server = make_server(standard.content, start=False)
    result = server.configtest("-D", "DUMP_GATEHOUSE")
    assert result.returncode == 0, result.stderr
    found = set(members(json.loads(result.stdout)))
    assert "public_url" in found and "challenges" in found
    assert found <= documented("The configuration as JSON")


def test_audit_members_are_documented():
    header = (environment.SOURCE / "lib" / "audit.h").read_text()
    body = re.search(r"struct gh_audit_event \{(.*?)\};", header, re.S)[1]
    fields = set(re.findall(r"(?:const char \*|apr_time_t )([a-z_]+);", body))
    assert "client_request_id" in fields
    assert fields == documented("Audit lines") & fields


def test_tables_of_the_store_are_documented():
    source = (environment.SOURCE / "lib" / "store" / "migrations.c").read_text()
    tables = set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?([a-z_]+) \(", source))
    assert "enrolment" in tables
    assert tables <= documented("The store")
