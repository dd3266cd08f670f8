/*
 * dir_lock.c - db.lock: one writer, or several readers, of a directory.
 *
 * Knows flock(2) and process numbers; must never know what is locked.
 */
#include "dir_lock.h"

#include "error.h"

#include <errno.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#define LOCK_NAME "db.lock"

static toon_err fail_locked(const toon_dir *dir, const toon_file *file) {
    char pid[24] = "";
    ssize_t got = file->io->pread(file->fd, pid, sizeof pid - 1, 0);
    toon_where where = {dir->path, -1, 0};
    size_t size = got > 0 ? (size_t)got : 0;
    while (size > 0 && (pid[size - 1] < '0' || pid[size - 1] > '9'))
        size--;
    pid[size] = '\0';
    return toon_fail(TOON_LOCKED, where,
                     "the store in %s is in use by process %s; stop it first, "
                     "or reach the keys through it",
                     dir->path, size > 0 ? pid : "(unknown)");
}

/* For people only: the lock is what counts, also on a full disk. */
static void write_pid(const toon_file *file) {
    char pid[24];
    int size = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (toon_file_truncate(file, 0) == TOON_OK)
        (void)toon_file_write(file, pid, (size_t)size, 0);
}

toon_err toon_dir_lock(const toon_dir *dir, bool read_only, toon_file *out) {
    int flags = read_only ? O_RDONLY : O_RDWR | O_CREAT;
    toon_err err = toon_file_open(dir, LOCK_NAME, flags, out);
    if (err == TOON_NOT_FOUND) {
        out->fd = -1; /* nobody ever wrote here, or it was taken away */
        return TOON_OK;
    }
    if (err != TOON_OK)
        return err;
    int how = (read_only ? LOCK_SH : LOCK_EX) | LOCK_NB;
    if (flock(out->fd, how) == 0) {
        if (!read_only)
            write_pid(out);
        return TOON_OK;
    }
    if (errno == EWOULDBLOCK)
        err = fail_locked(dir, out);
    else
        err = toon_file_fail(out, -1, "cannot lock");
    toon_file_close(out);
    return err;
}
