"""resp_work - two hundred requests, and what is compared of their replies.

Knows the protocol's bytes and the commands; must never know of faults.
"""

import socket

import harness

EXACT, SORTED, LOOSE = range(3)  # how replies are compared
SOME_TIME = 4102444800  # far away, in seconds
LATER = SOME_TIME + 1000000
LARGE = 5000 if harness.SMALL else 300000  # bytes; slow builds read them singly


class Error(bytes):
    """An error reply."""


class Simple(bytes):
    """A status."""


class Closed(Exception):
    """The server closed the connection."""


class Connection:
    """Requests as bytes, replies as Python values."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=70)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, *requests):
        pieces = []
        for words in requests:
            pieces.append(b"*%d\r\n" % len(words))
            for word in words:
                word = word if isinstance(word, bytes) else str(word).encode()
                pieces.append(b"$%d\r\n%s\r\n" % (len(word), word))
        try:
            self.socket.sendall(b"".join(pieces))
        except OSError as error:
            raise Closed(str(error)) from None

    def receive(self):
        try:
            line = self.file.readline()
            if not line.endswith(b"\r\n"):
                raise Closed("the connection was closed")
            return self._value(line[:1], line[1:-2])
        except OSError as error:
            raise Closed(str(error)) from None

    def _value(self, kind, text):
        if kind == b"+":
            return Simple(text)
        if kind == b"-":
            return Error(text)
        if kind == b":":
            return int(text)
        if kind == b"_":
            return None
        if kind == b"#":
            return text == b"t"
        if kind == b",":
            return float(text)
        if kind in b"$=":
            return self._bulk(int(text))
        if kind in b"*~":
            return self._items(int(text))
        if kind == b"%":
            return self._items(2 * int(text))
        raise ValueError("no reply starts with %r" % (kind + text))

    def _bulk(self, size):
        if size < 0:
            return None
        data = self.file.read(size + 2)
        if len(data) < size + 2:
            raise Closed("in the middle of a reply")
        return data[:-2]

    def _items(self, count):
        return None if count < 0 else [self.receive() for _ in range(count)]

    def ask(self, *words):
        self.send(words)
        return self.receive()

    def ask_all(self, requests):
        self.send(*requests)
        return [self.receive() for _ in requests]


# ------------------------------------------------------------------ requests


def strings():
    yield from (
        ("SET", "k", "v"),
        ("GET", "k"),
        ("SET", "k", "w", "XX", "GET"),
        ("SET", "n", "1", "NX"),
        ("SET", "n", "2", "NX"),
        ("SET", "nowhere", "2", "XX"),
        ("SET", "e", "v", "EXAT", SOME_TIME),
        ("SET", "e", "w", "KEEPTTL"),
        ("SET", "p", "v", "PX", "900000"),
        ("SETEX", "x", "1000", "v"),
        ("PSETEX", "y", "1000000", "v"),
        ("SETNX", "z", "v"),
        ("SETNX", "z", "w"),
        ("GETSET", "k", "x"),
        ("GETDEL", "z"),
        ("GETDEL", "z"),
        ("GETEX", "x", "EX", "2000"),
        ("GETEX", "x", "PERSIST"),
        ("GETEX", "nowhere"),
        ("SET", "bin", bytes(range(256))),
        ("GET", "bin"),
        ("SET", b"\xff\x00key", "binary key"),
        ("GET", b"\xff\x00key"),
        ("SET", "long", b"0123456789abcdef" * (LARGE // 150)),
        ("GET", "long"),
        ("SET", "larger", b"x" * LARGE),
        ("GET", "larger"),
        ("STRLEN", "larger"),
        ("GETRANGE", "long", "100", "200"),
        ("SUBSTR", "long", "-5", "-1"),
        ("SETRANGE", "long", "10", "ABC"),
        ("SETRANGE", "padded", "20", "end"),
        ("GET", "padded"),
        ("SETRANGE", "long", LARGE // 7, "far"),
        ("STRLEN", "long"),
        ("STRLEN", "nowhere"),
        ("SET", "k" * 500, "of a long key"),
        ("GET", "k" * 500),
        ("SET", "", "of the empty key"),
        ("GET", ""),
    )


def numbers_and_appends():
    yield from (
        ("SET", "c", "10"),
        ("INCR", "c"),
        ("INCRBY", "c", "5"),
        ("DECR", "c"),
        ("DECRBY", "c", "3"),
        ("INCR", "fresh"),
        ("INCRBYFLOAT", "f", "1.5"),
        ("INCRBYFLOAT", "f", "0.25"),
        ("INCR", "k"),
        ("INCRBY", "c", "9223372036854775807"),
    )
    for i in range(30):
        yield ("APPEND", "log", "line %d\n" % i)
    yield from (
        ("GET", "log"),
        ("APPEND", "long", b"y" * 500),
        ("APPEND", "e", " keeps its expiry"),
        ("EXPIRETIME", "e"),
        ("GET", "e"),
    )


def several_keys():
    pairs = [word for i in range(12) for word in ("m:%d" % i, "value %d" % i)]
    yield ("MSET", *pairs)
    yield ("MGET", *["m:%d" % i for i in range(14)])
    yield from (
        ("MSETNX", "m:20", "a", "m:21", "b"),
        ("MSETNX", "m:21", "a", "m:22", "b"),
        ("EXISTS", "m:1", "m:2", "nowhere", "m:1"),
        ("TOUCH", "m:1", "nowhere"),
        ("DEL", "m:3", "m:4", "nowhere"),
        ("UNLINK", "m:5", "m:6"),
        ("RENAME", "m:7", "m:8"),
        ("RENAMENX", "m:8", "m:9"),
        ("RENAMENX", "m:8", "m:30"),
        ("RENAME", "nowhere", "m:30"),
        ("COPY", "m:9", "m:31"),
        ("COPY", "m:10", "m:31", "REPLACE"),
        ("COPY", "m:10", "m:31"),
        ("COPY", "e", "e2"),
        ("EXPIRETIME", "e2"),
        ("TYPE", "m:1"),
        ("TYPE", "nowhere"),
        ("DBSIZE",),
    )


def expiries():
    yield from (
        ("EXPIREAT", "m:1", SOME_TIME),
        ("PEXPIREAT", "m:2", SOME_TIME * 1000 + 5),
        ("EXPIREAT", "m:1", LATER, "NX"),
        ("EXPIREAT", "m:1", LATER, "GT"),
        ("EXPIREAT", "m:1", SOME_TIME, "GT"),
        ("EXPIREAT", "m:1", SOME_TIME, "LT"),
        ("EXPIREAT", "m:9", SOME_TIME, "XX"),
        ("EXPIRETIME", "m:1"),
        ("PEXPIRETIME", "m:2"),
        ("EXPIRE", "m:10", "10000"),
        ("PEXPIRE", "m:11", "10000000"),
        ("PERSIST", "m:10"),
        ("PERSIST", "m:10"),
        ("TTL", "m:10"),
        ("PTTL", "nowhere"),
        ("EXPIRE", "m:31", "-1"),
        ("GET", "m:31"),
    )


def listings():
    yield ("KEYS", "*"), SORTED
    yield ("KEYS", "m:*"), SORTED
    yield ("SCAN", "0", "COUNT", "1000"), SORTED
    yield ("SCAN", "0", "MATCH", "m:*", "COUNT", "1000", "TYPE", "string"), SORTED
    yield ("RANDOMKEY",), LOOSE


def about_the_server():
    for words in (
        ("PING",),
        ("PING", "hello"),
        ("ECHO", "hello"),
        ("SELECT", "0"),
        ("SELECT", "99"),
        ("OBJECT", "ENCODING", "k"),
        ("OBJECT", "REFCOUNT", "k"),
        ("OBJECT", "HELP"),
        ("MEMORY", "HELP"),
        ("COMMAND", "COUNT"),
        ("COMMAND", "INFO", "get", "set", "mget"),
        ("COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"),
        ("COMMAND", "GETKEYSANDFLAGS", "GET", "a"),
        ("COMMAND", "LIST"),
        ("COMMAND", "DOCS", "get", "client"),
        ("COMMAND", "HELP"),
        ("COMMAND",),
        ("CONFIG", "SET", "timeout", "0"),
        ("CONFIG", "SET", "save", "100 1"),
        ("CONFIG", "SET", "nosuch", "1"),
        ("CONFIG", "SET", "client-output-buffer-limit", "normal 0 0 0"),
        ("CONFIG", "GET", "max*", "save"),
        ("CONFIG", "HELP"),
        ("CONFIG", "RESETSTAT"),
        ("CLIENT", "SETNAME", "somebody"),
        ("CLIENT", "SETINFO", "LIB-NAME", "test"),
        ("CLIENT", "SETINFO", "LIB-VER", "1.0"),
        ("CLIENT", "NO-EVICT", "on"),
        ("CLIENT", "NO-TOUCH", "off"),
        ("CLIENT", "HELP"),
        ("CLIENT", "KILL", "ID", "999999"),
        ("SAVE",),
        ("WAIT", "0", "0"),
        ("NOSUCH", "command", "at all"),
        ("GET",),
        ("SET", "k", "v", "EX", "nonsense"),
        ("AUTH", "nobody", "nothing"),
    ):
        yield words, EXACT
    for words in (
        ("CLIENT", "GETNAME"),
        ("CLIENT", "ID"),
        ("CLIENT", "INFO"),
        ("CLIENT", "LIST"),
        ("CONFIG", "GET", "*"),
        ("MEMORY", "USAGE", "k"),
        ("INFO",),
        ("INFO", "everything"),
        ("INFO", "memory", "stats"),
        ("TIME",),
        ("LASTSAVE",),
        ("HELLO", "3"),
        ("CLIENT", "INFO"),
        ("CONFIG", "GET", "port"),
        ("HELLO", "2"),
        ("RESET",),
    ):
        yield words, LOOSE


# These take far more calls than all others, so they are not among them.
FLUSHES = (("FLUSHALL",), ("FLUSHDB", "ASYNC"))


def requests():
    """(words, how to compare the replies) of a whole run."""
    for part in (strings, numbers_and_appends, several_keys, expiries):
        for words in part():
            yield words, EXACT
    yield from listings()
    yield from about_the_server()


def first_error(reply):
    """MGET answers for each key; an empty string: there is none."""
    if isinstance(reply, list):
        return next(filter(None, map(first_error, reply)), b"")
    return reply if isinstance(reply, Error) else b""


def same(a, b, how):
    if how == LOOSE:
        return isinstance(a, Error) == isinstance(b, Error)
    if how == SORTED and isinstance(a, list) and isinstance(b, list):
        return in_order(a) == in_order(b)
    return type(a) is type(b) and a == b


def in_order(reply):
    """KEYS and SCAN list in no order."""
    if len(reply) == 2 and isinstance(reply[1], list):
        return [reply[0], sorted(reply[1])]
    return sorted(reply)


def dump(connection):
    """{key: (value, expires_ms)} of all that is there."""
    keys = sorted(connection.ask("KEYS", "*"))
    found = {}
    asked = [words for key in keys for words in (("GET", key), ("PEXPIRETIME", key))]
    replies = connection.ask_all(asked)
    for key, value, expires_ms in zip(keys, replies[::2], replies[1::2]):
        if value is not None and expires_ms != -2:
            found[key] = (value, expires_ms)
    return found


def difference(found, wanted):
    """What is different of two dumps, in words; an empty string: nothing."""
    for key in sorted(set(found) | set(wanted)):
        if key not in found:
            return "%r is gone" % key[:40]
        if key not in wanted:
            return "%r should not be there" % key[:40]
        value, expires_ms = found[key]
        if value != wanted[key][0]:
            return "%r is %r, not %r" % (key[:40], value[:60], wanted[key][0][:60])
        if (expires_ms < 0) != (wanted[key][1] < 0) or abs(
            expires_ms - wanted[key][1]
        ) > 120000:
            return "%r expires at %d, not %d" % (key[:40], expires_ms, wanted[key][1])
    return ""
