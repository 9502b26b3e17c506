# Licensed under the Apache License, Version 2.0. See LICENSE.
"""What the benchmarks share: servers and their CPU time, tables, targets."""

import argparse
import ctypes
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request


class Failure(Exception):
    """The benchmark cannot go on; the text says why."""


# --- the machine ---

def number(name, default):
    """A number from the environment."""
    try:
        value = int(os.environ.get(name, default))
    except ValueError:
        raise Failure(f"{name} is not a number") from None
    if value < 1:
        raise Failure(f"{name} has to be 1 or more")
    return value


def only_one():
    """Holds a name that one process of the machine can have: two benchmarks would disturb each
    other. The kernel gives it back when this process ends."""
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind("\0gatehouse-bench")
    except OSError:
        raise Failure("another benchmark is running on this machine") from None
    return holder


def output(*command, **options):
    """Standard output of a command that has to succeed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, check=False, preexec_fn=die_with_parent,
                          **options)
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))}: {done.stderr or done.stdout}".strip())
    return done.stdout


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def machine():
    """One line each about what the figures depend on."""
    model = next((line.split(":", 1)[1].strip() for line in read("/proc/cpuinfo").splitlines()
                  if line.startswith("model name")), "unknown processor")
    memory = int(read("/proc/meminfo").split()[1]) // 1048576
    load = os.getloadavg()
    return [f"machine     {model}, {os.cpu_count()} cores, {memory} GiB, Linux {os.uname().release}",
            f"load        {load[0]:.2f} before this run"]


def cpu_of(pid):
    """CPU seconds that a process has used, all of its threads, in nanosecond steps: the clock of
    another process (clock_getcpuclockid)."""
    return time.clock_gettime((~pid << 3) | 2)


def reaped_by(pid):
    """CPU seconds of children that a process has waited for."""
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def children_of(pid):
    """Processes below a process, all generations."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parents[int(name)] = int(read(f"/proc/{name}/stat").rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                pass
    found, new = set(), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return sorted(found)


def proportional_memory(pid):
    """PSS of a process in bytes: what it shares counts by the number of those who share it. Programs
    and libraries are left out, since their share changes with what else runs on the machine."""
    counts, total = True, 0
    program = os.readlink(f"/proc/{pid}/exe")
    for line in read(f"/proc/{pid}/smaps").splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            path = words[5] if len(words) > 5 else ""
            counts = path != program and ".so" not in os.path.basename(path)
        elif words[0] == "Pss:" and counts:
            total += int(words[1]) * 1024
    return total


# --- servers ---

def die_with_parent():
    """In a new process: ends it when we end, however we end."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Server:
    """A process that is started, measured with all of its children, and stopped."""

    def __init__(self, name, command, log, enter=()):
        self.name = name
        self.log = log
        self.enter = list(enter)
        with open(log, "ab") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file,
                                            stderr=file, preexec_fn=die_with_parent)
        self.pid = self.process.pid

    def failed(self, what):
        tail = "".join(read(self.log).splitlines(keepends=True)[-20:])
        return Failure(f"{self.name} {what}; {self.log} ends with:\n{tail}")

    def wait_until(self, test, seconds=30):
        """Waits until test() is true."""
        end = time.monotonic() + seconds
        while not test():
            if self.process.poll() is not None:
                raise self.failed(f"ended with status {self.process.returncode}")
            if time.monotonic() > end:
                raise self.failed(f"does not answer after {seconds} seconds")
            time.sleep(0.1)

    def cpu(self):
        return (cpu_of(self.pid) + reaped_by(self.pid)
                + sum(cpu_of(pid) for pid in children_of(self.pid)))

    def memory(self):
        """PSS of the children together."""
        return sum(proportional_memory(pid) for pid in children_of(self.pid))

    def load(self, command):
        """Runs a load generator. @return its report, with "cpu_us" of the server per request"""
        before, children = self.cpu(), children_of(self.pid)
        report = json.loads(output(*self.enter, *map(str, command)))
        report["cpu_us"] = (self.cpu() - before) * 1e6 / report["requests"]
        if children_of(self.pid) != children:
            raise self.failed("has started or lost a process while it was measured")
        return report

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                for pid in children_of(self.pid):
                    os.kill(pid, signal.SIGKILL)
                self.process.kill()
                self.process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(url):
    """@return body and content type, or None"""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return answer.read(), answer.headers["Content-Type"]
    except OSError:
        return None


class Httpd:
    """An httpd of our own with the modules of the build tree."""

    THREADS = 32
    CHILDREN = 2

    def __init__(self, build, source, apxs, folder, mpm="event"):
        self.mpm = mpm
        self.build, self.source, self.folder = build, source, folder
        self.program = "/".join((output(apxs, "-q", "SBINDIR").strip(),
                                 output(apxs, "-q", "PROGNAME").strip()))
        self.modules = output(apxs, "-q", "LIBEXECDIR").strip()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.user = os.environ.get("BENCH_USER", "www-data") if os.getuid() == 0 else None
        self.configuration = f"{folder}/httpd.conf"
        self.server = None

    def own_folder(self, name):
        """A folder that only the server's user may enter."""
        path = f"{self.folder}/{name}"
        os.mkdir(path, 0o700)
        if self.user:
            account = pwd.getpwnam(self.user)
            os.chown(path, account.pw_uid, account.pw_gid)
        return path

    def load_modules(self, *names):
        lines = [f'LoadModule {name}_module "{self.modules}/mod_{name}.so"' for name in names
                 if os.path.exists(f"{self.modules}/mod_{name}.so")]
        return "\n".join(lines)

    def write(self, text, *ours):
        """Writes the configuration: what every benchmark has, modules of ours, then text."""
        user = ""
        if self.user:
            group = output("id", "-gn", self.user).strip()
            user = f"User {self.user}\nGroup {group}"
        libraries = f"{self.build}/.libs"
        folders = {name: f"{self.build}/bench/.libs" if name.startswith("bench_") else libraries
                   for name in ours}
        loads = "\n".join(f'LoadModule {name}_module "{folder}/mod_{name}.so"'
                          for name, folder in folders.items())
        threads, children = self.THREADS, self.CHILDREN
        with open(self.configuration, "w", encoding="utf-8") as file:
            file.write(f"""ServerRoot "{self.folder}"
ServerName 127.0.0.1
DefaultRuntimeDir "{self.folder}"
PidFile "{self.folder}/httpd.pid"
ErrorLog "{self.folder}/error.log"
LogLevel warn
{self.load_modules("mpm_" + self.mpm, "authn_core", "authz_core", "unixd")}
{user}
Listen 127.0.0.1:{self.port}
ServerLimit {children}
StartServers {children}
ThreadsPerChild {threads}
ThreadLimit {threads}
MaxRequestWorkers {threads * children}
MinSpareThreads 1
MaxSpareThreads {threads * children}
MaxConnectionsPerChild 0
KeepAlive on
MaxKeepAliveRequests 0
KeepAliveTimeout 60
LimitRequestLine 65536
<Directory "/">
    AllowOverride None
    Options FollowSymLinks
    Require all denied
</Directory>
LoadFile "{libraries}/libgatehouse.so"
{loads}
{text}
""")

    def start(self, path):
        """Starts it and waits for an answer at a path."""
        log = f"{self.folder}/error.log"
        self.server = Server("httpd", [self.program, "-d", self.folder, "-f", self.configuration,
                                       "-DFOREGROUND"], log)
        self.server.wait_until(lambda: fetch(self.url + path))
        time.sleep(1)


class Folder:
    """A temporary folder on a disk: what a store on a memory file system costs tells nothing."""

    def __init__(self):
        base = os.environ.get("BENCH_DIR", "/var/tmp")
        self.type = output("stat", "-f", "-c", "%T", base).strip()
        if self.type in ("tmpfs", "ramfs"):
            raise Failure(f"{base} is in memory; name a folder on a disk with BENCH_DIR")
        self.path = tempfile.mkdtemp(prefix="gatehouse-bench-", dir=base)
        os.chmod(self.path, 0o755)

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Workshop:
    """What a benchmark works with: options, a folder, servers, and keys and certificates."""

    def __init__(self, options, folder):
        self.options, self.folder, self.type = options, folder.path, folder.type
        self.servers = []

    def program(self, name):
        return f"{self.options.builddir}/bench/{name}"

    def say(self, text):
        print(f"  {text} ...", file=sys.stderr, flush=True)

    def write(self, name, text):
        path = f"{self.folder}/{name}"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w",
                  encoding="ascii") as file:
            file.write(text)
        return path

    def certificate(self, name, kind, subject, issuer, extensions):
        """A key and a certificate; issuer None makes a root."""
        path = f"{self.folder}/{name}"
        os.close(os.open(f"{path}-key.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        output("openssl", "genpkey", "-algorithm", *kind, "-out", f"{path}-key.pem")
        output("openssl", "req", "-new", "-key", f"{path}-key.pem", "-subj", subject,
               "-out", f"{path}.csr")
        signer = ["-signkey", f"{path}-key.pem"] if issuer is None else \
            ["-CA", f"{self.folder}/{issuer}.pem", "-CAkey", f"{self.folder}/{issuer}-key.pem"]
        output("openssl", "x509", "-req", "-in", f"{path}.csr", *signer, "-days", "3650",
               "-set_serial", str(secrets.randbits(64)), "-extfile",
               self.write(f"{name}.extensions", extensions), "-out", f"{path}.pem")

    def in_a_network_of_its_own(self, name, command, port):
        """Starts a peer that listens on all addresses where there is nothing but a loopback
        interface."""
        for tool in (command[0], "unshare", "nsenter", "ip"):
            if not shutil.which(tool):
                raise Failure(f"there is no {tool} (see the file packages)")
        user = [] if os.getuid() == 0 else ["--map-root-user"]
        script = 'ip link set lo up && exec "$@"'
        server = Server(name, ["unshare", "--net", *user, "sh", "-c", script, "sh", *command],
                        f"{self.folder}/{name.replace(' ', '-')}.log")
        server.enter = ["nsenter", "--target", str(server.pid), "--net",
                        *(["--user", "--preserve-credentials"] if user else [])]
        server.address = ["127.0.0.1", str(port)]
        self.servers.append(server)
        return server

    def close(self):
        for server in self.servers:
            server.stop()


RSA_2048 = ("RSA", "-pkeyopt", "rsa_keygen_bits:2048")
P_256 = ("EC", "-pkeyopt", "ec_paramgen_curve:P-256")
CA_EXTENSIONS = ("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
                 "subjectKeyIdentifier=hash\n")


# --- results ---

class Table:
    """Rows of figures, one figure per round."""

    def __init__(self, title, *columns):
        self.title, self.columns, self.rows = title, columns, {}

    def add(self, row, *figures):
        for column, figure in zip(self.columns, figures):
            self.rows.setdefault(row, {}).setdefault(column, []).append(figure)

    def median(self, row, column=None):
        return statistics.median(self.rows[row][column or self.columns[0]])

    def compare(self, function, row, other):
        """Median of what a function makes of the first figures of two rows, round by round: what
        the machine does besides changes from round to round."""
        column = self.columns[0]
        return statistics.median(map(function, self.rows[row][column], self.rows[other][column]))

    def show(self):
        """Prints median, and lowest and highest in brackets."""
        width = max(map(len, self.rows)) + 1
        print(f"\n{self.title}")
        print(" " * width + "".join(f"{column:>30}" for column in self.columns))
        for name, row in self.rows.items():
            cells = (f"{statistics.median(row[c]):.1f} [{min(row[c]):.1f} .. {max(row[c]):.1f}]"
                     if c in row else "-" for c in self.columns)
            print(f"{name:{width}}" + "".join(f"{cell:>30}" for cell in cells))
        sys.stdout.flush()


class Targets:
    """What an issue asks for; printed last."""

    def __init__(self):
        self.lines = []

    def at_most(self, name, value, goal, unit=""):
        verdict = "met" if value <= goal else "missed"
        self.lines.append(f"target {name}: {value:.2f}{unit} (goal <= {goal}{unit}) {verdict}")

    def at_least(self, name, value, goal, unit=""):
        verdict = "met" if value >= goal else "missed"
        self.lines.append(f"target {name}: {value:.2f}{unit} (goal >= {goal}{unit}) {verdict}")

    def show(self):
        print()
        for line in self.lines:
            print(line)


def run_bench(bench_class, description):
    """Runs a benchmark class (a Workshop with run()) with the options that "make" gives."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--builddir", required=True)
    parser.add_argument("--srcdir", required=True)
    parser.add_argument("--apxs", required=True)
    options = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    # programs that httpd starts find the library of the build tree
    os.environ["LD_LIBRARY_PATH"] = f"{options.builddir}/.libs"
    holder = only_one()
    folder = Folder()
    bench = None
    try:
        bench = bench_class(options, folder)
        bench.run()
    finally:
        if bench:
            bench.close()
        if not os.environ.get("BENCH_KEEP"):
            folder.remove()
        holder.close()


def run(main):
    """Runs a benchmark so that nothing of it stays behind, whatever ends it."""
    def end(signum, frame):
        raise SystemExit(f"ended by signal {signum}")

    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, end)
    try:
        main()
    except Failure as failure:
        sys.exit(f"{os.path.basename(sys.argv[0])}: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
