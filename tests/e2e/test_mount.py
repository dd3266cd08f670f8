"""The mount alone (tstfs), with real programs on real keys."""

import ctypes
import errno
import os
import random
import shutil
import signal
import stat
import subprocess
import threading
import time
import unittest

import harness

SEED = 20261122
APPENDERS = 20
LINES_EACH = 40
NAME_SIZE_MAX = 1024
MANY_ENTRIES = 2000 if harness.SMALL else 20000
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2


def renameat2(source, target, flags):
    """rename(2) with flags, which Python does not have. Returns an errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    at_cwd = -100
    done = libc.renameat2(
        at_cwd, os.fsencode(source), at_cwd, os.fsencode(target), flags
    )
    return ctypes.get_errno() if done != 0 else 0


@harness.needs_fuse
class MountTest(harness.StoreTest):
    """A test with a tstfs of its own in the foreground, ended by its pid."""

    def setUp(self):
        super().setUp()
        self.data = self.path("data")
        self.mnt = self.path("mnt")
        self.log = self.path("tstfs.log")
        self.process = None
        os.mkdir(self.mnt)
        self.addCleanup(self._end_process)

    def _end_process(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        report = harness.SANITIZER_REPORT.search(self.said())
        self.assertIsNone(report, self.said())

    def said(self):
        if not os.path.exists(self.log):
            return ""
        return harness.read_file(self.log).decode("utf-8", "replace")

    def start(self, options=""):
        words = ["-o", options] if options else []
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [harness.TSTFS, self.data, self.mnt, "-f"] + words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=harness.end_with_parent,
            )
        harness.wait_until(self._answers, "tstfs to answer")
        self.assertIsNone(self.process.poll(), self.said())

    def _answers(self):
        """A dead mount has attributes that the kernel remembers, too."""
        if self.process.poll() is not None:
            return True
        try:
            return os.statvfs(self.mnt).f_namemax == NAME_SIZE_MAX
        except OSError:
            return False

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        status = self.process.wait(harness.DEADLINE_S)
        self.process = None
        self.assertEqual(status, 0, self.said())
        self.assertFalse(harness.is_mounted(self.mnt))

    def at(self, *names):
        return os.path.join(self.mnt, *names)

    def shell(self, script, check=True):
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=self.mnt,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=harness.DEADLINE_S,
        )
        if check:
            self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def assert_errno(self, number, call, *arguments):
        with self.assertRaises(OSError) as caught:
            call(*arguments)
        self.assertEqual(
            errno.errorcode[caught.exception.errno], errno.errorcode[number]
        )

    def key(self, key):
        """A value, by `tst`, when no process has the store."""
        return harness.run(harness.TST, "get", self.data, key).stdout

    def build_tree(self, count):
        top = self.path("source")
        rng = random.Random(SEED)
        for number in range(count):
            folder = os.path.join(top, "d%d" % (number % 17), "e%d" % (number % 5))
            os.makedirs(folder, exist_ok=True)
            harness.write_file(
                os.path.join(folder, "f%d" % number), rng.randbytes(number * 7)
            )
        return top


class Session(MountTest):
    def test_what_is_written_is_read_listed_and_removed(self):
        self.start()
        self.shell("echo hi > greeting")
        self.assertEqual(self.shell("cat greeting"), b"hi\n")
        self.assertEqual(self.shell("ls"), b"greeting\n")
        self.shell("rm greeting")
        self.assertEqual(self.shell("ls -A"), b"")

    def test_values_survive_a_clean_end_byte_for_byte(self):
        self.start()
        self.shell("mkdir users; echo one > users/1; printf 'a\\0b' > bin")
        self.end()
        self.start()
        self.assertEqual(self.shell("cat users/1"), b"one\n")
        self.assertEqual(harness.read_file(self.at("bin")), b"a\0b")

    def test_a_file_becomes_one_record_at_close(self):
        self.start()
        self.shell("echo x > f")
        log = harness.read_file(os.path.join(self.data, "db.toon"))
        self.assertEqual(log.count(b"\nf["), 1)

    def test_nothing_is_set_before_close(self):
        self.start()
        with open(self.at("f"), "wb") as file:
            file.write(b"half")
            file.flush()
            self.assertEqual(harness.read_file(self.at("f")), b"half")
            self.assertIn("f", os.listdir(self.mnt))
            log = harness.read_file(os.path.join(self.data, "db.toon"))
            self.assertNotIn(b"half", log)
            os.fsync(file.fileno())
            log = harness.read_file(os.path.join(self.data, "db.toon"))
            self.assertIn(b"half", log)

    def test_an_empty_file_is_there_after_its_last_close(self):
        self.start()
        self.shell("touch empty; : > other")
        self.end()
        self.start()
        self.assertEqual(self.shell("ls"), b"empty\nother\n")

    def test_status_is_there_and_never_listed(self):
        self.start()
        self.shell("echo 1 > a")
        self.assertIn(b"\nkeys: 1\n", self.shell("cat .toonstore/status"))
        self.assertIn(b"\r\nkeys:1\r\n", self.shell("cat .toonstore/info"))
        self.assertEqual(self.shell("ls -A"), b"a\n")
        self.assertEqual(self.shell("ls -A .toonstore"), b"info\nstatus\n")
        self.assert_errno(errno.EACCES, open, self.at(".toonstore/status"), "w")
        self.assert_errno(errno.EACCES, open, self.at(".toonstore/x"), "w")


class Tools(MountTest):
    def setUp(self):
        super().setUp()
        self.start()

    def test_a_tree_copied_in_is_the_same_tree(self):
        top = self.build_tree(400)
        harness.run("cp", "-r", top, self.at("tree"))
        done = harness.run("diff", "-r", top, self.at("tree"), check=False)
        self.assertEqual((done.returncode, done.stdout), (0, b""))
        self.end()
        self.start()
        harness.run("diff", "-r", top, self.at("tree"))
        self.shell("mv tree moved")
        harness.run("diff", "-r", top, self.at("moved"))
        self.assertEqual(self.shell("find tree 2>/dev/null; true"), b"")
        self.shell("rm -r moved")
        self.assertEqual(self.shell("ls -A"), b"")

    def test_cp_a_keeps_times_modes_and_links(self):
        top = self.path("source")
        os.mkdir(top)
        harness.write_file(os.path.join(top, "run.sh"), b"#!/bin/sh\necho ran\n")
        os.chmod(os.path.join(top, "run.sh"), 0o755)
        os.symlink("run.sh", os.path.join(top, "link"))
        os.utime(os.path.join(top, "run.sh"), (1000000000, 1000000000.25))
        harness.run("cp", "-a", top, self.at("copy"))
        there = os.stat(self.at("copy/run.sh"))
        self.assertEqual(stat.S_IMODE(there.st_mode), 0o755)
        self.assertEqual(there.st_mtime_ns, 1000000000250000000)
        self.assertEqual(os.readlink(self.at("copy/link")), "run.sh")
        self.assertEqual(self.shell("copy/link"), b"ran\n")

    def test_rsync_has_nothing_to_do_the_second_time(self):
        top = self.build_tree(120)
        command = ["rsync", "-ai", top + "/", self.at("copy") + "/"]
        self.assertNotEqual(harness.run(*command).stdout, b"")
        self.assertEqual(harness.run(*command).stdout, b"")
        self.end()
        self.start()
        self.assertEqual(harness.run(*command).stdout, b"")

    def test_tar_unpacks_and_compares(self):
        top = self.build_tree(60)
        archive = self.path("a.tar")
        harness.run("tar", "-C", top, "-cf", archive, ".")
        self.shell("mkdir t && tar -C t -xf " + archive)
        self.shell("tar -C t -df " + archive)

    def test_git_keeps_a_repository_there(self):
        self.shell(
            "git init -q repo && cd repo && git config user.email a@b.c"
            " && git config user.name n && echo 1 > one && mkdir d"
            " && echo 2 > d/two && git add -A && git commit -qm first"
            " && echo 3 >> one && git commit -qam second && git gc -q"
            " && git fsck --strict"
        )
        self.assertEqual(self.shell("cd repo && git status --porcelain"), b"")
        self.assertEqual(len(self.shell("cd repo && git log --oneline").split(b"\n")), 3)
        self.shell("git clone -q repo clone && diff -r repo/d clone/d")

    def test_sed_in_place_truncate_and_dd_change_what_they_say(self):
        self.shell("printf 'one\\ntwo\\n' > f && sed -i s/two/2/ f")
        self.assertEqual(self.shell("cat f"), b"one\n2\n")
        self.shell("truncate -s 3 f")
        self.assertEqual(self.shell("cat f"), b"one")
        self.shell("truncate -s 5 f")
        self.assertEqual(self.shell("cat f"), b"one\0\0")
        self.shell("printf X | dd of=f bs=1 seek=1 conv=notrunc 2>/dev/null")
        self.assertEqual(self.shell("cat f"), b"oXe\0\0")
        self.shell("printf Y | dd of=f bs=1 seek=7 conv=notrunc 2>/dev/null")
        self.assertEqual(self.shell("cat f"), b"oXe\0\0\0\0Y")
        self.shell("fallocate -p -o 0 -l 2 f && fallocate -l 10 f")
        self.assertEqual(self.shell("cat f"), b"\0\0e\0\0\0\0Y\0\0")

    def test_touch_and_chmod_are_stored(self):
        self.shell("echo x > f && touch -d '2001-02-03 04:05:06.789 UTC' f")
        self.shell("chmod 750 f && mkdir d && chmod 700 d")
        self.end()
        self.start()
        there = os.stat(self.at("f"))
        self.assertEqual(there.st_mtime_ns, 981173106789000000)
        self.assertEqual(stat.S_IMODE(there.st_mode), 0o750)
        self.assertEqual(stat.S_IMODE(os.stat(self.at("d")).st_mode), 0o700)
        self.shell("chmod 0 f")
        self.assertEqual(stat.S_IMODE(os.stat(self.at("f")).st_mode), 0)

    def test_times_move_with_each_change(self):
        seen = set()
        for number in range(200):
            harness.write_file(self.at("f"), b"%d" % number)
            seen.add(os.stat(self.at("f")).st_mtime_ns)
        self.assertEqual(len(seen), 200)

    def test_appends_of_many_processes_lose_no_line(self):
        self.shell(
            "for p in $(seq %d); do (for l in $(seq %d); do"
            " echo $p.$l >> log; done) & done; wait" % (APPENDERS, LINES_EACH)
        )
        lines = self.shell("cat log").split()
        self.assertEqual(len(lines), APPENDERS * LINES_EACH)
        self.assertEqual(len(set(lines)), APPENDERS * LINES_EACH)

    def test_an_append_costs_what_it_appends(self):
        harness.write_file(self.at("log"), os.urandom(1 << 20))
        path = os.path.join(self.data, "db.toon")
        before = os.path.getsize(path)
        for _ in range(20):
            self.shell("echo line >> log")
        self.assertLess(os.path.getsize(path) - before, 20 * 200)
        self.assertEqual(os.path.getsize(self.at("log")), (1 << 20) + 100)

    def test_shared_mappings_are_committed(self):
        import mmap

        harness.write_file(self.at("f"), b"a" * 8192)
        with open(self.at("f"), "r+b") as file:
            with mmap.mmap(file.fileno(), 8192) as mapped:
                mapped[4096:4100] = b"map!"
                mapped.flush()
        self.assertEqual(harness.read_file(self.at("f"))[4090:4102], b"aaaaaamap!aa")
        self.end()
        self.start()
        self.assertEqual(harness.read_file(self.at("f"))[4096:4100], b"map!")


class ReplacedFiles(MountTest):
    """What is open stays itself when its name goes to another file."""

    def setUp(self):
        super().setUp()
        self.start()

    def at(self, name):
        return os.path.join(self.mnt, name)

    def test_a_created_file_renamed_over_another_replaces_it_at_once(self):
        harness.write_file(self.at("t"), b"OLD")
        with open(self.at("f"), "wb") as file:
            os.rename(self.at("f"), self.at("t"))
            os.rename(self.at("t"), self.at("u"))
            self.assertEqual(os.listdir(self.mnt), ["u"])
            file.write(b"new")
        self.assertEqual(harness.read_file(self.at("u")), b"new")

    def test_the_modes_and_times_of_an_unlinked_file_are_its_own(self):
        harness.write_file(self.at("f"), b"one")
        fd = os.open(self.at("f"), os.O_RDWR)
        self.addCleanup(os.close, fd)
        os.unlink(self.at("f"))
        os.fchmod(fd, 0o600)
        harness.write_file(self.at("f"), b"two")
        os.fchmod(fd, 0o640)
        os.utime(fd, (1, 1))
        there = os.stat(self.at("f"))
        self.assertEqual(there.st_mode & 0o777, 0o644)
        self.assertNotEqual(there.st_mtime, 1)

    def test_a_removed_link_does_not_lead_into_its_successor(self):
        os.symlink("target", self.at("s"))
        fd = os.open(self.at("s"), os.O_PATH | os.O_NOFOLLOW)
        self.addCleanup(os.close, fd)
        os.unlink(self.at("s"))
        harness.write_file(self.at("s"), b"SECRET")
        with self.assertRaises(OSError):
            os.readlink("", dir_fd=fd)

    def test_the_count_of_files_is_one_that_df_understands(self):
        harness.write_file(self.at("f"), b"x")
        fs = os.statvfs(self.mnt)
        self.assertEqual(fs.f_files - fs.f_ffree, 1)

    def test_a_second_mount_on_the_same_directory_is_refused(self):
        done = harness.run(
            harness.TSTFS, self.path("other"), self.mnt, check=False
        )
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"another toonstore is mounted there", done.stderr)


class Names(MountTest):
    def setUp(self):
        super().setUp()
        self.start()

    def test_open_files_outlive_their_names(self):
        harness.write_file(self.at("f"), b"old")
        reader = open(self.at("f"), "rb")
        os.unlink(self.at("f"))
        self.assert_errno(errno.ENOENT, os.stat, self.at("f"))
        self.assertEqual(reader.read(), b"old")
        reader.close()
        writer = open(self.at("g"), "wb")
        writer.write(b"lost")
        writer.flush()
        os.unlink(self.at("g"))
        writer.close()
        self.assertEqual(os.listdir(self.mnt), [])

    def test_rename_over_an_open_file_replaces_it_at_once(self):
        harness.write_file(self.at("a"), b"new")
        harness.write_file(self.at("b"), b"old")
        with open(self.at("b"), "rb") as reader:
            os.rename(self.at("a"), self.at("b"))
            self.assertEqual(harness.read_file(self.at("b")), b"new")
            self.assertEqual(reader.read(), b"old")
        self.assertEqual(os.listdir(self.mnt), ["b"])

    def test_a_file_that_is_still_open_moves_with_its_buffer(self):
        harness.write_file(self.at("b"), b"old")
        with open(self.at("a"), "wb") as writer:
            writer.write(b"ne")
            writer.flush()
            os.rename(self.at("a"), self.at("b"))
            self.assertEqual(os.listdir(self.mnt), ["b"])
            self.assertEqual(harness.read_file(self.at("b")), b"ne")
            writer.write(b"w")
        self.assertEqual(harness.read_file(self.at("b")), b"new")
        self.end()
        self.start()
        self.assertEqual(harness.read_file(self.at("b")), b"new")
        self.assertEqual(os.listdir(self.mnt), ["b"])

    def test_an_open_file_moves_with_its_directory(self):
        os.makedirs(self.at("a/b"))
        with open(self.at("a/b/f"), "wb") as writer:
            writer.write(b"kept")
            os.rename(self.at("a"), self.at("c"))
        self.assertEqual(harness.read_file(self.at("c/b/f")), b"kept")
        self.assertEqual(os.listdir(self.mnt), ["c"])

    def test_rename_flags_are_honoured(self):
        harness.write_file(self.at("a"), b"1")
        harness.write_file(self.at("b"), b"2")
        found = renameat2(self.at("a"), self.at("b"), RENAME_NOREPLACE)
        self.assertEqual(found, errno.EEXIST)
        self.assertEqual(renameat2(self.at("a"), self.at("b"), RENAME_EXCHANGE), 0)
        self.assertEqual(harness.read_file(self.at("a")), b"2")
        self.assertEqual(harness.read_file(self.at("b")), b"1")
        self.assertEqual(renameat2(self.at("a"), self.at("c"), RENAME_NOREPLACE), 0)
        self.assertEqual(sorted(os.listdir(self.mnt)), ["b", "c"])

    def test_directories_swap_whole(self):
        self.shell("mkdir a b; echo 1 > a/x; echo 2 > b/x; echo 3 > b/y")
        self.assertEqual(renameat2(self.at("a"), self.at("b"), RENAME_EXCHANGE), 0)
        self.assertEqual(self.shell("cat a/x a/y b/x; ls b"), b"2\n3\n1\nx\n")

    def test_a_directory_stays_until_it_is_removed(self):
        self.shell("mkdir -p a/b; echo 1 > a/b/c; rm a/b/c")
        self.assertEqual(self.shell("ls -A a"), b"b\n")
        self.assert_errno(errno.ENOTEMPTY, os.rmdir, self.at("a"))
        self.shell("rmdir a/b")
        self.assertEqual(self.shell("ls -A a; ls -A"), b"a\n")
        self.shell("rmdir a")
        self.assertEqual(self.shell("ls -A"), b"")

    def test_a_directory_with_an_uncommitted_file_is_not_empty(self):
        os.mkdir(self.at("d"))
        with open(self.at("d/new"), "wb"):
            self.assert_errno(errno.ENOTEMPTY, os.rmdir, self.at("d"))
            self.assertEqual(os.listdir(self.at("d")), ["new"])

    def test_a_full_directory_is_not_replaced(self):
        self.shell("mkdir a b; echo 1 > b/x")
        self.assert_errno(errno.ENOTEMPTY, os.rename, self.at("a"), self.at("b"))
        self.assert_errno(errno.EEXIST, os.mkdir, self.at("a"))
        os.rename(self.at("b"), self.at("a"))
        self.assertEqual(self.shell("cat a/x; ls -A"), b"1\na\n")

    def test_what_the_store_cannot_keep_is_refused(self):
        harness.write_file(self.at("f"), b"1")
        self.assert_errno(errno.EPERM, os.link, self.at("f"), self.at("g"))
        self.assert_errno(errno.EPERM, os.mkfifo, self.at("p"))
        self.assert_errno(errno.EPERM, open, self.at(".toon"), "w")
        self.assert_errno(errno.ENAMETOOLONG, open, self.at("n" * (NAME_SIZE_MAX + 1)), "w")
        self.assertEqual(os.listdir(self.mnt), ["f"])

    def test_the_longest_name_is_kept(self):
        longest = "n" * NAME_SIZE_MAX
        directory = os.open(self.mnt, os.O_RDONLY)
        self.addCleanup(os.close, directory)
        os.close(os.open(longest, os.O_CREAT | os.O_WRONLY, dir_fd=directory))
        self.assertEqual(os.listdir(self.mnt), [longest])

    def test_names_of_any_bytes_come_back(self):
        rng = random.Random(SEED)
        names = {b"%41", b"a b", b"\xff\xfe", b"%25", b"%252E", b"%2500", b"-"}
        for _ in range(200):
            name = bytes(rng.choice(b"%2504EF\xc3\n\t a") for _ in range(8))
            names.add(name)
        names -= {b"%", b"%2F", b"%3D"}
        for name in names:
            harness.write_file(os.path.join(os.fsencode(self.mnt), name), name)
        self.assertEqual(set(os.listdir(os.fsencode(self.mnt))), names)
        self.end()
        self.start()
        for name in names:
            path = os.path.join(os.fsencode(self.mnt), name)
            self.assertEqual(harness.read_file(path), name)

    def test_a_key_beside_its_directory_is_shown_in_it(self):
        self.end()
        for key, value in (("a", "1"), ("a/b", "2"), ("a//c", "3"), (".", "4")):
            harness.run(harness.TST, "set", self.data, key, value)
        self.start()
        self.assertEqual(sorted(os.listdir(self.mnt)), ["%2E", "a"])
        self.assertEqual(sorted(os.listdir(self.at("a"))), ["%", "%3D", "b"])
        self.assertEqual(self.shell("cat a/%3D a/b a/%/c %2E"), b"1234")
        self.shell("rm -r a")
        self.assertEqual(os.listdir(self.mnt), ["%2E"])


class RandomOperations(MountTest):
    """The same operations on the mount and on an ordinary directory."""

    NAMES = ("a", "b", "c", "d")

    def setUp(self):
        super().setUp()
        self.start()
        self.plain = self.path("plain")
        os.mkdir(self.plain)
        self.rng = random.Random(SEED)

    def random_path(self):
        depth = self.rng.choice((1, 1, 2, 2, 3))
        return os.path.join(*(self.rng.choice(self.NAMES) for _ in range(depth)))

    @staticmethod
    def outcome(top, step, paths, data, number):
        first, second = (os.path.join(top, path) for path in paths)
        try:
            if step == "write":
                harness.write_file(first, data)
            elif step == "append":
                harness.write_file(first, data, "ab")
            elif step == "patch":
                with open(first, "r+b") as file:
                    file.seek(number)
                    file.write(data)
            elif step == "truncate":
                os.truncate(first, number)
            elif step == "exchange":
                return renameat2(first, second, RENAME_EXCHANGE)
            elif step == "link":
                os.symlink("target%d" % number, first)
            elif step == "read":
                return harness.read_file(first)
            elif step == "list":
                return sorted(os.listdir(first))
            elif step == "rename":
                os.rename(first, second)
            else:
                getattr(os, step)(first)
        except OSError as error:
            return errno.errorcode[error.errno]
        return "done"

    def snapshot(self, top):
        found = {}
        for folder, folders, files in os.walk(top):
            for name in folders + files:
                path = os.path.join(folder, name)
                key = os.path.relpath(path, top)
                if os.path.islink(path):
                    found[key] = os.readlink(path)
                elif os.path.isdir(path):
                    found[key] = None
                else:
                    found[key] = (os.path.getsize(path), harness.read_file(path))
        return found

    def test_end_as_on_an_ordinary_file_system(self):
        steps = (
            "write write append patch truncate mkdir mkdir unlink rmdir rename"
            " rename exchange link read list"
        ).split()
        for index in range(1500 if harness.SMALL else 6000):
            step = self.rng.choice(steps)
            paths = (self.random_path(), self.random_path())
            kinds = {os.path.isdir(os.path.join(self.plain, p)) for p in paths}
            if step == "exchange" and len(kinds) > 1:
                continue  # of a file and a directory: refused
            data = self.rng.randbytes(self.rng.choice((0, 3, 5000)))
            number = self.rng.randrange(9000)
            wanted = self.outcome(self.plain, step, paths, data, number)
            found = self.outcome(self.mnt, step, paths, data, number)
            self.assertEqual(found, wanted, (SEED, index, step, paths))
        self.assertEqual(self.snapshot(self.mnt), self.snapshot(self.plain))
        self.end()
        self.start()
        self.assertEqual(self.snapshot(self.mnt), self.snapshot(self.plain))


class Listing(MountTest):
    def test_a_large_directory_is_listed_once_and_in_order(self):
        self.start()
        names = ["k%06d" % number for number in range(MANY_ENTRIES)]
        for name in names:
            os.close(os.open(self.at(name), os.O_CREAT | os.O_WRONLY))
        found = [entry.name for entry in os.scandir(self.mnt)]
        self.assertEqual(found, names)

    def test_what_stays_is_listed_once_while_others_come_and_go(self):
        self.start()
        for number in range(2000):
            os.close(os.open(self.at("s%05d" % number), os.O_CREAT | os.O_WRONLY))
        found = []
        with os.scandir(self.mnt) as entries:
            for index, entry in enumerate(entries):
                if entry.name.startswith("s"):
                    found.append(entry.name)
                if index % 20 == 0:
                    harness.write_file(self.at("r%05d" % index), b"")
                    harness.write_file(self.at("t%05d" % index), b"")
                    if os.path.exists(self.at("r%05d" % (index - 40))):
                        os.unlink(self.at("r%05d" % (index - 40)))
        self.assertEqual(found, ["s%05d" % number for number in range(2000)])

    def test_flat_shows_slashes_in_names(self):
        for key in ("a/b", "a", "/", "x%2Fy"):
            harness.run(harness.TST, "set", self.data, key, key)
        self.start("flat")
        self.assertEqual(sorted(os.listdir(self.mnt)), ["%2F", "a", "a%2Fb", "x%252Fy"])
        self.assertEqual(self.shell("cat a%2Fb x%252Fy"), b"a/bx%2Fy")
        self.assert_errno(errno.EPERM, os.mkdir, self.at("d"))

    def test_a_prefix_shows_what_is_below_it(self):
        for key in ("user:1", "user:2/x", "other"):
            harness.run(harness.TST, "set", self.data, key, key)
        self.start("prefix=user:")
        self.assertEqual(sorted(os.listdir(self.mnt)), ["1", "2"])
        self.shell("echo n > 3")
        self.end()
        self.assertIn(b"n", self.key("user:3"))


class Limits(MountTest):
    def test_a_value_past_its_limit_is_refused_at_the_write(self):
        self.start("value-max=1000")
        harness.write_file(self.at("f"), b"x" * 1000)
        with open(self.at("f"), "ab", buffering=0) as file:
            self.assert_errno(errno.EFBIG, file.write, b"y")
        self.assert_errno(errno.EFBIG, os.truncate, self.at("f"), 1001)
        self.assertEqual(harness.read_file(self.at("f")), b"x" * 1000)

    def test_a_full_store_says_so_at_the_write_and_keeps_the_rest(self):
        self.start("store-max=64k")
        harness.write_file(self.at("a"), b"a" * 1000)
        with open(self.at("b"), "wb", buffering=0) as file:
            self.assert_errno(errno.ENOSPC, file.write, b"b" * 70000)
        self.assertEqual(harness.read_file(self.at("a")), b"a" * 1000)
        space = os.statvfs(self.mnt)
        self.assertLessEqual(space.f_blocks * space.f_frsize, 65536)
        self.assertEqual(space.f_namemax, NAME_SIZE_MAX)

    def test_a_read_only_mount_refuses_changes(self):
        self.start()
        harness.write_file(self.at("f"), b"1")
        self.end()
        self.start("ro")
        self.assert_errno(errno.EROFS, open, self.at("f"), "w")
        self.assert_errno(errno.EROFS, os.unlink, self.at("f"))
        self.assertEqual(harness.read_file(self.at("f")), b"1")

    def test_owner_and_modes_are_as_asked(self):
        self.start("uid=12,gid=34,file_mode=0600,dir_mode=0711,strict_owner")
        self.shell("mkdir d; echo 1 > f; chmod 600 f; chmod 711 d")
        found = os.stat(self.at("f"))
        self.assertEqual((found.st_uid, found.st_gid), (12, 34))
        self.assertEqual(stat.S_IMODE(found.st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(self.at("d")).st_mode), 0o711)
        self.assert_errno(errno.EPERM, os.chown, self.at("f"), 1, 1)
        os.chown(self.at("f"), 12, 34)


class Processes(MountTest):
    def test_it_returns_when_the_mount_answers_and_ends_by_umount(self):
        harness.run(harness.TSTFS, self.data, self.mnt)
        harness.write_file(self.at("f"), b"1")
        harness.run("fusermount3", "-u", self.mnt)
        lock = os.path.join(self.data, "db.lock")
        harness.wait_until(
            lambda: subprocess.run(["flock", "-n", lock, "true"]).returncode == 0,
            "tstfs to end",
        )
        self.assertEqual(self.key("f"), b"1")

    @harness.needs_root
    def test_mount_helper_words_are_accepted(self):
        words = "rw,nosuid,nodev,noexec,relatime,_netdev,nofail,user,x-a.b=c"
        self.start(words)
        with open("/proc/self/mounts", encoding="utf-8") as table:
            line = [line for line in table if self.mnt in line][0]
        self.assertIn("fuse.tstfs", line)
        self.assertIn("noexec", line)
        self.assertIn("toonstore:" + self.data, line)

    def test_failures_are_one_line_and_a_status(self):
        for arguments, status, text in (
            ([self.data], 2, b"mount point"),
            (["--bogus"], 2, b"bogus"),
            ([self.data, self.path("missing")], 1, b"no such directory"),
            ([self.data, self.mnt, "-o", "nonsense"], 2, b"nonsense"),
            ([self.data, self.mnt, "-o", "cache=many"], 2, b"cache=many"),
            ([self.data, self.dir], 1, b"would be hidden"),
        ):
            done = harness.run(harness.TSTFS, *arguments, check=False)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn(text, done.stderr)
            self.assertTrue(done.stderr.startswith(b"tstfs: "), done.stderr)
        self.assertFalse(harness.is_mounted(self.mnt))

    def test_a_store_in_use_is_named_with_its_process(self):
        self.start()
        other = self.path("other")
        os.mkdir(other)
        done = harness.run(harness.TSTFS, self.data, other, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(self.data.encode(), done.stderr)
        self.assertIn(b"%d" % self.process.pid, done.stderr)

    def test_a_killed_mount_is_replaced_and_nothing_committed_is_lost(self):
        self.start()
        self.shell("mkdir d; for i in $(seq 100); do echo $i > d/$i; done")
        self.process.kill()
        self.process.wait()
        self.assert_errno(errno.ENOTCONN, os.listdir, self.mnt)
        self.start()
        self.assertIn("detached the dead mount", self.said())
        self.assertEqual(self.shell("cat d/* | wc -l").strip(), b"100")
        self.end()

    def test_signals_commit_what_is_still_open(self):
        for number, how in enumerate((signal.SIGTERM, signal.SIGINT)):
            self.start()
            name = "open%d" % number
            file = os.open(self.at(name), os.O_CREAT | os.O_WRONLY)
            os.write(file, b"kept")
            self.end(how)
            self.assert_errno(errno.ENOTCONN, os.write, file, b"x")
            try:
                os.close(file)
            except OSError:
                pass
            self.start()
            self.assertEqual(harness.read_file(self.at(name)), b"kept")
            self.end()

    def test_one_hundred_threads_change_one_directory_and_all_is_there(self):
        self.start()

        def work(number):
            for step in range(20):
                path = self.at("w%d" % number)
                harness.write_file(path, b"%d" % step)
                os.rename(path, path + ".done")

        threads = [threading.Thread(target=work, args=(n,)) for n in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(harness.DEADLINE_S)
        self.assertEqual(len(os.listdir(self.mnt)), 100)
        found = {harness.read_file(self.at(name)) for name in os.listdir(self.mnt)}
        self.assertEqual(found, {b"19"})


@unittest.skipUnless(os.path.exists(harness.TSTD), "there is no tstd")
@harness.needs_fuse
class BesideResp(harness.StoreTest):
    """One process serves both: what RESP changes, the mount shows."""

    def setUp(self):
        super().setUp()
        self.one = self.server(mount=True)
        self.redis = self.one.client()
        self.addCleanup(self.redis.close)

    def at(self, *names):
        return os.path.join(self.one.mount, *names)

    def test_each_set_is_what_the_next_read_shows(self):
        for number in range(1000 if harness.SMALL else 5000):
            value = b"v%d" % number * (1 + number % 3)
            self.redis.set("k", value)
            self.assertEqual(harness.read_file(self.at("k")), value)
            self.assertEqual(os.path.getsize(self.at("k")), len(value))

    def test_an_open_file_keeps_the_version_it_was_opened_at(self):
        self.redis.set("k", b"old" * 10000)
        with open(self.at("k"), "rb") as file:
            self.assertEqual(file.read(3), b"old")
            self.redis.set("k", b"new")
            self.assertEqual(file.read(), (b"old" * 10000)[3:])
        self.assertEqual(harness.read_file(self.at("k")), b"new")

    def test_tail_follows_appends(self):
        self.redis.set("log", "one\n")
        tail = subprocess.Popen(
            ["tail", "-n", "+1", "-s", "0.05", "-f", self.at("log")],
            stdout=subprocess.PIPE,
        )
        self.addCleanup(tail.wait)
        self.addCleanup(tail.kill)
        self.addCleanup(tail.stdout.close)
        self.assertEqual(tail.stdout.readline(), b"one\n")
        for number in range(50):
            self.redis.append("log", "line %d\n" % number)
            self.assertEqual(tail.stdout.readline(), b"line %d\n" % number)

    def test_appends_from_both_sides_lose_no_line(self):
        def by_resp():
            with self.one.client() as client:
                for number in range(500):
                    client.append("log", "r%d\n" % number)

        other = threading.Thread(target=by_resp)
        other.start()
        with open(self.at("log"), "ab", buffering=0) as file:
            for number in range(200):
                file.write(b"m%d\n" % number)
                if number % 5 == 0:
                    os.fsync(file.fileno())
        other.join()
        lines = self.redis.get("log").split()
        self.assertEqual(sorted(lines), sorted(set(lines)))
        self.assertEqual(len(lines), 700)
        self.assertEqual(harness.read_file(self.at("log")).split(), lines)

    def assert_same(self, key, value):
        """By both ways in, and by a reader who has had it open all the time."""
        self.assertEqual(self.redis.get(key), value)
        self.assertEqual(harness.read_file(self.at(key)), value)
        self.assertEqual(os.stat(self.at(key)).st_size, len(value))

    def test_what_came_between_a_write_and_its_commit_stays(self):
        self.redis.set("k", "base,")
        with open(self.at("k"), "rb") as reader:
            for turn in range(20):
                before = self.redis.get("k")
                writer = os.open(self.at("k"), os.O_WRONLY | os.O_APPEND)
                os.write(writer, b"mount,")
                self.redis.append("k", "resp,")
                os.close(writer)
                self.assert_same("k", before + b"resp,mount,")
                self.redis.append("k", "later,")
                self.assert_same("k", before + b"resp,mount,later,")
                reader.seek(0)
                self.assertEqual(reader.read(), self.redis.get("k"))
            before = self.redis.get("k")
            writer = os.open(self.at("k"), os.O_RDWR)
            self.redis.append("k", "last,")
            os.pwrite(writer, b"B", 0)
            os.close(writer)
            self.assert_same("k", b"B" + before[1:] + b"last,")

    def test_appends_and_syncs_beside_appends(self):
        writer = os.open(self.at("k"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for turn in range(50):
            os.write(writer, b"m%d," % turn)
            self.redis.append("k", "r%d," % turn)
            os.fsync(writer)
            self.assert_same("k", self.redis.get("k"))
        os.close(writer)
        self.assertEqual(len(set(self.redis.get("k").split(b","))), 101)

    def test_directories_come_and_go_with_their_keys(self):
        self.assertEqual(os.listdir(self.one.mount), [])
        self.redis.set("a", "file")
        self.assertEqual(harness.read_file(self.at("a")), b"file")
        self.redis.set("a/b/c", "deep")
        self.assertEqual(os.listdir(self.one.mount), ["a"])
        self.assertEqual(sorted(os.listdir(self.at("a"))), ["%3D", "b"])
        self.assertEqual(harness.read_file(self.at("a/b/c")), b"deep")
        self.redis.delete("a/b/c")
        self.assertTrue(os.path.isfile(self.at("a")))
        self.redis.flushall()
        self.assertEqual(os.listdir(self.one.mount), [])
        self.assertFalse(os.path.exists(self.at("a")))

    def test_expired_keys_are_gone_at_once(self):
        self.redis.set("k", "v", px=300)
        self.assertEqual(harness.read_file(self.at("k")), b"v")
        time.sleep(0.31)
        self.assertFalse(os.path.exists(self.at("k")))
        self.assertEqual(os.listdir(self.one.mount), [])
        self.redis.set("k", "v")
        os.stat(self.at("k"))
        self.redis.pexpire("k", 200)
        time.sleep(0.21)
        self.assertFalse(os.path.exists(self.at("k")))

    def test_a_close_wins_over_a_set_before_it(self):
        with open(self.at("k"), "wb") as file:
            file.write(b"by file")
            file.flush()
            self.redis.set("k", "by resp")
            self.assertEqual(harness.read_file(self.at("k")), b"by resp")
        self.assertEqual(self.redis.get("k"), b"by file")
        self.assertEqual(harness.read_file(self.at("k")), b"by file")

    def test_a_set_keeps_permission_bits(self):
        harness.write_file(self.at("f"), b"1")
        os.chmod(self.at("f"), 0o755)
        self.redis.set("f", "2")
        self.assertEqual(stat.S_IMODE(os.stat(self.at("f")).st_mode), 0o755)
        os.symlink("f", self.at("l"))
        self.redis.set("l", "no link")
        self.assertTrue(stat.S_ISREG(os.lstat(self.at("l")).st_mode))


class Attributes(harness.StoreTest):
    """Extended attributes, beside RESP."""

    def setUp(self):
        super().setUp()
        self.one = self.server(mount=True, args=("--mount-options", "xattr"))
        self.redis = self.one.client()
        self.addCleanup(self.redis.close)
        self.redis.set("k", "v")
        self.file = os.path.join(self.one.mount, "k")

    def get(self, name):
        return os.getxattr(self.file, "user.toon." + name)

    def set(self, name, value, flags=0):
        os.setxattr(self.file, "user.toon." + name, value, flags)

    def assert_refused(self, number, call, *arguments):
        with self.assertRaises(OSError) as caught:
            call(*arguments)
        self.assertEqual(
            errno.errorcode[caught.exception.errno], errno.errorcode[number]
        )

    def test_an_expiry_is_set_seen_and_taken_away(self):
        self.assert_refused(errno.ENODATA, self.get, "ttl")
        self.set("ttl", b"100.5")
        self.assertIn(self.redis.pttl("k"), range(95000, 100501))
        self.assertTrue(95 < float(self.get("ttl")) <= 100.5)
        self.redis.pexpireat("k", 4000000000123)
        self.assertEqual(self.get("expires"), b"4000000000123")
        self.set("expires", b"4000000000456")
        self.assertEqual(self.redis.pexpiretime("k"), 4000000000456)
        os.removexattr(self.file, "user.toon.ttl")
        self.assertEqual(self.redis.ttl("k"), -1)
        self.assert_refused(errno.ENODATA, self.get, "expires")
        self.assert_refused(
            errno.ENODATA, os.removexattr, self.file, "user.toon.expires"
        )

    def test_it_expires_at_once_also_for_who_has_seen_it(self):
        self.assertEqual(harness.read_file(self.file), b"v")
        self.set("ttl", b"0.3")
        self.assertTrue(os.path.exists(self.file))
        time.sleep(0.31)
        self.assertFalse(os.path.exists(self.file))
        self.assertEqual(os.listdir(self.one.mount), [])
        self.assertIsNone(self.redis.get("k"))

    def test_what_is_no_time_is_refused(self):
        for name, value in [
            ("ttl", b""),
            ("ttl", b"soon"),
            ("ttl", b"0"),
            ("ttl", b"-1"),
            ("ttl", b"nan"),
            ("ttl", b"inf"),
            ("ttl", b"1e300"),
            ("ttl", b"5 "),
            ("ttl", b"5\0"),
            ("ttl", b"5" * 1000),
            ("expires", b"1"),
            ("expires", b"1e15"),
            ("expires", b"99999999999999999999"),
        ]:
            self.assert_refused(errno.EINVAL, self.set, name, value)
        self.assertEqual(self.redis.ttl("k"), -1)

    def test_flags_and_what_nobody_may_set(self):
        self.assert_refused(errno.ENODATA, self.set, "ttl", b"9", os.XATTR_REPLACE)
        self.set("ttl", b"9", os.XATTR_CREATE)
        self.assert_refused(errno.EEXIST, self.set, "ttl", b"9", os.XATTR_CREATE)
        for name in ("type", "version"):
            self.assert_refused(errno.EPERM, self.set, name, b"1")
            self.assert_refused(
                errno.EPERM, os.removexattr, self.file, "user.toon." + name
            )
        for name in ("user.other", "user.toon.nothing", "user.toon"):
            self.assert_refused(errno.ENOTSUP, os.getxattr, self.file, name)
            self.assert_refused(errno.ENOTSUP, os.setxattr, self.file, name, b"1")

    def test_they_are_listed_and_the_version_moves(self):
        self.assertEqual(
            os.listxattr(self.file), ["user.toon.type", "user.toon.version"]
        )
        self.set("ttl", b"100")
        self.assertEqual(len(os.listxattr(self.file)), 4)
        self.assertEqual(self.get("type"), b"string")
        seen = {self.get("version")}
        for change in (
            lambda: self.redis.set("k", "v"),
            lambda: self.redis.append("k", "w"),
            lambda: self.redis.expire("k", 50),
            lambda: harness.write_file(self.file, b"x"),
        ):
            change()
            seen.add(self.get("version"))
        self.assertEqual(len(seen), 5)
        os.mkdir(os.path.join(self.one.mount, "d"))
        self.assertEqual(os.listxattr(os.path.join(self.one.mount, "d")), [])

    def test_a_file_that_is_being_written_is_committed_first(self):
        path = os.path.join(self.one.mount, "new")
        with open(path, "wb", buffering=0) as file:
            file.write(b"all of it")
            os.setxattr(file.fileno(), "user.toon.ttl", b"100")
        self.assertEqual(self.redis.get("new"), b"all of it")
        self.assertGreater(self.redis.ttl("new"), 90)


class Removed(MountTest):
    def test_what_has_no_name_any_more_has_no_link(self):
        self.start()
        self.shell("echo 1 > f; mkdir d")
        with open(self.at("f")) as file:
            directory = os.open(self.at("d"), os.O_RDONLY)
            self.assertEqual(os.fstat(file.fileno()).st_nlink, 1)
            os.unlink(self.at("f"))
            os.rmdir(self.at("d"))
            self.assertEqual(os.fstat(file.fileno()).st_nlink, 0)
            self.assertEqual(file.read(), "1\n")
            self.assertEqual(os.fstat(directory).st_nlink, 0)
            self.assertEqual(os.listdir(directory), [])
            os.close(directory)


if __name__ == "__main__":
    unittest.main()
