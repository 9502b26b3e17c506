# Licensed under the Apache License, Version 2.0. See LICENSE.
"""gatehousectl cert import: taking up what a CA issued and revoked before."""

import base64
import contextlib
import datetime
import json
import subprocess

import pytest
from cryptography import x509

from harness.config import CRL_AND_CA, issuer
from harness.legacy import DER, PEM, crl_of, leaf, pem, revoked
from harness.pki import key
from harness.postgres import Cluster
from harness.server import wait_until

CERTIFICATE = ["serial", "issuer", "subject", "sans", "profile", "status", "reason", "not_before",
               "not_after", "revoked_at", "sha256", "enrolment"]


@pytest.fixture
def server(make_server):
    return make_server(lambda s: issuer(s.authority, crl="validity=7d publish=24h delay=1s")
                       + CRL_AND_CA)


def test_import_with_a_crl(server, tmp_path):
    flags = x509.ReasonFlags
    crl = tmp_path / "old.crl"
    crl.write_bytes(crl_of(server.authority, 4711, revoked(2, flags.key_compromise,
                                                 datetime.datetime(2024, 1, 1)),
                           revoked(3, flags.certificate_hold), revoked(4), revoked(99))
                    .public_bytes(DER))
    files = []
    for number in (1, 2, 3):
        files.append(tmp_path / f"{number}.pem")
        files[-1].write_text(pem(leaf(server.authority, number, f"imported-{number}")))
    der = tmp_path / "4.der"
    der.write_bytes(leaf(server.authority, 4, "imported-4", days=-40).public_bytes(
        DER))
    result = server.ctl("cert", "import", "--issuer", "devices", "--profile", "legacy", "--crl",
                        crl, *files, der)
    assert result.status == 0, result
    assert [(row["serial"], row["status"]) for row in result.objects] == [
        ("01", "good"), ("02", "revoked"), ("03", "held"), ("04", "revoked"), ("63", "revoked")]
    rows = {row["serial"]: row for row in server.certificates()}
    assert all(list(row) == CERTIFICATE for row in rows.values())
    assert rows["01"]["status"] == "good" and rows["01"]["sans"] == ["DNS:old.example"]
    assert rows["01"]["profile"] == "legacy" and rows["01"]["enrolment"] is None
    assert (rows["02"]["status"], rows["02"]["reason"]) == ("revoked", "keyCompromise")
    assert rows["02"]["revoked_at"] == "2024-05-06T07:08:09Z"
    assert (rows["03"]["status"], rows["03"]["reason"]) == ("held", "certificateHold")
    assert (rows["04"]["status"], rows["04"]["reason"]) == ("revoked", None)
    # what only the CRL knows stays revoked
    assert rows["63"]["status"] == "revoked" and rows["63"]["sha256"] is None
    assert server.ctl("cert", "show", "63", "--pem").status == 3
    # the next CRL has what the old one had, and a larger number

    def newer():
        current = x509.load_der_x509_crl(server.crl())
        number = current.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        return current if number > 4711 else None
    current = wait_until(newer, 10, what="a CRL behind the imported one")
    assert {entry.serial_number for entry in current} == {2, 3, 99}  # 4 has expired
    # again: nothing changes
    again = server.ctl("cert", "import", "--issuer", "devices", "--crl", crl, *files, der)
    assert again.status == 0 and again.objects == []
    assert {row["serial"]: row for row in server.certificates()} == rows
    human = server.ctl_ok("cert", "import", "--issuer", "devices", files[0], as_json=False).out
    assert human == "0 imported, 1 known before, 0 refused\n"
    events = wait_until(lambda: [line for line in server.audit() if line["event"] == "import"],
                        5, what="lines of the audit log")
    assert {line["serial"] for line in events} == {"01", "02", "03", "04", "63"}
    # a later CRL marks what is known, with its own time
    crl.write_bytes(crl_of(server.authority, 4712, revoked(1, flags.superseded))
                    .public_bytes(PEM))
    late = server.ctl_ok("cert", "import", "--issuer", "devices", "--crl", crl, files[0])
    assert late.object["serial"] == "01"
    shown = server.ctl_ok("cert", "show", "01").object
    assert (shown["status"], shown["reason"], shown["revoked_at"]) == (
        "revoked", "superseded", "2024-05-06T07:08:09Z")


def test_events(server, tmp_path):
    """Pages of a CA's gateway, and single events a line; bad ones stop nothing."""
    der = leaf(server.authority, 0x1234, "event").public_bytes(DER)
    page = {"type": "CertificateEventsResponse", "morePages": True, "nextPageIndex": "p2",
            "events": [
                {"action": "issued", "serialNumber": "1234", "reason": None,
                 "certificate": base64.b64encode(der).decode(),
                 "eventDate": "2026-01-02T03:04:05.00Z"},
                {"action": "renamed", "serialNumber": "99"},
                {"action": "issued", "serialNumber": "abc"},
                {"action": "revoked", "serialNumber": "abc", "reason": "keyCompromise",
                 "eventDate": "2026-02-02T00:00:00Z"}]}
    path = tmp_path / "page.json"
    path.write_text(json.dumps(page, indent=1))
    assert server.ctl("cert", "events", "--issuer", "devices", "--position").status == 3
    result = server.ctl("cert", "events", "--issuer", "devices", path)
    assert result.status == 1 and len(result.objects) == 2, result
    skipped, summary = result.objects
    assert (skipped["event"], skipped["serial"], skipped["gh"]) == (2, "99", "GH0708")
    assert summary == {"issuer": "devices", "added": 2, "changed": 1, "unchanged": 0, "skipped": 1}
    position = server.ctl_ok("cert", "events", "--issuer", "devices", "--position", as_json=False)
    assert position.out == "p2\n"
    rows = {row["serial"]: row for row in server.certificates()}
    assert rows["1234"]["status"] == "good" and rows["1234"]["sans"] == ["DNS:old.example"]
    assert (rows["0abc"]["status"], rows["0abc"]["reason"], rows["0abc"]["sha256"]) == (
        "revoked", "keyCompromise", None)
    assert rows["0abc"]["revoked_at"] == "2026-02-02T00:00:00Z"
    wait_until(lambda: x509.load_der_x509_crl(server.crl())
               .get_revoked_certificate_by_serial_number(0xabc), 10, what="the CRL to list it")
    # lines, one of which is no JSON
    lines = "\n".join(['{"action": "suspended", "serialNumber": "12:34"}', "nonsense {",
                       '{"action": "issued", "serialNumber": "77"}'])
    result = server.ctl("cert", "events", "--issuer", "devices", "-", stdin=lines)
    assert result.status == 1
    assert [row.get("gh") for row in result.objects] == ["GH0713", None], result
    assert result.objects[1] == {"issuer": "devices", "added": 1, "changed": 1, "unchanged": 0,
                                 "skipped": 1}
    assert server.ctl_ok("cert", "show", "1234").object["status"] == "held"
    human = server.ctl_ok("cert", "events", "--issuer", "devices", "-", as_json=False,
                          stdin='[{"action": "unsuspended", "serialNumber": "1234"}]').out
    assert human == "0 added, 1 changed, 0 unchanged, 0 skipped\n"
    for arguments, status in ((("-",), 2), (("--issuer", "devices"), 2),
                              (("--issuer", "none", "-"), 3),
                              (("--issuer", "devices", "--position", "-"), 2),
                              (("--issuer", "devices", tmp_path / "none"), 1)):
        assert server.ctl("cert", "events", *arguments, stdin="").status == status
    events = wait_until(lambda: [line["event"] for line in server.audit()
                                 if line.get("rule") == "events"][5:], 5, what="audit lines")
    assert events


def sql(cluster, statement):
    subprocess.run(["psql", "-qX", "-d", cluster.conninfo, "-c", statement], check=True,
                   stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def standby(cluster, folder):
    """Something that follows the database's log."""
    with subprocess.Popen(["pg_receivewal", "-D", str(folder), "-d", cluster.conninfo],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: list(folder.glob("*.partial")), 10, what="a standby")
        yield
        process.terminate()


def test_on_postgresql(make_server, tmp_path):
    """The same statements in the other dialect; what check says of the database."""
    with Cluster() as cluster:
        server = make_server(lambda s: issuer(s.authority) + CRL_AND_CA,
                             store=cluster.database(), start=False)
        missing = server.ctl("cert", "list")
        assert missing.status == 4 and "GH" in missing.err
        server.start()
        crl = tmp_path / "old.crl"
        crl.write_bytes(crl_of(server.authority, 7, revoked(2), revoked(9)).public_bytes(DER))
        text = pem(*(leaf(server.authority, number) for number in range(1, 151)))
        for _ in range(2):
            result = server.ctl("cert", "import", "--issuer", "devices", "--crl", crl, "-",
                                stdin=text)
            assert result.status == 0, result
        rows = {row["serial"]: row["status"] for row in server.certificates()}
        assert len(rows) == 150 and {serial for serial in rows if rows[serial] == "revoked"} == {
            "02", "09"}
        assert server.ctl_ok("cert", "hold", "03").object["status"] == "held"
        check = {row["name"]: row for row in server.ctl("check").objects}
        assert check["store"]["verdict"] == "ok" and check["clock"]["verdict"] == "ok"
        assert check["store.writes"]["verdict"] == "ok"
        assert check["store.durability"]["verdict"] == "ok"
        with standby(cluster, tmp_path):
            check = {row["name"]: row for row in server.ctl_ok("check").objects}
            assert check["store.durability"]["gh"] == "GH0408"
        sql(cluster, "ALTER SYSTEM SET full_page_writes = off")
        sql(cluster, "SELECT pg_reload_conf()")
        check = wait_until(lambda: [row for row in server.ctl_ok("check").objects
                                    if row["gh"] == "GH0407"], 10, what="the warning")
        assert "full_page_writes" in check[0]["message"]
        cluster.stop()
        server.allow("GH0078", "GH0079", "GH0083")      # the database is away
        assert server.ctl("cert", "list").status == 4
        assert server.ctl("cert", "revoke", "-", stdin="devices 04\n" * 50).status == 4
        check = {row["name"]: row for row in server.ctl("check").objects}
        assert check["store"]["verdict"] == "error"
        server.stop()


def test_import_refuses(server, tmp_path):
    good = leaf(server.authority, 0x77000001, "good")
    foreign = server.authority.root_path.read_text()
    forged = leaf(server.authority, 0x77000002, "forged", signer=key("rsa2048-03"))
    mixed = ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + foreign
             + pem(forged, good))
    result = server.ctl("cert", "import", "--issuer", "devices", "-", stdin=mixed)
    assert result.status == 1
    assert [row["serial"] for row in result.objects] == ["77000001"]
    assert "certificate 1" in result.err and "GH0363" in result.err
    assert "certificate 2" in result.err and "certificate 3" in result.err
    assert "certificate 4" not in result.err and "GH0360" in result.err
    assert [row["serial"] for row in server.certificates()] == ["77000001"]
    assert server.ctl("cert", "import", "--issuer", "devices", "-", stdin="rubbish").status == 1
    assert server.ctl("cert", "import", "--issuer", "devices", tmp_path / "no.pem").status == 1
    assert server.ctl("cert", "import", "--issuer", "nobody", "-", stdin=foreign).status == 3
    crl = tmp_path / "bad.crl"
    indirect = x509.IssuingDistributionPoint(None, None, False, False, None, True, False)
    for data in (b"rubbish",
                 crl_of(server.authority, 1, key=key("rsa2048-03")).public_bytes(DER),
                 crl_of(server.authority, 1, more=[x509.DeltaCRLIndicator(1)]).public_bytes(DER),
                 crl_of(server.authority, 1, more=[indirect]).public_bytes(DER),
                 crl_of(server.authority, 1 << 80).public_bytes(DER)):
        crl.write_bytes(data)
        refused = server.ctl("cert", "import", "--issuer", "devices", "--crl", crl, "-",
                             stdin=pem(good))
        assert refused.status == 1 and "GH0366" in refused.err
    crl.write_bytes(crl_of(server.authority, None, days=-1).public_bytes(DER))
    old = server.ctl("cert", "import", "--issuer", "devices", "--crl", crl, "-", stdin=pem(good))
    assert old.status == 0 and "GH0367" in old.err
