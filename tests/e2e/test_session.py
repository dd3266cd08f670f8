"""The session that the project promises, typed into one shell."""

import os
import socket
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


class Service(harness.StoreTest):
    """What a service manager is told, as sd_notify(3) says."""

    def listen(self, address):
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(address)
        manager.settimeout(harness.DEADLINE_S)
        return manager

    def run_one(self, manager, name):
        server = self.server(start=False)
        server.env = {**os.environ, "NOTIFY_SOCKET": name}
        server.start()
        self.assertEqual(manager.recv(100), b"READY=1")
        self.assertEqual(server.client().ping(), True)
        self.stop(server)
        self.assertEqual(manager.recv(100), b"STOPPING=1")

    def test_it_is_told_of_the_beginning_and_the_end(self):
        path = self.path("notify")
        self.run_one(self.listen(path), path)

    def test_by_an_abstract_name_too(self):
        name = "toonstore-test-%d" % os.getpid()
        self.run_one(self.listen("\0" + name), "@" + name)

    def test_where_nobody_listens_nothing_happens(self):
        for name in ("/nonexistent/socket", "relative", "@", "", "/" + "x" * 300):
            server = self.server(start=False, data="data%d" % len(name))
            server.env = {**os.environ, "NOTIFY_SOCKET": name}
            server.start()
            self.stop(server)


if __name__ == "__main__":
    unittest.main(verbosity=2)
