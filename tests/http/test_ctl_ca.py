# Licensed under the Apache License, Version 2.0. See LICENSE.
"""gatehousectl ca: making, renewing and taking up CAs."""

import datetime
import os
import pathlib
import resource
import shutil
import signal
import stat
import subprocess
import tempfile
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from harness import environment
from harness.config import CRL_AND_CA, issuer
from harness.pki import Authority, certificate, key, write_secret
from harness.server import wait_until

FILES = {"root.pem": 0o644, "root.key": 0o600, "root.crl": 0o644, "devices.pem": 0o644,
         "devices.key": 0o600, "sealing.key": 0o600}


def run(*arguments, as_json=True):
    command = [environment.gatehousectl(), *(["--json"] if as_json else []),
               *(str(argument) for argument in arguments)]
    return subprocess.run(command, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=environment.variables())


def made(*arguments):
    import json
    result = run(*arguments)
    assert result.returncode == 0, result
    return json.loads(result.stdout)


def init(directory, *options, name="devices", url="http://pki.example.com", key_kind="P-256"):
    """With keys that are quick to make."""
    return ("ca", "init", "--directory", directory, "--name", name, "--public-url", url, "--key",
            key_kind, "--root-key", "P-256", *options)


def load(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def crl_at(path):
    return x509.load_der_x509_crl(path.read_bytes())


def number(crl):
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def extension(where, kind):
    return where.extensions.get_extension_for_class(kind)


# init

def test_init(tmp_path):
    ca = tmp_path / "ca"
    answer = made("ca", "init", "--directory", ca, "--name", "devices", "--public-url",
                  "http://pki.example.com/")
    assert list(answer) == [
        "name", "root_name", "directory", "root_certificate", "root_key", "root_crl",
        "certificate", "key", "sealing_key", "public_url", "configuration"]
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in ca.iterdir()} == FILES
    assert stat.S_IMODE(ca.stat().st_mode) == 0o711
    assert answer["public_url"] == "http://pki.example.com"
    root, issuing = load(ca / "root.pem"), load(ca / "devices.pem")
    assert root.public_key().curve.name == "secp384r1" and root.issuer == root.subject
    assert issuing.public_key().key_size == 3072 and issuing.issuer == root.subject
    for one, pathlen in ((root, None), (issuing, 0)):
        constraints = extension(one, x509.BasicConstraints)
        assert constraints.critical and constraints.value.ca
        assert constraints.value.path_length == pathlen
        usage = extension(one, x509.KeyUsage)
        assert usage.critical and usage.value.key_cert_sign and usage.value.crl_sign
        assert usage.value.digital_signature and not usage.value.key_encipherment
        with pytest.raises(x509.ExtensionNotFound):
            extension(one, x509.ExtendedKeyUsage)
    for kind in (x509.CRLDistributionPoints, x509.AuthorityInformationAccess):
        with pytest.raises(x509.ExtensionNotFound):
            extension(root, kind)
    point = extension(issuing, x509.CRLDistributionPoints).value[0].full_name[0].value
    assert point == "http://pki.example.com/crl/root.crl"
    access = extension(issuing, x509.AuthorityInformationAccess).value[0].access_location.value
    assert access == "http://pki.example.com/ca/root.cer"
    assert (root.not_valid_after - root.not_valid_before).days == 7300
    assert 3649 <= (issuing.not_valid_after - issuing.not_valid_before).days <= 3650
    crl = crl_at(ca / "root.crl")
    assert crl.is_signature_valid(root.public_key()) and number(crl) == 1 and len(crl) == 0
    assert 364 <= (crl.next_update - datetime.datetime.utcnow()).days <= 365
    sealing = (ca / "sealing.key").read_text()
    assert len(sealing) == 65 and int(sealing, 16)
    assert subprocess.run(["openssl", "verify", "-x509_strict", "-CAfile", ca / "root.pem",
                           ca / "devices.pem"], check=False).returncode == 0


def test_init_with_options(tmp_path):
    secret = write_secret(tmp_path / "secret", "a passphrase\n")
    answer = made(*init(tmp_path / "my ca", "--root-name", "top", "--subject", "CN=Sub,O=Example",
                        "--root-subject", "CN=Top,O=Example", "--validity", "1y",
                        "--root-validity", "2y", "--root-passphrase", f"file:{secret}",
                        key_kind="RSA-2048"))
    ca = tmp_path / "my ca"
    assert (ca / "top.key").read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert load(ca / "devices.pem").subject.rfc4514_string() == "CN=Sub,O=Example"
    assert load(ca / "top.pem").subject.rfc4514_string() == "CN=Top,O=Example"
    assert (load(ca / "top.pem").not_valid_after - datetime.datetime.utcnow()).days in (729, 730)
    assert f'IssuerKey          "{ca}/devices.key"' in answer["configuration"]
    assert "<Issuer top>" in answer["configuration"]
    # the root's key needs its passphrase
    crl = ("ca", "crl", "--directory", ca, "--root-name", "top")
    assert run(*crl).returncode == 4
    wrong = write_secret(tmp_path / "wrong", "another\n")
    assert run(*crl, "--root-passphrase", f"file:{wrong}").returncode == 4
    assert made(*crl, "--root-passphrase", f"file:{secret}")["number"] == 2


@pytest.mark.parametrize("name", FILES)
def test_init_overwrites_nothing(tmp_path, name):
    (tmp_path / name).write_text("mine")
    result = run(*init(tmp_path))
    assert result.returncode == 1 and name in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("options", [
    ("--key", "RSA-1024"), ("--root-key", "Ed25519"), ("--name", "a/b"), ("--name", "root"),
    ("--name", "sealing"), ("--root-name", "a b"), ("--validity", "11y"), ("--validity", "x"),
    ("--validity", "0s"), ("--root-validity", "21y"), ("--validity", "3y", "--root-validity", "2y"),
    ("--subject", "nothing"), ("--root-subject", ""), ("--public-url", "ftp://x"),
    ("--public-url", "http://"), ("--public-url", "http://x/?q"), ("--public-url", "http://x y/"),
    ("--public-url", 'http://x/"'), ("--public-url", "pki.example.com"), ("--name", "x" * 65),
])
def test_init_refuses(tmp_path, options):
    arguments = {"--directory": str(tmp_path / "ca"), "--name": "devices", "--key": "P-256",
                 "--public-url": "http://pki.example.com"}
    arguments.update(zip(options[::2], options[1::2]))
    result = run("ca", "init", *(word for pair in arguments.items() for word in pair))
    assert result.returncode == 2 and result.stderr.startswith("gatehousectl: GH"), result
    assert not (tmp_path / "ca").exists()


def test_init_fails_clean(tmp_path):
    """A secret that cannot be read, a folder that cannot be made: nothing is left."""
    assert run(*init(tmp_path / "ca", "--root-passphrase", "file:/nonexistent")).returncode == 4
    assert run(*init(tmp_path / "a" / "b")).returncode == 1
    assert list(tmp_path.iterdir()) == []
    # the disk is full in the midst of it
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (420, 420))
    full = subprocess.run([environment.gatehousectl(), *map(str, init(tmp_path / "ca"))],
                          check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=environment.variables(), preexec_fn=small_files)
    assert full.returncode == 1 and "GH0377" in full.stderr, full
    assert list((tmp_path / "ca").iterdir()) == []


# crl

@pytest.fixture
def ca(tmp_path):
    made(*init(tmp_path / "ca"))
    return tmp_path / "ca"


def test_crl(ca, tmp_path):
    answer = made("ca", "crl", "--directory", ca)
    assert list(answer) == ["crl", "number", "entries", "next_update"]
    assert answer["number"] == number(crl_at(ca / "root.crl")) == 2
    serial = f"{load(ca / 'devices.pem').serial_number:x}"
    answer = made("ca", "crl", "--directory", ca, "--revoke", serial, "--reason", "keyCompromise",
                  "--validity", "30d")
    assert answer["number"] == 3 and answer["entries"] == 1
    crl = crl_at(ca / "root.crl")
    entry = crl.get_revoked_certificate_by_serial_number(int(serial, 16))
    assert extension(entry, x509.CRLReason).value.reason == x509.ReasonFlags.key_compromise
    assert (crl.next_update - crl.last_update).days == 30
    # entries stay, with their time, also if revoked again, with the key elsewhere
    time.sleep(1.1)
    shutil.move(ca / "root.key", tmp_path / "offline.key")
    assert run("ca", "crl", "--directory", ca).returncode == 4
    answer = made("ca", "crl", "--directory", ca, "--key", tmp_path / "offline.key", "--revoke",
                  ca / "devices.pem", "--reason", "superseded")
    assert answer["number"] == 4 and answer["entries"] == 1
    again = crl_at(ca / "root.crl").get_revoked_certificate_by_serial_number(int(serial, 16))
    assert again.revocation_date == entry.revocation_date
    assert extension(again, x509.CRLReason).value.reason == x509.ReasonFlags.key_compromise
    assert {path.name for path in ca.iterdir()} == set(FILES) - {"root.key"}


def test_crl_refuses(ca, tmp_path):
    before = (ca / "root.crl").read_bytes()
    crl = ("ca", "crl", "--directory", ca)
    for options, status in (
            (("--revoke", "0102"), 3), (("--revoke", ca / "root.pem"), 1),
            (("--revoke", "nonsense"), 4), (("--root-name", "none"), 4),
            (("--key", ca / "devices.key"), 1), (("--validity", "10y"), 2),
            (("--reason", "keyCompromise"), 2), (("--root-name", "../x"), 2),
            (("--revoke", "0102", "--reason", "certificateHold"), 2),
            (("--revoke", "0102", "--reason", "whim"), 2)):
        result = run(*crl, *options)
        assert result.returncode == status, (options, result)
        assert (ca / "root.crl").read_bytes() == before
    os.chmod(ca / "root.key", 0o644)
    assert run(*crl).returncode == 4
    os.chmod(ca / "root.key", 0o600)
    for content in (b"", b"rubbish"):
        (ca / "root.crl").write_bytes(content)
        assert run(*crl).returncode == 1        # never begins anew: numbers would go back
    (ca / "root.crl").unlink()
    assert run(*crl).returncode == 1 and not (ca / "root.crl").exists()


# with httpd

def test_what_init_prints_works(make_server, tmp_path):
    """The printed configuration, as it is; then the next CRL of the root."""
    server = make_server(start=False)
    folder = server.root / "two tiers"
    answer = made(*init(folder, url=server.public_url))
    sections = answer["configuration"].split("\n\n", 1)
    assert sections[0].splitlines()[0].split() == ["GatehousePublicURL", server.public_url]
    server.configure(sections[1] + CRL_AND_CA)
    # the sealing key that was made is as good as the harness's
    server.conf.write_text(server.conf.read_text().replace(
        f"GatehouseSealingKey file:{server.secret('sealing-key')}",
        sections[0].splitlines()[1]))
    server.start()
    assert server.get("/crl/root.crl").body == (folder / "root.crl").read_bytes()
    assert server.get("/ca/root.cer").status == 200
    assert number(x509.load_der_x509_crl(server.crl("devices"))) == 1
    rows = {row["name"]: row for row in server.ctl_ok("check").objects}
    assert rows["crl.root"]["verdict"] == "ok" and "number 1" in rows["crl.root"]["message"]
    made("ca", "crl", "--directory", folder)
    wait_until(lambda: number(x509.load_der_x509_crl(server.crl("root"))) == 2, 15,
               what="the next CRL of the root")
    made("ca", "crl", "--directory", folder, "--validity", "7d")
    rows = {row["name"]: row for row in server.ctl_ok("check").objects}
    assert rows["crl.root"]["verdict"] == "warning" and rows["crl.root"]["gh"] == "GH0403"
    (folder / "root.crl").chmod(0o600)
    server.allow("GH0017")          # the same in the error log
    if environment.IS_ROOT:
        result = server.ctl("check")
        assert result.status == 1
        assert {row["name"]: row["gh"] for row in result.objects}["crl.root"] == "GH0401"


# tokens

@pytest.fixture
def token(tmp_path, monkeypatch):
    """A token of whom httpd's children run as, with the keys of two CAs."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="gatehouse-token-"))
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))

    def softhsm(*arguments):
        subprocess.run(["softhsm2-util", *map(str, arguments)], check=True,
                       stdout=subprocess.DEVNULL)
    softhsm("--init-token", "--free", "--label", "ca", "--so-pin", "12345678", "--pin", "87654321")
    for number, name in ((1, "rsa2048-11"), (2, "rsa2048-09")):
        file = write_secret(tmp_path / f"{name}.p8", key(name).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))
        softhsm("--import", file, "--token", "ca", "--label", name, "--id", f"0{number}", "--pin",
                "87654321")
    write_secret(folder / "pin", "87654321\n")
    uid, gid = environment.run_as()[:2]
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, gid)
    yield folder
    shutil.rmtree(folder)


def test_token(make_server, token):
    def with_key(name):
        return lambda s: issuer(
            s.authority, key=f'"pkcs11:token=ca;object={name}" passphrase=file:{token}/pin')

    def verdict():
        rows = {row["name"]: row for row in server.ctl("check").objects}
        return rows["key.devices"]["verdict"], rows["key.devices"]["gh"]
    server = make_server(with_key("rsa2048-11"), start=False)
    assert verdict() == ("ok", None)
    answer = made("ca", "import", "--issuer", "tok", server.authority.certificate_path,
                  "pkcs11:token=ca;object=rsa2048-11", "--passphrase", f"file:{token}/pin",
                  "--chain", server.authority.root_path)
    assert answer["key"] == "pkcs11:token=ca;object=rsa2048-11"
    server.configure(with_key("rsa2048-09"))
    assert verdict() == ("error", "GH0418")
    server.configure(with_key("nothing"))
    assert verdict()[0] == "error"
    if environment.IS_ROOT:             # the run-as user needs the token, not root
        server.configure(with_key("rsa2048-11"))
        for path in (token, *token.rglob("*")):
            os.chown(path, 0, 0)
        token.chmod(0o700)
        assert verdict()[0] == "error"


# import

def test_import(tmp_path):
    authority = Authority(tmp_path, "old", "rsa3072-01")
    result = run("ca", "import", "--issuer", "old", authority.certificate_path,
                 authority.key_path, "--chain", authority.root_path, as_json=False)
    assert result.returncode == 0, result
    assert "<Issuer old>" in result.stdout and str(authority.root_path) in result.stdout
    answer = made("ca", "import", "--issuer", "old", authority.certificate_path,
                  authority.key_path, "--chain", authority.root_path)
    assert list(answer) == ["name", "subject", "not_after", "certificate", "key", "chain",
                            "registered", "configuration"]
    assert answer["registered"] is False
    offline = made("ca", "import", "--issuer", "root", authority.root_path)
    assert offline["key"] is None and "IssuerBackend      offline" in offline["configuration"]


def test_import_forms(tmp_path):
    """The chain behind the certificate; an encrypted key; PKCS#12; a relative path."""
    authority = Authority(tmp_path, "old", "rsa3072-01", passphrase="open sesame")
    secret = write_secret(tmp_path / "secret", "open sesame\n")
    both = tmp_path / "both.pem"
    both.write_text(authority.certificate_path.read_text() + authority.root_path.read_text())
    answer = made("ca", "import", "--issuer", "old", both, authority.key_path, "--passphrase",
                  f"file:{secret}")
    assert answer["chain"] == str(both)
    assert f"passphrase=file:{secret}" in answer["configuration"]
    p12 = write_secret(tmp_path / "old.p12", serialization.pkcs12.serialize_key_and_certificates(
        b"old", authority.key_source, authority.certificate, None,
        serialization.BestAvailableEncryption(b"open sesame")))
    answer = made("ca", "import", "--issuer", "old", p12, p12, "--passphrase", f"file:{secret}",
                  "--chain", os.path.relpath(authority.root_path))
    assert answer["key"] == str(p12) and answer["chain"] == str(authority.root_path)


def test_import_refuses(tmp_path):
    authority = Authority(tmp_path, "old", "rsa3072-01")
    other = Authority(tmp_path, "other", "rsa2048-10", root_key="p384-01")
    expired, leaf = tmp_path / "expired.pem", tmp_path / "leaf.pem"
    for path, options in ((expired, {"start": datetime.datetime(2020, 1, 1)}),
                          (leaf, {"ca": False})):
        path.write_bytes(certificate("x", key("rsa3072-01"), "Test Root", key("p256-01"), 100,
                                     **options).public_bytes(serialization.Encoding.PEM))
    files = (authority.certificate_path, authority.key_path)
    chain = ("--chain", authority.root_path)
    for arguments, status in (
            (("old", *files), 1),                                       # no chain
            (("old", *files, "--chain", other.root_path), 1),           # of another
            (("old", authority.certificate_path, other.key_path, *chain), 1),
            (("old", leaf, authority.key_path, *chain), 1),
            (("old", expired, authority.key_path, *chain), 1),
            (("a/b", *files, *chain), 2),
            (("old", tmp_path / "none.pem", authority.key_path, *chain), 4),
            (("old", authority.certificate_path, tmp_path / "none.key", *chain), 4)):
        result = run("ca", "import", "--issuer", *arguments)
        assert result.returncode == status and result.stdout == "", (arguments, result)
    authority.key_path.chmod(0o640)
    loose = run("ca", "import", "--issuer", "old", *files, *chain)
    assert loose.returncode == 4 and "old.key" in loose.stderr


def test_import_registers(make_server, tmp_path):
    """A name never changes its key, also before httpd has run."""
    server = make_server(lambda s: issuer(s.authority) + CRL_AND_CA, start=False)
    old = Authority(tmp_path, "old", "rsa3072-01")
    new = Authority(tmp_path, "new", "p384-01")

    def taken_up(authority, name="devices2"):
        return server.ctl("ca", "import", "--issuer", name, authority.certificate_path,
                          authority.key_path, "--chain", authority.root_path)
    assert taken_up(old).object["registered"] is True
    assert taken_up(old).status == 0
    refused = taken_up(new)
    assert refused.status == 1 and "GH0392" in refused.err
    owners = {path.stat().st_uid for path in (server.root / "store").iterdir()}
    assert owners == {environment.run_as()[0]}
    server.start()
    wait_until(lambda: [line for line in server.audit() if line["event"] == "ca-import"], 5,
               what="a line of the audit log")
    assert taken_up(new, "devices").status == 1      # the running server's
