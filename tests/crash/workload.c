/*
 * workload.c - random steps, each beside what it means.
 *
 * Knows the public store and the history; must never know images.
 */
#include "workload.h"

#include "image_check.h"
#include "lying_disk.h"
#include "meeting.h"
#include "store_internal.h"
#include "test_random.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

enum { BATCH_MAX = 8, GATHER_MAX = 12 };

/* In the year 2100: it does not come while the test runs. */
static const int64_t far_ms = 4102444800000;

static uint64_t pick(workload *self, uint64_t below) {
    return random_below(&self->random, below);
}

static void complain(workload *self, const char *what, toon_err err) {
    if (self->wrong[0] == '\0')
        (void)snprintf(self->wrong, sizeof self->wrong, "%s: %s (%s)", what,
                       toon_strerror(err), toon_last_error()->text);
}

/* True if it came out as the model says, and did happen. */
static bool happened(workload *self, const char *what, toon_err err,
                     toon_err wanted) {
    if (err != wanted)
        complain(self, what, err);
    return err == wanted && err == TOON_OK;
}

/* ---------------------------------------------------------------- promises */

/* What the store has just acknowledged. */
static void promise(workload *self, size_t state) {
    size_t journal = lying_disk_length();
    history_acknowledge(self->history, journal, state);
    if (self->options.sync == TOON_SYNC_ALWAYS)
        history_durable(self->history, journal, state);
}

static void promise_durable(workload *self) {
    size_t journal = lying_disk_length();
    size_t newest = history_newest(self->history);
    history_acknowledge(self->history, journal, newest);
    history_durable(self->history, journal, newest);
}

/* One change more; a batch is one when it ends. */
static void changed(workload *self, size_t begun) {
    if (self->batching)
        return;
    size_t state = history_push(self->history, self->now, begun);
    if (!self->gathering)
        promise(self, state);
}

/* ----------------------------------------------------------------- changes */

static bool is_uniform(const workload *self) {
    return self->kind != WORKLOAD_MIXED;
}

/* Many have one size, and in a uniform life nearly all, so that what was cut
 * off and what takes its place have their line ends in the same places. */
static size_t random_bytes(workload *self, char *out) {
    size_t size = HISTORY_PLAIN_SIZE;
    switch (pick(self, is_uniform(self) ? 200 : 8)) {
    case 0:
        size = pick(self, 3000);
        break;
    case 1:
    case 2:
        size = pick(self, 60);
        break;
    default:
        break;
    }
    if (!is_uniform(self) && pick(self, 4) == 0)
        return random_text(&self->random, out, size, 1);
    for (size_t i = 0; i < size; i++)
        out[i] = (char)('a' + pick(self, 26));
    return size;
}

static toon_meta meta_of(const key_value *value) {
    return value == NULL ? (toon_meta){0}
                         : (toon_meta){.mode = value->mode,
                                       .expires_ms = value->expires_ms,
                                       .written_ms = value->written_ms};
}

/* The clock's time is not the model's to know: it believes the store. */
static int64_t told_time(workload *self, toon_slice name) {
    toon_key_stat stat = {0};
    toon_err err = toon_stat_key(self->store, name, &stat);
    if (err != TOON_OK)
        complain(self, "stat of what was just written", err);
    return stat.meta.written_ms;
}

static void set_some(workload *self) {
    unsigned key = (unsigned)pick(self, HISTORY_KEYS);
    unsigned rare = is_uniform(self) ? 100 : 6;
    if (is_uniform(self))
        key -= key % HISTORY_NAME_KINDS; /* their names have one length */
    char name[32], bytes[3000];
    size_t begun = lying_disk_length();
    toon_slice value = toon_bytes(bytes, random_bytes(self, bytes));
    toon_meta meta = meta_of(self->now[key]);
    toon_set_options options = {.written_ms = ++self->clock_ms};
    if (pick(self, rare) == 0) {
        options.flags |= TOON_SET_MODE;
        options.mode = meta.mode = 0700 + (uint32_t)pick(self, 8);
    }
    if (pick(self, 6) == 0)
        options.flags |= TOON_SET_KEEP_EXPIRY;
    else
        options.expires_ms = meta.expires_ms =
            pick(self, rare) == 0 ? far_ms + (int64_t)pick(self, 1000) : 0;
    meta.written_ms = options.written_ms;
    toon_err err =
        toon_set(self->store, history_key_name(key, name), value, &options);
    if (!happened(self, "set", err, TOON_OK))
        return;
    self->now[key] = history_value(self->history, key, value, &meta);
    changed(self, begun);
}

/* Set with a time that has passed, or passes now. */
static void set_expired(workload *self) {
    unsigned key = (unsigned)pick(self, HISTORY_KEYS);
    char name[32];
    size_t begun = lying_disk_length();
    bool soon = !self->batching && !self->gathering && pick(self, 4) == 0;
    toon_set_options options = {.written_ms = ++self->clock_ms,
                                .expires_ms = toon_now_ms() + (soon ? 2 : -1)};
    toon_err err = toon_set(self->store, history_key_name(key, name),
                            toon_str("soon gone"), &options);
    while (soon && toon_now_ms() < options.expires_ms)
        (void)nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    if (!happened(self, "set with an expiry", err, TOON_OK))
        return;
    self->now[key] = NULL;
    changed(self, begun);
}

static void append_some(workload *self) {
    unsigned key = (unsigned)pick(self, 5); /* so that some grow long */
    const key_value *old = self->now[key];
    char name[32], bytes[HISTORY_VALUE_MAX + 3000];
    size_t begun = lying_disk_length();
    size_t before = old == NULL ? 0 : old->size;
    if (before > 0)
        memcpy(bytes, old->bytes, before);
    size_t more = random_bytes(self, bytes + before);
    if (more == 0 || before + more > HISTORY_VALUE_MAX)
        return;
    toon_meta meta = meta_of(old);
    toon_slice slice = history_key_name(key, name);
    toon_err err =
        toon_append(self->store, slice, toon_bytes(bytes + before, more), NULL);
    if (!happened(self, "append", err, TOON_OK))
        return;
    meta.written_ms = told_time(self, slice);
    self->now[key] = history_value(self->history, key,
                                   toon_bytes(bytes, before + more), &meta);
    changed(self, begun);
}

static void delete_some(workload *self) {
    unsigned key = (unsigned)pick(self, HISTORY_KEYS);
    char name[32];
    size_t begun = lying_disk_length();
    toon_err wanted = self->now[key] == NULL ? TOON_NOT_FOUND : TOON_OK;
    toon_err err =
        toon_delete(self->store, history_key_name(key, name), 0, NULL);
    if (!happened(self, "delete", err, wanted))
        return;
    self->now[key] = NULL;
    changed(self, begun);
}

/* The same value under another key. */
static const key_value *moved(workload *self, const key_value *value,
                              unsigned key) {
    toon_meta meta = meta_of(value);
    return history_value(self->history, key,
                         toon_bytes(value->bytes, value->size), &meta);
}

static void rename_some(workload *self) {
    unsigned from = (unsigned)pick(self, HISTORY_KEYS);
    unsigned to = (unsigned)pick(self, HISTORY_KEYS);
    char from_name[32], to_name[32];
    size_t begun = lying_disk_length();
    const key_value *a = self->now[from], *b = self->now[to];
    unsigned flags = (unsigned)pick(self, 3); /* none, or one of two */
    if (from == to)
        return;
    toon_err wanted = TOON_OK;
    if (a == NULL || (b == NULL && flags == TOON_RENAME_EXCHANGE))
        wanted = TOON_NOT_FOUND;
    else if (b != NULL && flags == TOON_RENAME_NO_REPLACE)
        wanted = TOON_EXISTS;
    toon_err err = toon_rename(self->store, history_key_name(from, from_name),
                               history_key_name(to, to_name), flags);
    if (!happened(self, "rename", err, wanted))
        return;
    self->now[to] = moved(self, a, to);
    self->now[from] =
        flags == TOON_RENAME_EXCHANGE ? moved(self, b, from) : NULL;
    changed(self, begun);
}

static void set_some_meta(workload *self) {
    unsigned key = (unsigned)pick(self, HISTORY_KEYS);
    const key_value *old = self->now[key];
    char name[32];
    size_t begun = lying_disk_length();
    toon_err wanted = old == NULL ? TOON_NOT_FOUND : TOON_OK;
    unsigned what = 1 + (unsigned)pick(self, 7);
    toon_meta meta = {.mode = (uint32_t)pick(self, 2) * 0600,
                      .written_ms = ++self->clock_ms};
    if (pick(self, 3) == 0)
        meta.expires_ms =
            pick(self, 3) == 0 ? 1000 : far_ms + (int64_t)pick(self, 1000);
    toon_err err =
        toon_set_meta(self->store, history_key_name(key, name), what, &meta);
    if (!happened(self, "set_meta", err, wanted))
        return;
    toon_meta now = meta_of(old);
    now.mode = (what & TOON_META_MODE) != 0 ? meta.mode : now.mode;
    now.written_ms =
        (what & TOON_META_WRITTEN) != 0 ? meta.written_ms : now.written_ms;
    now.expires_ms =
        (what & TOON_META_EXPIRES) != 0 ? meta.expires_ms : now.expires_ms;
    self->now[key] =
        now.expires_ms == 1000
            ? NULL
            : history_value(self->history, key,
                            toon_bytes(old->bytes, old->size), &now);
    changed(self, begun);
}

typedef void step_fn(workload *self);

struct step {
    unsigned weight;
    step_fn *run;
};

static void take_step(workload *self, const struct step *steps, size_t count) {
    unsigned all = 0;
    for (size_t i = 0; i < count; i++)
        all += steps[i].weight;
    unsigned chosen = (unsigned)pick(self, all);
    for (size_t i = 0; i < count; i++) {
        if (chosen < steps[i].weight) {
            steps[i].run(self);
            return;
        }
        chosen -= steps[i].weight;
    }
}

static void change(workload *self) {
    static const struct step changes[] = {
        {8, set_some},    {1, set_expired}, {6, append_some},
        {3, delete_some}, {3, rename_some}, {3, set_some_meta},
    };
    if (self->plain && pick(self, 4) == 0)
        delete_some(self);
    else if (self->plain || (is_uniform(self) && pick(self, 20) != 0))
        set_some(self);
    else
        take_step(self, changes, sizeof changes / sizeof *changes);
}

/* ------------------------------------------------------------------ groups */

static void batch(workload *self) {
    uint64_t changes = pick(self, BATCH_MAX);
    key_values before;
    memcpy(before, self->now, sizeof before);
    toon_err err = toon_batch_begin(self->store);
    if (!happened(self, "batch begin", err, TOON_OK))
        return;
    self->batching = true;
    while (changes-- > 0)
        change(self);
    self->batching = false;
    if (pick(self, 4) == 0) {
        toon_batch_cancel(self->store);
        memcpy(self->now, before, sizeof before);
        return;
    }
    size_t begun = lying_disk_length();
    err = toon_batch_commit(self->store);
    if (happened(self, "batch commit", err, TOON_OK))
        changed(self, begun);
}

static void gather(workload *self) {
    uint64_t changes = pick(self, GATHER_MAX);
    toon_gather_begin(self->store);
    self->gathering = true;
    while (changes-- > 0) {
        if (pick(self, 6) == 0)
            batch(self);
        else
            change(self);
    }
    self->gathering = false;
    toon_err err = toon_gather_end(self->store);
    if (happened(self, "gather end", err, TOON_OK))
        promise(self, history_newest(self->history));
}

/* -------------------------------------------------------------------- care */

static void sync_all(workload *self) {
    toon_err err = toon_sync(self->store);
    if (happened(self, "sync", err, TOON_OK))
        promise_durable(self);
}

static void clear(workload *self) {
    size_t begun = lying_disk_length();
    toon_err err = toon_clear(self->store);
    if (!happened(self, "clear", err, TOON_OK))
        return;
    memset(self->now, 0, sizeof self->now);
    (void)history_push(self->history, self->now, begun);
    promise_durable(self);
}

static void expire(workload *self) {
    bool more;
    toon_err err = toon_expire_some(self->store, 8, &more);
    (void)happened(self, "expiring", err, TOON_OK);
}

static void reopen(workload *self) {
    workload_close(self);
    toon_err err = workload_open(self);
    (void)happened(self, "open again", err, TOON_OK);
}

static void copy(workload *self) {
    char path[300];
    workload_copy *made = &self->copied[self->copies];
    if (self->copies == WORKLOAD_COPIES)
        return;
    made->begun = lying_disk_length();
    made->state = history_newest(self->history);
    (void)snprintf(made->name, sizeof made->name, WORKLOAD_COPY,
                   self->copies_ever++);
    (void)snprintf(path, sizeof path, "%s/%s", self->root, made->name);
    toon_err err = toon_copy(self->store, path, NULL, NULL);
    made->done = lying_disk_length();
    self->copies += happened(self, "copy", err, TOON_OK);
}

/* ------------------------------------------------------------------ faults */

/* Some call to come is interrupted, or does the first half; nobody notices. */
static void disturb(workload *self) {
    static const struct {
        disk_fault_kind kind;
        unsigned calls;
    } faults[] = {
        {FAULT_IS_SHORT, CALL_WRITE},
        {FAULT_IS_SHORT, CALL_READ},
        {FAULT_FAILS, CALL_WRITE | CALL_READ | CALL_SYNC | CALL_SYNC_DIR |
                          CALL_TRUNCATE | CALL_ALLOCATE | CALL_OPEN},
    };

    size_t chosen = pick(self, sizeof faults / sizeof *faults);
    disk_fault fault = {.kind = faults[chosen].kind,
                        .calls = faults[chosen].calls,
                        .at = 1 + pick(self, 4),
                        .error = EINTR};
    lying_disk_fail(&fault);
}

enum { FAILING_MAX = 5 };

/* Sets to be written together; after[i]: what the first i + 1 lead to. *count:
 * how many were tried, for one that has to write may be refused. */
static toon_err gather_sets(workload *self, size_t *count, key_values *after) {
    toon_err err = TOON_OK;
    size_t wanted = *count;
    toon_gather_begin(self->store);
    for (*count = 0; err == TOON_OK && *count < wanted; (*count)++) {
        size_t i = *count;
        unsigned key = (unsigned)pick(self, HISTORY_KEYS);
        char name[32];
        toon_slice value = toon_str("nobody was ever told to find this");
        toon_set_options options = {.written_ms = ++self->clock_ms};
        toon_meta meta = {.written_ms = options.written_ms};
        memcpy(after[i], i == 0 ? self->now : after[i - 1], sizeof after[i]);
        if (after[i][key] != NULL)
            meta.mode = after[i][key]->mode;
        err =
            toon_set(self->store, history_key_name(key, name), value, &options);
        after[i][key] = history_value(self->history, key, value, &meta);
    }
    toon_err ended = toon_gather_end(self->store);
    return err == TOON_OK ? ended : err;
}

/* The first ones may have been written by the background before. */
static size_t count_kept(const workload *self, key_values *after,
                         size_t count) {
    image_found found;
    image_look(self->store, self->history, &found);
    while (count > 0 && history_hash_of(after[count - 1]) != found.hash)
        count--;
    return count;
}

/* A write is torn by a failing or full disk: what it was of has not changed. */
static void fail_to_write(workload *self) {
    key_values after[FAILING_MAX];
    size_t begun = lying_disk_length();
    size_t count = 1 + pick(self, FAILING_MAX);
    bool full = pick(self, 2) == 0;
    disk_fault fault = {.kind = FAULT_IS_TORN,
                        .calls = CALL_WRITE,
                        .at = 1,
                        .error = full ? ENOSPC : EIO,
                        .mine = true};
    lying_disk_fail(&fault);
    toon_err err = gather_sets(self, &count, after);
    toon_err wanted = full ? TOON_FULL : TOON_IO;
    if (lying_disk_struck() == 0)
        wanted = TOON_OK;
    lying_disk_fail(NULL);
    bool written = happened(self, "a write that fails", err, wanted);
    size_t ended = lying_disk_length();
    size_t kept = written ? count : count_kept(self, after, count);
    for (size_t i = 0; i < kept; i++)
        (void)history_push(self->history, after[i], begun);
    for (size_t i = kept; i < count; i++)
        history_push_ghost(self->history, after[i], begun, ended);
    if (kept > 0)
        memcpy(self->now, after[kept - 1], sizeof self->now);
    if (written)
        promise(self, history_newest(self->history));
    else
        self->failed = true;
}

/* -------------------------------------------------------------- compaction */

static void compact(workload *self) {
    toon_err err = toon_compact(self->store, NULL, NULL);
    (void)happened(self, "compact", err, TOON_OK);
}

static void stop_compacting(workload *self) {
    toon_compact_stop(self->store);
}

/* What goes on while a compaction does. */
static void do_beside(workload *self) {
    static const struct step steps[] = {
        {12, change}, {6, batch},           {2, gather}, {3, sync_all},
        {1, clear},   {1, stop_compacting}, {1, copy},
    };
    for (uint64_t i = pick(self, 4); i > 0; i--)
        take_step(self, steps, sizeof steps / sizeof *steps);
}

static uint64_t compactions_ended(workload *self) {
    struct care *care = &self->store->care;
    (void)pthread_mutex_lock(&care->lock);
    uint64_t count = care->ended_count;
    (void)pthread_mutex_unlock(&care->lock);
    return count;
}

/* A compaction, and the index that is saved behind it, with changes between
 * their calls. */
static void compact_beside(workload *self) {
    enum { IDLE_MAX = 5 };

    toon_stats stats;
    uint64_t ended = compactions_ended(self);
    unsigned idle = 0;
    bool slow = pick(self, 4) == 0; /* with pauses between its calls, too */
    toon_stat(self->store, &stats);
    uint64_t saved = stats.checkpoints;
    (void)toon_compact_tune(self->store, 0, slow ? 1 : 0);
    self->plain = pick(self, 2) == 0;
    meeting_open(self->store);
    toon_err err = toon_compact_start(self->store);
    /* The hostile build compacts all the time. */
    if (err != TOON_OK && err != TOON_CONFLICT)
        complain(self, "start of a compaction", err);
    while (err == TOON_OK && self->wrong[0] == '\0' && idle < IDLE_MAX) {
        if (meeting_wait()) {
            do_beside(self);
            meeting_go_on();
            continue;
        }
        toon_stat(self->store, &stats);
        if (stats.checkpoints > saved)
            break;
        if (compactions_ended(self) > ended)
            idle++;
        else if (slow)
            do_beside(self);
    }
    meeting_close();
    self->plain = false;
    toon_stat(self->store, &stats);
    if (stats.compact_result != TOON_OK &&
        stats.compact_result != TOON_CONFLICT)
        complain(self, "compaction beside changes", stats.compact_result);
}

/* ---------------------------------------------------------------- reading */

/* What the store shows is what the model says, crash or not. */
static void read_some(workload *self) {
    unsigned key = (unsigned)pick(self, HISTORY_KEYS);
    const key_value *wanted = self->now[key];
    char name[32];
    toon_value value = {0};
    toon_err err = toon_get(self->store, history_key_name(key, name), &value);
    if (happened(self, "get", err, wanted == NULL ? TOON_NOT_FOUND : TOON_OK) &&
        history_hash(key, toon_bytes(value.data, value.size), &value.meta) !=
            wanted->hash)
        complain(self, "get gave another value", TOON_OK);
    toon_value_release(&value);
}

static void step(workload *self) {
    static const struct step steps[] = {
        {60, change},       {10, batch},         {8, gather}, {10, sync_all},
        {1, clear},         {4, expire},         {2, reopen}, {10, read_some},
        {1, compact},       {4, compact_beside}, {1, copy},   {3, disturb},
        {3, fail_to_write},
    };
    if (self->kind == WORKLOAD_BARE)
        set_some(self);
    else
        take_step(self, steps, sizeof steps / sizeof *steps);
}

/* -------------------------------------------------------------------- life */

void workload_init(workload *self, const char *root, history *past,
                   workload_kind kind, toon_sync_policy sync, uint64_t seed) {
    *self = (workload){.root = root, .history = past};
    self->random = seed * 0x9e3779b97f4a7c15u | 1;
    (void)random_next(&self->random);
    self->clock_ms = 1700000000000 + (int64_t)pick(self, 1000000);
    self->kind = kind;
    self->options.sync = sync;
    self->options.cache_policy = (toon_cache_policy)pick(self, 3);
    self->options.cache_entries_max = 10;
}

toon_err workload_open(workload *self) {
    char path[300];
    (void)snprintf(path, sizeof path, "%s/" WORKLOAD_STORE, self->root);
    return toon_open_on(&lying_disk_io, path, &self->options, &self->store);
}

void workload_adopt(workload *self) {
    const history *past = self->history;
    memcpy(self->now, past->states[history_newest(past)].values,
           sizeof self->now);
    self->copies = 0;
}

void workload_run(workload *self, unsigned steps) {
    while (steps-- > 0 && self->wrong[0] == '\0')
        step(self);
}

void workload_close(workload *self) {
    if (self->failed) /* closing tells of that, and not how itself went */
        sync_all(self);
    toon_err err = toon_close(self->store);
    bool told = self->failed && (err == TOON_IO || err == TOON_FULL);
    self->store = NULL;
    self->failed = false;
    lying_disk_fail(NULL);
    if (!told && happened(self, "close", err, TOON_OK))
        promise_durable(self);
}
