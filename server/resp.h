/*
 * resp.h - bytes to requests, for RESP2 arrays of bulk strings and for inline
 * commands. Does no I/O and knows no commands.
 *
 * The caller keeps the bytes of one unfinished request together, from its
 * first byte on, and calls resp_parse() again when more have come. The buffer
 * may move in between. Nothing is parsed twice.
 */
#ifndef TOON_RESP_H
#define TOON_RESP_H

#include "toonstore.h"
#include "words.h"

#define RESP_LINE_MAX   ((size_t)64 * 1024)
#define RESP_ARGS_MAX   ((int64_t)1024 * 1024)
#define RESP_GUEST_ARGS 10    /* before authentication */
#define RESP_GUEST_BULK 16384 /* bytes, before authentication */
#define RESP_ERROR_TEXT 64

typedef enum resp_outcome {
    RESP_DONE, /* argv, argc and *used tell the request; argc may be 0 */
    RESP_MORE, /* the bytes so far begin a request */
    RESP_BAD,  /* `error` says why; the connection cannot go on */
} resp_outcome;

typedef struct resp {
    /* The last request. The slices borrow from the bytes that were given, or,
     * for an inline request, from the parser. */
    toon_slice *argv;
    size_t argc;
    char error[RESP_ERROR_TEXT]; /* "Protocol error: …" */

    /* Set by the owner at any time. */
    int64_t bulk_max; /* bytes */
    bool guest;       /* not yet authenticated: tighter limits */

    /* Of the request that is being parsed; offsets from its first byte. */
    size_t position; /* all before it is parsed */
    size_t searched; /* no line end before it */
    size_t seen;     /* bytes of it, in the last call */
    int64_t args_left;
    int64_t bulk_size; /* -1: its line has not been read */
    size_t *offsets;   /* of argv's bytes, while the buffer may move */
    size_t capacity;   /* of argv and offsets */
    bool moved;        /* argv has pointers of an earlier call */
    words inline_words;
} resp;

void resp_init(resp *p, int64_t bulk_max);
void resp_free(resp *p);

/* `in` starts at the first byte of a request. On RESP_DONE *used is the
 * request's length; the parser is ready for the next one. */
resp_outcome resp_parse(resp *p, toon_slice in, size_t *used);

/* How many bytes, counted from the request's first one, must at least be
 * there before another call can get further. */
size_t resp_wanted(const resp *p);

#endif
