"""Compaction as users see it: what clients are told, what `tst` says, and
programs on the mount that notice nothing of it."""

import concurrent.futures
import ctypes
import itertools
import json
import mmap
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest

import redis

import harness

ROUNDS = 8 if harness.SMALL else 30
STARTED = b"+Background append only file rewriting started\r\n"
RUNNING = b"-ERR Background append only file rewriting already in progress\r\n"
MIB = 1 << 20


def overwrite(client, keys, times, size=1000):
    """Leaves `keys` live values under many dead ones."""
    pipe = client.pipeline(transaction=False)
    for turn in range(times):
        for number in range(keys):
            pipe.set("key:%d" % number, b"%d:%d " % (turn, number) * (size // 8))
        pipe.execute()


def ended(client):
    """How many compactions have ended, once none runs."""
    info = client.info("toonstore")
    return None if info["compacting"] else (info["compactions"], info)


def open_files(server):
    folder = "/proc/%d/fd" % server.process.pid
    return [os.readlink(os.path.join(folder, name)) for name in os.listdir(folder)]


def compact(server):
    """One whole compaction."""
    with server.client() as client:
        before = client.info("toonstore")["compactions"]
        client.execute_command("BGREWRITEAOF")
        harness.wait_until(
            lambda: client.info("toonstore")["compactions"] > before,
            "a compaction to end",
        )


# So that none begins by itself, in a build where stores are small, too.
ONLY_WHEN_TOLD = ("--compact-garbage", "100")


class Held(harness.StoreTest):
    """Clients that write faster than a compaction can make room wait, unread,
    in the server: nothing that they sent is lost. Slow builds may not be able
    to write so fast: there it is tried for a while."""

    WRITERS = 6
    KEYS = 25  # of each writer
    SIZE = 4000
    HELD = 50
    STORE_MAX = "24mb"
    SECONDS = 5  # of a slow build
    ROUNDS = 1 if harness.SMALL else 10

    def write(self, port, name, value):
        """Sends all and its end at once, then reads to the end."""
        requests = [["SET", "%s:%d" % (name, i), value] for i in range(self.KEYS)]
        with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
            wire.sendall(harness.pipe_bytes(requests))
            wire.shutdown(socket.SHUT_WR)
            with wire.makefile("rb") as replies:
                return replies.readlines()

    def flood(self, server, name, enough):
        """Returns what it was told that it wrote."""
        kept = {}
        for turn in itertools.count():
            if enough.is_set():
                return kept
            value = b"%d " % turn * (self.SIZE // 8)
            replies = self.write(server.port, name, value)
            self.assertEqual(len(replies), self.KEYS, replies[-1:])
            for i, reply in enumerate(replies):
                if reply == b"+OK\r\n":
                    kept[b"%s:%d" % (name.encode(), i)] = value
                else:
                    self.assertRegex(reply, b"^-ERR no space")

    def wait_until_held(self, server):
        end = time.monotonic() + self.SECONDS

        def held():
            info = client.info("toonstore")
            late = harness.SMALL and time.monotonic() > end
            return late or info["compact_held_writers"] > self.HELD

        with server.client() as client:
            harness.wait_until(held, "writers to be held")

    def flooded(self, server, meanwhile):
        """What `WRITERS` at once were told, until meanwhile() has returned."""
        enough = threading.Event()
        kept = {}
        with concurrent.futures.ThreadPoolExecutor(self.WRITERS) as pool:
            floods = [
                pool.submit(self.flood, server, "w%d" % number, enough)
                for number in range(self.WRITERS)
            ]
            try:
                meanwhile()
            finally:
                enough.set()
            for flood in floods:
                kept.update(flood.result())
        return kept

    def test_they_lose_nothing(self):
        server = self.server(args=("--store-max", self.STORE_MAX))
        kept = self.flooded(server, lambda: self.wait_until_held(server))
        self.assertEqual(harness.live_map(server), kept)
        server.kill()
        server.start()
        self.assertEqual(harness.live_map(server), kept)

    def ask_much_and_end(self, port):
        """More requests and replies than one turn takes, and no more input."""
        requests = [["SET", "big", b"v" * 100000]] + [["GET", "big"]] * 100
        requests += [["SET", "pad:%d" % i, b"p" * 3000] for i in range(21)]
        with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
            wire.sendall(harness.pipe_bytes(requests))
            wire.shutdown(socket.SHUT_WR)
            with wire.makefile("rb") as replies:
                found = replies.read().split(b"\r\n")
        done = [line for line in found if line[:1] in (b"+", b"-")]
        self.assertEqual(len(done), 22)
        self.assertEqual(found.count(b"$100000"), 100)

    def test_who_has_ended_is_still_answered(self):
        server = self.server(args=("--store-max", self.STORE_MAX))

        def ask():
            self.wait_until_held(server)
            for _ in range(self.ROUNDS):
                self.ask_much_and_end(server.port)

        with server.client() as client:
            client.set("big", b"v" * 100000)
        self.flooded(server, ask)

    def test_the_server_ends_meanwhile(self):
        server = self.server(args=("--store-max", self.STORE_MAX))

        ended = []

        def end():
            self.wait_until_held(server)
            self.stop(server)
            ended.append(True)

        # Who wrote then was cut off.
        with self.assertRaises((OSError, AssertionError)):
            self.flooded(server, end)
        self.assertEqual(ended, [True])
        harness.run(harness.TST, "check", server.data)


class Clients(harness.StoreTest):
    def server(self, args=ONLY_WHEN_TOLD, **options):
        return super().server(args=args, **options)

    def test_bgrewriteaof_gives_the_space_back_and_keeps_all(self):
        server = self.server()
        with server.client() as client:
            overwrite(client, 100, 20)
            client.append("key:3", "tail")
            client.expire("key:4", 1000)
            client.rename("key:5", "renamed")
            client.delete("key:6")
            before = harness.live_map(server)
            size = client.info("persistence")["aof_current_size"]
            started = server.cli("BGREWRITEAOF")
            self.assertEqual(started.strip(), STARTED[1:].strip())
            count, own = harness.wait_until(
                lambda: ended(client), "the compaction to end"
            )
            self.assertEqual(count, 1)
            info = client.info("persistence")
            self.assertEqual(info["aof_rewrite_in_progress"], 0)
            self.assertEqual(info["aof_last_bgrewrite_status"], "ok")
            self.assertGreaterEqual(info["aof_last_rewrite_time_sec"], 0)
            self.assertEqual(info["aof_current_rewrite_time_sec"], -1)
            self.assertLess(info["aof_current_size"], size // 10)
            self.assertLessEqual(info["aof_base_size"], info["aof_current_size"])
            self.assertLess(own["log_garbage_percent"], 5)
            self.assertEqual(own["compact_last_result"], "ok")
            self.assertLess(os.path.getsize(self.path("data", "db.toon")), size)
            self.assertEqual(harness.live_map(server), before)
            self.assertIn(client.ttl("key:4"), range(900, 1001))
        self.assertEqual([f for f in open_files(server) if "deleted" in f], [])
        server.kill()
        server.start()
        self.assertEqual(harness.live_map(server), before)
        self.stop(server)
        harness.run(harness.TST, "check", server.data)

    def test_one_runs_at_a_time(self):
        server = self.server()
        with server.client() as client:
            overwrite(client, 300, 20)
        requests = harness.pipe_bytes([["BGREWRITEAOF"]] * 20)
        with socket.create_connection(("127.0.0.1", server.port)) as wire:
            wire.sendall(requests)
            with wire.makefile("rb") as replies:
                first, *others = [replies.readline() for _ in range(20)]
        self.assertEqual(first, STARTED)
        self.assertIn(RUNNING, others)
        self.assertLessEqual(set(others), {STARTED, RUNNING})

    def test_an_empty_store_and_a_compacted_one_are_compacted_too(self):
        server = self.server()
        compact(server)
        with server.client() as client:
            client.set("a", "1")
        compact(server)
        compact(server)
        self.assertEqual(harness.live_map(server), {b"a": b"1"})

    def test_flushdb_ends_a_compaction_and_works(self):
        server = self.server()
        for turn in range(5):
            with server.client() as client:
                overwrite(client, 200, 10)
                pipe = client.pipeline(transaction=False)
                pipe.execute_command("BGREWRITEAOF")
                if turn % 2 == 0:
                    pipe.set("between", "1")
                pipe.flushdb()
                pipe.set("after", turn)
                pipe.execute()
                harness.wait_until(lambda: ended(client), "the end of it")
                found = harness.live_map(server)
                self.assertEqual(found, {b"after": b"%d" % turn})
                info = client.info("persistence")
                self.assertEqual(info["aof_last_bgrewrite_status"], "ok")
        server.kill()
        server.start()
        self.assertEqual(harness.live_map(server), {b"after": b"4"})
        self.assertNotIn("db.toon.compact", os.listdir(server.data))

    def test_a_stop_while_it_runs_keeps_all(self):
        server = self.server()
        for _ in range(3):
            with server.client() as client:
                overwrite(client, 300, 10)
                before = harness.live_map(server)
                client.execute_command("BGREWRITEAOF")
            self.stop(server)
            server.start()
            self.assertEqual(harness.live_map(server), before)

    def test_its_directives_change_while_it_runs(self):
        server = self.server(args=("--compact-garbage", "70"))
        with server.client() as client:
            found = client.config_get("compact-*")
            self.assertEqual(found["compact-garbage"], "70")
            self.assertEqual(found["compact-rate"], str(128 * MIB))
            client.config_set("compact-garbage", 100)
            client.config_set("compact-rate", "1mb")
            found = client.config_get("compact-*")
            self.assertEqual(found["compact-garbage"], "100")
            self.assertEqual(found["compact-rate"], str(MIB))
            for name, value in (("compact-garbage", 0), ("compact-garbage", 101)):
                with self.assertRaises(redis.ResponseError):
                    client.config_set(name, value)

    @unittest.skipIf(harness.SMALL, "writes 300 MB")
    def test_it_begins_by_itself_past_the_garbage_limit(self):
        server = self.server(args=("--appendfsync", "no", *ONLY_WHEN_TOLD))
        with server.client() as client:
            overwrite(client, 20, 15, size=MIB // 2)
            info = client.info("toonstore")
            self.assertGreater(info["log_garbage_percent"], 80)
            self.assertEqual((info["compactions"], info["compacting"]), (0, 0))
            client.config_set("compact-garbage", 50)
            client.config_set("compact-rate", 0)
            overwrite(client, 20, 2, size=MIB // 2)
            harness.wait_until(
                lambda: client.info("toonstore")["compactions"], "it to begin"
            )
            self.assertEqual(client.dbsize(), 20)

    def test_resetstat_sets_the_figures_of_clients_to_zero(self):
        server = self.server()
        with server.client() as client:
            client.set("a", "1")
            client.get("a")
            client.get("nosuch")
            client.config_resetstat()
            info = client.info("everything")
        for name in ("keyspace_hits", "keyspace_misses", "expired_keys"):
            self.assertEqual(info[name], 0, name)
        self.assertLess(info["total_commands_processed"], 5)
        # What the store is, is no figure of clients.
        self.assertEqual(info["log_rows"], 1)


class Tool(harness.StoreTest):
    def setUp(self):
        super().setUp()
        server = self.server(args=ONLY_WHEN_TOLD)
        with server.client() as client:
            overwrite(client, 50, 20)
        self.found = harness.live_map(server)
        self.stop(server)
        self.data = server.data

    def compact(self, *options, check=True):
        return harness.run(harness.TST, "compact", *options, self.data, check=check)

    def test_it_tells_what_it_gained(self):
        size = os.path.getsize(self.path("data", "db.toon"))
        stat = json.loads(harness.run(harness.TST, "stat", "--json", self.data).stdout)
        self.assertGreater(stat["garbage_percent"], 80)
        self.assertGreater(stat["dead_bytes"], stat["live_bytes"])
        self.assertGreater(stat["indexed_bytes"], stat["log_bytes"] - 100)
        told = json.loads(self.compact("--json").stdout)
        self.assertEqual(told["keys"], 50)
        self.assertEqual(told["rows_after"], 50)
        self.assertLess(told["bytes_after"], told["bytes_before"] // 10)
        self.assertEqual(
            told["bytes_gained"], told["bytes_before"] - told["bytes_after"]
        )
        self.assertLess(os.path.getsize(self.path("data", "db.toon")), size // 10)
        text = self.compact().stdout.decode()
        self.assertIn("compacted", text)
        self.assertIn("50 keys", text)
        self.assertEqual(self.compact("--quiet").stdout, b"")
        harness.run(harness.TST, "check", self.data)
        server = self.server()
        self.assertEqual(harness.live_map(server), self.found)

    def test_the_store_of_a_server_is_its_own_to_compact(self):
        server = self.server()
        done = self.compact(check=False)
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"redis-cli BGREWRITEAOF", done.stderr)
        self.assertIn(b"%d" % server.process.pid, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1)

    def test_damage_stops_it_and_changes_nothing(self):
        path = self.path("data", "db.toon")
        log = bytearray(harness.read_file(path))
        log[log.rindex(b"19:7 ") + 1] ^= 1
        harness.write_file(path, log)
        done = self.compact(check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(b"damaged", done.stderr)
        # Opening and closing may have noted how far it is durable.
        after = harness.read_file(path)
        self.assertEqual(after[16 : len(log)], log[16:])
        self.assertNotIn("db.toon.compact", os.listdir(self.data))

    def test_an_interrupted_one_leaves_the_store_as_it_was(self):
        for _ in range(5):
            process = subprocess.Popen(
                [harness.TST, "compact", self.data],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            process.send_signal(signal.SIGKILL)
            process.wait()
        harness.run(harness.TST, "check", self.data)
        server = self.server(args=ONLY_WHEN_TOLD)
        self.assertEqual(harness.live_map(server), self.found)
        self.assertNotIn("db.toon.compact", os.listdir(self.data))


# ------------------------------------------------------------------ the mount


def stat_from_the_mount(path):
    """(inode, size, mtime) past the kernel's cache of attributes."""
    libc = ctypes.CDLL(None, use_errno=True)
    at_cwd, force_sync, basic = -100, 0x2000, 0x7FF
    out = ctypes.create_string_buffer(256)
    if libc.statx(at_cwd, os.fsencode(path), force_sync, basic, out) != 0:
        raise OSError(ctypes.get_errno(), "statx", path)
    inode, size = struct.unpack_from("=QQ", out, 32)
    return inode, size, struct.unpack_from("=qI", out, 112)


@harness.needs_fuse
class Mount(harness.StoreTest):
    """Compactions one after another under whatever a test does."""

    def setUp(self):
        super().setUp()
        self.store = self.server(mount=True, args=ONLY_WHEN_TOLD)
        self.mnt = self.store.mount
        self.stopping = threading.Event()
        self.compactions = 0
        self.failure = None
        self.compactor = threading.Thread(target=self._compact_again_and_again)
        with self.store.client() as client:
            overwrite(client, 50, 4)
        self.compactor.start()
        self.addCleanup(self.end_compactions)

    def _compact_again_and_again(self):
        try:
            while not self.stopping.is_set():
                compact(self.store)
                self.compactions += 1
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def wait_for_compactions(self, more):
        target = self.compactions + more
        harness.wait_until(
            lambda: self.compactions >= target or self.failure, "compactions"
        )
        self.assertIsNone(self.failure)

    def end_compactions(self):
        self.stopping.set()
        self.compactor.join()
        self.assertIsNone(self.failure)

    def at(self, *names):
        return os.path.join(self.mnt, *names)

    def build_tree(self, files):
        top = self.path("source")
        for number in range(files):
            folder = os.path.join(top, "d%d" % (number % 7), "e%d" % (number % 3))
            os.makedirs(folder, exist_ok=True)
            data = b"%d\n" % number * (number * number % 5000)
            harness.write_file(os.path.join(folder, "f%d" % number), data)
        os.symlink("d1/e1", os.path.join(top, "link"))
        os.chmod(os.path.join(top, "d1", "e1", "f1"), 0o755)
        return top

    def test_trees_are_copied_packed_and_compared(self):
        top = self.build_tree(20 * ROUNDS)
        run = harness.run
        run("cp", "-rp", top, self.at("copy"))
        self.wait_for_compactions(2)
        run("diff", "-r", top, self.at("copy"))
        run("tar", "cf", self.path("a.tar"), "-C", self.at("copy"), ".")
        os.mkdir(self.at("unpacked"))
        run("tar", "xf", self.path("a.tar"), "-C", self.at("unpacked"))
        run("mv", self.at("copy"), self.at("moved"))
        run("cp", "-rp", self.at("moved"), self.at("again"))
        self.wait_for_compactions(2)
        for name in ("moved", "unpacked", "again"):
            run("diff", "-r", "--no-dereference", top, self.at(name))
        run("rm", "-r", self.at("moved"))
        self.assertEqual(
            sorted(n for n in os.listdir(self.mnt) if not n.startswith("key:")),
            ["again", "unpacked"],
        )

    @unittest.skipUnless(shutil.which("git"), "git is not installed")
    def test_git_works_in_it(self):
        top = self.build_tree(60)
        me = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
        run = harness.run
        run("git", "init", "-q", top)
        run("git", "-C", top, "add", ".")
        run("git", "-C", top, *me, "commit", "-q", "-m", "one")
        run("git", "clone", "-q", "--no-hardlinks", top, self.at("clone"))
        for turn in range(ROUNDS // 4):
            harness.write_file(self.at("clone", "new%d" % turn), b"x\n" * turn)
            run("git", "-C", self.at("clone"), "add", ".")
            run("git", "-C", self.at("clone"), *me, "commit", "-q", "-m", "n")
            self.wait_for_compactions(1)
        status = run("git", "-C", self.at("clone"), "status", "--porcelain")
        self.assertEqual(status.stdout, b"")
        run("git", "-C", self.at("clone"), "fsck", "--strict")

    def test_lines_that_are_added_are_all_there(self):
        script = "for i in $(seq %d); do echo line $i >> log; done" % (ROUNDS * 10)
        done = harness.run("sh", "-c", script, cwd=self.mnt)
        self.assertEqual(done.stderr, b"")
        self.wait_for_compactions(1)
        expected = b"".join(b"line %d\n" % i for i in range(1, ROUNDS * 10 + 1))
        self.assertEqual(harness.read_file(self.at("log")), expected)
        with self.store.client() as client:
            self.assertEqual(client.get("log"), expected)

    def test_tail_follows_what_is_appended_from_both_sides(self):
        harness.write_file(self.at("log"), b"")
        with open(self.path("followed"), "wb") as out:
            tail = subprocess.Popen(
                ["tail", "-c", "+1", "-s", "0.02", "-f", self.at("log")],
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.addCleanup(tail.wait)
        self.addCleanup(tail.kill)
        expected = b""
        with self.store.client() as client:
            for number in range(ROUNDS):
                line = b"line %d\n" % number
                if number % 2:
                    client.append("log", line)
                else:
                    harness.write_file(self.at("log"), line, "ab")
                expected += line
                self.wait_for_compactions(number % 5 == 0)
        harness.wait_until(
            lambda: os.path.getsize(self.path("followed")) >= len(expected),
            "tail to follow",
        )
        self.assertEqual(harness.read_file(self.path("followed")), expected)

    def test_open_files_keep_what_they_have(self):
        first, second = b"first " * 5000, b"second " * 5000
        harness.write_file(self.at("read"), first)
        harness.write_file(self.at("mapped"), first)
        harness.write_file(self.at("written"), first)
        writer = open(self.at("written"), "r+b", buffering=0)
        reader = open(self.at("read"), "rb", buffering=0)
        self.addCleanup(reader.close)
        mapped_file = open(self.at("mapped"), "r+b")
        mapped = mmap.mmap(mapped_file.fileno(), 0)
        writer.write(second)
        for _ in range(3):
            self.wait_for_compactions(1)
            reader.seek(0)
            self.assertEqual(reader.read(), first)
            self.assertEqual(mapped[:], first)
            os.fstat(reader.fileno())
        with self.store.client() as client:
            client.set("read", second)
            self.wait_for_compactions(1)
            reader.seek(0)
            self.assertEqual(reader.read(), first)
            self.assertEqual(harness.read_file(self.at("read")), second)
            self.assertEqual(client.get("written"), first)
            writer.close()
            self.assertEqual(client.get("written"), second)
            mapped[:5] = b"FIRST"
            mapped.flush()
            mapped.close()
            mapped_file.close()
            self.assertEqual(client.get("mapped"), b"FIRST" + first[5:])

    def test_numbers_and_times_stay_and_nothing_is_told(self):
        for number in range(50):
            harness.write_file(self.at("file%d" % number), b"x" * number)
            # Twice in a millisecond: the time has digits below it.
            harness.write_file(self.at("file%d" % number), b"y" * number)
        paths = [self.at("file%d" % number) for number in range(50)]
        paths += [self.at("key:%d" % number) for number in range(50)]
        before = [stat_from_the_mount(path) for path in paths]
        told = self.notices()
        target = self.compactions + 5
        while self.compactions < target and self.failure is None:
            self.assertEqual([stat_from_the_mount(p) for p in paths], before)
        self.assertEqual([stat_from_the_mount(p) for p in paths], before)
        self.assertEqual(self.notices(), told)

    def notices(self):
        text = harness.read_file(self.at(".toonstore", "status")).decode()
        figures = dict(line.split(": ") for line in text.splitlines())
        return int(figures["notices_queued"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
