"""A seeded random life of a store, half through the mount and half by RESP,
beside a model: each answer, and all that there is, must be the same.

TOON_LONG=1 does 1,000,000 operations; TOON_SEED=N another life.
"""

import errno
import os
import random
import stat
import unittest

import harness

SEED = int(os.environ.get("TOON_SEED", "20261123"))
OPERATIONS = 1000000 if harness.LONG else 3000 if harness.SMALL else 20000
LOOK_EVERY = 1000  # at everything
RESTART_EVERY = OPERATIONS // 8
KEYS_MAX = 400  # renamed directories nest ever deeper
SHOWN = 15  # operations before a difference

NAMES = ["a", "b", "c", "dd", "e"]
VALUE = "%3D"  # the value of the key that is the directory it is in


def parent_of(path):
    return path.rpartition("/")[0]


class Model:
    """What the keys are, and what that is as files."""

    def __init__(self):
        self.keys = {}

    def is_dir(self, path):
        start = path + "/"
        return path == "" or any(key.startswith(start) for key in self.keys)

    def is_file(self, path):
        return path in self.keys and not self.is_dir(path)

    def names_in(self, path):
        start = path + "/" if path else ""
        names = {
            key[len(start) :].partition("/")[0]
            for key in self.keys
            if key.startswith(start) and len(key) > len(start)
        }
        if path in self.keys:
            names.add(VALUE)
        return names

    def walk_error(self, path):
        """Why its parent cannot be reached; None: it can."""
        above = parent_of(path)
        if self.is_dir(above):
            return None
        while not self.is_file(above):
            above = parent_of(above)
            if self.is_dir(above):
                return errno.ENOENT
        return errno.ENOTDIR

    def key_of(self, path):
        """The key of a file's path, as it may be made; or an errno."""
        error = self.walk_error(path)
        if error is not None:
            return error
        if path.rpartition("/")[2] == VALUE:
            return parent_of(path)
        return errno.EISDIR if self.is_dir(path) else path

    def file_of(self, path):
        """The key of a file that is there, or an errno."""
        key = self.key_of(path)
        if isinstance(key, int):
            return key
        return key if key in self.keys else errno.ENOENT

    def keep_parent(self, path):
        """What lost its last entry through the mount stays a directory."""
        above = parent_of(path)
        if above and not self.is_dir(above):
            self.keys[above + "/"] = b""

    def write(self, path, change):
        key = self.key_of(path)
        if isinstance(key, int):
            return key
        self.keys[key] = change(self.keys.get(key, b""))
        return None

    def change(self, path, change):
        key = self.file_of(path)
        if isinstance(key, int):
            return key
        self.keys[key] = change(self.keys[key])
        return None

    def read(self, path):
        key = self.file_of(path)
        return key if isinstance(key, int) else self.keys[key]

    def unlink(self, path):
        key = self.file_of(path)
        if isinstance(key, int):
            return key
        del self.keys[key]
        self.keep_parent(path)
        return None

    def mkdir(self, path):
        error = self.walk_error(path)
        if error is not None:
            return error
        if self.is_dir(path) or self.is_file(path):
            return errno.EEXIST
        self.keys[path + "/"] = b""
        return None

    def rmdir(self, path):
        error = self.walk_error(path)
        if error is not None:
            return error
        if not self.is_dir(path):
            return errno.ENOTDIR if self.is_file(path) else errno.ENOENT
        if self.names_in(path):
            return errno.ENOTEMPTY
        del self.keys[path + "/"]
        self.keep_parent(path)
        return None

    def rename_dir(self, old, new):
        if self.is_file(new):
            return errno.ENOTDIR
        if self.is_dir(new) and self.names_in(new):
            return errno.ENOTEMPTY
        moved = {k: v for k, v in self.keys.items() if k.startswith(old + "/")}
        if old in self.keys:
            moved[old] = self.keys[old]
        for key in moved:
            del self.keys[key]
        for key, value in moved.items():
            self.keys[new + key[len(old) :]] = value
        self.keep_parent(old)
        return None

    def rename(self, old, new):
        for path in (old, new):
            error = self.walk_error(path)
            if error is not None:
                return error
        if not self.is_dir(old) and not self.is_file(old):
            return errno.ENOENT
        if new.startswith(old + "/"):
            return errno.EINVAL
        if old.startswith(new + "/"):
            return errno.ENOTEMPTY
        if old == new:
            return None
        if self.is_dir(old):
            return self.rename_dir(old, new)
        if self.is_dir(new):
            return errno.EISDIR
        self.keys[new] = self.keys.pop(old)
        self.keep_parent(old)
        return None


def grown(value, size):
    return value + bytes(max(0, size - len(value)))


def overwritten(value, offset, data):
    value = grown(value, offset)
    return value[:offset] + data + value[offset + len(data) :]


@harness.needs_fuse
class Life(harness.StoreTest):
    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)
        self.model = Model()
        self.done = []
        self.one = self.server(mount=True)
        self.redis = self.one.client()
        self.addCleanup(lambda: self.redis.close())

    # ------------------------------------------------------------ what to do

    def a_path(self):
        depth = self.random.choice([1, 1, 2, 2, 3])
        parts = [self.random.choice(NAMES) for _ in range(depth)]
        return "/".join(parts)

    def a_file(self):
        path = self.a_path()
        return path + "/" + VALUE if self.random.random() < 0.1 else path

    def some_data(self):
        size = self.random.choice([0, 1, 5, 40, 400, 5000])
        return self.random.randbytes(size // 2 + 1)[:size]

    def at(self, path):
        return os.path.join(self.one.mount, path)

    def try_call(self, call, *arguments):
        """The errno, or what it returned."""
        try:
            return call(*arguments)
        except OSError as error:
            return error.errno

    def by_mount(self, name, expected, call, *arguments):
        self.done.append((name,) + arguments)
        found = self.try_call(call, *arguments)
        self.assertEqual(found, expected, name)

    def mount_write(self):
        path, data = self.a_file(), self.some_data()

        def call(path, data):
            with open(self.at(path), "wb") as file:
                file.write(data)

        expected = self.model.write(path, lambda old: data)
        self.by_mount("write", expected, call, path, data)

    def mount_append(self):
        path, data = self.a_file(), self.some_data()

        def call(path, data):
            with open(self.at(path), "ab", buffering=0) as file:
                file.write(data)

        expected = self.model.write(path, lambda old: old + data)
        self.by_mount("append", expected, call, path, data)

    def mount_write_at(self):
        path, data = self.a_file(), self.some_data()
        offset = self.random.randrange(6000)

        def call(path, offset, data):
            fd = os.open(self.at(path), os.O_RDWR)
            try:
                os.pwrite(fd, data, offset)
            finally:
                os.close(fd)

        expected = self.model.change(
            path, lambda old: overwritten(old, offset, data) if data else old
        )
        self.by_mount("write at", expected, call, path, offset, data)

    def mount_truncate(self):
        path, size = self.a_file(), self.random.randrange(6000)
        expected = self.model.change(path, lambda old: grown(old[:size], size))
        self.by_mount(
            "truncate", expected, lambda p, s: os.truncate(self.at(p), s), path, size
        )

    def mount_read(self):
        path = self.a_file()
        call = lambda p: harness.read_file(self.at(p))
        self.by_mount("read", self.model.read(path), call, path)

    def mount_unlink(self):
        path = self.a_file()
        expected = self.model.unlink(path)
        self.by_mount("unlink", expected, lambda p: os.unlink(self.at(p)), path)

    def mount_mkdir(self):
        path = self.a_path()
        expected = self.model.mkdir(path)
        self.by_mount("mkdir", expected, lambda p: os.mkdir(self.at(p)), path)

    def mount_rmdir(self):
        path = self.a_path()
        expected = self.model.rmdir(path)
        self.by_mount("rmdir", expected, lambda p: os.rmdir(self.at(p)), path)

    def mount_rename(self):
        old, new = self.a_path(), self.a_path()
        expected = self.model.rename(old, new)
        call = lambda o, n: os.rename(self.at(o), self.at(n))
        self.by_mount("rename", expected, call, old, new)

    def mount_list(self):
        path = self.a_path()
        expected = self.model.walk_error(path)
        if expected is None and self.model.is_dir(path):
            expected = sorted(self.model.names_in(path))
        elif expected is None:
            there = self.model.is_file(path)
            expected = errno.ENOTDIR if there else errno.ENOENT
        call = lambda p: sorted(os.listdir(self.at(p)))
        self.by_mount("list", expected, call, path)

    def mount_stat(self):
        path = self.a_file()
        value = self.model.read(path)
        expected = ("file", len(value)) if isinstance(value, bytes) else value
        if expected == errno.EISDIR:
            expected = ("directory", 0)

        def call(path):
            info = os.stat(self.at(path))
            if stat.S_ISDIR(info.st_mode):
                return ("directory", 0)
            return ("file", info.st_size)

        self.by_mount("stat", expected, call, path)

    # ---------------------------------------------------------------- by RESP

    def by_resp(self, expected, *words):
        self.done.append(words)
        self.assertEqual(self.redis.execute_command(*words), expected, words[0])

    def resp_set(self):
        key, data = self.a_path(), self.some_data()
        self.model.keys[key] = data
        self.by_resp(True, "SET", key, data)

    def resp_get(self):
        key = self.a_path()
        self.by_resp(self.model.keys.get(key), "GET", key)

    def resp_append(self):
        key, data = self.a_path(), self.some_data()
        value = self.model.keys.get(key, b"") + data
        self.model.keys[key] = value
        self.by_resp(len(value), "APPEND", key, data)

    def resp_setrange(self):
        key, data = self.a_path(), self.some_data()
        offset = self.random.randrange(6000)
        value = self.model.keys.get(key, b"")
        if data:
            value = self.model.keys[key] = overwritten(value, offset, data)
        self.by_resp(len(value), "SETRANGE", key, offset, data)

    def resp_del(self):
        key = self.a_path()
        gone = self.model.keys.pop(key, None) is not None
        self.by_resp(int(gone), "DEL", key)

    def resp_del_marker(self):
        key = self.a_path() + "/"
        gone = self.model.keys.pop(key, None) is not None
        self.by_resp(int(gone), "DEL", key)

    def resp_rename(self):
        old, new = self.a_path(), self.a_path()
        if old not in self.model.keys:
            self.by_resp(0, "EXISTS", old)
            return
        self.model.keys[new] = self.model.keys.pop(old)
        self.by_resp(True, "RENAME", old, new)

    def resp_mset(self):
        pairs = [(self.a_path(), self.some_data()) for _ in range(4)]
        self.model.keys.update(pairs)
        self.by_resp(True, "MSET", *[word for pair in pairs for word in pair])

    def resp_getdel(self):
        key = self.a_path()
        self.by_resp(self.model.keys.pop(key, None), "GETDEL", key)

    def resp_expire(self):
        key = self.a_path()
        gone = self.model.keys.pop(key, None) is not None
        self.by_resp(gone, "EXPIRE", key, -1)

    # ------------------------------------------------------------------ looks

    def files(self, top=""):
        """All files below, through the mount."""
        found = {}
        for entry in os.scandir(self.at(top)):
            path = top + "/" + entry.name if top else entry.name
            if entry.is_dir():
                found[path] = None
                found.update(self.files(path))
            else:
                found[path] = harness.read_file(entry.path)
        return found

    def expected_files(self, top=""):
        found = {}
        for name in self.model.names_in(top):
            path = top + "/" + name if top else name
            if name == VALUE:
                found[path] = self.model.keys[top]
            elif self.model.is_dir(path):
                found[path] = None
                found.update(self.expected_files(path))
            else:
                found[path] = self.model.keys[path]
        return found

    def look_at_all(self):
        keys = {k.encode(): v for k, v in self.model.keys.items()}
        self.assertEqual(harness.live_map(self.one), keys)
        self.assertEqual(self.files(), self.expected_files())

    def flush(self):
        self.done.append(("FLUSHALL",))
        self.redis.flushall()
        self.model.keys.clear()
        self.look_at_all()

    def restart(self):
        kind = self.random.choice(["stop", "kill"])
        self.done.append((kind,))
        self.redis.close()
        if kind == "stop":
            self.stop(self.one)
        else:
            self.one.kill()
        self.one.start()
        self.redis = self.one.client()

    def test_the_model_is_never_wrong(self):
        mounted = [getattr(self, n) for n in dir(self) if n.startswith("mount_")]
        by_resp = [getattr(self, n) for n in dir(self) if n.startswith("resp_")]
        number = 0
        try:
            for number in range(1, OPERATIONS + 1):
                self.random.choice(mounted if number % 2 else by_resp)()
                if number % LOOK_EVERY == 0:
                    self.look_at_all()
                    if len(self.model.keys) > KEYS_MAX:
                        self.flush()
                if number % RESTART_EVERY == 0:
                    self.restart()
                    self.look_at_all()
                    del self.done[:-SHOWN]
        except AssertionError:
            print("TOON_SEED=%d, operation %d; the last ones:" % (SEED, number))
            for words in self.done[-SHOWN:]:
                print("  %.200r" % (words,))
            raise
        print("%d operations, no difference" % number)


if __name__ == "__main__":
    unittest.main(verbosity=2)
