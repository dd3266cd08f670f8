"""script/torture: its options, and the lines it adds up."""

import json
import os
import unittest

import harness

TORTURE = os.path.join(harness.ROOT, "script", "torture")


class Torture(harness.StoreTest):
    def torture(self, *words):
        return harness.run(TORTURE, *words, check=False)

    def lines_of(self, *outputs):
        path = self.path("testlog.json")
        with open(path, "w", encoding="utf-8") as log:
            for text in outputs:
                log.write(json.dumps({"name": "test", "stdout": text}) + "\n")
        return self.torture("--lines", path).stdout.decode()

    def test_help_names_every_line(self):
        done = self.torture("--help")
        self.assertEqual(done.returncode, 0)
        for line in (
            b"kill -9 cycles: N, acknowledged writes lost: 0",
            b"crash images: N opened, 0 wrong",
            b"faulted calls: N, 0 wrong",
            b"damaged files: N, 0 undetected",
        ):
            self.assertIn(line, done.stdout)

    def test_wrong_words_are_wrong_usage(self):
        for words in (
            ("--only", "nothing"),
            ("--minutes", "1", "--hours", "1"),
            ("--minutes", "0"),
            ("--seed", "x"),
            ("--faster",),
            ("--build", self.path("no-build")),
        ):
            with self.subTest(words):
                self.assertEqual(self.torture(*words).returncode, 2)

    def test_lines_of_several_programs_are_added_up(self):
        said = self.lines_of(
            "faulted calls: 10, 0 wrong\nfaulted calls: 5, 2 wrong\n",
            "kill -9 cycles: 55, acknowledged writes lost: 0\n",
            "other words",
            None,
        )
        self.assertEqual(
            said,
            "kill -9 cycles: 55, acknowledged writes lost: 0\n"
            "faulted calls: 15, 2 wrong\n",
        )

    def test_without_a_log_nothing_is_said(self):
        done = self.torture("--lines", self.path("missing"))
        self.assertEqual((done.returncode, done.stdout), (0, b""))


if __name__ == "__main__":
    unittest.main(verbosity=2)
