# Licensed under the Apache License, Version 2.0. See LICENSE.
"""An issuer whose key is on a token (SoftHSM)."""

import fcntl
import os
import pathlib
import re
import subprocess
import time

import pytest

from harness import environment, standard
from harness.checks import serial_text
from harness.config import CRL_AND_CA, issuer, location
from harness.pki import verify_chain, write_secret
from harness.server import CHALLENGE, wait_until
from harness.token import PIN, softhsm_module
from scep.identity import private_pem
from scep.reply import ProtocolError


def run(server, *command):
    subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL,
                   env=environment.variables(**server.environment))


def give(path, uid, gid):
    for entry in [path, *path.rglob("*")]:
        os.chown(entry, uid, gid)


def make_token(server, key_name="rsa2048-11"):
    """A token with the key of the server's CA, for the user that httpd runs as."""
    tokens = server.root / "tokens"
    tokens.mkdir()
    conf = server.root / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\n"
                    "log.level = ERROR\n")
    server.environment["SOFTHSM2_CONF"] = str(conf)
    key = write_secret(server.root / "ca" / "import.key",
                       private_pem(server.authority.key_source))
    run(server, "softhsm2-util", "--init-token", "--free", "--label", "ca", "--so-pin", "0000",
        "--pin", PIN)
    run(server, "softhsm2-util", "--import", key, "--token", "ca", "--label", "devices",
        "--id", "01", "--pin", PIN)
    key.unlink()
    server.authority.key_path.unlink()
    write_secret(tokens / "pin", PIN + "\n")
    give(tokens, *environment.run_as()[:2])     # each child opens the token itself
    return tokens


def content(server):
    tokens = make_token(server)
    uri = f"pkcs11:token=ca;object=devices?module-path={softhsm_module()}"
    return standard.PROFILES + issuer(
        server.authority, key=f'"{uri}" passphrase=file:{tokens / "pin"}') + location(
            "/scep", "SetHandler gatehouse-scep", "SCEPTenant acme devices",
            "SCEPProfiles scep-*") + location(
                standard.STATIC, standard.challenge(server)) + CRL_AND_CA


@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_issuer_on_a_token(make_server, mpm):
    server = make_server(content, mpm=mpm, loglevel="trace4")
    client = server.client(standard.STATIC)
    first = client.enrol(standard.device_key(), CHALLENGE)
    assert verify_chain(first.issued, server.authority)[0] == 0
    server.ctl_ok("cert", "revoke", serial_text(first.certificate.serial_number))
    wait_until(lambda: verify_chain(first.issued, server.authority,
                                    crl=server.get("/crl/devices.pem").body)[0], 5, 0.2,
               "the revocation")
    server.graceful()
    assert client.enrol(standard.device_key(2), CHALLENGE).succeeded
    # This module empties a file of the token and writes it again whenever a process logs in: kill -9
    # at that moment destroys the token itself.
    wait_until(lambda: all_have_opened(server), 20, what="that all children have opened the token")
    server.kill_children()
    wait_until(server.children, 5, what="new children")
    wait_until(lambda: enrols(client), 10)
    for path in pathlib.Path(server.root / "log").iterdir():
        assert PIN.encode() not in path.read_bytes(), path


def turn_of(server):
    """The file on which processes take turns to open tokens: one without a name."""
    folder = pathlib.Path(f"/proc/{server.process.pid}/fd")
    found = [path for path in folder.iterdir()
             if re.search(r"/gatehouse-\w{6} \(deleted\)$", os.readlink(path))]
    assert len(found) == 1, found
    return found[0]


def opened(server, since):
    return set(re.findall(r"\[pid (\d+):tid \d+\] GH0419", server.log.text(since)))


def test_generations_take_turns(make_server):
    """While somebody opens a token no process does, also none of the next generation."""
    server = make_server(content, loglevel="trace4")
    inode = os.stat(turn_of(server)).st_ino
    for _ in range(2):
        wait_until(lambda: all_have_opened(server), 20, what="that all children have the token")
        mark = server.log.size()
        with open(turn_of(server), "r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            server.graceful()
            time.sleep(1.5)
            assert not opened(server, mark)
        wait_until(lambda: opened(server, mark), 10, what="that a new child has the token")
        assert os.stat(turn_of(server)).st_ino == inode
    wait_until(lambda: enrols(server.client(standard.STATIC)), 10)


@pytest.mark.parametrize("fault, number", [
    ("pin", "GH0184"), ("token", "GH0116"), ("access", "GH0001")])
def test_token_that_cannot_be_used_is_said(make_server, fault, number):
    """Children find out, since only they open the token: they say so and answer 503."""
    server = make_server(content, start=False)
    tokens = server.root / "tokens"
    if fault == "pin":
        write_secret(tokens / "pin", "seeded-wrong-pin")
        give(tokens, *environment.run_as()[:2])
    elif fault == "token":
        server.conf.write_text(server.conf.read_text().replace("token=ca", "token=other"))
    else:
        give(tokens, 0, 0)
        tokens.chmod(0o700)
    server.expect(number)
    server.start()
    response = server.get(standard.STATIC + "?operation=GetCACert")
    assert response.status == 503 and b"GH" in response.body
    server.allow("GH0014", "GH0318")
    assert "seeded-wrong-pin" not in server.log.text()
    assert "APR does not understand" not in server.log.text()


@pytest.mark.parametrize("mpm", ["event", "prefork"])
def test_token_that_comes_back(make_server, mpm):
    """A token that is away when children start is tried again, and said once per change."""
    server = make_server(content, start=False, mpm=mpm)
    tokens = server.root / "tokens"
    away = server.root / "away"
    secret = write_secret(server.root / "secret" / "pin", PIN + "\n")
    give(server.root / "secret", *environment.run_as()[:2])
    server.conf.write_text(server.conf.read_text().replace(f"file:{tokens / 'pin'}",
                                                           f"file:{secret}"))
    tokens.rename(away)
    server.expect("GH0116")
    server.allow("GH0014")
    server.start()
    client = server.client(standard.STATIC)
    assert server.get(standard.STATIC + "?operation=GetCACert").status == 503
    children = set(server.children())
    time.sleep(4)                               # a few attempts
    away.rename(tokens)
    wait_until(lambda: server.get(standard.STATIC + "?operation=GetCACert").status == 200, 10, 0.2,
               "the issuer")
    wait_until(lambda: enrols(client), 10, 0.2, "an enrolment")
    assert children <= set(server.children()), "this was to work without new processes"
    wait_until(lambda: server.log.text().count("GH0319") == server.log.text().count("GH0116"), 12,
               what="that each process says that the issuer works again")
    assert server.log.text().count("GH0116") <= len(children)


def all_have_opened(server):
    """Whether each process that serves has said that it has the key."""
    said = re.findall(r"\[pid (\d+):tid \d+\] GH0419", server.log.text())
    children = server.children()
    return children and {str(pid) for pid in children} <= set(said)


def enrols(client):
    """A 503, and a connection that ends with its process, count as no."""
    try:
        return client.enrol(standard.device_key(), CHALLENGE).succeeded
    except (ProtocolError, OSError):
        return False


def test_token_that_fails_later(make_server):
    """A key that fails while the server runs is no longer used: it is said once, and opened again.
    This module finds its objects again only in a new process."""
    server = make_server(content)
    client = server.client(standard.STATIC)
    tokens = server.root / "tokens"
    assert client.enrol(standard.device_key(), CHALLENGE).succeeded
    server.expect("GH0320", "GH0175")
    server.allow("GH0014", "GH0096", "GH0116")
    folders = [path for path in tokens.iterdir() if path.is_dir()]
    for folder in folders:
        folder.rename(server.root / folder.name)
    wait_until(lambda: not enrols(client), 10, 0.05, "a failure")
    wait_until(lambda: "GH0320" in server.log.text(), 5, what="that the failure is noticed")
    for folder in folders:
        (server.root / folder.name).rename(folder)
    wait_until(lambda: "GH0096" in server.log.text(), 10, what="that the key was opened again")
    server.graceful()
    wait_until(lambda: all(enrols(client) for _ in range(4)), 20, 0.2, "enrolments")
    said = re.findall(r"\[pid (\d+):tid \d+\] GH0320", server.log.text())
    assert said and len(said) == len(set(said)), "each process says it once"


def test_wrong_pin_is_tried_once(make_server):
    """Tokens lock a PIN after some failures: one child finds out for all, and only once."""
    server = make_server(content, start=False)
    tokens = server.root / "tokens"
    write_secret(tokens / "pin", "seeded-wrong-pin")
    give(tokens, *environment.run_as()[:2])
    server.expect("GH0184")
    server.allow("GH0318", "GH0014")
    server.start()
    time.sleep(3)
    server.kill_children()
    wait_until(server.children, 5, what="new children")
    time.sleep(3)
    assert server.log.text().count("GH0184") == 1
