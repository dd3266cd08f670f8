"""tstd over its socket: pieces of requests, hostile streams, long pipelines,
clients that do not read, and what the options of the server do."""

import os
import random
import re
import resource
import signal
import socket
import stat
import subprocess
import threading
import time
import unittest

import redis

import harness
from test_resp_diff import Wire, encode

SEED = 20240611


def resident_kb(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1))


class Served(harness.StoreTest):
    args = ()

    def setUp(self):
        super().setUp()
        self.store = self.server(args=self.args)

    def wire(self):
        wire = Wire(self.store.port)
        self.addCleanup(wire.close)
        return wire

    def assert_well(self):
        """The server still serves, and others get the right answers."""
        wire = self.wire()
        self.assertEqual(wire.call("SET", "well", "yes")[0], b"+OK\r\n")
        self.assertEqual(wire.call("GET", "well")[0], b"$3\r\nyes\r\n")


class Pieces(Served):
    PIPELINE = (
        encode(["SET", "k", "va\r\nlue"])
        + b"GET k\r\n"
        + encode(["APPEND", "k", b"\x00\xff"])
        + encode(["STRLEN", "k"])
        + b"set 'a b' \"c\\x41\"\r\n"
        + encode(["GET", "a b"])
        + encode(["NOSUCH", "x"])
        + b"PING\r\n"
    )
    ANSWERS = (
        b"+OK\r\n$7\r\nva\r\nlue\r\n:9\r\n:9\r\n+OK\r\n$2\r\ncA\r\n"
        b"-ERR unknown command 'NOSUCH', with args beginning with: 'x' \r\n"
        b"+PONG\r\n"
    )

    def answers(self, pieces):
        wire = self.wire()
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            wire.send(piece)
            time.sleep(0.0005)
        return wire.file.read(len(self.ANSWERS))

    def test_a_pipeline_split_at_each_byte_is_answered_the_same(self):
        for at in range(1, len(self.PIPELINE)):
            pieces = self.PIPELINE[:at], self.PIPELINE[at:]
            self.assertEqual(self.answers(pieces), self.ANSWERS, at)

    def test_a_pipeline_of_single_bytes_is_answered_the_same(self):
        pieces = [bytes([byte]) for byte in self.PIPELINE]
        self.assertEqual(self.answers(pieces), self.ANSWERS)

    def test_ten_thousand_commands_in_one_write(self):
        wire = self.wire()
        count = 10000
        stream = b"".join(
            encode(["SET", "k%d" % i, i]) + encode(["GET", "k%d" % i])
            for i in range(count)
        )
        sender = threading.Thread(target=wire.send, args=(stream,))
        sender.start()
        for i in range(count):
            self.assertEqual(wire.reply()[0], b"+OK\r\n")
            text = b"%d" % i
            self.assertEqual(wire.reply()[0], b"$%d\r\n%s\r\n" % (len(text), text))
        sender.join()
        self.assertEqual(wire.call("DBSIZE")[0], b":%d\r\n" % count)

    def test_what_came_before_the_end_of_input_is_answered(self):
        wire = self.wire()
        wire.send(b"SET k v\r\n" * 5000 + b"GET k\r\n*2\r\n$3\r\nGE")
        wire.socket.shutdown(socket.SHUT_WR)
        self.assertEqual(wire.rest(), b"+OK\r\n" * 5000 + b"$1\r\nv\r\n")

    def test_quit_answers_and_closes_and_drops_the_rest(self):
        wire = self.wire()
        wire.send(b"SET k 1\r\nQUIT\r\nSET k 2\r\n")
        self.assertEqual(wire.rest(), b"+OK\r\n+OK\r\n")
        self.assertEqual(self.wire().call("GET", "k")[0], b"$1\r\n1\r\n")

    def test_large_values_come_back_whole(self):
        noise = random.Random(SEED)
        wire = self.wire()
        sizes = [16383, 16384, 16385, 65536, 1 << 20]
        for size in sizes + ([] if harness.SMALL else [9 << 20]):
            value = noise.randbytes(size)
            self.assertEqual(wire.call("SET", "big", value)[0], b"+OK\r\n")
            expected = b"$%d\r\n%s\r\n" % (size, value)
            self.assertEqual(wire.call("GET", "big")[0], expected)
            both = wire.call("MGET", "big", "nosuch", "big")[1]
            self.assertEqual(both, [expected, b"$-1\r\n", expected])
            old = wire.call("SET", "big", "x", "GET")[0]
            self.assertEqual(old, expected)


class Hostile(Served):
    def send_all(self, stream):
        """What is answered; a reset while sending is fine."""
        wire = self.wire()
        try:
            wire.send(stream)
            wire.socket.shutdown(socket.SHUT_WR)
            return wire.rest()
        except OSError:
            return None

    def test_random_streams_leave_it_serving(self):
        noise = random.Random(SEED)
        alphabet = b"*$0123456789-\r\n\r\n\r\nGETSAPING \"'\\x\0"
        for _ in range(400):
            size = noise.randrange(1, 400)
            stream = bytes(noise.choices(alphabet, k=size))
            if noise.random() < 0.3:
                stream = noise.randbytes(size)
            if noise.random() < 0.5:
                stream = b"*" + stream
            self.send_all(stream)
        self.assert_well()

    def test_requests_with_changed_bytes_leave_it_serving(self):
        noise = random.Random(SEED)
        whole = encode(["SET", "key", "value", "EX", "100"]) * 3
        for _ in range(400):
            stream = bytearray(whole)
            for _ in range(noise.randrange(1, 4)):
                stream[noise.randrange(len(stream))] = noise.randrange(256)
            self.send_all(bytes(stream))
        self.assert_well()

    def test_protocol_errors_are_told_before_the_end(self):
        cases = {
            b"*1048577\r\n": b"invalid multibulk length",
            b"*1\r\n$-5\r\n": b"invalid bulk length",
            b"*1\r\n$536870913\r\n": b"invalid bulk length",
            b"*1\r\nPING\r\n": b"expected '$', got 'P'",
            b'SET k "v\r\n': b"unbalanced quotes in request",
            b"x" * 200000: b"too big inline request",
            b"*" + b"1" * 200000: b"too big mbulk count string",
            b"*1\r\n$" + b"1" * 200000: b"too big bulk count string",
        }
        for stream, text in cases.items():
            # Much unread input must not drown the message.
            answer = self.send_all(b"PING\r\n" + stream)
            expected = b"+PONG\r\n-ERR Protocol error: " + text + b"\r\n"
            self.assertEqual(answer, expected)

    def test_announcements_alone_take_no_memory(self):
        before = resident_kb(self.store.process.pid)
        wires = []
        for _ in range(50):
            wire = self.wire()
            wire.send(b"*1048576\r\n$536870912\r\nfew bytes")
            wires.append(wire)
        self.assert_well()
        grown = resident_kb(self.store.process.pid) - before
        self.assertLess(grown, 20000)

    def test_a_key_one_byte_too_long_is_refused_and_named_so(self):
        wire = self.wire()
        self.assertEqual(wire.call("SET", "k" * 65536, "v")[0], b"+OK\r\n")
        self.assertEqual(wire.call("GET", "k" * 65536)[0], b"$1\r\nv\r\n")
        for command in (["SET", "k" * 65537, "v"], ["GET", "k" * 65537]):
            self.assertIn(b"key is too long", wire.call(*command)[0])
        self.assertIn(b"too long", wire.call("MSET", "a", 1, "k" * 65537, 2)[0])
        self.assertEqual(wire.call("EXISTS", "a")[0], b":0\r\n")

    def test_http_is_not_answered(self):
        self.assertEqual(self.send_all(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"), b"")
        self.assert_well()


class SlowReaders(Served):
    VALUE = 200000

    def flood(self, wire, count):
        """Asks for much and reads nothing; until the kernel takes no more."""
        request = encode(["GET", "big"])
        wire.socket.setblocking(False)
        sent = 0
        try:
            for _ in range(count):
                sent += wire.socket.send(request)
        except OSError:
            pass  # the buffers are full, or it was cut off already
        wire.socket.setblocking(True)
        return sent // len(request)

    def prepare(self):
        wire = self.wire()
        wire.call("SET", "big", "x" * self.VALUE)
        # Small and different values are copied into replies.
        wire.call("SET", "small", "y" * 10000)

    def test_a_client_that_does_not_read_takes_little_memory(self):
        self.prepare()
        before = resident_kb(self.store.process.pid)
        wires = [self.wire() for _ in range(5)]
        asked = []
        for wire in wires:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            wire.send(encode(["GET", "small"]) * 20000)
            asked.append(20000)
        time.sleep(0.3)
        self.assert_well()
        grown = resident_kb(self.store.process.pid) - before
        # A sanitizer keeps for a while what is freed.
        self.assertLess(grown, 200000 if harness.SMALL else 60000)
        # And when it reads, everything is there.
        for wire, count in zip(wires, asked):
            for _ in range(count):
                self.assertEqual(len(wire.reply()[0]), 10010)

    def test_large_replies_wait_and_then_come_whole(self):
        self.prepare()
        wire = self.wire()
        count = self.flood(wire, 3000)
        self.assertGreater(count, 1000)
        self.assert_well()
        for _ in range(count):
            self.assertEqual(len(wire.reply()[0]), self.VALUE + 11)

    def test_a_limit_of_output_cuts_off(self):
        self.prepare()
        admin = self.wire()
        admin.call("CONFIG", "SET", "client-output-buffer-limit", "normal 1mb 0 0")
        wire = self.wire()
        self.flood(wire, 3000)

        def cut():
            stats = harness.run(
                "redis-cli", "-p", self.store.port, "INFO", "stats"
            ).stdout
            return b"output_buffer_limit_disconnections:1" in stats

        harness.wait_until(cut, "the client to be cut off")
        with self.assertRaises((OSError, AssertionError)):
            while True:
                self.assertNotEqual(wire.socket.recv(1 << 20), b"")
        self.assert_well()

    def test_a_request_over_the_query_limit_is_cut_off(self):
        admin = self.wire()
        admin.call("CONFIG", "SET", "client-query-buffer-limit", "1mb")
        wire = self.wire()
        with self.assertRaises((OSError, AssertionError)):
            wire.send(encode(["SET", "k", b"x" * 4000000]))
            self.assertNotEqual(wire.socket.recv(10), b"")
            self.fail("it was answered")
        self.assertEqual(admin.call("EXISTS", "k")[0], b":0\r\n")


class Turns(Served):
    def test_many_clients_at_once_get_their_own_answers(self):
        def work(number):
            with self.store.client() as client:
                pipe = client.pipeline(transaction=False)
                for i in range(300):
                    pipe.set("c%d:%d" % (number, i), "%d-%d" % (number, i))
                    pipe.get("c%d:%d" % (number, i))
                    pipe.incr("all")
                answers = pipe.execute()
                for i in range(300):
                    if answers[3 * i + 1] != b"%d-%d" % (number, i):
                        wrong.append((number, i))

        wrong = []
        threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        self.assertEqual(self.wire().call("GET", "all")[0], b"$4\r\n6000\r\n")

    def test_a_killed_client_is_gone_and_others_stay(self):
        first, second = self.wire(), self.wire()
        number = int(first.call("CLIENT", "ID")[0][1:-2])
        self.assertEqual(second.call("CLIENT", "KILL", "ID", number)[0], b":1\r\n")
        self.assertEqual(first.rest(), b"")
        listed = second.call("CLIENT", "LIST")[0]
        self.assertNotIn(b"id=%d " % number, listed)
        # Killing oneself is answered first.
        number = int(second.call("CLIENT", "ID")[0][1:-2])
        done = second.call("CLIENT", "KILL", "ID", number, "SKIPME", "no")
        self.assertEqual(done[0], b":1\r\n")
        self.assertEqual(second.rest(), b"")

    def test_keys_vanish_when_their_time_has_come(self):
        wire = self.wire()
        wire.call("SET", "short", "1", "PX", "40")
        wire.call("PSETEX", "other", "40", "1")
        self.assertEqual(wire.call("EXISTS", "short", "other")[0], b":2\r\n")
        time.sleep(0.06)
        self.assertEqual(wire.call("GET", "short")[0], b"$-1\r\n")
        self.assertEqual(wire.call("TTL", "other")[0], b":-2\r\n")
        self.assertEqual(wire.call("KEYS", "*")[0], b"*0\r\n")
        harness.wait_until(
            lambda: wire.call("DBSIZE")[0] == b":0\r\n", "the background cycle"
        )

    def test_scan_shows_each_key_at_least_once(self):
        wire = self.wire()
        expected = set()
        for i in range(2000):
            wire.call("SET", "key:%d" % i, i)
            expected.add(b"key:%d" % i)
        with self.store.client() as client:
            self.assertEqual(set(client.scan_iter(count=7)), expected)
            matched = set(client.scan_iter("key:1*", count=1000))
            self.assertEqual(matched, {k for k in expected if k[4:5] == b"1"})


class RealTools(Served):
    def test_redis_benchmark_runs_through(self):
        for extra in ([], ["-P", "16"]):
            done = harness.run(
                "redis-benchmark", "-p", self.store.port, "-q", "-n", "20000",
                "-t", "ping,set,get,incr,mset", *extra,
            )
            self.assertEqual(done.stdout.count(b"requests per second"), 6)
            self.assertNotIn(b"rror", done.stdout + done.stderr)

    def test_redis_cli_pipe_loads_a_hundred_thousand_keys(self):
        count = 10000 if harness.SMALL else 100000
        stream = b"".join(encode(["SET", "k:%d" % i, "v%d" % i]) for i in range(count))
        done = harness.run("redis-cli", "-p", self.store.port, "--pipe", input=stream)
        self.assertIn(b"errors: 0, replies: %d" % count, done.stdout)
        self.assertEqual(self.store.cli("DBSIZE"), b"%d\n" % count)
        self.assertEqual(self.store.cli("GET", "k:%d" % (count - 1))[:-1],
                         b"v%d" % (count - 1))

    def test_kill_9_keeps_what_was_acknowledged(self):
        acknowledged = 0
        wire = self.wire()
        threading.Timer(0.5, self.store.process.kill).start()
        try:
            while True:
                batch = range(acknowledged, acknowledged + 20)
                wire.send(b"".join(encode(["SET", "k%d" % i, i]) for i in batch))
                for _ in batch:
                    if wire.reply()[0] != b"+OK\r\n":
                        raise OSError
                    acknowledged += 1
        except OSError:
            pass
        self.store.wait()
        self.assertGreater(acknowledged, 100)
        self.store.start()
        with self.store.client() as client:
            values = client.mget(["k%d" % i for i in range(acknowledged)])
        self.assertEqual(values, [b"%d" % i for i in range(acknowledged)])

    def test_hello_3_maps_are_maps(self):
        wire = self.wire()
        self.assertTrue(wire.call("HELLO", "3")[0].startswith(b"%7\r\n"))
        self.assertEqual(wire.call("GET", "nosuch")[0], b"_\r\n")
        self.assertTrue(wire.call("CONFIG", "GET", "port")[0].startswith(b"%1\r\n"))
        self.assertTrue(wire.call("INFO")[0].startswith(b"="))
        self.assertEqual(wire.call("RESET")[0], b"+RESET\r\n")
        self.assertEqual(wire.call("GET", "nosuch")[0], b"$-1\r\n")

    def test_info_has_what_clients_look_for(self):
        with self.store.client() as client:
            client.set("k", "v", ex=1000)
            client.get("k")
            client.get("nosuch")
            info = client.info()
        self.assertEqual(info["loading"], 0)
        self.assertEqual(info["redis_mode"], "standalone")
        self.assertEqual(info["role"], "master")
        self.assertEqual(info["rdb_bgsave_in_progress"], 0)
        self.assertEqual(info["db0"], {"keys": 1, "expires": 1, "avg_ttl": 0})
        self.assertGreaterEqual(info["keyspace_hits"], 1)
        self.assertGreaterEqual(info["keyspace_misses"], 1)
        self.assertGreater(info["total_commands_processed"], 2)
        self.assertIn("cache_hit_ratio", info)
        only = self.wire().call("INFO", "clients", "stats")[0]
        self.assertIn(b"# Clients", only)
        self.assertIn(b"# Stats", only)
        self.assertNotIn(b"# Server", only)


class Options(harness.StoreTest):
    def run_tstd(self, *words, **options):
        return harness.run(harness.TSTD, *words, check=False, **options)

    def assert_one_line(self, done, *texts):
        self.assertEqual(done.returncode, 1)
        lines = done.stderr.decode().splitlines()
        self.assertEqual(len(lines), 1, lines)
        for text in texts:
            self.assertIn(text, lines[0])

    def test_mistakes_are_one_line_that_helps(self):
        data = ("--data", self.path("x"))
        run = self.run_tstd
        self.assert_one_line(run("--nosuch", "1"), "--nosuch", "--help")
        self.assert_one_line(run("--port", "x"), "--port", "integer")
        self.assert_one_line(run("--port", "70000"), "--port", "65535")
        self.assert_one_line(run("--port"), "--port", "missing")
        self.assert_one_line(run("-x"), "-x", "--help")
        self.assert_one_line(run("--port", "0", *data), "--port", "--unixsocket")
        self.assert_one_line(run("--bind", "nonsense", *data), "nonsense")
        self.assert_one_line(run(self.path("nosuch.conf")), "nosuch.conf")
        self.assert_one_line(run("--data", self.path("a/b/c")), "a/b/c")

    def test_a_port_in_use_says_so(self):
        first = self.server()
        done = self.run_tstd("--port", first.port, "--data", self.path("other"))
        self.assert_one_line(done, str(first.port), "in use", "--port")

    def test_a_locked_store_says_who_has_it(self):
        first = self.server()
        done = self.run_tstd("--port", harness.free_port(), "--data", first.data)
        self.assert_one_line(done, first.data, str(first.process.pid))

    def test_help_and_version(self):
        done = self.run_tstd("--help")
        self.assertEqual(done.returncode, 0)
        for word in (b"--port", b"--mount", b"--cache-policy", b"--health"):
            self.assertIn(word, done.stdout)
        self.assertRegex(self.run_tstd("--version").stdout, rb"^tstd \d+\.\d+\.\d+\n$")

    def test_a_configuration_file_is_read_as_redis_reads_it(self):
        harness.write_file(
            self.path("tstd.conf"),
            b'# a comment\n\nmaxclients 77\n  requirepass "a\\x62c d"\n'
            b"proto-max-bulk-len 2mb\nsave 900 1\nsave 300 10\n"
            b"client-output-buffer-limit normal 1mb 512kb 10\nloglevel verbose\n"
            b"unixsocketperm 700\ntimeout 33\n",
        )
        server = harness.Server(self.path("data"), None, ())
        self.addCleanup(lambda: server.running() and server.kill())
        port = harness.free_port()
        process = subprocess.Popen(
            [harness.TSTD, self.path("tstd.conf"), "--port", str(port)]
            + ["--data", self.path("data"), "--timeout", "44"],
            stdout=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        client = redis.Redis("127.0.0.1", port, password="abc d")
        self.addCleanup(client.close)

        def answers():
            try:
                return client.ping()
            except redis.ConnectionError:
                return False

        harness.wait_until(answers, "tstd to answer")
        told = client.config_get("*")
        self.assertEqual(told["maxclients"], "77")
        self.assertEqual(told["proto-max-bulk-len"], "2097152")
        self.assertEqual(told["save"], "900 1 300 10")
        self.assertEqual(told["timeout"], "44")
        self.assertEqual(told["unixsocketperm"], "700")
        self.assertEqual(told["dir"], self.path("data"))
        self.assertTrue(
            told["client-output-buffer-limit"].startswith("normal 1048576 524288 10 ")
        )

    def test_a_configuration_from_standard_input(self):
        done = self.run_tstd("-", input=b"port 1\nnosuch 5\n")
        self.assert_one_line(done, "standard input, line 2", "nosuch")

    def test_a_unix_socket_alone(self):
        path = self.path("tstd.sock")
        process = subprocess.Popen(
            [harness.TSTD, "--port", "0", "--unixsocket", path]
            + ["--unixsocketperm", "700", "--data", self.path("data")],
            stdout=subprocess.PIPE,
        )
        self.addCleanup(process.stdout.close)
        self.assertIn(b"ready to accept connections on " + path.encode(),
                      process.stdout.readline())
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o700)
        client = redis.Redis(unix_socket_path=path)
        self.assertTrue(client.set("k", "v"))
        self.assertEqual(client.client_list()[0]["addr"], path + ":0")
        health = self.run_tstd("--port", "0", "--unixsocket", path, "--health")
        self.assertEqual(health.returncode, 0)
        client.close()
        process.terminate()
        self.assertEqual(process.wait(harness.DEADLINE_S), 0)
        self.assertFalse(os.path.exists(path))

    def test_health(self):
        server = self.server(args=("--requirepass", "secret"), start=False)
        server.client = lambda **o: redis.Redis(
            "127.0.0.1", server.port, password="secret", **o
        )
        server.start()
        port = ("--port", server.port, "--health")
        self.assertEqual(self.run_tstd(*port, "--requirepass", "secret").returncode, 0)
        self.assert_one_line(self.run_tstd(*port), "NOAUTH")
        self.assert_one_line(self.run_tstd(*port, "--requirepass", "x"), "WRONGPASS")
        free = harness.free_port()
        self.assert_one_line(self.run_tstd("--port", free, "--health"), "refused")

    def test_clients_over_maxclients_are_refused_in_words(self):
        server = self.server(args=("--maxclients", "3"))

        def accepted():
            """The harness's own client may still be there at first."""
            wire = Wire(server.port)
            self.addCleanup(wire.close)
            return wire if wire.call("PING")[0] == b"+PONG\r\n" else None

        wires = [harness.wait_until(accepted, "a free place") for _ in range(3)]
        extra = Wire(server.port)
        self.addCleanup(extra.close)
        self.assertEqual(extra.rest(), b"-ERR max number of clients reached\r\n")
        wires[0].send(b"QUIT\r\n")
        wires[0].rest()

    def test_idle_clients_are_closed_after_the_timeout(self):
        server = self.server(args=("--timeout", "1"))
        wire = Wire(server.port)
        self.addCleanup(wire.close)
        started = time.monotonic()
        self.assertEqual(wire.rest(), b"")
        self.assertGreater(time.monotonic() - started, 0.8)

    def test_a_pid_file_is_there_while_it_runs(self):
        path = self.path("tstd.pid")
        server = self.server(args=("--pidfile", path))
        self.assertEqual(int(harness.read_file(path)), server.process.pid)
        self.stop(server)
        self.assertFalse(os.path.exists(path))

    def test_a_log_file_takes_the_log(self):
        path = self.path("tstd.log")
        server = self.server(args=("--logfile", path))
        self.stop(server)
        log = harness.read_file(path)
        self.assertIn(b"ready to accept connections on 127.0.0.1:%d" % server.port, log)

    def test_shutdown_ends_it_and_keeps_the_pipeline_before_it(self):
        server = self.server()
        wire = Wire(server.port)
        self.addCleanup(wire.close)
        wire.send(encode(["SET", "k", "v"]) * 1000 + encode(["SHUTDOWN"]))
        self.assertEqual(wire.rest(), b"+OK\r\n" * 1000)
        self.assertEqual(server.wait(), 0)
        server.start()
        with server.client() as client:
            self.assertEqual(client.get("k"), b"v")

    def test_who_asks_for_shutdown_is_let_go_when_the_store_is_closed(self):
        server = self.server(args=("--appendfsync", "no"))
        wire = Wire(server.port)
        self.addCleanup(wire.close)
        keys = 2000 if harness.SMALL else 30000
        wire.send(b"".join(b"SET key:%d v\r\n" % n for n in range(keys)))
        wire.send(encode(["SHUTDOWN"]))
        self.assertEqual(wire.rest(), b"+OK\r\n" * keys)
        # Held by nobody now, and with its index.
        done = harness.run(harness.TST, "set", server.data, "k", "v", check=False)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(server.wait(), 0)

    def test_two_signals_end_it_once_and_well(self):
        server = self.server()
        with server.client() as client:
            client.set("k", "v")
        server.process.send_signal(signal.SIGINT)
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0)

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full")
    def test_a_full_store_refuses_in_words_and_serves_reads(self):
        server = self.server(args=("--store-max", "200kb"))
        with server.client() as client:
            client.set("first", "1")
            with self.assertRaisesRegex(redis.ResponseError, "no space"):
                for i in range(1000):
                    client.set("k%d" % i, "x" * 1000)
            self.assertEqual(client.get("first"), b"1")

    def test_a_large_open_file_limit_is_not_needed(self):
        def few_files():
            resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))

        process = subprocess.Popen(
            [harness.TSTD, "--port", str(harness.free_port())]
            + ["--data", self.path("data")],
            stdout=subprocess.PIPE,
            preexec_fn=few_files,
        )
        self.addCleanup(process.stdout.close)
        first = process.stdout.readline() + process.stdout.readline()
        self.assertIn(b"room for 136 clients", first)
        self.assertIn(b"ready to accept", first)
        process.terminate()
        self.assertEqual(process.wait(harness.DEADLINE_S), 0)


class Bulks(Served):
    @unittest.skipUnless(harness.LONG, "only with TOON_LONG=1: 512 MiB")
    def test_the_largest_bulk_goes_in_and_out(self):
        size = 512 << 20
        wire = self.wire()
        wire.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % size)
        for _ in range(512):
            wire.send(b"x" * (1 << 20))
        wire.send(b"\r\n")
        self.assertEqual(wire.reply()[0], b"+OK\r\n")
        wire.send(encode(["GET", "k"]))
        self.assertEqual(len(wire.reply()[0]), size + 14)

    def test_a_bulk_one_byte_too_large_is_refused_at_once(self):
        wire = self.wire()
        wire.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % ((512 << 20) + 1))
        self.assertEqual(
            wire.file.readline(), b"-ERR Protocol error: invalid bulk length\r\n"
        )
        self.assertEqual(wire.file.read(), b"")
        self.assert_well()

    def test_values_grow_to_their_limit_by_pieces_only(self):
        wire = self.wire()
        wire.call("CONFIG", "SET", "proto-max-bulk-len", "1mb")
        self.assertEqual(wire.call("SETRANGE", "k", 1048575, "x")[0], b":1048576\r\n")
        refused = wire.call("SETRANGE", "k", 1048576, "x")[0]
        self.assertIn(b"string exceeds maximum allowed size", refused)


if __name__ == "__main__":
    unittest.main()
