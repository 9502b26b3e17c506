# Licensed under the Apache License, Version 2.0. See LICENSE.
"""The OCSP feeder: what it does with sources that are good, slow, broken, lying or gone."""

import os
import pathlib
import signal
import time

import pytest

from harness import pki, standard
from harness.config import issuer
from harness.feeder import Feeder, Source, drip, hang, make_crl, source, written
from harness.server import wait_until


@pytest.fixture
def web():
    made = Source()
    yield made
    made.close()


def entries(state, of=0):
    return state["sources"][of]["entries"]


# the store

class StoreFeeder(Feeder):
    def content(self, server):
        return standard.content(server) + super().content(server)


def test_store_has_an_index_at_once(make_server):
    feeder = StoreFeeder(make_server, {"devices": [source("store")]})
    state = feeder.wait_index("devices", seconds=5)
    assert state["sources"][0]["kind"] == "store"
    assert state["build_error"] is None
    assert state["pid"] == feeder.pid()
    assert (feeder.folder() / "devices.index").exists()
