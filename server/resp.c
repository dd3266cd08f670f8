/*
 * resp.c - bytes to requests. Knows no sockets and no commands.
 *
 * A request is either a line of words or
 *     *<count> CR LF  then <count> times  $<size> CR LF <size bytes> CR LF
 * The parser walks through it with `position`, which only ever stands at the
 * start of a line or of a bulk's bytes, so that it can go on from there when
 * the next bytes have come.
 */
#include "resp.h"

#include "numbers.h"

#include <stdio.h>
#include <stdlib.h>

#define ARGS_KEEP 1024

void resp_init(resp *p, int64_t bulk_max) {
    *p = (resp){.bulk_max = bulk_max, .bulk_size = -1};
}

void resp_free(resp *p) {
    free(p->argv);
    free(p->offsets);
    words_free(&p->inline_words);
    resp_init(p, p->bulk_max);
}

static resp_outcome bad(resp *p, const char *why) {
    (void)snprintf(p->error, sizeof p->error, "Protocol error: %s", why);
    return RESP_BAD;
}

static void next_request(resp *p) {
    p->position = 0;
    p->searched = 0;
    p->seen = 0;
    p->args_left = 0;
    p->bulk_size = -1;
    p->moved = false;
}

static bool grow(resp *p) {
    size_t capacity = p->capacity ? p->capacity * 2 : 8;
    toon_slice *argv = realloc(p->argv, capacity * sizeof *argv);
    size_t *offsets = NULL;

    if (!argv)
        return false;
    p->argv = argv;
    offsets = realloc(p->offsets, capacity * sizeof *offsets);
    if (!offsets)
        return false;
    p->offsets = offsets;
    p->capacity = capacity;
    return true;
}

/* Lets go of what a request of very many arguments needed. */
static void trim(resp *p) {
    if (p->capacity <= ARGS_KEEP)
        return;
    free(p->argv);
    free(p->offsets);
    p->argv = NULL;
    p->offsets = NULL;
    p->capacity = 0;
}

static resp_outcome parse_inline(resp *p, toon_slice in, size_t *used) {
    const char *end =
        memchr(in.data + p->searched, '\n', in.size - p->searched);
    size_t size = 0;
    words_outcome split = WORDS_OK;

    if (!end) {
        p->searched = p->seen = in.size;
        return in.size > RESP_LINE_MAX ? bad(p, "too big inline request")
                                       : RESP_MORE;
    }
    size = (size_t)(end - in.data);
    *used = size + 1;
    if (size > RESP_LINE_MAX)
        return bad(p, "too big inline request");
    if (size > 0 && in.data[size - 1] == '\r')
        size--;
    split = words_split(&p->inline_words, toon_bytes(in.data, size));
    if (split == WORDS_UNBALANCED)
        return bad(p, "unbalanced quotes in request");
    while (split == WORDS_OK && p->capacity < p->inline_words.count)
        if (!grow(p))
            split = WORDS_NO_MEMORY;
    if (split == WORDS_NO_MEMORY)
        return bad(p, "out of memory");
    p->argc = p->inline_words.count;
    if (p->argc > 0)
        memcpy(p->argv, p->inline_words.at, p->argc * sizeof *p->argv);
    next_request(p);
    return RESP_DONE;
}

/*
 * The line that starts at `position`, as a number behind its first byte.
 * RESP_DONE: position stands behind the line; *valid says whether it was a
 * number.
 */
static resp_outcome take_count(resp *p, toon_slice in, int64_t *count,
                               bool *valid, const char *too_long) {
    size_t from = p->searched > p->position ? p->searched : p->position;
    const char *end =
        from < in.size ? memchr(in.data + from, '\r', in.size - from) : NULL;
    size_t line = 0;

    if (!end) {
        p->searched = in.size;
        return in.size - p->position > RESP_LINE_MAX ? bad(p, too_long)
                                                     : RESP_MORE;
    }
    line = (size_t)(end - in.data);
    p->searched = line;
    if (line + 2 > in.size)
        return RESP_MORE;
    *valid =
        line > p->position && number_parse(toon_bytes(in.data + p->position + 1,
                                                      line - p->position - 1),
                                           count);
    p->position = line + 2;
    return RESP_DONE;
}

static resp_outcome take_array_header(resp *p, toon_slice in) {
    int64_t count = 0;
    bool valid = false;
    resp_outcome outcome =
        take_count(p, in, &count, &valid, "too big mbulk count string");

    if (outcome != RESP_DONE)
        return outcome;
    if (!valid || count > RESP_ARGS_MAX)
        return bad(p, "invalid multibulk length");
    if (p->guest && count > RESP_GUEST_ARGS)
        return bad(p, "unauthenticated multibulk length");
    p->args_left = count < 0 ? 0 : count;
    return RESP_DONE;
}

static resp_outcome take_bulk_header(resp *p, toon_slice in) {
    size_t start = p->position;
    int64_t size = 0;
    bool valid = false;
    resp_outcome outcome =
        take_count(p, in, &size, &valid, "too big bulk count string");

    if (outcome != RESP_DONE)
        return outcome;
    if (in.data[start] != '$') {
        char why[32];

        (void)snprintf(why, sizeof why, "expected '$', got '%c'",
                       in.data[start]);
        return bad(p, why);
    }
    if (!valid || size < 0 || size > p->bulk_max)
        return bad(p, "invalid bulk length");
    if (p->guest && size > RESP_GUEST_BULK)
        return bad(p, "unauthenticated bulk length");
    p->bulk_size = size;
    return RESP_DONE;
}

/* One argument. The two bytes behind it are passed over unseen, as Redis
 * does. */
static resp_outcome take_bulk(resp *p, toon_slice in) {
    resp_outcome outcome = RESP_DONE;
    size_t size = 0;

    if (p->bulk_size < 0)
        outcome = take_bulk_header(p, in);
    if (outcome != RESP_DONE)
        return outcome;
    size = (size_t)p->bulk_size;
    if (in.size - p->position < size + 2)
        return RESP_MORE;
    if (p->argc == p->capacity && !grow(p))
        return bad(p, "out of memory");
    p->offsets[p->argc] = p->position;
    p->argv[p->argc++] = toon_bytes(in.data + p->position, size);
    p->position += size + 2;
    p->bulk_size = -1;
    p->args_left--;
    return RESP_DONE;
}

resp_outcome resp_parse(resp *p, toon_slice in, size_t *used) {
    resp_outcome outcome = RESP_DONE;

    if (in.size == 0)
        return RESP_MORE;
    if (in.data[0] != '*')
        return parse_inline(p, in, used);
    if (p->position == 0) {
        p->argc = 0;
        trim(p);
        outcome = take_array_header(p, in);
    }
    while (outcome == RESP_DONE && p->args_left > 0)
        outcome = take_bulk(p, in);
    if (outcome == RESP_MORE) {
        p->moved = true;
        p->seen = in.size;
    }
    if (outcome != RESP_DONE)
        return outcome;
    if (p->moved) {
        for (size_t i = 0; i < p->argc; i++)
            p->argv[i].data = in.data + p->offsets[i];
    }
    *used = p->position;
    next_request(p);
    return RESP_DONE;
}

size_t resp_wanted(const resp *p) {
    if (p->bulk_size < 0)
        return p->seen + 1;
    return p->position + (size_t)p->bulk_size + 2;
}
