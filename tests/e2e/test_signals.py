"""SIGTERM, SIGINT and SHUTDOWN under load: exit 0, unmounted, nothing lost."""

import os
import signal
import time
import unittest

import redis

import harness
import load


@harness.needs_fuse
class Signals(harness.StoreTest):
    KINDS = (load.Setter, load.PairSetter, load.Appender, load.FileWriter)

    def end_under_load(self, end):
        """Lets writers run, ends the server, opens it again and compares."""
        server = self.server(mount=True)
        writers = [
            kind(server, kind.__name__.lower(), load.Book()) for kind in self.KINDS
        ]
        load.wait_for_work(self, writers, 20)
        end(server)
        self.assertEqual(server.wait(), 0, server.output())
        self.assertFalse(harness.is_mounted(server.mount))
        for writer in writers:
            writer.stop()
            self.assertIsNone(writer.error)
        server.start()
        with server.client() as client:
            for writer in writers:
                writer.whole = False
                writer.check(self, client)

    def test_sigterm_under_load_loses_nothing(self):
        self.end_under_load(lambda server: server.process.send_signal(signal.SIGTERM))

    def test_sigint_under_load_loses_nothing(self):
        self.end_under_load(lambda server: server.process.send_signal(signal.SIGINT))

    def test_shutdown_under_load_loses_nothing(self):
        def shut_down(server):
            with server.client() as client:
                try:
                    client.execute_command("SHUTDOWN")
                except redis.exceptions.ConnectionError:
                    pass

        self.end_under_load(shut_down)

    def test_a_second_signal_changes_nothing(self):
        server = self.server(mount=True)
        with server.client() as client:
            client.set("key", "value")
        server.process.send_signal(signal.SIGTERM)
        try:
            server.process.send_signal(signal.SIGINT)
        except ProcessLookupError:
            pass
        self.assertEqual(server.wait(), 0)
        self.assertFalse(harness.is_mounted(server.mount))

    def test_what_an_open_file_holds_is_committed_at_the_end(self):
        server = self.server(mount=True)
        path = os.path.join(server.mount, "open")
        file = os.open(path, os.O_CREAT | os.O_WRONLY)
        os.write(file, b"not closed yet")
        self.stop(server)
        with self.assertRaises(OSError):
            os.close(file)
        server.start()
        with server.client() as client:
            self.assertEqual(client.get("open"), b"not closed yet")

    def test_a_stale_mount_of_a_killed_server_is_replaced(self):
        server = self.server(mount=True)
        path = os.path.join(server.mount, "key")
        for life in range(4):
            harness.write_file(path, b"value %d" % life)
            # What the kernel has cached of the dead mount must fool nobody.
            os.stat(server.mount)
            server.kill()
            server.start()
            self.assertEqual(harness.read_file(path), b"value %d" % life)
            self.assertEqual(harness.mounts_below(self.dir), [server.mount])
        self.stop(server)

    def test_unmounting_by_hand_leaves_the_server_or_ends_it_cleanly(self):
        server = self.server(mount=True)
        with server.client() as client:
            client.set("key", "value")
        harness.run("fusermount3", "-u", server.mount)
        time.sleep(0.1)
        if server.running():
            with server.client() as client:
                self.assertEqual(client.get("key"), b"value")
            self.stop(server)
        else:
            self.assertEqual(server.wait(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
