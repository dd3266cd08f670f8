/*
 * cmd_key.c - commands about keys, whatever their values. Knows the store and
 * replies; no sockets.
 */
#include "numbers.h"
#include "state.h"

#include <errno.h>
#include <stdlib.h>

/* ------------------------------------------------------------- one by one */

static toon_err delete_keys(call *c, int64_t *removed) {
    toon_err err = TOON_OK;

    for (size_t i = 1; err == TOON_OK && i < c->argc; i++) {
        err = toon_delete(c->server->store, c->argv[i], 0, NULL);
        *removed += err == TOON_OK;
        if (err == TOON_NOT_FOUND)
            err = TOON_OK;
    }
    return err;
}

/* All of them in one batch, or none. */
void cmd_del(call *c) {
    toon_store *store = c->server->store;
    int64_t removed = 0;
    bool several = c->argc > 2;
    toon_err err = several ? toon_batch_begin(store) : TOON_OK;

    if (err == TOON_OK) {
        err = delete_keys(c, &removed);
        if (several && err == TOON_OK)
            err = toon_batch_commit(store);
        else if (several)
            toon_batch_cancel(store);
    }
    if (err == TOON_OK)
        reply_integer(c->out, removed);
    else
        call_fail(c, err);
}

static void count_keys(call *c) {
    int64_t there = 0;

    for (size_t i = 1; i < c->argc; i++) {
        toon_key_stat stat;
        toon_err err = toon_stat_key(c->server->store, c->argv[i], &stat);

        if (err != TOON_OK && err != TOON_NOT_FOUND) {
            call_fail(c, err);
            return;
        }
        there += err == TOON_OK;
    }
    reply_integer(c->out, there);
}

void cmd_exists(call *c) {
    count_keys(c);
}

void cmd_touch(call *c) {
    count_keys(c);
}

void cmd_type(call *c) {
    toon_key_stat stat;
    toon_err err = toon_stat_key(c->server->store, c->argv[1], &stat);

    if (err != TOON_OK && err != TOON_NOT_FOUND)
        call_fail(c, err);
    else
        reply_simple(c->out, err == TOON_OK ? "string" : "none");
}

/* --------------------------------------------------------- RENAME and COPY */

void cmd_rename(call *c) {
    toon_err err = toon_rename(c->server->store, c->argv[1], c->argv[2], 0);

    if (err != TOON_OK)
        call_fail(c, err);
    else
        reply_ok(c->out);
}

void cmd_renamenx(call *c) {
    toon_err err = toon_rename(c->server->store, c->argv[1], c->argv[2],
                               TOON_RENAME_NO_REPLACE);
    bool same = c->argv[1].size == c->argv[2].size &&
                memcmp(c->argv[1].data, c->argv[2].data, c->argv[1].size) == 0;

    if (err != TOON_OK && err != TOON_EXISTS)
        call_fail(c, err);
    else
        reply_integer(c->out, err == TOON_OK && !same);
}

/* There is one database to copy to. */
static bool read_database(call *c, toon_slice word) {
    int64_t database = 0;

    if (!call_integer(c, word, &database))
        return false;
    if (database != 0)
        reply_error(c->out, "ERR DB index is out of range");
    return database == 0;
}

static bool read_copy_options(call *c, bool *replace) {
    for (size_t i = 3; i < c->argc; i++) {
        if (slice_is(c->argv[i], "replace")) {
            *replace = true;
            continue;
        }
        if (!slice_is(c->argv[i], "db") || i + 1 == c->argc) {
            call_syntax_error(c);
            return false;
        }
        if (!read_database(c, c->argv[++i]))
            return false;
    }
    return true;
}

void cmd_copy(call *c) {
    toon_store *store = c->server->store;
    toon_set_options options = {.flags = TOON_SET_IF_ABSENT | TOON_SET_MODE};
    toon_value value;
    toon_err err = TOON_OK;
    bool replace = false;

    if (!read_copy_options(c, &replace))
        return;
    if (c->argv[1].size == c->argv[2].size &&
        memcmp(c->argv[1].data, c->argv[2].data, c->argv[1].size) == 0) {
        reply_error(c->out, "ERR source and destination objects are the same");
        return;
    }
    err = toon_get(store, c->argv[1], &value);
    if (err == TOON_OK) {
        if (replace)
            options.flags = TOON_SET_MODE;
        options.expires_ms = value.meta.expires_ms;
        options.mode = value.meta.mode;
        err = toon_set(store, c->argv[2], toon_bytes(value.data, value.size),
                       &options);
        toon_value_release(&value);
    }
    if (err != TOON_OK && err != TOON_NOT_FOUND && err != TOON_EXISTS)
        call_fail(c, err);
    else
        reply_integer(c->out, err == TOON_OK);
}

/* --------------------------------------------------------- KEYS, SCAN, … */

typedef struct listing {
    reply *out;
    size_t count;
    bool none; /* count nothing: another type was asked for */
} listing;

static bool list_key(void *arg, toon_slice key, const toon_key_stat *stat) {
    listing *list = arg;

    (void)stat;
    if (list->none)
        return true;
    reply_bulk(list->out, key);
    list->count++;
    return !list->out->failed;
}

/* How many bytes of a glob stand for themselves, from its start. */
static size_t literal_prefix(toon_slice glob) {
    size_t size = 0;

    while (size < glob.size && !strchr("*?[\\", glob.data[size]))
        size++;
    return size;
}

typedef struct filtered {
    listing list;
    toon_slice pattern;
} filtered;

static bool list_match(void *arg, toon_slice key, const toon_key_stat *stat) {
    filtered *f = arg;

    return !toon_glob_match(f->pattern, key) || list_key(&f->list, key, stat);
}

/* By the ordered index: costs what starts like the pattern. */
static toon_err keys_by_prefix(call *c, toon_slice pattern, size_t prefix,
                               size_t *count) {
    filtered f = {{c->out, 0, false}, pattern};
    toon_range_options options = {.prefix = toon_bytes(pattern.data, prefix)};
    toon_err err = toon_range(c->server->store, &options, list_match, &f);

    *count = f.list.count;
    return err;
}

static toon_err keys_by_scan(call *c, toon_slice pattern, size_t *count) {
    listing list = {c->out, 0, false};
    bool all = pattern.size == 1 && pattern.data[0] == '*';
    toon_scan_options options = {.match = all ? NULL : pattern.data,
                                 .match_size = pattern.size,
                                 .count = 1024};
    uint64_t cursor = 0;
    toon_err err = TOON_OK;

    do
        err = toon_scan(c->server->store, &cursor, &options, list_key, &list);
    while (err == TOON_OK && cursor != 0 && !c->out->failed);
    *count = list.count;
    return err;
}

/* A pattern without a special character names one key. */
static toon_err keys_by_name(call *c, toon_slice key, size_t *count) {
    toon_key_stat stat;
    toon_err err = TOON_NOT_FOUND;

    if (key.size <= TOON_KEY_SIZE_LIMIT)
        err = toon_stat_key(c->server->store, key, &stat);
    if (err == TOON_OK) {
        reply_bulk(c->out, key);
        *count = 1;
    }
    return err == TOON_NOT_FOUND ? TOON_OK : err;
}

void cmd_keys(call *c) {
    reply_mark start = reply_here(c->out);
    toon_slice pattern = c->argv[1];
    size_t prefix = literal_prefix(pattern), count = 0;
    toon_err err = TOON_OK;

    if (prefix == pattern.size)
        err = keys_by_name(c, pattern, &count);
    else if (prefix > 0 && prefix <= TOON_KEY_SIZE_LIMIT)
        err = keys_by_prefix(c, pattern, prefix, &count);
    else
        err = keys_by_scan(c, pattern, &count);
    if (err != TOON_OK) {
        reply_rewind(c->out, start);
        call_fail(c, err);
        return;
    }
    reply_insert_count(c->out, start, '*', count);
}

/* One option and its value; false after an error reply. */
static bool read_scan_option(call *c, toon_slice name, toon_slice value,
                             toon_scan_options *options, bool *other_type) {
    int64_t count = 0;

    if (slice_is(name, "count")) {
        if (!call_integer(c, value, &count))
            return false;
        if (count < 1) {
            call_syntax_error(c);
            return false;
        }
        options->count = (size_t)count;
    } else if (slice_is(name, "match")) {
        bool all = value.size == 1 && value.data[0] == '*';

        options->match = all ? NULL : value.data;
        options->match_size = value.size;
    } else if (slice_is(name, "type")) {
        *other_type = !slice_is(value, "string");
    } else {
        call_syntax_error(c);
        return false;
    }
    return true;
}

static bool read_scan_options(call *c, toon_scan_options *options,
                              bool *other_type) {
    for (size_t i = 2; i < c->argc; i += 2) {
        if (i + 1 == c->argc) {
            call_syntax_error(c);
            return false;
        }
        if (!read_scan_option(c, c->argv[i], c->argv[i + 1], options,
                              other_type))
            return false;
    }
    return true;
}

/* As strtoul(3) reads it, which is what Redis does: of nothing it makes 0, a
 * minus wraps around. */
static bool read_cursor(toon_slice text, uint64_t *out) {
    char copy[64];
    char *end = NULL;

    if (text.size >= sizeof copy || (text.size > 0 && text.data[0] <= ' '))
        return false;
    if (text.size > 0)
        memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    errno = 0;
    *out = strtoull(copy, &end, 10);
    return *end == '\0' && errno == 0;
}

void cmd_scan(call *c) {
    toon_scan_options options = {.count = 10};
    listing list = {c->out, 0, false};
    char text[NUMBER_TEXT_MAX];
    uint64_t cursor = 0;
    reply_mark start = reply_here(c->out);
    toon_err err = TOON_OK;

    if (!read_cursor(c->argv[1], &cursor)) {
        reply_error(c->out, "ERR invalid cursor");
        return;
    }
    if (!read_scan_options(c, &options, &list.none))
        return;
    err = toon_scan(c->server->store, &cursor, &options, list_key, &list);
    if (err != TOON_OK) {
        reply_rewind(c->out, start);
        call_fail(c, err);
        return;
    }
    reply_insert_count(c->out, start, '*', list.count);
    reply_insert_bulk(c->out, start,
                      toon_bytes(text, number_format_unsigned(text, cursor)));
    reply_insert_count(c->out, start, '*', 2);
}

/* One of the keys that a step of a scan shows, each as likely. */
typedef struct lottery {
    uint64_t seen, random;
    char *key;
    size_t size;
    bool no_memory;
} lottery;

static bool draw_key(void *arg, toon_slice key, const toon_key_stat *stat) {
    lottery *l = arg;
    char *copy = NULL;

    (void)stat;
    l->seen++;
    l->random = l->random * 6364136223846793005u + 1442695040888963407u;
    if ((l->random >> 33) % l->seen != 0)
        return true;
    copy = realloc(l->key, key.size + 1);
    l->no_memory = !copy;
    if (!copy)
        return false;
    if (key.size > 0)
        memcpy(copy, key.data, key.size);
    l->key = copy;
    l->size = key.size;
    return true;
}

void cmd_randomkey(call *c) {
    server *s = c->server;
    toon_scan_options options = {.count = 64};
    lottery l = {.random = (uint64_t)monotonic_ms() ^ s->last_client_id ^
                           s->counters.commands_processed << 20};
    toon_err err = TOON_OK;
    int rounds = 0;

    /* The walk goes on where the last call left it, at most once around. */
    do {
        err = toon_scan(s->store, &s->random_cursor, &options, draw_key, &l);
        rounds += s->random_cursor == 0;
    } while (err == TOON_OK && l.seen == 0 && rounds < 2);
    if (err != TOON_OK || l.no_memory)
        call_fail(c, err != TOON_OK ? err : TOON_NO_MEMORY);
    else if (!l.key)
        reply_null(c->out);
    else
        reply_bulk(c->out, toon_bytes(l.key, l.size));
    free(l.key);
}

/* -------------------------------------------------------- OBJECT, MEMORY */

#define EMBEDDED_MAX 44 /* bytes of a value that Redis keeps with its header */

/* The key's value, or a null or error reply. */
static bool fetch(call *c, toon_slice key, toon_value *out) {
    toon_err err = toon_get(c->server->store, key, out);

    if (err == TOON_NOT_FOUND)
        reply_null(c->out);
    else if (err != TOON_OK)
        call_fail(c, err);
    return err == TOON_OK;
}

void cmd_object_encoding(call *c) {
    toon_value value;
    int64_t number = 0;

    if (!fetch(c, c->argv[2], &value))
        return;
    if (number_parse(toon_bytes(value.data, value.size), &number))
        reply_text(c->out, "int");
    else
        reply_text(c->out, value.size <= EMBEDDED_MAX ? "embstr" : "raw");
    toon_value_release(&value);
}

/* Redis shares its small numbers, and says so by the largest count. */
#define SHARED_NUMBERS 10000

void cmd_object_refcount(call *c) {
    toon_value value;
    int64_t number = -1;

    if (!fetch(c, c->argv[2], &value))
        return;
    number_parse(toon_bytes(value.data, value.size), &number);
    reply_integer(c->out,
                  number >= 0 && number < SHARED_NUMBERS ? INT32_MAX : 1);
    toon_value_release(&value);
}

void cmd_object_help(call *c) {
    static const char *const lines[] = {
        "ENCODING <key>",
        "    How Redis would keep the value if it were SET: int, embstr, raw.",
        "REFCOUNT <key>",
        "    How many references the value has.",
    };

    call_help(c, lines, sizeof lines / sizeof lines[0]);
}

/* What the key table, the record and the cache take, roughly. */
#define KEY_OVERHEAD_BYTES 64

void cmd_memory_usage(call *c) {
    toon_key_stat stat;
    toon_err err = TOON_OK;
    int64_t samples = 0;

    for (size_t i = 3; i < c->argc; i += 2) {
        if (!slice_is(c->argv[i], "samples") || i + 1 == c->argc) {
            call_syntax_error(c);
            return;
        }
        if (!call_integer(c, c->argv[i + 1], &samples))
            return;
        if (samples < 0) {
            call_syntax_error(c);
            return;
        }
    }
    err = toon_stat_key(c->server->store, c->argv[2], &stat);
    if (err == TOON_NOT_FOUND)
        reply_null(c->out);
    else if (err != TOON_OK)
        call_fail(c, err);
    else
        reply_integer(c->out, (int64_t)(c->argv[2].size + stat.size +
                                        KEY_OVERHEAD_BYTES));
}

void cmd_memory_help(call *c) {
    static const char *const lines[] = {
        "USAGE <key> [SAMPLES <count>]",
        "    About how many bytes the key and its value take.",
    };

    call_help(c, lines, sizeof lines / sizeof lines[0]);
}
