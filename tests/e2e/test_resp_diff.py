"""tstd and Debian's redis-server side by side: the same commands, the same
bytes. Where Redis itself answers in no fixed order, or with the time, the
replies are made comparable first."""

import shutil
import socket
import subprocess
import unittest

import harness

LINE = b"\r\n"
MANY = b"*%>~"  # types whose count is followed by elements


def encode(words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


class Wire:
    """A connection that reads replies as raw bytes, one at a time."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.settimeout(harness.DEADLINE_S)
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def reply(self):
        """One reply: (its bytes, its elements' bytes)."""
        head = self.file.readline()
        if not head.endswith(LINE):
            return head, []
        kind, count = head[:1], head[1:-2]
        if kind in (b"$", b"=") and int(count) >= 0:
            head += self.file.read(int(count) + 2)
        elements = []
        if kind in MANY and int(count) > 0:
            total = int(count) * (2 if kind == b"%" else 1)
            elements = [self.reply()[0] for _ in range(total)]
        return head + b"".join(elements), elements

    def call(self, *words):
        self.socket.sendall(encode(words))
        return self.reply()

    def send(self, raw):
        self.socket.sendall(raw)

    def rest(self):
        """All bytes until the other side closes."""
        return self.file.read()


def words_of(line):
    """A command in shell-like notation: words, and "…" with \\x escapes."""
    result, word, quoted = [], "", False
    for char in line + " ":
        if char == '"':
            quoted = not quoted
            word += "\0" if not quoted and not word else ""
        elif char == " " and not quoted:
            if word:
                result.append(word)
            word = ""
        else:
            word += char
    return [
        w.replace("\0", "").encode().decode("unicode_escape").encode("latin1")
        for w in result
    ]


SCRIPTS = {
    "get and set": r"""
        GET a|SET a 1|GET a|SET a ""|GET a|SET "" empty|GET ""
        SET "\x00\xff\r\n" "\x01\x00b"|GET "\x00\xff\r\n"|EXISTS "\x00\xff\r\n"
        SET a 1 NX|SET a 2 XX|GET a|SET b 1 XX|GET b|SET b 1 nx|GET b
        SET a 3 GET|SET nosuch 1 GET|SET nosuch 2 XX GET|SET nosuch 3 NX GET
        GET nosuch|SET fresh 1 XX GET|GET fresh|SET fresh 1 NX GET|GET fresh
        SET a|SET|SET a b c|SET a b NX XX|SET a b XX NX|SET a b EX|SET a b PX
        SET a b EX 10 PX 10|SET a b EX 10 KEEPTTL|SET a b KEEPTTL EX 10
        SET a b EXAT 10 PXAT 10|SET a b PERSIST|SET a b EX 0|SET a b EX -1
        SET a b EX x|SET a b EX 1.5|SET a b EX 9223372036854775807
        SET a b PX 9223372036854775807|SET a b PX 0|SET a b EXAT 0
        SET a b PXAT -5|SET a b EX 9223372036854776|SET a b EX " 5"
        SET a b EX 100|TTL a|SET a c KEEPTTL|TTL a|SET a d|TTL a
        SET a b EX 100 EX 200|TTL a|SET a b EX 100 NX|SET c b NX EX 100|TTL c
        SET a old|SET a new EXAT 1|GET a|EXISTS a|SET a new PXAT 1 GET|GET a
        SET a old|SET a new GET PXAT 1|GET a|SET a new NX EXAT 1|GET a
        SET a old|SET a new NX EXAT 1|GET a|SET nosuch new XX EXAT 1
        SET a b get|SET a c Ex 100|GET a|GET|GET a b|get a|gEt a
    """,
    "older ways to set": r"""
        SETNX a 1|SETNX a 2|GET a|SETNX a|GETSET a 5|GETSET new 6|GET new
        EXPIRE a 100|GETSET a 7|TTL a|GETDEL a|GETDEL a|GET a|GETDEL|GETDEL a b
        SETEX a 100 v|TTL a|GET a|SETEX a 0 v|SETEX a -1 v|SETEX a x v|SETEX a
        SETEX a 9223372036854775807 v|PSETEX a 100000 w|GET a|PSETEX a 0 w
        PSETEX a x w|PSETEX a 9223372036854775807 w|GETEX a|GETEX nosuch
        GETEX a EX 100|TTL a|GETEX a PERSIST|TTL a|GETEX a PX 100000|TTL a
        GETEX a EXAT 1|GET a|SET a 1|GETEX a PXAT 1|GET a|SET a 1|GETEX a EX
        GETEX a EX 0|GETEX a EX x|GETEX a EX 10 PERSIST|GETEX a KEEPTTL
        GETEX a NX|GETEX a GET|GETEX nosuch EX 100|GETEX nosuch EX 0|GETEX
    """,
    "several keys": r"""
        MSET a 1 b 2 c 3|MGET a b c d|MGET a a|MSET a|MSET a 1 b|MSET|MGET
        MSET a x a y|GET a|EXPIRE a 100|MSET a z|TTL a|MSETNX a 1 n 2|GET n
        MSETNX n 1 m 2|MGET n m|MSETNX z 1 z 2|GET z|MSETNX a|MSETNX a 1 b
        DEL a b nosuch|DEL a|DEL|UNLINK c n n m|UNLINK|EXISTS z|EXISTS z z z
        EXISTS nosuch z|EXISTS|TOUCH z z nosuch|TOUCH|DBSIZE|DBSIZE x
    """,
    "counting": r"""
        INCR n|INCR n|DECR n|INCRBY n 10|DECRBY n 3|GET n|INCRBY n -5|DECRBY n -5
        INCR|INCR n x|INCRBY n|INCRBY n x|INCRBY n 1.5|INCRBY n ""|INCRBY n " 1"
        INCRBY n +1|INCRBY n 01|INCRBY n -0|INCRBY n 0|DECRBY n x
        SET n 9223372036854775807|INCR n|GET n|DECR n|INCRBY n 2|INCRBY n 1
        SET n -9223372036854775808|DECR n|INCR n|DECRBY n 1|DECRBY n 1
        DECRBY n -9223372036854775808|INCRBY n 9223372036854775808
        SET n abc|INCR n|SET n ""|INCR n|SET n " 1"|INCR n|SET n 1.0|INCR n
        SET n 01|INCR n|SET n +1|INCR n|SET n -0|INCR n|SET n "1\x00"|INCR n
        SET n 5 EX 100|INCR n|TTL n|INCRBY n 5|TTL n
        SET f 10.50|INCRBYFLOAT f 0.1|INCRBYFLOAT f -5|INCRBYFLOAT f 5.0e3
        SET f 3.0e3|INCRBYFLOAT f 200|INCRBYFLOAT f x|INCRBYFLOAT f ""
        INCRBYFLOAT f " 1"|INCRBYFLOAT f nan|INCRBYFLOAT f inf|INCRBYFLOAT f -inf
        INCRBYFLOAT new 1.5|INCRBYFLOAT new -1.5|SET f abc|INCRBYFLOAT f 1
        SET f 1|INCRBYFLOAT f 1e400|INCRBYFLOAT f 1e300|INCRBYFLOAT f|GET f
        SET f 1 EX 100|INCRBYFLOAT f 1|TTL f|INCRBYFLOAT f 0x10|SET f 1e-5
        INCRBYFLOAT f 0|INCRBYFLOAT new2 0.1|INCRBYFLOAT new2 0.2|INCRBYFLOAT new2 1e17
    """,
    "parts of values": r"""
        APPEND a Hello|APPEND a " World"|GET a|STRLEN a|STRLEN nosuch|APPEND a ""
        APPEND e ""|EXISTS e|STRLEN e|APPEND|STRLEN|APPEND a
        GETRANGE a 0 3|GETRANGE a -3 -1|GETRANGE a 0 -1|GETRANGE a 10 100
        GETRANGE a 100 200|GETRANGE a 5 2|GETRANGE a -1 -5|GETRANGE a -100 2
        GETRANGE a -100 -50|GETRANGE nosuch 0 -1|GETRANGE a x 1|GETRANGE a 1 x
        GETRANGE a 0|SUBSTR a 0 3|SUBSTR a|GETRANGE e 0 -1|GETRANGE a 0 0
        GETRANGE a -9223372036854775808 9223372036854775807
        SETRANGE a 6 Redis|GET a|SETRANGE new 5 x|GET new|SETRANGE a -1 x
        SETRANGE a x x|SETRANGE nosuch 0 ""|EXISTS nosuch|SETRANGE a 100 ""
        SETRANGE a 536870912 x|SETRANGE a 536870911 xx|SETRANGE a 0 ""
        SETRANGE a 9223372036854775807 x|SETRANGE a 0|EXPIRE a 100
        SETRANGE a 0 J|TTL a|GET a
    """,
    "keys": r"""
        MSET one 1 two 2 three 3|KEYS *|KEYS t*|KEYS one|KEYS nosuch|KEYS ?ne
        KEYS [ot]*|KEYS [^o]*|KEYS t\\wo|KEYS "t[h-w]*"|KEYS|KEYS a b|KEYS ""
        TYPE one|TYPE nosuch|TYPE|RENAME one uno|GET uno|EXISTS one
        RENAME nosuch x|RENAME uno two|GET two|RENAME two two|RENAME nosuch nosuch
        RENAME a|EXPIRE two 100|RENAME two dos|TTL dos|TTL two|SET t x EX 500
        RENAME dos t|TTL t|RENAMENX t three|RENAMENX t four|GET four
        RENAMENX nosuch z|RENAMENX four four|RENAMENX a|RANDOMKEY x
        COPY four five|GET five|TTL five|COPY four five|COPY four three REPLACE
        GET three|COPY nosuch x|COPY four four|COPY a|COPY four x DB|COPY four x DB 99
        COPY four x DB x|COPY four x FOO|COPY four six DB 0|GET six|COPY four x REPLACE REPLACE
        SCAN x|SCAN 0 COUNT 0|SCAN 0 COUNT x|SCAN 0 FOO|SCAN 0 MATCH
        SCAN|SCAN 0 COUNT -1|SCAN 0 TYPE hash COUNT 1000|SCAN 0 MATCH nosuch* COUNT 1000
        SCAN "" COUNT 1000|SCAN -1 COUNT 1000 MATCH nosuch*|SCAN " 1"|SCAN 1x|SCAN "0\x00x" COUNT 1000
        SCAN 18446744073709551616|SCAN 0 TYPE nosuch COUNT 1000|SCAN 0 COUNT 1000|SCAN 0 MATCH f* COUNT 1000 TYPE string
        OBJECT ENCODING four|SET i 123|OBJECT ENCODING i|OBJECT REFCOUNT four
        SET l 012345678901234567890123456789012345678901234567890123456789
        OBJECT ENCODING l|OBJECT ENCODING nosuch|OBJECT REFCOUNT nosuch
        OBJECT|OBJECT FOO|OBJECT ENCODING|OBJECT ENCODING a b|OBJECT foo bar
        MEMORY USAGE nosuch|MEMORY|MEMORY USAGE|MEMORY FOO|MEMORY USAGE a SAMPLES
        MEMORY USAGE a SAMPLES x|MEMORY USAGE a SAMPLES -1|MEMORY USAGE a FOO 1
        FLUSHDB|DBSIZE|RANDOMKEY|KEYS *|SCAN 0|FLUSHALL ASYNC|FLUSHALL SYNC
        FLUSHALL x|FLUSHDB SYNC x|FLUSHDB ASYNC
    """,
    "expiry": r"""
        TTL nosuch|PTTL nosuch|EXPIRETIME nosuch|PEXPIRETIME nosuch|PERSIST nosuch
        SET a 1|TTL a|PTTL a|EXPIRETIME a|PEXPIRETIME a|PERSIST a|EXPIRE nosuch 10
        EXPIRE a 100|TTL a|PERSIST a|TTL a|PEXPIRE a 100000|TTL a
        EXPIREAT a 33177117420|EXPIRETIME a|PEXPIRETIME a
        PEXPIREAT a 33177117420500|EXPIRETIME a|PEXPIRETIME a
        PEXPIREAT a 33177117420499|EXPIRETIME a|PERSIST a|PERSIST
        EXPIRE a|EXPIRE a x|EXPIRE a 1.5|EXPIRE a 10 FOO|EXPIRE a 10 NX XX
        EXPIRE a 10 GT LT|EXPIRE a 10 NX GT|EXPIRE a 10 NX LT|EXPIRE a x NX XX
        EXPIRE a 9223372036854775807|EXPIRE a -9223372036854775807
        EXPIRE a 9223372036854775|EXPIREAT a 9223372036854775807
        PEXPIRE a 9223372036854775807|EXPIRE nosuch 9223372036854775807
        EXISTS a|SET a 1|EXPIRE a 100 XX|EXPIRE a 100 GT|EXPIRE a 100 LT|TTL a
        EXPIRE a 50 GT|TTL a|EXPIRE a 200 GT|TTL a|EXPIRE a 300 LT|EXPIRE a 100 LT
        TTL a|EXPIRE a 100 NX|EXPIRE a 500 XX|TTL a|EXPIRE a 600 XX GT|TTL a
        EXPIRE a 0|EXISTS a|SET a 1|EXPIRE a -1|EXISTS a|SET a 1|PEXPIRE a 0
        EXISTS a|SET a 1|EXPIREAT a 1|EXISTS a|SET a 1|PEXPIREAT a 1|EXISTS a
        SET a 1|PEXPIREAT a 0|EXISTS a|SET a 1|PEXPIREAT a -1000|EXISTS a
        SET a 1|EXPIREAT a -9223372036854775808|PEXPIREAT a -9223372036854775808|EXISTS a
        TTL|PTTL|EXPIRETIME|PEXPIRETIME a b|PEXPIRE|EXPIREAT a|PEXPIREAT
    """,
    "connection": r"""
        PING|PING hello|PING a b|ECHO hi|ECHO|ECHO a b|SELECT 0|SELECT x|SELECT -1
        SELECT 99|SELECT|AUTH x|AUTH default x|AUTH other x|AUTH|AUTH a b c
        CLIENT GETNAME|CLIENT SETNAME me|CLIENT GETNAME|CLIENT SETNAME "a b"
        CLIENT SETNAME "a\n"|CLIENT SETNAME ""|CLIENT GETNAME|CLIENT SETNAME
        CLIENT|CLIENT FOO|CLIENT ID x|CLIENT INFO x|CLIENT GETNAME x
        CLIENT KILL 1.2.3.4:5|CLIENT KILL ID x|CLIENT KILL ID 0|CLIENT KILL ID 9999
        CLIENT KILL TYPE foo|CLIENT KILL TYPE pubsub|CLIENT KILL SKIPME foo
        CLIENT KILL FOO x|CLIENT KILL ID|CLIENT KILL USER nobody|CLIENT KILL
        CLIENT KILL ADDR 1.2.3.4:5|CLIENT KILL LADDR 1.2.3.4:5 SKIPME yes
        CLIENT KILL ID 9999 TYPE|CLIENT LIST FOO|CLIENT LIST TYPE foo
        CLIENT LIST TYPE pubsub|CLIENT LIST TYPE replica|CLIENT LIST ID x
        CLIENT LIST ID 9999|CLIENT LIST ID -1|CLIENT LIST ID 0|CLIENT LIST ID|CLIENT LIST TYPE
        CLIENT NO-EVICT on|CLIENT NO-EVICT off|CLIENT NO-EVICT x|CLIENT NO-EVICT
        CLIENT REPLY ON|CLIENT REPLY foo|CLIENT REPLY
        HELLO x|HELLO 1|HELLO 4|HELLO 2 FOO|HELLO 2 SETNAME|HELLO 2 SETNAME "a b"
        HELLO 2 AUTH a|HELLO 2 AUTH a b|RESET|RESET x|WAIT 0 0|WAIT x 0|WAIT 0 x
        WAIT 0 -1|WAIT|SHUTDOWN x|SHUTDOWN ABORT|SHUTDOWN SAVE NOSAVE
        SHUTDOWN ABORT NOW|LASTSAVE x|TIME x|SAVE x|BGSAVE x|BGSAVE SCHEDULE x|BGREWRITEAOF x|COMMAND FOO|CONFIG|CONFIG FOO
    """,
    "configuration": r"""
        CONFIG GET save|CONFIG GET|CONFIG GET nosuch
        CONFIG GET maxmemory|CONFIG GET timeout|CONFIG GET TIMEOUT|CONFIG GET time*
        CONFIG GET maxclients proto-max-bulk-len|CONFIG GET client-output-buffer-limit
        CONFIG GET client-query-buffer-limit|CONFIG GET appendfsync|CONFIG GET requirepass
        CONFIG GET tcp-keepalive|CONFIG GET protected-mode|CONFIG GET loglevel
        CONFIG SET timeout 100|CONFIG GET timeout|CONFIG SET timeout 0
        CONFIG SET timeout x|CONFIG SET timeout -1|CONFIG SET nosuch 1|CONFIG SET
        CONFIG SET timeout|CONFIG SET timeout 1 timeout 2|CONFIG GET timeout
        CONFIG SET timeout 5 nosuch|CONFIG SET nosuch 5 timeout
        CONFIG SET timeout 5 nosuch 1|CONFIG SET timeout 5 loglevel foo
        CONFIG GET timeout|CONFIG SET protected-mode maybe|CONFIG SET databases 3
        CONFIG SET timeout 5 tcp-keepalive 60|CONFIG GET timeout tcp-keepalive
        CONFIG SET timeout 0 tcp-keepalive 300|CONFIG SET proto-max-bulk-len 100mb
        CONFIG GET proto-max-bulk-len|CONFIG SET proto-max-bulk-len 512mb
        CONFIG SET proto-max-bulk-len x|CONFIG SET proto-max-bulk-len 1
        CONFIG SET client-output-buffer-limit x
        CONFIG SET client-output-buffer-limit "foo 1 2 3"
        CONFIG SET client-output-buffer-limit "normal 1 2 x"
        CONFIG SET client-output-buffer-limit "normal 1mb 2mb 60"
        CONFIG GET client-output-buffer-limit
        CONFIG SET client-output-buffer-limit "normal 0 0 0"
        CONFIG SET save x|CONFIG SET save "900 1"|CONFIG GET save|CONFIG SET save ""
        CONFIG SET appendonly x|CONFIG RESETSTAT|CONFIG RESETSTAT x
    """,
    "the command table": r"""
        COMMAND COUNT x|COMMAND INFO nosuch|COMMAND DOCS nosuch|COMMAND INFO get
        COMMAND INFO set del mget mset getset getdel setnx append strlen incr decr
        COMMAND INFO incrby decrby keys scan type rename expire pexpire ttl pttl
        COMMAND INFO persist dbsize flushdb flushall ping echo quit select hello
        COMMAND INFO info save lastsave shutdown time getex getrange substr setrange
        COMMAND INFO setex psetex msetnx incrbyfloat renamenx copy touch randomkey
        COMMAND INFO expireat pexpireat expiretime pexpiretime reset auth wait
        COMMAND INFO bgrewriteaof bgsave unlink exists client|id client|kill client|list client|getname
        COMMAND INFO client|info client|reply client|setname client|no-evict
        COMMAND INFO config|get config|set config|resetstat memory|usage
        COMMAND INFO object|encoding object|refcount command|docs command|list
        COMMAND INFO command|count command|info command|getkeys client|nosuch
        COMMAND LIST FILTERBY MODULE x|COMMAND LIST FOO|COMMAND LIST FILTERBY x y
        COMMAND LIST FILTERBY ACLCAT nosuch|COMMAND LIST FILTERBY PATTERN "ge[t]*x"
        COMMAND GETKEYS get a|COMMAND GETKEYS mset a 1 b 2|COMMAND GETKEYS ping x
        COMMAND GETKEYS nosuch x|COMMAND GETKEYS get|COMMAND GETKEYS get a b
        COMMAND GETKEYS rename a b|COMMAND GETKEYS memory usage k|COMMAND GETKEYS
        COMMAND GETKEYS del a b c|COMMAND GETKEYSANDFLAGS set a b
        COMMAND GETKEYSANDFLAGS set a b get|COMMAND GETKEYSANDFLAGS copy a b
        COMMAND GETKEYSANDFLAGS mset a 1 b 2
    """,
    "unknown commands": r"""
        FOO|FOO bar|FOO bar baz|"fo o"|"foo\r\nbar" x|"" x|foo "" x|FOO "a\x00b" c
        FOO 'quoted' "a'b"|get|GET a b c|"get\x00" a|POSTX|FO"\x80"O "\xff\xfe"
        FOO aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb c d
        FOO aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa b
        FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF b
        CLIENT aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa b
    """,
}

# Streams after which the connection is closed, or not; all that comes back.
STREAMS = [
    b"PING\r\n",
    b"PING\n",
    b"\r\n\r\nPING\r\n",
    b"*0\r\nPING\r\n",
    b"*-1\r\nPING\r\n",
    b"*-10\r\nPING\r\n",
    b"SET a 'x y'\r\nGET a\r\n",
    b'SET a "x\\x41\\n\\"y"\r\nGET a\r\n',
    b"SET a 'x\\'y'\r\nGET a\r\n",
    b'SET a "x"y\r\nPING\r\n',
    b'SET a "x\r\nPING\r\n',
    b"SET a 'x\r\nPING\r\n",
    b'GET ""\r\n',
    b"  PING   \t hello  \r\n",
    b"*1\r\nPING\r\n",
    b"*1\r\n:4\r\nPING\r\n",
    b"*1\r\n\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$x\r\n",
    b"*1\r\n$4x\r\nPING\r\n",
    b"*1\r\n$+4\r\nPING\r\n",
    b"*1\r\n$ 4\r\nPING\r\n",
    b"*1\r\n$99999999999999999999\r\n",
    b"*1\r\n$536870913\r\n",
    b"*x\r\n",
    b"*1x\r\n",
    b"*\r\n",
    b"*9223372036854775808\r\n",
    b"*2147483648\r\n",
    b"*3000000000\r\n",
    b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
    b"*1\r\n$0\r\n\r\nPING\r\n",
    b"A" * 70000,
    b"*" + b"1" * 70000,
    b"*1\r\n$" + b"1" * 70000,
    b"*2\r\n$4\r\nECHO\r\n$3\r\na\r\n\r\n",
    b"QUIT\r\nPING\r\n",
    b"QUIT now please\r\n",
    b"POST / HTTP/1.1\r\n\r\n",
    b"GET a\r\nHost: x\r\nPING\r\n",
    b"PING\r\n*1\r\n$x\r\nPING\r\n",
    b"CLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY ON\r\nPING\r\n",
    b"CLIENT REPLY SKIP\r\nPING\r\nPING\r\n",
    b"CLIENT REPLY SKIP\r\nCLIENT REPLY SKIP\r\nPING\r\nPING\r\n",
]

# What has no fixed order is sorted.
UNORDERED = (b"KEYS", b"SCAN", b"COMMAND LIST", b"CONFIG GET")


def comparable(words, raw, elements):
    """The reply, made independent of order and of what may differ."""
    line = b" ".join(words).upper()
    if line.startswith(b"SCAN") and len(elements) == 2:
        return sorted(elements[1].split(b"$"))
    if line.startswith(UNORDERED):
        return sorted(elements) or raw
    return raw


@unittest.skipUnless(shutil.which("redis-server"), "redis-server is missing")
class SideBySide(harness.StoreTest):
    def setUp(self):
        super().setUp()
        self.ours = self.server()
        self.redis = self.start_redis()

    def start_redis(self):
        port = harness.free_port()
        process = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1"]
            + ["--save", "", "--dir", self.dir],
            stdout=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)

        def answers():
            try:
                Wire(port).close()
                return True
            except OSError:
                return False

        harness.wait_until(answers, "redis-server to answer")
        return port

    def compare(self, lines, before=()):
        """Runs the lines on both; returns what differs."""
        ours, theirs = Wire(self.ours.port), Wire(self.redis)
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        for command in (("FLUSHALL",),) + tuple(before):
            ours.call(*command)
            theirs.call(*command)
        differing = []
        for line in lines:
            words = words_of(line)
            mine = comparable(words, *ours.call(*words))
            his = comparable(words, *theirs.call(*words))
            if mine != his:
                differing.append("%s\n  tstd:  %r\n  redis: %r" % (line, mine, his))
        return differing

    def lines_of(self, script):
        rows = [row.strip() for row in script.strip().splitlines()]
        return [line for row in rows for line in row.split("|") if line]

    def check(self, before=()):
        for name, script in SCRIPTS.items():
            with self.subTest(name):
                script = script.replace("|id", "\1id")
                for container in ("client", "config", "memory", "object", "command"):
                    script = script.replace(container + "|", container + "\1")
                lines = [line.replace("\1", "|") for line in self.lines_of(script)]
                differing = self.compare(lines, before)
                self.assertEqual(differing, [], "\n" + "\n".join(differing))

    def test_replies_in_resp2_are_the_same(self):
        self.check()

    def test_replies_in_resp3_are_the_same(self):
        self.check(before=(("HELLO", "3"),))

    def everything(self, port, stream):
        wire = Wire(port)
        wire.call("FLUSHALL")
        wire.send(stream)
        wire.socket.shutdown(socket.SHUT_WR)
        try:
            return wire.rest()
        except ConnectionResetError:
            return b"(reset)"
        finally:
            wire.close()

    def test_raw_streams_are_answered_the_same(self):
        for stream in STREAMS:
            with self.subTest(stream[:60]):
                mine = self.everything(self.ours.port, stream)
                his = self.everything(self.redis, stream)
                if his != b"(reset)":
                    self.assertEqual(mine, his)
                else:
                    self.assertTrue(mine.startswith(b"-ERR Protocol error"), mine)

    def test_a_password_is_asked_for_in_the_same_words(self):
        lines = self.lines_of(
            """
            CONFIG SET requirepass secret|PING|AUTH wrong|AUTH default wrong
            AUTH nobody secret|AUTH secret|AUTH default secret|RESET|PING|GET a
            NOSUCH a b|GET|HELLO 2|HELLO 3|HELLO 2 AUTH default wrong|ECHO x
            HELLO 5|CLIENT ID|COMMAND COUNT|AUTH|CLIENT SETNAME x|QUIT
            """
        )
        try:
            differing = self.compare(lines)
            self.assertEqual(differing, [], "\n" + "\n".join(differing))
        finally:
            for port in (self.ours.port, self.redis):
                wire = Wire(port)
                wire.call("AUTH", "secret")
                wire.call("CONFIG", "SET", "requirepass", "")
                wire.close()

    def test_guests_have_tighter_limits(self):
        for stream in (b"*11\r\n", b"*1\r\n$16385\r\n", b"*10\r\n$4\r\nPING\r\n"):
            answers = []
            for port in (self.ours.port, self.redis):
                wire = Wire(port)
                wire.call("CONFIG", "SET", "requirepass", "secret")
                guest = Wire(port)
                guest.send(stream)
                guest.socket.shutdown(socket.SHUT_WR)
                answers.append(guest.rest())
                guest.close()
                wire.call("CONFIG", "SET", "requirepass", "")
                wire.close()
            self.assertEqual(answers[0], answers[1])


if __name__ == "__main__":
    unittest.main()
