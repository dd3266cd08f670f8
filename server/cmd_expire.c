/*
 * cmd_expire.c - EXPIRE and its kin, and how commands name times. Knows the
 * store and replies; no sockets.
 */
#include "expiry_args.h"
#include "numbers.h"

static const struct option {
    const char *word;
    unsigned flag, excludes;
} options[] = {
    {"nx", ARG_NX, ARG_XX},
    {"xx", ARG_XX, ARG_NX},
    {"get", ARG_GET, 0},
    {"keepttl", ARG_KEEPTTL, ARG_PERSIST | ARG_TIMES},
    {"persist", ARG_PERSIST, ARG_KEEPTTL | ARG_TIMES},
    {"ex", ARG_EX, ARG_KEEPTTL | ARG_PERSIST | (ARG_TIMES & ~ARG_EX)},
    {"px", ARG_PX, ARG_KEEPTTL | ARG_PERSIST | (ARG_TIMES & ~ARG_PX)},
    {"exat", ARG_EXAT, ARG_KEEPTTL | ARG_PERSIST | (ARG_TIMES & ~ARG_EXAT)},
    {"pxat", ARG_PXAT, ARG_KEEPTTL | ARG_PERSIST | (ARG_TIMES & ~ARG_PXAT)},
};

static const struct option *option_find(toon_slice word, unsigned allowed) {
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if ((options[i].flag & allowed) && slice_is(word, options[i].word))
            return &options[i];
    return NULL;
}

bool set_args_read(call *c, size_t first, unsigned allowed, set_args *out) {
    *out = (set_args){0};
    for (size_t i = first; i < c->argc; i++) {
        const struct option *option = option_find(c->argv[i], allowed);

        if (!option || (out->flags & option->excludes) ||
            ((option->flag & ARG_TIMES) && i + 1 == c->argc)) {
            call_syntax_error(c);
            return false;
        }
        out->flags |= option->flag;
        if (option->flag & ARG_TIMES)
            out->time = c->argv[++i];
    }
    return true;
}

void call_bad_expiry(call *c) {
    char name[COMMAND_NAME_MAX];

    reply_errorf(c->out, "ERR invalid expire time in '%s' command",
                 command_full_name(c->command, name));
}

bool set_args_time(call *c, set_args *args) {
    int64_t time = 0;
    bool seconds = (args->flags & (ARG_EX | ARG_EXAT)) != 0;
    bool relative = (args->flags & (ARG_EX | ARG_PX)) != 0;

    if (!(args->flags & ARG_TIMES))
        return true;
    args->now_ms = wall_ms();
    if (!call_integer(c, args->time, &time))
        return false;
    if (time <= 0 || (seconds && time > INT64_MAX / 1000)) {
        call_bad_expiry(c);
        return false;
    }
    if (seconds)
        time *= 1000;
    if (relative && time > INT64_MAX - args->now_ms) {
        call_bad_expiry(c);
        return false;
    }
    args->expires_ms = relative ? time + args->now_ms : time;
    return true;
}

/* -------------------------------------------------------- EXPIRE and so on */

enum {
    WHEN_NX = 1 << 0, /* only a key without an expiry */
    WHEN_XX = 1 << 1, /* only a key with one */
    WHEN_GT = 1 << 2, /* only to a later time; without expiry is latest */
    WHEN_LT = 1 << 3, /* only to an earlier one */
};

static bool read_conditions(call *c, unsigned *out) {
    static const char *const words[] = {"nx", "xx", "gt", "lt"};
    unsigned flags = 0;

    for (size_t i = 3; i < c->argc; i++) {
        size_t at = 0;

        while (at < 4 && !slice_is(c->argv[i], words[at]))
            at++;
        if (at == 4) {
            reply_errorf(c->out, "ERR Unsupported option %.*s",
                         (int)(c->argv[i].size < 512 ? c->argv[i].size : 512),
                         c->argv[i].data);
            return false;
        }
        flags |= 1u << at;
    }
    if ((flags & WHEN_NX) && flags != WHEN_NX) {
        reply_error(c->out, "ERR NX and XX, GT or LT options at the same time "
                            "are not compatible");
        return false;
    }
    if ((flags & WHEN_GT) && (flags & WHEN_LT)) {
        reply_error(c->out, "ERR GT and LT options at the same time are not "
                            "compatible");
        return false;
    }
    *out = flags;
    return true;
}

/* `current_ms` 0: the key has no expiry. */
static bool conditions_hold(unsigned flags, int64_t current_ms,
                            int64_t expires_ms) {
    if ((flags & WHEN_NX) && current_ms != 0)
        return false;
    if ((flags & WHEN_XX) && current_ms == 0)
        return false;
    if ((flags & WHEN_GT) && (current_ms == 0 || expires_ms <= current_ms))
        return false;
    return !(flags & WHEN_LT) || current_ms == 0 || expires_ms < current_ms;
}

/* argv[2] in milliseconds since the epoch; `unit_ms` is 1 or 1000. */
static bool read_time(call *c, int64_t base_ms, int64_t unit_ms,
                      int64_t *expires_ms) {
    int64_t time = 0;

    if (!call_integer(c, c->argv[2], &time))
        return false;
    if (time > INT64_MAX / unit_ms || time < INT64_MIN / unit_ms ||
        time * unit_ms > INT64_MAX - base_ms) {
        call_bad_expiry(c);
        return false;
    }
    *expires_ms = time * unit_ms + base_ms;
    return true;
}

static void expire_at(call *c, int64_t base_ms, int64_t unit_ms) {
    toon_store *store = c->server->store;
    toon_slice key = c->argv[1];
    toon_key_stat stat;
    toon_meta meta = {0};
    unsigned flags = 0;
    toon_err err = TOON_OK;

    if (!read_conditions(c, &flags) ||
        !read_time(c, base_ms, unit_ms, &meta.expires_ms))
        return;
    err = toon_stat_key(store, key, &stat);
    if (err == TOON_OK &&
        !conditions_hold(flags, stat.meta.expires_ms, meta.expires_ms))
        err = TOON_NOT_FOUND;
    if (err == TOON_OK && meta.expires_ms <= wall_ms())
        err = toon_delete(store, key, 0, NULL);
    else if (err == TOON_OK)
        err = toon_set_meta(store, key, TOON_META_EXPIRES, &meta);
    if (err != TOON_OK && err != TOON_NOT_FOUND)
        call_fail(c, err);
    else
        reply_integer(c->out, err == TOON_OK);
}

void cmd_expire(call *c) {
    expire_at(c, wall_ms(), 1000);
}

void cmd_pexpire(call *c) {
    expire_at(c, wall_ms(), 1);
}

void cmd_expireat(call *c) {
    expire_at(c, 0, 1000);
}

void cmd_pexpireat(call *c) {
    expire_at(c, 0, 1);
}

/* -2: no such key; -1: no expiry; else from `base_ms` on, rounded to units. */
static void reply_expiry(call *c, int64_t base_ms, int64_t unit_ms) {
    toon_key_stat stat;
    toon_err err = toon_stat_key(c->server->store, c->argv[1], &stat);
    int64_t left_ms = 0;

    if (err == TOON_NOT_FOUND) {
        reply_integer(c->out, -2);
        return;
    }
    if (err != TOON_OK) {
        call_fail(c, err);
        return;
    }
    if (stat.meta.expires_ms == 0) {
        reply_integer(c->out, -1);
        return;
    }
    left_ms = stat.meta.expires_ms - base_ms;
    if (left_ms < 0)
        left_ms = 0;
    /* Halves go up, written so that the latest time cannot overflow. */
    reply_integer(c->out,
                  left_ms / unit_ms + (left_ms % unit_ms >= (unit_ms + 1) / 2));
}

void cmd_ttl(call *c) {
    reply_expiry(c, wall_ms(), 1000);
}

void cmd_pttl(call *c) {
    reply_expiry(c, wall_ms(), 1);
}

void cmd_expiretime(call *c) {
    reply_expiry(c, 0, 1000);
}

void cmd_pexpiretime(call *c) {
    reply_expiry(c, 0, 1);
}

void cmd_persist(call *c) {
    toon_key_stat stat;
    toon_meta never = {0};
    toon_err err = toon_stat_key(c->server->store, c->argv[1], &stat);

    if (err == TOON_OK && stat.meta.expires_ms == 0)
        err = TOON_NOT_FOUND;
    if (err == TOON_OK)
        err = toon_set_meta(c->server->store, c->argv[1], TOON_META_EXPIRES,
                            &never);
    if (err != TOON_OK && err != TOON_NOT_FOUND)
        call_fail(c, err);
    else
        reply_integer(c->out, err == TOON_OK);
}
