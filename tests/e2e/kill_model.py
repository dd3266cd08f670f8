"""kill_model - what writers know of their keys, and what may be found of it.

A change is acknowledged, or in flight: sent, and nobody knows yet. After any
end of tstd all that was acknowledged must be there, and of what was in flight
a part that is whole changes. Knows no sockets, no files and no signals.

Keys and values are bytes; what a key has is (value, expires_ms), or nothing.
"""

import itertools
import re
import threading

ticks = itertools.count(1)  # one order for all threads' events


class Finding:
    """One key that is not as it must be."""

    LOST, INVENTED, NOT_WHOLE = "lost", "invented", "not whole"

    def __init__(self, kind, key, found, wanted):
        self.kind = kind
        self.key = key
        self.found = found
        self.wanted = wanted

    def __str__(self):
        wanted = " or ".join(shown(value) for value in self.wanted)
        return "%s: %r has %s, wanted %s" % (
            self.kind,
            self.key,
            shown(self.found),
            wanted,
        )


def shown(entry):
    if entry is None:
        return "nothing"
    value, expires_ms = entry if isinstance(entry, tuple) else (entry, 0)
    text = "%r" % value[:60]
    if len(value) > 60:
        text += "... (%d bytes)" % len(value)
    return text + (" until %d" % expires_ms if expires_ms else "")


class OwnKeys:
    """Keys that one writer alone changes, over one connection or by one thread
    on the mount: its changes happen in the order in which they were sent, so
    what is found must be all that was acknowledged and then so many of those
    in flight, as a whole: a batch is one change."""

    def __init__(self, prefix):
        self.prefix = prefix
        self.settled = {}  # as of what was acknowledged
        self.flight = []  # of (changes, partial outcomes), oldest first
        self.view = {}  # as of what was sent

    def owns(self, key):
        return key.startswith(self.prefix)

    def send(self, changes, partial=()):
        """`changes` is {key: entry or None}. `partial`: what a half-made change
        may become if tstd was asked to end in the middle of it."""
        self.flight.append((changes, partial))
        change(self.view, changes)

    def acknowledge(self):
        change(self.settled, self.flight.pop(0)[0])

    def forget(self):
        """All of it is gone: the store was emptied."""
        self.settled = {}
        self.flight = []
        self.view = {}

    def settle(self, found, asked):
        """Compares; from then on what was found is what is settled. `asked`:
        the end was a SIGTERM's at first. Returns the findings."""
        for state in self.possible(asked):
            if state == found:
                self.settled, self.flight, self.view = state, [], dict(state)
                return []
        findings = self.explain(found, asked)
        self.settled, self.flight, self.view = dict(found), [], dict(found)
        return findings

    def possible(self, asked):
        state = dict(self.settled)
        yield dict(state)
        for changes, partial in self.flight:
            for outcome in partial if asked else ():
                half = dict(state)
                change(half, outcome)
                yield half
            change(state, changes)
            yield dict(state)

    def explain(self, found, asked):
        states = list(self.possible(asked))
        findings = []
        for key in set(found).union(*states):
            wanted = []
            for state in states:
                if state.get(key) not in wanted:
                    wanted.append(state.get(key))
            if found.get(key) in wanted:
                continue
            kind = Finding.LOST if key in self.settled else Finding.INVENTED
            findings.append(Finding(kind, key, found.get(key), wanted))
        if not findings:
            findings.append(
                Finding(Finding.NOT_WHOLE, self.prefix, None, [None]),
            )
        return findings


def change(state, changes):
    for key, entry in changes.items():
        if entry is None:
            state.pop(key, None)
        else:
            state[key] = entry


class BriefKeys:
    """Keys that soon expire, each set once: gone from their time on, there
    until then."""

    def __init__(self, prefix):
        self.prefix = prefix
        self.sent = {}  # key: (value, expires_ms)
        self.acknowledged = set()

    def owns(self, key):
        return key.startswith(self.prefix)

    def forget(self):
        self.sent = {}
        self.acknowledged = set()

    def settle(self, found, before_ms, after_ms):
        """`found` was read between these two times."""
        findings = []
        for key, (value, expires_ms) in self.sent.items():
            entry = found.get(key)
            wanted = []
            if expires_ms > before_ms:
                wanted.append((value, expires_ms))
            if expires_ms <= after_ms or key not in self.acknowledged:
                wanted.append(None)
            if entry not in wanted:
                kind = Finding.INVENTED if entry else Finding.LOST
                findings.append(Finding(kind, key, entry, wanted))
        for key in set(found) - set(self.sent):
            findings.append(Finding(Finding.INVENTED, key, found[key], [None]))
        self.sent = {key: self.sent[key] for key in found if key in self.sent}
        self.acknowledged = set(self.sent)
        return findings


class Register:
    """A value that several writers replace. It may be found with any of their
    values but one that another, acknowledged, was sent after."""

    def __init__(self):
        self.writes = [[None, 0, 0]]  # value, sent, acknowledged or None

    def send(self, value):
        write = [value, next(ticks), None]
        self.writes.append(write)
        return write

    def acknowledge(self, write):
        write[2] = next(ticks)
        # Nobody can find what was over before this one was sent.
        self.writes = [w for w in self.writes if w[2] is None or w[2] > write[1]]

    def possible(self):
        return [write[0] for write in self.writes]

    def settle(self, value):
        self.writes = [[value, 0, 0]]


class SharedKeys:
    """A counter, a growing text, registers and pairs that all writers change
    at once. Safe to call from every thread."""

    REGISTERS = 6
    PAIRS = 4
    PIECE = re.compile(rb"<(\w+):(\d+)>")

    def __init__(self, prefix):
        self.prefix = prefix
        self.lock = threading.Lock()
        self.forget()

    def forget(self):
        self.base = 0  # of the counter
        self.increments = [0, 0]  # sent, acknowledged
        self.text = b""  # of the growing text, as it was found last
        self.pieces = {}  # piece: acknowledged?
        self.registers = {self.prefix + b"r%d" % i: Register() for i in range(self.REGISTERS)}
        self.pairs = {self.prefix + b"p%d" % i: Register() for i in range(self.PAIRS)}

    @property
    def counter(self):
        return self.prefix + b"n"

    @property
    def growing(self):
        return self.prefix + b"log"

    def owns(self, key):
        return key.startswith(self.prefix)

    def settle(self, found):
        found.pop(self.prefix, None)  # its directory's marker
        findings = self.settle_counter(found.pop(self.counter, None))
        findings += self.settle_text(found.pop(self.growing, None))
        for key, register in self.registers.items():
            findings += self.settle_register(key, register, found.pop(key, None))
        for key, register in self.pairs.items():
            one, two = (found.pop(key + half, None) for half in (b":a", b":b"))
            if one != two:
                findings.append(Finding(Finding.NOT_WHOLE, key, one, [two]))
            findings += self.settle_register(key, register, one)
        for key, entry in found.items():
            findings.append(Finding(Finding.INVENTED, key, entry, [None]))
        return findings

    def settle_counter(self, entry):
        sent, acknowledged = self.increments
        least, most = self.base + acknowledged, self.base + sent
        number = int(entry[0]) if entry else 0
        self.base, self.increments = number, [0, 0]
        if least <= number <= most:
            return []
        kind = Finding.LOST if number < least else Finding.INVENTED
        wanted = [b"%d" % least, b"%d" % most]
        return [Finding(kind, self.counter, b"%d" % number, wanted)]

    def settle_text(self, entry):
        text = entry[0] if entry else b""
        base, pieces = self.text, self.pieces
        self.text, self.pieces = text, {}
        if not text.startswith(base):
            return [Finding(Finding.LOST, self.growing, text, [base])]
        grown = self.PIECE.findall(text, len(base))
        rest = b"".join(b"<%s:%s>" % piece for piece in grown)
        if rest != text[len(base) :]:
            return [Finding(Finding.NOT_WHOLE, self.growing, text[len(base) :], [rest])]
        findings = []
        for piece, acknowledged in pieces.items():
            if acknowledged and piece not in grown:
                findings.append(Finding(Finding.LOST, self.growing, None, [b"<%s:%s>" % piece]))
        for writer in {name for name, _ in grown}:
            numbers = [int(number) for name, number in grown if name == writer]
            if numbers != sorted(set(numbers)):
                findings.append(Finding(Finding.INVENTED, self.growing, rest, [None]))
        if not set(grown) <= set(pieces):
            findings.append(Finding(Finding.INVENTED, self.growing, rest, [None]))
        return findings

    def settle_register(self, key, register, entry):
        value = entry[0] if entry else None
        wanted = register.possible()
        register.settle(value)
        if value in wanted:
            return []
        return [Finding(Finding.LOST, key, value, wanted)]
