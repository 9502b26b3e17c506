# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Devices that enrol all at once, and do not give up when the server goes away."""

import http.client
import threading
import time

from scep import Csr, Identity

from . import standard

LOST = (OSError, http.client.HTTPException)


class Device:
    """One transaction."""

    def __init__(self, client, number, challenge=None):
        key = standard.device_key(1 + number % 4)
        self.subject = f"CN=load-{number}"
        self.request = client.message(Csr(key, self.subject, challenge), IDENTITIES[number % 4])
        self.lost = 0                   # connections that broke
        self.statuses = []              # of HTTP, other than 200
        self.reply = None

    def enrol(self, client, deadline):
        """Sends the same message until it is answered."""
        while self.reply is None and time.monotonic() < deadline:
            try:
                response = client.send(self.request)
            except LOST:
                self.lost += 1
                time.sleep(0.05)
                continue
            if response.status == 200:
                self.reply = client.read(response, self.request)
                return
            self.statuses.append(response.status)
            time.sleep(0.05)


IDENTITIES = [Identity.self_signed(standard.device_key(1 + i), "CN=load") for i in range(4)]


class Load:
    """Runs the transactions of some devices on several threads."""

    def __init__(self, client, count, threads=8, seconds=120, challenge=None):
        assert client.ra
        self.client = client
        self.count = count
        self.challenge = challenge
        self.devices = []
        self.failures = []
        self._next = iter(range(count))
        self._lock = threading.Lock()
        self._deadline = time.monotonic() + seconds
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self._threads:
            thread.join()

    @property
    def busy(self):
        return any(thread.is_alive() for thread in self._threads)

    @property
    def answered(self):
        return sum(device.reply is not None for device in list(self.devices))

    def _run(self):
        while True:
            with self._lock:
                number = next(self._next, None)
            if number is None:
                return
            device = Device(self.client, number, self.challenge)
            self.devices.append(device)
            try:
                device.enrol(self.client, self._deadline)
            except Exception as error:      # a reply that breaks the protocol
                self.failures.append(f"{device.subject}: {error!r}")

    @property
    def lost(self):
        return sum(device.lost for device in self.devices)

    @property
    def statuses(self):
        return [status for device in self.devices for status in device.statuses]


def check_store(server, load):
    """Everything handed out is in the store, and each transaction has one certificate."""
    assert not load.failures, load.failures[:5]
    assert len(load.devices) == load.count
    by_subject = {}
    for row in server.certificates("--profile", load.client.url.rsplit("/", 1)[1]):
        by_subject.setdefault(row["subject"].upper(), []).append(row)
    for device in load.devices:
        assert device.reply is not None, f"{device.subject} was never answered"
        assert device.reply.succeeded, device.reply
        rows = by_subject.get(device.subject.upper(), [])
        assert [int(row["serial"], 16) for row in rows] == [
            device.reply.certificate.serial_number], (device.subject, rows)
