"""The mount beside RESP clients that change the same keys all the time: what
is acknowledged is seen, what is read is whole, and nobody waits for ever.

TOON_LONG=1: 100,000 stale reads and a minute of the crowd.
"""

import errno
import multiprocessing
import os
import random
import time
import unittest

import harness

READS = 100000 if harness.LONG else 1000 if harness.SMALL else 10000
CROWD_SECONDS = 60 if harness.LONG else 3 if harness.SMALL else 8
CROWD_PATIENCE = 60  # beyond that, somebody waits for ever
FILE_WORKERS = 8
RESP_WORKERS = 4
KEYS = ["k%d" % n for n in range(60)] + ["d%d/k%d" % (n % 4, n) for n in range(40)]

# These are changed as a whole only: by SET, and by rename over them.
WHOLE = set(KEYS[::2])
IN_PLACE = KEYS[1::2]

fork = multiprocessing.get_context("fork")


def answer_reads(path, pipe):
    """Another process: reads the file whenever it is asked to."""
    while pipe.recv():
        try:
            with open(path, "rb") as file:
                pipe.send(file.read())
        except FileNotFoundError:
            pipe.send(None)


@harness.needs_fuse
class StaleReads(harness.StoreTest):
    def count(self, options):
        """Reads that did not show what a client was told is set. What they
        show was there once, and in the end all is told."""
        server = self.server(mount=True, args=("--mount-options", options))
        ours, theirs = fork.Pipe()
        path = os.path.join(server.mount, "dir", "key")
        reader = fork.Process(target=answer_reads, args=(path, theirs), daemon=True)
        reader.start()
        stale = 0
        before = b""
        once = {None}
        try:
            with server.client() as client:
                for number in range(READS):
                    value = b"%d" % number * (number % 7 + 1)
                    if number % 10 == 9:
                        value = None
                        client.delete("dir/key")
                    elif number % 10 == 4:
                        client.append("dir/key", "+")
                        value = before + b"+"
                    else:
                        client.set("dir/key", value)
                    before = value or b""
                    once.add(value)
                    ours.send(True)
                    found = ours.recv()
                    self.assertIn(found, once)
                    stale += found != value
                client.set("dir/key", "the last")
            harness.wait_until(
                lambda: harness.read_file(path) == b"the last", "the last one"
            )
        finally:
            ours.send(False)
            reader.join(harness.DEADLINE_S)
        return stale

    def test_there_are_none(self):
        stale = self.count("rw")
        print("stale reads: %d of %d" % (stale, READS))
        self.assertEqual(stale, 0)

    def test_with_lazy_they_are_allowed(self):
        print("stale reads, lazy: %d of %d" % (self.count("lazy"), READS))


def is_whole(value):
    """A writer's token, again and again, and nothing else."""
    token = value.split(b" ", 1)[0] + b" "
    return value == b"" or value == token * (len(value) // len(token))


def some_value(rng, writer, number):
    return (b"%d.%d " % (writer, number)) * rng.choice([1, 3, 50, 2000])


class FileWorker:
    """Random operations on the files; keeps what went wrong."""

    ALLOWED = (
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENOTEMPTY,
        errno.EEXIST,
        errno.ESTALE,  # to who changes a file in place beside SETs
    )

    def __init__(self, mount, writer):
        self.mount = mount
        self.writer = writer
        self.random = random.Random(writer)
        self.wrong = []

    def at(self, keys=KEYS):
        return os.path.join(self.mount, self.random.choice(keys))

    def read(self, number):
        key = self.random.choice(KEYS)
        value = harness.read_file(os.path.join(self.mount, key))
        if key in WHOLE and not is_whole(value):
            self.wrong.append("not whole: %r" % value[:60])

    def write(self, number):
        path = self.at(IN_PLACE)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(some_value(self.random, self.writer, number))

    def replace(self, number):
        path = self.at()
        new = path + ".new%d" % self.writer
        with open(new, "wb") as file:
            file.write(some_value(self.random, self.writer, number))
        os.replace(new, path)

    def list(self, number):
        names = os.listdir(os.path.dirname(self.at()))
        if len(names) != len(set(names)):
            self.wrong.append("listed twice: %r" % names)

    def change(self, number):
        with open(self.at(IN_PLACE), "r+b") as file:
            file.truncate()
            file.write(some_value(self.random, self.writer, number))

    def run(self, until):
        number = 0
        calls = [self.read] * 4 + [self.write, self.replace, self.list, self.change]
        calls += [lambda n: os.unlink(self.at()), lambda n: os.stat(self.at())]
        while time.monotonic() < until:
            number += 1
            try:
                self.random.choice(calls)(number)
            except OSError as error:
                if error.errno not in self.ALLOWED:
                    self.wrong.append(repr(error))
        return number


def work_on_files(mount, writer, until, results):
    worker = FileWorker(mount, writer)
    done = worker.run(until)
    results.put((done, worker.wrong[:5]))


def work_by_resp(server, writer, until, results):
    rng = random.Random(writer)
    number = 0
    wrong = []
    with server.client() as client:
        while time.monotonic() < until:
            number += 1
            key = rng.choice(KEYS)
            what = rng.randrange(8)
            if what < 3:
                client.set(key, some_value(rng, writer, number))
            elif what < 5:
                value = client.get(key)
                if key in WHOLE and value is not None and not is_whole(value):
                    wrong.append("not whole by RESP: %r" % value[:60])
            elif what == 5:
                client.delete(key)
            elif what == 6:
                pair = {k: some_value(rng, writer, number) for k in rng.sample(KEYS, 3)}
                client.mset(pair)
            else:
                client.set(key, some_value(rng, writer, number), px=rng.randrange(1, 50))
    results.put((number, wrong[:5]))


@harness.needs_fuse
class Crowd(harness.StoreTest):
    def start_all(self, server, results):
        until = time.monotonic() + CROWD_SECONDS
        workers = [
            fork.Process(
                target=work_on_files, args=(server.mount, n, until, results), daemon=True
            )
            for n in range(FILE_WORKERS)
        ]
        workers += [
            fork.Process(
                target=work_by_resp, args=(server, 100 + n, until, results), daemon=True
            )
            for n in range(RESP_WORKERS)
        ]
        for worker in workers:
            worker.start()
        return workers

    def compare(self, server):
        """When all is quiet, both ways in show the same."""
        time.sleep(0.1)  # the last expiries
        with server.client() as client:
            for key in KEYS:
                value = client.get(key)
                path = os.path.join(server.mount, key)
                self.assertEqual(os.path.exists(path), value is not None, key)
                if value is not None:
                    self.assertEqual(harness.read_file(path), value, key)
        listed = set()
        for folder, _, files in os.walk(server.mount):
            below = os.path.relpath(folder, server.mount)
            listed |= {os.path.normpath(os.path.join(below, name)) for name in files}
        live = {key.decode() for key in harness.live_map(server)}
        self.assertEqual(listed, {key for key in live if not key.endswith("/")})

    def test_nobody_waits_for_ever_and_nothing_is_torn(self):
        server = self.server(mount=True)
        results = fork.Queue()
        workers = self.start_all(server, results)
        end = time.monotonic() + CROWD_SECONDS + CROWD_PATIENCE
        done, wrong = 0, []
        for worker in workers:
            left = max(0.1, end - time.monotonic())
            count, found = results.get(timeout=left)
            done += count
            wrong += found
        for worker in workers:
            worker.join(harness.DEADLINE_S)
            self.assertEqual(worker.exitcode, 0)
        print("%d operations of %d workers" % (done, len(workers)))
        self.assertEqual(wrong, [])
        self.compare(server)


if __name__ == "__main__":
    unittest.main(verbosity=2)
