/*
 * backup.c - copies of the store by a thread, and which of them are kept.
 *
 * Knows the store's copy and names of files; must never know commands.
 */
#include "backup.h"

#include "state.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define UNFINISHED "unfinished"
#define LOCK_NAME  "db.lock"
#define NAME_SIZE  21 /* 20261123T101530.123Z and its NUL */

/* The log goes first: what is left of a directory is then no store. */
static const char *const store_names[] = {
    "db.toon", "db.toon.idx", "db.toon.new", "db.toon.idx.new", LOCK_NAME,
};

enum { STORE_NAMES = sizeof store_names / sizeof store_names[0] };

static void __attribute__((format(printf, 3, 4)))
note(const backup *b, bool failed, const char *format, ...) {
    char line[PATH_MAX + 600];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    b->note(b->note_arg, failed, line);
}

/* ------------------------------------------------------------- directories */

static void path_in(char path[PATH_MAX], const char *dir, const char *name) {
    if (snprintf(path, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
        path[0] = '\0'; /* names nothing: calls on it fail */
}

/* A new name in it lasts. */
static bool sync_dir(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0)
        close(fd);
    return synced;
}

static bool make_dir(const char *path) {
    char above[PATH_MAX];

    if (mkdir(path, 0777) != 0)
        return errno == EEXIST;
    path_in(above, path, "..");
    return sync_dir(above);
}

/* The files of a store alone: what a person put there stays, and with it the
 * directory. */
static bool remove_store(const char *path) {
    char file[PATH_MAX];

    for (size_t i = 0; i < STORE_NAMES; i++) {
        path_in(file, path, store_names[i]);
        if (unlink(file) != 0 && errno != ENOENT)
            return false;
    }
    return rmdir(path) == 0 || errno == ENOENT;
}

void backup_clean(const char *dir) {
    char path[PATH_MAX];

    path_in(path, dir, UNFINISHED);
    (void)remove_store(path);
}

/* ------------------------------------------------------------------- names */

static void format_name(char name[NAME_SIZE], int64_t ms) {
    time_t seconds = (time_t)(ms / 1000);
    struct tm parts = {0};
    size_t size = 0;

    gmtime_r(&seconds, &parts);
    size = strftime(name, NAME_SIZE, "%Y%m%dT%H%M%S", &parts);
    (void)snprintf(name + size, NAME_SIZE - size, ".%03dZ", (int)(ms % 1000));
}

static bool is_name(const char *name) {
    static const char form[] = "00000000T000000.000Z";

    for (size_t i = 0; i < sizeof form; i++)
        if (form[i] == '0' ? !isdigit((unsigned char)name[i])
                           : name[i] != form[i])
            return false;
    return true;
}

/* Gives the finished one its name, a moment later if that is taken, and takes
 * its lock file away: who opens it for writing makes another. */
static bool name_it(const char *dir, int64_t ms, char path[PATH_MAX]) {
    char from[PATH_MAX], name[NAME_SIZE], lock[PATH_MAX];

    path_in(from, dir, UNFINISHED);
    path_in(lock, from, LOCK_NAME);
    (void)unlink(lock);
    do {
        format_name(name, ms++);
        path_in(path, dir, name);
    } while (access(path, F_OK) == 0);
    return rename(from, path) == 0 && sync_dir(dir);
}

/* ----------------------------------------------------------------- pruning */

static int is_backup(const struct dirent *entry) {
    return is_name(entry->d_name);
}

/* One that was opened for writing since it was named. */
static bool is_a_store_now(const char *path) {
    char lock[PATH_MAX];

    path_in(lock, path, LOCK_NAME);
    return access(lock, F_OK) == 0;
}

/* Forgets those that are somebody's store now. Returns how many are left. */
static int64_t pass_over_stores(const backup *b, struct dirent **entries,
                                int count) {
    int64_t left = 0;
    char path[PATH_MAX];

    for (int i = 0; i < count; i++) {
        path_in(path, b->dir, entries[i]->d_name);
        if (!is_a_store_now(path)) {
            left++;
            continue;
        }
        free(entries[i]);
        entries[i] = NULL;
    }
    return left;
}

/* The newest stay, and among them the one just made, whatever the clock said
 * when the others were. */
static void prune(const backup *b, const char *newest) {
    struct dirent **entries = NULL;
    char path[PATH_MAX];
    int count = scandir(b->dir, &entries, is_backup, alphasort);
    int64_t left = pass_over_stores(b, entries, count);

    for (int i = 0; i < count; i++) {
        if (entries[i] == NULL)
            continue;
        path_in(path, b->dir, entries[i]->d_name);
        free(entries[i]);
        if (b->keep == 0 || left <= b->keep || strcmp(path, newest) == 0)
            continue;
        left--;
        if (!remove_store(path))
            note(b, true, "cannot remove the old backup %s: %s", path,
                 strerrordesc_np(errno));
    }
    free(entries);
}

/* -------------------------------------------------------------- the thread */

static void on_progress(void *arg, uint64_t done, uint64_t total) {
    backup *b = arg;
    bool stopping = false;

    pthread_mutex_lock(&b->lock);
    b->figures.done = done;
    b->figures.total = total;
    stopping = b->stopping;
    pthread_mutex_unlock(&b->lock);
    if (stopping)
        toon_copy_stop(b->store);
}

/* What a check of the copy found first. */
typedef struct first_damage {
    int64_t offset; /* -1: nowhere in particular */
    char text[200]; /* "": none */
} first_damage;

static void keep_first(void *arg, int64_t offset, const char *text) {
    static const char damaged[] = "damaged: ", torn[] = "torn end: ";
    first_damage *found = arg;

    if (found->text[0] != '\0')
        return;
    if (strncmp(text, damaged, sizeof damaged - 1) == 0)
        text += sizeof damaged - 1;
    else if (strncmp(text, torn, sizeof torn - 1) != 0)
        return;
    found->offset = offset;
    (void)snprintf(found->text, sizeof found->text, "%s", text);
}

/* A copy has what the store has, damage too; such a one must not push out the
 * last that is sound. It is of whole lines: even a torn end is damage. */
static bool is_sound(const backup *b, const char *path) {
    first_damage found = {.offset = -1};
    toon_check_report report = {0};
    toon_err err = toon_check(path, keep_first, NULL, &found, &report);
    char where[40] = "";

    if (err == TOON_VERSION || (err == TOON_OK && report.torn_bytes == 0))
        return true;
    if (err != TOON_OK && err != TOON_CORRUPT) {
        note(b, true, "Background saving error: cannot check the copy: %s",
             toon_last_error()->text);
        return false;
    }
    if (found.offset >= 0)
        (void)snprintf(where, sizeof where,
                       "offset %lld: ", (long long)found.offset);
    note(b, true,
         "Background saving error: the store is damaged: %s%s; run tst check",
         where, found.text);
    return false;
}

/* False: the reason is noted. */
static bool copy(backup *b, char path[PATH_MAX]) {
    char unfinished[PATH_MAX];
    int64_t now_ms = wall_ms();

    if (!make_dir(b->dir)) {
        note(b, true, "Background saving error: cannot make %s: %s", b->dir,
             strerrordesc_np(errno));
        return false;
    }
    backup_clean(b->dir);
    path_in(unfinished, b->dir, UNFINISHED);
    if (toon_copy(b->store, unfinished, on_progress, b) != TOON_OK) {
        note(b, true, "Background saving error: %s", toon_last_error()->text);
        return false;
    }
    if (!is_sound(b, unfinished)) {
        (void)remove_store(unfinished);
        return false;
    }
    if (!name_it(b->dir, now_ms, path)) {
        note(b, true, "Background saving error: cannot rename %s: %s",
             unfinished, strerrordesc_np(errno));
        return false;
    }
    return true;
}

static void conclude(backup *b, bool saved, const char *path) {
    backup_figures *figures = &b->figures;

    pthread_mutex_lock(&b->lock);
    figures->runs = false;
    figures->failed = !saved;
    figures->took_s = (monotonic_ms() - b->started_ms) / 1000;
    if (saved) {
        figures->count++;
        figures->saved_s = wall_ms() / 1000;
        figures->changes = b->changes_at_start;
        (void)snprintf(figures->path, sizeof figures->path, "%s", path);
    }
    pthread_mutex_unlock(&b->lock);
}

static void *run(void *arg) {
    backup *b = arg;
    char path[PATH_MAX] = "";
    bool saved = copy(b, path);

    if (saved) {
        prune(b, path);
        note(b, false, "Background saving terminated with success: %s", path);
    }
    conclude(b, saved, path);
    return NULL;
}

/* ------------------------------------------------------------- its user's */

void backup_init(backup *b, toon_store *store, backup_note_fn *note_fn,
                 void *arg) {
    *b = (backup){.store = store, .note = note_fn, .note_arg = arg};
    b->figures.saved_s = wall_ms() / 1000;
    b->figures.took_s = -1;
    pthread_mutex_init(&b->lock, NULL);
}

static void join(backup *b) {
    if (b->has_thread)
        pthread_join(b->thread, NULL);
    b->has_thread = false;
}

void backup_stop(backup *b) {
    pthread_mutex_lock(&b->lock);
    b->stopping = true;
    pthread_mutex_unlock(&b->lock);
    if (b->has_thread)
        toon_copy_stop(b->store);
    join(b);
}

void backup_free(backup *b) {
    backup_stop(b);
    pthread_mutex_destroy(&b->lock);
}

int backup_start(backup *b, const char *dir, int64_t keep) {
    toon_stats now;
    backup_figures figures;
    int failure = 0;

    backup_stat(b, &figures);
    if (figures.runs)
        return EBUSY;
    join(b); /* it has ended */
    toon_stat(b->store, &now);
    (void)snprintf(b->dir, sizeof b->dir, "%s", dir);
    b->keep = keep;
    b->changes_at_start = now.changes;
    b->started_ms = monotonic_ms();
    b->figures.done = 0;
    b->figures.total = now.log_bytes;
    b->figures.runs = true; /* nobody else is there to see it */
    failure = pthread_create(&b->thread, NULL, run, b);
    b->has_thread = failure == 0;
    if (failure != 0)
        b->figures.runs = false;
    return failure;
}

void backup_saved(backup *b, uint64_t changes) {
    pthread_mutex_lock(&b->lock);
    b->figures.count++;
    b->figures.saved_s = wall_ms() / 1000;
    b->figures.changes = changes;
    pthread_mutex_unlock(&b->lock);
}

void backup_stat(backup *b, backup_figures *out) {
    pthread_mutex_lock(&b->lock);
    *out = b->figures;
    out->takes_s = out->runs ? (monotonic_ms() - b->started_ms) / 1000 : -1;
    pthread_mutex_unlock(&b->lock);
}
