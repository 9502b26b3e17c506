# Licensed under the Apache License, Version 2.0. See LICENSE.
"""An LDAP server (slapd) of a test's own."""

import base64
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

from .server import free_port, wait_until

SUFFIX = "dc=example,dc=com"
READER = f"cn=reader,{SUFFIX}"
PASSWORD = "seeded secret of the directory"
SCHEMA = "/etc/ldap/schema/core.schema"


def program(name):
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/lib/openldap:/usr/local/libexec")
    return path or sys.exit(f"tests/http: {name} was not found")


class Directory:
    """crls: DER by attribute. closed: only who binds may read. certificate: for TLS."""

    def __init__(self, crls, closed=False, certificate=None, key=None):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="gatehouse-ldap-"))
        self.port, self.tls_port = free_port(), free_port()
        self.dn = f"cn=CA,{SUFFIX}"
        (self.root / "db").mkdir()
        tls = f'TLSCertificateFile "{certificate}"\nTLSCertificateKeyFile "{key}"\n' \
            if certificate else ""
        readers = "by anonymous auth by users read" if closed else "by * read"
        (self.root / "slapd.conf").write_text(
            f'include {SCHEMA}\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n{tls}'
            f'pidfile "{self.root}/pid"\nsockbuf_max_incoming 67108864\n'
            f'database mdb\nsuffix "{SUFFIX}"\ndirectory "{self.root}/db"\nmaxsize 134217728\n'
            f'access to * {readers}\n')
        self.fill(crls)
        addresses = f"ldap://127.0.0.1:{self.port}"
        if certificate:
            addresses += f" ldaps://127.0.0.1:{self.tls_port}"
        self.process = subprocess.Popen(
            [program("slapd"), "-d", "0", "-f", str(self.root / "slapd.conf"), "-h", addresses],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self.answers, 10, what="slapd")

    def fill(self, crls):
        values = "".join(f"{name}:: {base64.b64encode(value).decode()}\n"
                         for name, value in crls.items())
        text = (f"dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\no: Example\n"
                f"dc: example\n\n"
                f"dn: {READER}\nobjectClass: person\nsn: reader\ncn: reader\n"
                f"userPassword: {PASSWORD}\n\n"
                f"dn: {self.dn}\nobjectClass: cRLDistributionPoint\ncn: CA\n{values}\n")
        subprocess.run([program("slapadd"), "-f", str(self.root / "slapd.conf")], input=text,
                       text=True, check=True, timeout=30, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE)

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def url(self, scheme="ldap", host="127.0.0.1"):
        return f"{scheme}://{host}:{self.tls_port if scheme == 'ldaps' else self.port}"

    def close(self):
        self.process.kill()
        self.process.wait(10)
        shutil.rmtree(self.root, ignore_errors=True)
