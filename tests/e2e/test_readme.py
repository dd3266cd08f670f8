"""README's tour, typed in as it stands there: it prints what it says."""

import os
import re
import shlex
import unittest

import harness

README = os.path.join(harness.ROOT, "README.md")
PRELUDE = """
redis-cli() { command redis-cli -p %d --no-raw "$@"; }
tst() { %s "$@"; }
"""
# What is another at each run: times, checksums, salts.
VARIABLE = [
    (re.compile(r"\b1[0-9]{12}\b"), "TIME"),
    (re.compile(r",([a-zA-Z])[0-9a-f]{8}$", re.M), r",\1CRC"),
    (re.compile(r"salt=[0-9a-f]{8} [0-9a-f]{8}$", re.M), "salt=SALT CRC"),
    (re.compile(r"\(integer\) (3600|35[0-9]{2})$", re.M), "(integer) TTL"),
    (re.compile(r"^(# synced=\d+) [0-9a-f]{8}$", re.M), r"\1 CRC"),
]


def alike(text):
    for pattern, word in VARIABLE:
        text = pattern.sub(word, text)
    return text


def console_steps():
    """(command, what it prints) for each `$` line of the console blocks."""
    text = harness.read_file(README).decode()
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S):
        for step in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, printed = step.partition("\n")
            yield command, printed


@harness.needs_fuse
class Readme(harness.StoreTest):
    def test_the_tour_prints_what_it_says(self):
        # Marks stand where something was synced: only at SAVE, then.
        server = self.server(mount=True, args=("--appendfsync", "no"))
        prelude = PRELUDE % (server.port, shlex.quote(harness.TST))
        steps = list(console_steps())
        self.assertGreater(len(steps), 15)
        for command, expected in steps:
            with self.subTest(command):
                done = harness.run("bash", "-c", prelude + command, cwd=self.dir)
                printed = (done.stdout + done.stderr).decode()
                self.assertEqual(alike(printed), alike(expected))


if __name__ == "__main__":
    unittest.main(verbosity=2)
