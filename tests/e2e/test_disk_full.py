"""A disk without space: writers are told, readers served, removals go on,
nothing that was acknowledged is lost, and space that comes back is used.

The disk is a tmpfs of a few MiB, which only root can mount."""

import errno
import os
import random
import subprocess
import threading
import time
import unittest

import redis

import harness

DISK_MB = 8 if harness.SMALL else 32
MB = 1 << 20
NO_SPACE = "no space left"


def text_of(name, size):
    """What a key of this name is set to."""
    return b"%s " % name.encode() + b"x" * size


class Filler(threading.Thread):
    """Sets keys until it is refused. `there` is what was acknowledged."""

    def __init__(self, server, name, size):
        super().__init__(daemon=True)
        self.client = server.client()
        self.name = name
        self.size = size
        self.there = {}
        self.refused = []
        self.told = set()

    def run(self):
        number = 0
        while not self.refused:
            pipe = self.client.pipeline(transaction=False)
            names = ["%s:%d" % (self.name, number + i) for i in range(8)]
            number += 8
            for name in names:
                pipe.set(name, text_of(name, self.size))
            for name, said in zip(names, pipe.execute(raise_on_error=False)):
                if said is True:
                    self.there[name] = text_of(name, self.size)
                else:
                    self.refused.append(name)
                    self.told.add(str(said))
        self.client.close()


class Overwriter(threading.Thread):
    """Overwrites ten keys of its own, each change until it is taken."""

    def __init__(self, server, seed, size, changes):
        super().__init__(daemon=True)
        self.client = server.client()
        self.seed = seed
        self.size = size
        self.changes = changes
        self.there = {}
        self.failure = None

    def change(self, name, value):
        try:
            return self.client.set(name, value)
        except redis.ResponseError as error:
            if NO_SPACE not in str(error):
                raise
            return None

    def run(self):
        chance = random.Random(self.seed)
        try:
            for number in range(self.changes):
                name = "writer%d:%d" % (self.seed, chance.randrange(10))
                size = self.size * chance.randrange(50, 101) // 100
                value = text_of(name, size) + b"%d" % number
                harness.wait_until(
                    lambda: self.change(name, value), "room to be made"
                )
                self.there[name] = value
        except Exception as error:  # shown by who joins
            self.failure = error
        self.client.close()


class FullTest(harness.StoreTest):
    def fill(self, server, size=10000, name="fill"):
        """Several clients at once; what is there then, and what is not."""
        fillers = [Filler(server, name + str(i), size) for i in range(3)]
        for filler in fillers:
            filler.start()
        there, refused = {}, []
        for filler in fillers:
            filler.join()
            there.update(filler.there)
            refused += filler.refused
            for told in filler.told:
                self.assertIn(NO_SPACE, told)
        self.assertTrue(refused)
        return there, refused

    def compactions(self, server):
        """What changes whenever one begins or ends."""
        with server.client() as client:
            info = client.info("everything")
        return info["compactions"], info["aof_rewrite_in_progress"], server.output()

    def fill_half(self, server, there):
        """Who is refused before half of the disk is used is so by a compaction
        that runs beside, and may go on behind it."""

        def quiet():
            found = self.compactions(server)
            return None if found[1] else found

        number = 0
        while len(there) * 10000 <= DISK_MB * MB // 2:
            before = harness.wait_until(quiet, "the compaction to end")
            more, _ = self.fill(server, name="more%d:" % number)
            there.update(more)
            number += 1
            if len(there) * 10000 <= DISK_MB * MB // 2:
                self.assertNotEqual(self.compactions(server), before)

    def assert_there(self, server, there, refused=()):
        with server.client() as client:
            names = sorted(there)
            for start in range(0, len(names), 100):
                part = names[start : start + 100]
                for name, value in zip(part, client.mget(part)):
                    self.assertEqual(value, there[name], name)
            for name in refused:
                self.assertIsNone(client.get(name), name)

    def assert_refused(self, client, *words):
        with self.subTest(words[0]):
            with self.assertRaisesRegex(redis.ResponseError, NO_SPACE):
                client.execute_command(*words)

    def assert_refused_at_most_for_a_while(self, client, *words):
        def try_it():
            try:
                return client.execute_command(*words)
            except redis.ResponseError as error:
                self.assertIn(NO_SPACE, str(error))
            return None

        harness.wait_until(try_it, "room to be made")

    def assert_no_space(self, call, *arguments):
        with self.assertRaises(OSError) as caught:
            call(*arguments)
        self.assertEqual(caught.exception.errno, errno.ENOSPC)

    def remove_some(self, client, there, count):
        for name in sorted(there)[:count]:
            self.assertEqual(client.delete(name), 1)
            del there[name]

    def check(self, server):
        harness.run(harness.TST, "check", server.data)


@harness.needs_root
class SmallDisk(FullTest):
    def setUp(self):
        super().setUp()
        self.disk = self.path("disk")
        os.mkdir(self.disk)
        words = ["mount", "-t", "tmpfs", "-o", "size=%dm" % DISK_MB, "toon", self.disk]
        done = subprocess.run(words, stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            self.skipTest("no tmpfs here: " + harness.tail(done.stderr))

    def small_server(self, *args, mount=False, start=True):
        server = self.server(mount=mount, start=False, data="disk/data", args=args)
        server.log = self.path("stderr")  # not on that disk
        return server.start() if start else server

    def occupy(self):
        """Somebody else's file takes all that is left, also when a compaction
        gives something back meanwhile."""
        path = os.path.join(self.disk, "occupied")

        def take():
            with open(path, "ab", 0) as file:
                for size in (65536, 4096):
                    try:
                        while file.write(b"z" * size):
                            pass
                    except OSError as error:
                        self.assertEqual(error.errno, errno.ENOSPC)
            return os.statvfs(self.disk).f_bavail == 0

        harness.wait_until(take, "the disk to be full")
        return path

    def test_writers_are_told_and_nothing_is_changed(self):
        server = self.small_server()
        there, refused = self.fill(server)
        name = min(there)
        with server.client() as client:
            for words in (
                ("SET", name, "x" * 20000),
                ("APPEND", name, "x" * 20000),
                ("MSET", name, "x" * 10000, "other", "x" * 10000),
                ("SETRANGE", name, "0", "x" * 20000),
            ):
                self.assert_refused(client, *words)
            self.assertIsNone(client.get("other"))
            self.assertEqual(client.info("persistence")["aof_last_write_status"], "ok")
        self.assert_there(server, there, refused)
        self.stop(server)

    def test_small_changes_are_refused_before_removals_are(self):
        server = self.small_server()
        there, _ = self.fill(server)
        with server.client() as client:
            with self.assertRaisesRegex(redis.ResponseError, NO_SPACE):
                for number in range(10**6):
                    client.set("small:%d" % number, "x")
                    there["small:%d" % number] = b"x"
            self.assert_refused(client, "SET", "another", "small one")
            self.assert_refused(client, "EXPIRE", min(there), "100")
            self.assert_refused(client, "RENAME", min(there), "other")
            self.assert_refused(client, "APPEND", min(there), "more")
            self.remove_some(client, there, 500)
            self.assertEqual(client.execute_command("PEXPIREAT", min(there), 1), 1)
            del there[min(there)]
            self.assertTrue(client.save())
        self.assert_there(server, there)
        server.kill()
        self.check(server)
        server.start()
        self.assert_there(server, there)
        with server.client() as client:
            self.assertEqual(client.dbsize(), len(there))

    @harness.needs_fuse
    def test_the_mount_says_enospc_and_shows_what_is_there(self):
        server = self.small_server(mount=True)

        def at(name):
            return os.path.join(server.mount, name)

        harness.write_file(at("old"), b"old")
        spare = os.path.join(self.disk, "spare")
        harness.write_file(spare, b"z" * 2 * MB)
        there, _ = self.fill(server)
        written = {}
        try:
            for number in range(1000):
                harness.write_file(at("file%d" % number), b"y" * 3000)
                written["file%d" % number] = b"y" * 3000
        except OSError as error:
            self.assertEqual(error.errno, errno.ENOSPC)
        self.assertLess(len(written), 1000)
        for mode in ("wb", "ab", "r+b"):
            self.assert_no_space(harness.write_file, at("old"), b"new" * 2000, mode)
        self.assert_no_space(harness.write_file, at("new"), b"new" * 2000)
        os.unlink(spare)
        for name in ("old", "new"):
            self.assert_no_space(harness.write_file, at(name), b"n" * DISK_MB * MB)
        # What has no room does not leave half of it behind.
        self.assertEqual(harness.read_file(at("old")), b"old")
        self.assertFalse(os.path.exists(at("new")))
        for name, text in written.items():
            self.assertEqual(harness.read_file(at(name)), text)
        for name in sorted(there)[:100]:
            self.assertEqual(harness.read_file(at(name)), there[name])
            os.unlink(at(name))
            del there[name]
        there.update(written, old=b"old")
        self.assert_there(server, there)
        names = set(os.listdir(server.mount))
        self.assertEqual(names, set(there))
        self.stop(server)
        server.start()
        self.assert_there(server, there)

    @harness.needs_fuse
    def test_flushdb_gives_the_space_back_whatever_was_used_up(self):
        server = self.small_server(mount=True)
        there, _ = self.fill(server, 2000)
        self.stop(server)
        occupied = self.occupy()
        server.start()
        with server.client() as client:
            with self.assertRaisesRegex(redis.ResponseError, NO_SPACE):
                for name in sorted(there):
                    client.delete(name)
            self.assertTrue(client.flushdb())
            self.assertEqual(client.dbsize(), 0)
            os.unlink(occupied)
            self.assert_refused_at_most_for_a_while(client, "SET", "key", b"x" * MB)
        path = os.path.join(server.mount, "file")
        harness.write_file(path, b"y" * MB)
        self.assertEqual(harness.read_file(path), b"y" * MB)
        self.fill_half(server, {})
        self.stop(server)

    def test_what_was_removed_makes_room_by_itself(self):
        server = self.small_server()
        there, _ = self.fill(server)
        with server.client() as client:
            self.remove_some(client, there, len(there) * 9 // 10)
            self.assert_refused_at_most_for_a_while(client, "SET", "big", b"x" * MB)
            there["big"] = b"x" * MB
            self.assertGreater(client.info("toonstore")["compactions"], 0)
        self.assert_there(server, there)
        self.fill_half(server, there)
        self.assert_there(server, there)
        self.stop(server)
        self.check(server)

    def test_nothing_that_is_removed_is_refused(self):
        """However often a compaction finds no room meanwhile."""
        server = self.small_server()
        there, _ = self.fill(server, 1000)
        self.occupy()
        with server.client() as client:
            self.assert_refused(client, "SET", "more", "x" * MB)
            self.remove_some(client, there, len(there))
            self.assertEqual(client.dbsize(), 0)
        self.stop(server)
        self.check(server)

    def test_overwriting_goes_on_for_longer_than_the_disk(self):
        server = self.small_server()
        there = {}
        with server.client() as client:
            for number in range(3 * DISK_MB * MB // 10000):
                name = "key%d" % (number % 20)
                value = text_of(name, 10000) + b"%d" % number
                self.assert_refused_at_most_for_a_while(client, "SET", name, value)
                there[name] = value
        self.assert_there(server, there)
        server.kill()
        self.check(server)
        server.start()
        self.assert_there(server, there)

    def overwrite_a_third(self, server, rounds):
        size = DISK_MB * MB // 18
        there = {}
        refused = 0
        with server.client() as client:
            for number in range(rounds):
                name = "key%d" % (number % 6)
                value = text_of(name, size) + b"%d" % number

                def try_it(name=name, value=value):
                    nonlocal refused
                    try:
                        return client.set(name, value)
                    except redis.ResponseError as error:
                        self.assertIn(NO_SPACE, str(error))
                        refused += 1
                    return None

                harness.wait_until(try_it, "room to be made")
                there[name] = value
            self.assertGreater(client.info("toonstore")["compactions"], 0)
        self.assert_there(server, there)
        return refused

    def test_a_third_of_the_disk_is_overwritten_for_longer_than_it(self):
        server = self.small_server()
        self.overwrite_a_third(server, 60 if harness.SMALL else 600)
        self.stop(server)
        self.check(server)

    def overwrite_by_several(self, server, percent):
        """A part of the disk, by values of all sizes: what is live grows and
        shrinks while compactions begin, end and give their space back."""
        size = DISK_MB * MB * percent // 100 // 40
        changes = 100 if harness.SMALL else 2000
        writers = [Overwriter(server, seed, size, changes) for seed in range(4)]
        for writer in writers:
            writer.start()
        there = {}
        for writer in writers:
            writer.join()
            self.assertEqual(writer.failure, None)
            there.update(writer.there)
        self.assert_there(server, there)
        self.stop(server)
        self.check(server)

    def test_a_third_is_overwritten_by_several_with_values_of_all_sizes(self):
        self.overwrite_by_several(self.small_server(), 38)

    @harness.needs_shim
    def test_so_it_is_where_no_blocks_can_be_reserved(self):
        server = self.small_server(start=False)
        shim = harness.DiskShim(self.path("shim"), self.disk)
        shim.tell(no_blocks=1)
        server.env = shim.env
        self.overwrite_by_several(server.start(), 38)

    def test_large_values_beside_others_are_overwritten(self):
        """One change makes little garbage much: it is not refused for want of
        a compaction that nobody sees a reason for."""
        for size in (DISK_MB * MB // 32, DISK_MB * MB // 21):
            server = self.small_server()
            part = DISK_MB * MB // 67
            with server.client() as client:
                for number in range(24):
                    client.set("other%d" % number, text_of("other", part))
                for number in range(10 if harness.SMALL else 40):
                    value = b"%d " % number * (size // 4)
                    self.assert_refused_at_most_for_a_while(
                        client, "SET", "large", value[:size]
                    )
                client.flushall()
            self.stop(server)

    def test_a_small_store_max_is_overwritten_for_longer_than_it(self):
        server = self.small_server("--store-max", "%dmb" % (DISK_MB // 4))
        there = {}
        with server.client() as client:
            for number in range(DISK_MB * 200):
                name = "key%d" % (number % 20)
                there[name] = text_of(name, 10000) + b"%d" % number
                self.assert_refused_at_most_for_a_while(client, "SET", name, there[name])
        self.assert_there(server, there)
        self.stop(server)
        self.check(server)

    @harness.needs_fuse
    def test_files_are_overwritten_for_longer_than_the_disk(self):
        for args in ((), ("--store-max", "%dmb" % (DISK_MB // 2))):
            # Compacted for want of room alone.
            args += ("--compact-garbage", "100")
            server = self.small_server(*args, mount=True)
            path = os.path.join(server.mount, "file")
            refused = 0

            def write(value):
                nonlocal refused
                try:
                    harness.write_file(path, value)
                except OSError as error:
                    self.assertEqual(error.errno, errno.ENOSPC)
                    refused += 1
                    return False
                return True

            for number in range(DISK_MB * 4):
                value = b"%d " % number * (MB // 8)
                harness.wait_until(lambda: write(value), "room to be made")
                self.assertEqual(harness.read_file(path), value)
            with server.client() as client:
                self.assertGreater(client.info("toonstore")["compactions"], 0)
                self.assertGreater(refused, 0)
                self.assertTrue(client.flushdb())
            self.stop(server)

    def test_killed_while_room_is_made_nothing_is_lost(self):
        server = self.small_server("--compact-rate", "8mb")
        there, _ = self.fill(server)
        with server.client() as client:
            self.remove_some(client, there, len(there) * 6 // 10)
        for life in range(3 if harness.SMALL else 6):
            with server.client() as client:
                with self.assertRaisesRegex(redis.ResponseError, NO_SPACE):
                    for number in range(10**6):
                        name = "life%d:%d" % (life, number)
                        client.set(name, text_of(name, 10000))
                        there[name] = text_of(name, 10000)
            time.sleep(life * 0.01)
            server.kill()
            self.check(server)
            server.start()
            self.assert_there(server, there)

    def test_a_compaction_without_room_leaves_all_as_it_was(self):
        server = self.small_server()
        there, _ = self.fill(server)
        with server.client() as client:
            client.bgrewriteaof()

            def ended():
                info = client.info("everything")
                return not info["aof_rewrite_in_progress"] and info

            info = harness.wait_until(ended, "the compaction to end")
            self.assertEqual(info["aof_last_bgrewrite_status"], "err")
            self.assertIn(NO_SPACE, info["compact_last_result"])
            self.assertEqual(info["read_only"], 0)
            self.remove_some(client, there, 20)
        self.assertNotIn("db.toon.compact", os.listdir(server.data))
        self.assert_there(server, there)
        self.stop(server)

    def test_killed_on_a_full_disk_it_opens_and_goes_on_serving(self):
        server = self.small_server("--appendfsync", "always")
        there, refused = self.fill(server)
        for _ in range(3):
            server.kill()
            self.check(server)
            server.start()
            self.assert_there(server, there, refused)
            with server.client() as client:
                self.remove_some(client, there, 30)
                self.assert_refused(client, "SET", "more", "x" * 100000)
        self.stop(server)
        self.check(server)
        server.start()
        self.assert_there(server, there, refused)

    def test_a_store_is_compacted_on_another_disk_as_the_readme_says(self):
        server = self.small_server("--compact-garbage", "100")
        there, refused = self.fill(server)
        with server.client() as client:
            self.remove_some(client, there, len(there) // 2)
        self.occupy()
        self.stop(server)
        size = os.path.getsize(os.path.join(server.data, "db.toon"))
        other = self.path("other")
        for command in (["copy", server.data], ["compact"], ["check"]):
            harness.run(harness.TST, *command, other)
        for name in ("db.toon", "db.toon.idx"):
            path = os.path.join(server.data, name)
            if os.path.exists(path):
                os.remove(path)
        harness.run(harness.TST, "copy", other, server.data)
        self.assertLess(os.path.getsize(os.path.join(server.data, "db.toon")), size)
        server.start()
        self.assert_there(server, there, refused)
        with server.client() as client:
            self.assertTrue(client.set("more", "x" * 100000))
        self.stop(server)

    def test_somebody_elses_file_is_no_lasting_harm(self):
        server = self.small_server()
        with server.client() as client:
            there = {"key%d" % i: text_of("key%d" % i, 5000) for i in range(500)}
            client.mset(there)
            path = self.occupy()
            filled, refused = self.fill(server)
            there.update(filled)
            self.assert_there(server, there, refused)
            self.remove_some(client, there, 100)
            os.unlink(path)
            for number in range(100):
                name = "later%d" % number
                there[name] = text_of(name, 10000)
                self.assert_refused_at_most_for_a_while(client, "SET", name, there[name])
        self.assert_there(server, there)
        self.stop(server)

    def test_without_one_free_byte_it_opens_serves_and_removes(self):
        server = self.small_server()
        with server.client() as client:
            there = {"key%d" % i: text_of("key%d" % i, 5000) for i in range(500)}
            client.mset(there)
        self.stop(server)
        path = self.occupy()
        for _ in range(2):
            server.start()
            self.assert_there(server, there)
            self.stop(server)
            self.occupy()
        server.start()
        with server.client() as client:
            self.assert_refused(client, "SET", "more", "x" * 10000)
            self.remove_some(client, there, 100)
            server.kill()
            server.start()
            self.assert_there(server, there)
        with server.client() as client:
            self.assertTrue(client.flushdb())
            os.unlink(path)
            self.assert_refused_at_most_for_a_while(client, "SET", "more", "x" * 10000)
        self.stop(server)

    def test_without_one_free_byte_a_torn_end_is_cut_all_the_same(self):
        server = self.small_server()
        with server.client() as client:
            client.mset({"key%d" % i: "value" for i in range(100)})
        server.kill()
        log = os.path.join(server.data, "db.toon")
        with open(log, "ab", 0) as file:
            file.write(b'torn[4]: "and no')
        self.occupy()
        server.start()
        with server.client() as client:
            self.assertEqual(client.dbsize(), 100)
        self.assertIn("torn by a crash", server.output())
        self.stop(server)
        self.check(server)


class StoreMax(FullTest):
    @harness.needs_fuse
    def test_it_is_a_full_disk_that_removals_pass(self):
        server = self.server(mount=True, args=("--store-max", "4mb"))
        there, refused = self.fill(server)
        self.assertLess(os.path.getsize(os.path.join(server.data, "db.toon")), 4 * MB)
        self.assert_there(server, there, refused)
        path = os.path.join(server.mount, "file")
        self.assert_no_space(harness.write_file, path, b"y" * 20000)
        self.assertFalse(os.path.exists(path))
        with server.client() as client:
            self.assert_refused(client, "SET", "more", "x" * 20000)
            self.remove_some(client, there, len(there))
            self.assertEqual(client.dbsize(), 0)
            self.assert_refused_at_most_for_a_while(client, "SET", "k", "x" * 20000)
        harness.write_file(path, b"y" * 20000)
        self.stop(server)


if __name__ == "__main__":
    unittest.main(verbosity=2)
