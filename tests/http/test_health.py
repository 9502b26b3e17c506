# Licensed under the Apache License, Version 2.0. See LICENSE.
"""gatehouse-health and gatehouse-metrics: what balancers and monitoring ask."""

import json

from harness.postgres import Cluster
from harness.server import wait_until
from harness.web import ask

# what is logged while the store is away
UNREACHABLE = ("GH0014", "GH0078", "GH0082", "GH0083", "GH0087", "GH0088", "GH0089", "GH0034")

HANDLERS = """
<Location "/health">
    SetHandler gatehouse-health
    Require all granted
</Location>
<Location "/metrics">
    SetHandler gatehouse-metrics
    Require all granted
</Location>
"""


def health(server):
    answer = ask(server, "/health", user=None)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status, json.loads(answer.body)


def metric(server, name):
    answer = ask(server, "/metrics", user=None)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = [line.rpartition(" ") for line in answer.body.decode().splitlines()
             if not line.startswith("#")]
    return {key: float(value) for key, _, value in lines if key.startswith(name)}


def test_healthy(make_server):
    server = make_server(HANDLERS)
    status, answer = health(server)
    assert status == 200 and answer["status"] == "ok"
    assert [check for check in answer["checks"] if check["name"] == "store"] == [
        {"name": "store", "ok": True, "message": "it answers"}]
    assert metric(server, "gatehouse_store_up") == {"gatehouse_store_up": 1}


def test_store_is_away_and_back(make_server):
    with Cluster() as cluster:
        server = make_server(HANDLERS, store=cluster.database())
        assert health(server)[0] == 200
        server.log.allow(*UNREACHABLE)
        cluster.stop()
        wait_until(lambda: health(server)[0] == 503, 20, what="503")
        answer = health(server)[1]
        assert answer["status"] == "failing"
        assert not answer["checks"][0]["ok"] and answer["checks"][0]["message"]
        assert metric(server, "gatehouse_store_up") == {"gatehouse_store_up": 0}
        cluster.start()
        wait_until(lambda: health(server)[0] == 200, 20, what="200")


def test_methods(make_server):
    server = make_server(HANDLERS)
    for path in ("/health", "/metrics"):
        answer = ask(server, path, method="POST", body=b"x", user=None)
        assert answer.status == 405 and "GET" in answer.headers["Allow"]
        assert ask(server, path, method="HEAD", user=None).status == 200
