"""kill -9 at random moments, again and again: what was acknowledged is there.

usage: test_kill.py [--cycles N] [--seconds N] [--seed N] [--no-mount]

One data directory lives through all of it. In each life tstd is loaded by
RESP and through the mount, and killed: under load, while it starts, while it
stops, while it rewrites its log, while it is emptied, while it is copied.
Then `tst check` must find the directory sound, tstd must open it, and every
key must be as kill_model allows. Prints one line; on failure also what was
wrong and the seed, and keeps the directory.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time

import redis

import harness
import kill_load
import kill_model

CYCLES = 12 if harness.SMALL else 55
SEED = 9
LOG_MAX = 64 << 20  # past it the store is emptied: lives are to be short
LINE = "kill -9 cycles: %d, acknowledged writes lost: %d"


class Failed(Exception):
    """Something that must not happen, and is no single key's matter."""


def now_ms():
    return int(time.time() * 1000)


def read_store(server):
    """{key: (value, expires_ms)} of all that is there; of a key that cannot be
    read, the error's text as the value."""
    found = {}
    with server.client() as client:
        keys = list(client.scan_iter(count=1000))
        for start in range(0, len(keys), 200):
            part = keys[start : start + 200]
            pipe = client.pipeline(transaction=False)
            for key in part:
                pipe.get(key)
                pipe.pexpiretime(key)
            replies = pipe.execute(raise_on_error=False)
            for key, value, expires_ms in zip(part, replies[::2], replies[1::2]):
                if isinstance(value, Exception) or isinstance(expires_ms, Exception):
                    found[key] = (repr(value).encode(), -1)
                elif value is not None and expires_ms != -2:
                    found[key] = (value, max(expires_ms, 0))
    return found


class Killing:
    """A data directory, its load and all lives of tstd on it."""

    def __init__(self, seed, with_mount):
        self.dir = tempfile.mkdtemp(prefix="toon-kill-")
        self.data = os.path.join(self.dir, "data")
        self.mount = os.path.join(self.dir, "mnt") if with_mount else None
        self.chance = random.Random(seed)
        self.load = kill_load.Load(seed, self.mount)
        self.flushed = kill_model.OwnKeys(b"flushed/")
        self.shim = None  # or a disk whose calls can be the end
        if os.path.exists(harness.SHIM):
            self.shim = harness.DiskShim(os.path.join(self.dir, "shim"), self.data)
        self.server = None
        self.kills = 0
        self.findings = []
        self.asked = False  # the last life was asked to end before it was killed
        self.start_s = 0.2
        self.rewrite_s = 0.1
        self.commands = set()

    # One life.

    def spare_server(self):
        policy = self.chance.choice(("everysec", "always"))
        arguments = ["--appendfsync", policy, "--backup-keep", "2"]
        server = harness.Server(self.data, self.mount, arguments)
        if self.shim:
            self.shim.tell()
            server.env = self.shim.env
        return server

    def start(self):
        self.deal_with_dead_mount()
        self.server = self.spare_server()
        started = time.monotonic()
        self.server.start()
        self.start_s = time.monotonic() - started
        if not self.commands:
            connection = kill_load.Connection(self.server.port)
            self.commands = set(connection.ask("COMMAND", "LIST"))
            connection.close()

    def deal_with_dead_mount(self):
        """tstd detaches a dead mount of its predecessor; so may anybody."""
        if self.mount and harness.is_mounted(self.mount) and self.chance.random() < 0.3:
            harness.unmount_below(self.mount)

    def die(self, within_s, calls_max=300, act=lambda: None):
        """act() begins what is to be killed in the middle of: after a time, or
        at one of the next calls that change files, before it, after it, or
        with half of it done."""
        self.load.ending.set()
        if not self.server.running():
            raise Failed("tstd ended by itself\n" + self.server.output()[-4000:])
        if self.shim and self.chance.random() < 0.5:
            call = int(calls_max ** self.chance.random())
            self.shim.tell(last_call=call, how=self.chance.randrange(3))
            act()
            self.await_end(within_s * 2)
        else:
            act()
            time.sleep(self.chance.uniform(0, within_s))
        self.server.process.kill()
        status = self.server.wait()
        if status not in (0, -signal.SIGKILL):
            raise Failed("tstd ended with %d\n%s" % (status, self.server.output()[-4000:]))
        self.kills += status != 0

    def await_end(self, at_most_s):
        end = time.monotonic() + at_most_s
        while self.server.running() and time.monotonic() < end:
            time.sleep(0.001)

    def end_load(self):
        self.load.end()
        trouble = self.load.trouble()
        if trouble:
            raise Failed(trouble)

    def check(self):
        """The directory as the kill left it is sound."""
        if not os.path.exists(os.path.join(self.data, "db.toon")):
            return
        self.check_store(self.data)

    @staticmethod
    def check_store(path):
        done = harness.run(harness.TST, "check", path, check=False)
        if done.returncode != 0:
            raise Failed("tst check: %s" % harness.tail(done.stdout + done.stderr))

    def verify(self):
        before_ms = now_ms()
        found = read_store(self.server)
        after_ms = now_ms()
        self.findings += self.flushed.settle(self.take(found, self.flushed), False)
        if self.flush_is_open and b"flushed/before" not in self.flushed.settled:
            self.load.forget()
        self.flush_is_open = False
        for model in self.load.models():
            part = self.take(found, model)
            if isinstance(model, kill_model.BriefKeys):
                self.findings += model.settle(part, before_ms, after_ms)
            else:
                self.findings += model.settle(part, self.asked)
        shared = self.take(found, self.load.shared)
        self.findings += self.load.shared.settle(shared)
        for key, entry in found.items():
            invented = kill_model.Finding.INVENTED
            self.findings.append(kill_model.Finding(invented, key, entry, [None]))
        self.asked = False
        if self.mount:
            self.verify_files()
        if self.findings:
            raise Failed("%d findings" % len(self.findings))

    flush_is_open = False  # was FLUSHDB sent, and nothing compared since?

    @staticmethod
    def take(found, model):
        return {key: found.pop(key) for key in list(found) if model.owns(key)}

    def verify_files(self):
        """The files that writers own are the keys; some are read."""
        for writer in self.load.writers:
            if not isinstance(writer, kill_load.Filer):
                continue
            keys = writer.keys.settled
            names, mount = set(), self.mount.encode()
            for top, dirs, files in os.walk(os.path.join(mount, writer.top)):
                names.update(os.path.join(top, name) for name in dirs + files)
            wanted = {os.path.join(mount, key.rstrip(b"/")) for key in keys}
            wanted |= {os.path.dirname(path) for path in wanted}
            wanted -= {os.path.join(mount, writer.top), mount}
            if names != wanted:
                raise Failed("files: %r differ" % sorted(names ^ wanted))
            self.read_some(keys)

    def read_some(self, keys):
        files = [key for key in sorted(keys) if not key.endswith(b"/")]
        for key in self.chance.sample(files, min(len(files), 8)):
            path = os.path.join(self.mount.encode(), key)
            if harness.read_file(path) != keys[key][0]:
                raise Failed("the file %r differs from its key" % key)

    # Ways to die.

    def begin_load(self):
        """Every writer is at work when it returns."""
        self.load.start(self.server.port)
        rounds = self.chance.randint(1, 3)

        def started():
            if self.load.trouble() or not self.server.running():
                return True
            return self.load.under_way(rounds)

        harness.wait_until(started, "all writers to write")

    def die_under_load(self):
        self.begin_load()
        time.sleep(self.chance.uniform(0, 0.2))
        self.die(0.2)
        self.end_load()

    def die_in_rewrite(self):
        """A compaction under load; some get to end, and are compared alive."""
        self.begin_load()
        connection = kill_load.Connection(self.server.port)
        if self.chance.random() < 0.3:
            self.rewrite(connection)
            self.die(0.1)
        else:
            self.die(1.3 * self.rewrite_s, act=lambda: connection.send([("BGREWRITEAOF",)]))
        connection.close()
        self.end_load()

    def die_in_save(self):
        """While a copy is made of what changes. One that is there is whole."""
        self.begin_load()
        connection = kill_load.Connection(self.server.port)
        self.die(0.1, 30, act=lambda: connection.send([("BGSAVE",)]))
        connection.close()
        self.end_load()
        for path in self.copies():
            if os.path.exists(os.path.join(path, "db.toon")):
                self.check_store(path)

    def copies(self):
        parent = os.path.join(self.data, "backup")
        names = os.listdir(parent) if os.path.isdir(parent) else []
        return [os.path.join(parent, name) for name in names]

    def rewrite(self, connection):
        started = time.monotonic()
        said = connection.ask("BGREWRITEAOF")
        if said[:1] != b"+" and b"in progress" not in said:
            raise Failed("BGREWRITEAOF: %r" % said)
        with self.server.client() as client:
            harness.wait_until(
                lambda: not client.info("persistence")["aof_rewrite_in_progress"],
                "the log to be rewritten",
            )
            self.rewrite_s = time.monotonic() - started
            if client.info("persistence")["aof_last_bgrewrite_status"] != "ok":
                raise Failed("BGREWRITEAOF failed\n" + self.server.output()[-4000:])
        self.compare_alive()

    def compare_alive(self):
        self.load.gate.hold(self.load.writers)
        if self.server.running() and not self.load.trouble():
            self.verify()
        self.load.gate.release()

    def die_emptied(self):
        """FLUSHDB between acknowledged writes, everybody else being held: so
        it is known what it must have removed."""
        self.begin_load()
        self.load.gate.hold(self.load.writers)
        connection = kill_load.Connection(self.server.port)
        if b"bgrewriteaof" in self.commands and self.chance.random() < 0.5:
            connection.ask("BGREWRITEAOF")  # which FLUSHDB ends
        before, number = b"flushed/before", b"%d" % self.kills
        self.flushed.send({before: (number, 0)})
        connection.send([("SET", before, number)])
        self.read_flush_reply(connection)
        self.flush_is_open = True
        if self.chance.random() < 0.5:
            self.flush(connection, number)
            self.read_flush_replies(connection)
            self.load.forget()
            self.flush_is_open = False
            self.load.gate.release()
            self.die(0.3)
        else:
            self.die(0.02, 20, act=lambda: self.flush(connection, number))
            self.read_flush_replies(connection)
        connection.close()
        self.end_load()

    def flush(self, connection, number):
        after = [b"flushed/%d" % i for i in range(3)]
        self.flushed.send(dict.fromkeys(self.flushed.view))
        for key in after:
            self.flushed.send({key: (number, 0)})
        connection.send([("FLUSHDB",)] + [("SET", key, number) for key in after])

    def read_flush_replies(self, connection):
        try:
            while self.flushed.flight:
                self.read_flush_reply(connection)
        except OSError:
            if not self.load.ending.is_set():
                raise

    def read_flush_reply(self, connection):
        said = connection.read()
        if said != b"+OK":
            raise Failed("FLUSHDB or SET: %r" % said)
        self.flushed.acknowledge()

    def die_stopping(self):
        """Asked to end under load, killed while it does: the index is being
        written, the mount taken away."""
        self.begin_load()
        time.sleep(self.chance.uniform(0, 0.1))
        self.asked = True
        self.die(0.06, 40, act=lambda: self.server.process.send_signal(signal.SIGTERM))
        self.end_load()

    def die_starting(self):
        """Killed before it answers, maybe more than once."""
        for _ in range(self.chance.randint(1, 3)):
            self.deal_with_dead_mount()
            self.server = self.spare_server()
            self.server.port = harness.free_port()
            if self.mount and not harness.is_mounted(self.mount):
                os.makedirs(self.mount, exist_ok=True)
            if self.shim:
                call = self.chance.randint(0, 8)
                self.shim.tell(last_call=call, how=self.chance.randrange(3))
            self.server.spawn()
            time.sleep(self.chance.uniform(0, 1.1 * self.start_s))
            self.server.process.kill()
            if self.server.wait() != -signal.SIGKILL:
                raise Failed("no start\n" + self.server.output()[-4000:])
            self.kills += 1
            self.check()

    # All of it.

    def ways(self):
        ways = [self.die_under_load] * 8 + [self.die_stopping] * 2 + [self.die_emptied] * 2
        if b"bgrewriteaof" in self.commands:
            ways += [self.die_in_rewrite] * 5
        if b"bgsave" in self.commands:
            ways += [self.die_in_save] * 2
        return ways

    def cycle(self):
        self.start()
        self.verify()
        if os.path.getsize(os.path.join(self.data, "db.toon")) > LOG_MAX:
            self.die_emptied()
        else:
            self.chance.choice(self.ways())()
        self.check()
        if self.chance.random() < 0.15:
            self.die_starting()

    def finish(self):
        """Twice, the second time by the index of a clean end."""
        for _ in range(2):
            self.start()
            self.verify()
            if self.server.stop() != 0:
                raise Failed("SIGTERM: not 0\n" + self.server.output()[-4000:])
            self.check()
        output = self.server.output()
        if harness.SANITIZER_REPORT.search(output):
            raise Failed(output[-20000:])

    def clean_up(self, keep):
        if self.server is not None and self.server.running():
            self.load.ending.set()
            self.server.kill()
        self.load.stopped.set()
        harness.unmount_below(self.dir)
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)


def torture(options):
    killing = Killing(options.seed, not options.no_mount and not harness.fuse_missing())
    failure = None
    end = time.monotonic() + options.seconds if options.seconds else None
    try:
        while time.monotonic() < end if end else killing.kills < options.cycles:
            killing.cycle()
        killing.finish()
    except (Failed, AssertionError, harness.StartFailed, redis.exceptions.RedisError) as error:
        failure = error
    finally:
        killing.clean_up(keep=failure is not None)
    lost = sum(finding.kind == kill_model.Finding.LOST for finding in killing.findings)
    print(LINE % (killing.kills, lost))
    if failure is None:
        return 0
    for finding in killing.findings[:50]:
        print(finding, file=sys.stderr)
    print("%s: %s" % (type(failure).__name__, failure), file=sys.stderr)
    print("seed %d; kept: %s" % (options.seed, killing.dir), file=sys.stderr)
    return 1


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n")[2][7:])
    parser.add_argument("--cycles", type=int, default=CYCLES)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--no-mount", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print("seed %d" % options.seed, file=sys.stderr)
    return torture(options)


if __name__ == "__main__":
    sys.exit(main())
