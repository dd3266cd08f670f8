/*
 * cmd_string.c - GET, SET and the commands that are made of them. Knows the
 * store and replies; no sockets.
 */
#include "expiry_args.h"
#include "numbers.h"

/* The value, a null or the error. */
static void reply_found(call *c, toon_err err, toon_value *value) {
    if (err == TOON_OK)
        reply_value(c->out, value);
    else if (err == TOON_NOT_FOUND)
        reply_null(c->out);
    else
        call_fail(c, err);
}

void cmd_get(call *c) {
    toon_value value;
    toon_err err = toon_get(c->server->store, c->argv[1], &value);

    reply_found(c, err, &value);
}

void cmd_getdel(call *c) {
    toon_value old = {0};
    toon_err err = toon_delete(c->server->store, c->argv[1], 0, &old);

    reply_found(c, err, &old);
}

void cmd_getset(call *c) {
    toon_value old = {0};
    toon_set_options options = {.old = &old};
    toon_err err = toon_set(c->server->store, c->argv[1], c->argv[2], &options);

    if (err == TOON_OK && !old.pin)
        err = TOON_NOT_FOUND;
    reply_found(c, err, &old);
}

/* ------------------------------------------------------------ SET, GETEX */

/* A SET whose time has passed: the conditions count, then the key is gone. */
static toon_err set_expired(call *c, const set_args *args, toon_value *old) {
    toon_store *store = c->server->store;
    toon_err err = TOON_OK;

    if (args->flags & ARG_NX) {
        err = toon_get(store, c->argv[1], old);
        if (err == TOON_NOT_FOUND)
            return TOON_OK;
        return err == TOON_OK ? TOON_EXISTS : err;
    }
    err = toon_delete(store, c->argv[1], 0, old);
    if (err == TOON_NOT_FOUND && !(args->flags & ARG_XX))
        err = TOON_OK;
    return err;
}

static toon_err set_by_args(call *c, const set_args *args, toon_value *old) {
    toon_set_options options = {.expires_ms = args->expires_ms};

    if ((args->flags & ARG_TIMES) && args->expires_ms <= args->now_ms)
        return set_expired(c, args, old);
    if (args->flags & ARG_NX)
        options.flags |= TOON_SET_IF_ABSENT;
    if (args->flags & ARG_XX)
        options.flags |= TOON_SET_IF_PRESENT;
    if (args->flags & ARG_KEEPTTL)
        options.flags |= TOON_SET_KEEP_EXPIRY;
    if (args->flags & ARG_GET)
        options.old = old;
    return toon_set(c->server->store, c->argv[1], c->argv[2], &options);
}

void cmd_set(call *c) {
    set_args args = {0};
    toon_value old = {0};
    toon_err err = TOON_OK;

    if (c->argc > 3 &&
        (!set_args_read(c, 3, ARG_OF_SET, &args) || !set_args_time(c, &args)))
        return;
    err = set_by_args(c, &args, &old);
    if (err != TOON_OK && err != TOON_EXISTS && err != TOON_NOT_FOUND) {
        call_fail(c, err);
    } else if (args.flags & ARG_GET) {
        reply_found(c, old.pin ? TOON_OK : TOON_NOT_FOUND, &old);
        return;
    } else if (err == TOON_OK) {
        reply_ok(c->out);
    } else {
        reply_null(c->out);
    }
    toon_value_release(&old);
}

void cmd_setnx(call *c) {
    toon_set_options options = {.flags = TOON_SET_IF_ABSENT};
    toon_err err = toon_set(c->server->store, c->argv[1], c->argv[2], &options);

    if (err != TOON_OK && err != TOON_EXISTS)
        call_fail(c, err);
    else
        reply_integer(c->out, err == TOON_OK);
}

static void set_for(call *c, unsigned unit) {
    set_args args = {.flags = unit, .time = c->argv[2]};
    toon_set_options options = {0};
    toon_err err = TOON_OK;

    if (!set_args_time(c, &args))
        return;
    options.expires_ms = args.expires_ms;
    err = toon_set(c->server->store, c->argv[1], c->argv[3], &options);
    if (err != TOON_OK)
        call_fail(c, err);
    else
        reply_ok(c->out);
}

void cmd_setex(call *c) {
    set_for(c, ARG_EX);
}

void cmd_psetex(call *c) {
    set_for(c, ARG_PX);
}

void cmd_getex(call *c) {
    toon_store *store = c->server->store;
    toon_slice key = c->argv[1];
    set_args args = {0};
    toon_value value = {0};
    toon_err err = TOON_OK, changed = TOON_OK;

    if (!set_args_read(c, 2, ARG_OF_GETEX, &args))
        return;
    err = toon_get(store, key, &value);
    if (err == TOON_OK && !set_args_time(c, &args)) {
        toon_value_release(&value);
        return;
    }
    if (err == TOON_OK && (args.flags & ARG_TIMES) &&
        args.expires_ms <= args.now_ms) {
        changed = toon_delete(store, key, 0, NULL);
    } else if (err == TOON_OK && args.flags != 0) {
        toon_meta meta = {.expires_ms = args.expires_ms};

        changed = toon_set_meta(store, key, TOON_META_EXPIRES, &meta);
    }
    if (changed != TOON_OK && changed != TOON_NOT_FOUND) {
        toon_value_release(&value);
        err = changed;
    }
    reply_found(c, err, &value);
}

/* ----------------------------------------------------------- several keys */

struct several {
    call *call;
    reply_mark start;
};

static void reply_several(void *arg) {
    struct several *self = arg;
    call *c = self->call;

    reply_rewind(c->out, self->start);
    reply_array(c->out, c->argc - 1);
    for (size_t i = 1; i < c->argc; i++) {
        toon_value value;
        toon_err err = toon_get(c->server->store, c->argv[i], &value);

        reply_found(c, err, &value);
    }
}

void cmd_mget(call *c) {
    struct several self = {c, reply_here(c->out)};

    toon_read_together(c->server->store, reply_several, &self);
}

static toon_err set_pairs(call *c) {
    toon_err err = TOON_OK;

    for (size_t i = 1; err == TOON_OK && i < c->argc; i += 2)
        err = toon_set(c->server->store, c->argv[i], c->argv[i + 1], NULL);
    return err;
}

static bool pairs_whole(call *c) {
    char name[COMMAND_NAME_MAX];

    if (c->argc % 2 == 1)
        return true;
    reply_errorf(c->out, "ERR wrong number of arguments for '%s' command",
                 command_full_name(c->command, name));
    return false;
}

/* TOON_EXISTS if one of the keys is there. */
static toon_err none_there(call *c) {
    toon_err err = TOON_NOT_FOUND;
    toon_key_stat stat;

    for (size_t i = 1; err == TOON_NOT_FOUND && i < c->argc; i += 2)
        err = toon_stat_key(c->server->store, c->argv[i], &stat);
    if (err == TOON_NOT_FOUND)
        return TOON_OK;
    return err == TOON_OK ? TOON_EXISTS : err;
}

/* All pairs in one batch, or none. */
static toon_err set_all(call *c, bool if_absent) {
    toon_store *store = c->server->store;
    toon_err err = toon_batch_begin(store);

    if (err != TOON_OK)
        return err;
    if (if_absent)
        err = none_there(c);
    if (err == TOON_OK)
        err = set_pairs(c);
    if (err == TOON_OK)
        return toon_batch_commit(store);
    toon_batch_cancel(store);
    return err;
}

void cmd_mset(call *c) {
    toon_err err = TOON_OK;

    if (!pairs_whole(c))
        return;
    err = set_all(c, false);
    if (err != TOON_OK)
        call_fail(c, err);
    else
        reply_ok(c->out);
}

void cmd_msetnx(call *c) {
    toon_err err = TOON_OK;

    if (!pairs_whole(c))
        return;
    err = set_all(c, true);
    if (err != TOON_OK && err != TOON_EXISTS)
        call_fail(c, err);
    else
        reply_integer(c->out, err == TOON_OK);
}
