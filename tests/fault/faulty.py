"""faulty - a tstd whose calls fail when the test says so.

Knows fault_shim.c's words, processes and mounts; must never know what is
asked of the server.
"""

import errno
import mmap
import os
import signal
import struct
import subprocess
import threading
import time

import harness

SHIM = os.path.join(harness.BUILD, "tests", "fault", "libfault_shim.so")
PATIENCE_S = 60  # a hang, not a slow machine
# gcc's thread sanitizer keeps a signal back while a thread is in its runtime,
# and of those sent right after a start it forgets one in some hundreds: the
# kernel has none pending, and libuv's handler was never called.
LOSES_SIGNALS = "TSAN_OPTIONS" in os.environ

# As in fault_shim.c.
KINDS = (
    "OWN_MEMORY LIBRARY_MEMORY OPEN READ WRITE SYNC TRUNCATE ALLOCATE RENAME "
    "UNLINK LINK MAKE_DIR STAT MAP THREAD"
).split()
# kinds, paused, at, count, error, failed, kind, fresh, place
WORDS = struct.Struct("=IIQQiIIIQ")
PAUSED_AT = 4


def kinds(*names):
    return sum(1 << KINDS.index(name) for name in names)


MEMORY = kinds("OWN_MEMORY", "THREAD")
LIBRARIES = kinds("LIBRARY_MEMORY")
FILES = kinds(*[name for name in KINDS[2:] if name not in ("SYNC", "THREAD")])
TRANSFERS = kinds("READ", "WRITE")
SYNCS = kinds("SYNC")


class Plan:
    """Which calls fail, and how."""

    def __init__(self, name, mask, error=errno.ENOMEM, visible=True):
        self.name = name
        self.mask = mask
        self.error = error
        self.visible = visible  # else nobody may notice


class Shim:
    """The words that the preloaded library reads and counts in."""

    def __init__(self, path):
        with open(path, "wb") as file:
            file.write(bytes(WORDS.size))
        with open(path, "r+b") as file:
            self.words = mmap.mmap(file.fileno(), WORDS.size)
        self.env = dict(os.environ, LD_PRELOAD=SHIM, FAULT_SHIM=path)
        self.env["MALLOC_PERTURB_"] = "165"  # what is used after free() shows
        # The shim hands on to the address sanitizer's allocator.
        options = self.env.get("ASAN_OPTIONS", "")
        self.env["ASAN_OPTIONS"] = options + ":verify_asan_link_order=0"

    def arm(self, plan, at, fresh=0):
        """Counting starts anew; the call of that number, from 0, fails, or the
        first whose kind is in `fresh`."""
        self.words[:] = WORDS.pack(plan.mask, 0, at, 0, plan.error, 0, 0, fresh & plan.mask, 0)

    def rearm(self):
        """The same once more, from the start."""
        plan, _, at, _, error, _, _, fresh, _ = WORDS.unpack(self.words[:])
        self.words[:] = WORDS.pack(plan, 0, at, 0, error, 0, 0, fresh, 0)

    def disarm(self):
        self.words[0:4] = bytes(4)

    def pause(self, on):
        self.words[PAUSED_AT : PAUSED_AT + 4] = struct.pack("=I", on)

    @property
    def count(self):
        return WORDS.unpack(self.words[:])[3]

    @property
    def failed(self):
        return WORDS.unpack(self.words[:])[5]

    @property
    def failed_kind(self):
        """A bit as in kinds(); 0: none has failed."""
        _, _, _, _, _, failed, kind, _, _ = WORDS.unpack(self.words[:])
        return 1 << kind if failed else 0

    def describe(self):
        """The call that failed."""
        _, _, _, _, _, failed, kind, _, offset = WORDS.unpack(self.words[:])
        return "%s in %s" % (KINDS[kind], place(offset)) if failed else "no fault came"


def place(offset):
    """A function of tstd, where addr2line is there to tell it."""
    try:
        done = subprocess.run(
            ["addr2line", "-fpe", harness.TSTD, hex(offset)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return "%s (%#x)" % (done.stdout.decode().strip(), offset)
    except OSError:
        return hex(offset)


CONFIGURATION = """\
# read from a file, as most are
bind 127.0.0.1
save 900 1
save 300 10
client-output-buffer-limit normal 0 0 0
"""


class Failed(Exception):
    """Something that must not happen."""


class Tstd:
    """One tstd with its data and its mount; with a shim, or sound."""

    def __init__(self, top, name, shim=None, args=()):
        self.data = os.path.join(top, name)
        self.mount = os.path.join(top, name + "-mnt")
        self.log = os.path.join(top, name + ".log")
        self.shim = shim
        self.args = list(args)
        self.file = os.path.join(top, name + ".conf")
        self.process = None
        self.port = None
        self.with_mount = True
        os.makedirs(self.mount, exist_ok=True)
        with open(self.file, "w", encoding="ascii") as conf:
            conf.write(CONFIGURATION)

    def launch(self, with_mount=True):
        """Returns at once; the log starts anew."""
        self.with_mount = with_mount
        self.port = harness.free_port()
        command = [harness.TSTD, self.file, "--port", str(self.port), "--data", self.data]
        if with_mount:
            command += ["--mount", self.mount]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command + self.args,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.shim.env if self.shim else None,
                preexec_fn=harness.end_with_parent,
            )

    def is_ready(self):
        with open(self.log, "rb") as log:
            text = log.read()
        return b"ready to accept" in text

    def await_ready(self):
        """False: it has ended instead."""
        end = time.monotonic() + PATIENCE_S
        while True:
            if self.process.poll() is not None:
                # Somebody took the port between the look and the bind.
                if "ddress already in use" not in self.output():
                    return False
                if self.shim:
                    self.shim.rearm()
                self.launch(self.with_mount)
            if self.is_ready():
                return True
            if time.monotonic() > end:
                self.kill()
                raise Failed("starting hangs\n" + self.output())
            time.sleep(0.002)

    def start(self):
        self.launch()
        if not self.await_ready():
            raise Failed("tstd does not start\n" + self.output())
        return self

    def output(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def is_mounted(self):
        return harness.is_mounted(self.mount)

    def wait(self):
        """The exit status of a server that is ending."""
        try:
            status = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed("ending hangs\n" + self.output()) from None
        self.process = None
        text = self.output()
        if harness.SANITIZER_REPORT.search(text) or status < 0 or status > 1:
            raise Failed("tstd ended with %d\n%s" % (status, text[-6000:]))
        if self.is_mounted():
            harness.unmount_below(self.mount)
            raise Failed("the mount was left behind\n" + text)
        return status

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if LOSES_SIGNALS:
            try:
                self.process.wait(PATIENCE_S / 6)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        harness.unmount_below(self.mount)


class Watchdog:
    """Ends servers that do not get on, so that who waits for one, or for its
    mount, is let go."""

    def __init__(self):
        self.lock = threading.Lock()
        self.servers = ()
        self.deadline = None
        self.barked = False
        threading.Thread(target=self._watch, daemon=True).start()

    def guard(self, *servers):
        with self.lock:
            self.servers = servers
            self.deadline = time.monotonic() + PATIENCE_S

    def release(self):
        with self.lock:
            self.servers = ()

    def _watch(self):
        while True:
            time.sleep(1)
            with self.lock:
                if not self.servers or time.monotonic() < self.deadline:
                    continue
                self.barked = True
                for server in self.servers:
                    if server.is_running():
                        server.process.kill()
                self.servers = ()
