"""Many keys: loaded by redis-cli --pipe, scanned while they change, opened
again."""

import threading
import time
import unittest

import harness

KEYS = 1000000 if harness.LONG else 20000 if harness.SMALL else 100000


def key_of(number):
    return b"key:%07d" % number


class Churn(threading.Thread):
    """Changes keys until told to stop: new values for loaded keys, and keys
    of its own that come and go."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.client = server.client()
        self.done = threading.Event()
        self.rounds = 0
        self.error = None

    def run(self):
        try:
            while not self.done.is_set():
                self.one_round()
        except Exception as error:  # shown by the test, in its own thread
            self.error = error

    def one_round(self):
        pipe = self.client.pipeline(transaction=False)
        for number in range(200):
            name = b"churn:%d" % (self.rounds * 200 + number)
            pipe.set(name, b"new")
            pipe.set(key_of((self.rounds * 7919 + number * 31) % KEYS), name)
            if number % 2:
                pipe.delete(name)
        pipe.execute()
        self.rounds += 1


class Bulk(harness.StoreTest):
    def load(self, server):
        path = self.path("requests")
        with open(path, "wb") as file:
            for start in range(0, KEYS, 1000):
                numbers = range(start, min(start + 1000, KEYS))
                pairs = ((b"SET", key_of(n), b"value %d" % n) for n in numbers)
                file.write(harness.pipe_bytes(pairs))
        with open(path, "rb") as file:
            said = server.cli("--pipe", stdin=file)
        self.assertIn(b"errors: 0, replies: %d" % KEYS, said)

    def scan_all(self, client):
        """How often each loaded key was seen in one whole scan."""
        seen = {}
        cursor = 0
        while True:
            cursor, keys = client.scan(cursor, count=1000)
            for key in keys:
                seen[key] = seen.get(key, 0) + 1
            if cursor == 0:
                return seen

    def test_a_scan_shows_each_loaded_key_while_keys_change(self):
        server = self.server()
        self.load(server)
        churn = Churn(server)
        churn.start()
        harness.wait_until(lambda: churn.rounds or churn.error, "the first changes")
        with server.client() as client:
            before = churn.rounds
            seen = self.scan_all(client)
            harness.wait_until(lambda: churn.rounds > before, "changes meanwhile")
            churn.done.set()
            churn.join()
            self.assertIsNone(churn.error)
            lost = [n for n in range(KEYS) if key_of(n) not in seen]
            self.assertEqual(lost, [])
            keys = client.dbsize()
            self.assertEqual(keys, KEYS + 100 * churn.rounds)
        self.opens_again_with(server, keys)

    def opens_again_with(self, server, keys):
        self.stop(server)
        start = time.monotonic()
        server.start()
        print("%d keys answer after %.3f s" % (keys, time.monotonic() - start))
        with server.client() as client:
            self.assertEqual(client.dbsize(), keys)
            for number in range(0, KEYS, KEYS // 50):
                value = client.get(key_of(number))
                self.assertRegex(value, b"^(value %d|churn:[0-9]+)$" % number)


if __name__ == "__main__":
    unittest.main(verbosity=2)
