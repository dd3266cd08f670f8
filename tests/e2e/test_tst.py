"""tst: every command, its output byte for byte, and its exit codes."""

import base64
import json
import os
import pty
import re
import subprocess
import unittest

import harness

DONE, NO, USAGE, HELD, FAILED = 0, 1, 2, 3, 4
VALUE_LIMIT = 512 * 1024 * 1024
ANY_BYTES = bytes(range(256)) * 40
COMMANDS = ("get", "set", "del", "ls", "stat", "check", "compact", "copy", "dump", "import")


class Tst(harness.StoreTest):
    def setUp(self):
        super().setUp()
        self.data = self.path("data")

    def tst(self, command, *words, code=DONE, **options):
        """Its standard output; it must end with `code`, and say why if that
        is no success."""
        done = harness.run(harness.TST, command, *words, check=False, **options)
        self.assertEqual(done.returncode, code, (command, words, done))
        lines = done.stderr.splitlines()
        if code in (USAGE, HELD, FAILED):
            self.assertEqual(len(lines), 1, done.stderr)
            self.assertTrue(lines[0].startswith(b"tst: "), done.stderr)
        elif code == DONE:
            self.assertEqual(lines, [])
        self.said = done.stderr.decode()
        return done.stdout

    def lines(self, command, *words, **options):
        out = self.tst(command, *words, **options)
        return [json.loads(line) for line in out.splitlines()]

    def fill(self, *keys):
        for key in keys:
            self.tst("set", self.data, "--", key, "v")

    # ------------------------------------------------------------ get, set, del

    def test_a_value_comes_back_byte_for_byte(self):
        self.tst("set", self.data, "k", input=ANY_BYTES)
        self.assertEqual(self.tst("get", self.data, "k"), ANY_BYTES)
        self.assertEqual(self.tst("get", "-n", self.data, "k"), ANY_BYTES + b"\n")
        self.tst("set", self.data, "k", "-", input=b"")
        self.assertEqual(self.tst("get", self.data, "k"), b"")

    def test_a_word_is_a_value_without_a_newline(self):
        self.tst("set", self.data, "k", "hello", stdin=subprocess.DEVNULL)
        self.assertEqual(self.tst("get", self.data, "k"), b"hello")
        self.tst("set", self.data, "--", "-k", "-5")
        self.assertEqual(self.tst("get", self.data, "--", "-k"), b"-5")

    def test_a_key_that_is_not_there_is_exit_1(self):
        self.fill("k")
        self.assertEqual(self.tst("get", self.data, "x", code=NO), b"")
        self.assertIn("key x: no such key", self.said)
        self.tst("stat", self.data, "x", code=NO)
        self.assertEqual(self.tst("del", self.data, "x", code=NO), b"0\n")

    def test_conditions_of_set_hold(self):
        self.tst("set", "--if-present", self.data, "k", "1", code=FAILED)
        self.assertFalse(os.path.exists(self.data))
        self.tst("set", "--if-absent", self.data, "k", "1")
        self.tst("set", "--if-absent", self.data, "k", "2", code=NO)
        self.tst("set", "--if-present", self.data, "x", "2", code=NO)
        self.assertEqual(self.tst("get", self.data, "k"), b"1")
        self.tst("set", "-p", self.data, "k", "3")
        self.assertEqual(self.tst("get", self.data, "k"), b"3")
        self.tst("set", "-a", "-p", self.data, "k", "4", code=USAGE)

    def test_an_expiry_is_kept(self):
        self.tst("set", "--expire", "1000", self.data, "k", "v")
        self.tst("set", self.data, "forever", "v")
        found = {line["key"]: line for line in self.lines("ls", "--json", self.data)}
        written, expires = (found["k"][name] for name in ("written_ms", "expires_ms"))
        self.assertAlmostEqual(expires - written, 1000 * 1000, delta=60 * 1000)
        self.assertEqual(found["forever"]["expires_ms"], 0)
        for wrong in ("0", "-1", "x", "", "1x", "9223372036854775807", "9" * 30):
            self.tst("set", "-e", wrong, self.data, "k", "v", code=USAGE)

    def test_del_counts_what_was_there(self):
        self.fill("a", "b", "c")
        self.assertEqual(self.tst("del", self.data, "a", "x", "c", "a"), b"2\n")
        self.assertEqual(self.tst("ls", self.data), b"b\n")

    @unittest.skipIf(harness.SMALL, "takes half a gigabyte")
    def test_a_value_over_the_limit_is_refused(self):
        self.fill("k")
        with subprocess.Popen(
            ["head", "-c", str(VALUE_LIMIT + 1), "/dev/zero"], stdout=subprocess.PIPE
        ) as source:
            self.tst("set", self.data, "k", stdin=source.stdout, code=FAILED)
        self.assertIn("512 MiB", self.said)
        self.assertEqual(self.tst("get", self.data, "k"), b"v")

    # ---------------------------------------------------------------- ls, dump

    def test_ls_is_in_byte_order_and_takes_a_prefix_or_a_glob(self):
        self.fill("b", "a/2", "a/10", "ab", "é", "Z")
        everything = "Z\na/10\na/2\nab\nb\né\n".encode()
        self.assertEqual(self.tst("ls", self.data), everything)
        self.assertEqual(self.tst("ls", self.data, "a/"), b"a/10\na/2\n")
        self.assertEqual(self.tst("ls", self.data, "a?*0"), b"a/10\n")
        self.assertEqual(self.tst("ls", self.data, "[bZ]"), b"Z\nb\n")
        self.assertEqual(self.tst("ls", self.data, "x"), b"")

    def test_ls_long_tells_size_time_and_what_is_left(self):
        self.tst("set", "-e", "500", self.data, "k", "hello")
        self.assertRegex(
            self.tst("ls", "-l", self.data),
            rb"^ +5  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z +(500|4\d\d)s  k\n$",
        )
        self.fill("k")
        self.assertRegex(self.tst("ls", "-l", self.data), rb"^ +1  \S+Z +-  k\n$")

    def test_names_are_escaped_on_a_terminal_alone(self):
        name = "a\n\x1b[2J\\\u0085é"
        self.fill(name)
        self.assertEqual(self.tst("ls", self.data), name.encode() + b"\n")
        self.assertEqual(self.tst("ls", "-0", self.data), name.encode() + b"\0")
        primary, terminal = pty.openpty()
        subprocess.run([harness.TST, "ls", self.data], stdout=terminal, check=True)
        os.close(terminal)
        shown = os.read(primary, 1000)
        os.close(primary)
        self.assertEqual(shown, rb"a\n\x1b[2J\\\xc2\x85" + "é\r\n".encode())

    def test_dump_is_every_key_as_json(self):
        wanted = {
            "text": b"two\nlines \"q\" \\ \x01 \xc3\xa9",
            "empty": b"",
            "bytes": ANY_BYTES,
            "one": b"\xff",
            "two": b"\xff\xfe",
        }
        for key, value in wanted.items():
            self.tst("set", self.data, key, input=value)
        raw_key = b"\xff\x01"
        self.tst("set", self.data, raw_key.decode("utf-8", "surrogateescape"), "v")
        found = {}
        for line in self.lines("dump", self.data):
            self.assertLessEqual({"written_ms", "expires_ms"}, line.keys())
            text, coded = line.get("value"), line.get("value_base64")
            value = text.encode() if coded is None else base64.b64decode(coded)
            found[line.get("key") or base64.b64decode(line["key_base64"])] = value
        self.assertEqual(found, {**wanted, raw_key: b"v"})
        self.assertEqual(len(self.lines("dump", self.data, "t")), 2)

    def test_text_that_is_almost_utf_8_is_dumped_as_base64(self):
        for value in (
            b"\xc0\x80",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xe2\x82",
            b"\x80",
        ):
            self.tst("set", self.data, "k", input=value)
            (line,) = self.lines("dump", self.data)
            self.assertEqual(base64.b64decode(line["value_base64"]), value)

    # -------------------------------------------------------------- stat, check

    def test_stat_tells_of_the_store_and_of_a_key(self):
        self.fill("a", "b")
        (figures,) = self.lines("stat", "--json", self.data)
        self.assertEqual((figures["keys"], figures["rows"]), (2, 2))
        self.assertRegex(self.tst("stat", self.data), rb"(?m)^keys +2$")
        self.assertRegex(self.tst("stat", self.data, "a"), rb"(?m)^size +1$")
        (figures,) = self.lines("stat", "-j", self.data, "a")
        self.assertEqual((figures["key"], figures["size"]), ("a", 1))

    def test_check_of_a_sound_store_is_exit_0_and_can_be_quiet(self):
        self.fill("a", "b")
        self.assertIn(b"sound", self.tst("check", self.data))
        self.assertEqual(self.tst("check", "--quiet", self.data), b"")
        (report,) = self.lines("check", "--json", self.data)
        self.assertEqual((report["sound"], report["findings"]), (True, []))

    def test_check_names_the_place_of_damage(self):
        self.fill("first", "second", "third")
        log = os.path.join(self.data, "db.toon")
        text = harness.read_file(log)
        place = re.search(rb"(?m)^second\[4\]: v", text)
        damaged = text[: place.end() - 1] + b"w" + text[place.end() :]
        harness.write_file(log, damaged)
        out = self.tst("check", self.data, code=NO)
        self.assertIn(b"offset %d: " % place.start(), out)
        (report,) = self.lines("check", "--json", self.data, code=NO)
        self.assertEqual(report["sound"], False)
        offsets = [found.get("offset") for found in report["findings"]]
        self.assertIn(place.start(), offsets)
        self.assertEqual(harness.read_file(log), damaged)
        self.tst("get", self.data, "second", code=NO)
        self.assertEqual(self.tst("get", self.data, "third"), b"v")

    # ------------------------------------------------------------------- around

    def test_help_tells_of_every_command_and_of_exit_codes(self):
        for name in COMMANDS:
            self.assertIn(name.encode() + b" ", self.tst("--help"))
            text = self.tst(name, "--help")
            self.assertEqual(self.tst("help", name), text)
            for part in ("Usage: tst " + name, "Examples:", "Exit status"):
                self.assertIn(part.encode(), text)

    def test_a_wrong_command_line_is_exit_2(self):
        for words in (
            ("frobnicate",),
            ("",),
            ("get",),
            ("get", self.data),
            ("get", self.data, "a", "b"),
            ("get", "--frob", self.data, "a"),
            ("get", "-e", "5", self.data, "a"),
            ("set", self.data),
            ("set", "--expire"),
            ("set", self.data, "a", "b", "c"),
            ("del", self.data),
            ("check", self.data, "a"),
        ):
            self.tst(*words, code=USAGE)
        self.assertFalse(os.path.exists(self.data))

    def test_only_set_makes_a_store(self):
        os.mkdir(self.data)
        words = {"get": ["k"], "del": ["k"]}
        for command in ("get", "del", "ls", "stat", "dump"):
            self.tst(command, self.data, *words.get(command, []), code=FAILED)
        self.assertNotIn("db.toon", os.listdir(self.data))

    def test_a_change_of_a_store_in_use_is_exit_3_and_the_message_helps(self):
        server = self.server()
        for command, *words in (("set", "k", "v"), ("del", "k")):
            self.tst(command, server.data, *words, code=HELD)
            for part in (server.data, str(server.process.pid), "redis-cli"):
                self.assertIn(part, self.said)

    def test_a_store_in_use_is_read_as_it_stands(self):
        server = self.server()
        before = sorted(os.listdir(server.data))
        with server.client() as client:
            for value in ("1", "2"):
                client.mset({"a": value, "b": value})
                self.assertEqual(self.tst("get", server.data, "a"), value.encode())
                self.assertEqual(self.tst("ls", server.data), b"a\nb\n")
                self.assertEqual(len(self.lines("dump", server.data)), 2)
                (figures,) = self.lines("stat", "--json", server.data)
                self.assertEqual((figures["keys"], figures["torn_bytes"]), (2, 0))
                (report,) = self.lines("check", "--json", server.data)
                self.assertEqual((report["sound"], report["live_keys"]), (True, 2))
        self.assertEqual(sorted(os.listdir(server.data)), before)

    def test_a_closed_pipe_is_quiet(self):
        self.tst("set", self.data, "k", input=bytes(1000000))
        command = '"$0" get "$1" k | head -c 10 | wc -c'
        done = harness.run("sh", "-c", command, harness.TST, self.data)
        self.assertEqual((done.stdout.strip(), done.stderr), (b"10", b""))

    def test_output_that_cannot_be_written_is_exit_4(self):
        self.fill("k")
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [harness.TST, "ls", self.data],
                stdout=full,
                stderr=subprocess.PIPE,
                check=False,
            )
        self.assertEqual(done.returncode, FAILED)
        self.assertIn(b"cannot write the output", done.stderr)


if __name__ == "__main__":
    unittest.main()
