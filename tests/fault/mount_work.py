"""mount_work - what people do with files, on a mount.

Each piece of work takes the root of the mount, may be done again when a fault
ended it, and returns what it saw. Must never know of faults.
"""

import ctypes
import errno
import mmap
import os
import stat

import harness

AT_FDCWD = -100
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
LARGE = 400 if harness.SMALL else 20000  # of 16 bytes
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [ctypes.c_long]
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
MAP_FAILED = ctypes.c_void_p(-1).value


def write(path, data, flags=os.O_TRUNC):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def read(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        data = b""
        while True:
            piece = os.read(fd, 1 << 17)
            if not piece:
                return data
            data += piece
    finally:
        os.close(fd)


def rename2(old, new, flags):
    result = LIBC.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)
    if result != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


class Work:
    """One piece: its name, what it does, and whether it can be done twice with
    the effect of once."""

    def __init__(self, fn, twice):
        self.name = fn.__name__
        self.fn = fn
        self.twice = twice

    def run(self, root):
        """What it saw; an OSError is seen too."""
        try:
            return self.fn(root)
        except OSError as error:
            return error


ALL = []


def twice(fn):
    ALL.append(Work(fn, True))
    return fn


def once(fn):
    ALL.append(Work(fn, False))
    return fn


def at(root, *names):
    return os.path.join(root, *names)


# -------------------------------------------------------------------- files


@twice
def create(root):
    write(at(root, "file"), b"first\n")


@twice
def read_it(root):
    return read(at(root, "file"))


@twice
def overwrite(root):
    write(at(root, "file"), b"second, longer\n")
    return read(at(root, "file"))


@twice
def create_large(root):
    write(at(root, "large"), b"0123456789abcdef" * LARGE)
    return len(read(at(root, "large")))


@once
def append(root):
    write(at(root, "file"), b"appended\n", os.O_APPEND)


@once
def append_to_large(root):
    write(at(root, "large"), b"the end", os.O_APPEND)


@once
def append_what_was_refused(root):
    """A program that is told by close(2) that nothing was kept writes it once
    more. A mapping keeps the kernel from letting go of the file before."""
    fd = os.open(at(root, "file"), os.O_RDWR | os.O_APPEND)
    pages = None
    try:
        os.write(fd, b"told\n")
        pages = LIBC.mmap(None, 1, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
        if pages == MAP_FAILED:
            pages = None
            raise OSError(ctypes.get_errno(), "mmap")
    finally:
        try:
            os.close(fd)
        except OSError:
            write(at(root, "file"), b"told\n", os.O_APPEND)
        finally:
            if pages:
                LIBC.munmap(pages, 1)


@twice
def stat_it(root):
    found = os.stat(at(root, "file"))
    return (stat.S_IFMT(found.st_mode), found.st_size, found.st_nlink)


@twice
def stat_nothing(root):
    return os.stat(at(root, "nothing"))


@twice
def create_exclusively(root):
    return write(at(root, "file"), b"", os.O_EXCL)


@twice
def write_in_the_middle(root):
    fd = os.open(at(root, "file"), os.O_RDWR)
    try:
        os.pwrite(fd, b"MIDDLE", 3)
        os.pwrite(fd, b"hole", 100)
        return os.pread(fd, 200, 0)
    finally:
        os.close(fd)


@twice
def truncate_shorter(root):
    os.truncate(at(root, "file"), 10)
    return read(at(root, "file"))


@twice
def truncate_longer(root):
    os.truncate(at(root, "file"), 30)
    return read(at(root, "file"))


@twice
def write_and_sync(root):
    fd = os.open(at(root, "synced"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, b"one ")
        os.fsync(fd)
        os.write(fd, b"two")
        os.fdatasync(fd)
    finally:
        os.close(fd)
    return read(at(root, "synced"))


@twice
def reserve(root):
    fd = os.open(at(root, "reserved"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.posix_fallocate(fd, 0, 50)
    finally:
        os.close(fd)
    return read(at(root, "reserved"))


@twice
def map_shared(root):
    path = at(root, "mapped")
    write(path, b"x" * 5000)
    fd = os.open(path, os.O_RDWR)
    try:
        with mmap.mmap(fd, 5000) as pages:
            pages[10:15] = b"HELLO"
            pages.flush()
    finally:
        os.close(fd)
    return read(path)


@twice
def two_writers(root):
    path = at(root, "shared")
    one = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        two = os.open(path, os.O_RDWR)
        try:
            os.pwrite(one, b"one", 0)
            os.pwrite(two, b"two", 3)
            return os.pread(one, 10, 0)
        finally:
            os.close(two)
    finally:
        os.close(one)


@twice
def write_after_unlink(root):
    path = at(root, "doomed")
    write(path, b"here")
    fd = os.open(path, os.O_RDWR)
    try:
        os.unlink(path)
        os.pwrite(fd, b"gone", 0)
        return os.pread(fd, 10, 0)
    finally:
        os.close(fd)


# -------------------------------------------------------------------- names


@once
def rename(root):
    os.rename(at(root, "shared"), at(root, "renamed"))


@once
def rename_over(root):
    os.rename(at(root, "renamed"), at(root, "mapped"))


@once
def rename_exchange(root):
    rename2(at(root, "file"), at(root, "mapped"), RENAME_EXCHANGE)


@once
def rename_noreplace(root):
    rename2(at(root, "file"), at(root, "mapped"), RENAME_NOREPLACE)


@once
def make_dir(root):
    os.mkdir(at(root, "dir"))


@once
def make_dir_again(root):
    os.mkdir(at(root, "dir"))


@twice
def fill_dir(root):
    for i in range(12):
        write(at(root, "dir", "entry %d" % i), b"%d" % i)
    os.makedirs(at(root, "dir", "sub", "subsub"), exist_ok=True)
    write(at(root, "dir", "sub", "deep"), b"deep")


@twice
def list_dir(root):
    with os.scandir(at(root, "dir")) as entries:
        return sorted((entry.name, entry.is_dir(), entry.stat().st_size) for entry in entries)


@twice
def list_root(root):
    return sorted(os.listdir(root))


@once
def rename_dir(root):
    os.rename(at(root, "dir"), at(root, "folder"))


@once
def remove_full_dir(root):
    os.rmdir(at(root, "folder"))


@twice
def empty_dir(root):
    for name in os.listdir(at(root, "folder")):
        if name.startswith("entry"):
            os.unlink(at(root, "folder", name))


@once
def unlink_deep(root):
    os.unlink(at(root, "folder", "sub", "deep"))


@once
def remove_subsub(root):
    os.rmdir(at(root, "folder", "sub", "subsub"))


@once
def remove_sub(root):
    os.rmdir(at(root, "folder", "sub"))


@once
def remove_dir(root):
    os.rmdir(at(root, "folder"))


@once
def unlink(root):
    os.unlink(at(root, "reserved"))


@once
def unlink_nothing(root):
    os.unlink(at(root, "reserved"))


@once
def symlink(root):
    os.symlink("synced", at(root, "link"))


@twice
def follow_link(root):
    return os.readlink(at(root, "link")), read(at(root, "link"))


@twice
def hard_link(root):
    return os.link(at(root, "file"), at(root, "hard"))


@twice
def make_fifo(root):
    return os.mkfifo(at(root, "fifo"))


# --------------------------------------------------------------- attributes


@twice
def change_mode(root):
    os.chmod(at(root, "synced"), 0o750)
    return stat.S_IMODE(os.stat(at(root, "synced")).st_mode)


@twice
def change_times(root):
    os.utime(at(root, "synced"), ns=(10**18, 1234567890 * 10**9))
    return os.stat(at(root, "synced")).st_mtime


@twice
def change_owner(root):
    return os.chown(at(root, "synced"), os.getuid(), os.getgid())


@once
def append_with_mode(root):
    write(at(root, "synced"), b", three", os.O_APPEND)


@twice
def look_at_attributes(root):
    try:
        return os.listxattr(at(root, "file"))
    except OSError as error:
        return error.errno in (errno.ENOTSUP, errno.ENOSYS)


@twice
def file_system(root):
    return os.statvfs(root).f_namemax


@twice
def status(root):
    return b"keys" in read(at(root, ".toonstore", "status"))


@twice
def sync_dir(root):
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def same(a, b):
    if isinstance(a, OSError) or isinstance(b, OSError):
        return type(a) is type(b) and a.errno == b.errno
    return a == b


def tree(root):
    """{path: what is there} of the whole mount."""
    found = {}
    for place, dirs, files in os.walk(root):
        for name in dirs + files:
            path = os.path.join(place, name)
            is_like = os.lstat(path)
            content = None
            if stat.S_ISREG(is_like.st_mode):
                content = read(path)
            elif stat.S_ISLNK(is_like.st_mode):
                content = os.readlink(path)
            found[os.path.relpath(path, root)] = (oct(is_like.st_mode), content)
    return found
