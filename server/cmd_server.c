/*
 * cmd_server.c - commands about the server and the store as a whole. Knows
 * no sockets.
 */
#include "numbers.h"
#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void cmd_dbsize(call *c) {
    toon_stats stats;

    toon_stat(c->server->store, &stats);
    reply_integer(c->out, (int64_t)stats.keys);
}

void cmd_flush(call *c) {
    toon_err err = TOON_OK;

    if (c->argc > 2 || (c->argc == 2 && !slice_is(c->argv[1], "sync") &&
                        !slice_is(c->argv[1], "async"))) {
        call_syntax_error(c);
        return;
    }
    /* What was changed before, in this turn, is written before the log is
     * replaced. */
    err = turn_settle(c->server);
    if (err == TOON_OK)
        err = toon_clear(c->server->store);
    if (err != TOON_OK)
        call_fail(c, err);
    else
        reply_ok(c->out);
}

void cmd_time(call *c) {
    struct timespec now = {0};

    clock_gettime(CLOCK_REALTIME, &now);
    reply_array(c->out, 2);
    reply_bulk_number(c->out, now.tv_sec);
    reply_bulk_number(c->out, now.tv_nsec / 1000);
}

void cmd_shutdown(call *c) {
    enum { SAVE = 1, NOSAVE = 2, NOW = 4, FORCE = 8, ABORT = 16 };

    static const struct {
        const char *word;
        unsigned flag;
    } words[] = {{"save", SAVE},
                 {"nosave", NOSAVE},
                 {"now", NOW},
                 {"force", FORCE},
                 {"abort", ABORT}};

    unsigned flags = 0;

    for (size_t i = 1; i < c->argc; i++) {
        size_t at = 0;

        while (at < 5 && !slice_is(c->argv[i], words[at].word))
            at++;
        flags |= at < 5 ? words[at].flag : SAVE | NOSAVE;
    }
    if ((flags & ABORT && flags != ABORT) || (flags & SAVE && flags & NOSAVE)) {
        call_syntax_error(c);
        return;
    }
    if (flags & ABORT) {
        reply_error(c->out, "ERR No shutdown in progress.");
        return;
    }
    server_log(c->server, LOG_LEVEL_WARNING, "User requested shutdown...");
    c->client->asked_for_the_end = true;
    c->server->hooks.shut_down(c->server);
}

void cmd_info(call *c) {
    info_write(c);
}

/* ------------------------------------------------------------------ CONFIG */

typedef struct config_answer {
    reply *out;
    size_t count;
    const call *c;
    size_t glob; /* the argument that is being answered */
} config_answer;

static void tell_directive(void *arg, const char *name, const char *value) {
    config_answer *answer = arg;
    toon_slice glob = answer->c->argv[answer->glob];

    /* Told already, if an earlier glob fits it. */
    for (size_t i = 2; i < answer->glob; i++)
        if (config_matches(answer->c->argv[i], name))
            return;
    /* A name that was asked for as such comes back as it was written. */
    if (memchr(glob.data, '*', glob.size) ||
        memchr(glob.data, '?', glob.size) || memchr(glob.data, '[', glob.size))
        reply_text(answer->out, name);
    else
        reply_bulk(answer->out, glob);
    reply_text(answer->out, value);
    answer->count++;
}

void cmd_config_get(call *c) {
    reply_mark start = reply_here(c->out);
    config_answer answer = {.out = c->out, .c = c};

    for (size_t i = 2; i < c->argc; i++) {
        answer.glob = i;
        config_each(&c->server->config, c->argv[i], tell_directive, &answer);
    }
    reply_insert_count(c->out, start, '%', answer.count);
}

static bool set_refused(call *c, toon_slice name, const char *why) {
    reply_errorf(c->out,
                 "ERR CONFIG SET failed (possibly related to argument "
                 "'%.*s') - %s",
                 (int)(name.size < 128 ? name.size : 128), name.data, why);
    return false;
}

static bool set_allowed(call *c) {
    if (c->argc % 2 != 0) {
        call_syntax_error(c);
        return false;
    }
    for (size_t i = 2; i < c->argc; i += 2) {
        toon_slice name = c->argv[i];

        if (!config_known(name)) {
            reply_errorf(c->out,
                         "ERR Unknown option or number of arguments for "
                         "CONFIG SET - '%.*s'",
                         (int)(name.size < 128 ? name.size : 128), name.data);
            return false;
        }
    }
    for (size_t i = 2; i < c->argc; i += 2) {
        if (!config_is_mutable(c->argv[i]))
            return set_refused(c, c->argv[i], "can't set immutable config");
        for (size_t j = 2; j < i; j += 2)
            if (config_same(c->argv[i], c->argv[j]))
                return set_refused(c, c->argv[i], "duplicate parameter");
    }
    return true;
}

void cmd_config_set(call *c) {
    server *s = c->server;
    char error[CONFIG_ERROR_TEXT];
    config before = {0};

    if (!set_allowed(c))
        return;
    if (!config_copy(&s->config, &before)) {
        call_fail(c, TOON_NO_MEMORY);
        return;
    }
    for (size_t i = 2; i < c->argc; i += 2) {
        if (config_set(&s->config, c->argv[i], c->argv[i + 1], error))
            continue;
        config_free(&s->config);
        s->config = before;
        set_refused(c, c->argv[i], error);
        return;
    }
    config_free(&before);
    compaction_tune(s);
    for (size_t i = 2; i < c->argc; i += 2)
        s->hooks.config_changed(s, c->argv[i]);
    reply_ok(c->out);
}

void cmd_config_resetstat(call *c) {
    server *s = c->server;

    s->counters = (server_counters){0};
    toon_stat(s->store, &s->stats_base);
    s->commands_rate = s->input_rate = s->output_rate = (rate){0};
    reply_ok(c->out);
}

void cmd_config_help(call *c) {
    static const char *const lines[] = {
        "GET <pattern> [<pattern> ...]",
        "    The directives that match, and their values.",
        "RESETSTAT",
        "    Set the figures of INFO back to zero.",
        "SET <directive> <value> [<directive> <value> ...]",
        "    Change directives, all or none.",
    };

    call_help(c, lines, sizeof lines / sizeof lines[0]);
}
