"""copy: stores that one process writes and others read, copy and back up.

`tst copy` and BGSAVE from outside, under load, interrupted, on full and on
read-only disks; and who is told what when a store is in use."""

import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest

import redis

import harness

DONE, NO, USAGE, HELD, FAILED = 0, 1, 2, 3, 4
BIG_MB = 8 if harness.SMALL else 24
NAME = re.compile(r"^\d{8}T\d{6}\.\d{3}Z$")


class PairWriter(threading.Thread):
    """Sets a pair of keys to one number, again and again, with much else in
    between: in every whole batch the two are equal."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.stopped = threading.Event()
        self.number = 0

    def run(self):
        with self.server.client() as client:
            while not self.stopped.is_set():
                self.number += 1
                number = str(self.number)
                with client.pipeline(transaction=False) as pipe:
                    for other in range(50):
                        pipe.set("other:%d" % (self.number * 50 + other), "x" * 100)
                        pipe.mset({"pair:a": number, "pair:b": number})
                    pipe.execute()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.join()


class CopyTest(harness.StoreTest):
    def tst(self, command, *words, code=DONE, **options):
        done = harness.run(harness.TST, command, *words, check=False, **options)
        self.assertEqual(done.returncode, code, (command, words, done))
        self.said = done.stderr.decode()
        return done.stdout

    def assert_sound(self, store):
        """Checks it, and returns its keys and values."""
        report = json.loads(self.tst("check", "--json", store))
        self.assertTrue(report["sound"])
        self.assertEqual((report["damaged"], report["torn_bytes"]), (0, 0))
        lines = self.tst("dump", store).splitlines()
        self.assertEqual(len(lines), report["live_keys"])
        return {found["key"]: found["value"] for found in map(json.loads, lines)}

    def assert_pairs(self, keys):
        self.assertEqual(keys.get("pair:a"), keys.get("pair:b"))
        return int(keys.get("pair:a", 0))

    def fill(self, server, mb):
        """Makes the log big, with few keys."""
        value = os.urandom(512 * 1024).hex()
        with server.client() as client:
            for i in range(mb):
                client.set("big:%d" % i, value)

    def tmpfs(self, size_mb):
        disk = self.path("disk")
        os.mkdir(disk)
        words = ["mount", "-t", "tmpfs", "-o", "size=%dm" % size_mb, "toon", disk]
        done = harness.run(*words, check=False)
        if done.returncode != 0:
            self.skipTest("no tmpfs here: " + harness.tail(done.stderr))
        return disk


class Copies(CopyTest):
    def test_a_copy_is_the_store_and_says_so(self):
        server = self.server()
        with server.client() as client:
            client.mset({"a": "1", "b": "2"})
            client.delete("b")
        out = self.tst("copy", server.data, self.path("copy"))
        self.assertIn(b"copied to " + self.path("copy").encode(), out)
        self.assertIn(b"1 key in 3 rows", out)
        self.assertEqual(self.assert_sound(self.path("copy")), {"a": "1"})
        report = json.loads(self.tst("copy", "-j", server.data, self.path("two")))
        self.assertEqual(
            (report["source"], report["copy"], report["keys"], report["rows"]),
            (server.data, self.path("two"), 1, 3),
        )
        self.assertEqual(report["bytes"], os.path.getsize(self.path("two", "db.toon")))
        self.assertEqual(
            self.tst("copy", "--quiet", server.data, self.path("three")), b""
        )
        copied = self.server(data="copy")
        with copied.client() as client:
            self.assertEqual(client.get("a"), b"1")

    def test_copies_under_load_are_of_one_moment(self):
        server = self.server()
        last = 0
        with PairWriter(server):
            for i in range(6):
                copy = self.path("copy%d" % i)
                if i % 3 == 2:
                    server.cli("BGREWRITEAOF")
                self.tst("copy", server.data, copy)
                number = self.assert_pairs(self.assert_sound(copy))
                self.assertGreaterEqual(number, last)
                last = number
                shutil.rmtree(copy)
                if i == 3:
                    server.cli("FLUSHALL")
                    last = 0
        self.assertEqual(
            int(server.client().get("pair:a")), int(server.client().get("pair:b"))
        )

    def test_where_it_cannot_go_it_says_why(self):
        self.tst("set", self.path("data"), "k", "v")
        source = self.path("data")
        self.tst("copy", source, self.path("copy"))
        self.tst("copy", source, self.path("copy"), code=NO)
        self.assertIn("there is a store in " + self.path("copy"), self.said)
        self.tst("copy", source, source, code=NO)
        self.tst("copy", source, self.path("not", "there"), code=FAILED)
        self.tst("copy", self.path("nowhere"), self.path("copy2"), code=FAILED)
        self.tst("copy", source, code=USAGE)
        self.assertIn("DEST is missing", self.said)
        self.assertFalse(os.path.exists(self.path("copy2")))
        self.tst("copy", source, os.path.join(source, "inside"))
        self.assertEqual(self.assert_sound(self.path("data", "inside")), {"k": "v"})

    def test_a_damaged_store_is_copied_as_it_is(self):
        source, copy = self.path("data"), self.path("copy")
        for key in ("first", "second", "third"):
            self.tst("set", source, key, "v")
        log = os.path.join(source, "db.toon")
        text = harness.read_file(log).replace(b"second[4]: v", b"second[4]: w")
        harness.write_file(log, text)
        self.tst("copy", source, copy)
        self.tst("check", copy, code=NO)
        self.assertEqual(self.tst("get", copy, "third"), b"v")

    def end_a_copy(self, how, after_s):
        """Sends a signal when it has begun; returns its exit status."""
        copy = self.path("copy")
        with subprocess.Popen(
            [harness.TST, "copy", "-q", self.path("data"), copy],
            stderr=subprocess.DEVNULL,
        ) as process:
            while not os.path.exists(copy) and process.poll() is None:
                time.sleep(0.0002)
            time.sleep(after_s)
            process.send_signal(how)
        return process.returncode

    def test_an_interrupted_copy_leaves_nothing(self):
        server = self.server()
        self.fill(server, BIG_MB)
        for how in (signal.SIGINT, signal.SIGTERM):
            for after_s in (0, 0.002, 0.01):
                status = self.end_a_copy(how, after_s)
                if status == 0:  # it was done already
                    self.assert_sound(self.path("copy"))
                    shutil.rmtree(self.path("copy"))
                else:
                    self.assertEqual(status, FAILED)
                    self.assertFalse(os.path.exists(self.path("copy")))

    def test_a_killed_copy_is_no_store_and_can_be_made_again(self):
        server = self.server()
        self.fill(server, BIG_MB)
        for after_s in (0, 0.002, 0.01, 0.03):
            status = self.end_a_copy(signal.SIGKILL, after_s)
            if os.path.exists(self.path("copy", "db.toon")):
                self.assert_sound(self.path("copy"))
            else:
                self.assertEqual(status, -signal.SIGKILL)
                self.tst("get", self.path("copy"), "big:0", code=FAILED)
                self.tst("copy", server.data, self.path("copy"))
                self.assertEqual(len(self.assert_sound(self.path("copy"))), BIG_MB)
            shutil.rmtree(self.path("copy"))

    @harness.needs_root
    def test_a_full_disk_is_told_and_nothing_left(self):
        server = self.server()
        self.fill(server, 8)
        disk = self.tmpfs(4)
        self.tst("copy", server.data, os.path.join(disk, "copy"), code=FAILED)
        self.assertIn("No space left", self.said)
        self.assertEqual(os.listdir(disk), [])
        self.assertLess(harness.run("du", "-sk", disk).stdout.split()[0], b"100")
        with server.client() as client:
            client.set("on", "we go")


class Readers(CopyTest):
    @harness.needs_root
    def test_a_read_only_file_system_is_read(self):
        disk = self.tmpfs(8)
        data = os.path.join(disk, "data")
        self.tst("set", data, "k", "v")
        torn = b"torn[4]: v,1732300000000,0,s0000"
        with open(os.path.join(data, "db.toon"), "ab") as log:
            log.write(torn)
        harness.run("mount", "-o", "remount,ro", disk)
        self.assertEqual(self.tst("get", data, "k"), b"v")
        self.assertIn("passed over", self.said)
        self.assertEqual(self.tst("ls", data), b"k\n")
        self.tst("check", data)
        self.tst("copy", data, self.path("copy"))
        self.assertEqual(self.assert_sound(self.path("copy")), {"k": "v"})
        self.tst("set", data, "k", "w", code=FAILED)
        self.assertIn("Read-only file system", self.said)

    def test_readers_see_whole_batches_of_a_busy_server(self):
        server = self.server()
        last = 0
        with PairWriter(server) as writer:
            harness.wait_until(lambda: writer.number > 1, "the first pairs")
            for _ in range(10):
                keys = {}
                for line in self.tst("dump", server.data, "pair:").splitlines():
                    found = json.loads(line)
                    keys[found["key"]] = found["value"]
                self.assertEqual(self.said, "")
                number = self.assert_pairs(keys)
                self.assertGreaterEqual(number, last)
                last = number
        self.assertGreater(last, 0)

    def test_a_reader_does_not_keep_a_server_from_starting(self):
        self.tst("set", self.path("data"), "k", "v" * 100000)
        # It has the store open as long as nobody reads what it writes.
        command = '"$0" dump "$1" | (sleep 1; cat >/dev/null)'
        for i in range(10):
            self.tst("set", self.path("data"), "k%d" % i, "v" * 100000)
        with subprocess.Popen(["sh", "-c", command, harness.TST, self.path("data")]):
            server = self.server()
            with server.client() as client:
                client.set("k", "w")

    def second_opener(self, *command):
        """Must end at once, and name who has the store."""
        done = harness.run(*command, check=False)
        self.assertNotEqual(done.returncode, 0, command)
        said = (done.stderr + done.stdout).decode()
        self.assertEqual(len(said.splitlines()), 1, said)
        self.assertIn("in use by process", said)
        return done.returncode, said

    @harness.needs_fuse
    def test_every_program_names_who_has_the_store(self):
        data = self.path("data")
        os.mkdir(data)
        # What a process left that is no more is not believed.
        harness.write_file(os.path.join(data, "db.lock"), b"4194304\n")
        server = self.server()
        os.mkdir(self.path("mnt2"))
        for command in (
            (harness.TSTD, "--port", "0", "--dir", data),
            (harness.TSTFS, data, self.path("mnt2"), "-f"),
            (harness.TST, "set", data, "k", "v"),
            (harness.TST, "del", data, "k"),
            (harness.TST, "compact", data),
        ):
            code, said = self.second_opener(*command)
            self.assertIn("process %d;" % server.process.pid, said)
            self.assertIn(data, said)
            if command[0] == harness.TST:
                self.assertEqual(code, HELD)
        with server.client() as client:
            self.assertTrue(client.set("k", "v"))


class Backups(CopyTest):
    def wait_for_backup(self, client):
        return harness.wait_until(
            lambda: client.info("persistence")["rdb_bgsave_in_progress"] == 0,
            "the backup to end",
        )

    def save(self, client):
        self.assertTrue(client.execute_command("BGSAVE"))
        self.wait_for_backup(client)
        info = client.info("persistence")
        self.assertEqual(info["rdb_last_bgsave_status"], "ok")
        return client.info("toonstore")["backup_last"]

    def backups(self):
        path = self.path("data", "backup")
        return sorted(os.listdir(path)) if os.path.exists(path) else []

    def test_bgsave_makes_a_copy_that_can_be_served(self):
        server = self.server()
        with PairWriter(server), server.client() as client:
            path = self.save(client)
            first = self.assert_pairs(self.assert_sound(path))
            path = self.save(client)
        self.assertGreaterEqual(self.assert_pairs(self.assert_sound(path)), first)
        self.assertEqual(os.path.dirname(path), self.path("data", "backup"))
        self.assertRegex(os.path.basename(path), NAME)
        self.assertEqual(self.backups(), [os.path.basename(path)])
        shutil.copytree(path, self.path("restored"))
        restored = self.server(data="restored")
        self.assertEqual(restored.client().get("pair:a"), restored.client().get("pair:b"))
        self.assertIn("Background saving terminated with success", server.output())

    def stores_of_two_moments(self):
        """A server's data, and a backup with keys that were deleted since."""
        server = self.server()
        with server.client() as client:
            client.mset({"precious1": "1", "precious2": "2", "precious3": "3"})
            backup = self.save(client)
            client.delete("precious1", "precious2")
            client.set("later", "4")
        self.stop(server)
        return server, backup

    def test_a_backup_is_restored_as_the_manual_says(self):
        server, backup = self.stores_of_two_moments()
        for name in ("db.toon", "db.toon.idx"):
            os.remove(os.path.join(server.data, name))
        for path in glob.glob(os.path.join(backup, "db.toon*")):
            shutil.copy(path, server.data)
        server.start()
        with server.client() as client:
            self.assertEqual(sorted(client.keys()), [b"precious1", b"precious2", b"precious3"])
            client.set("more", "5")
        self.stop(server)
        self.assertEqual(sorted(self.assert_sound(server.data))[0], "more")

    def test_a_backup_beside_a_newer_index_is_told_and_loses_nothing(self):
        server, backup = self.stores_of_two_moments()
        shutil.copy(os.path.join(backup, "db.toon"), server.data)
        advice = "take db.toon.idx away"
        self.tst("get", server.data, "precious1", code=NO)
        self.assertIn(advice, self.said)
        self.assertIn(advice, self.tst("check", server.data, code=NO).decode())
        repaired = self.path("repaired")
        shutil.copytree(server.data, repaired)
        said = self.tst("check", "--repair", repaired, code=NO).decode()
        self.assertIn("perhaps older: precious1 had been deleted", said)
        os.remove(os.path.join(server.data, "db.toon.idx"))
        for store in (server.data, repaired):
            keys = {"precious1": "1", "precious2": "2", "precious3": "3"}
            self.assertEqual(self.assert_sound(store), keys)

    def test_the_newest_backups_are_kept(self):
        server = self.server(args=["--backup-keep", "2"])
        with server.client() as client:
            paths = [self.save(client) for _ in range(4)]
            names = [os.path.basename(path) for path in paths]
            self.assertEqual(self.backups(), names[2:])
            # What is not a backup of ours, or has more in it, stays.
            os.mkdir(self.path("data", "backup", "mine"))
            harness.write_file(os.path.join(paths[2], "notes"), b"mine")
            client.config_set("backup-keep", "1")
            names.append(os.path.basename(self.save(client)))
            self.assertEqual(self.backups(), [names[2], names[4], "mine"])
            self.assertEqual(os.listdir(paths[2]), ["notes"])
            self.assertIn("cannot remove the old backup", server.output())
            client.config_set("backup-keep", "0")
            for _ in range(2):
                self.save(client)
            self.assertEqual(len(self.backups()), 5)

    def test_a_backup_that_is_served_is_not_removed(self):
        server = self.server()
        with server.client() as client:
            client.set("k", "old")
            path = self.save(client)
            other = self.server(data=path)
            with other.client() as changed:
                changed.set("important", "yes")
                for _ in range(2):
                    self.save(client)
                other.stop()
            names = [name for name in self.backups() if name.endswith("Z")]
            self.assertEqual(len(names), 2)
            self.assertIn(os.path.basename(path), names)
        with self.server(data=path).client() as changed:
            self.assertEqual(changed.get("important"), b"yes")

    def test_backups_go_where_the_configuration_says(self):
        server = self.server(args=["--backup-dir", self.path("elsewhere")])
        with server.client() as client:
            client.set("k", "v")
            path = self.save(client)
            self.assertEqual(os.path.dirname(path), self.path("elsewhere"))
            self.assertEqual(self.assert_sound(path), {"k": "v"})
            self.assertEqual(
                client.config_get("backup-*"),
                {"backup-dir": self.path("elsewhere"), "backup-keep": "1"},
            )
            with self.assertRaises(redis.exceptions.ResponseError):
                client.config_set("backup-dir", "/")

    def test_what_is_told_of_saves_is_what_happened(self):
        server = self.server()
        with server.client() as client:
            info = client.info("persistence")
            self.assertEqual(info["rdb_bgsave_in_progress"], 0)
            self.assertEqual(info["rdb_saves"], 0)
            self.assertEqual(info["rdb_last_bgsave_time_sec"], -1)
            self.assertEqual(info["rdb_current_bgsave_time_sec"], -1)
            started = client.execute_command("LASTSAVE").timestamp()
            self.assertAlmostEqual(started, time.time(), delta=60)
            client.set("a", "1")
            client.set("b", "1")
            info = client.info("persistence")
            self.assertEqual(info["rdb_changes_since_last_save"], 2)
            time.sleep(1.1)  # in which the store was synced, and not saved
            self.assertEqual(client.execute_command("LASTSAVE").timestamp(), started)
            self.save(client)
            info = client.info("persistence")
            self.assertEqual(info["rdb_changes_since_last_save"], 0)
            self.assertEqual(info["rdb_saves"], 1)
            self.assertGreaterEqual(info["rdb_last_bgsave_time_sec"], 0)
            saved = client.execute_command("LASTSAVE").timestamp()
            self.assertGreater(saved, started)
            self.assertEqual(info["rdb_last_save_time"], saved)
            client.set("a", "2")
            client.save()
            info = client.info("persistence")
            self.assertEqual(info["rdb_changes_since_last_save"], 0)
            self.assertEqual(info["rdb_saves"], 2)

    def test_replies_are_those_of_redis(self):
        server = self.server()
        self.fill(server, BIG_MB)
        requests = harness.pipe_bytes(
            [["BGSAVE"], ["BGSAVE"], ["BGSAVE", "SCHEDULE"], ["BGSAVE", "x"]]
            + [["BGSAVE", "SCHEDULE", "x"], ["INFO", "persistence"], ["BGSAVE"]]
        )
        with socket.create_connection(("127.0.0.1", server.port)) as link:
            link.sendall(requests)
            link.shutdown(socket.SHUT_WR)
            replies = b"".join(iter(lambda: link.recv(65536), b""))
        running = b"-ERR Background save already in progress\r\n"
        self.assertTrue(replies.startswith(b"+Background saving started\r\n" + running))
        self.assertEqual(replies.count(running), 3)
        self.assertEqual(replies.count(b"-ERR syntax error\r\n"), 2)
        self.assertIn(b"rdb_bgsave_in_progress:1\r\n", replies)

    def test_a_server_that_ends_ends_its_backup(self):
        server = self.server()
        self.fill(server, BIG_MB)
        with server.client() as client:
            client.execute_command("BGSAVE")
        self.stop(server)
        for path in glob.glob(self.path("data", "backup", "*")):
            self.assertRegex(os.path.basename(path), NAME)
            self.assert_sound(path)

    def test_a_killed_server_leaves_no_half_backup_for_long(self):
        server = self.server()
        self.fill(server, BIG_MB)
        for after_s in (0, 0.01, 0.03):
            with server.client() as client:
                client.execute_command("BGSAVE")
            time.sleep(after_s)
            server.kill()
            # Of one that was being removed the log is gone first.
            for path in glob.glob(self.path("data", "backup", "2*/db.toon")):
                self.assert_sound(os.path.dirname(path))
            server.start()
            self.assertNotIn("unfinished", self.backups())
        with server.client() as client:
            self.assert_sound(self.save(client))

    @harness.needs_root
    def test_a_damaged_store_does_not_push_out_a_sound_backup(self):
        server = self.server()
        with server.client() as client:
            for number in range(100):
                client.set("key:%d" % number, "v" * 50)
            sound = self.save(client)
            client.set("later", "1")
            client.save()
            client.set("last", "1")
            log = os.path.join(server.data, "db.toon")
            text = harness.read_file(log)
            place = text.index(b"vvvv", text.index(b"key:50"))
            with open(log, "r+b") as file:
                file.seek(place)
                file.write(b"w")
            client.execute_command("BGSAVE")
            self.wait_for_backup(client)
            info = client.info("persistence")
            self.assertEqual(info["rdb_last_bgsave_status"], "err")
            self.assertEqual(client.get("later"), b"1")
        self.assertEqual(self.backups(), [os.path.basename(sound)])
        self.assertEqual(len(self.assert_sound(sound)), 100)
        line = text.rindex(b"\n", 0, place) + 1
        said = "the store is damaged: offset %d: .*; run tst check" % line
        self.assertRegex(server.output(), said)

    def test_a_backup_that_fails_is_told_and_the_server_goes_on(self):
        disk = self.tmpfs(4)
        server = self.server(args=["--backup-dir", os.path.join(disk, "b")])
        self.fill(server, 8)
        with server.client() as client:
            before = client.execute_command("LASTSAVE")
            client.execute_command("BGSAVE")
            self.wait_for_backup(client)
            info = client.info("persistence")
            self.assertEqual(info["rdb_last_bgsave_status"], "err")
            self.assertEqual(info["aof_last_write_status"], "ok")
            self.assertEqual(client.execute_command("LASTSAVE"), before)
            self.assertTrue(client.set("on", "we go"))
            self.assertIn("Background saving error: ", server.output())
            self.assertEqual(os.listdir(os.path.join(disk, "b")), [])
            client.flushall()
            self.assert_sound(self.save(client))


if __name__ == "__main__":
    unittest.main()
