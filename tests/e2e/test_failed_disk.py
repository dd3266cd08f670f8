"""A disk whose sync fails: the store takes no more changes, says why, and
goes on serving what it has."""

import errno
import os
import unittest

import redis

import harness

@harness.needs_shim
@harness.needs_fuse
class FailedSync(harness.StoreTest):
    def setUp(self):
        super().setUp()
        server = self.server(
            mount=True, start=False, args=("--appendfsync", "always")
        )
        os.mkdir(server.data)
        self.shim = harness.DiskShim(self.path("shim"), server.data)
        server.env = self.shim.env
        self.store = server.start()
        with server.client() as client:
            client.mset({"a": "1", "dir/b": "2"})
        harness.write_file(self.at("c"), b"3")

    def at(self, *names):
        return os.path.join(self.store.mount, *names)

    def fail(self):
        """From here on; and one change that meets it."""
        self.shim.tell(sync_errno=errno.EIO)
        with self.store.client() as client:
            with self.assertRaisesRegex(redis.ResponseError, "disk failed"):
                client.set("a", "unkept")

    def end(self):
        """It stops in good order, and says that it could not keep all."""
        self.assertEqual(self.store.stop(), 1)
        self.assertIn("read-only", self.store.output())

    def assert_errno(self, number, call, *arguments):
        with self.assertRaises(OSError) as caught:
            call(*arguments)
        self.assertEqual(
            errno.errorcode[caught.exception.errno], errno.errorcode[number]
        )

    def test_clients_are_told_why_and_reads_go_on(self):
        self.fail()
        with self.store.client() as client:
            for words in (
                ("SET", "x", "1"),
                ("APPEND", "a", "1"),
                ("DEL", "a"),
                ("MSET", "x", "1", "y", "2"),
                ("EXPIRE", "a", "100"),
                ("RENAME", "a", "x"),
                ("INCR", "c"),
                ("FLUSHDB",),
            ):
                with self.subTest(words[0]):
                    with self.assertRaises(redis.ResponseError) as caught:
                        client.execute_command(*words)
                    # redis-py cuts the code off some errors.
                    self.assertRegex(str(caught.exception), "disk.*restart")
            wire = self.store.cli("SET", "x", "1")
            self.assertTrue(wire.startswith(b"MISCONF "), wire)
            with self.assertRaises(redis.ResponseError):
                client.execute_command("BGREWRITEAOF")
            self.assertEqual(client.get("dir/b"), b"2")
            self.assertEqual(client.exists("x"), 0)
            self.assertEqual(client.dbsize(), 3)
            info = client.info("everything")
        self.assertEqual(info["aof_last_write_status"], "err")
        self.assertEqual(info["read_only"], 1)
        self.assertEqual(info["read_only_reason"], "the disk failed")
        self.end()

    def test_the_mount_refuses_changes_and_shows_what_is_there(self):
        with open(self.at("c"), "r+b", buffering=0) as opened:
            self.fail()
            self.assert_errno(errno.EROFS, opened.write, b"x")
            self.assert_errno(errno.EROFS, opened.truncate, 0)
        self.assert_errno(errno.EROFS, open, self.at("c"), "r+b")
        self.assert_errno(errno.EROFS, open, self.at("c"), "wb")
        self.assert_errno(errno.EROFS, open, self.at("c"), "ab")
        self.assert_errno(errno.EROFS, open, self.at("new"), "wb")
        self.assert_errno(errno.EROFS, os.mkdir, self.at("newdir"))
        self.assert_errno(errno.EROFS, os.unlink, self.at("c"))
        self.assert_errno(errno.EROFS, os.rename, self.at("c"), self.at("d"))
        self.assert_errno(errno.EROFS, os.rename, self.at("dir"), self.at("e"))
        self.assert_errno(errno.EROFS, os.symlink, "c", self.at("link"))
        self.assert_errno(errno.EROFS, os.chmod, self.at("c"), 0o755)
        self.assert_errno(errno.EROFS, os.utime, self.at("c"), (1, 1))
        self.assertEqual(sorted(os.listdir(self.store.mount)), ["a", "c", "dir"])
        self.assertEqual(os.listdir(self.at("dir")), ["b"])
        self.assertEqual(harness.read_file(self.at("c")), b"3")
        self.assertEqual(harness.read_file(self.at("dir", "b")), b"2")
        # A shell says so, though `echo` looks at no error of close(2).
        done = harness.run(
            "sh", "-c", "echo x >> c", cwd=self.store.mount, check=False
        )
        self.assertNotEqual(done.returncode, 0)
        self.end()

    def test_an_fsync_that_fails_is_eio_for_who_asked(self):
        file = os.open(self.at("c"), os.O_RDWR)
        os.write(file, b"4")
        self.shim.tell(sync_errno=errno.EIO)
        self.assert_errno(errno.EIO, os.fsync, file)
        self.assert_errno(errno.EROFS, os.close, file)
        self.assert_errno(errno.EROFS, open, self.at("c"), "r+b")
        self.end()

    def test_after_a_restart_what_was_acknowledged_is_there(self):
        self.fail()
        self.end()
        self.shim.tell()
        self.store.start()
        with self.store.client() as client:
            self.assertEqual(client.get("dir/b"), b"2")
            self.assertEqual(client.get("c"), b"3")
            self.assertIn(client.get("a"), (b"1", b"unkept"))
            self.assertTrue(client.set("a", "5"))
        self.assertEqual(harness.read_file(self.at("a")), b"5")


if __name__ == "__main__":
    unittest.main(verbosity=2)
