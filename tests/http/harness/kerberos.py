# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A realm of Kerberos: MIT's KDC in a folder of its own, and curl as a client that has a ticket."""

import pathlib
import shutil
import subprocess
import sys
import tempfile

from . import environment
from .server import free_port, wait_until

REALM = "EXAMPLE.COM"
PASSWORD = "seeded secret of the realm"
AES = "aes256-cts-hmac-sha1-96:normal,aes128-cts-hmac-sha1-96:normal"
SESSION = "aes256-cts-hmac-sha1-96 arcfour-hmac des3-cbc-sha1"
OLD = {"rc4": "arcfour-hmac", "3des": "des3-cbc-sha1"}


def program(name):
    path = shutil.which(name, path="/usr/sbin:/usr/bin")
    return path or sys.exit(f"tests/http: {name} was not found")


class Realm:
    """principals: those that have the password. Services: HTTP/localhost with AES, and one each
    whose only key is of an old kind: RC4/localhost, 3DES/localhost."""

    def __init__(self, principals=("alice",), realm=REALM):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="gatehouse-krb5-"))
        self.root.chmod(0o755)
        self.realm = realm
        self.password = PASSWORD
        self.port = free_port()
        self.keytab = self.root / "http.keytab"
        self.configuration = self.write("krb5.conf")
        (self.root / "kdc.conf").write_text(
            f"[kdcdefaults]\n kdc_ports = {self.port}\n kdc_tcp_ports = {self.port}\n"
            f"[realms]\n {realm} = {{\n  database_name = {self.root}/principal\n"
            f"  key_stash_file = {self.root}/stash\n  acl_file = {self.root}/acl\n"
            f"  kdc_listen = 127.0.0.1:{self.port}\n  kdc_tcp_listen = 127.0.0.1:{self.port}\n"
            f"  supported_enctypes = {AES}\n"
            f"  permitted_enctypes = DEFAULT arcfour-hmac des3-cbc-sha1\n }}\n"
            f"[logging]\n kdc = FILE:{self.root}/kdc.log\n")
        self.run("kdb5_util", "create", "-s", "-r", realm, "-P", "of the database")
        queries = [f'addprinc -pw "{PASSWORD}" {name}' for name in principals]
        queries += ["addprinc -randkey HTTP/localhost",
                    f'setstr HTTP/localhost session_enctypes "{SESSION}"']
        for name, kind in OLD.items():
            queries.append(f"addprinc -randkey -e {kind}:normal {name.upper()}/localhost")
        for name in ("HTTP", "RC4", "3DES"):
            queries.append(f"ktadd -norandkey -k {self.keytab} {name}/localhost")
        self.run("kadmin.local", "-r", realm, stdin="\n".join(queries) + "\n")
        self.keytab.chmod(0o640)
        shutil.chown(self.keytab, group=environment.run_as()[3])
        self.process = subprocess.Popen(
            [program("krb5kdc"), "-n", "-r", realm, "-P", str(self.root / "kdc.pid")],
            env=self.variables(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        wait_until(lambda: "commencing operation" in self.log(), 20, what="the KDC")

    def log(self):
        path = self.root / "kdc.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def write(self, name, lines=""):
        """krb5.conf of somebody."""
        path = self.root / name
        path.write_text(
            f"[libdefaults]\n default_realm = {self.realm}\n dns_lookup_kdc = false\n"
            f" dns_lookup_realm = false\n rdns = false\n dns_canonicalize_hostname = false\n"
            f" allow_weak_crypto = true\n allow_rc4 = true\n allow_des3 = true\n{lines}"
            f"[realms]\n {self.realm} = {{\n  kdc = 127.0.0.1:{self.port}\n }}\n"
            f"[domain_realm]\n localhost = {self.realm}\n")
        return path

    def variables(self, **more):
        return {**environment.variables(), "KRB5_CONFIG": str(self.configuration),
                "KRB5_KDC_PROFILE": str(self.root / "kdc.conf"), **more}

    def run(self, *command, stdin="", **variables):
        done = subprocess.run([program(command[0]), *command[1:]], input=stdin, text=True,
                              env=self.variables(**variables), check=False, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, f"{command}: {done.stdout}"
        return done.stdout

    def of_httpd(self):
        """Environment of an httpd that takes tickets of this realm."""
        return {"KRB5_CONFIG": str(self.configuration), "KRB5RCACHENAME": "none:"}

    def caller(self, name="alice", lines=""):
        return Caller(self, name, lines)

    def close(self):
        self.process.kill()
        self.process.wait(10)
        shutil.rmtree(self.root, ignore_errors=True)


class Caller:
    """Somebody with a ticket. lines: more of krb5.conf's [libdefaults]."""

    def __init__(self, realm, name, lines=""):
        self.realm = realm
        label = f"{name.replace('/', '_')}-{len(list(realm.root.glob('*.ccache')))}"
        self.environment = {
            "KRB5_CONFIG": str(realm.write(f"{label}.conf", lines)),
            "KRB5CCNAME": f"FILE:{realm.root / label}.ccache"}
        realm.run("kinit", name, stdin=realm.password + "\n", **self.environment)

    def curl(self, *arguments, data=None):
        """@return curl's output with -i, of the last answer"""
        done = subprocess.run(
            [program("curl"), "-s", "-i", "--max-time", "60", "--noproxy", "*", *arguments],
            input=data, env=self.realm.variables(**self.environment), check=False, timeout=90,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 0, done
        return done.stdout

    def send(self, url, message, *options, service="HTTP"):
        """POST of a message with a ticket. @return status, headers and body of each answer"""
        out = self.curl("--negotiate", "-u", ":", "--service-name", service, "-H",
                        "Content-Type: application/soap+xml; charset=utf-8", "-H", "Expect:",
                        "--data-binary", "@-", *options, url, data=str(message).encode())
        answers = []
        while out.startswith(b"HTTP/"):
            head, _, rest = out.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            headers = {k.lower(): v.strip() for k, v in
                       (line.split(":", 1) for line in lines[1:])}
            length = int(headers.get("content-length", len(rest)))
            answers.append((int(lines[0].split()[1]), headers, rest[:length]))
            out = rest[length:]
        return answers
