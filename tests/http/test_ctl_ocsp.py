# Licensed under the Apache License, Version 2.0. See LICENSE.
"""gatehousectl ocsp status, ocsp produce, and what check says of OCSP."""

import base64
import json
import os
import pathlib
import re
import shutil
import time

import pytest
from cryptography.x509 import ocsp as answers

from harness import ocsp
from harness.legacy import DER, crl_of, revoked
from harness.server import wait_until


@pytest.fixture
def server(make_server):
    server = ocsp.make(make_server)
    server.good, server.revoked = (
        ocsp.enrol(server, f"CN={name}", number).serial_number.to_bytes(16, "big").hex()
        for number, name in enumerate(("good", "revoked"), 1))
    server.ctl_ok("cert", "revoke", server.revoked, "--reason", "keyCompromise")
    ocsp.wait_for(server, int(server.good, 16), ocsp.GOOD)
    ocsp.wait_for(server, int(server.revoked, 16), ocsp.REVOKED)
    # the feeder writes what it has done once a second at most
    state = pathlib.Path(server.root, "run/ocsp/devices.state")
    wait_until(lambda: state.exists() and json.loads(state.read_text())["built"],
               what="the feeder tells of its index")
    return server


def checks(server):
    return {row["name"]: row for row in server.ctl("check").objects}


def test_urls(server):
    rows = [row for row in server.ctl_ok("urls").objects if row["kind"] == "ocsp"]
    assert [row["url"] for row in rows] == [server.url("/ocsp")]


def test_status(server):
    row = server.ctl_ok("ocsp", "status").object
    assert (row["authority"], row["feeder"], row["complete"], row["gh"]) == (
        "devices", "running", True, None)
    assert row["generation"] >= 1 and row["confirmed"]
    assert [source["kind"] for source in row["sources"]] == ["store"]
    assert row["sources"][0]["gh"] is None and row["sources"][0]["last_success"]
    row = server.ctl_ok("ocsp", "status", "devices", server.revoked).object
    assert (row["status"], row["reason"]) == ("revoked", "keyCompromise")
    assert server.ctl_ok("ocsp", "status", "devices", server.good).object["status"] == "good"
    missing = server.ctl("ocsp", "status", "devices", "77")
    assert missing.status == 3 and missing.object["status"] == "unknown"
    assert server.ctl("ocsp", "status", "others").status == 3
    assert server.ctl("ocsp", "status", "devices", "xyz").status == 2
    human = server.ctl_ok("ocsp", "status", "devices", as_json=False).out
    assert "running" in human and "generation" in human


def test_check(server):
    rows = checks(server)
    for name in ("feeder", "index", "store"):
        assert rows[f"ocsp.devices.{name}"]["verdict"] == "ok", rows
    server.stop()
    state = pathlib.Path(server.root, "run/ocsp/devices.state")
    text = state.read_text()
    written = text.split('"written"')[1].split('"')[1]
    state.write_text(text.replace(f'"written": "{written}"', '"written": "2024-01-01T00:00:00Z"')
                     .replace(f'"written":"{written}"', '"written":"2024-01-01T00:00:00Z"'))
    rows = checks(server)
    assert (rows["ocsp.devices.feeder"]["verdict"], rows["ocsp.devices.feeder"]["gh"]) == (
        "error", "GH0720")
    assert server.ctl("ocsp", "status").object["feeder"] == "silent"
    # without its files nothing is known
    shutil.rmtree(state.parent)
    state.parent.mkdir()
    if os.geteuid() == 0:
        shutil.chown(state.parent, server.run_as if hasattr(server, "run_as") else "www-data")
    rows = checks(server)
    assert rows["ocsp.devices.feeder"]["gh"] == "GH0719"
    assert (rows["ocsp.devices.index"]["verdict"], rows["ocsp.devices.index"]["gh"]) == (
        "error", "GH0561")
    assert server.ctl("ocsp", "status").status == 4
    assert server.ctl("ocsp", "status", "devices", server.good).status == 4


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")
            if path.is_file() and path.name != ".gatehouse-ocsp"}


def produce(server, folder, *arguments):
    result = server.ctl("ocsp", "produce", "--directory", folder, *arguments)
    return result, {row["serial"]: row["result"] for row in result.objects}


def name_of(server, serial, digest="sha1"):
    der = ocsp.request_for(server.authority, [int(serial, 16)], digest)
    return re.sub("/+", "/", base64.b64encode(der).decode())     # no folder has an empty name


def load(folder, name):
    return answers.load_der_ocsp_response((folder / name).read_bytes())


def test_produce(server, tmp_path):
    tmp_path.chmod(0o777)
    folder = pathlib.Path(server.root, "run/ocsp/answers")
    result, rows = produce(server, folder)
    assert result.status == 0 and rows[server.good] == rows[server.revoked] == "written", result
    good, revoked = name_of(server, server.good), name_of(server, server.revoked)
    assert {good, revoked} <= files(folder)
    answer = load(folder, good)
    assert (answer.certificate_status, answer.serial_number) == (ocsp.GOOD, int(server.good, 16))
    assert load(folder, revoked).certificate_status == ocsp.REVOKED
    # it is what a GET gets, from whoever serves the folder
    live = ocsp.parse(ocsp.get(server, ocsp.request_for(server.authority,
                                                        [int(server.good, 16)])))
    assert (live.certificate_status, live.issuer_key_hash) == (answer.certificate_status,
                                                               answer.issuer_key_hash)
    # again: nothing is written, but for what has changed
    before = (folder / good).stat().st_mtime_ns
    result, rows = produce(server, folder)
    assert result.status == 0 and rows == {} and (folder / good).stat().st_mtime_ns == before
    server.ctl_ok("cert", "hold", server.good)
    result, rows = produce(server, folder)
    assert rows == {server.good: "written"}
    assert load(folder, good).certificate_status == ocsp.REVOKED
    # a damaged one is made again
    (folder / revoked).write_bytes((folder / revoked).read_bytes()[:-3] + b"abc")
    assert produce(server, folder)[1] == {server.revoked: "written"}
    # a list: what nobody issued is not made ahead
    serials = tmp_path / "serials"
    serials.write_text(f"# some\n{server.good}\n77\nnonsense\n")
    result, rows = produce(server, folder, "--serials", serials, "--digest", "sha256")
    assert result.status == 1 and rows == {server.good: "written", "77": "failed"}
    assert name_of(server, server.good, "sha256") in files(folder)
    assert "GH0725" in result.err and len(files(folder)) == 3 + len(
        files(folder) - {good, revoked, name_of(server, server.good, "sha256")})
    human = server.ctl("ocsp", "produce", "--directory", folder, as_json=False)
    assert human.status == 0 and human.out.startswith("0 written, ")


def test_produce_refuses(server, tmp_path):
    tmp_path.chmod(0o777)
    (tmp_path / "mine").write_text("mine")
    other = server.ctl("ocsp", "produce", "--directory", tmp_path)
    assert other.status == 1 and "GH0724" in other.err
    assert os.listdir(tmp_path) == ["mine"]
    for arguments in ((), ("--directory", tmp_path, "--digest", "md5"),
                      ("--directory", tmp_path, "--serials", tmp_path / "none")):
        result = server.ctl("ocsp", "produce", *arguments)
        assert result.status == 2 and "GH0723" in result.err
    assert server.ctl("ocsp", "produce", "--directory", tmp_path, "--authority", "x").status == 3


def test_produce_with_enrolled_signers(make_server, tmp_path):
    """Signers that are sealed in the store; what has ended is removed."""
    server = ocsp.make(make_server, "OCSPNextUpdate 4s", "OCSPSigner auto P-256", signer_line="")
    serial = ocsp.enrol(server).serial_number.to_bytes(16, "big").hex()
    ocsp.wait_for(server, int(serial, 16), ocsp.GOOD)
    folder = pathlib.Path(server.root, "run/ocsp/answers")
    result, rows = produce(server, folder)
    assert result.status == 0 and rows[serial] == "written", result
    assert name_of(server, serial) in files(folder)
    time.sleep(5)
    result, rows = produce(server, folder, "--serials", "/dev/null")
    assert result.status == 0 and files(folder) == set(), result


def test_crl_of_a_ca_elsewhere(make_server, tmp_path):
    """What a CRL says, how long it lasts, and answers for a list of serial numbers."""
    def lines(server):
        crl = server.root / "ca.crl"
        crl.write_bytes(crl_of(server.authority, 5, revoked(0x77)).public_bytes(DER))
        crl.chmod(0o644)
        return (ocsp.base(server) + ocsp.directory(server) + "OCSPFastPath /ocsp\n"
                + ocsp.section("devices", f'OCSPSource crl "file:{crl}" warn=365d',
                               'OCSPSigner "{}" "{}"'.format(*ocsp.signer(server.authority))))
    server = make_server(lines, own_modules=ocsp.OWN_MODULES)
    server.allow("GH0677", "GH0763", "GH0554", "GH0561", "GH0562")
    ocsp.wait_ready(server)
    row = wait_until(lambda: checks(server).get("ocsp.devices.crl"), 10, what="a verdict")
    assert (row["verdict"], row["gh"]) == ("warning", "GH0721"), row
    source = server.ctl_ok("ocsp", "status", "devices").object["sources"][0]
    assert (source["kind"], source["entries"], source["warn"]) == ("crl", 1, True)
    folder = pathlib.Path(server.root, "run/ocsp/answers")
    needs = server.ctl("ocsp", "produce", "--directory", folder)
    assert needs.status == 2 and "GH0723" in needs.err
    serials = tmp_path / "serials"
    serials.write_text("77\n78\n")
    result, rows = produce(server, folder, "--serials", serials)
    assert result.status == 0 and rows == {"77": "written", "78": "written"}, result
    assert load(folder, name_of(server, "77")).certificate_status == ocsp.REVOKED
    assert load(folder, name_of(server, "78")).certificate_status == ocsp.GOOD
