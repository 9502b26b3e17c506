# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Devices that enrol through a slow CA: each sends its request until that is answered, and polls
until the answer is final."""

import http.client
import threading
import time

from scep import Csr, ProtocolError

from .remote import FRESH
from .server import CHALLENGE

LOST = (OSError, http.client.HTTPException)
POLL = 1.0
MAKING = threading.Lock()


class Device:
    def __init__(self, number, name):
        self.subject = f"CN={name}-{number},O=Example"
        self.request = None             # made when it is sent first
        self.poll = None
        self.answered = False
        self.next = 0.0                 # when it asks again
        self.reply = None               # the final one
        self.polls = self.lost = 0
        self.statuses = []

    def message(self, client):
        """What is to be sent next."""
        if self.request is None:
            with MAKING:
                key = next(FRESH)
            self.request = client.message(Csr(key, self.subject, CHALLENGE))
        if not self.answered:
            return self.request
        self.poll = self.poll or client.poll_message(self.request)
        self.polls += 1
        return self.poll

    def step(self, client):
        """One exchange."""
        try:
            message = self.message(client)
            response = client.send(message)
            if response.status != 200:
                self.statuses.append(response.status)
                self.next = time.monotonic() + 0.2
                return
            reply = client.read(response, message)
        except LOST + (ProtocolError,):
            self.lost += 1
            self.next = time.monotonic() + 0.1
            return
        self.answered = True
        if reply.pending:
            self.next = time.monotonic() + POLL
        else:
            self.reply = reply


class SlowLoad:
    """Runs the devices on some threads; the next one is whoever may ask longest."""

    def __init__(self, client, count, name="load", threads=8, seconds=120):
        self.client = client
        self.devices = [Device(number, name) for number in range(count)]
        self._waiting = list(self.devices)
        self._lock = threading.Lock()
        self._open = count
        self._deadline = time.monotonic() + seconds
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, failure, *_):
        if failure:
            self._deadline = 0
        for thread in self._threads:
            thread.join()

    def stop(self):
        """What is not final yet stays so."""
        self._deadline = 0

    @property
    def busy(self):
        return any(thread.is_alive() for thread in self._threads)

    @property
    def final(self):
        return len(self.devices) - self._open

    def _take(self):
        now = time.monotonic()
        with self._lock:
            for number, device in enumerate(self._waiting):
                if device.next <= now:
                    return self._waiting.pop(number)
        return None

    def _run(self):
        while self._open and time.monotonic() < self._deadline:
            device = self._take()
            if device is None:
                time.sleep(0.05)
                continue
            device.step(self.client)
            with self._lock:
                if device.reply is None:
                    self._waiting.append(device)
                else:
                    self._open -= 1
