# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Servers that end amid requests: no process dies, nothing worries, no certificate that a client has
got is forgotten. A process that died shows in the error log, which the fixtures read."""

import signal
import socket
import threading

import pytest

from harness import environment, standard
from harness.load import Load, check_store
from harness.server import CHALLENGE, wait_until

STOPS = environment.count(6, 60)


class Browsers:
    """Clients that get a CRL or capabilities, keep the connection or break it, and begin again."""

    PATHS = ["/crl/devices.crl", standard.STATIC + "?operation=GetCACaps"]

    def __init__(self, port, count=4):
        self._port = port
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[number], daemon=True)
                         for number in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number):
        request = (f"GET {self.PATHS[number % 2]} HTTP/1.1\r\nHost: localhost\r\n\r\n").encode()
        while not self._end.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self._port), timeout=5) as connection:
                    for _ in range(1 + number):
                        connection.sendall(request)
                        if not connection.recv(65536):
                            break
            except OSError:
                self._end.wait(0.005)


def end(server, how):
    if how == "graceful":
        server.graceful()
        return
    number = signal.SIGTERM if how == "stop" else signal.SIGWINCH
    assert server.stop(number) == 0
    server.start()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stop", "graceful-stop", "graceful"])
def test_amid_requests(make_server, how):
    server = make_server(standard.content)
    load = Load(server.client(standard.STATIC), STOPS * 40, challenge=CHALLENGE)
    with Browsers(server.port), load:
        for _ in range(STOPS):
            mark = load.answered
            wait_until(lambda: load.answered > mark + 5 or not load.busy, 30, what="more answers")
            end(server, how)
        load.stop()
    assert load.answered > STOPS * 5
    if how == "stop":
        assert load.lost > 0, "nothing was interrupted"
    assert set(load.statuses) <= {503}, load.statuses
    load.devices = [device for device in load.devices if device.response is not None]
    check_store(server, load)
    server.stop()
