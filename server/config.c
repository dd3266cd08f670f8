/*
 * config.c - the directives. Knows no sockets and no store: it reads words
 * and fills fields.
 */
#include "config.h"

#include "numbers.h"
#include "words.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

typedef enum directive_type {
    TYPE_INTEGER,
    TYPE_OCTAL,
    TYPE_MEMORY,
    TYPE_BOOL,
    TYPE_WORD, /* one of `words`; its place is the value */
    TYPE_TEXT,
    TYPE_SAVE,
    TYPE_LIMITS,
} directive_type;

typedef struct directive {
    const char *name, *alias;
    directive_type type;
    bool is_mutable;
    size_t field;     /* offset in struct config */
    int64_t min, max; /* of numbers */
    const char *const *words;
    const char *initial;
    const char *what;
} directive;

static const char *const sync_words[] = {"everysec", "always", "no", NULL};
static const char *const level_words[] = {"debug", "verbose", "notice",
                                          "warning", NULL};
static const char *const cache_words[] = {"s3fifo", "lru", "none", NULL};
static const char *const policy_words[] = {"noeviction", NULL};
static const char *const class_words[] = {"normal", "slave", "pubsub", NULL};

#define AT(field)    offsetof(config, field)
#define NUMBER_RANGE 0, INT32_MAX, NULL
#define ANY_SIZE     0, INT64_MAX, NULL
#define NO_RANGE     0, 0, NULL

/* clang-format off */
static const directive directives[] = {
    {"appendfsync", NULL, TYPE_WORD, false, AT(appendfsync), 0, 0, sync_words,
     "everysec", "when changes are synced to the disk: always, everysec, no"},
    {"appendonly", NULL, TYPE_BOOL, true, AT(appendonly), 1, 1, NULL,
     "yes", "the store always keeps a log; only yes is possible"},
    {"backup-dir", NULL, TYPE_TEXT, false, AT(backup_dir), NO_RANGE,
     "", "where BGSAVE puts copies of the store; empty: backup, in dir"},
    {"backup-keep", NULL, TYPE_INTEGER, true, AT(backup_keep), NUMBER_RANGE,
     "1", "the newest copies that BGSAVE keeps there; 0: all"},
    {"bind", NULL, TYPE_TEXT, false, AT(bind), NO_RANGE,
     "127.0.0.1 -::1", "addresses to listen on; -ADDRESS: if it is there"},
    {"cache", NULL, TYPE_MEMORY, false, AT(cache_bytes), ANY_SIZE,
     "64mb", "memory for recently used values; 0: none"},
    {"cache-policy", NULL, TYPE_WORD, false, AT(cache_policy), 0, 0,
     cache_words, "s3fifo", "which values stay cached: s3fifo, lru, none"},
    {"capacity", NULL, TYPE_INTEGER, false, AT(capacity), ANY_SIZE,
     "0", "cached values at most; 0: as many as fit"},
    {"client-output-buffer-limit", NULL, TYPE_LIMITS, true, AT(output_limits),
     NO_RANGE, "normal 0 0 0 slave 256mb 64mb 60 pubsub 32mb 8mb 60",
     "CLASS HARD SOFT SECONDS: cuts off clients that do not read"},
    {"client-query-buffer-limit", NULL, TYPE_MEMORY, true,
     AT(client_query_buffer_limit), 1 << 20, INT64_MAX, NULL,
     "1gb", "bytes of one unfinished request"},
    {"compact-garbage", NULL, TYPE_INTEGER, true, AT(compact_garbage), 1, 100,
     NULL, "50", "percent of the log that may be dead; 100: all of it"},
    {"compact-rate", NULL, TYPE_MEMORY, true, AT(compact_rate), ANY_SIZE,
     "128mb", "bytes a second of a compaction by itself; 0: no limit"},
    {"databases", NULL, TYPE_INTEGER, false, AT(databases), 1, INT32_MAX, NULL,
     "1", "how many databases there are"},
    {"dir", "data", TYPE_TEXT, false, AT(dir), NO_RANGE,
     "./data", "directory of the store; made if missing"},
    {"logfile", NULL, TYPE_TEXT, false, AT(logfile), NO_RANGE,
     "", "file of the log; empty: standard output"},
    {"loglevel", NULL, TYPE_WORD, true, AT(loglevel), 0, 0, level_words,
     "notice", "debug, verbose, notice, warning"},
    {"maxclients", NULL, TYPE_INTEGER, true, AT(maxclients), 1, INT32_MAX,
     NULL, "10000", "connections at most"},
    {"maxmemory", NULL, TYPE_MEMORY, false, AT(maxmemory), NO_RANGE,
     "0", "always 0: keys and values are on the disk; see cache"},
    {"maxmemory-policy", NULL, TYPE_WORD, false, AT(maxmemory_policy), 0, 0,
     policy_words, "noeviction", "always noeviction: no key is dropped"},
    {"mount", NULL, TYPE_TEXT, false, AT(mount), NO_RANGE,
     "", "directory in which the keys appear as files"},
    {"mount-options", NULL, TYPE_TEXT, false, AT(mount_options), NO_RANGE,
     "", "words for the mount, parted by commas"},
    {"pidfile", NULL, TYPE_TEXT, false, AT(pidfile), NO_RANGE,
     "", "file for the process number"},
    {"port", NULL, TYPE_INTEGER, false, AT(port), 0, 65535, NULL,
     "6379", "TCP port; 0: no TCP"},
    {"proto-max-bulk-len", NULL, TYPE_MEMORY, true, AT(proto_max_bulk_len),
     1 << 20, INT64_MAX, NULL, "512mb", "bytes of one argument"},
    {"protected-mode", NULL, TYPE_BOOL, true, AT(protected_mode), NO_RANGE,
     "yes", "without a password, only clients of this machine"},
    {"requirepass", NULL, TYPE_TEXT, true, AT(requirepass), NO_RANGE,
     "", "password of clients; empty: none"},
    {"save", NULL, TYPE_SAVE, true, AT(save), NO_RANGE,
     "", "accepted and kept; appendfsync decides"},
    {"store-max", NULL, TYPE_MEMORY, false, AT(store_max), ANY_SIZE,
     "0", "size of the store's log; 0: no limit"},
    {"tcp-backlog", NULL, TYPE_INTEGER, false, AT(tcp_backlog), NUMBER_RANGE,
     "511", "connections that wait to be accepted"},
    {"tcp-keepalive", NULL, TYPE_INTEGER, true, AT(tcp_keepalive_s),
     NUMBER_RANGE, "300", "seconds between signs of life; 0: none"},
    {"timeout", NULL, TYPE_INTEGER, true, AT(timeout_s), NUMBER_RANGE,
     "0", "seconds after which idle clients are closed; 0: never"},
    {"unixsocket", NULL, TYPE_TEXT, false, AT(unixsocket), NO_RANGE,
     "", "path of a socket to listen on"},
    {"unixsocketperm", NULL, TYPE_OCTAL, false, AT(unixsocketperm), 0, 0777,
     NULL, "0", "its permission bits, octal; 0: as the umask says"},
    {"value-max", NULL, TYPE_MEMORY, false, AT(value_max), 1,
     INT64_C(1) << 29, NULL, "512mb", "bytes of one value"},
};
/* clang-format on */

#define DIRECTIVES (sizeof directives / sizeof directives[0])

static int64_t *number_of(config *c, const directive *d) {
    return (int64_t *)(void *)((char *)c + d->field);
}

static char **text_of(config *c, const directive *d) {
    return (char **)(void *)((char *)c + d->field);
}

static int64_t number_in(const config *c, const directive *d) {
    int64_t value = 0;

    memcpy(&value, (const char *)c + d->field, sizeof value);
    return value;
}

static char *text_in(const config *c, const directive *d) {
    char *text = NULL;

    memcpy(&text, (const char *)c + d->field, sizeof text);
    return text;
}

static bool is_text(const directive *d) {
    return d->type == TYPE_TEXT || d->type == TYPE_SAVE;
}

static const directive *find(toon_slice name) {
    for (size_t i = 0; i < DIRECTIVES; i++) {
        const directive *d = &directives[i];

        if (slice_is(name, d->name) || (d->alias && slice_is(name, d->alias)))
            return d;
    }
    return NULL;
}

bool config_known(toon_slice name) {
    return find(name) != NULL;
}

bool config_is_mutable(toon_slice name) {
    const directive *d = find(name);

    return d && d->is_mutable;
}

bool config_same(toon_slice a, toon_slice b) {
    return find(a) == find(b);
}

/* --------------------------------------------------------------- setting */

static bool refuse(char *error, const char *text) {
    (void)snprintf(error, CONFIG_ERROR_TEXT, "%s", text);
    return false;
}

static bool set_number(config *c, const directive *d, int64_t value,
                       char *error) {
    if (value < d->min || value > d->max) {
        (void)snprintf(error, CONFIG_ERROR_TEXT,
                       d->type == TYPE_OCTAL
                           ? "argument must be between %llo and %llo inclusive"
                           : "argument must be between %lld and %lld inclusive",
                       (long long)d->min, (long long)d->max);
        return false;
    }
    *number_of(c, d) = value;
    return true;
}

static bool set_integer(config *c, const directive *d, toon_slice value,
                        char *error) {
    int64_t number = 0;

    if (!number_parse(value, &number))
        return refuse(error, "argument couldn't be parsed into an integer");
    return set_number(c, d, number, error);
}

static bool set_octal(config *c, const directive *d, toon_slice value,
                      char *error) {
    int64_t number = 0;

    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] < '0' || value.data[i] > '7' || i > 6)
            return refuse(error, "argument couldn't be parsed into an "
                                 "integer");
        number = number * 8 + (value.data[i] - '0');
    }
    return set_number(c, d, number, error);
}

static bool set_memory(config *c, const directive *d, toon_slice value,
                       char *error) {
    uint64_t bytes = 0;

    if (!memory_parse(value, &bytes) || bytes > INT64_MAX)
        return refuse(error, "argument must be a memory value");
    return set_number(c, d, (int64_t)bytes, error);
}

static bool set_bool(config *c, const directive *d, toon_slice value,
                     char *error) {
    bool yes = slice_is(value, "yes");

    if (!yes && !slice_is(value, "no"))
        return refuse(error, "argument must be 'yes' or 'no'");
    if (!yes && d->min == 1)
        return refuse(error, "the store always keeps a log; only 'yes' is "
                             "possible");
    *number_of(c, d) = yes;
    return true;
}

static bool set_word(config *c, const directive *d, toon_slice value,
                     char *error) {
    int at = 0;

    for (size_t i = 0; d->words[i]; i++) {
        if (!slice_is(value, d->words[i]))
            continue;
        *number_of(c, d) = (int64_t)i;
        return true;
    }
    at = snprintf(error, CONFIG_ERROR_TEXT,
                  "argument(s) must be one of the following: ");
    for (size_t i = 0; d->words[i]; i++)
        at += snprintf(error + at, CONFIG_ERROR_TEXT - (size_t)at, "%s%s",
                       i ? ", " : "", d->words[i]);
    return false;
}

static bool set_text(config *c, const directive *d, toon_slice value,
                     char *error) {
    char *copy = NULL;

    if (value.size > 0 && memchr(value.data, 0, value.size))
        return refuse(error, "argument must not hold NUL bytes");
    copy = strndup(value.size ? value.data : "", value.size);
    if (!copy)
        return refuse(error, "out of memory");
    free(*text_of(c, d));
    *text_of(c, d) = copy;
    return true;
}

static bool set_save(config *c, const directive *d, toon_slice value,
                     char *error) {
    words w = {0};
    words_outcome split = words_split(&w, value);
    bool valid = split == WORDS_OK && w.count % 2 == 0;

    for (size_t i = 0; valid && i < w.count; i++) {
        int64_t number = 0;

        valid = number_parse(w.at[i], &number) && number >= (i % 2 ? 0 : 1);
    }
    words_free(&w);
    if (!valid)
        return refuse(error, split == WORDS_NO_MEMORY
                                 ? "out of memory"
                                 : "Invalid save parameters");
    return set_text(c, d, value, error);
}

/* Four words: class, hard limit, soft limit, seconds. */
static const char *read_limit(const toon_slice *w, output_limit *limits) {
    uint64_t hard = 0, soft = 0;
    int64_t seconds = 0;
    size_t class = 0;

    while (class_words[class] && !slice_is(w[0], class_words[class]))
        class ++;
    if (slice_is(w[0], "replica"))
        class = OUTPUT_REPLICA;
    if (class == OUTPUT_CLASSES)
        return "Invalid client class specified in buffer limit configuration.";
    if (!memory_parse(w[1], &hard) || !memory_parse(w[2], &soft) ||
        hard > INT64_MAX || soft > INT64_MAX || !number_parse(w[3], &seconds) ||
        seconds < 0)
        return "Error in hard, soft or soft_seconds setting in buffer limit "
               "configuration.";
    limits[class] = (output_limit){(int64_t)hard, (int64_t)soft, seconds};
    return NULL;
}

static bool set_limits(config *c, const directive *d, toon_slice value,
                       char *error) {
    output_limit limits[OUTPUT_CLASSES];
    const char *why = NULL;
    words w = {0};
    words_outcome split = words_split(&w, value);

    (void)d;
    memcpy(limits, c->output_limits, sizeof limits);
    if (split == WORDS_NO_MEMORY)
        why = "out of memory";
    else if (split != WORDS_OK || w.count == 0 || w.count % 4 != 0)
        why = "Wrong number of arguments in buffer limit configuration.";
    for (size_t i = 0; !why && i < w.count; i += 4)
        why = read_limit(&w.at[i], limits);
    words_free(&w);
    if (why)
        return refuse(error, why);
    memcpy(c->output_limits, limits, sizeof limits);
    return true;
}

typedef bool set_fn(config *c, const directive *d, toon_slice value,
                    char *error);

static set_fn *const setters[] = {
    [TYPE_INTEGER] = set_integer, [TYPE_OCTAL] = set_octal,
    [TYPE_MEMORY] = set_memory,   [TYPE_BOOL] = set_bool,
    [TYPE_WORD] = set_word,       [TYPE_TEXT] = set_text,
    [TYPE_SAVE] = set_save,       [TYPE_LIMITS] = set_limits,
};

bool config_set(config *c, toon_slice name, toon_slice value, char *error) {
    const directive *d = find(name);

    if (!d) {
        (void)snprintf(error, CONFIG_ERROR_TEXT,
                       "unknown directive '%.*s'; tstd --help lists them all",
                       (int)(name.size < 64 ? name.size : 64), name.data);
        return false;
    }
    return setters[d->type](c, d, value, error);
}

/* A petabyte a second is no limit. */
#define RATE_UNLIMITED ((uint64_t)1 << 50)

uint64_t config_compact_rate(const config *c) {
    return c->compact_rate == 0 ? RATE_UNLIMITED : (uint64_t)c->compact_rate;
}

/* ------------------------------------------------------- birth, copy, end */

bool config_init(config *c) {
    char error[CONFIG_ERROR_TEXT];
    bool whole = true;

    *c = (config){.file = strdup("")};
    for (size_t i = 0; i < DIRECTIVES; i++) {
        const directive *d = &directives[i];

        whole = setters[d->type](c, d, toon_str(d->initial), error) && whole;
    }
    return whole && c->file;
}

void config_free(config *c) {
    for (size_t i = 0; i < DIRECTIVES; i++)
        if (is_text(&directives[i]))
            free(*text_of(c, &directives[i]));
    free(c->file);
    *c = (config){0};
}

bool config_copy(const config *from, config *to) {
    bool whole = true;

    *to = *from;
    to->file = strdup(from->file);
    for (size_t i = 0; i < DIRECTIVES; i++) {
        const directive *d = &directives[i];

        if (!is_text(d))
            continue;
        *text_of(to, d) = strdup(text_in(from, d));
        whole = whole && *text_of(to, d);
    }
    if (whole && to->file)
        return true;
    config_free(to);
    return false;
}

/* ---------------------------------------------------------------- reading */

/* A directive and its words. Several lines of `save` add up. */
static bool apply_words(config *c, toon_slice name, const toon_slice *w,
                        size_t count, char *error) {
    const directive *d = find(name);
    char joined[4096];
    size_t size = 0;
    bool first = true;

    if (d && d->type == TYPE_SAVE && count > 0 && w[0].size > 0) {
        size = strlen(c->save);
        if (size >= sizeof joined)
            return refuse(error, "the value is too long");
        memcpy(joined, c->save, size);
        first = size == 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (w[i].size + 1 > sizeof joined - size)
            return refuse(error, "the value is too long");
        if (!first)
            joined[size++] = ' ';
        first = false;
        if (w[i].size > 0)
            memcpy(joined + size, w[i].data, w[i].size);
        size += w[i].size;
    }
    if (d && count == 0)
        return refuse(error, "the value is missing");
    return config_set(c, name, toon_bytes(joined, size), error);
}

static bool apply_line(config *c, words *w, toon_slice line, char *error) {
    words_outcome split = words_split(w, line);

    if (split == WORDS_UNBALANCED)
        return refuse(error, "unbalanced quotes");
    if (split == WORDS_NO_MEMORY)
        return refuse(error, "out of memory");
    if (w->count == 0)
        return true;
    return apply_words(c, w->at[0], w->at + 1, w->count - 1, error);
}

static bool apply_lines(config *c, FILE *in, const char *path, char *error) {
    char why[CONFIG_ERROR_TEXT] = "";
    words w = {0};
    char *line = NULL;
    size_t capacity = 0, number = 0;
    ssize_t size = 0;
    bool fine = true;

    while (fine && (size = getline(&line, &capacity, in)) >= 0) {
        number++;
        if (line[strspn(line, " \t")] == '#')
            continue;
        fine = apply_line(c, &w, toon_bytes(line, (size_t)size), why);
    }
    if (fine && !feof(in)) { /* what was read is not all */
        fine = false;
        (void)snprintf(why, sizeof why, "%s", strerrordesc_np(errno));
    }
    free(line);
    words_free(&w);
    if (!fine)
        (void)snprintf(error, CONFIG_ERROR_TEXT, "%.200s, line %zu: %.250s",
                       path, number, why);
    return fine;
}

bool config_read_file(config *c, const char *path, char *error) {
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *in = is_stdin ? stdin : fopen(path, "re");
    char full[PATH_MAX];
    bool fine = false;

    if (!in) {
        (void)snprintf(error, CONFIG_ERROR_TEXT,
                       "cannot read the configuration %.200s: %s", path,
                       strerrordesc_np(errno));
        return false;
    }
    fine = apply_lines(c, in, is_stdin ? "standard input" : path, error);
    if (!is_stdin) {
        char *copy = strdup(realpath(path, full) ? full : path);

        (void)fclose(in);
        if (copy) {
            free(c->file);
            c->file = copy;
        }
    }
    return fine;
}

/* One flag with its values; returns how many words it took, 0 on an error. */
static int apply_flag(config *c, int argc, char *const *argv, char *error) {
    toon_slice name = toon_str(argv[0] + 2), values[32];
    char why[CONFIG_ERROR_TEXT] = "";
    size_t count = 0;
    int used = 1;

    while (used < argc && strncmp(argv[used], "--", 2) != 0 && count < 32)
        values[count++] = toon_str(argv[used++]);
    if (apply_words(c, name, values, count, why))
        return used;
    if (!config_known(name))
        (void)snprintf(error, CONFIG_ERROR_TEXT,
                       "unknown option '%.100s'; tstd --help lists them all",
                       argv[0]);
    else
        (void)snprintf(error, CONFIG_ERROR_TEXT, "%.100s: %.300s", argv[0],
                       why);
    return 0;
}

/* Does it make sense as a whole? */
static bool is_coherent(const config *c, char *error) {
    if (c->mount_options[0] == '\0' || c->mount[0] != '\0')
        return true;
    return refuse(error, "mount-options is given without mount, and nothing "
                         "would be mounted; add --mount DIR");
}

bool config_read_args(config *c, int argc, char *const *argv, char *error) {
    int at = 1;

    if (argc > 1 && (argv[1][0] != '-' || strcmp(argv[1], "-") == 0)) {
        if (!config_read_file(c, argv[1], error))
            return false;
        at = 2;
    }
    while (at < argc) {
        int used = 0;

        if (strncmp(argv[at], "--", 2) != 0) {
            (void)snprintf(error, CONFIG_ERROR_TEXT,
                           "'%.100s' is no option; options start with --, see "
                           "tstd --help",
                           argv[at]);
            return false;
        }
        used = apply_flag(c, argc - at, argv + at, error);
        if (used == 0)
            return false;
        at += used;
    }
    return is_coherent(c, error);
}

/* ---------------------------------------------------------------- telling */

static void format_limits(const config *c, char *to, size_t capacity) {
    size_t at = 0;

    for (size_t i = 0; i < OUTPUT_CLASSES; i++) {
        const output_limit *limit = &c->output_limits[i];

        at += (size_t)snprintf(
            to + at, capacity - at, "%s%s %lld %lld %lld", i ? " " : "",
            class_words[i], (long long)limit->hard_bytes,
            (long long)limit->soft_bytes, (long long)limit->soft_s);
    }
}

/* The value as text; in `buffer`, unless it is text already. */
static const char *format(const config *c, const directive *d, char *buffer,
                          size_t capacity) {
    if (is_text(d))
        return text_in(c, d);
    if (d->type == TYPE_LIMITS)
        format_limits(c, buffer, capacity);
    else if (d->type == TYPE_BOOL)
        return number_in(c, d) ? "yes" : "no";
    else if (d->type == TYPE_WORD)
        return d->words[number_in(c, d)];
    else
        (void)snprintf(buffer, capacity,
                       d->type == TYPE_OCTAL ? "%llo" : "%lld",
                       (long long)number_in(c, d));
    return buffer;
}

bool config_matches(toon_slice glob, const char *name) {
    char lower[256];

    if (glob.size > sizeof lower)
        return false;
    for (size_t i = 0; i < glob.size; i++)
        lower[i] = ascii_lower(glob.data[i]);
    return toon_glob_match(toon_bytes(lower, glob.size), toon_str(name));
}

void config_each(const config *c, toon_slice glob, config_fn *fn, void *arg) {
    char buffer[256];

    for (size_t i = 0; i < DIRECTIVES; i++) {
        const directive *d = &directives[i];

        if (config_matches(glob, d->name))
            fn(arg, d->name, format(c, d, buffer, sizeof buffer));
    }
}

void config_describe(void (*fn)(void *arg, const char *name, const char *value,
                                const char *what),
                     void *arg) {
    for (size_t i = 0; i < DIRECTIVES; i++)
        fn(arg, directives[i].name, directives[i].initial, directives[i].what);
}
