/*
 * dir_lock.c - db.lock: one writer of a directory at a time.
 *
 * Two locks on the one file, taken together. The flock(2) is what keeps other
 * writers out. The other, of fcntl(2) and tied to the open file as flock is,
 * can be asked about without being taken.
 *
 * Knows file locks and process numbers; must never know what is locked.
 */
#include "dir_lock.h"

#include "error.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A holder that has just begun may not have left its number yet; then the
 * file is empty, or names a process that is gone. */
enum { PID_TRIES = 20, PID_WAIT_MS = 2 };

/* 0: there is none. */
static pid_t read_pid(const toon_file *file) {
    char text[24] = "";
    ssize_t got = file->io->pread(file->fd, text, sizeof text - 1, 0);
    long pid = got > 0 ? strtol(text, NULL, 10) : 0;
    return pid > 0 ? (pid_t)pid : 0;
}

static bool is_alive(pid_t pid) {
    return pid > 0 && (kill(pid, 0) == 0 || errno == EPERM);
}

static toon_err fail_locked(const toon_dir *dir, const toon_file *file) {
    const struct timespec pause = {.tv_nsec = PID_WAIT_MS * 1000000L};
    toon_where where = {dir->path, -1, 0};
    char holder[32] = "(unknown)";
    pid_t pid = read_pid(file);
    for (int i = 0; i < PID_TRIES && !is_alive(pid); i++) {
        (void)nanosleep(&pause, NULL);
        pid = read_pid(file);
    }
    if (pid > 0)
        (void)snprintf(holder, sizeof holder, "%ld", (long)pid);
    return toon_fail(TOON_LOCKED, where,
                     "the store in %s is in use by process %s; stop it first, "
                     "or reach the keys through it",
                     dir->path, holder);
}

/* For people only: the lock is what counts, also on a full disk. */
static void write_pid(const toon_file *file) {
    char pid[24];
    int size = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (toon_file_truncate(file, 0) == TOON_OK)
        (void)toon_file_write(file, pid, (size_t)size, 0);
}

/* Where such locks are not to be had, readers take every torn end for one
 * that a crash left, and that is all. */
static void take_visible_lock(const toon_file *file) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    (void)fcntl(file->fd, F_OFD_SETLK, &whole);
}

/* A lock on a file that was removed meanwhile keeps nobody out. */
static bool is_removed(const toon_file *file) {
    struct stat st;
    return fstat(file->fd, &st) == 0 && st.st_nlink == 0;
}

toon_err toon_dir_lock(const toon_dir *dir, toon_file *out) {
    toon_err err;
    do {
        err = toon_file_open(dir, TOON_LOCK_NAME, O_RDWR | O_CREAT, out);
        if (err != TOON_OK)
            return err;
        if (flock(out->fd, LOCK_EX | LOCK_NB) != 0) {
            if (errno == EWOULDBLOCK)
                err = fail_locked(dir, out);
            else
                err = toon_file_fail(out, -1, "cannot lock");
        } else if (!is_removed(out)) {
            take_visible_lock(out);
            write_pid(out);
            return TOON_OK;
        }
        toon_file_close(out);
    } while (err == TOON_OK);
    return err;
}

bool toon_dir_has_lock(const toon_dir *dir) {
    toon_file file;
    toon_err err = toon_file_open(dir, TOON_LOCK_NAME, O_RDONLY, &file);
    toon_file_close(&file);
    return err != TOON_NOT_FOUND;
}

bool toon_dir_is_locked(const toon_dir *dir) {
    struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    int fd = dir->io->open_at(dir->fd, TOON_LOCK_NAME, O_RDONLY, 0);
    if (fd < 0)
        return false; /* nobody ever wrote here, or it was taken away */
    bool locked =
        fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
    (void)dir->io->close(fd);
    return locked;
}
