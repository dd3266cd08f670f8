"""kill_load - writers that load tstd by RESP and through the mount at once.

Each knows by its model (kill_model) what was acknowledged: a RESP client when
it has read the reply, a writer of files when close(2), rename(2) and so on
have returned 0. Must never know when and how tstd is ended.
"""

import os
import random
import socket
import threading
import time

import kill_model

ENTRIES_MAX = 120  # keys of one writer
VALUE_MAX = 200000  # bytes that a value may grow to


class Gate:
    """Writers pass it between their rounds; closed, it holds them all."""

    def __init__(self):
        self.open = threading.Event()
        self.open.set()

    def hold(self, writers):
        """Returns when nobody has anything in flight, or has ended."""
        self.open.clear()
        while not all(writer.parked.is_set() for writer in writers):
            time.sleep(0.001)

    def release(self):
        self.open.set()

    def pass_by(self, writer):
        """Waits while it is closed."""
        if self.open.is_set():
            return
        writer.parked.set()
        while not self.open.wait(0.05) and not writer.load.stopped.is_set():
            pass
        writer.parked.clear()


class Writer:
    """Runs round after round in a thread of its own, until tstd is gone or the
    load is stopped. `error` is what must not have happened."""

    def __init__(self, load, name):
        self.load = load
        self.name = name
        self.chance = random.Random("%s %s" % (load.seed, name))
        self.parked = threading.Event()
        self.rounds = 0  # of this life
        self.number = 0  # of changes, over all lives
        self.error = None

    def start(self):
        self.parked.clear()
        self.rounds = 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            self.begin()
            while not self.load.stopped.is_set():
                self.load.gate.pass_by(self)
                self.one_round()
                self.rounds += 1
        except OSError as error:
            if not self.load.ending.is_set():
                self.error = error
        except Exception as error:
            self.error = error
        finally:
            self.parked.set()
            self.close()

    def begin(self):
        pass

    def close(self):
        pass

    def text(self):
        """A value that no other change has: its number, then filler that
        needs no escaping, some, or base64; most are short."""
        self.number += 1
        size = self.chance.choice((5, 20, 60, 60, 60, 300, 300, 1500, 5000, 30000))
        size = self.chance.randrange(size)
        filler = self.chance.choice((b"x", b'a\n"b" ', b"\xff\x00\n", "häh ".encode()))
        head = b"%s %d " % (self.name.encode(), self.number)
        return head + (filler * (size // len(filler) + 1))[:size]


# ---------------------------------------------------------------------- RESP


class WrongReply(Exception):
    pass


class Connection:
    """RESP2 with raw pipelines."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.replies = self.socket.makefile("rb")

    def close(self):
        self.replies.close()
        self.socket.close()

    def send(self, commands):
        self.socket.sendall(b"".join(map(request, commands)))

    def read(self):
        """One reply: its line; of a bulk string its bytes; or a list."""
        line = self.replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the connection was closed")
        if line[:1] == b"*":
            return [self.read() for _ in range(int(line[1:]))]
        if line[:1] != b"$" or line == b"$-1\r\n":
            return line[:-2]
        size = int(line[1:])
        bulk = self.replies.read(size + 2)
        if len(bulk) != size + 2:
            raise ConnectionError("the connection was closed")
        return bulk[:-2]

    def ask(self, *words):
        self.send([words])
        return self.read()


def request(words):
    pieces = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        pieces.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(pieces)


class RespWriter(Writer):
    def begin(self):
        self.connection = Connection(self.load.port)

    def close(self):
        if getattr(self, "connection", None):
            self.connection.close()
            self.connection = None


class Changer(RespWriter):
    """All kinds of changes of its own keys, in pipelines."""

    PIPELINE_MAX = 40

    def __init__(self, load, name):
        super().__init__(load, name)
        self.keys = kill_model.OwnKeys(name.encode() + b"/")
        plain = [self.keys.prefix + b"k%d" % i for i in range(ENTRIES_MAX // 2)]
        deep = [self.keys.prefix + b"d%d/k%d" % (i % 7, i) for i in range(ENTRIES_MAX // 2)]
        odd = [self.keys.prefix + word for word in (b"\xff\xfe", b"a b\n\"c\"", b"base64:x")]
        self.names = plain + deep + odd
        self.numbers = [self.keys.prefix + b"n%d" % i for i in range(5)]

    def one_round(self):
        commands, replies = [], []
        for _ in range(self.chance.randint(1, self.PIPELINE_MAX)):
            words, reply, changes = self.chance.choice(self.KINDS)(self)
            self.keys.send(changes)
            commands.append(words)
            replies.append((words, reply))
        self.connection.send(commands)
        for words, reply in replies:
            said = self.connection.read()
            if said != reply:
                raise WrongReply("%r: %r, wanted %r" % (words[:3], said[:200], reply))
            self.keys.acknowledge()

    def any(self):
        return self.chance.choice(self.names)

    def present(self):
        """A key that is there, or None."""
        keys = [key for key in self.chance.sample(self.names, 8) if key in self.keys.view]
        return keys[0] if keys else None

    def set(self):
        key, text = self.any(), self.text()
        return ("SET", key, text), b"+OK", {key: (text, 0)}

    def set_until(self):
        key, text, expires_ms = self.any(), self.text(), self.far()
        words = ("SET", key, text, "PXAT", expires_ms)
        return words, b"+OK", {key: (text, expires_ms)}

    def far(self):
        return int(time.time() * 1000) + 10**9 + self.chance.randrange(10**6)

    def delete(self):
        keys = list(dict.fromkeys(self.any() for _ in range(self.chance.randint(1, 4))))
        count = sum(key in self.keys.view for key in keys)
        return ("DEL", *keys), b":%d" % count, dict.fromkeys(keys)

    def append(self):
        key, text = self.any(), self.text()
        old, expires_ms = self.keys.view.get(key, (b"", 0))
        if len(old) + len(text) > VALUE_MAX:
            return self.set()
        text = text[: self.chance.randint(0, 300)]
        entry = (old + text, expires_ms)
        return ("APPEND", key, text), b":%d" % len(entry[0]), {key: entry}

    def set_many(self):
        keys = list(dict.fromkeys(self.any() for _ in range(self.chance.randint(2, 7))))
        changes = {key: (self.text(), 0) for key in keys}
        words = [word for key in keys for word in (key, changes[key][0])]
        return ("MSET", *words), b"+OK", changes

    def rename(self):
        key, to = self.present(), self.any()
        if key is None or key == to:
            return self.set()
        return ("RENAME", key, to), b"+OK", {key: None, to: self.keys.view[key]}

    def copy(self):
        key, to = self.present(), self.any()
        if key is None or key == to:
            return self.set()
        return ("COPY", key, to, "REPLACE"), b":1", {to: self.keys.view[key]}

    def count(self):
        key = self.chance.choice(self.numbers)
        number = int(self.keys.view.get(key, (b"0", 0))[0]) + 1
        return ("INCR", key), b":%d" % number, {key: (b"%d" % number, 0)}

    def expire(self):
        key = self.present()
        if key is None:
            return self.set()
        expires_ms = self.far()
        words = ("PEXPIREAT", key, expires_ms)
        return words, b":1", {key: (self.keys.view[key][0], expires_ms)}

    def expire_now(self):
        key = self.present()
        if key is None:
            return self.set()
        return ("PEXPIREAT", key, 1), b":1", {key: None}

    def persist(self):
        key = self.present()
        if key is None:
            return self.set()
        value, expires_ms = self.keys.view[key]
        return ("PERSIST", key), b":%d" % (expires_ms > 0), {key: (value, 0)}

    def set_range(self):
        key = self.present()
        if key is None:
            return self.set()
        value, expires_ms = self.keys.view[key]
        patch = self.text()[:20]
        at = self.chance.randint(0, len(value))
        entry = (value[:at] + patch + value[at + len(patch) :], expires_ms)
        return ("SETRANGE", key, at, patch), b":%d" % len(entry[0]), {key: entry}

    KINDS = (
        [set] * 5
        + [append] * 4
        + [delete, set_many, rename, count] * 3
        + [set_until, expire, expire_now, persist, copy, set_range]
    )


class Expirer(RespWriter):
    """Keys that live for fractions of a second."""

    def __init__(self, load, name):
        super().__init__(load, name)
        self.keys = kill_model.BriefKeys(name.encode() + b":")

    def one_round(self):
        for _ in range(5):
            text = self.text()[:200]
            key = self.keys.prefix + b"%d" % self.number
            expires_ms = int(time.time() * 1000) + self.chance.randint(20, 2000)
            self.keys.sent[key] = (text, expires_ms)
            said = self.connection.ask("SET", key, text, "PXAT", expires_ms)
            if said != b"+OK":
                raise WrongReply("SET %r: %r" % (key, said))
            self.keys.acknowledged.add(key)
        time.sleep(0.005)


class Sharer(RespWriter):
    """Changes keys that others change at the same moment."""

    def one_round(self):
        self.chance.choice(self.KINDS)(self)

    def expect(self, reply, *words):
        said = self.connection.ask(*words)
        if not said.startswith(reply):
            raise WrongReply("%r: %r" % (words[:2], said[:200]))

    def count(self):
        shared, many = self.load.shared, self.chance.randint(1, 20)
        with shared.lock:
            shared.increments[0] += many
        self.connection.send([("INCR", shared.counter)] * many)
        for _ in range(many):
            said = self.connection.read()
            if said[:1] != b":":
                raise WrongReply("INCR: %r" % said)
            with shared.lock:
                shared.increments[1] += 1

    def grow(self):
        shared, piece, text = self.load.shared, *self.piece()
        self.expect(b":", "APPEND", shared.growing, text)
        with shared.lock:
            shared.pieces[piece] = True

    def piece(self):
        self.number += 1
        piece = (self.name.encode(), b"%d" % self.number)
        with self.load.shared.lock:
            self.load.shared.pieces[piece] = False
        return piece, b"<%s:%s>" % piece

    def replace(self):
        key, register = self.chance.choice(sorted(self.load.shared.registers.items()))
        text = None if self.chance.random() < 0.3 else self.text()
        with self.load.shared.lock:
            write = register.send(text)
        if text is None:
            self.expect(b":", "DEL", key)
        else:
            self.expect(b"+OK", "SET", key, text)
        with self.load.shared.lock:
            register.acknowledge(write)

    def replace_pair(self):
        key, register = self.chance.choice(sorted(self.load.shared.pairs.items()))
        text = self.text()
        with self.load.shared.lock:
            write = register.send(text)
        self.expect(b"+OK", "MSET", key + b":a", text, key + b":b", text)
        with self.load.shared.lock:
            register.acknowledge(write)

    KINDS = [count, grow, replace, replace, replace_pair]


# ----------------------------------------------------------------- the mount


class Filer(Writer):
    """Files below one directory of the mount: written, appended to, copied,
    moved, removed, with their directories."""

    DIRS, FILES = 4, 12

    def __init__(self, load, name):
        super().__init__(load, name)
        self.keys = kill_model.OwnKeys(name.encode() + b"/")
        self.top = self.keys.prefix[:-1]

    def path(self, key):
        return os.path.join(self.load.root, key.rstrip(b"/"))

    def begin(self):
        if not self.keys.view:
            self.do({self.keys.prefix: (b"", 0)}, os.mkdir, self.path(self.top))

    def do(self, changes, call, *arguments, partial=()):
        """One change: in flight until the call returns."""
        self.keys.send(changes, partial)
        call(*arguments)
        self.keys.acknowledge()

    def one_round(self):
        self.begin()  # FLUSHDB may have emptied it
        self.chance.choice(self.KINDS)(self)

    # What there is, as keys.

    def dirs(self):
        return [self.top + b"/d%d/" % i for i in range(self.DIRS)]

    def is_dir(self, marker):
        return any(key.startswith(marker) for key in self.keys.view)

    def any_dir(self):
        there = [marker for marker in self.dirs() if self.is_dir(marker)]
        return self.chance.choice(there + [self.keys.prefix])

    def any_file(self):
        return self.any_dir() + b"f%d" % self.chance.randrange(self.FILES)

    def present_file(self):
        files = [key for key in self.keys.view if not key.endswith(b"/")]
        return self.chance.choice(files) if files else None

    def kept_dirs(self, key, changes):
        """Removing a directory's last key leaves it a marker."""
        parent = key[: key.rindex(b"/") + 1]
        after = dict(self.keys.view)
        kill_model.change(after, changes)
        if not any(other.startswith(parent) for other in after):
            changes[parent] = (b"", 0)
        return changes

    # Changes. What write() is given in two pieces is one value all the same.

    def put(self, path, pieces, mode):
        with open(path, mode, 0) as file:
            for piece in pieces:
                file.write(piece)
            # What was only truncated is not committed by close(2), but behind it.
            if not any(pieces) or self.chance.random() < 0.1:
                os.fsync(file.fileno())

    def write(self):
        key, text = self.any_file(), self.text()
        half = len(text) // 2
        partial = [{key: (part, 0)} for part in (b"", text[:half])]
        pieces = (text[:half], text[half:])
        self.do({key: (text, 0)}, self.put, self.path(key), pieces, "wb", partial=partial)

    def append(self):
        key, text = self.any_file(), self.text()[:500]
        old = self.keys.view.get(key, (b"", 0))[0]
        if len(old) > VALUE_MAX:
            self.write()
            return
        partial = [{key: (old, 0)}]
        self.do({key: (old + text, 0)}, self.put, self.path(key), (text,), "ab", partial=partial)

    def copy(self):
        source, key = self.present_file(), self.any_file()
        if source is None or source == key:
            self.write()
            return
        partial = [{key: (b"", 0)}]
        self.do({key: self.keys.view[source]}, self.copy_file, source, key, partial=partial)

    def copy_file(self, source, key):
        with open(self.path(source), "rb") as file:
            text = file.read()
        wanted = self.keys.settled[source][0]
        if text != wanted:
            raise WrongReply("reading %r: %r, wanted %r" % (source, text[:99], wanted[:99]))
        self.put(self.path(key), (text,), "wb")

    def truncate(self):
        key = self.present_file()
        if key is None:
            self.write()
            return
        size = self.chance.randrange(100)
        text = self.keys.view[key][0][:size].ljust(size, b"\0")
        self.do({key: (text, 0)}, os.truncate, self.path(key), size)

    def move(self):
        source, key = self.present_file(), self.any_file()
        if source is None or source == key:
            self.write()
            return
        changes = {source: None, key: self.keys.view[source]}
        changes = self.kept_dirs(source, changes)
        self.do(changes, os.rename, self.path(source), self.path(key))

    def remove(self):
        key = self.present_file()
        if key is None:
            self.write()
            return
        self.do(self.kept_dirs(key, {key: None}), os.unlink, self.path(key))

    def make_dir(self):
        missing = [marker for marker in self.dirs() if not self.is_dir(marker)]
        if missing:
            marker = self.chance.choice(missing)
            self.do({marker: (b"", 0)}, os.mkdir, self.path(marker))

    def move_dir(self):
        there = [marker for marker in self.dirs() if self.is_dir(marker)]
        missing = [marker for marker in self.dirs() if not self.is_dir(marker)]
        if not there or not missing:
            self.make_dir()
            return
        source, to = self.chance.choice(there), self.chance.choice(missing)
        changes = {}
        for key, entry in self.keys.view.items():
            if key.startswith(source):
                changes[key] = None
                changes[to + key[len(source) :]] = entry
        self.do(changes, os.rename, self.path(source), self.path(to))

    def remove_dir(self):
        empty = [marker for marker in self.dirs() if marker in self.keys.view]
        empty = [m for m in empty if sum(key.startswith(m) for key in self.keys.view) == 1]
        if empty:
            marker = self.chance.choice(empty)
            self.do({marker: None}, os.rmdir, self.path(marker))

    KINDS = (
        [write, append] * 5
        + [move, remove, copy] * 3
        + [truncate, make_dir, move_dir, remove_dir]
    )


class FileSharer(Sharer):
    """Appends to the growing text as a shell would: echo piece >> file."""

    def begin(self):
        pass

    def one_round(self):
        path = os.path.join(self.load.root, self.load.shared.growing)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        piece, text = self.piece()
        with open(path, "ab", 0) as file:
            file.write(text)
        with self.load.shared.lock:
            self.load.shared.pieces[piece] = True
        time.sleep(0.001)


class Load:
    """All writers of one server, over all its lives. start() before each,
    end() when it was ended."""

    def __init__(self, seed, mount):
        self.seed = seed
        self.mount = mount
        self.root_fd = None
        self.port = None
        self.shared = kill_model.SharedKeys(b"shared/")
        self.writers = [Changer(self, "c0"), Changer(self, "c1"), Expirer(self, "brief")]
        self.writers += [Sharer(self, "s0"), Sharer(self, "s1")]
        if mount:
            self.writers += [Filer(self, "m0"), Filer(self, "m1"), FileSharer(self, "ms")]
        self.stopped = threading.Event()
        self.ending = threading.Event()
        self.gate = Gate()

    @property
    def root(self):
        """The mount's root by a descriptor: when the mount has gone nothing
        must be written to, and acknowledged by, the directory below it."""
        return b"/proc/self/fd/%d" % self.root_fd

    def start(self, port):
        self.port = port
        if self.mount:
            self.root_fd = os.open(self.mount, os.O_RDONLY | os.O_DIRECTORY)
        self.stopped.clear()
        self.ending.clear()
        self.gate.release()
        for writer in self.writers:
            writer.start()

    def trouble(self):
        """What must not have happened to a writer, or None."""
        for writer in self.writers:
            if writer.error is not None:
                return "%s: %r" % (writer.name, writer.error)
        return None

    def under_way(self, rounds):
        return all(writer.rounds >= rounds for writer in self.writers)

    def end(self):
        """tstd is gone, or is to be left alone."""
        self.stopped.set()
        for writer in self.writers:
            writer.thread.join()
        if self.mount:
            os.close(self.root_fd)

    def models(self):
        return [writer.keys for writer in self.writers if hasattr(writer, "keys")]

    def forget(self):
        """The store was emptied while nothing was in flight."""
        self.shared.forget()
        for model in self.models():
            model.forget()
