/*
 * cmd_change.c - commands that change a value from what it was, and those
 * that look at a part of it. Knows the store and replies; no sockets.
 *
 * The mount's threads write too. So a new value is stored on condition that
 * the old one is still there, and made again when it is not.
 */
#include "numbers.h"
#include "state.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* Stores `value` in place of `old` (pin NULL: there was none). TOON_CONFLICT:
 * it changed in between. The expiry stays. */
static toon_err replace(call *c, const toon_value *old, toon_slice value) {
    toon_set_options options = {.flags = TOON_SET_KEEP_EXPIRY};
    toon_err err = TOON_OK;

    if (old->pin)
        options.if_version = old->meta.version;
    else
        options.flags |= TOON_SET_IF_ABSENT;
    err = toon_set(c->server->store, c->argv[1], value, &options);
    return err == TOON_EXISTS ? TOON_CONFLICT : err;
}

/* The value, or an empty one with no pin where there is none. */
static toon_err fetch(call *c, toon_value *out) {
    toon_err err = toon_get(c->server->store, c->argv[1], out);

    if (err != TOON_NOT_FOUND)
        return err;
    *out = (toon_value){0};
    return TOON_OK;
}

/* ---------------------------------------------------------------- counting */

/* NULL, or why not. */
static const char *add_integer(const toon_value *old, int64_t by,
                               int64_t *sum) {
    *sum = 0;
    if (old->pin && !number_parse(toon_bytes(old->data, old->size), sum))
        return "ERR value is not an integer or out of range";
    if (__builtin_add_overflow(*sum, by, sum))
        return "ERR increment or decrement would overflow";
    return NULL;
}

static void add(call *c, int64_t by) {
    const char *refusal = NULL;
    toon_err err = TOON_OK;
    int64_t sum = 0;

    do {
        char text[NUMBER_TEXT_MAX];
        toon_value old;

        err = fetch(c, &old);
        if (err != TOON_OK)
            break;
        refusal = add_integer(&old, by, &sum);
        if (!refusal)
            err = replace(c, &old, toon_bytes(text, number_format(text, sum)));
        toon_value_release(&old);
    } while (err == TOON_CONFLICT);
    if (refusal)
        reply_error(c->out, refusal);
    else if (err != TOON_OK)
        call_fail(c, err);
    else
        reply_integer(c->out, sum);
}

void cmd_incr(call *c) {
    add(c, 1);
}

void cmd_decr(call *c) {
    add(c, -1);
}

void cmd_incrby(call *c) {
    int64_t by = 0;

    if (call_integer(c, c->argv[2], &by))
        add(c, by);
}

void cmd_decrby(call *c) {
    int64_t by = 0;

    if (!call_integer(c, c->argv[2], &by))
        return;
    if (by == INT64_MIN)
        reply_error(c->out, "ERR decrement would overflow");
    else
        add(c, -by);
}

static const char *add_float(const toon_value *old, toon_slice by,
                             long double *sum) {
    long double value = 0, increment = 0;

    if (old->pin && !float_parse(toon_bytes(old->data, old->size), &value))
        return "ERR value is not a valid float";
    if (!float_parse(by, &increment))
        return "ERR value is not a valid float";
    *sum = value + increment;
    if (isnan(*sum) || isinf(*sum))
        return "ERR increment would produce NaN or Infinity";
    return NULL;
}

void cmd_incrbyfloat(call *c) {
    const char *refusal = NULL;
    char text[FLOAT_TEXT_MAX];
    toon_err err = TOON_OK;
    size_t size = 0;

    do {
        toon_value old;
        long double sum = 0;

        err = fetch(c, &old);
        if (err != TOON_OK)
            break;
        refusal = add_float(&old, c->argv[2], &sum);
        if (!refusal) {
            size = float_format(text, sum);
            err = replace(c, &old, toon_bytes(text, size));
        }
        toon_value_release(&old);
    } while (err == TOON_CONFLICT);
    if (refusal)
        reply_error(c->out, refusal);
    else if (err != TOON_OK)
        call_fail(c, err);
    else
        reply_bulk(c->out, toon_bytes(text, size));
}

/* ------------------------------------------------------------ parts of it */

void cmd_append(call *c) {
    size_t size = 0;
    toon_err err = toon_append(c->server->store, c->argv[1], c->argv[2], &size);

    if (err != TOON_OK)
        call_fail(c, err);
    else
        reply_integer(c->out, (int64_t)size);
}

void cmd_strlen(call *c) {
    toon_key_stat stat = {0};
    toon_err err = toon_stat_key(c->server->store, c->argv[1], &stat);

    if (err != TOON_OK && err != TOON_NOT_FOUND)
        call_fail(c, err);
    else
        reply_integer(c->out, err == TOON_OK ? (int64_t)stat.size : 0);
}

/* The bytes from `start` to `end`, inclusive; negative ones count from the
 * end, -1 is the last byte. */
static toon_slice part_of(toon_slice value, int64_t start, int64_t end) {
    int64_t size = (int64_t)value.size;

    if (start < 0 && end < 0 && start > end)
        return toon_bytes(NULL, 0);
    if (start < 0)
        start = start + size < 0 ? 0 : start + size;
    if (end < 0)
        end = end + size < 0 ? 0 : end + size;
    if (end >= size)
        end = size - 1;
    if (start > end || size == 0)
        return toon_bytes(NULL, 0);
    return toon_bytes(value.data + start, (size_t)(end - start + 1));
}

void cmd_getrange(call *c) {
    int64_t start = 0, end = 0;
    toon_value value;
    toon_err err = TOON_OK;

    if (!call_integer(c, c->argv[2], &start) ||
        !call_integer(c, c->argv[3], &end))
        return;
    err = fetch(c, &value);
    if (err != TOON_OK) {
        call_fail(c, err);
        return;
    }
    reply_bulk(c->out, part_of(toon_bytes(value.data, value.size), start, end));
    toon_value_release(&value);
}

/* The value with `bytes` at `offset`, padded with zeros up to there. */
static toon_err overwrite(call *c, size_t offset, toon_slice bytes,
                          size_t *size) {
    toon_value old;
    toon_err err = fetch(c, &old);
    char *copy = NULL;

    if (err != TOON_OK)
        return err;
    *size = old.size;
    if (bytes.size > 0) {
        if (offset + bytes.size > *size)
            *size = offset + bytes.size;
        assert(*size > 0);
        copy = calloc(1, *size);
        if (copy) {
            if (old.size > 0)
                memcpy(copy, old.data, old.size);
            memcpy(copy + offset, bytes.data, bytes.size);
        }
        err = copy ? replace(c, &old, toon_bytes(copy, *size)) : TOON_NO_MEMORY;
        free(copy);
    }
    toon_value_release(&old);
    return err;
}

void cmd_setrange(call *c) {
    int64_t offset = 0, most = c->server->config.proto_max_bulk_len;
    toon_slice bytes = c->argv[3];
    toon_err err = TOON_OK;
    size_t size = 0;

    if (!call_integer(c, c->argv[2], &offset))
        return;
    if (offset < 0) {
        reply_error(c->out, "ERR offset is out of range");
        return;
    }
    if (bytes.size > 0 && offset > most - (int64_t)bytes.size) {
        reply_error(c->out, "ERR string exceeds maximum allowed size "
                            "(proto-max-bulk-len)");
        return;
    }
    do {
        err = overwrite(c, (size_t)offset, bytes, &size);
    } while (err == TOON_CONFLICT);
    if (err != TOON_OK)
        call_fail(c, err);
    else
        reply_integer(c->out, (int64_t)size);
}
