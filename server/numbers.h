/*
 * numbers.h - numbers to text and back, as strictly as clients of Redis
 * expect. Knows nothing else.
 */
#ifndef TOON_NUMBERS_H
#define TOON_NUMBERS_H

#include "toonstore.h"

#define NUMBER_TEXT_MAX 24   /* an int64 in decimal */
#define FLOAT_TEXT_MAX  5200 /* a long double in plain decimal notation */

/* Decimal digits with at most a minus before them: no spaces, no plus sign,
 * no leading zeros, no -0. False, and *out left alone, for all else. */
bool number_parse(toon_slice text, int64_t *out);

/* As above, from 0 to 2^64 - 1. */
bool number_parse_unsigned(toon_slice text, uint64_t *out);

/* Writes without a NUL, returns the length, at most NUMBER_TEXT_MAX. */
size_t number_format(char *to, int64_t value);
size_t number_format_unsigned(char *to, uint64_t value);

/* The whole text as strtold(3) reads it; no leading space, no NaN. */
bool float_parse(toon_slice text, long double *out);

/* Plain decimal notation, 17 places, without trailing zeros. Returns the
 * length; `to` holds FLOAT_TEXT_MAX bytes. */
size_t float_format(char *to, long double value);

/* "512mb", "1k", "1gb", "100": k m g are powers of 1000, kb mb gb of 1024. */
bool memory_parse(toon_slice text, uint64_t *out);

/* Letters of ASCII, whatever the locale. */
static inline char ascii_lower(char c) {
    return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

static inline char ascii_upper(char c) {
    return (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
}

/* Does the slice hold this word, in any case? */
bool slice_is(toon_slice text, const char *word);

#endif
