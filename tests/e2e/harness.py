"""harness - what every end-to-end test needs: a tstd, a mount, and no traces.

Knows the programs only from outside: their flags, their port, their mount.
Must never know what a test is about.

The programs are those of TSTD, TSTFS and TST in the environment, else those
of build/. TOON_SMALL=1 asks for small inputs (slow builds), TOON_LONG=1 for
the largest.
"""

import ctypes
import fcntl
import mmap
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest

import redis

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SMALL = os.environ.get("TOON_SMALL") == "1"
LONG = os.environ.get("TOON_LONG") == "1"
DEADLINE_S = 120  # far beyond what anything takes: a hang, not a slow machine
SANITIZER_REPORT = re.compile(r"(Address|Leak|Thread|Memory)Sanitizer|runtime error:")


def program(variable, name):
    return os.path.abspath(
        os.environ.get(variable) or os.path.join(ROOT, "build", name)
    )


TSTD = program("TSTD", "server/tstd")
TSTFS = program("TSTFS", "fuse/tstfs")
TST = program("TST", "tools/tst")
BUILD = os.path.dirname(os.path.dirname(TSTD))  # meson's build directory
SHIM = os.path.join(BUILD, "tests", "e2e", "libdisk_shim.so")


def wait_until(condition, what):
    """Polls until condition() is true and returns what it returned."""
    end = time.monotonic() + DEADLINE_S
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError("timed out waiting for " + what)
        time.sleep(0.02)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def mounts_below(path):
    """Mount points at or below path, the deepest first."""
    path = os.path.abspath(path)
    found = []
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as table:
        for line in table:
            point = line.split()[1].replace("\\040", " ")
            if point == path or point.startswith(path + "/"):
                found.append(point)
    return sorted(found, reverse=True)


def is_mounted(path):
    return os.path.abspath(path) in mounts_below(path)


def unmount_below(path):
    """The last resort of a clean-up: whatever is mounted there goes."""
    for point in mounts_below(path):
        for command in (["umount", "-l"], ["fusermount3", "-uz"]):
            done = subprocess.run(command + [point], stderr=subprocess.DEVNULL)
            if done.returncode == 0:
                break


def fuse_missing():
    """Why nothing can be mounted here, or an empty string."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return "/dev/fuse: " + os.strerror(error.errno)
    if os.geteuid() != 0 and not shutil.which("fusermount3"):
        return "fusermount3 is not installed"
    return ""


needs_fuse = unittest.skipIf(fuse_missing(), "no mount here: " + fuse_missing())
needs_root = unittest.skipIf(os.geteuid() != 0, "only root can do this")
needs_shim = unittest.skipIf(
    not os.path.exists(SHIM), "no disk shim: this build has a sanitizer"
)
needs_node = unittest.skipIf(not shutil.which("node"), "node is not installed")


def need_programs(test, *names):
    """Skips the test where one of them is absent; CI has to have them all."""
    absent = ", ".join(name for name in names if shutil.which(name) is None)
    if absent and os.environ.get("CI") == "true":
        test.fail("not installed: " + absent)
    if absent:
        test.skipTest("not installed: " + absent)


def run(*command, check=True, **options):
    """A command's result with its output as bytes; fails loudly."""
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=DEADLINE_S * 5,
        **options,
    )
    if check and done.returncode != 0:
        raise AssertionError(
            "%s: exit %d\n%s%s"
            % (command, done.returncode, tail(done.stdout), tail(done.stderr))
        )
    return done


def tail(text):
    return text[-4000:].decode("utf-8", "replace")


def end_with_parent():
    """Run in a child: however this test ends, tstd stops and unmounts."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class StartFailed(Exception):
    """tstd ended before it answered."""

    def __init__(self, status, output):
        super().__init__("tstd ended with %s:\n%s" % (status, output))
        self.status = status
        self.output = output


class Server:
    """One tstd. start() returns when it answers, and is mounted if it is to
    be; stop() and kill() end it, and it may be started again."""

    def __init__(self, data, mount=None, args=()):
        self.data = str(data)
        self.mount = str(mount) if mount else None
        self.args = [str(word) for word in args]
        self.env = None  # or the environment of tstd
        self.process = None
        self.port = None
        self.log = self.data.rstrip("/") + ".stderr"

    def start(self):
        if self.mount and not is_mounted(self.mount):
            os.makedirs(self.mount, exist_ok=True)
        while True:
            self.port = free_port()
            try:
                self._start_at_port()
                return self
            except StartFailed as failure:
                # Somebody took the port between the look and the bind.
                if "ddress already in use" not in failure.output:
                    raise

    def _start_at_port(self):
        log_start = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        self.spawn()
        wait_until(self._answers, "tstd to answer")
        if self.process.poll() is not None:
            status, self.process = self.process.returncode, None
            raise StartFailed(status, self.output()[log_start:])

    def spawn(self):
        """Begins to start it, on self.port, and does not wait."""
        command = [TSTD, "--port", str(self.port), "--data", self.data]
        if self.mount:
            command += ["--mount", self.mount]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command + self.args,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                preexec_fn=end_with_parent,
            )

    def _answers(self):
        if self.process.poll() is not None:
            return True
        try:
            with self.client() as client:
                client.ping()
                mine = client.info("server")["process_id"] == self.process.pid
        except redis.exceptions.RedisError:
            return False
        return mine and (not self.mount or is_mounted(self.mount))

    def output(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def client(self, **options):
        return redis.Redis("127.0.0.1", self.port, **options)

    def cli(self, *words, **options):
        """What redis-cli prints, as bytes."""
        return run("redis-cli", "-p", self.port, *words, **options).stdout

    def running(self):
        return self.process is not None and self.process.poll() is None

    def wait(self):
        status = self.process.wait(DEADLINE_S)
        self.process = None
        return status

    def stop(self, how=signal.SIGTERM):
        """Asks it to end and returns its exit status."""
        self.process.send_signal(how)
        return self.wait()

    def kill(self):
        """kill -9: what a crash leaves behind stays, the dead mount too."""
        self.process.kill()
        return self.wait()


class DiskShim:
    """disk_shim.c, and what it is told: a disk under `data` that fails its
    syncs, or is tstd's end in the middle of a call, or cannot reserve blocks."""

    BEFORE, AFTER, HALF = range(3)  # of the call that is the last
    # sync_errno, syncs_failed, last_call, how, no_blocks
    WORDS = struct.Struct("=5i")

    def __init__(self, path, data):
        with open(path, "wb") as file:
            file.write(self.WORDS.pack(0, 0, 0, 0, 0))
        with open(path, "r+b") as file:
            self.words = mmap.mmap(file.fileno(), self.WORDS.size)
        self.env = dict(
            os.environ,
            LD_PRELOAD=SHIM,
            DISK_SHIM_CONTROL=path,
            DISK_SHIM_DIR=os.path.realpath(data),
        )

    def tell(self, sync_errno=0, last_call=0, how=BEFORE, no_blocks=0):
        self.words[:] = self.WORDS.pack(sync_errno, 0, last_call, how, no_blocks)

    @property
    def syncs_failed(self):
        return self.WORDS.unpack(self.words[:])[1]


class StoreTest(unittest.TestCase):
    """A test with a directory of its own, in which servers leave no trace."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="toon-e2e-")
        self.addCleanup(self._remove_dir)

    def _remove_dir(self):
        unmount_below(self.dir)
        self.assertEqual(mounts_below(self.dir), [])
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def server(self, mount=False, start=True, data="data", args=()):
        """A server on this test's data directory, stopped at its end."""
        server = Server(self.path(data), self.path("mnt") if mount else None, args)
        self.addCleanup(self._end, server)
        return server.start() if start else server

    def stop(self, server, how=signal.SIGTERM):
        """Stops it as a user would; all must be in order afterwards."""
        self.assertEqual(server.stop(how), 0, server.output())
        if server.mount:
            self.assertFalse(is_mounted(server.mount), "still mounted")

    def _end(self, server):
        if server.running():
            try:
                self.stop(server)
            finally:
                if server.running():
                    server.kill()
        if os.path.exists(server.log):
            report = SANITIZER_REPORT.search(server.output())
            self.assertIsNone(report, server.output())


def write_file(path, data, mode="wb"):
    with open(path, mode) as file:
        file.write(data)


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def pipe_bytes(commands):
    """RESP requests, as redis-cli --pipe wants them."""
    pieces = []
    for words in commands:
        pieces.append(b"*%d\r\n" % len(words))
        for word in words:
            word = word if isinstance(word, bytes) else str(word).encode()
            pieces.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(pieces)


def live_map(server):
    """Every key and value, as bytes."""
    with server.client() as client:
        keys = sorted(client.scan_iter(count=1000))
        found = {}
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            found.update(zip(part, client.mget(part)))
        return found


def node_dir():
    """A directory with the pinned npm packages of tests/node and its
    programs, made once per checkout and shared by all builds."""
    source = os.path.join(ROOT, "tests", "node")
    target = os.path.join(ROOT, "build", "node")
    os.makedirs(target, exist_ok=True)
    with open(os.path.join(target, "lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = read_file(os.path.join(source, "package-lock.json"))
        marker = os.path.join(target, "installed.json")
        fresh = os.path.exists(marker) and read_file(marker) == wanted
        for name in os.listdir(source):
            shutil.copy(os.path.join(source, name), target)
        if not fresh:
            _npm_ci(target)
            shutil.copy(os.path.join(source, "package-lock.json"), marker)
    return target


def _npm_ci(directory):
    command = ["npm", "ci", "--prefer-offline", "--no-audit", "--no-fund"]
    command += ["--ignore-scripts", "--no-update-notifier"]
    command += ["--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]
    for attempt in range(3):
        done = run(*command, cwd=directory, check=False)
        if done.returncode == 0:
            return
        time.sleep(attempt * 5)
    raise AssertionError("npm ci failed:\n" + tail(done.stderr))
