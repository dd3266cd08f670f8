"""load - writers that know what was acknowledged, for tests that end tstd.

A writer sends numbered changes and remembers, key by key, the last number
that was acknowledged and the last that was sent. After any end of tstd the
number found must lie between the two.
"""

import os
import threading

import redis

import harness


class Writer(threading.Thread):
    """Runs round after round until its server is gone or stop() is called."""

    def __init__(self, server, name, book):
        super().__init__(daemon=True)
        self.name = name
        self.book = book
        self.server = server
        self.stopped = threading.Event()
        self.error = None
        self.ended = None

    def run(self):
        try:
            self.prepare()
            while not self.stopped.is_set():
                self.one_round()
        except (redis.exceptions.ConnectionError, OSError) as error:
            self.ended = error  # by the end of tstd, if the test ended it
        except Exception as error:
            self.error = error

    def prepare(self):
        self.client = self.server.client()

    def stop(self):
        self.stopped.set()
        self.join()


class Book:
    """What one writer knows of its keys, over all lives of the server."""

    def __init__(self):
        self.number = 0
        self.sent = {}
        self.acknowledged = {}

    def send(self, key):
        self.number += 1
        self.sent[key] = self.number
        return self.number

    def acknowledge(self, key, number):
        self.acknowledged[key] = number

    def wrong(self, key, found):
        """Is this number impossible for the key? 0 stands for absent."""
        least = self.acknowledged.get(key, 0)
        return not least <= found <= self.sent.get(key, 0)


class Setter(Writer):
    """SETs in pipelines of sixteen; values of several sizes."""

    KEYS = 300

    def one_round(self):
        pipe = self.client.pipeline(transaction=False)
        numbers = []
        for _ in range(16):
            key = "%s:%d" % (self.name, self.book.number % self.KEYS)
            number = self.book.send(key)
            numbers.append((key, number))
            pipe.set(key, "%d %s" % (number, "x" * (number * 37 % 3000)))
        pipe.execute()
        for key, number in numbers:
            self.book.acknowledge(key, number)

    def check(self, test, client):
        for key in self.book.sent:
            value = client.get(key)
            found = int(value.split()[0]) if value else 0
            test.assertFalse(self.book.wrong(key, found), (key, value))
            if value:
                filler = b"x" * (found * 37 % 3000)
                test.assertEqual(value, b"%d %s" % (found, filler))


class PairSetter(Writer):
    """MSETs of two keys, which must never be seen apart."""

    def one_round(self):
        key = "%s:%d" % (self.name, self.book.number % 50)
        number = self.book.send(key)
        self.client.mset({key + ":a": number, key + ":b": number})
        self.book.acknowledge(key, number)

    def check(self, test, client):
        for key in self.book.sent:
            one, two = client.mget(key + ":a", key + ":b")
            test.assertEqual(one, two, key)
            test.assertFalse(self.book.wrong(key, int(one or 0)), key)


class Appender(Writer):
    """APPENDs numbered lines to one key: none missing, none twice."""

    def one_round(self):
        number = self.book.send(self.name)
        self.client.append(self.name, "line %d\n" % number)
        self.book.acknowledge(self.name, number)

    def check(self, test, client):
        lines = (client.get(self.name) or b"").decode().splitlines()
        # A line in flight at an earlier end may be missing, all else is there.
        numbers = [int(line.split()[1]) for line in lines]
        test.assertEqual(numbers, sorted(set(numbers)))
        if numbers:
            test.assertFalse(self.book.wrong(self.name, numbers[-1]))
        holes = self.book.number - len(numbers)
        test.assertLessEqual(holes, self.lives)

    lives = 1


class FileWriter(Writer):
    """Files on the mount, each written in two halves; acknowledged by
    close(). Where `whole` is False, tstd ended by a signal and has committed
    what it held of the file in flight."""

    whole = True

    def prepare(self):
        os.makedirs(os.path.join(self.server.mount, self.name), exist_ok=True)

    @staticmethod
    def text(number):
        return b"%d %s" % (number, b"y" * (1 + number * 101 % 20000))

    def one_round(self):
        key = "%s/%d" % (self.name, self.book.number % 40)
        number = self.book.send(key)
        text = self.text(number)
        with open(os.path.join(self.server.mount, key), "wb", 0) as file:
            file.write(text[: len(text) // 2])
            file.write(text[len(text) // 2 :])
        self.book.acknowledge(key, number)

    def check(self, test, client):
        for key, sent in self.book.sent.items():
            value = client.get(key) or b""
            in_flight = sent > self.book.acknowledged.get(key, 0)
            if in_flight and not self.whole and self.text(sent).startswith(value):
                continue
            found = int(value.split()[0]) if value else 0
            test.assertFalse(self.book.wrong(key, found), (key, found))
            if found:
                test.assertEqual(value, self.text(found))


def wait_for_work(test, writers, changes):
    """Until each writer has made so many more changes."""
    goals = [(writer, writer.book.number + changes) for writer in writers]
    for writer in writers:
        writer.start()
    for writer, goal in goals:
        harness.wait_until(
            lambda: writer.book.number > goal or not writer.is_alive(),
            "work by " + writer.name,
        )
        test.assertTrue(writer.is_alive(), writer.error or writer.ended)
