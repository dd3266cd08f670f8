"""tst check and tst check --repair: what they print, and their exit codes."""

import json
import os
import pty
import re
import subprocess
import unittest

import harness

DONE, NO, USAGE, HELD, FAILED = 0, 1, 2, 3, 4


class Check(harness.StoreTest):
    def setUp(self):
        super().setUp()
        self.data = self.path("data")
        self.log = os.path.join(self.data, "db.toon")

    def tst(self, *words, code=DONE):
        done = harness.run(harness.TST, *words, check=False, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, code, (words, done))
        self.said = done.stderr.decode()
        return done.stdout.decode()

    def report(self, *words, code=DONE):
        (line,) = self.tst("check", "--json", *words, self.data, code=code).splitlines()
        return json.loads(line)

    def fill(self):
        for key, value in (("a", "1"), ("b", "old"), ("b", "new"), ("c", "3")):
            self.tst("set", self.data, key, value)

    def damage(self, pattern, byte=b"X"):
        """Overwrites the byte behind the last match; returns the line's offset."""
        text = harness.read_file(self.log)
        place = list(re.finditer(pattern, text, re.M))[-1]
        end = place.end()
        harness.write_file(self.log, text[:end] + byte + text[end + 1 :])
        return place.start()

    def files(self):
        return {
            name: harness.read_file(os.path.join(self.data, name))
            for name in os.listdir(self.data)
            if name != "db.lock"
        }

    def test_what_lists_keys_tells_that_some_are_missing(self):
        self.fill()
        self.damage(rb"^a\[4\]: ")
        for words in (("ls",), ("ls", "-l"), ("dump",)):
            lines = self.tst(*words, self.data, code=NO).splitlines()
            self.assertEqual(len(lines), 2, words)
            self.assertIn("1 key cannot be listed", self.said)

    # ------------------------------------------------------------------- check

    def test_all_damage_is_named_not_the_first(self):
        self.fill()
        offsets = [self.damage(rb"^a\[4\]: "), self.damage(rb"^c\[4\]: ")]
        before = self.files()
        report = self.report(code=NO)
        found = [one["offset"] for one in report["findings"] if "offset" in one]
        self.assertEqual(found, offsets)
        self.assertEqual((report["sound"], report["damaged"]), (False, 2))
        self.assertIn("--repair", self.tst("check", self.data, code=NO))
        self.assertEqual(self.files(), before)

    def test_one_is_not_told_as_many(self):
        for key in "ab":
            self.tst("set", self.data, key, "1")
        self.damage(rb"^b[^:]*: ")
        self.assertIn("  1 damaged place. ", self.tst("check", self.data, code=NO))
        said = self.tst("check", "--repair", self.data, code=NO)
        self.assertIn("repaired, 1 key is there", said)
        self.assertIn("  1 key lost, ", said)
        self.assertIn("1 row kept, 1 lost", said)
        self.assertIn("1 live key in 1 row,", self.tst("check", self.data))

    def test_a_repair_is_offered_only_where_there_is_a_log(self):
        self.fill()
        for damage in (b"TOON001\0no", b"", os.urandom(500), None):
            os.remove(self.log)
            if damage is not None:
                harness.write_file(self.log, damage)
            out = self.tst("check", self.data, code=NO)
            self.assertNotIn("--repair", out)
            self.assertIn("backup", out)
            self.tst("check", "--repair", self.data, code=FAILED)

    def test_a_wrong_index_is_damage_and_costs_nothing(self):
        self.fill()
        index = os.path.join(self.data, "db.toon.idx")
        text = harness.read_file(index)
        harness.write_file(index, text[:20] + bytes([text[20] ^ 1]) + text[21:])
        self.assertFalse(self.report(code=NO)["index_usable"])
        report = self.report("--repair")
        self.assertEqual((report["repaired"], report["keys"]), (False, 3))
        self.assertNotIn("db.toon.idx", self.files())
        self.assertTrue(self.report()["sound"])

    def test_an_unknown_version_is_exit_4_and_untouched(self):
        self.fill()
        text = harness.read_file(self.log)
        harness.write_file(self.log, text[:8] + b"\xff" + text[9:].replace(b",s", b",z"))
        before = self.files()
        for words in (("check",), ("check", "--repair"), ("get",)):
            key = ["a"] if words == ("get",) else []
            self.tst(*words, self.data, *key, code=FAILED)
            self.assertIn("version 255", self.said)
        self.assertEqual(self.files(), before)

    # ------------------------------------------------------------------ repair

    def test_a_sound_store_is_left_as_it_is(self):
        self.fill()
        before = self.files()
        self.assertIn("sound", self.tst("check", "--repair", self.data))
        self.assertEqual(self.tst("check", "--repair", "--quiet", self.data), "")
        report = self.report("--repair")
        self.assertEqual((report["sound"], report["repaired"]), (True, False))
        self.assertEqual(self.files(), before)

    def test_a_repair_names_what_is_older_and_keeps_the_old_log(self):
        self.fill()
        offset = self.damage(rb"^b\[4\]: ")
        damaged = harness.read_file(self.log)
        out = self.tst("check", "--repair", self.data, code=NO)
        self.assertIn("offset %d: older: b " % offset, out)
        self.assertIn("db.toon.before-repair-1", out)
        self.assertIn("db.toon.damaged-1", out)
        self.assertEqual(self.files()["db.toon.before-repair-1"], damaged)
        self.assertEqual(self.tst("get", self.data, "b"), "old")
        self.assertEqual(self.tst("get", self.data, "c"), "3")
        self.assertTrue(self.report()["sound"])

    def test_a_repair_that_loses_nothing_is_exit_0(self):
        self.fill()
        self.damage(rb"^# synced=")
        report = self.report("--repair")
        self.assertEqual((report["repaired"], report["keys"]), (True, 3))
        self.assertEqual((report["keys_lost"], report["keys_older"]), (0, 0))
        self.assertEqual(report["before"], "db.toon.before-repair-1")
        self.assertEqual(self.tst("ls", self.data).split(), ["a", "b", "c"])

    def test_a_store_in_use_is_checked_and_not_repaired(self):
        server = self.server()
        server.client().set("k", "v")
        self.assertTrue(json.loads(self.tst("check", "--json", server.data))["sound"])
        self.tst("check", "--repair", server.data, code=HELD)
        self.assertIn(str(server.process.pid), self.said)

    def test_no_store_is_exit_4(self):
        self.tst("check", "--repair", self.data, code=FAILED)
        os.mkdir(self.data)
        self.tst("check", "--repair", self.data, code=FAILED)
        self.assertEqual(os.listdir(self.data), [])
        self.tst("check", "--yes", self.data, code=USAGE)

    # -------------------------------------------------------------- a terminal

    def answer(self, text, *words):
        """What is said on a terminal where `text` is typed, and the code."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(harness.TST, [harness.TST, "check", "--repair", *words, self.data])
        os.write(terminal, text)
        said = b""
        try:
            while chunk := os.read(terminal, 4096):
                said += chunk
        except OSError:
            pass  # the program has ended
        os.close(terminal)
        return said.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def test_on_a_terminal_it_asks_first(self):
        self.fill()
        self.damage(rb"^a\[4\]: ")
        before = self.files()
        said, code = self.answer(b"n\n")
        self.assertIn("[y/N]", said)
        self.assertEqual((code, self.files()), (NO, before))
        said, code = self.answer(b"\x04")
        self.assertEqual((code, self.files()), (NO, before))
        said, code = self.answer(b"y\n")
        self.assertIn("lost: a", said)
        self.assertEqual(code, NO)
        self.assertTrue(self.report()["sound"])

    def test_with_yes_it_does_not_ask(self):
        self.fill()
        self.damage(rb"^a\[4\]: ")
        said, code = self.answer(b"", "--yes")
        self.assertNotIn("[y/N]", said)
        self.assertIn("lost: a", said)
        self.assertTrue(self.report()["sound"])


if __name__ == "__main__":
    unittest.main()
