/*
 * state.h - what a server and its clients are, to the commands.
 *
 * Knows no libuv: what only the loop can do stands behind `server_hooks`, so
 * that commands run in a test without a socket.
 */
#ifndef TOON_STATE_H
#define TOON_STATE_H

#include "backup.h"
#include "command.h"
#include "config.h"
#include "reply.h"
#include "server.h"
#include "toonstore.h"

/* The Redis version whose commands and texts these are. */
#define REDIS_COMPATIBLE "7.0.15"

typedef enum reply_mode {
    REPLY_ON,
    REPLY_OFF,
    REPLY_SKIP_NEXT, /* CLIENT REPLY SKIP itself */
    REPLY_SKIP,      /* the command after it */
} reply_mode;

struct client {
    server *server;
    client *prev, *next; /* all of the server's */
    uint64_t id;
    reply out;
    int64_t created_ms, active_ms;   /* monotonic */
    char *name, *lib_name, *lib_ver; /* NULL: none */
    char peer[128], local[128];      /* "127.0.0.1:6379", a path, or "" */
    int fd;
    bool is_unix;
    bool authenticated;
    bool no_evict, no_touch;
    bool close_after_reply;
    bool asked_for_the_end; /* by SHUTDOWN */
    reply_mode reply_mode;
    const command *last_command;
    size_t input_bytes, input_capacity; /* of the read buffer */
    size_t output_bytes;                /* beside `out`, on its way */
    size_t turn_bytes;                  /* of its requests, in this turn */

    reply_mark command_start; /* where the running command replies from */

    /* This turn's write commands; see turn_wrote(). */
    struct reply_span {
        reply_mark start, end;
    } * writes;

    size_t writes_count, writes_capacity;
    client *next_writer;
    bool is_writer;
};

typedef struct server_counters {
    uint64_t connections_received, connections_rejected;
    uint64_t commands_processed, error_replies;
    uint64_t input_bytes, output_bytes;
    uint64_t output_limit_cuts, query_limit_cuts;
    uint64_t held_writers; /* how often: see pace.c */
} server_counters;

#define RATE_SAMPLES 16

/* Something per second, over the last samples. */
typedef struct rate {
    uint64_t last_count;
    int64_t last_ms;
    uint64_t samples[RATE_SAMPLES];
    size_t at;
} rate;

/* What clients are told of compactions beside the store's own figures. */
typedef struct compaction_watch {
    bool runs;
    int64_t started_ms;  /* monotonic; of the one that runs */
    uint64_t finished;   /* seen so far, as the store counts them */
    uint64_t base_bytes; /* of the log, after the last one or at the start */
} compaction_watch;

/* What commands ask of the loop. Tests give functions of their own. */
typedef struct server_hooks {
    void (*client_close)(client *c); /* soon, after this command */
    void (*shut_down)(server *s);    /* in good order, soon */
    /* A directive was changed by CONFIG SET. */
    void (*config_changed)(server *s, toon_slice name);
} server_hooks;

struct server {
    toon_store *store;
    config config;
    command_index commands;
    server_gate gate; /* `queued` NULL: none */
    server_hooks hooks;
    void *loop; /* the loop's own */
    int log_fd;

    client *clients; /* newest first */
    size_t clients_count;
    uint64_t last_client_id;

    client *writers; /* that changed something in this turn */
    bool gathering;
    int64_t delay_ns; /* for which this turn's writers had better wait */

    server_counters counters;
    toon_stats stats_base;  /* at CONFIG RESETSTAT */
    uint64_t random_cursor; /* of RANDOMKEY */
    rate commands_rate, input_rate, output_rate;
    compaction_watch compaction;
    backup backup;
    int64_t started_ms; /* monotonic */
    int64_t started_wall_ms;
    char run_id[41];
    int tcp_port;
    bool shutting_down;
    char error_text[1024]; /* of error_text() */
};

/* -------------------------------------------------- state.c: birth and log */

/* Zeroes, then takes `cfg` over. */
void server_init(server *s, toon_store *store, config *cfg);
void server_free(server *s);

void client_init(client *c, server *s);
void client_free(client *c);

/* Into and out of the server's list. */
void client_add(client *c);
void client_remove(client *c);

void server_log(const server *s, log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

int64_t wall_ms(void);      /* since the epoch */
int64_t monotonic_ms(void); /* since some start */

/* ------------------------------------- dispatch.c: the one way to a command */

/* Runs a request, its reply goes to the client. argc 0 is no request. */
void dispatch(client *c, const toon_slice *argv, size_t argc);

/* What clients are told of a failed call of the store. Valid until the next
 * such call for this server. */
const char *error_text(server *s, toon_err err);

/* Replies it. */
void call_fail(call *c, toon_err err);

/* Common replies. */
void call_syntax_error(call *c);

/* An integer argument, or an error reply and false. */
bool call_integer(call *c, toon_slice text, int64_t *out);

/* The answer to HELP: a line "NAME <subcommand> …" first, HELP last. */
void call_help(call *c, const char *const *lines, size_t count);

/* ------------------------------------------------- turn.c: one loop's turn */

/*
 * Changes of one turn of the loop reach the kernel together, before any of
 * its replies leave. turn_begin() may be called again within a turn.
 */
void turn_begin(server *s);

/* A write command of the client replied from its command_start to now. */
void turn_wrote(client *c);

/* Writes the turn's changes. If that fails, the replies of its write commands
 * become the error. The clients that wrote are then in s->writers, which the
 * caller empties with turn_take_writer(), and s->delay_ns, which it clears, is
 * what toon_gather_delay() said. */
toon_err turn_end(server *s);
client *turn_take_writer(server *s);

/* For commands that need the changes so far in the kernel: ends the gathering
 * and begins another, in the same turn. */
toon_err turn_settle(server *s);

/* --------------------------------------------------- others that are shared */

/* cmd_compact.c: looks whether a compaction runs; called now and then. */
void compaction_sample(server *s, const toon_stats *now);

/* cmd_save.c: where BGSAVE puts its copies; and a line of theirs for the log.
 */
void server_backup_dir(const server *s, char path[PATH_MAX]);
void server_backup_note(void *arg, bool failed, const char *line);

/* Gives the store what the configuration says of compaction. */
void compaction_tune(server *s);

/* info.c: the text of the sections that `wanted` names. */
void info_write(call *c);

/* One line of CLIENT LIST, without its line end; returns the length. */
size_t client_describe(const client *c, char *to, size_t capacity);

/* cmd_connection.c: back to how it was when it connected. */
void client_reset(client *c);

/* Is this the configured password? Takes the same time for any. */
bool password_fits(const server *s, toon_slice password);

void rate_sample(rate *r, uint64_t count, int64_t now_ms);
uint64_t rate_per_second(const rate *r);

#endif
