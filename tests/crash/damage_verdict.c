/*
 * damage_verdict.c - was the damage of a copy found, and what became of it?
 *
 * Knows what was in the store; must never know how it was damaged.
 */
#include "damage_verdict.h"

#include "check.h"
#include "index_file.h"
#include "log.h"
#include "record.h"
#include "salvage.h"
#include "store_internal.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct trial {
    const char *dir;
    const damaged_copy *damage;
    uint64_t changed_from, changed_to; /* bytes of the log; from == to: none */
    uint64_t durable;                  /* as far as undamaged witnesses say */
    bool torn;                   /* some of what changed lies behind that, */
    bool only_torn;              /* all of it: opening may cut it off */
    const moment *last, *before; /* the moments at the end, and before it */
    bool good;
};

static void __attribute__((format(printf, 2, 3)))
wrong(struct trial *trial, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "%s: ", trial->damage->what);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    trial->good = false;
}

/* ------------------------------------------------------- what was changed */

static bool same_file(const file_bytes *a, const file_bytes *b) {
    return (a->bytes == NULL) == (b->bytes == NULL) && a->size == b->size &&
           (a->size == 0 || memcmp(a->bytes, b->bytes, a->size) == 0);
}

static void find_change(struct trial *trial) {
    const file_bytes *was = &trial->damage->store->log;
    const file_bytes *is = &trial->damage->log;
    uint64_t shorter = was->size < is->size ? was->size : is->size;
    uint64_t from = 0;
    while (from < shorter && was->bytes[from] == is->bytes[from])
        from++;
    uint64_t to = was->size > is->size ? was->size : is->size;
    if (was->size == is->size) {
        while (to > from && was->bytes[to - 1] == is->bytes[to - 1])
            to--;
    }
    trial->changed_from = from;
    trial->changed_to = to;
}

static void find_durable(struct trial *trial) {
    const damage_store *store = trial->damage->store;
    const file_bytes *is = &trial->damage->log;
    trial->durable = trial->damage->covered;
    for (size_t i = 0; i < store->mark_count; i++) {
        const log_mark *mark = &store->marks[i];
        if (mark->at + mark->size <= is->size &&
            memcmp(is->bytes + mark->at, store->log.bytes + mark->at,
                   mark->size) == 0 &&
            mark->synced > trial->durable)
            trial->durable = mark->synced;
    }
}

/* Where the first change behind what was durable is; UINT64_MAX: nowhere. */
static uint64_t find_torn(const struct trial *trial) {
    const file_bytes *was = &trial->damage->store->log;
    const file_bytes *is = &trial->damage->log;
    uint64_t at = trial->changed_from;
    if (at < trial->durable)
        at = trial->durable;
    while (at < trial->changed_to && at < was->size && at < is->size &&
           was->bytes[at] == is->bytes[at])
        at++;
    return at < trial->changed_to ? at : UINT64_MAX;
}

static void find_moments(struct trial *trial) {
    const damage_store *store = trial->damage->store;
    uint64_t torn = find_torn(trial);
    trial->torn = torn != UINT64_MAX;
    trial->only_torn = trial->torn && torn == trial->changed_from;
    trial->last = &store->moments[store->moment_count - 1];
    trial->before = trial->last;
    while (trial->before > store->moments && trial->before->end > torn)
        trial->before--;
}

/* ----------------------------------------------------------------- reading */

static toon_err open_store(const struct trial *trial, bool read_only,
                           toon_store **out) {
    toon_options options = {.sync = TOON_SYNC_NO,
                            .cache_policy = TOON_CACHE_NONE,
                            .compact_garbage = 100};
    if (read_only)
        options.flags = TOON_OPEN_READ_ONLY;
    return toon_open_on(quick_io(), trial->dir, &options, out);
}

struct listing {
    struct trial *trial;
    const key_state *right;
};

/* No key is listed that is not there. */
static bool on_listed(void *arg, toon_slice key, const toon_key_stat *stat) {
    struct listing *listing = arg;
    (void)stat;
    for (unsigned i = 0; i < KEYS; i++) {
        char name[32];
        size_t size = key_name(i, name);
        if (key.size == size && memcmp(key.data, name, size) == 0 &&
            listing->right[i].err == TOON_OK)
            return true;
    }
    wrong(listing->trial, "a key is listed that is not there: %.*s",
          (int)key.size, key.data);
    return true;
}

static void list_keys(struct trial *trial, toon_store *store,
                      const key_state *right) {
    struct listing listing = {trial, right};
    toon_range_options all = {.limit = 0};
    uint64_t cursor = 0;
    if (toon_range(store, &all, on_listed, &listing) != TOON_OK)
        wrong(trial, "listing fails: %s", toon_last_error()->text);
    do {
        if (toon_scan(store, &cursor, NULL, on_listed, &listing) != TOON_OK)
            wrong(trial, "scanning fails: %s", toon_last_error()->text);
    } while (cursor != 0 && trial->good);
}

/* ----------------------------------------------------------------- opening */

static bool is_known_name(const char *name) {
    return strcmp(name, TOON_LOG_NAME) == 0 ||
           strcmp(name, TOON_INDEX_NAME) == 0 || strcmp(name, "db.lock") == 0;
}

/* A refused store is as it was, byte for byte. */
static void expect_untouched(struct trial *trial) {
    file_bytes log = read_file(trial->dir, TOON_LOG_NAME);
    file_bytes index = read_file(trial->dir, TOON_INDEX_NAME);
    if (!same_file(&log, &trial->damage->log) ||
        !same_file(&index, &trial->damage->index))
        wrong(trial, "what was refused was written to");
    free(log.bytes);
    free(index.bytes);
    DIR *listing = opendir(trial->dir);
    struct dirent *entry;
    while (listing != NULL && (entry = readdir(listing)) != NULL) {
        if (entry->d_name[0] != '.' && !is_known_name(entry->d_name))
            wrong(trial, "what was refused got a file: %s", entry->d_name);
    }
    if (listing != NULL)
        (void)closedir(listing);
}

static void expect_refusal(struct trial *trial, toon_err err) {
    const damaged_copy *damage = trial->damage;
    int64_t offset = toon_last_error()->offset;
    bool changed = trial->changed_to > trial->changed_from;
    if (err != TOON_CORRUPT && err != TOON_VERSION)
        wrong(trial, "refused with: %s", toon_last_error()->text);
    if (!changed && damage->log.bytes != NULL && damage->covered == 0)
        wrong(trial, "a sound log is refused: %s", toon_last_error()->text);
    /* In what was changed, or where the line or batch began that it hit. */
    if (changed && damage->log.bytes != NULL &&
        (offset < 0 || (uint64_t)offset > trial->changed_to ||
         ((uint64_t)offset + damage->store->longest < trial->changed_from &&
          (uint64_t)offset < trial->before->end)))
        wrong(trial, "offset %" PRId64 " is not that of the damage: %s", offset,
              toon_last_error()->text);
    expect_untouched(trial);
}

static void expect_answers(struct trial *trial, toon_store *store) {
    key_state now[KEYS];
    const key_state *right =
        trial->torn ? trial->before->keys : trial->last->keys;
    read_states(store, now);
    for (unsigned key = 0; key < KEYS; key++) {
        if ((now[key].err == TOON_OK || now[key].err == TOON_NOT_FOUND) &&
            !key_state_equal(&now[key], &right[key]))
            wrong(trial, "key %u answers what it is not (%s)", key,
                  toon_strerror(now[key].err));
    }
    list_keys(trial, store, right);
}

static void write_files(const struct trial *trial) {
    empty_directory(trial->dir);
    write_file(trial->dir, TOON_LOG_NAME, &trial->damage->log);
    write_file(trial->dir, TOON_INDEX_NAME, &trial->damage->index);
}

static void judge_opening(struct trial *trial) {
    toon_store *store;
    write_files(trial);
    toon_err err = open_store(trial, false, &store);
    if (err != TOON_OK) {
        expect_refusal(trial, err);
        return;
    }
    expect_answers(trial, store);
    (void)toon_close(store); /* may meet the damage once more */
}

/* ---------------------------------------------------------------- checking */

struct told {
    struct trial *trial;
    unsigned findings;
    unsigned nameless; /* keys that are lost, without a name */
    bool lost[KEYS];   /* surely */
    bool older[KEYS];  /* surely */
    bool perhaps[KEYS];
};

/* What cannot be found: a lower row count, which is a hint, and what was not
 * durable. */
static bool is_harmless(const struct trial *trial) {
    bool hint = trial->changed_from >= 12 && trial->changed_to <= 16;
    return hint || trial->only_torn ||
           (trial->changed_from == trial->changed_to &&
            trial->damage->log.bytes != NULL);
}

static void count_finding(void *arg, int64_t offset, const char *text) {
    struct told *told = arg;
    (void)offset;
    (void)text;
    told->findings++;
}

/* True: it is sound, as far as the check can tell. */
static bool judge_check(struct trial *trial) {
    struct told told = {.trial = trial};
    toon_check_report report;
    write_files(trial);
    toon_err err = toon_check_on(quick_io(), trial->dir, count_finding, NULL,
                                 &told, &report);
    bool found = err == TOON_CORRUPT || err == TOON_VERSION;
    bool index_changed =
        !same_file(&trial->damage->index, &trial->damage->store->index);
    if (!found && err != TOON_OK)
        wrong(trial, "the check fails: %s", toon_last_error()->text);
    else if (!found && (trial->damage->must_find || !is_harmless(trial)))
        wrong(trial, "undetected by the check");
    else if (!found && index_changed && report.index_usable &&
             trial->damage->covered == 0)
        wrong(trial, "a changed index is called usable");
    if (found && told.findings == 0 && err == TOON_CORRUPT)
        wrong(trial, "found, and not told where");
    expect_untouched(trial);
    return !found;
}

/* --------------------------------------------------------------- repairing */

static bool takes(const char **text, const char *start) {
    size_t size = strlen(start);
    if (strncmp(*text, start, size) != 0)
        return false;
    *text += size;
    return true;
}

/* The key that a finding names; KEYS: none of ours. */
static unsigned named_key(const char *text) {
    unsigned found = KEYS;
    for (unsigned key = 0; key < KEYS; key++) {
        char name[32];
        toon_buf line = {0};
        size_t size = key_name(key, name);
        toon_record_put_key(&line, toon_bytes(name, size));
        toon_buf_append(&line, "", 1);
        const char *rest = text;
        if (takes(&rest, line.data) &&
            (*rest == '\0' || *rest == ' ' || *rest == ','))
            found = key;
        toon_buf_free(&line);
    }
    return found;
}

static void on_repair_finding(void *arg, int64_t offset, const char *text) {
    struct told *told = arg;
    (void)offset;
    bool perhaps = takes(&text, "perhaps ");
    bool lost = takes(&text, "lost: ");
    bool older = !lost && takes(&text, "older: ");
    if (!lost && !older)
        return;
    if (takes(&text, "a key whose name is not known")) {
        told->nameless++;
        return;
    }
    unsigned key = named_key(text);
    if (key == KEYS)
        return;
    if (perhaps)
        told->perhaps[key] = true;
    else if (lost)
        told->lost[key] = true;
    else
        told->older[key] = true;
}

/* Without a head, a log is whose most of its lines are. */
static bool may_be_the_others(const struct trial *trial) {
    return trial->damage->other != NULL &&
           trial->changed_from < trial->damage->store->first;
}

static bool was_so_once(const damage_store *store, unsigned key,
                        const key_state *state) {
    for (size_t i = 0; i < store->moment_count; i++) {
        if (key_state_equal(&store->moments[i].keys[key], state))
            return true;
    }
    return state->err == TOON_NOT_FOUND;
}

static void judge_key(struct trial *trial, struct told *told, unsigned key,
                      const key_state *now, bool any) {
    const key_state *right = &trial->last->keys[key];
    bool named = told->lost[key] || told->older[key] || told->perhaps[key];
    if (now->err != TOON_OK && now->err != TOON_NOT_FOUND) {
        wrong(trial, "key %u cannot be read after the repair", key);
    } else if (!was_so_once(trial->damage->store, key, now) &&
               !(may_be_the_others(trial) &&
                 was_so_once(trial->damage->other, key, now))) {
        wrong(trial, "key %u never was what it is after the repair", key);
    } else if (key_state_equal(now, right)) {
        if (trial->damage->one_byte && named)
            wrong(trial, "key %u is right and reported", key);
    } else if (named || any) {
        if (told->lost[key] && now->err == TOON_OK)
            wrong(trial, "key %u is reported as lost and is there", key);
    } else if (now->err == TOON_NOT_FOUND && told->nameless > 0) {
        told->nameless--;
    } else {
        wrong(trial, "key %u is %s, and nobody said so", key,
              now->err == TOON_OK ? "older" : "lost");
    }
}

static void judge_groups(struct trial *trial, const key_state *now) {
    for (unsigned group = 0; group < GROUPS; group++) {
        unsigned there = 0;
        for (unsigned i = 0; i < GROUP_KEYS; i++)
            there += now[SINGLE_KEYS + group * GROUP_KEYS + i].err == TOON_OK;
        if (there != 0 && there != GROUP_KEYS)
            wrong(trial, "of batch %u only %u keys are left", group, there);
    }
}

static void judge_keys(struct trial *trial, struct told *told,
                       const toon_repair_report *report) {
    toon_store *store;
    key_state now[KEYS];
    if (open_store(trial, true, &store) != TOON_OK) {
        wrong(trial, "cannot be opened after the repair: %s",
              toon_last_error()->text);
        return;
    }
    read_states(store, now);
    for (unsigned key = 0; key < KEYS; key++)
        judge_key(trial, told, key, &now[key], report->keys_unknown > 0);
    judge_groups(trial, now);
    list_keys(trial, store, now);
    (void)toon_close(store);
}

static void judge_mended(struct trial *trial, struct told *told,
                         const toon_repair_report *report) {
    toon_check_report checked;
    toon_err err =
        toon_check_on(quick_io(), trial->dir, NULL, NULL, NULL, &checked);
    if (err != TOON_OK || checked.torn_bytes > 0)
        wrong(trial, "not sound after the repair: %s", toon_last_error()->text);
    if (report->keys != checked.live_keys)
        wrong(trial, "%" PRIu64 " keys reported, %" PRIu64 " there",
              report->keys, checked.live_keys);
    bool hint = trial->changed_from >= 12 && trial->changed_to <= 16;
    if (trial->damage->one_byte && !hint &&
        (report->keys_unknown > 0 || told->nameless > 0))
        wrong(trial, "one damaged byte, and nobody knows of which key");
    if (report->before[0] == '\0')
        return; /* only the index was wrong */
    file_bytes before = read_file(trial->dir, report->before);
    if (!same_file(&before, &trial->damage->log))
        wrong(trial, "the old log was not kept");
    free(before.bytes);
    judge_keys(trial, told, report);
}

static void judge_repair(struct trial *trial, bool sound) {
    struct told told = {.trial = trial};
    toon_repair_report report;
    write_files(trial);
    toon_err err = toon_repair_on(quick_io(), trial->dir, on_repair_finding,
                                  NULL, &told, &report);
    bool head = trial->changed_from < trial->damage->store->first ||
                trial->damage->log.bytes == NULL;
    if (err != TOON_OK) {
        if ((err != TOON_CORRUPT && err != TOON_VERSION) || !head ||
            trial->damage->one_byte)
            wrong(trial, "cannot be repaired: %s", toon_last_error()->text);
        expect_untouched(trial);
        return;
    }
    if (sound) {
        expect_untouched(trial);
        return;
    }
    judge_mended(trial, &told, &report);
}

bool judge_damage(const char *dir, const damaged_copy *damage) {
    struct trial trial = {.dir = dir, .damage = damage, .good = true};
    if (damage->log.bytes != NULL)
        find_change(&trial);
    else
        trial.changed_to = damage->store->log.size;
    find_durable(&trial);
    if (damage->log.bytes != NULL)
        find_moments(&trial);
    bool sound = judge_check(&trial);
    judge_opening(&trial);
    judge_repair(&trial, sound);
    empty_directory(dir);
    return trial.good;
}
