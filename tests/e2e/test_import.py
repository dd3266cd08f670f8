"""import: a store of the ancestor, version 1, becomes one of ours."""

import base64
import json
import os
import random
import re
import shutil
import struct
import unittest

import harness

DONE, NO, USAGE, HELD, FAILED = 0, 1, 2, 3, 4
ANCESTOR = os.path.join(harness.ROOT, "tests", "data", "ancestor-v1")
ROWS = 3000 if harness.SMALL else 100000


class Import(harness.StoreTest):
    def setUp(self):
        super().setUp()
        self.old, self.data = self.path("old"), self.path("data")

    def tst(self, command, *words, code=DONE, **options):
        done = harness.run(harness.TST, command, *words, check=False, **options)
        self.assertEqual(done.returncode, code, (command, words, done))
        self.said = done.stderr.decode()
        if code != DONE:
            self.assertEqual(len(self.said.splitlines()), 1, self.said)
        return done.stdout

    def keys(self):
        """What the store has, as bytes."""
        found = {}
        for line in map(json.loads, self.tst("dump", self.data).splitlines()):
            pair = []
            for name in ("key", "value"):
                text, coded = line.get(name), line.get(name + "_base64")
                pair.append(text.encode() if coded is None else base64.b64decode(coded))
            found[pair[0]] = pair[1]
        return found

    def write(self, rows, names=None, index_count=None, log_count=None):
        """An ancestor's store of `rows`, None for deleted ones."""
        log, offsets = bytearray(16), []
        for row in rows:
            offsets.append(0 if row is None else len(log))
            log += (b"deleted" if row is None else row) + b"\n"
        head = (b"TOON001\n", 1, len(rows) if log_count is None else log_count)
        log[:16] = struct.pack("<8sII", *head)
        index = struct.pack(
            "<8sI", b"TOONIDX1", len(rows) if index_count is None else index_count
        ) + struct.pack("<%dQ" % len(offsets), *offsets)
        os.makedirs(self.old, exist_ok=True)
        harness.write_file(os.path.join(self.old, "db.toon"), log)
        harness.write_file(os.path.join(self.old, "db.toon.idx"), index)
        if names is not None:
            harness.write_file(os.path.join(self.old, "keymap.txt"), names)
        return offsets

    def patch(self, name, offset, data):
        with open(os.path.join(self.old, name), "r+b") as file:
            file.seek(offset, os.SEEK_SET if offset >= 0 else os.SEEK_END)
            file.write(data)

    def refused(self, *said, code=NO):
        """Nothing is made, and the reason told."""
        self.tst("import", self.old, self.data, code=code)
        for part in said:
            self.assertIn(part, self.said)
        self.assertFalse(os.path.exists(self.data))

    # ------------------------------------------------------------- sound ones

    def test_the_ancestors_own_store_is_imported(self):
        before = {
            name: harness.read_file(os.path.join(ANCESTOR, name))
            for name in os.listdir(ANCESTOR)
        }
        report = json.loads(self.tst("import", "--json", ANCESTOR, self.data))
        lines = before["db.toon"][16:].split(b"\n")
        wanted = {b"%d" % row: lines[row] for row in (0, 2, 4, 5, 6)}
        self.assertEqual(self.keys(), wanted)
        self.assertEqual(wanted[b"6"], b"\xff\xfe\0A")
        self.assertEqual(
            (report["rows"], report["deleted"], report["imported"]), (7, 2, 5)
        )
        self.assertEqual((report["source"], report["store"]), (ANCESTOR, self.data))
        after = {
            name: harness.read_file(os.path.join(ANCESTOR, name))
            for name in os.listdir(ANCESTOR)
        }
        self.assertEqual(after, before)
        self.assertTrue(json.loads(self.tst("check", "-j", self.data))["sound"])

    def test_what_is_imported_can_be_served(self):
        self.write([b"one", None, b"three"])
        out = self.tst("import", self.old, self.data)
        self.assertIn(b"2 keys of 3 rows, 1 of them deleted", out)
        with self.server().client() as client:
            self.assertEqual(client.mget("0", "1", "2"), [b"one", None, b"three"])

    def test_rows_of_any_bytes_and_any_length_come_whole(self):
        chance = random.Random(3)
        rows = [b"", b"\0", b"\r", b"#", b" a ", b"x" * 65535, b"y" * 65536]
        rows += [b"z" * 65537, b"w" * 3000000, None, b"last"]
        for _ in range(ROWS):
            size = chance.choice((0, 1, 10, 100, 1000))
            row = chance.randbytes(chance.randrange(size + 1)).replace(b"\n", b"")
            rows.append(None if chance.random() < 0.1 else row)
        self.write(rows)
        self.tst("import", "-q", self.old, self.data)
        found = self.keys()
        wanted = {b"%d" % i: row for i, row in enumerate(rows) if row is not None}
        self.assertEqual(found.keys(), wanted.keys())
        self.assertTrue(found == wanted)

    def test_an_empty_store_is_one(self):
        self.write([])
        self.assertIn(b"0 keys of 0 rows", self.tst("import", self.old, self.data))
        self.assertEqual(self.keys(), {})

    def test_the_keymap_names_rows(self):
        names = b"user:1\t0\nwith\ttab\t2\nold\t1\nuser:2\t3\nold\t4\n\t5\nalias\t0"
        self.write([b"a", b"b", b"c", None, b"e", b"f", b"g"], names)
        self.tst("import", "-q", self.old, self.data)
        self.assertEqual(
            self.keys(),
            {
                b"user:1": b"a",
                b"alias": b"a",
                b"1": b"b",  # `old` is row 4's now
                b"with\ttab": b"c",
                b"old": b"e",
                b"": b"f",
                b"6": b"g",
            },
        )

    def test_numbers_of_deleted_rows_are_not_given_again(self):
        self.write([b"a", b"b"] + [None] * 30)
        self.tst("import", "-q", self.old, self.data)
        figures = json.loads(self.tst("stat", "-j", self.data))
        self.assertGreaterEqual(figures["row_base"] + figures["rows"], 32)
        self.assertEqual(self.keys(), {b"0": b"a", b"1": b"b"})

    # ------------------------------------------------------- keys that are there

    def test_a_key_that_is_there_stops_all_of_it_unless_replaced(self):
        self.write([b"a", b"b", b"c"])
        self.tst("set", self.data, "2", "mine")
        self.tst("set", self.data, "other", "mine")
        before = harness.read_file(os.path.join(self.data, "db.toon"))
        self.tst("import", self.old, self.data, code=NO)
        self.assertIn("key 2 is there already", self.said)
        self.assertEqual(self.keys(), {b"2": b"mine", b"other": b"mine"})
        after = harness.read_file(os.path.join(self.data, "db.toon"))
        self.assertEqual(after[16:], before[16 : len(after)])
        self.tst("import", "--replace", self.old, self.data)
        self.assertEqual(
            self.keys(), {b"0": b"a", b"1": b"b", b"2": b"c", b"other": b"mine"}
        )

    def test_two_rows_of_one_key_are_refused_unless_the_name_is_to_count(self):
        self.write([b"a", b"b", b"c"], b"2\t0\n")
        self.refused("row 0", "row 2", "would both be key 2")
        self.tst("import", "--replace", self.old, self.data)
        self.assertEqual(self.keys(), {b"2": b"a", b"1": b"b"})

    # ----------------------------------------------------------------- damage

    def left_out(self, wanted, places=1):
        """What --skip-damaged imports all the same."""
        done = harness.run(harness.TST, "import", "-js", self.old, self.data)
        self.assertEqual(len(done.stderr.splitlines()), places, done.stderr)
        self.assertEqual(json.loads(done.stdout)["left_out"], places)
        self.assertEqual(self.keys(), wanted)

    def test_a_count_that_is_too_large_is_damage(self):
        self.write([b"a", b"b"], index_count=3)
        self.refused("db.toon.idx: counts 3 rows, and has room for 2", "--skip-damaged")
        self.left_out({b"0": b"a", b"1": b"b"})

    def test_the_largest_count_is_damage_and_nothing_worse(self):
        self.write([b"a"], index_count=0xFFFFFFFF)
        self.refused("counts 4294967295 rows, and has room for 1")

    def test_a_count_that_is_too_small_is_damage(self):
        self.write([b"a", b"b"], index_count=1)
        self.refused("goes on behind the 1 rows")
        self.left_out({b"0": b"a"})

    def test_an_index_of_fewer_rows_than_the_log_is_damage(self):
        self.write([b"a"], log_count=2)
        self.refused("db.toon: counts 2 rows, and db.toon.idx only 1")
        self.left_out({b"0": b"a"})

    def test_an_offset_behind_the_end_is_damage(self):
        self.write([b"a", b"b"])
        for offset in (20, 21, 1 << 40, (1 << 64) - 1):
            self.patch("db.toon.idx", 20, struct.pack("<Q", offset))
            self.refused("row 1 at offset %d lies behind the end" % offset)
        self.left_out({b"0": b"a"})

    def test_an_offset_inside_a_line_is_damage(self):
        self.write([b"abc", b"def"])
        for offset in (1, 15, 17, 22):
            self.patch("db.toon.idx", 20, struct.pack("<Q", offset))
            self.refused("row 1 at offset %d is not where a line begins" % offset)
        self.left_out({b"0": b"abc"})

    def test_a_line_without_an_end_is_damage(self):
        offsets = self.write([b"a", b"b" * 100000])
        os.truncate(os.path.join(self.old, "db.toon"), offsets[1] + 70000)
        self.refused("row 1 at offset %d has no end" % offsets[1])
        self.left_out({b"0": b"a"})

    def test_a_keymap_that_makes_no_sense_is_damage(self):
        for names, said in (
            (b"k\t0\nno tab\n", "line 2 is not a key, a tab and a row"),
            (b"k\tx\n", "line 1 is not"),
            (b"k\t\n", "line 1 is not"),
            (b"k\t-1\n", "line 1 is not"),
            (b"k\t01\n", "line 1 is not"),
            (b"k\t99999999999999999999999\n", "line 1 is not"),
            (b"\n", "line 1 is not"),
            (b"k\t2\n", "line 1 names row 2, and there are 2"),
            (b"k" * 65537 + b"\t0\n", "the key of line 1 is over 64 KiB"),
        ):
            self.write([b"a", b"b"], names)
            self.refused("keymap.txt", said)
        self.write([b"a", b"b"], b"no tab\nk\t1\nk\t7\n")
        self.left_out({b"0": b"a", b"k": b"b"}, places=2)

    def test_what_is_no_store_of_the_ancestor_is_refused(self):
        self.refused("db.toon: cannot open", code=FAILED)
        self.write([b"a"])
        self.patch("db.toon", 8, struct.pack("<I", 2))
        self.refused("is of version 2", "tst copy", code=FAILED)
        self.patch("db.toon", 8, struct.pack("<I", 3))
        self.refused("is of version 3, not of version 1", code=FAILED)
        self.patch("db.toon", 0, b"NOON")
        self.refused("is no store's log", code=FAILED)
        self.write([b"a"])
        os.truncate(os.path.join(self.old, "db.toon"), 15)
        self.refused("is no store's log", code=FAILED)
        self.write([b"a"])
        self.patch("db.toon.idx", 0, b"NOON")
        self.refused("is no index", code=FAILED)
        os.unlink(os.path.join(self.old, "db.toon.idx"))
        self.refused("cannot open, and it alone knows", code=FAILED)

    def test_every_truncation_is_told_or_imported_right(self):
        rows = [b"first", None, b"", b"fourth"]
        self.write(rows, b"name\t3\n")
        wanted = {b"0": b"first", b"2": b"", b"name": b"fourth"}
        for name in ("db.toon", "db.toon.idx", "keymap.txt"):
            whole = harness.read_file(os.path.join(self.old, name))
            for size in range(0, len(whole), 1 if name == "keymap.txt" else 3):
                harness.write_file(os.path.join(self.old, name), whole[:size])
                done = harness.run(
                    harness.TST, "import", "-q", self.old, self.data, check=False
                )
                self.assertIn(done.returncode, (DONE, NO, FAILED))
                if done.returncode == DONE and name != "keymap.txt":
                    self.assertEqual(self.keys(), wanted)
                if done.returncode == DONE:
                    shutil.rmtree(self.data)
                self.assertFalse(os.path.exists(self.data))
            harness.write_file(os.path.join(self.old, name), whole)

    # ------------------------------------------------------------------ around

    def test_a_store_in_use_and_the_source_itself_are_refused(self):
        self.write([b"a"])
        server = self.server()
        self.tst("import", self.old, server.data, code=HELD)
        self.assertIn(str(server.process.pid), self.said)
        before = sorted(os.listdir(self.old))
        self.tst("import", self.old, self.old, code=USAGE)
        self.tst("import", self.old, code=USAGE)
        self.assertEqual(sorted(os.listdir(self.old)), before)

    def test_a_version_1_store_is_not_opened_but_pointed_at_import(self):
        self.write([b"a"])
        for command, *words in (("get", "0"), ("check",), ("ls",)):
            self.tst(command, self.old, *words, code=FAILED)
            self.assertIn("`tst import` reads it", self.said)

    @harness.needs_root
    def test_a_disk_that_fills_up_is_told(self):
        disk = self.path("disk")
        os.mkdir(disk)
        words = ["mount", "-t", "tmpfs", "-o", "size=3m", "toon", disk]
        if harness.run(*words, check=False).returncode != 0:
            self.skipTest("no tmpfs here")
        self.write([b"x" * 1000] * 8000)
        self.data = os.path.join(disk, "data")
        done = harness.run(
            harness.TST, "import", self.old, self.data, check=False
        )
        self.assertEqual(done.returncode, FAILED)
        said = done.stderr.decode()
        self.assertIn("No space left", said.splitlines()[0])
        count = re.search(r": (\d+) keys? (?:was|were) imported before", said)
        self.assertIsNotNone(count, said)
        self.assertEqual(len(self.keys()), int(count[1]))


if __name__ == "__main__":
    unittest.main()
