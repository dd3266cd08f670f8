/*
 * bytes.h - a buffer that owns its bytes, and little-endian numbers.
 *
 * Knows slices (toonstore.h) and memory; must never know files or formats.
 */
#ifndef TOON_BYTES_H
#define TOON_BYTES_H

#include "toonstore.h"

/*
 * Grows as it is appended to. The error is sticky: after `failed` has become
 * true, every append does nothing, and the caller looks once at the end.
 */
typedef struct toon_buf {
    char *data; /* owned; NULL while cap is 0 */
    size_t size;
    size_t cap;
    bool failed; /* memory ran out, or a size overflowed */
} toon_buf;

void toon_buf_free(toon_buf *buf); /* leaves it empty and usable */

/* Room for `more` bytes past `size`; false (and sticky) if there is none. */
bool toon_buf_reserve(toon_buf *buf, size_t more);
void toon_buf_append(toon_buf *buf, const void *data, size_t size);
void toon_buf_append_slice(toon_buf *buf, toon_slice slice);
void toon_buf_append_str(toon_buf *buf, const char *text);
void toon_buf_append_u64(toon_buf *buf, uint64_t number); /* decimal */
void toon_buf_append_i64(toon_buf *buf, int64_t number);  /* decimal */

static inline toon_slice toon_buf_slice(const toon_buf *buf) {
    return toon_bytes(buf->data, buf->size);
}

static inline bool toon_slice_equal(toon_slice a, toon_slice b) {
    return a.size == b.size &&
           (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Byte order; a prefix comes first. As memcmp: < 0, 0, > 0. */
int toon_slice_compare(toon_slice a, toon_slice b);

/* Digits only, no sign, no leading zero but "0" itself, no overflow. */
bool toon_parse_u64(toon_slice text, uint64_t *out);

/* Writes the digits (at most 20) and returns how many. No NUL. */
size_t toon_format_u64(char *out, uint64_t number);

void toon_put_u32(char *out, uint32_t number);
void toon_put_u64(char *out, uint64_t number);
uint32_t toon_get_u32(const char *in);
uint64_t toon_get_u64(const char *in);

#endif
