"""What appends write to the log, by RESP and by `>>` on the mount alike."""

import os
import random
import subprocess
import time
import unittest

import harness

LINES = 1000 if harness.SMALL else 10000
LINE_SIZE = 100
SEED = 20261125


def line(number):
    return b"%0*d\n" % (LINE_SIZE - 1, number)


def lines(count):
    return b"".join(line(i) for i in range(count))


@harness.needs_fuse
class Appends(harness.StoreTest):
    def setUp(self):
        super().setUp()
        # No compaction: every byte that was written is there to be counted.
        self.store = self.server(mount=True, args=("--compact-garbage", "100"))
        self.file = os.path.join(self.store.mount, "log")

    def log_size(self):
        return os.path.getsize(os.path.join(self.store.data, "db.toon"))

    def assert_cheap(self, before, size, what):
        """At most three bytes for each; prints how many it was."""
        grown = self.log_size() - before
        print("%s: %.2f bytes a byte" % (what, grown / size))
        self.assertLessEqual(grown, 3 * size)

    def add_by_shell(self, count, start=0):
        """As a shell does it: each line opens, writes and closes."""
        script = "for ((i = %d; i < %d; i++)); do printf '%%0%dd\\n' $i >> log; done"
        subprocess.run(
            ["bash", "-e", "-c", script % (start, start + count, LINE_SIZE - 1)],
            cwd=self.store.mount,
            check=True,
            timeout=harness.DEADLINE_S,
        )

    def test_by_resp(self):
        client = self.store.client()
        before = self.log_size()
        for number in range(LINES):
            size = client.append("log", line(number))
            self.assertEqual(size, (number + 1) * LINE_SIZE)
        self.assert_cheap(before, LINES * LINE_SIZE, "APPEND")
        self.assertEqual(client.get("log"), lines(LINES))
        self.assertEqual(client.strlen("log"), LINES * LINE_SIZE)

    def test_by_a_pipeline(self):
        client = self.store.client()
        before = self.log_size()
        pipeline = client.pipeline(transaction=False)
        for number in range(LINES):
            pipeline.append("log", line(number))
        self.assertEqual(pipeline.execute()[-1], LINES * LINE_SIZE)
        self.assert_cheap(before, LINES * LINE_SIZE, "APPEND in a pipeline")
        self.assertEqual(client.get("log"), lines(LINES))

    def test_by_the_shell(self):
        before = self.log_size()
        self.add_by_shell(LINES)
        self.assert_cheap(before, LINES * LINE_SIZE, ">>")
        self.assertEqual(harness.read_file(self.file), lines(LINES))
        self.assertEqual(self.store.client().get("log"), lines(LINES))

    def test_by_the_shell_to_a_script(self):
        with open(self.file, "wb"):
            pass
        os.chmod(self.file, 0o755)
        before = self.log_size()
        self.add_by_shell(LINES // 10)
        self.assert_cheap(before, LINES // 10 * LINE_SIZE, ">> to a script")
        self.assertEqual(os.stat(self.file).st_mode & 0o777, 0o755)

    def test_by_one_who_syncs_each_line(self):
        before = self.log_size()
        fd = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for number in range(LINES // 50):
            os.write(fd, line(number))
            os.fsync(fd)
        os.close(fd)
        self.assert_cheap(before, LINES // 50 * LINE_SIZE, "a line and fsync")
        self.assertEqual(harness.read_file(self.file), lines(LINES // 50))

    def test_by_both_in_turn_with_other_changes_between(self):
        """Expiry, mode, name, reads, sizes: none makes an append dear."""
        client = self.store.client()
        chance = random.Random(SEED)
        before = self.log_size()
        number = others = 0
        while number < LINES // 2:
            if chance.random() < 0.5:
                client.append("log", line(number))
            else:
                self.add_by_shell(1, number)
            number += 1
            if number % 100 == 0:
                others += self.change_something(client, chance)
                self.assertEqual(client.strlen("log"), number * LINE_SIZE)
                self.assertEqual(os.path.getsize(self.file), number * LINE_SIZE)
        self.assert_cheap(before + others * 200, number * LINE_SIZE, "both")
        self.assertEqual(client.get("log"), lines(number))
        self.store.stop()
        self.store.start()
        self.assertEqual(harness.read_file(self.file), lines(number))

    def change_something(self, client, chance):
        """Returns how many records that took."""
        what = chance.randrange(5)
        if what == 0:
            client.expire("log", 1000)
        elif what == 1:
            os.chmod(self.file, 0o644)
        elif what == 2:
            os.rename(self.file, self.file + ".1")
            client.rename("log.1", "log")
            return 4
        elif what == 3:
            os.utime(self.file, (1, chance.randrange(1 << 30)))
        else:
            harness.read_file(self.file)
        return 1


if __name__ == "__main__":
    unittest.main(verbosity=2)
