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
        assert self.request.der
        self.lost = 0                   # connections that broke
        self.statuses = []              # of HTTP, other than 200
        self.response = None
        self.reply = None

    def enrol(self, client, deadline):
        """Sends the same message until it is answered."""
        while self.response is None and time.monotonic() < deadline:
            try:
                response = client.send(self.request)
            except LOST:
                self.lost += 1
                time.sleep(0.05)
                continue
            if response.status == 200:
                self.response = response
                return
            self.statuses.append(response.status)
            time.sleep(0.05)

    def verify(self, client):
        assert self.response is not None, f"{self.subject} was never answered"
        self.reply = client.read(self.response, self.request)
        assert self.reply.succeeded, self.reply


IDENTITIES = [Identity.self_signed(standard.device_key(1 + i), "CN=load") for i in range(4)]


class Load:
    """Runs the transactions of some devices on several threads. Messages are made before, and
    replies read afterwards, so that the server is what takes the time."""

    def __init__(self, client, count, threads=8, seconds=120, challenge=None):
        self.client = client
        self.devices = [Device(client, number, challenge) for number in range(count)]
        self._seconds = seconds
        self._next = iter(self.devices)
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self):
        self._deadline = time.monotonic() + self._seconds
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, failure, *_):
        if failure:
            self._deadline = 0
        for thread in self._threads:
            thread.join()

    def stop(self):
        """What is not yet answered stays so."""
        self._deadline = 0

    @property
    def busy(self):
        return any(thread.is_alive() for thread in self._threads)

    @property
    def answered(self):
        return sum(device.response is not None for device in self.devices)

    def _run(self):
        while True:
            with self._lock:
                device = next(self._next, None)
            if device is None:
                return
            device.enrol(self.client, self._deadline)

    @property
    def lost(self):
        return sum(device.lost for device in self.devices)

    @property
    def statuses(self):
        return [status for device in self.devices for status in device.statuses]


def check_store(server, load):
    """Everything handed out is in the store, and each transaction has one certificate."""
    by_subject = {}
    for row in server.certificates("--profile", load.client.url.rsplit("/", 1)[1]):
        by_subject.setdefault(row["subject"].upper(), []).append(row)
    for device in load.devices:
        device.verify(load.client)
        rows = by_subject.get(device.subject.upper(), [])
        assert [int(row["serial"], 16) for row in rows] == [
            device.reply.certificate.serial_number], (device.subject, rows)
