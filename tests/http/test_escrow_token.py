# Licensed under the Apache License, Version 2.0. See LICENSE.
"""The vault's key and the key that signs profiles on a token (SoftHSM)."""

import subprocess
import time

import pytest

from harness.escrow import Identity
from harness.pki import key
from harness.server import wait_until
from harness.token import PIN, Token
from harness.uem import Delivering, Unexpected, start_uem
from scep.identity import private_pem

KEK = "rsa2048-09"
SIGNER = "rsa2048-06"


def use_token(delivering, signed=True, object_name="kek"):
    """Keys of the vault and of the signer are on a token and nowhere else."""
    server = delivering.server
    token = Token(server, "vault")
    token.add("kek", private_pem(key(KEK)), "01")
    token.add("ec", private_pem(key("p256-01")), "03")
    lines = (f'EscrowVaultKey hsm "{token.uri(object_name)}&pin-source=file:{token.pin}"\n')
    if signed:
        signer = Identity(server.root / "ca", "signer", SIGNER)
        signer.key_path.unlink()
        token.add("signer", private_pem(key(SIGNER)), "02")
        lines += f'EscrowProfileSigner "{signer.path}" "{token.uri("signer")}" file:{token.pin}\n'
    token.close()
    content = "".join(line for line in server.content.splitlines(True)
                      if not line.startswith("EscrowVaultKey"))
    server.configure(lambda _: lines + content)
    return token


@pytest.fixture
def delivering(make_server, tmp_path):
    uem = start_uem(tmp_path)
    yield Delivering(make_server, uem, tmp_path, start=False)
    uem.close()
    uem.check()


def test_vault_and_signer(delivering):
    """Uploaded, sealed under the token, completed, signed by it, delivered; also after a graceful
    restart, and with a new worker."""
    server = delivering.server
    use_token(delivering)
    server.start()
    for _ in range(2):
        device = delivering.device()
        serial = delivering.upload(device)
        delivering.skeleton(device, sign=True)
        taken, = delivering.delivered(device)
        signer = server.root / "ca" / "signer.pem"
        done = subprocess.run(["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-CAfile",
                               str(signer), "-purpose", "any"], input=taken["document"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                              timeout=60)
        assert done.returncode == 0, done.stderr
        assert device.open(done.stdout) == [serial]
        server.graceful()
    row, = server.ctl_ok("vault", "status").objects
    assert (row["key"], row["state"], row["secrets"]) == ("hsm", "current", 4)
    assert server.ctl_ok("vault", "verify").object == {"good": 4, "failed": 0}
    for path in (server.root / "log").iterdir():
        assert PIN.encode() not in path.read_bytes(), path


def test_from_a_file_to_the_token(delivering):
    """What was sealed under a key in a file is rotated to the token."""
    server = delivering.server
    old = next(line for line in server.content.splitlines(True)
               if line.startswith("EscrowVaultKey"))
    server.start()
    device = delivering.device()
    serial = delivering.upload(device)
    use_token(delivering, signed=False)
    new = server.content
    server.configure(lambda _: new.replace("\n", "\n" + old, 1))
    server.restart()
    assert server.ctl_ok("vault", "rotate").object == {"rotated": 1, "failed": 0}
    server.configure(lambda _: new)
    server.restart()
    delivering.skeleton(device)
    taken, = delivering.delivered(device)
    assert device.open(taken["document"]) == [serial]


@pytest.mark.parametrize("fault, number", [("pin", "GH0184"), ("kind", "GH1104")])
def test_token_that_cannot_be_used(delivering, fault, number):
    """It is said when httpd starts, and httpd does not."""
    server = delivering.server
    token = use_token(delivering, signed=False, object_name="ec" if fault == "kind" else "kek")
    if fault == "pin":
        token.write_pin("seeded-wrong-pin")
    with pytest.raises(AssertionError, match=number):
        server.start()
    server.expect(number)
    server.allow("AH00020", "GH1171")
    assert "seeded-wrong-pin" not in server.log.text() + server.stderr()


def unless_away(call, *arguments):
    """None while the vault is away."""
    try:
        return call(*arguments)
    except Unexpected as refused:
        assert refused.status == 503
        return None


@pytest.mark.parametrize("restart", [True, False], ids=["restarted", "on its own"])
def test_vault_away(delivering, restart):
    """What needs the vault is refused for now, and said; it works when httpd is started again, or
    when the token is back."""
    server = delivering.server
    token = use_token(delivering, signed=False)
    token.hide()
    server.expect("GH1170", "GH1172", "GH1236")
    server.allow("GH0116", "GH0663", "GH0664")
    server.start()
    device = delivering.device()
    with pytest.raises(Unexpected) as refused:
        delivering.upload(device)
    assert refused.value.status == 503
    time.sleep(2)               # another process may still be at its first tries
    token.show()
    if restart:
        server.restart()
    # of each process, which may have looked a moment ago
    serial = wait_until(lambda: unless_away(delivering.upload, device), 120, 1, what="the vault")
    wait_until(lambda: unless_away(delivering.skeleton, device), 120, 1, what="the vault")
    taken, = delivering.delivered(device)
    assert device.open(taken["document"]) == [serial]
    assert ("GH1517" in server.log.text()) is not restart


def test_signer_away(delivering):
    """Profiles wait for a signer whose token is away, and are delivered when it is back."""
    server = delivering.server
    token = use_token(delivering)
    content = server.content
    vault = next(line for line in content.splitlines(True) if line.startswith("EscrowVaultKey"))
    kept = server.make_secret("kept", "7d" * 32)
    server.configure(lambda _: content.replace(vault, f"EscrowVaultKey k1 file:{kept}\n"))
    token.hide()
    server.allow("GH0116", "GH0663", "GH0664")
    server.start()
    device = delivering.device()
    delivering.upload(device)
    made = delivering.skeleton(device, sign=True)
    wait_until(lambda: "GH0116" in server.log.text(), 20, what="that it is said")
    assert delivering.state(made)["status"] == "completing"
    token.show()
    delivering.delivered(device, seconds=90)
