/*
 * damage_store.c - stores to be damaged, and all that they ever answered.
 *
 * Time and chance are the seed's, so that the same seed gives the same bytes:
 * the program is linked with its own clock and getrandom().
 */
#include "damage_store.h"

#include "checkpoint.h"
#include "index_file.h"
#include "key_hash.h"
#include "log.h"
#include "store_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
/* ------------------------------------------------------- time and chance */

static uint64_t chance = 1;
static _Atomic int64_t clock_ms = 1732300000000;

uint64_t pick(uint64_t *random, uint64_t below) {
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (*random >> 33) % below;
}

int64_t __wrap_toon_now_ms(void);

int64_t __wrap_toon_now_ms(void) {
    return clock_ms;
}

ssize_t __wrap_getrandom(void *out, size_t size, unsigned flags);

ssize_t __wrap_getrandom(void *out, size_t size, unsigned flags) {
    char *bytes = out;
    (void)flags;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)pick(&chance, 256);
    return (ssize_t)size;
}

void give_up(const char *what) {
    (void)fprintf(stderr, "damage: %s: %s\n", what, toon_last_error()->text);
    exit(2);
}

static void must(toon_err err, const char *what) {
    if (err != TOON_OK)
        give_up(what);
}

/* ------------------------------------------------------------------- files */

static int no_sync(int fd) {
    (void)fd;
    return 0;
}

static int no_allocate(int fd, off_t offset, off_t size) {
    (void)fd;
    (void)offset;
    (void)size;
    return 0;
}

const toon_io *quick_io(void) {
    static toon_io io;
    io = toon_io_system;
    io.sync = no_sync;
    io.allocate = no_allocate;
    return &io;
}

void write_file(const char *dir, const char *name, const file_bytes *file) {
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    if (file->bytes == NULL)
        return;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0 || write(fd, file->bytes, file->size) != (ssize_t)file->size)
        give_up(path);
    (void)close(fd);
}

file_bytes read_file(const char *dir, const char *name) {
    char path[300];
    file_bytes file = {NULL, 0};
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return file;
    if (fstat(fd, &st) != 0)
        give_up(path);
    file.size = (size_t)st.st_size;
    file.bytes = malloc(file.size + 1);
    if (file.bytes == NULL ||
        read(fd, file.bytes, file.size) != (ssize_t)file.size)
        give_up(path);
    (void)close(fd);
    return file;
}

void empty_directory(const char *dir) {
    char path[600];
    DIR *listing = opendir(dir);
    struct dirent *entry;
    while (listing != NULL && (entry = readdir(listing)) != NULL) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        if (entry->d_name[0] != '.')
            (void)unlink(path);
    }
    if (listing != NULL)
        (void)closedir(listing);
}

/* -------------------------------------------------------------------- keys */

size_t key_name(unsigned key, char name[32]) {
    static const char *const starts[] = {"k", "dir/", "\xff", "a b", "x:"};
    int size;
    if (key < SINGLE_KEYS)
        size = snprintf(name, 32, "%s%u", starts[key % 5], key);
    else
        size = snprintf(name, 32, "g%u.%u", (key - SINGLE_KEYS) / GROUP_KEYS,
                        (key - SINGLE_KEYS) % GROUP_KEYS);
    return (size_t)size;
}

static toon_slice name_of(unsigned key, char name[32]) {
    size_t size = key_name(key, name);
    return toon_bytes(name, size);
}

bool key_state_equal(const key_state *a, const key_state *b) {
    if (a->err != TOON_OK || b->err != TOON_OK)
        return a->err == b->err;
    return a->digest == b->digest && a->written_ms == b->written_ms &&
           a->expires_ms == b->expires_ms && a->mode == b->mode;
}

void read_states(toon_store *store, key_state out[KEYS]) {
    for (unsigned key = 0; key < KEYS; key++) {
        char name[32];
        toon_value value;
        key_state *state = &out[key];
        *state = (key_state){0};
        state->err = toon_get(store, name_of(key, name), &value);
        if (state->err != TOON_OK)
            continue;
        state->digest =
            toon_key_hash(toon_bytes(value.data, value.size), value.size);
        state->written_ms = value.meta.written_ms;
        state->expires_ms = value.meta.expires_ms;
        state->mode = value.meta.mode;
        toon_value_release(&value);
    }
}

/* -------------------------------------------------------------------- life */

struct life {
    const char *dir;
    toon_store *store;
    damage_store *out;
    uint64_t random;
    unsigned value_max;
    bool in_batch;
};

static void open_store(struct life *life) {
    toon_options options = {.sync = TOON_SYNC_NO,
                            .cache_policy = TOON_CACHE_NONE,
                            .compact_garbage = 100};
    must(toon_open_on(quick_io(), life->dir, &options, &life->store),
         "opening a sound store");
}

/* Between two batches. */
static void note_moment(struct life *life) {
    damage_store *out = life->out;
    toon_stats stats;
    if (life->in_batch)
        return;
    toon_stat(life->store, &stats);
    if (out->moment_count == out->moment_capacity) {
        out->moment_capacity = out->moment_capacity * 2 + 64;
        out->moments =
            realloc(out->moments, out->moment_capacity * sizeof *out->moments);
        if (out->moments == NULL)
            give_up("no memory");
    }
    moment *now = &out->moments[out->moment_count++];
    now->end = stats.log_bytes;
    read_states(life->store, now->keys);
}

static toon_slice random_value(struct life *life, char *bytes) {
    static const char text[] = "abcdefgh\n\",\\: 0123";
    size_t size = pick(&life->random, 12) == 0
                      ? pick(&life->random, life->value_max)
                      : pick(&life->random, 30);
    bool binary = pick(&life->random, 4) == 0;
    for (size_t i = 0; i < size; i++)
        bytes[i] = binary ? (char)pick(&life->random, 256)
                          : text[pick(&life->random, sizeof text - 1)];
    return toon_bytes(bytes, size);
}

static void set_key(struct life *life, unsigned key, toon_slice value,
                    uint32_t mode, int64_t expires_ms) {
    char name[32];
    toon_set_options options = {
        .flags = TOON_SET_MODE, .mode = mode, .expires_ms = expires_ms};
    clock_ms += 7;
    must(toon_set(life->store, name_of(key, name), value, &options), "set");
    note_moment(life);
}

static void append_key(struct life *life, unsigned key, toon_slice value) {
    char name[32];
    clock_ms += 7;
    must(toon_append(life->store, name_of(key, name), value, NULL), "append");
    note_moment(life);
}

/* An absent key is fine. */
static void change_if_there(struct life *life, toon_err err) {
    if (err != TOON_NOT_FOUND)
        must(err, "change");
    note_moment(life);
}

static void delete_key(struct life *life, unsigned key) {
    char name[32];
    clock_ms += 7;
    change_if_there(life,
                    toon_delete(life->store, name_of(key, name), 0, NULL));
}

static void rename_key(struct life *life, unsigned from, unsigned to,
                       unsigned flags) {
    char a[32], b[32];
    clock_ms += 7;
    change_if_there(life, toon_rename(life->store, name_of(from, a),
                                      name_of(to, b), flags));
}

static void touch_key(struct life *life, unsigned key, uint32_t mode,
                      int64_t expires_ms) {
    char name[32];
    toon_meta meta = {.mode = mode, .expires_ms = expires_ms};
    clock_ms += 7;
    change_if_there(life,
                    toon_set_meta(life->store, name_of(key, name),
                                  TOON_META_MODE | TOON_META_EXPIRES, &meta));
}

/* Never is a later one than these. */
static int64_t some_expiry(struct life *life) {
    return pick(&life->random, 4) == 0
               ? 4000000000000 + (int64_t)pick(&life->random, 1000)
               : 0;
}

static void sync_store(struct life *life) {
    must(toon_sync(life->store), "sync");
}

static void begin_batch(struct life *life) {
    must(toon_batch_begin(life->store), "batch");
    life->in_batch = true;
}

static void commit_batch(struct life *life) {
    must(toon_batch_commit(life->store), "commit");
    life->in_batch = false;
    note_moment(life);
}

/* Set together, or not at all, and never again. */
static void set_group(struct life *life, unsigned group) {
    char value[64];
    begin_batch(life);
    for (unsigned i = 0; i < GROUP_KEYS; i++) {
        int size =
            snprintf(value, sizeof value, "value %u of group %u", i, group);
        set_key(life, SINGLE_KEYS + group * GROUP_KEYS + i,
                toon_bytes(value, (size_t)size), 0, 0);
    }
    commit_batch(life);
}

static void change_some_key(struct life *life) {
    uint64_t *random = &life->random;
    unsigned key = (unsigned)pick(random, SINGLE_KEYS);
    char *bytes = malloc(life->value_max + 64);
    if (bytes == NULL)
        give_up("no memory");
    switch (pick(random, 8)) {
    case 0:
    case 1:
    case 2:
        set_key(life, key, random_value(life, bytes),
                pick(random, 4) == 0 ? 0755 : 0, some_expiry(life));
        break;
    case 3:
    case 4:
        append_key(life, key % 6, random_value(life, bytes));
        break;
    case 5:
        delete_key(life, key);
        break;
    case 6:
        rename_key(life, key, (unsigned)pick(random, SINGLE_KEYS),
                   pick(random, 3) == 0 ? TOON_RENAME_EXCHANGE : 0);
        break;
    default:
        touch_key(life, key, pick(random, 2) == 0 ? 0600 : 0,
                  some_expiry(life));
        break;
    }
    free(bytes);
}

static void some_batch(struct life *life) {
    uint64_t changes = 2 + pick(&life->random, 5);
    begin_batch(life);
    while (changes-- > 0)
        change_some_key(life);
    commit_batch(life);
}

/* Every kind of record, in few bytes. */
static void begin_script(struct life *life) {
    set_key(life, 0, toon_str("first"), 0, 0);
    set_key(life, 1, toon_str("to be renamed\n"), 0755, 0);
    set_key(life, 2, toon_bytes("\xff\xfe\x00\x01", 4), 0, 0);
    append_key(life, 0, toon_str(" and more"));
    append_key(life, 2, toon_bytes("\x80\x81", 2));
    sync_store(life);
    set_group(life, 0);
    set_key(life, 3, toon_str("42"), 0, 4000000000000);
    touch_key(life, 0, 0600, 0);
    rename_key(life, 1, 4, 0);
    set_key(life, 5, toon_str("old"), 0, 0);
    sync_store(life);
}

static void go_on_with_script(struct life *life) {
    set_key(life, 5, toon_str("new"), 0, 0);
    set_key(life, 6, toon_str("goes"), 0, 0);
    delete_key(life, 6);
    append_key(life, 0, toon_str("!"));
    rename_key(life, 3, 5, TOON_RENAME_EXCHANGE);
    set_group(life, 1);
    sync_store(life);
}

static void end_script(struct life *life) {
    set_key(life, 7, toon_str(""), 0, 0);
    touch_key(life, 3, 0, 4000000000001);
    delete_key(life, 2);
}

/* ---------------------------------------------- an index made meanwhile */

struct meanwhile {
    struct life *life;
    unsigned pause; /* the script goes on in this one, from 1 */
};

static bool begin_pause(void *arg) {
    struct meanwhile *meanwhile = arg;
    if (meanwhile->pause > 0 && --meanwhile->pause == 0)
        go_on_with_script(meanwhile->life);
    return true;
}

static void end_pause(void *arg) {
    (void)arg;
}

static bool sync_all(void *arg) {
    const struct meanwhile *meanwhile = arg;
    return toon_sync(meanwhile->life->store) == TOON_OK;
}

static void checkpoint(struct life *life, unsigned pause_at) {
    toon_store *store = life->store;
    struct meanwhile meanwhile = {life, pause_at};
    toon_pause pause = {begin_pause, end_pause, &meanwhile, sync_all};
    const toon_volume *volume = atomic_load(&store->volume);
    toon_point point = toon_point_of(volume);
    must(toon_checkpoint(&store->dir, volume, &point, &pause), "checkpoint");
    if (meanwhile.pause > 0)
        give_up("so many pauses");
}

static void live_by_script(struct life *life, unsigned pause_at) {
    begin_script(life);
    if (pause_at == 0)
        go_on_with_script(life);
    else
        checkpoint(life, pause_at);
    end_script(life);
}

static void reopen(struct life *life) {
    damage_store *out = life->out;
    must(toon_close(life->store), "close");
    if (out->old_index.bytes == NULL)
        out->old_index = read_file(life->dir, TOON_INDEX_NAME);
    open_store(life);
}

static void live_at_random(struct life *life, unsigned changes, bool twin) {
    unsigned group = 0;
    for (unsigned i = 0; i < changes; i++) {
        if (twin && i == changes * 2 / 3)
            life->random += 2;
        switch (pick(&life->random, 24)) {
        case 0:
            some_batch(life);
            break;
        case 1:
            sync_store(life);
            break;
        default:
            change_some_key(life);
            break;
        }
        if (group < GROUPS && pick(&life->random, changes / GROUPS + 1) == 0)
            set_group(life, group++);
        if (i == changes / 3 || i == changes * 2 / 3)
            reopen(life);
    }
}

/* ------------------------------------------------------------------ files */

static void find_marks(damage_store *out) {
    const char *text = out->log.bytes;
    uint64_t line = 16;
    for (uint64_t at = 16; at < out->log.size; at++) {
        if (text[at] != '\n')
            continue;
        uint64_t size = at + 1 - line;
        if (size > out->longest)
            out->longest = size;
        if (out->first == 0) {
            out->first = at + 1;
        } else if (text[line] == '#') {
            out->marks =
                realloc(out->marks, (out->mark_count + 1) * sizeof *out->marks);
            if (out->marks == NULL)
                give_up("no memory");
            out->marks[out->mark_count++] =
                (log_mark){line, size, strtoull(text + line + 9, NULL, 10)};
        }
        line = at + 1;
    }
}

/* 0: there is none. */
static uint64_t covered_by(const char *dir, const file_bytes *file) {
    toon_dir opened;
    toon_index index;
    if (file->bytes == NULL)
        return 0;
    write_file(dir, TOON_INDEX_NAME, file);
    must(toon_dir_open(quick_io(), dir, false, &opened), "directory");
    must(toon_index_load(&opened, &index), "index");
    uint64_t covered = index.head.covered;
    toon_index_free(&index);
    toon_dir_close(&opened);
    empty_directory(dir);
    return covered;
}

static void take_files(struct life *life, store_end end) {
    damage_store *out = life->out;
    if (end != ENDS_KILLED)
        must(toon_close(life->store), "close");
    out->log = read_file(life->dir, TOON_LOG_NAME);
    if (end != ENDS_UNINDEXED)
        out->index = read_file(life->dir, TOON_INDEX_NAME);
    if (end == ENDS_KILLED)
        must(toon_close(life->store), "close");
    empty_directory(life->dir);
    find_marks(out);
    out->covered = covered_by(life->dir, &out->index);
    out->old_covered = covered_by(life->dir, &out->old_index);
}

void damage_store_make(const char *dir, const store_plan *plan,
                       damage_store *out) {
    struct life life = {.dir = dir,
                        .out = out,
                        .random = plan->seed * 2 + 1,
                        .value_max = plan->value_max};
    *out = (damage_store){0};
    chance = plan->seed * 2 + 1;
    clock_ms = 1732300000000;
    open_store(&life);
    note_moment(&life);
    if (plan->changes == 0)
        live_by_script(&life, plan->pause);
    else
        live_at_random(&life, plan->changes, plan->twin);
    if (plan->end == ENDS_KILLED && plan->seed % 2 == 0) {
        sync_store(&life);
        set_key(&life, 0, toon_str("not synced"), 0, 0);
        set_key(&life, 9, toon_str("nor this"), 0, 0);
    }
    take_files(&life, plan->end);
}

void damage_store_free(damage_store *store) {
    free(store->log.bytes);
    free(store->index.bytes);
    free(store->old_index.bytes);
    free(store->moments);
    free(store->marks);
    *store = (damage_store){0};
}
