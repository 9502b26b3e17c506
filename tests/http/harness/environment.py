# Licensed under the Apache License, Version 2.0. See LICENSE.
"""Where things are.

GH_BUILD     the build tree (default: "build" beside the sources, or the sources)
GH_HTTPD     httpd to test with (default: what apxs says)
GH_RUN_USER  whom httpd runs as when the tests are run by root (default: www-data)
GH_FULL      1: the large counts
GH_KEEP      1: keep server roots
"""

import atexit
import functools
import os
import pathlib
import pwd
import shutil
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parents[3]
KEYS = SOURCE / "tests" / "fixtures" / "keys"
FULL = os.environ.get("GH_FULL") == "1"
KEEP = os.environ.get("GH_KEEP") == "1"
IS_ROOT = os.geteuid() == 0


def count(plain, full):
    return full if FULL else plain


@functools.lru_cache(None)
def build():
    named = os.environ.get("GH_BUILD")
    for path in [pathlib.Path(named)] if named else [SOURCE / "build", SOURCE]:
        if (path / ".libs" / "mod_gatehouse.so").exists():
            return path.resolve()
    sys.exit("tests/http: no build found: build first, and name the build tree in GH_BUILD")


def module(name):
    return build() / ".libs" / f"{name}.so"


def check_library(name):
    """A library of tests/fixtures that is to be preloaded."""
    path = build() / "tests" / "fixtures" / ".libs" / f"{name}.so"
    if not path.exists():
        sys.exit(f"tests/http: build the check libraries first: {path}")
    return path


@functools.lru_cache(None)
def pooled_keys():
    """Variables with which the library pooledkeys gives new RSA keys from a pool, instead of making
    them. No key comes twice before all were given, whichever server asks."""
    handle, path = tempfile.mkstemp(prefix="gatehouse-keys-")
    os.fchmod(handle, 0o666)
    os.close(handle)
    atexit.register(os.unlink, path)
    return {"GH_POOLED_KEYS": str(KEYS), "GH_POOLED_KEYS_NEXT": path}


@functools.lru_cache(None)
def apxs(variable):
    for program in ("apxs", "apxs2"):
        path = shutil.which(program, path=os.environ["PATH"] + ":/usr/local/apache2/bin:/usr/sbin")
        if path:
            return subprocess.run([path, "-q", variable], stdout=subprocess.PIPE, check=True,
                                  text=True).stdout.strip()
    sys.exit("tests/http: apxs was not found")


@functools.lru_cache(None)
def httpd():
    return os.environ.get("GH_HTTPD") or f"{apxs('SBINDIR')}/{apxs('PROGNAME')}"


@functools.lru_cache(None)
def static_modules():
    text = subprocess.run([httpd(), "-l"], stdout=subprocess.PIPE, check=True, text=True).stdout
    return {line.strip()[:-2] for line in text.splitlines() if line.strip().endswith(".c")}


def load_module(name):
    """LoadModule line of one of httpd's own modules, empty if it is compiled in."""
    if f"mod_{name}" in static_modules():
        return ""
    return f"LoadModule {name}_module {apxs('LIBEXECDIR')}/mod_{name}.so\n"


@functools.lru_cache(None)
def run_as():
    """(uid, gid, user, group) of httpd's children."""
    if not IS_ROOT:
        user = pwd.getpwuid(os.geteuid())
    else:
        user = pwd.getpwnam(os.environ.get("GH_RUN_USER", "www-data"))
    import grp
    return user.pw_uid, user.pw_gid, user.pw_name, grp.getgrgid(user.pw_gid).gr_name


@functools.lru_cache(None)
def gatehousectl():
    for path in ("gatehousectl", "tools/gatehousectl"):
        if (build() / path).exists():
            return str(build() / path)
    sys.exit("tests/http: gatehousectl was not built")


def variables(**more):
    """Environment for programs of the build tree."""
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    environment["LD_LIBRARY_PATH"] = str(build() / ".libs")
    environment.setdefault("LANG", "C.UTF-8")
    environment.update(more)
    return environment


def versions():
    def first(*command):
        try:
            result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                    text=True, check=False)
        except OSError:
            return f"{command[0]}: missing"
        return (result.stdout.strip().splitlines() or ["?"])[0]

    def package(name):
        return first("dpkg-query", "-W", "-f", "${Package} ${Version}", name)

    return [f"httpd: {first(httpd(), '-v')}", f"openssl: {first('openssl', 'version')}",
            f"build: {build()}",
            "clients: " + ", ".join(package(name) for name in
                                    ("scep", "strongswan-pki", "certmonger", "sqlite3"))]
