# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A token of SoftHSM, for the user that httpd runs as."""

import os
import subprocess

from . import environment
from .pki import write_secret

PIN = "seeded-pin-7740"
MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")


def softhsm_module():
    found = [path for path in MODULES if os.path.exists(path)]
    assert found, "SoftHSM is missing"
    return found[0]


class Token:
    """One with a label, for a server whose processes find it by their environment."""

    def __init__(self, server, label):
        self.server, self.label = server, label
        self.folder = server.root / "tokens"
        self.folder.mkdir()
        conf = server.root / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {self.folder}\nobjectstore.backend = file\n"
                        "log.level = ERROR\n")
        server.environment["SOFTHSM2_CONF"] = str(conf)
        self.pin = self.folder / "pin"
        self._run("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "0000",
                  "--pin", PIN)

    def _run(self, *command):
        subprocess.run([str(one) for one in command], check=True, stdout=subprocess.DEVNULL,
                       env=environment.variables(**self.server.environment))

    def add(self, name, pem, number):
        """A private key under a name."""
        path = write_secret(self.server.root / "ca" / "import.key", pem)
        self._run("softhsm2-util", "--import", path, "--token", self.label, "--label", name,
                  "--id", number, "--pin", PIN)
        path.unlink()

    def uri(self, name):
        return f"pkcs11:token={self.label};object={name}?module-path={softhsm_module()}"

    def write_pin(self, pin):
        write_secret(self.pin, pin + "\n")
        self._give()

    def close(self):
        """All keys are there; the PIN beside them."""
        self.write_pin(PIN)

    def _give(self):
        uid, gid = environment.run_as()[:2]
        for entry in [self.folder, *self.folder.rglob("*")]:
            os.chown(entry, uid, gid)

    def hide(self):
        for entry in self.folder.iterdir():
            if entry.is_dir():
                entry.rename(self.server.root / entry.name)
                self.hidden = self.server.root / entry.name

    def show(self):
        self.hidden.rename(self.folder / self.hidden.name)
