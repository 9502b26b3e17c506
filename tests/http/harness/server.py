# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Runs httpd, and looks at it from outside."""

import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from scep import Client, transport

from . import config, environment
from .errorlog import ErrorLog
from .pki import Authority, write_secret

CHALLENGE = "correct horse battery staple"
LIVE = []


def port_is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port():
    """Below the ports that the system gives to clients: one that calls while the server is down
    must not come to sit on its port."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        end = int(file.read().split()[0])
    return next(port for port in iter(lambda: random.randrange(end - 12000, end), None)
                if port_is_free(port))


def wait_until(condition, seconds=10, interval=0.02, what="the condition"):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not come true within {seconds} s"
        time.sleep(interval)


class CtlResult:
    def __init__(self, completed, as_json):
        self.status = completed.returncode
        self.out = completed.stdout
        self.err = completed.stderr
        self.objects = []
        if as_json:
            self.objects = [json.loads(line) for line in completed.stdout.splitlines() if line]

    @property
    def object(self):
        assert len(self.objects) == 1, self
        return self.objects[0]

    def __repr__(self):
        return f"exit {self.status}\n{self.out}{self.err}"


class Server:
    """An httpd with Gatehouse.

    content: configuration behind the frame; a text, or a function that gets the server.
    store: "sqlite", or a "pgsql:" URI.
    """

    def __init__(self, content="", mpm="event", store="sqlite", modules=(), loglevel="info",
                 own_modules=("gatehouse", "scep"), profiles=True, preload=None, authority=None):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="gatehouse-test-"))
        self.root.chmod(0o755)
        self.port = free_port()
        self.mpm = mpm
        self.modules = modules
        self.own_modules = own_modules
        self.loglevel = loglevel
        self.profiles = profiles
        self.preload = preload
        self.environment = {}
        self.process = None
        uid, gid = environment.run_as()[:2]
        for name in ("log", "run", "secret", "ca", "store"):
            (self.root / name).mkdir()
        (self.root / "secret").chmod(0o700)
        os.chown(self.root / "store", uid, gid)
        (self.root / "store").chmod(0o750)
        self.error_log_path = self.root / "log" / "error.log"
        self.audit_path = self.root / "log" / "audit.jsonl"
        self.conf = self.root / "httpd.conf"
        self.log = ErrorLog(self.error_log_path)
        self.store_uri = store
        if store == "sqlite":
            self.store_uri = f"sqlite3:{self.root}/store/gatehouse.db"
        self.public_url = f"http://127.0.0.1:{self.port}"
        self.make_secret("challenge", CHALLENGE)
        self.sealing_key = os.urandom(32).hex()
        self.make_secret("sealing-key", self.sealing_key)
        self.authority = authority or Authority(self.root / "ca")
        self.configure(content)
        LIVE.append(self)

    # configuration

    def secret(self, name):
        return self.root / "secret" / name

    def make_secret(self, name, text):
        return write_secret(self.secret(name), text)

    def configure(self, content):
        self.listening = ()             # ports for which the content has a Listen, see escrow.py
        self.content = content(self) if callable(content) else content
        self.conf.write_text(config.frame(self) + config.gatehouse(self) + self.content)

    def url(self, path=""):
        return self.public_url + path

    def client(self, path, **options):
        return Client(self.url(path), **options)

    def variables(self):
        """Child processes of httpd 2.4's event MPM die of SIGSEGV, also without Gatehouse, where
        SIGTERM comes while a worker gives up its socket. With sparesockets.so this cannot be, and
        whatever a process dies of is ours. Prefork does not need it: there the main thread serves.
        """
        libraries = [self.preload] if self.preload else []
        libraries.append(environment.check_library("pooledkeys"))
        if self.mpm != "prefork":
            libraries.append(environment.check_library("sparesockets"))
        return environment.variables(**{**environment.pooled_keys(), **self.environment,
                                        "LD_PRELOAD": ":".join(map(str, libraries))})

    def configtest(self, *options):
        return subprocess.run([environment.httpd(), "-t", "-f", str(self.conf), *options],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=environment.variables(), check=False, timeout=60)

    # life

    def start(self):
        assert self.process is None
        mark = self.log.size()
        stderr = open(self.root / "log" / "stderr.txt", "ab")
        try:
            self.process = subprocess.Popen(
                [environment.httpd(), "-f", str(self.conf), "-DFOREGROUND"],
                stdout=stderr, stderr=stderr, stdin=subprocess.DEVNULL, env=self.variables(),
                cwd=self.root, start_new_session=True)
        finally:
            stderr.close()
        end = time.monotonic() + 30
        while "resuming normal operations" not in self.log.text(mark):
            if self.process.poll() is not None or time.monotonic() > end:
                status = self.process.poll()
                self.kill_all()
                raise AssertionError(f"httpd did not start (exit {status})\n"
                                     f"{self.stderr()}\n{self.log.text(mark)}")
            time.sleep(0.02)
        wait_until(self.answers, 10, what="an answer of the new server")
        return self

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5):
                return len(self.children()) > 0
        except OSError:
            return False

    def stderr(self):
        path = self.root / "log" / "stderr.txt"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self, number=signal.SIGTERM):
        """SIGTERM, as "httpd -k stop"; or SIGWINCH, as "httpd -k graceful-stop"."""
        if self.process is None:
            return None
        children = self.children()
        self.process.send_signal(number)
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise AssertionError("httpd did not stop within 30 s") from None
        self.process = None
        left = [pid for pid in children if pathlib.Path(f"/proc/{pid}").exists()]
        assert not left, f"children left behind: {left}"
        return status

    def restart(self):
        self.stop()
        self.start()

    def graceful(self):
        """SIGUSR1, as "httpd -k graceful"; returns when the new generation serves."""
        before = set(self.children())
        mark = self.log.size()
        self.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: "resuming normal operations" in self.log.text(mark), 30,
                   what="a graceful restart")
        wait_until(lambda: set(self.children()) - before, 10, what="a new child")

    def children(self):
        if self.process is None:
            return []
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        try:
            with open(path, encoding="ascii") as file:
                return [int(pid) for pid in file.read().split()]
        except OSError:
            return []

    def kill_children(self, number=signal.SIGKILL, most=None):
        """Kills the processes that serve, or some of them; httpd's parent makes new ones."""
        pids = [pid for pid in self.children() if self._serves(pid)]
        random.shuffle(pids)
        pids = pids[:most]
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        return pids

    @staticmethod
    def _serves(pid):
        try:
            return os.path.basename(os.readlink(f"/proc/{pid}/exe").split(" ")[0]) \
                == os.path.basename(os.path.realpath(environment.httpd()))
        except OSError:
            return False

    def kill_all(self):
        """kill -9 of everything at once, as when the power goes."""
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)
        self.process = None
        wait_until(lambda: port_is_free(self.port), 10, what="the end of all processes")

    def close(self):
        """Ends the server. @return what its log complains about"""
        try:
            self.stop()
        finally:
            self.kill_all()
            problems = self.log.problems()
            LIVE.remove(self)
            if not environment.KEEP:
                shutil.rmtree(self.root, ignore_errors=True)
        return problems

    # what it says

    def expect(self, *numbers):
        self.log.expect(*numbers)

    def allow(self, *numbers):
        self.log.allow(*numbers)

    def get(self, path, **options):
        return transport.request(self.url(path), **options)

    def ctl(self, *arguments, as_json=True, stdin=None):
        command = [environment.gatehousectl(), "-f", str(self.conf)]
        if as_json:
            command.append("--json")
        completed = subprocess.run(
            command + [str(a) for a in arguments], input=stdin, text=True, check=False, timeout=120,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment.variables(**self.environment),
            **({} if stdin is not None else {"stdin": subprocess.DEVNULL}))
        return CtlResult(completed, as_json)

    def ctl_ok(self, *arguments, **options):
        result = self.ctl(*arguments, **options)
        assert result.status == 0, result
        return result

    def audit(self):
        """All lines of the audit log."""
        if not self.audit_path.exists():
            return []
        return [json.loads(line) for line in self.audit_path.read_text().splitlines()]

    def certificates(self, *arguments):
        return self.ctl_ok("cert", "list", *arguments).objects

    def crl(self, name="devices"):
        """DER of the CRL; the first one is made when the first child has started."""
        def fetch():
            response = self.get(f"/crl/{name}.crl")
            assert response.status in (200, 503), response
            return response.body if response.status == 200 else None

        return wait_until(fetch, 3, what="a CRL")
