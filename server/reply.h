/*
 * reply.h - RESP2 and RESP3 replies into an owned, growing buffer.
 *
 * Knows the protocol's bytes; no commands and no sockets. Writers return
 * nothing: a lack of memory sticks in `failed`, and the owner looks once.
 *
 * Large values are not copied: they stay pinned and stand between the bytes
 * of the buffer, until they have been sent.
 */
#ifndef TOON_REPLY_H
#define TOON_REPLY_H

#include "toonstore.h"

#include <sys/uio.h>

#define REPLY_PIN_MIN    ((size_t)16 * 1024) /* smaller values are copied */
#define REPLY_KEEP_BYTES ((size_t)16 * 1024) /* of an empty buffer */

/* A value whose bytes come after the first `at` bytes of the buffer. */
typedef struct reply_pin {
    size_t at;
    toon_value value;
} reply_pin;

typedef struct reply {
    char *data;
    size_t size, capacity;
    reply_pin *pins;
    size_t pins_count, pins_capacity;
    size_t pinned_bytes;
    /* What has been sent already. */
    size_t data_sent, pins_sent, pin_bytes_sent;
    uint64_t errors; /* error replies written, ever */
    int protocol;    /* 2 or 3 */
    bool failed;     /* no memory; what is here is not whole */
} reply;

/* A place to come back to; see reply_rewind(). */
typedef struct reply_mark {
    size_t size, pins_count;
} reply_mark;

void reply_init(reply *r);
void reply_free(reply *r);
void reply_clear(reply *r); /* empties it, lets go of pins and big buffers */

/* --------------------------------------------------------------- writing */

void reply_simple(reply *r, const char *text);
static inline void reply_ok(reply *r);

/* `text` starts with the code: "ERR syntax error". Line ends in it become
 * spaces; those at the end of what `format` makes are dropped. */
void reply_error(reply *r, const char *text);
void reply_errorf(reply *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void reply_integer(reply *r, int64_t value);
void reply_bulk(reply *r, toon_slice bytes);
void reply_text(reply *r, const char *text); /* as a bulk */
void reply_bulk_number(reply *r, int64_t value);
void reply_value(reply *r, toon_value *value); /* takes the pin */
void reply_null(reply *r);
void reply_null_array(reply *r);
void reply_array(reply *r, size_t count);
void reply_map(reply *r, size_t pairs); /* RESP2: an array of twice as many */
void reply_set(reply *r, size_t count); /* RESP2: an array */
void reply_double(reply *r, double value);
void reply_bool(reply *r, bool value);
/* `kind` has three letters, "txt" or "mkd". RESP2: a bulk. */
void reply_verbatim(reply *r, const char *kind, toon_slice text);
void reply_raw(reply *r, toon_slice bytes);
void reply_pin_here(reply *r, toon_value *value); /* its bytes alone */

/* ------------------------------------------------------- going back in it */

static inline reply_mark reply_here(const reply *r) {
    return (reply_mark){r->size, r->pins_count};
}

/* Forgets all that was written since. */
void reply_rewind(reply *r, reply_mark mark);

/* Puts "<type><count> CR LF" where `mark` is, for an aggregate whose length
 * was not known before; type is '*', '~' or '%' (count: pairs) and is mapped
 * for RESP2. */
void reply_insert_count(reply *r, reply_mark mark, char type, size_t count);

/* As reply_bulk() at `mark`, in front of what was written since. */
void reply_insert_bulk(reply *r, reply_mark mark, toon_slice bytes);

/* --------------------------------------------------------------- sending */

/* Bytes that have not been sent. */
static inline size_t reply_unsent(const reply *r) {
    return r->size + r->pinned_bytes - r->data_sent - r->pin_bytes_sent;
}

/* Fills at most `max` entries with what is to be sent next, returns how
 * many. They live until the next change of the reply. */
size_t reply_iovecs(const reply *r, struct iovec *to, size_t max);

/* So many bytes have been sent; their pins are let go. */
void reply_sent(reply *r, size_t bytes);

static inline void reply_ok(reply *r) {
    reply_raw(r, toon_bytes("+OK\r\n", 5));
}

#endif
