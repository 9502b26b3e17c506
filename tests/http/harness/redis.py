# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A redis of a test's own, and what stands between a server and its database."""

import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

from .server import free_port, wait_until


class Redis:
    def __init__(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="gatehouse-redis-"))
        self.port = free_port()
        self.process = None
        self.start()

    def start(self):
        program = shutil.which("redis-server") or sys.exit("tests/http: redis-server was not found")
        self.process = subprocess.Popen(
            [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no", "--dir", str(self.root)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self.answers, 10, what="redis")

    def answers(self):
        try:
            return self.command(b"PING") == b"PONG"
        except OSError:
            return False

    def command(self, *words):
        """One command. @return what it answers: bytes, None, a number or a list"""
        data = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word)
                                                   for word in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(data)
            with connection.makefile("rb") as file:
                return self._read(file)

    def _read(self, file):
        line = file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"*":
            return [self._read(file) for _ in range(int(rest))]
        if kind == b"$":
            if rest == b"-1":
                return None
            value = file.read(int(rest))
            file.read(2)
            return value
        assert kind in (b"+", b":"), line
        return int(rest) if kind == b":" else rest

    def entries(self):
        return {key: self.command(b"GET", key) for key in self.command(b"KEYS", b"*")}

    def write(self, entries):
        for key, value in entries.items():
            self.command(b"SET", key, value)

    def send_signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.send_signal(signal.SIGCONT)
        self.kill()
        shutil.rmtree(self.root, ignore_errors=True)


class Proxy:
    """Leads to the UNIX socket of a database, until it does not: connections can freeze, with
    nothing lost and nothing said, or be refused."""

    def __init__(self, path):
        self.path = str(path)
        self.listener = None
        self.pairs = []
        self.flowing = threading.Event()
        self.flowing.set()
        self.port = free_port()
        self.open()

    def open(self):
        self.flowing.set()
        if self.listener is None:
            self.listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def freeze(self):
        self.flowing.clear()

    def refuse(self):
        """Ends all connections, and takes no more."""
        listener, self.listener = self.listener, None
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for pair in self.pairs:
            for end in pair:
                self._end(end)
        self.pairs = []

    @staticmethod
    def _end(end):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self.path)
            except OSError:
                client.close()
                continue
            self.pairs.append((client, server))
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    def _copy(self, one, other):
        try:
            while data := one.recv(65536):
                self.flowing.wait()
                other.sendall(data)
        except OSError:
            pass
        self._end(one)
        self._end(other)

    def close(self):
        if self.listener is not None:
            self.refuse()
        self.flowing.set()
