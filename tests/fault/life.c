/*
 * life.c - calls of the public store beside a model, and the verdict on each.
 *
 * Knows the public store and its inside seam (toon_open_on); must never know
 * which calls a life is made of.
 */
#include "life.h"

#include "check.h"
#include "epoch.h"
#include "salvage.h"
#include "store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARENA_BYTES ((size_t)4 << 20)
#define LOG_NAME    "db.toon"

static char arena[ARENA_BYTES];

/* ---------------------------------------------------------------- verdicts */

static _Noreturn void __attribute__((format(printf, 2, 3)))
wrong(life *l, const char *format, ...) {
    int at = snprintf(l->wrong, sizeof l->wrong, "%s, %s: ", l->chapter,
                      fault_name());
    va_list args;
    va_start(args, format);
    (void)vsnprintf(l->wrong + at, sizeof l->wrong - (size_t)at, format, args);
    va_end(args);
    (void)fault_leave();
    longjmp(l->out, 1);
}

static void compare(life *l, const char *step) {
    const char *difference = model_difference(&l->now, l->store);
    if (difference != NULL)
        wrong(l, "%s: %s", step, difference);
}

static bool turned_read_only(const life *l) {
    toon_stats stats;
    toon_stat(l->store, &stats);
    return stats.read_only && (l->options.flags & TOON_OPEN_READ_ONLY) == 0;
}

/* The call met the fault. Has it told so, in the right words? */
static void check_error(life *l, const char *step, toon_err err,
                        toon_err wanted) {
    const toon_error *told = toon_last_error();
    if (err == wanted)
        return;
    if (fault_is_harmless())
        wrong(l, "%s: %s (%s), which it should have got over", step,
              toon_strerror(err), told->text);
    if (told->err != err || told->text[0] == '\0')
        wrong(l, "%s: %s, but the last error is %s: \"%s\"", step,
              toon_strerror(err), toon_strerror(told->err), told->text);
    if (err == fault_expected())
        return;
    /* A disk that is dead from then on, and waiters of a failed sync. */
    if (fault_may_end_writing() && (err == TOON_IO || err == TOON_READ_ONLY))
        return;
    wrong(l, "%s: answers %s (%s)", step, toon_strerror(err), told->text);
}

static void close_ended(life *l) {
    toon_err err = toon_close(l->store);
    l->store = NULL;
    l->has_before = false;
    l->failed = false;
    if (err == TOON_OK)
        wrong(l, "closing a store that turned read-only says all is well");
}

static void open_again(life *l, const char *step) {
    toon_err err = toon_open_on(&fault_io, l->dir, &l->options, &l->store);
    if (err != TOON_OK)
        wrong(l, "%s: opening it again: %s", step, toon_last_error()->text);
    if (l->watch != 0) {
        l->watch = 0;
        life_watch(l);
    }
}

/* Which of the two does the store hold? True: the later one. */
static bool choose(life *l, const char *step, const model *after) {
    const char *difference = model_difference(&l->now, l->store);
    char first[300];
    if (difference == NULL)
        return false;
    (void)snprintf(first, sizeof first, "%s", difference);
    difference = model_difference(after, l->store);
    if (difference != NULL)
        wrong(l, "%s: neither before (%s) nor after (%s)", step, first,
              difference);
    l->now = *after;
    return true;
}

/* It takes no change any more, is still read, and comes back by opening. True:
 * the call's change is there all the same. */
static bool end_writing(life *l, const char *step, const model *after) {
    if (!fault_may_end_writing())
        wrong(l, "%s: the store turned read-only", step);
    bool happened = choose(l, step, after);
    toon_err err = toon_set(l->store, toon_str("x"), toon_str("y"), NULL);
    if (err != TOON_READ_ONLY)
        wrong(l, "%s: then a set answers %s", step, toon_strerror(err));
    close_ended(l);
    open_again(l, step);
    if (fault_left_a_torn_end() || l->swaps_log)
        happened = choose(l, step, after) || happened;
    compare(l, "opened again");
    return happened;
}

static uint64_t hash_name(toon_slice name) {
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < name.size; i++)
        hash = (hash ^ (unsigned char)name.data[i]) * 1099511628211u;
    return hash;
}

static bool was_told(const life *l, toon_slice name) {
    uint64_t hash = hash_name(name);
    for (size_t i = 0; i < l->told_count; i++) {
        if (l->told[i] == hash)
            return true;
    }
    return l->told_all;
}

static bool same_bytes(toon_slice a, toon_slice b) {
    return a.size == b.size &&
           (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* What changed from `a` to `b`, or went. */
static void check_told_of(life *l, const char *step, const model *a,
                          const model *b) {
    model copy = *b;
    for (size_t i = 0; i < a->count; i++) {
        const model_key *other = model_find(&copy, a->keys[i].name);
        bool changed = other == NULL ||
                       !same_bytes(other->value, a->keys[i].value) ||
                       other->mode != a->keys[i].mode ||
                       other->expires_ms != a->keys[i].expires_ms;
        if (changed && !was_told(l, a->keys[i].name))
            wrong(l, "%s: the watcher was not told of %.*s", step,
                  (int)a->keys[i].name.size, a->keys[i].name.data);
    }
}

static void check_told(life *l, const char *step, const model *before,
                       const model *after) {
    if (l->watch == 0)
        return;
    check_told_of(l, step, before, after);
    check_told_of(l, step, after, before);
}

static void enter(life *l) {
    if (!l->in_group) {
        l->told_count = 0;
        l->told_all = false;
    }
    if (!l->quiet)
        fault_enter();
}

/* The verdict on a call that returned `err`. True: it met the fault and has
 * changed nothing, so it is to be made again. */
static bool again(life *l, const char *step, toon_err err, toon_err wanted,
                  const model *after) {
    model before = l->now;
    if (!fault_leave()) {
        if (err != wanted)
            wrong(l, "%s: %s (%s)%s", step, toon_strerror(err),
                  toon_last_error()->text,
                  fault_has_come() ? ", after the fault" : "");
        l->now = *after;
        if (!l->in_group)
            check_told(l, step, &before, after);
        return false;
    }
    check_error(l, step, err, wanted);
    l->failed = true;
    if (err == wanted)
        l->now = *after;
    if (turned_read_only(l))
        return !end_writing(l, step, after) && err != wanted;
    compare(l, step);
    if (err == wanted && !l->in_group)
        check_told(l, step, &before, after);
    return err != wanted;
}

static bool read_again(life *l, const char *step, toon_err err,
                       toon_err wanted) {
    model now = l->now;
    return again(l, step, err, wanted, &now);
}

/* ------------------------------------------------------------------- bytes */

static char *take_bytes(life *l, size_t size) {
    if (size > ARENA_BYTES - l->arena_used)
        wrong(l, "the test's arena is too small");
    char *at = l->arena + l->arena_used;
    l->arena_used += size;
    return at;
}

static toon_slice join(life *l, toon_slice a, toon_slice b) {
    char *at = take_bytes(l, a.size + b.size);
    if (a.size > 0)
        memcpy(at, a.data, a.size);
    if (b.size > 0)
        memcpy(at + a.size, b.data, b.size);
    return toon_bytes(at, a.size + b.size);
}

toon_slice life_bytes(life *l, unsigned seed, size_t size, bool plain) {
    char *at = take_bytes(l, size);
    uint64_t random = seed * 2654435761u + 1;
    for (size_t i = 0; i < size; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        at[i] = (char)(random >> 33);
        if (plain)
            at[i] = (char)('a' + (random >> 33) % 26);
    }
    return toon_bytes(at, size);
}

/* ---------------------------------------------------------- files, from out */

static void path_of(const life *l, const char *name, char path[128]) {
    (void)snprintf(path, 128, "%s/%s", l->dir, name);
}

/* Of the files that a kill leaves: small, and in the arena. No data: there is
 * no such file. */
static toon_slice slurp(life *l, const char *name) {
    char path[128];
    struct stat st;
    path_of(l, name, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return toon_bytes(NULL, 0);
    if (fstat(fd, &st) != 0)
        wrong(l, "cannot stat %s", path);
    char *at = take_bytes(l, (size_t)st.st_size + 1);
    if (read(fd, at, (size_t)st.st_size) != st.st_size)
        wrong(l, "cannot read %s", path);
    (void)close(fd);
    return toon_bytes(at, (size_t)st.st_size);
}

static void spill(life *l, const char *name, toon_slice bytes, int flags) {
    char path[128];
    path_of(l, name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0666);
    if (fd < 0 || write(fd, bytes.data, bytes.size) != (ssize_t)bytes.size)
        wrong(l, "cannot write %s", path);
    (void)close(fd);
}

static void remove_dir(const char *dir) {
    DIR *listing = opendir(dir);
    const struct dirent *entry;
    char path[400];
    while (listing != NULL && (entry = readdir(listing)) != NULL) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)unlink(path);
    }
    if (listing != NULL)
        (void)closedir(listing);
    (void)rmdir(dir);
}

void life_forget_index(life *l) {
    char path[128];
    path_of(l, "db.toon.idx", path);
    (void)unlink(path);
}

void life_tear(life *l) {
    life_forget_index(l);
    spill(l, LOG_NAME, toon_str("half[4]: a record that ne"), O_APPEND);
}

void life_damage(life *l, const char *text) {
    toon_slice log = slurp(l, LOG_NAME);
    const char *found = memmem(log.data, log.size, text, strlen(text));
    if (found == NULL)
        wrong(l, "there is no %s in the log", text);
    l->arena[found - l->arena + 1] ^= 1;
    spill(l, LOG_NAME, log, O_TRUNC);
    l->damaged = true;
}

void life_kill(life *l) {
    toon_slice log = slurp(l, LOG_NAME);
    toon_slice index = slurp(l, "db.toon.idx");
    toon_err err = toon_close(l->store);
    l->store = NULL;
    if (err != TOON_OK && !l->failed)
        wrong(l, "closing: %s", toon_strerror(err));
    spill(l, LOG_NAME, log, O_TRUNC);
    life_forget_index(l);
    if (index.data != NULL)
        spill(l, "db.toon.idx", index, O_TRUNC);
    l->has_before = false;
    l->failed = false;
}

/* ------------------------------------------------------------- open, close */

/* Memory and log count alike. */
static void check_counts(life *l, bool came) {
    toon_stats stats;
    toon_stat(l->store, &stats);
    if (!l->has_before)
        return;
    const toon_stats *was = &l->before;
#ifdef TOON_HOSTILE
    came = true; /* indexes are saved while keys change */
#endif
    if (came) /* then it is an estimate */
        stats.live_bytes = was->live_bytes;
    if (stats.rows + stats.row_base != was->rows + was->row_base ||
        stats.keys != was->keys || stats.keys_expiring != was->keys_expiring ||
        stats.live_bytes != was->live_bytes || stats.log_bytes < was->log_bytes)
        wrong(l,
              "opened: rows %llu keys %llu expiring %llu live %llu of %llu, "
              "not %llu %llu %llu %llu of %llu",
              (unsigned long long)stats.rows, (unsigned long long)stats.keys,
              (unsigned long long)stats.keys_expiring,
              (unsigned long long)stats.live_bytes,
              (unsigned long long)stats.log_bytes,
              (unsigned long long)was->rows, (unsigned long long)was->keys,
              (unsigned long long)was->keys_expiring,
              (unsigned long long)was->live_bytes,
              (unsigned long long)was->log_bytes);
}

void life_open(life *l) {
    toon_err err;
    bool came;
    do {
        enter(l);
        err = toon_open_on(&fault_io, l->dir, &l->options, &l->store);
        came = fault_leave();
        if (!came && err != TOON_OK)
            wrong(l, "opening: %s", toon_last_error()->text);
        if (came)
            check_error(l, "opening", err, TOON_OK);
    } while (err != TOON_OK);
    check_counts(l, came);
    if (came || l->has_before)
        compare(l, "opened");
}

void life_open_quietly(life *l) {
    l->quiet = true;
    life_open(l);
    l->quiet = false;
}

void life_close(life *l) {
    toon_stat(l->store, &l->before);
    l->has_before = true;
    enter(l);
    toon_err err = toon_close(l->store);
    bool came = fault_leave();
    l->store = NULL;
    l->watch = 0;
    if (came && err != TOON_OK && fault_is_harmless())
        wrong(l, "closing: %s, which it should have got over",
              toon_strerror(err));
    if (!came && err != TOON_OK && !l->failed)
        wrong(l, "closing: %s", toon_strerror(err));
    l->failed = false;
}

/* ----------------------------------------------------------------- reading */

static toon_err wanted_of(life *l, const char *key) {
    return model_find(&l->now, toon_str(key)) ? TOON_OK : TOON_NOT_FOUND;
}

static void check_bytes(life *l, const char *step, const char *key,
                        toon_slice got) {
    if (!same_bytes(got, model_find(&l->now, toon_str(key))->value))
        wrong(l, "%s %s: another value of %zu bytes", step, key, got.size);
}

void life_get(life *l, const char *key) {
    toon_value value = {0};
    toon_err err;
    do {
        enter(l);
        err = toon_get(l->store, toon_str(key), &value);
    } while (read_again(l, "get", err, wanted_of(l, key)));
    if (err == TOON_OK)
        check_bytes(l, "get", key, toon_bytes(value.data, value.size));
    toon_value_release(&value);
}

void life_read(life *l, const char *key) {
    char buffer[64];
    size_t size = 0;
    toon_err err;
    do {
        enter(l);
        err = toon_read(l->store, toon_str(key), buffer, sizeof buffer, &size);
    } while (read_again(l, "read", err, wanted_of(l, key)));
    if (err != TOON_OK)
        return;
    toon_slice value = model_find(&l->now, toon_str(key))->value;
    size_t common = size < sizeof buffer ? size : sizeof buffer;
    if (size != value.size || memcmp(buffer, value.data, common) != 0)
        wrong(l, "read %s: other bytes", key);
}

void life_stat(life *l, const char *key) {
    toon_key_stat stat;
    toon_err err;
    do {
        enter(l);
        err = toon_stat_key(l->store, toon_str(key), &stat);
    } while (read_again(l, "stat", err, wanted_of(l, key)));
    if (err == TOON_OK &&
        stat.size != model_find(&l->now, toon_str(key))->value.size)
        wrong(l, "stat %s: size %zu", key, stat.size);
}

void life_pin(life *l, const char *key, int place) {
    toon_value value = {0};
    toon_err err;
    do {
        enter(l);
        err = toon_get(l->store, toon_str(key), &value);
    } while (read_again(l, "pin", err, TOON_OK));
    toon_value_share(&value, &l->pins[place].value);
    toon_value_release(&value);
    l->pins[place].wanted = model_find(&l->now, toon_str(key))->value;
}

static void release_pins(life *l) {
    for (int i = 0; i < LIFE_PINS; i++) {
        const toon_value *value = &l->pins[i].value;
        if (!same_bytes(toon_bytes(value->data, value->size),
                        l->pins[i].wanted))
            wrong(l, "a pinned value is not what it was");
        toon_value_release(&l->pins[i].value);
    }
}

struct visit {
    life *l;
    size_t count;
    bool with_stat;
    const char *wrong;
};

/* Then a key may be listed without its size. */
static bool disk_could_not_read(void) {
    return fault_has_come() && !fault_is_harmless() &&
           fault_expected() == TOON_IO;
}

static bool visit_key(void *arg, toon_slice key, const toon_key_stat *stat) {
    struct visit *self = arg;
    const model_key *known = model_find(&self->l->now, key);
    self->count++;
    if (known == NULL)
        self->wrong = "lists a key that is not there";
    else if (self->with_stat && stat->size != known->value.size &&
             (stat->meta.version != 0 || !disk_could_not_read()))
        self->wrong = "lists a wrong size";
    return self->wrong == NULL;
}

static void check_visit(life *l, const char *step, const struct visit *visit,
                        const char *prefix) {
    size_t wanted = 0;
    for (size_t i = 0; i < l->now.count; i++) {
        toon_slice name = l->now.keys[i].name;
        size_t size = strlen(prefix);
        wanted += name.size >= size && memcmp(name.data, prefix, size) == 0;
    }
    if (visit->wrong != NULL)
        wrong(l, "%s %s", step, visit->wrong);
    if (visit->count != wanted)
        wrong(l, "%s lists %zu keys, not %zu", step, visit->count, wanted);
}

void life_scan(life *l, const char *prefix, bool with_stat) {
    char match[32];
    toon_scan_options options = {.match = match, .with_stat = with_stat};
    struct visit visit;
    toon_err err;
    (void)snprintf(match, sizeof match, "%s*", prefix);
    options.match_size = strlen(match);
    do {
        uint64_t cursor = 0;
        visit = (struct visit){.l = l, .with_stat = with_stat};
        enter(l);
        do
            err = toon_scan(l->store, &cursor, &options, visit_key, &visit);
        while (err == TOON_OK && cursor != 0 && visit.wrong == NULL);
    } while (read_again(l, "scan", err, TOON_OK));
    check_visit(l, "scan", &visit, prefix);
}

void life_range(life *l, const char *prefix, bool with_stat) {
    toon_range_options options = {.prefix = toon_str(prefix),
                                  .with_stat = with_stat};
    struct visit visit;
    toon_err err;
    do {
        visit = (struct visit){.l = l, .with_stat = with_stat};
        enter(l);
        err = toon_range(l->store, &options, visit_key, &visit);
    } while (read_again(l, "range", err, TOON_OK));
    check_visit(l, "range", &visit, prefix);
}

struct together {
    life *l;
    toon_err err;
};

static void get_two(void *arg) {
    struct together *self = arg;
    toon_value value = {0};
    for (size_t i = 0; i < self->l->now.count && i < 2; i++) {
        self->err = toon_get(self->l->store, self->l->now.keys[i].name, &value);
        toon_value_release(&value);
        if (self->err != TOON_OK)
            return;
    }
}

void life_read_together(life *l) {
    struct together together;
    do {
        together = (struct together){.l = l};
        enter(l);
        toon_read_together(l->store, get_two, &together);
    } while (read_again(l, "read together", together.err, TOON_OK));
}

/* ---------------------------------------------------------------- changing */

enum { MODE_TYPE = 0170000 };

static toon_slice keep_name(life *l, toon_slice name) {
    return join(l, name, toon_bytes(NULL, 0));
}

/* What the header says of toon_set(). */
static toon_err model_set(life *l, model *m, toon_slice name, toon_slice value,
                          const toon_set_options *options) {
    model_key *key = model_find(m, name);
    if ((options->flags & TOON_SET_IF_ABSENT) != 0 && key != NULL)
        return TOON_EXISTS;
    if ((options->flags & TOON_SET_IF_PRESENT) != 0 && key == NULL)
        return TOON_NOT_FOUND;
    if (key == NULL)
        key = model_put(m, keep_name(l, name));
    if (key == NULL)
        wrong(l, "the model is too small");
    if ((key->mode & MODE_TYPE) != 0)
        key->mode = 0;
    if ((options->flags & TOON_SET_MODE) != 0)
        key->mode = options->mode;
    if ((options->flags & TOON_SET_KEEP_EXPIRY) == 0)
        key->expires_ms = options->expires_ms;
    key->value = value;
    key->written_ms = options->written_ms;
    if (key->expires_ms == 1) { /* long ago */
        model_remove(m, name);
        l->expired++;
    }
    return TOON_OK;
}

void life_set_with(life *l, toon_slice key, toon_slice value,
                   toon_set_options options) {
    model after = l->now;
    toon_err wanted = model_set(l, &after, key, value, &options);
    toon_err err;
    do {
        enter(l);
        err = toon_set(l->store, key, value, &options);
    } while (again(l, "set", err, wanted, &after));
}

void life_set(life *l, const char *key, toon_slice value) {
    life_set_with(l, toon_str(key), value, (toon_set_options){0});
}

void life_put(life *l, const char *key, const char *text) {
    life_set(l, key, toon_str(text));
}

void life_exchange_value(life *l, const char *key, const char *text,
                         unsigned flags) {
    model after = l->now;
    toon_value old = {0};
    toon_set_options options = {.flags = flags, .old = &old};
    const model_key *known = model_find(&l->now, toon_str(key));
    toon_slice was = known != NULL ? known->value : toon_bytes(NULL, 0);
    bool there = known != NULL;
    toon_err err,
        wanted = model_set(l, &after, toon_str(key), toon_str(text), &options);
    do {
        enter(l);
        err = toon_set(l->store, toon_str(key), toon_str(text), &options);
    } while (again(l, "set and get", err, wanted, &after));
    if (err == wanted && (!same_bytes(toon_bytes(old.data, old.size), was) ||
                          (old.pin != NULL) != there))
        wrong(l, "set and get %s: another old value", key);
    toon_value_release(&old);
}

void life_set_if_same(life *l, const char *key, const char *text) {
    toon_key_stat stat;
    toon_err err = toon_stat_key(l->store, toon_str(key), &stat);
    toon_set_options options = {.if_version = stat.meta.version + 1};
    model after = l->now;
    if (err != TOON_OK)
        wrong(l, "stat %s: %s", key, toon_strerror(err));
    do {
        enter(l);
        err = toon_set(l->store, toon_str(key), toon_str(text), &options);
    } while (again(l, "set if same", err, TOON_CONFLICT, &after));
    (void)model_set(l, &after, toon_str(key), toon_str(text), &options);
    do {
        (void)toon_stat_key(l->store, toon_str(key), &stat);
        options.if_version = stat.meta.version;
        enter(l);
        err = toon_set(l->store, toon_str(key), toon_str(text), &options);
    } while (again(l, "set if same", err, TOON_OK, &after));
}

void life_append(life *l, const char *key, toon_slice bytes) {
    model after = l->now;
    model_key *known = model_put(&after, toon_str(key));
    size_t size = 0;
    toon_err err;
    known->value = join(l, known->value, bytes);
    known->written_ms = 0;
    do {
        enter(l);
        err = toon_append(l->store, toon_str(key), bytes, &size);
    } while (again(l, "append", err, TOON_OK, &after));
    if (err == TOON_OK && size != known->value.size)
        wrong(l, "append %s: says %zu bytes", key, size);
}

void life_delete(life *l, const char *key) {
    model after = l->now;
    toon_err err, wanted = wanted_of(l, key);
    model_remove(&after, toon_str(key));
    do {
        enter(l);
        err = toon_delete(l->store, toon_str(key), 0, NULL);
    } while (again(l, "delete", err, wanted, &after));
}

void life_take(life *l, const char *key) {
    model after = l->now;
    toon_value old = {0};
    toon_err err, wanted = wanted_of(l, key);
    const model_key *known = model_find(&l->now, toon_str(key));
    toon_slice was = known != NULL ? known->value : toon_bytes(NULL, 0);
    model_remove(&after, toon_str(key));
    do {
        enter(l);
        err = toon_delete(l->store, toon_str(key), 0, &old);
    } while (again(l, "take", err, wanted, &after));
    if (err == TOON_OK && !same_bytes(toon_bytes(old.data, old.size), was))
        wrong(l, "take %s: another old value", key);
    toon_value_release(&old);
}

static toon_err model_rename(life *l, model *m, toon_slice from, toon_slice to,
                             unsigned flags) {
    model_key *a = model_find(m, from);
    model_key *b = model_find(m, to);
    bool exchange = (flags & TOON_RENAME_EXCHANGE) != 0;
    if (a == NULL || (exchange && b == NULL))
        return TOON_NOT_FOUND;
    if ((flags & TOON_RENAME_NO_REPLACE) != 0 && b != NULL)
        return TOON_EXISTS;
    if (a == b)
        return TOON_OK;
    model_key moved = *a;
    if (b == NULL)
        b = model_put(m, keep_name(l, to));
    if (b == NULL)
        wrong(l, "the model is too small");
    model_key was = *b;
    *b = moved;
    b->name = was.name;
    if (exchange) {
        *a = was;
        a->name = moved.name;
    } else {
        model_remove(m, from);
    }
    return TOON_OK;
}

void life_rename(life *l, const char *from, const char *to, unsigned flags) {
    model after = l->now;
    toon_err err;
    toon_err wanted =
        model_rename(l, &after, toon_str(from), toon_str(to), flags);
    do {
        enter(l);
        err = toon_rename(l->store, toon_str(from), toon_str(to), flags);
    } while (again(l, "rename", err, wanted, &after));
}

void life_meta(life *l, const char *key, unsigned what, toon_meta meta) {
    model after = l->now;
    model_key *known = model_find(&after, toon_str(key));
    toon_err err, wanted = wanted_of(l, key);
    if (known != NULL && (what & TOON_META_MODE) != 0)
        known->mode = meta.mode;
    if (known != NULL && (what & TOON_META_WRITTEN) != 0)
        known->written_ms = meta.written_ms;
    if (known != NULL && (what & TOON_META_EXPIRES) != 0)
        known->expires_ms = meta.expires_ms;
    if (known != NULL && known->expires_ms == 1)
        model_remove(&after, toon_str(key));
    do {
        enter(l);
        err = toon_set_meta(l->store, toon_str(key), what, &meta);
    } while (again(l, "meta", err, wanted, &after));
}

static uint64_t next_row(const life *l) {
    toon_stats stats;
    toon_stat(l->store, &stats);
    return stats.row_base + stats.rows;
}

void life_add(life *l, const char *text) {
    model after;
    uint64_t row = 0, wanted_row;
    char digits[24];
    toon_err err;
    do {
        after = l->now;
        wanted_row = next_row(l);
        /* A row that was set by hand is passed over, at the cost of one. */
        for (;; wanted_row++) {
            (void)snprintf(digits, sizeof digits, "%llu",
                           (unsigned long long)wanted_row);
            if (model_find(&after, toon_str(digits)) == NULL)
                break;
        }
        model_key *key = model_put(&after, keep_name(l, toon_str(digits)));
        if (key == NULL)
            wrong(l, "the model is too small");
        key->value = toon_str(text);
        enter(l);
        err = toon_add(l->store, toon_str(text), &row);
    } while (again(l, "add", err, TOON_OK, &after));
    if (err == TOON_OK && row != wanted_row)
        wrong(l, "add: row %llu, not %llu", (unsigned long long)row,
              (unsigned long long)wanted_row);
}

void life_expire(life *l) {
    bool more;
    toon_err err;
    do {
        enter(l);
        err = toon_expire_some(l->store, 100, &more);
    } while (read_again(l, "expire", err, TOON_OK));
    toon_stats stats;
    toon_stat(l->store, &stats);
    l->expired = 0;
    if (err == TOON_OK && stats.keys != l->now.count)
        wrong(l, "expire leaves %llu keys, not %zu",
              (unsigned long long)stats.keys, l->now.count);
}

void life_clear(life *l) {
    model after = {.count = 0};
    toon_err err;
    l->swaps_log = true;
    do {
        enter(l);
        err = toon_clear(l->store);
    } while (again(l, "clear", err, TOON_OK, &after));
    l->swaps_log = false;
}

/* ------------------------------------------------------------------ groups */

static void begin_batch(life *l) {
    toon_err err;
    do {
        enter(l);
        err = toon_batch_begin(l->store);
    } while (read_again(l, "batch begin", err, TOON_OK));
}

void life_batch(life *l, group_fn *fn) {
    toon_err err;
    model before, after;
    do {
        before = l->now;
        begin_batch(l);
        l->told_count = 0;
        l->told_all = false;
        l->in_group = true;
        fn(l);
        after = l->now;
        l->now = before;
        fault_enter();
        err = toon_batch_commit(l->store);
        l->in_group = false;
    } while (again(l, "batch commit", err, TOON_OK, &after));
}

void life_cancelled_batch(life *l, group_fn *fn) {
    model before = l->now;
    begin_batch(l);
    l->in_group = true;
    fn(l);
    l->now = before;
    fault_enter();
    toon_batch_cancel(l->store);
    (void)fault_leave();
    l->in_group = false;
    compare(l, "batch cancel");
}

/* A hostile build writes in the middle of a gathering: what was written then
 * is done, whatever comes. */
void life_gather(life *l, group_fn *fn) {
#ifdef TOON_HOSTILE
    fn(l);
#else
    toon_err err;
    model before, after;
    do {
        before = l->now;
        l->told_count = 0;
        l->told_all = false;
        toon_gather_begin(l->store);
        l->in_group = true;
        fn(l);
        after = l->now;
        l->now = before;
        fault_enter();
        err = toon_gather_end(l->store);
        l->in_group = false;
    } while (again(l, "gather end", err, TOON_OK, &after));
#endif
}

/* ---------------------------------------------------------------- watching */

static void hear(void *arg, const toon_change *change) {
    life *l = arg;
    if (change->kind == TOON_CHANGE_CLEAR ||
        l->told_count == sizeof l->told / sizeof l->told[0])
        l->told_all = true;
    else if (change->kind != TOON_CHANGE_MOVED)
        l->told[l->told_count++] = hash_name(change->key);
}

void life_watch(life *l) {
    uint64_t id = 0;
    toon_err err;
    do {
        enter(l);
        err = toon_watch(l->store, hear, l, &id);
    } while (read_again(l, "watch", err, TOON_OK));
    l->watch = id;
}

void life_unwatch(life *l) {
    toon_unwatch(l->store, l->watch);
    l->watch = 0;
}

/* -------------------------------------------------------------------- care */

void life_sync(life *l) {
    toon_err err;
    do {
        enter(l);
        err = toon_sync(l->store);
    } while (read_again(l, "sync", err, TOON_OK));
}

static bool is_missing(toon_err err) {
    return err == TOON_INVALID &&
           strstr(toon_last_error()->text, "not built yet") != NULL;
}

void life_compact(life *l) {
    toon_err err;
    l->swaps_log = true;
    do {
        enter(l);
        err = toon_compact(l->store, NULL, NULL);
        if (is_missing(err)) {
            (void)fault_leave();
            break;
        }
    } while (read_again(l, "compact", err, TOON_OK));
    l->swaps_log = false;
}

/* Is there nothing of a copy that failed? */
static bool is_gone(const char *dir) {
    char path[200];
    (void)snprintf(path, sizeof path, "%s/db.toon", dir);
    return access(path, F_OK) != 0;
}

static void compare_copy(life *l, const char *dir) {
    toon_store *copy = NULL;
    toon_options options = {.flags = TOON_OPEN_READ_ONLY};
    if (toon_open(dir, &options, &copy) != TOON_OK)
        wrong(l, "opening the copy: %s", toon_last_error()->text);
    const char *difference = model_difference(&l->now, copy);
    (void)toon_close(copy);
    if (difference != NULL)
        wrong(l, "the copy: %s", difference);
}

void life_copy(life *l) {
    char dir[80];
    toon_err err;
    (void)snprintf(dir, sizeof dir, "%s-copy", l->dir);
    for (;;) {
        enter(l);
        err = toon_copy(l->store, dir, NULL, NULL);
        bool missing = is_missing(err);
        if (missing)
            (void)fault_leave();
        if (missing || !read_again(l, "copy", err, TOON_OK))
            break;
        if (!is_gone(dir) && !fault_ended_the_disk())
            wrong(l, "a copy that failed left a log behind");
        remove_dir(dir);
    }
    if (err == TOON_OK)
        compare_copy(l, dir);
    remove_dir(dir);
}

/* Until no call fails, or what is wanted is found all the same. */
static toon_err check_in_spite(life *l, const char *what, toon_err wanted,
                               toon_check_report *report) {
    toon_err err;
    bool came;
    do {
        enter(l);
        err = toon_check_on(&fault_io, l->dir, NULL, NULL, NULL, report);
        came = fault_leave();
        if (came)
            check_error(l, what, err, wanted);
    } while (came && err != wanted);
    return err;
}

void life_check(life *l) {
    toon_check_report report;
    toon_err err = check_in_spite(l, "check", TOON_OK, &report);
    bool torn = report.torn_bytes != 0 && !fault_left_a_torn_end();
    if (err != TOON_OK || report.damaged != 0 || torn ||
        report.live_keys < l->now.count ||
        report.live_keys > l->now.count + l->expired)
        wrong(l, "check: %s, %llu damaged, %llu torn, %llu keys of %zu",
              toon_strerror(err), (unsigned long long)report.damaged,
              (unsigned long long)report.torn_bytes,
              (unsigned long long)report.live_keys, l->now.count);
}

static void check_same_file(life *l, const char *name, toon_slice wanted) {
    if (!same_bytes(slurp(l, name), wanted))
        wrong(l, "%s is not what the log was", name);
}

void life_check_damaged(life *l) {
    toon_slice log = slurp(l, LOG_NAME);
    toon_check_report report;
    toon_err err = check_in_spite(l, "check of damage", TOON_CORRUPT, &report);
    check_same_file(l, LOG_NAME, log);
    if (err != TOON_CORRUPT || report.damaged != 1)
        wrong(l, "check of damage: %s, %llu damaged", toon_strerror(err),
              (unsigned long long)report.damaged);
}

struct findings {
    const char *key;
    unsigned of_key;
};

static void find_lost(void *arg, int64_t offset, const char *text) {
    struct findings *self = arg;
    (void)offset;
    bool nameless = fault_has_come() && strstr(text, "no memory") != NULL;
    self->of_key += nameless || strstr(text, self->key) != NULL;
}

static bool has_file(const life *l, const char *name) {
    char path[128];
    path_of(l, name, path);
    return access(path, F_OK) == 0;
}

/* It failed: the log is as it was; or it is mended, and what it was is beside
 * it, as the report says. True: the former. */
static bool is_unmended(life *l, const toon_repair_report *report,
                        toon_slice log) {
    if (same_bytes(slurp(l, LOG_NAME), log)) {
        if (has_file(l, "db.toon.new") && !fault_ended_the_disk())
            wrong(l, "a repair that failed left its log behind");
        return true;
    }
    if (report->before[0] == '\0')
        wrong(l, "a repair that failed has changed the log");
    check_same_file(l, report->before, log);
    return false;
}

void life_repair(life *l, const char *key) {
    toon_slice log = slurp(l, LOG_NAME);
    toon_repair_report report;
    struct findings findings;
    toon_err err;
    bool again;
    model_remove(&l->now, toon_str(key));
    do {
        findings = (struct findings){.key = key};
        enter(l);
        err = toon_repair_on(&fault_io, l->dir, find_lost, NULL, &findings,
                             &report);
        again = fault_leave() && err != TOON_OK;
        if (!again)
            break;
        check_error(l, "repair", err, TOON_OK);
        l->damaged = l->damaged && is_unmended(l, &report, log);
    } while (again);
    if (err != TOON_OK)
        wrong(l, "repair: %s", toon_last_error()->text);
    if (l->damaged)
        check_same_file(l, report.before, log);
    if (l->damaged && (report.keys_lost != 1 || findings.of_key == 0))
        wrong(l, "repair: %llu keys lost, told %u times",
              (unsigned long long)report.keys_lost, findings.of_key);
    if (report.keys != l->now.count)
        wrong(l, "repair: %llu keys, not %zu", (unsigned long long)report.keys,
              l->now.count);
    l->damaged = false;
    l->has_before = false;
}

/* --------------------------------------------------------------------- run */

static void begin(life *l, const char *name) {
    const char *where = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    *l = (life){.chapter = name, .arena = arena};
    l->options.sync = TOON_SYNC_NO;
    l->options.compact_garbage = 100; /* not by itself */
    (void)snprintf(l->top, sizeof l->top, "%s/toon-fault-XXXXXX", where);
    if (mkdtemp(l->top) == NULL) {
        perror(l->top);
        exit(2);
    }
    (void)snprintf(l->dir, sizeof l->dir, "%s/store", l->top);
}

bool life_run(life *l, const char *name, chapter_fn *chapter) {
    begin(l, name);
    if (setjmp(l->out) == 0) {
        chapter(l);
        if (l->store != NULL)
            life_close(l);
        l->quiet = true;
        life_check(l);
        life_open(l);
        compare(l, "in the end");
        life_close(l);
        release_pins(l);
    }
    remove_dir(l->dir);
    remove_dir(l->top);
    return l->wrong[0] == '\0';
}
