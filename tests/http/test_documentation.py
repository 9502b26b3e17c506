# Licensed under the Apache License, Version 2.0. See LICENSE.
"""What the documentation shows works, and what it lists is what there is."""

import json
import os
import pathlib
import re
import subprocess

from cryptography import x509

from harness import config, environment, standard
from harness.server import CHALLENGE, wait_until

README = environment.SOURCE / "README.md"
ARCHITECTURE = environment.SOURCE / "docs" / "architecture.md"
SECURITY = environment.SOURCE / "docs" / "security.md"
PATH = "/scep/acme/devices/scep-digital-signature-key-encipherment"


def section(heading):
    """A section of docs/architecture.md."""
    return re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", ARCHITECTURE.read_text(), re.S | re.M)[1]


def documented(heading):
    return set(re.findall(r"`([a-z_]+)`", section(heading)))


def fenced(language, containing=""):
    """The block of README.md in that language that has a text in it."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.S | re.M)
    return next(block for block in blocks if containing in block)


def here(server, text):
    """What README.md says, with paths, user and URL that exist here."""
    _, _, user, group = environment.run_as()
    for old, new in (("/usr/local/etc/gatehouse", f"{server.root}/shipped"),
                     ("/etc/gatehouse", f"{server.root}/etc"),
                     ("/var/lib/gatehouse", f"{server.root}/var"),
                     ("/var/log/apache2", f"{server.root}/log"),
                     ("-o www-data -g www-data", f"-o {user} -g {group}"),
                     ("http://pki.example.com", server.public_url)):
        text = text.replace(old, new)
    return text


def install_shipped(server):
    """conf.d as "make install" leaves it, but for modules that are not installed."""
    folder = server.root / "shipped"
    folder.mkdir()
    subprocess.run(["make", "-C", environment.build(), "install-dist_confDATA",
                    "install-data-hook", f"confdir={folder}"], check=True,
                   stdout=subprocess.DEVNULL)
    for path in folder.iterdir():
        text = path.read_text()
        assert "@" not in re.sub("#.*", "", text), f"{path.name} has a place holder"
        for name in re.findall(r"^\s*LoadModule (\w+)_module", text, re.M):
            installed = f'"{environment.apxs("LIBEXECDIR")}/mod_{name}.so"'
            assert installed in text, f"{path.name} loads {name} from elsewhere"
            text = text.replace(installed, f'"{environment.module("mod_" + name)}"')
        path.write_text(text)


def ask_by_ocsp(server, certificate):
    """It names the responder, which says that it is good, by a signer of its own."""
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert f"{server.public_url}/ocsp" in [one.access_location.value for one in access]
    folder = server.root / "etc" / "ca"
    command = ["openssl", "ocsp", "-issuer", folder / "devices.pem", "-serial",
               hex(certificate.serial_number), "-url", f"{server.public_url}/ocsp", "-CAfile",
               folder / "root.pem", "-verify_other", folder / "devices.pem"]

    def is_good():
        said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False, timeout=20).stdout
        return "Response verify OK" in said and ": good" in said
    server.allow("GH0763", "GH0554", "GH0561", "GH0562")
    wait_until(is_good, 10, what="the responder of the README")


def test_configuration_in_the_readme(make_server):
    """Its own commands make what its ten lines need, and a device enrols."""
    server = make_server(start=False, own_modules=())
    install_shipped(server)
    tools = pathlib.Path(environment.gatehousectl()).parent
    subprocess.run(["sh", "-euc", here(server, fenced("sh", "ca init"))], check=True,
                   env=environment.variables(PATH=f"{tools}:{os.environ['PATH']}"),
                   stdout=subprocess.DEVNULL)
    configuration = fenced("apache")
    assert len([line for line in configuration.splitlines() if line.strip()]) == 10
    configuration += fenced("apache", "OCSPAuthority")
    frame = config.frame(server).replace("LimitRequestLine 65536\n", "")
    server.conf.write_text(frame + here(server, configuration))
    server.start()
    assert f"http://pki.example.com{PATH}" in README.read_text()
    challenge = (server.root / "etc" / "challenge").read_text().strip()
    reply = server.client(PATH).enrol(standard.device_key(), challenge, "CN=readme")
    assert reply.succeeded
    ask_by_ocsp(server, reply.certificate)
    assert server.client(PATH).enrol(standard.device_key(), CHALLENGE, "CN=stranger").failed
    server.crl("devices")
    for path in ("/crl/root.crl", "/ca/devices.cer", "/ca/root.cer"):
        assert server.get(path).status == 200, path
    for path in ("/crl", "/ca/", "/ca/readme.txt", "/ca/devices.cer/more"):
        assert "X-Request-Id" not in server.get(path).headers, f"{path} is not another site's"
    assert "error" not in {verdict["verdict"] for verdict in server.ctl_ok("check").objects}
    assert "CN=readme" in (server.root / "log" / "gatehouse-audit.jsonl").read_text()


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
    tables -= set(re.findall(r"ALTER TABLE ([a-z_]+) RENAME TO", source))
    assert "enrolment" in tables and "mdm_request" in tables
    assert tables <= documented("The store")


def exists(name):
    """Whether a test is there that a table names as file::function."""
    file, function = name.split("::")
    folder = environment.SOURCE / "tests"
    return any(path.exists() and f"\n{head}{function}(" in path.read_text()
               for path, head in ((folder / "http" / f"{file}.py", "def "),
                                  (folder / "unit" / f"{file}.c", "static void ")))


def check_rows(rows):
    """Each row of a table names tests, and they are there."""
    for row in rows:
        named = re.findall(r"`([^` ]*::[^` ]*)`", row)
        assert named, row
        assert [name for name in named if not exists(name)] == [], row


def test_attacks_have_tests():
    text = SECURITY.read_text()
    table = "".join(re.findall(r"^## Attacks on (?:SCEP|OCSP|the escrow)$(.*?)(?=^## )", text,
                               re.S | re.M))
    assert "test_ocsp_" in table and "test_escrow_" in table
    rows = [line for line in table.splitlines()
            if line.startswith("| ") and not line.startswith("| Attack |")]
    assert len(rows) >= 40
    check_rows(rows)
    assert not exists("test_scep_attacks::test_that_is_not_there")


def test_checklist_of_the_escrow_has_tests():
    text = (environment.SOURCE / "tests" / "http" / "checklist_escrow.md").read_text()
    rows = [line for line in text.splitlines()
            if line.startswith("| ") and not line.startswith("| What |")]
    assert len(rows) >= 25
    check_rows(rows)
