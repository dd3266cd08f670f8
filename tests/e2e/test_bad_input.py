"""Damaged files, foreign files, second servers, full disks, values too large:
each gets its error, nothing else is harmed."""

import errno
import hashlib
import os
import random
import re
import shutil
import signal
import unittest

import redis

import harness


class DamagedFiles(harness.StoreTest):
    """A store of twenty keys, stopped, then changed on disk."""

    def setUp(self):
        super().setUp()
        self.store = self.server()
        with self.store.client() as client:
            for number in range(10):
                client.set("early:%d" % number, "first value %d" % number)
            # What follows a sync starts with a mark: all above it is durable.
            client.save()
            for number in range(10):
                client.set("late:%d" % number, "second value %d" % number)
        self.stop(self.store)
        self.log = self.path("data", "db.toon")
        self.index = self.path("data", "db.toon.idx")

    def digest(self):
        return {
            name: hashlib.sha256(harness.read_file(self.path("data", name))).digest()
            for name in ("db.toon", "db.toon.idx")
            if os.path.exists(self.path("data", name))
        }

    def flip(self, where, path=None):
        """Inverts a bit of one byte: at an offset, or in the first place that
        holds the bytes given. Returns the offset."""
        path = path or self.log
        data = bytearray(harness.read_file(path))
        offset = where if isinstance(where, int) else data.index(where)
        data[offset] ^= 1
        harness.write_file(path, data)
        return offset

    def assert_refused(self, *words):
        """tstd does not start, says the words, exits with an error and has
        written nothing."""
        before = self.digest()
        with self.assertRaises(harness.StartFailed) as caught:
            self.store.start()
        self.assertGreater(caught.exception.status, 0)
        for word in words:
            self.assertIn(word, caught.exception.output)
        self.assertEqual(self.digest(), before)

    def assert_all_there(self, but=()):
        with self.store.client() as client:
            for number in range(10):
                for key, value in (("early", b"first"), ("late", b"second")):
                    key = "%s:%d" % (key, number)
                    if key not in but:
                        expected = value + b" value %d" % number
                        self.assertEqual(client.get(key), expected)

    def test_a_damaged_value_is_an_error_for_its_key_alone(self):
        self.flip(b"first value 3")
        self.store.start()
        with self.store.client() as client:
            with self.assertRaises(redis.ResponseError):
                client.get("early:3")
            self.assert_all_there(but=("early:3",))
            client.set("early:3", "mended")
            self.assertEqual(client.get("early:3"), b"mended")

    @harness.needs_fuse
    def test_a_damaged_value_is_eio_on_the_mount(self):
        self.flip(b"first value 3")
        server = self.server(mount=True)
        with self.assertRaises(OSError) as caught:
            harness.read_file(os.path.join(server.mount, "early:3"))
        self.assertEqual(caught.exception.errno, errno.EIO)
        found = harness.read_file(os.path.join(server.mount, "early:4"))
        self.assertEqual(found, b"first value 4")

    def test_damage_met_while_opening_is_refused_with_its_offset(self):
        os.remove(self.index)
        offset = self.flip(b"first value 3")
        line = harness.read_file(self.log).rfind(b"\n", 0, offset) + 1
        self.assert_refused("db.toon", str(line))

    def test_a_log_shorter_than_its_durable_length_is_refused(self):
        size = os.path.getsize(self.log)
        os.truncate(self.log, size - 30)
        self.assert_refused("db.toon")

    def forget_row_count(self):
        """A store that was killed has not counted its rows in the header."""
        with open(self.log, "r+b") as log:
            log.seek(12)
            log.write(bytes(4))

    def test_a_torn_tail_is_cut_and_kept_beside_the_log(self):
        os.remove(self.index)
        torn = harness.read_file(self.log)
        keep = torn.rindex(b'"late:9"')
        size = torn.index(b"\n", keep) + 1  # without the mark behind it
        os.truncate(self.log, size - 5)
        self.forget_row_count()
        self.store.start()
        self.assert_all_there(but=("late:9",))
        with self.store.client() as client:
            self.assertIsNone(client.get("late:9"))
        beside = [n for n in os.listdir(self.store.data) if "torn" in n]
        self.assertEqual(len(beside), 1)
        kept = harness.read_file(self.path("data", beside[0]))
        self.assertIn(torn[keep : size - 5], kept)

    def test_an_index_of_garbage_or_none_is_built_again(self):
        for index in (b"", b"garbage", random.Random(5).randbytes(5000), None):
            if index is None:
                os.remove(self.index)
            else:
                harness.write_file(self.index, index)
            self.store.start()
            self.assert_all_there()
            self.stop(self.store)

    def test_a_damaged_index_is_built_again(self):
        for offset in range(0, os.path.getsize(self.index), 97):
            self.flip(offset, self.index)
            self.store.start()
            self.assert_all_there()
            self.stop(self.store)

    def test_a_foreign_file_is_refused_and_untouched(self):
        log = harness.read_file(self.log)
        foreign = {
            "wrong magic": b"SQLite f" + log[8:],
            "unknown version": log[:8] + b"\x09\0\0\0" + log[12:],
            "shorter than a header": log[:10],
            "damaged first line": log[:40] + b"#" + log[41:],
            "somebody's text": b"hello\n" * 10,
        }
        for what, data in foreign.items():
            with self.subTest(what):
                harness.write_file(self.log, data)
                self.assert_refused("db.toon")

    def test_a_store_of_the_ancestor_is_not_taken_for_ours(self):
        ancestor = os.path.join(harness.ROOT, "tests", "data", "ancestor-v1")
        shutil.rmtree(self.store.data)
        shutil.copytree(ancestor, self.store.data)
        self.assert_refused("db.toon")


class Starts(harness.StoreTest):
    def test_what_cannot_be_meant_is_refused_in_words(self):
        for words, text in (
            (["--mount-options", "ro"], "add --mount DIR"),
            (["--unixsocket", self.path("no", "s")], "directory does not exist"),
        ):
            server = self.server(start=False, args=words)
            with self.assertRaisesRegex(harness.StartFailed, text):
                server.start()

    def test_help_is_given_by_both_its_names(self):
        helps = [harness.run(harness.TSTD, word).stdout for word in ("-h", "--help")]
        self.assertEqual(*helps)
        self.assertIn(b"--mount-options", helps[0])


class SecondServer(harness.StoreTest):
    def test_a_second_server_is_told_the_directory_and_the_pid(self):
        first = self.server()
        second = self.server(start=False)
        with self.assertRaises(harness.StartFailed) as caught:
            second.start()
        self.assertGreater(caught.exception.status, 0)
        self.assertIn(first.data, caught.exception.output)
        self.assertIn(str(first.process.pid), caught.exception.output)
        with first.client() as client:
            self.assertTrue(client.set("still", "served"))

    def test_the_lock_of_a_killed_server_is_free(self):
        first = self.server()
        first.kill()
        self.server()

    def test_a_port_in_use_is_an_error_and_leaves_no_mount(self):
        first = self.server()
        command = [harness.TSTD, "--port", first.port, "--data", self.path("other")]
        command += [] if harness.fuse_missing() else ["--mount", self.path("mnt")]
        os.mkdir(self.path("mnt"))
        done = harness.run(*command, check=False)
        self.assertGreater(done.returncode, 0)
        self.assertIn(str(first.port).encode(), done.stderr)
        self.assertEqual(harness.mounts_below(self.dir), [])


class Limits(harness.StoreTest):
    def test_a_value_one_byte_too_large_changes_nothing(self):
        server = self.server(args=("--value-max", "4096"))
        with server.client() as client:
            self.assertTrue(client.set("key", b"x" * 4096))
            limit = "exceeds maximum allowed size .value-max, 4096 bytes"
            with self.assertRaisesRegex(redis.ResponseError, limit):
                client.set("key", b"y" * 4097)
            with self.assertRaisesRegex(redis.ResponseError, limit):
                client.append("key", b"y")
            with self.assertRaisesRegex(redis.ResponseError, limit):
                client.setrange("key", 4096, b"y")
            self.assertEqual(client.get("key"), b"x" * 4096)

    @harness.needs_fuse
    def test_a_file_one_byte_too_large_is_efbig(self):
        server = self.server(mount=True, args=("--value-max", "4096"))
        path = os.path.join(server.mount, "file")
        harness.write_file(path, b"x" * 4096)
        with self.assertRaises(OSError) as caught:
            harness.write_file(path, b"y" * 4097, "r+b")
        self.assertEqual(caught.exception.errno, errno.EFBIG)
        with self.assertRaises(OSError) as caught:
            os.truncate(path, 4097)
        self.assertEqual(caught.exception.errno, errno.EFBIG)
        with server.client() as client:
            self.assertEqual(client.strlen("file"), 4096)

    def test_keys_and_values_of_any_bytes_come_back(self):
        server = self.server()
        odd = [bytes([byte]) for byte in range(256)]
        odd += [b"", bytes(range(256)), b"\xff" * 1000, b"a\r\nb", b"x" * 65536]
        with server.client() as client:
            for key in odd:
                self.assertTrue(client.set(key, b"value of " + key))
            with self.assertRaises(redis.ResponseError):
                client.set(b"x" * 65537, b"value")
        server.kill()
        server.start()
        with server.client() as client:
            self.assertEqual(client.dbsize(), len(odd))
            for key in odd:
                self.assertEqual(client.get(key), b"value of " + key)


@harness.needs_root
class FullDisk(harness.StoreTest):
    def setUp(self):
        super().setUp()
        self.small = self.path("small")
        os.mkdir(self.small)
        options = ["-t", "tmpfs", "-o", "size=6m", "none", self.small]
        if harness.run("mount", *options, check=False).returncode != 0:
            self.skipTest("a tmpfs cannot be mounted here")

    def fill(self, client):
        """SETs until the store says no; how many it took."""
        for number in range(10000):
            try:
                client.set("fill:%d" % number, b"x" * 20000)
            except redis.ResponseError as error:
                self.assertRegex(str(error), re.compile("no space", re.I))
                return number
        raise AssertionError("a disk of 6 MiB took 200 MB")

    def assert_served(self, client, count):
        for number in range(count):
            self.assertEqual(client.strlen("fill:%d" % number), 20000)
        self.assertEqual(client.get("fill:0"), b"x" * 20000)

    def test_a_full_disk_refuses_writes_and_serves_reads(self):
        server = self.server(data="small/data")
        server.log = self.path("stderr")
        with server.client() as client:
            count = self.fill(client)
            self.assertGreater(count, 50)
            self.assert_served(client, count)
            with self.assertRaises(redis.ResponseError):
                client.mset({"fill:0": b"y" * 20000, "other": b"y" * 20000})
            self.assert_served(client, count)
            self.assertEqual(client.exists("other"), 0)
            self.assertEqual(client.delete("fill:1"), 1)
            self.assertEqual(client.exists("fill:1"), 0)
        server.kill()
        server.start()
        with server.client() as client:
            self.assertEqual(client.dbsize(), count - 1)
            self.assertEqual(client.get("fill:0"), b"x" * 20000)

    @harness.needs_fuse
    def test_a_full_disk_is_enospc_on_the_mount(self):
        server = self.server(mount=True, data="small/data")
        with server.client() as client:
            count = self.fill(client)
            with self.assertRaises(OSError) as caught:
                path = os.path.join(server.mount, "file")
                harness.write_file(path, b"z" * 200000)
            self.assertEqual(caught.exception.errno, errno.ENOSPC)
            found = harness.read_file(os.path.join(server.mount, "fill:0"))
            self.assertEqual(found, b"x" * 20000)
            os.remove(os.path.join(server.mount, "fill:1"))
            self.assertEqual(client.exists("fill:1"), 0)
            self.assertEqual(client.exists("fill:2"), 1)
            self.assertGreater(count, 2)

    def test_a_store_at_its_own_limit_refuses_too(self):
        args = ("--store-max", "1mb")
        server = self.server(data="small/data", args=args)
        with server.client() as client:
            count = self.fill(client)
            self.assertLess(count, 53)
            self.assert_served(client, count)
            self.assertEqual(client.delete("fill:0"), 1)


class Durability(harness.StoreTest):
    def test_every_policy_keeps_what_was_acknowledged_over_a_kill(self):
        for policy in ("always", "everysec", "no"):
            data = "data-" + policy
            server = self.server(data=data, args=("--appendfsync", policy))
            with server.client() as client:
                for number in range(200):
                    client.set("key:%d" % number, number)
            server.process.send_signal(signal.SIGKILL)
            server.wait()
            server.start()
            with server.client() as client:
                self.assertEqual(client.dbsize(), 200, policy)
            self.stop(server)


if __name__ == "__main__":
    unittest.main(verbosity=2)
