/* scratch.c - a directory that fills and empties quickly. */
#include "scratch.h"

#include "common.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[256];
static char copy_path[sizeof path + 8];
static int dir_fd = -1;

/* A store's threads write as well as its callers. */
static atomic_uint changes;

/* The lock file's descriptors: what is written there does not count. */
static atomic_bool is_lock[1024];

/* --------------------------------------------------------------- directory */

static void remove_directory(void) {
    scratch_empty();
    (void)rmdir(path);
}

const char *scratch_path(void) {
    static const char *const places[] = {"/dev/shm", "/tmp"};
    const char *chosen = getenv("TMPDIR");
    for (size_t i = 0; dir_fd < 0 && i < 2; i++) {
        const char *place = chosen != NULL ? chosen : places[i];
        (void)snprintf(path, sizeof path, "%s/toon-fuzz-XXXXXX", place);
        if (mkdtemp(path) == NULL)
            continue;
        dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        (void)atexit(remove_directory);
    }
    CHECK(dir_fd >= 0);
    return path;
}

static void empty(const char *dir) {
    DIR *listing = opendir(dir);
    const struct dirent *entry;
    while (listing != NULL && (entry = readdir(listing)) != NULL) {
        if (entry->d_name[0] != '.')
            (void)unlinkat(dirfd(listing), entry->d_name, 0);
    }
    if (listing != NULL)
        (void)closedir(listing);
}

const char *scratch_no_copy(void) {
    (void)snprintf(copy_path, sizeof copy_path, "%s/copy", scratch_path());
    empty(copy_path);
    CHECK(rmdir(copy_path) == 0 || errno == ENOENT);
    return copy_path;
}

void scratch_empty(void) {
    (void)scratch_no_copy();
    empty(scratch_path());
}

void scratch_write(const char *name, const void *bytes, size_t size) {
    (void)scratch_path();
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    CHECK(fd >= 0);
    CHECK(write(fd, bytes, size) == (ssize_t)size);
    (void)close(fd);
}

void scratch_remove(const char *name) {
    (void)scratch_path();
    CHECK(unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT);
}

bool scratch_read(const char *name, toon_buf *out) {
    struct stat st;
    (void)scratch_path();
    int fd = openat(dir_fd, name, O_RDONLY);
    out->size = 0;
    if (fd < 0)
        return false;
    CHECK(fstat(fd, &st) == 0);
    CHECK(toon_buf_reserve(out, (size_t)st.st_size + 1));
    CHECK(pread(fd, out->data, (size_t)st.st_size, 0) == st.st_size);
    out->size = (size_t)st.st_size;
    (void)close(fd);
    return true;
}

/* -------------------------------------------------------------------- disk */

static int scratch_open_at(int at, const char *name, int flags, mode_t mode) {
    int fd = openat(at, name, flags | O_CLOEXEC, mode);
    bool lock = strcmp(name, "db.lock") == 0;
    if (fd >= 0 && (size_t)fd < sizeof is_lock)
        is_lock[fd] = lock;
    changes += !lock && (flags & (O_CREAT | O_TRUNC)) != 0;
    return fd;
}

static void count_change(int fd) {
    changes += fd < 0 || (size_t)fd >= sizeof is_lock || !is_lock[fd];
}

static ssize_t scratch_pwrite(int fd, const void *buf, size_t size,
                              off_t offset) {
    count_change(fd);
    return pwrite(fd, buf, size, offset);
}

static int scratch_truncate(int fd, off_t size) {
    count_change(fd);
    return ftruncate(fd, size);
}

/* A reservation changes no byte, and in memory it would cost zeroed pages. */
static int scratch_allocate(int fd, off_t offset, off_t size) {
    (void)fd;
    (void)offset;
    (void)size;
    return 0;
}

static int scratch_rename_at(int at, const char *from, const char *to) {
    changes++;
    return renameat(at, from, at, to);
}

/* Of a file that is there. */
static int scratch_unlink_at(int at, const char *name) {
    int result = unlinkat(at, name, 0);
    changes += result == 0;
    return result;
}

static int scratch_sync(int fd) {
    (void)fd;
    return 0;
}

const toon_io *scratch_io(void) {
    static toon_io io;
    if (io.open_at != NULL) /* other threads may be reading it */
        return &io;
    io = toon_io_system;
    io.open_at = scratch_open_at;
    io.pwrite = scratch_pwrite;
    io.sync = scratch_sync;
    io.truncate = scratch_truncate;
    io.allocate = scratch_allocate;
    io.rename_at = scratch_rename_at;
    io.unlink_at = scratch_unlink_at;
    return &io;
}

unsigned scratch_changes(void) {
    return changes;
}

void scratch_forget_changes(void) {
    changes = 0;
}
