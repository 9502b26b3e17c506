# Licensed under the Apache License, Version 2.0. See LICENSE.
"""A PostgreSQL cluster of our own, reached by a unix socket."""

import itertools
import pathlib
import re
import shutil
import subprocess
import tempfile

from .environment import SOURCE

TOOL = SOURCE / "tests" / "fixtures" / "postgres"


class Cluster:
    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="gatehouse-pg-"))
        self.directory.chmod(0o755)
        self.uri = None
        self._numbers = itertools.count(1)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._run("remove")
        shutil.rmtree(self.directory, ignore_errors=True)

    def _run(self, command):
        return subprocess.run([TOOL, command, self.directory], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False, timeout=120)

    def start(self):
        result = self._run("start")
        assert result.returncode == 0, result.stderr
        self.uri = result.stdout.strip().splitlines()[-1]
        return self.uri

    def stop(self):
        self._run("stop")

    def crash(self):
        """kill -9 of all its processes."""
        self._run("crash")

    def freeze(self):
        """All its processes stop: connections stay, and nothing is answered."""
        self._run("freeze")

    def thaw(self):
        self._run("thaw")

    @property
    def conninfo(self):
        return self.uri.split(":", 1)[1]

    def database(self):
        """The URI of a new, empty database."""
        name = f"test{next(self._numbers)}"
        subprocess.run(["psql", "-qX", "-d", self.conninfo, "-c", f"CREATE DATABASE {name}"],
                       check=True, stdout=subprocess.DEVNULL)
        if re.search(r"\bdbname=\S+", self.uri):
            return re.sub(r"\bdbname=\S+", f"dbname={name}", self.uri)
        return f"{self.uri} dbname={name}"
