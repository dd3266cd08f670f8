/*
 * bytes.c - a buffer that owns its bytes, slices compared, numbers as digits
 * and as little-endian bytes.
 *
 * Knows memory; must never know files or formats.
 */
#include "bytes.h"

#include <endian.h>
#include <stdlib.h>

enum { FIRST_CAP = 64 };

void toon_buf_free(toon_buf *buf) {
    free(buf->data);
    *buf = (toon_buf){0};
}

bool toon_buf_reserve(toon_buf *buf, size_t more) {
    if (buf->failed) {
        return false;
    }
    if (more <= buf->cap - buf->size) {
        return true;
    }
    size_t need = 0;
    if (__builtin_add_overflow(buf->size, more, &need)) {
        buf->failed = true;
        return false;
    }
    size_t cap = buf->cap > SIZE_MAX / 2 ? need : buf->cap * 2;
    cap = cap < FIRST_CAP ? FIRST_CAP : cap;
    cap = cap < need ? need : cap;
    char *data = realloc(buf->data, cap);
    if (data == NULL) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

void toon_buf_append(toon_buf *buf, const void *data, size_t size) {
    if (size == 0 || !toon_buf_reserve(buf, size)) {
        return;
    }
    memcpy(buf->data + buf->size, data, size);
    buf->size += size;
}

void toon_buf_append_slice(toon_buf *buf, toon_slice slice) {
    toon_buf_append(buf, slice.data, slice.size);
}

void toon_buf_append_str(toon_buf *buf, const char *text) {
    toon_buf_append_slice(buf, toon_str(text));
}

void toon_buf_append_u64(toon_buf *buf, uint64_t number) {
    char digits[20];
    toon_buf_append(buf, digits, toon_format_u64(digits, number));
}

void toon_buf_append_i64(toon_buf *buf, int64_t number) {
    char digits[21] = "-";
    size_t sign = number < 0;
    uint64_t magnitude = sign ? 0 - (uint64_t)number : (uint64_t)number;
    size_t size = sign + toon_format_u64(digits + sign, magnitude);
    toon_buf_append(buf, digits, size);
}

int toon_slice_compare(toon_slice a, toon_slice b) {
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

bool toon_parse_u64(toon_slice text, uint64_t *out) {
    if (text.size == 0 || (text.size > 1 && text.data[0] == '0')) {
        return false;
    }
    uint64_t number = 0;
    for (size_t i = 0; i < text.size; i++) {
        unsigned digit = (unsigned)(unsigned char)text.data[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, digit, &number)) {
            return false;
        }
    }
    *out = number;
    return true;
}

size_t toon_format_u64(char *out, uint64_t number) {
    static const char pairs[] = "00010203040506070809101112131415161718192021"
                                "22232425262728293031323334353637383940414243"
                                "44454647484950515253545556575859606162636465"
                                "66676869707172737475767778798081828384858687"
                                "888990919293949596979899";
    char digits[20];
    size_t at = sizeof digits;
    for (; number >= 100; number /= 100) {
        at -= 2;
        memcpy(digits + at, pairs + number % 100 * 2, 2);
    }
    if (number >= 10) {
        at -= 2;
        memcpy(digits + at, pairs + number * 2, 2);
    } else {
        digits[--at] = (char)('0' + number);
    }
    memcpy(out, digits + at, sizeof digits - at);
    return sizeof digits - at;
}

void toon_put_u32(char *out, uint32_t number) {
    uint32_t bytes = htole32(number);
    memcpy(out, &bytes, sizeof bytes);
}

void toon_put_u64(char *out, uint64_t number) {
    uint64_t bytes = htole64(number);
    memcpy(out, &bytes, sizeof bytes);
}

uint32_t toon_get_u32(const char *in) {
    uint32_t bytes = 0;
    memcpy(&bytes, in, sizeof bytes);
    return le32toh(bytes);
}

uint64_t toon_get_u64(const char *in) {
    uint64_t bytes = 0;
    memcpy(&bytes, in, sizeof bytes);
    return le64toh(bytes);
}
