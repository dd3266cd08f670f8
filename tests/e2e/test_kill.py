"""kill -9 at random moments, again and again: what was acknowledged is there."""

import random
import time
import unittest

import harness
import load

SEED = 9
CYCLES = 60 if harness.LONG else 4 if harness.SMALL else 10


class Kill(harness.StoreTest):
    def kill_again_and_again(self, kinds, mount):
        print("seed", SEED)
        chance = random.Random(SEED)
        server = self.server(mount=mount, start=False)
        books = {kind: load.Book() for kind in kinds}
        for life in range(1, CYCLES + 1):
            server.start()
            writers = [kind(server, kind.__name__.lower(), books[kind]) for kind in kinds]
            with server.client() as client:
                for writer in writers:
                    writer.lives = life
                    writer.check(self, client)
            self.live_and_die(server, writers, chance)
        server.start()
        with server.client() as client:
            for writer in writers:
                writer.check(self, client)
        self.stop(server)
        harness.run(harness.TST, "check", server.data)

    def live_and_die(self, server, writers, chance):
        """All writers get to write, then the server is killed in mid-flight."""
        load.wait_for_work(self, writers, 3)
        time.sleep(chance.uniform(0, 0.6))
        server.kill()
        for writer in writers:
            writer.stop()
            self.assertIsNone(writer.error)

    def test_acknowledged_changes_survive_kill_9(self):
        kinds = (load.Setter, load.PairSetter, load.Appender, load.Deleter)
        self.kill_again_and_again(kinds, mount=False)

    @harness.needs_fuse
    def test_closed_files_survive_kill_9(self):
        self.kill_again_and_again((load.FileWriter, load.Setter), mount=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
