/*
 * config.h - the directives: their table, where they come from (flags, a
 * file, CONFIG SET) and how they are told. Knows no sockets and no store.
 */
#ifndef TOON_CONFIG_H
#define TOON_CONFIG_H

#include "toonstore.h"

#define CONFIG_ERROR_TEXT 512

typedef enum log_level {
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_VERBOSE,
    LOG_LEVEL_NOTICE,
    LOG_LEVEL_WARNING,
} log_level;

enum { OUTPUT_NORMAL, OUTPUT_REPLICA, OUTPUT_PUBSUB, OUTPUT_CLASSES };

typedef struct output_limit {
    int64_t hard_bytes; /* 0: none */
    int64_t soft_bytes; /* 0: none; over it for soft_s: cut off */
    int64_t soft_s;
} output_limit;

/* Every field belongs to the directive of its name. Strings are owned and
 * never NULL. */
typedef struct config {
    int64_t port;
    char *bind;
    char *unixsocket;
    int64_t unixsocketperm; /* 0: as the umask says */
    int64_t timeout_s;      /* 0: never */
    int64_t tcp_keepalive_s;
    int64_t tcp_backlog;
    int64_t maxclients;
    int64_t databases;
    char *dir;
    char *backup_dir;    /* "": `backup` in dir */
    int64_t backup_keep; /* 0: all */
    int64_t appendfsync; /* a toon_sync_policy */
    int64_t appendonly;
    char *save;
    char *requirepass; /* "": none */
    int64_t protected_mode;
    int64_t loglevel; /* a log_level */
    char *logfile;    /* "": standard output */
    char *pidfile;
    int64_t maxmemory;
    int64_t maxmemory_policy; /* always 0 */
    int64_t proto_max_bulk_len;
    int64_t client_query_buffer_limit;
    output_limit output_limits[OUTPUT_CLASSES];
    int64_t capacity; /* cached entries; 0: no limit but the bytes */
    int64_t cache_bytes;
    int64_t cache_policy; /* a toon_cache_policy */
    int64_t value_max;
    int64_t store_max;
    int64_t compact_garbage; /* percent */
    int64_t compact_rate;    /* bytes a second; 0: no limit */
    char *mount;             /* "": none */
    char *mount_options;
    char *file; /* no directive: where the configuration was read, or "" */
} config;

/* Everything as by default. False: no memory. */
bool config_init(config *c);
void config_free(config *c);

/* Sets a directive by name, with its words joined by spaces. False with a
 * sentence in `error` (CONFIG_ERROR_TEXT bytes), and nothing has changed. */
bool config_set(config *c, toon_slice name, toon_slice value, char *error);

/* Is there such a directive? And may it change while the server runs? */
bool config_known(toon_slice name);
bool config_is_mutable(toon_slice name);

/* Reads `path`, "-" for standard input. The error names the line. */
bool config_read_file(config *c, const char *path, char *error);

/* Do both name the same directive? Some have two names. */
bool config_same(toon_slice a, toon_slice b);

/* A copy with strings of its own. False: no memory, and *to is empty. */
bool config_copy(const config *from, config *to);

/* The words after the program's name: [FILE] [--name value…]…, in that
 * order; FILE is read first. */
bool config_read_args(config *c, int argc, char *const *argv, char *error);

/* As toon_options.compact_rate wants it. */
uint64_t config_compact_rate(const config *c);

/* Does the glob fit the name, in any case? */
bool config_matches(toon_slice glob, const char *name);

/* Calls fn for every directive whose name matches the glob, with its value as
 * CONFIG GET tells it. */
typedef void config_fn(void *arg, const char *name, const char *value);
void config_each(const config *c, toon_slice glob, config_fn *fn, void *arg);

/* One line a directive, for --help. */
void config_describe(void (*fn)(void *arg, const char *name, const char *value,
                                const char *what),
                     void *arg);

#endif
