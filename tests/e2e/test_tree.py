"""A real tree: copied in, compared, killed, compared again."""

import os
import subprocess
import unittest

import harness

WANTED_FILES = 1000


def count(top, kind):
    done = harness.run("find", top, "-type", kind, "-printf", "x")
    return len(done.stdout)


def build_tree(top):
    """A tree of source-like files, for machines without headers."""
    for number in range(WANTED_FILES):
        folder = os.path.join(top, "d%d" % (number % 40), "e%d" % (number % 7))
        os.makedirs(folder, exist_ok=True)
        text = b"/* file %d */\n" % number * (number % 300)
        harness.write_file(os.path.join(folder, "f%d.h" % number), text)


@harness.needs_fuse
class Tree(harness.StoreTest):
    def make_source(self):
        """A copy of a real tree, without what cannot be copied (links that
        lead nowhere)."""
        source = self.path("source")
        candidates = ["/usr/include", "/usr/share/doc", "/usr/lib/python3"]
        if harness.SMALL:
            candidates = ["/usr/include/linux", "/usr/include/c++"]
        for candidate in candidates:
            if not os.path.isdir(candidate):
                continue
            subprocess.run(
                ["cp", "-rL", candidate, source], stderr=subprocess.DEVNULL
            )
            if harness.SMALL or count(source, "f") >= WANTED_FILES:
                return source
            harness.run("rm", "-rf", source)
        build_tree(source)
        return source

    def compare(self, source, copy):
        done = harness.run("diff", "-r", source, copy, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, b""))
        self.assertEqual(count(copy, "f"), count(source, "f"))

    def compare_by_resp(self, source, server):
        """The keys are the tree's files and directories, byte for byte."""
        names = []
        for folder, _, files in os.walk(source):
            names += [os.path.join(folder, name) for name in files]
        with server.client() as client:
            for start in range(0, len(names), 100):
                part = names[start : start + 100]
                keys = ["include" + name[len(source) :] for name in part]
                values = client.mget(keys)
                for name, value in zip(part, values):
                    self.assertEqual(value, harness.read_file(name), name)
            keys = client.dbsize()
        self.assertEqual(keys, len(names) + count(source, "d"))

    def test_a_copied_tree_is_the_same_also_after_kill_9(self):
        source = self.make_source()
        server = self.server(mount=True)
        copy = os.path.join(server.mount, "include")
        harness.run("cp", "-rL", source, copy)
        print("%d files" % count(source, "f"))
        self.compare(source, copy)
        self.compare_by_resp(source, server)
        stdio = os.path.join(source, "stdio.h")
        if os.path.exists(stdio):
            printed = server.cli("GET", "include/stdio.h")
            self.assertEqual(printed, harness.read_file(stdio) + b"\n")

        server.kill()
        server.start()
        self.compare(source, copy)
        self.compare_by_resp(source, server)

        harness.run("rm", "-r", copy)
        with server.client() as client:
            self.assertEqual(client.dbsize(), 0)

    def test_git_and_rsync_and_tar_live_on_the_mount(self):
        source = self.path("small")
        for number in range(60):
            folder = os.path.join(source, "d%d" % (number % 5))
            os.makedirs(folder, exist_ok=True)
            harness.write_file(os.path.join(folder, "f%d" % number), b"%d\n" % number)
        server = self.server(mount=True)
        copy = os.path.join(server.mount, "repository")
        harness.run("rsync", "-a", source + "/", copy + "/")
        again = harness.run("rsync", "-ani", source + "/", copy + "/").stdout
        self.assertNotIn(b">f", again)

        git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
        git += ["-c", "safe.directory=*", "-C", copy]
        harness.run(*git, "init", "-q")
        harness.run(*git, "add", ".")
        harness.run(*git, "commit", "-qm", "All files")
        harness.run(*git, "fsck", "--strict")
        self.assertEqual(harness.run(*git, "status", "--porcelain").stdout, b"")
        self.assertEqual(len(harness.run(*git, "ls-files").stdout.split()), 60)

        tar = self.path("tree.tar")
        harness.run("tar", "-C", copy, "--exclude=.git", "-cf", tar, ".")
        unpacked = self.path("mnt", "unpacked")
        os.mkdir(unpacked)
        harness.run("tar", "-C", unpacked, "--no-same-owner", "-xf", tar)
        self.compare(source, unpacked)


if __name__ == "__main__":
    unittest.main(verbosity=2)
