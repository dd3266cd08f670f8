"""Clients of others: redis-py, ioredis, node-redis, redis-benchmark, modes of
redis-cli."""

import os
import unittest

import redis

import harness


class Clients(harness.StoreTest):
    def setUp(self):
        super().setUp()
        self.store = self.server()

    def node(self, name):
        program = os.path.join(harness.node_dir(), name)
        for protocol in (2, 3):
            with self.subTest(protocol=protocol):
                done = harness.run("node", program, self.store.port, protocol)
                self.assertEqual(done.stdout, b"ok\n", done.stderr)
                self.store.cli("FLUSHALL")

    @harness.needs_node
    def test_ioredis(self):
        self.node("ioredis.mjs")

    @harness.needs_node
    def test_node_redis(self):
        self.node("noderedis.mjs")

    def test_redis_py_strings_and_counts(self):
        with self.store.client() as client:
            self.assertTrue(client.set("a", "1", ex=100))
            self.assertIsNone(client.set("a", "2", nx=True))
            self.assertEqual(client.getset("a", "5"), b"1")
            self.assertEqual(client.incrby("a", 10), 15)
            self.assertEqual(client.decr("a"), 14)
            self.assertEqual(client.append("a", "x"), 3)
            self.assertEqual(client.strlen("a"), 3)
            self.assertEqual(client.getdel("a"), b"14x")
            self.assertEqual(client.exists("a"), 0)
            with self.assertRaises(redis.ResponseError):
                client.execute_command("NOSUCH")

    def test_redis_py_expiry_scan_and_names(self):
        with self.store.client() as client:
            client.mset({"k:%d" % number: number for number in range(500)})
            self.assertEqual(set(client.keys("k:1?")), set(client.scan_iter("k:1?")))
            client.rename("k:1", "moved")
            self.assertEqual(client.get("moved"), b"1")
            self.assertTrue(client.expire("moved", 50))
            self.assertTrue(0 < client.ttl("moved") <= 50)
            self.assertTrue(client.persist("moved"))
            self.assertEqual(client.ttl("moved"), -1)
            self.assertEqual(client.type("moved"), b"string")
            self.assertEqual(client.dbsize(), 500)
            client.client_setname("tester")
            self.assertEqual(client.client_getname(), "tester")
            self.assertTrue(client.save())
            client.flushdb()
            self.assertEqual(client.dbsize(), 0)

    def test_a_redis_py_pipeline_answers_in_order(self):
        with self.store.client() as client:
            pipe = client.pipeline(transaction=False)
            for number in range(2000):
                pipe.set("p:%d" % number, "v%d" % number)
                pipe.get("p:%d" % number)
            replies = pipe.execute()
        self.assertEqual(replies[0::2], [True] * 2000)
        self.assertEqual(replies[1::2], [b"v%d" % number for number in range(2000)])

    def test_redis_benchmark_runs_to_its_end(self):
        requests = 2000 if harness.SMALL else 20000
        for depth in (1, 16):
            done = harness.run(
                *("redis-benchmark", "-p", self.store.port, "-n", requests),
                *("-P", depth, "-c", 20, "-r", 1000, "--csv"),
                *("-t", "ping,set,get,incr,mset"),
            )
            self.assertIn(b'"SET"', done.stdout)
            self.assertIn(b'"MSET (10 keys)"', done.stdout)
            self.assertNotIn(b"Error", done.stdout + done.stderr)

    def test_redis_cli_modes(self):
        cli = self.store.cli
        for number in range(50):
            cli("SET", "key:%d" % number, "x" * number)
        self.assertEqual(len(cli("--scan", "--pattern", "key:1?").split()), 10)
        self.assertIn(b"'key:49'", cli("--bigkeys").replace(b'"', b"'"))
        self.assertEqual(cli("-x", "SET", "stdin", input=b"from stdin"), b"OK\n")
        self.assertEqual(cli("GET", "stdin"), b"from stdin\n")
        self.assertEqual(cli("--no-raw", "DBSIZE"), b"(integer) 51\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
