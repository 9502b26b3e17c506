# Licensed under the Apache License, Version 2.0. See LICENSE.
"""An httpd that answers OCSP for a store of many certificates, for bench-ocsp."""

import glob
import os
import secrets
import signal
import subprocess
import threading
import time

import harness
from harness import Failure, output

CONFIGURATION = """
GatehouseStore "sqlite3:{store}/gatehouse.db"
GatehousePublicURL "{url}"
GatehouseSealingKey "file:{folder}/sealing-key"
Include "{profiles}"
<Issuer devices>
    IssuerBackend local
    IssuerCertificate "{keys}/ca.pem"
    IssuerKey "{keys}/ca-key.pem"
    IssuerChain "{keys}/root.pem"
    IssuerCRL publish=1y validity=2y delay=1y
</Issuer>
OCSPDirectory "{ocsp}"
OCSPFastPath /ocsp
OCSPCache 64m
OCSPMaxSigning 64 live=64
<OCSPAuthority devices>
    OCSPSource store
    OCSPSigner "{keys}/{signer}.pem" "{keys}/{signer}-key.pem"
    OCSPNextUpdate 12h
</OCSPAuthority>
BenchNull /null "{folder}/www/answer"
DocumentRoot "{folder}/www"
<Directory "{folder}/www">
    Require all granted
</Directory>
<Location "/answer">
    ForceType application/ocsp-response
</Location>
"""


class Revoker:
    """gatehousectl cert revoke -, fed at an even pace by a thread; notes when each was begun and
    acknowledged."""

    def __init__(self, command, serials, seconds):
        self.begun, self.done = {}, {}
        self.serials, self.pause = serials, seconds / len(serials)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        universal_newlines=True, bufsize=1,
                                        preexec_fn=harness.die_with_parent)
        self.threads = [threading.Thread(target=run) for run in (self.feed, self.read)]
        for thread in self.threads:
            thread.start()

    def feed(self):
        start = time.monotonic()
        for i, serial in enumerate(self.serials):
            time.sleep(max(0, start + i * self.pause - time.monotonic()))
            self.begun[serial] = time.time()
            self.process.stdin.write(f"devices {serial} keyCompromise\n")
            self.process.stdin.flush()
        self.process.stdin.close()

    def read(self):
        order = iter(self.serials)
        for _ in self.process.stdout:
            self.done[next(order)] = time.time()

    def finish(self):
        for thread in self.threads:
            thread.join()
        if self.process.wait() != 0 or len(self.done) != len(self.serials):
            raise Failure(f"gatehousectl has revoked {len(self.done)} of {len(self.serials)}")
        return {serial: (self.begun[serial], self.done[serial]) for serial in self.serials}


class Responder:
    """The server with its store."""

    def __init__(self, bench, folder, mpm, signer, certificates):
        self.bench, self.folder, self.certificates = bench, folder, certificates
        self.signer = signer
        self.serials = f"{folder}/serials"
        self.www = f"{folder}/www"
        os.mkdir(self.www, 0o755)
        self.httpd = harness.Httpd(bench.options.builddir, bench.options.srcdir,
                                   bench.options.apxs, folder, mpm)
        self.httpd.THREADS = 64
        self.address = ["127.0.0.1", str(self.httpd.port)]
        self.ocsp = self.httpd.own_folder("ocsp")
        self.store = self.httpd.own_folder("store")
        with open(os.open(f"{folder}/sealing-key", os.O_WRONLY | os.O_CREAT, 0o600), "w",
                  encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
        with open(f"{self.www}/answer", "wb") as file:
            file.write(b"x")
        self.build_seconds = 0
        self.restart = 0

    @property
    def server(self):
        return self.httpd.server

    def configure(self):
        options = self.bench.options
        self.httpd.write(CONFIGURATION.format(
            store=self.store, url=self.httpd.url, folder=self.folder, keys=self.bench.folder,
            signer=self.signer, ocsp=self.ocsp, profiles=f"{options.srcdir}/conf.d/profiles.conf"),
            "gatehouse", "ocsp", "bench_null")

    def fill(self):
        output(self.bench.program("ocspfill"), "-n", str(self.certificates), "-o", self.serials,
               f"sqlite3:{self.store}/gatehouse.db", "devices", f"{self.bench.folder}/ca.pem")
        if self.httpd.user:
            output("chown", "-R", self.httpd.user, self.store)

    def start(self):
        """Starts it, and once more with an answer of its own as the static file."""
        self.configure()
        self.fill()
        self.run()
        self.build_seconds = self.seconds
        with open(f"{self.www}/answer", "wb") as file:
            file.write(self.answer(self.list_serials()[0]))
        self.stop()
        self.run()
        self.restart = self.seconds

    def run(self):
        begin = time.monotonic()
        self.httpd.server = harness.Server(
            "httpd", [self.httpd.program, "-d", self.folder, "-f", self.httpd.configuration,
                      "-DFOREGROUND"], f"{self.folder}/error.log")
        first = self.list_serials()[0]
        self.server.wait_until(lambda: self.try_answer(first), 120)
        self.seconds = time.monotonic() - begin
        time.sleep(1)

    def restart_seconds(self):
        return self.restart

    @property
    def index_size(self):
        return os.path.getsize(glob.glob(f"{self.ocsp}/*.index")[0])

    def list_serials(self, count=1000):
        with open(self.serials, encoding="ascii") as file:
            return [line.strip() for line, _ in zip(file, range(count))]

    def some_serials(self, count):
        """A file with some of them, at random."""
        path = f"{self.folder}/some-{count}"
        output("shuf", "-n", str(count), "-o", path, self.serials)
        return path

    def try_answer(self, serial):
        done = subprocess.run(
            ["openssl", "ocsp", "-issuer", f"{self.bench.folder}/ca.pem", "-serial", f"0x{serial}",
             "-url", f"{self.httpd.url}/ocsp", "-no_nonce", "-noverify",
             "-respout", f"{self.folder}/response"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, check=False)
        return ": good" in done.stdout

    def answer(self, serial):
        if not self.try_answer(serial):
            raise Failure(f"no answer about {serial}; see {self.folder}/error.log")
        with open(f"{self.folder}/response", "rb") as file:
            return file.read()

    def graceful(self):
        os.kill(self.server.pid, signal.SIGUSR1)

    def revoke_slowly(self, serials, seconds):
        command = [f"{self.bench.options.builddir}/tools/gatehousectl", "-f",
                   self.httpd.configuration, "cert", "revoke", "-"]
        return Revoker(command, serials, seconds)

    def stop(self):
        if self.server:
            self.server.stop()
