"""The log, read by the reference implementation of TOON."""

import base64
import json
import os
import random
import unittest

import harness

SEED = 20241122
PARTIAL = "actr"


def plain(text):
    """A key as the log writes it, back to bytes."""
    if text.startswith("base64:"):
        return base64.b64decode(text[len("base64:") :])
    return text.encode()


def decoded(entry):
    """The value of one entry of the decoded map; None where it is deleted."""
    cell, kind = entry[0], entry[-1][0].lower()
    if cell is None:
        return None
    return base64.b64decode(cell) if kind == "b" else cell.encode()


def odd_values():
    """Values that a text format could get wrong."""
    yield from (b"", b" ", b"hello", b"a,b", b"a: b", b"[3]: x", b"- item")
    yield from (b"42", b"-1", b"007", b"1e5", b"1.0", b"0x1f", b"true", b"null")
    yield from (b' "q" ', b"back\\slash", b"line\nline\r\n", b"\ttab", b"# no")
    yield from ("grüße 世界 🙂".encode(), "\u2028\ufeff\u0085".encode())
    yield from (b"\x00", b"\x7f", b"\xff\xfe", bytes(range(256)), b"\x1b[0m")
    yield from (b"{", b"}", b"base64:AA==", b"x" * 5000, b"\x00" * 5000)


@harness.needs_node
class ToonLog(harness.StoreTest):
    def read_log(self, server):
        """(the decoded map, the live map) after a clean stop."""
        live = harness.live_map(server)
        self.stop(server)
        log = harness.read_file(self.path("data", "db.toon"))
        harness.write_file(self.path("log.txt"), log[16:])
        node = harness.node_dir()
        program = os.path.join(node, "toon_log.mjs")
        result = harness.run("node", program, self.path("log.txt"))
        result = json.loads(result.stdout)
        self.assertEqual(result["lines"], self.record_lines(log))
        return result["map"], live

    @staticmethod
    def record_lines(log):
        return sum(not line.startswith(b"#") for line in log[16:].splitlines() if line)

    def assert_same_map(self, entries, live):
        """Every live key is in the log's map with its value, no other is."""
        compared = 0
        for text, entry in entries.items():
            key = plain(text)
            if entry[-1][0].lower() in PARTIAL:
                self.assertIn(key, live)
                continue
            self.assertEqual(decoded(entry), live.get(key), key)
            compared += 1
        absent = set(live) - {plain(text) for text in entries}
        self.assertEqual(absent, set())
        return compared

    def test_odd_keys_and_values_decode_to_the_live_map(self):
        server = self.server()
        with server.client() as client:
            for number, value in enumerate(odd_values()):
                client.set(b"value:%d" % number, value)
                if len(value) < 1000:
                    client.set(b"k" + value, b"key %d" % number)
                    client.set(value, b"bare %d" % number)
        entries, live = self.read_log(server)
        self.assertGreater(self.assert_same_map(entries, live), 80)

    def test_the_last_line_of_a_key_wins(self):
        print("seed", SEED)
        chance = random.Random(SEED)
        server = self.server(args=("--compact-garbage", "100"))
        with server.client() as client:
            for number in range(3000):
                key = "key:%d" % chance.randrange(200)
                what = chance.randrange(10)
                if what < 6:
                    client.set(key, chance.choice(("", "7", "text")) + str(number))
                elif what < 8:
                    client.delete(key)
                elif what < 9:
                    client.set(key, "x", ex=100000)
                else:
                    client.mset({key: number, "pair:" + key: number})
            client.append("grown", "one\n")
            client.append("grown", "two\n")
            client.expire("pair:key:1", 100000)
            client.set("from", "value")
            client.rename("from", "to")
        entries, live = self.read_log(server)
        self.assertGreater(self.assert_same_map(entries, live), 150)
        self.assertEqual(entries["grown"][-1][0], "a")
        self.assertEqual(live[b"grown"], b"one\ntwo\n")

    @harness.needs_fuse
    def test_files_modes_and_links_are_lines_too(self):
        server = self.server(mount=True)
        script = os.path.join(server.mount, "run.sh")
        harness.write_file(script, b"#!/bin/sh\n")
        os.chmod(script, 0o755)
        os.symlink("run.sh", os.path.join(server.mount, "link"))
        os.mkdir(os.path.join(server.mount, "dir"))
        os.rename(script, os.path.join(server.mount, "dir", "moved.sh"))
        entries, live = self.read_log(server)
        self.assert_same_map(entries, live)
        self.assertEqual(entries["link"][:2], ["run.sh", 120777])
        self.assertIn(755, entries["dir/moved.sh"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
