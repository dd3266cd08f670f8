"""The session that the project promises, typed into one shell."""

import os
import subprocess
import unittest

import harness


@harness.needs_fuse
class Session(harness.StoreTest):
    def setUp(self):
        super().setUp()
        self.store = self.server(mount=True)

    def shell(self, line):
        """What one line of bash prints, typed beside the mount. redis-cli is
        the real one, told of the port."""
        prelude = 'redis-cli() { command redis-cli -p %d "$@"; }\n'
        done = subprocess.run(
            ["bash", "-e", "-c", prelude % self.store.port + line],
            cwd=self.dir,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=harness.DEADLINE_S,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_a_key_is_set_by_one_way_and_seen_by_the_other(self):
        self.assertEqual(self.shell("redis-cli SET greeting hello"), b"OK\n")
        self.assertEqual(self.shell("cat mnt/greeting"), b"hello")
        line = "echo hi > mnt/greeting; redis-cli GET greeting"
        self.assertEqual(self.shell(line), b"hi\n\n")
        self.assertEqual(self.shell("ls mnt"), b"greeting\n")
        line = "rm mnt/greeting; redis-cli EXISTS greeting"
        self.assertEqual(self.shell(line), b"0\n")
        self.assertEqual(self.shell("ls mnt"), b"")

    def test_a_slash_in_a_key_is_a_directory(self):
        self.shell("redis-cli SET users/1 ann; redis-cli SET users/2 ben")
        self.assertEqual(self.shell("ls mnt"), b"users\n")
        self.assertEqual(self.shell("cat mnt/users/*"), b"annben")
        self.shell("mkdir mnt/empty")
        self.assertEqual(self.shell("redis-cli EXISTS empty/"), b"1\n")
        self.assertEqual(self.shell("ls mnt/empty"), b"")
        self.shell("rmdir mnt/empty")
        self.assertEqual(self.shell("redis-cli EXISTS empty/"), b"0\n")

    def test_appending_in_the_shell_and_by_append_make_one_value(self):
        self.shell("echo one >> mnt/log; redis-cli APPEND log two")
        self.assertEqual(self.shell("cat mnt/log"), b"one\ntwo")
        self.shell("echo ' three' >> mnt/log")
        self.assertEqual(self.shell("redis-cli STRLEN log"), b"14\n")

    def test_coreutils_move_copy_and_count(self):
        self.shell("seq 1000 > mnt/numbers; cp mnt/numbers mnt/again")
        self.assertEqual(self.shell("cmp mnt/numbers mnt/again; echo same"), b"same\n")
        self.shell("mv mnt/again mnt/moved")
        self.assertEqual(self.shell("wc -l < mnt/moved"), b"1000\n")
        self.assertEqual(self.shell("redis-cli EXISTS again moved"), b"1\n")
        self.assertEqual(
            self.shell("redis-cli STRLEN numbers"), self.shell("wc -c < mnt/moved")
        )

    def test_an_expired_key_is_no_file(self):
        self.shell("redis-cli SET brief x PX 300")
        harness.wait_until(
            lambda: not os.path.exists(os.path.join(self.store.mount, "brief")),
            "the file to expire",
        )
        self.assertEqual(self.shell("ls mnt"), b"")


if __name__ == "__main__":
    unittest.main(verbosity=2)
