"""A disk that fails to sync: the store turns read-only and says so, reads go
on, and a restart on a disk that is well again has what was durable."""

import errno
import os
import threading
import unittest

import redis

import harness

READ_ONLY_FROM_NOW = "the store is read-only from now on"


@harness.needs_shim
class FailingSync(harness.StoreTest):
    def failing_server(self, policy, mount=False):
        self.shim = harness.DiskShim(self.path("shim"), self.path("data"))
        arguments = ["--appendfsync", policy]
        server = self.server(mount=mount, start=False, args=arguments)
        server.env = self.shim.env
        self.addCleanup(lambda: server.running() and server.kill())
        return server.start()

    def fail_syncs(self, number=errno.EIO):
        self.shim.tell(sync_errno=number)

    def await_read_only(self, server):
        with server.client() as client:
            harness.wait_until(
                lambda: client.info("toonstore")["read_only"] == 1,
                "the store to turn read-only",
            )

    def assert_says_so(self, server):
        """In INFO, and in the log, there once."""
        with server.client() as client:
            info = client.info()
        self.assertEqual(info["read_only"], 1)
        self.assertEqual(info["read_only_reason"], "the disk failed")
        self.assertEqual(info["aof_last_write_status"], "err")
        self.assertEqual(server.output().count(READ_ONLY_FROM_NOW), 1)

    def assert_refused(self, client, *words):
        with self.subTest(words[0]):
            with self.assertRaisesRegex(redis.ResponseError, "MISCONF .*disk.*restart"):
                client.execute_command(*words)

    def end(self, server):
        """It has failed, and the exit status tells."""
        self.assertNotEqual(server.stop(), 0)

    def start_again(self, server):
        server.env = None
        return server.start()

    def test_everysec_turns_read_only_and_reads_go_on(self):
        server = self.failing_server("everysec")
        with server.client() as client:
            for number in range(100):
                client.set("key:%d" % number, "old %d" % number)
            client.save()
            self.fail_syncs()
            late = b"not synced"
            try:
                client.set("late", late)
            except redis.ResponseError as error:  # a sync of its own was first
                self.assertIn("MISCONF", str(error))
                late = None
            self.await_read_only(server)
            for words in (
                ("SET", "key:1", "new"),
                ("DEL", "key:1"),
                ("APPEND", "key:1", "new"),
                ("MSET", "a", "1", "b", "2"),
                ("EXPIRE", "key:1", "100"),
                ("RENAME", "key:1", "key:2"),
                ("INCR", "number"),
                ("FLUSHDB",),
            ):
                self.assert_refused(client, *words)
            for number in range(100):
                self.assertEqual(client.get("key:%d" % number), b"old %d" % number)
            self.assertEqual(client.get("late"), late)
            self.assertEqual(client.dbsize(), 100 + (late is not None))
        self.assert_says_so(server)
        self.end(server)
        self.start_again(server)
        with server.client() as client:
            for number in range(100):
                self.assertEqual(client.get("key:%d" % number), b"old %d" % number)
            self.assertIn(client.get("late"), (b"not synced", None))
            client.set("key:1", "new")

    def test_a_sync_is_not_tried_again(self):
        server = self.failing_server("everysec")
        self.fail_syncs()
        with server.client() as client:
            client.set("key", "value")
            self.await_read_only(server)
            failed = self.shim.syncs_failed
            self.shim.tell()  # it would work now
            self.assert_refused(client, "SET", "key", "new")
            with self.assertRaises(redis.ResponseError):
                client.save()
        self.assertEqual(failed, 1)
        self.assert_says_so(server)
        self.end(server)

    def test_always_tells_every_writer_that_waits(self):
        server = self.failing_server("always")
        with server.client() as client:
            for number in range(20):
                client.set("key:%d" % number, "old")
        self.fail_syncs()
        answers = []

        def write(number):
            with server.client() as client:
                try:
                    answers.append(client.set("key:%d" % number, "new"))
                except redis.ResponseError as error:
                    answers.append(str(error))

        writers = [threading.Thread(target=write, args=(n,)) for n in range(20)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        for answer in answers:
            self.assertRegex(str(answer), "disk failed")
        self.assertEqual(len(answers), 20)
        self.assert_says_so(server)
        self.end(server)
        self.start_again(server)
        with server.client() as client:
            for number in range(20):
                self.assertIn(client.get("key:%d" % number), (b"old", b"new"))

    def test_an_acknowledged_pipeline_before_it_stays(self):
        server = self.failing_server("always")
        with server.client() as client:
            pipe = client.pipeline(transaction=False)
            for number in range(50):
                pipe.set("key:%d" % number, "old")
            pipe.execute()
            self.fail_syncs()
            pipe = client.pipeline(transaction=False)
            pipe.get("key:1")
            pipe.set("key:1", "new")
            pipe.get("key:2")
            replies = pipe.execute(raise_on_error=False)
        self.assertEqual((replies[0], replies[2]), (b"old", b"old"))
        self.assertIsInstance(replies[1], redis.ResponseError)
        self.end(server)
        self.start_again(server)
        with server.client() as client:
            for number in range(2, 50):
                self.assertEqual(client.get("key:%d" % number), b"old")

    def test_a_flush_that_cannot_be_synced_changes_nothing(self):
        server = self.failing_server("everysec")
        with server.client() as client:
            client.set("key", "value")
            client.save()
            self.fail_syncs()
            with self.assertRaises(redis.ResponseError):
                client.flushdb()
            self.assertEqual(client.get("key"), b"value")
            server.kill()
        self.start_again(server)
        with server.client() as client:
            self.assertEqual(client.get("key"), b"value")

    def test_no_space_at_a_sync_is_a_failed_sync(self):
        server = self.failing_server("always")
        self.fail_syncs(errno.ENOSPC)
        with server.client() as client:
            with self.assertRaises(redis.ResponseError):
                client.set("key", "value")
            self.shim.tell()
            self.assert_refused(client, "SET", "key", "value")
        self.end(server)

    def assert_errno(self, number, call, *arguments):
        with self.assertRaises(OSError) as caught:
            call(*arguments)
        self.assertEqual(
            errno.errorcode[caught.exception.errno], errno.errorcode[number]
        )

    @harness.needs_fuse
    def test_the_mount_refuses_changes_and_shows_what_is_there(self):
        server = self.failing_server("everysec", mount=True)

        def at(*names):
            return os.path.join(server.mount, *names)

        harness.write_file(at("c"), b"3")
        os.mkdir(at("dir"))
        harness.write_file(at("dir", "b"), b"2")
        with open(at("c"), "r+b", buffering=0) as opened:
            self.fail_syncs()
            harness.write_file(at("late"), b"4")
            self.await_read_only(server)
            self.assert_errno(errno.EROFS, opened.write, b"x")
            self.assert_errno(errno.EROFS, opened.truncate, 0)
        for mode in ("r+b", "wb", "ab"):
            self.assert_errno(errno.EROFS, open, at("c"), mode)
        self.assert_errno(errno.EROFS, open, at("new"), "wb")
        self.assert_errno(errno.EROFS, os.mkdir, at("newdir"))
        self.assert_errno(errno.EROFS, os.unlink, at("c"))
        self.assert_errno(errno.EROFS, os.rename, at("c"), at("d"))
        self.assert_errno(errno.EROFS, os.rename, at("dir"), at("e"))
        self.assert_errno(errno.EROFS, os.symlink, "c", at("link"))
        self.assert_errno(errno.EROFS, os.chmod, at("c"), 0o755)
        self.assert_errno(errno.EROFS, os.utime, at("c"), (1, 1))
        self.assertEqual(sorted(os.listdir(server.mount)), ["c", "dir", "late"])
        self.assertEqual(os.listdir(at("dir")), ["b"])
        self.assertEqual(harness.read_file(at("c")), b"3")
        self.assertEqual(harness.read_file(at("dir", "b")), b"2")
        # A shell says so, though `echo` looks at no error of close(2).
        done = harness.run("sh", "-c", "echo x >> c", cwd=server.mount, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assert_says_so(server)
        self.end(server)
        self.assertFalse(harness.is_mounted(server.mount))
        self.start_again(server)
        self.assertEqual(harness.read_file(at("dir", "b")), b"2")
        harness.write_file(at("c"), b"5")

    @harness.needs_fuse
    def test_an_fsync_that_fails_is_eio_for_who_asked(self):
        server = self.failing_server("everysec", mount=True)
        path = os.path.join(server.mount, "file")
        harness.write_file(path, b"old")
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.fsync(file)
        self.fail_syncs()
        os.write(file, b" and new")
        self.assert_errno(errno.EIO, os.fsync, file)
        os.close(file)
        self.assert_errno(errno.EROFS, open, path, "r+b")
        self.assertIn(harness.read_file(path), (b"old", b"old and new"))
        self.end(server)
        self.start_again(server)
        self.assertIn(harness.read_file(path), (b"old", b"old and new"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
