/*
 * numbers.c - numbers to text and back. Knows nothing else.
 */
#include "numbers.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

bool number_parse_unsigned(toon_slice text, uint64_t *out) {
    uint64_t value = 0;

    if (text.size == 0 || text.size > 20)
        return false;
    if (text.data[0] == '0' && text.size > 1)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        unsigned digit = (unsigned)(unsigned char)text.data[i] - '0';

        if (digit > 9 || value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

bool number_parse(toon_slice text, int64_t *out) {
    bool negative = text.size > 0 && text.data[0] == '-';
    uint64_t value = 0;

    if (negative)
        text = toon_bytes(text.data + 1, text.size - 1);
    if (!number_parse_unsigned(text, &value))
        return false;
    if (negative && (value == 0 || value > (uint64_t)INT64_MAX + 1))
        return false;
    if (!negative && value > INT64_MAX)
        return false;
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

static const char digit_pairs[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536"
    "37383940414243444546474849505152535455565758596061626364656667686970717273"
    "7475767778798081828384858687888990919293949596979899";

size_t number_format_unsigned(char *to, uint64_t value) {
    char text[NUMBER_TEXT_MAX];
    size_t at = sizeof text;

    while (value >= 100) {
        const char *pair = digit_pairs + 2 * (value % 100);

        text[--at] = pair[1];
        text[--at] = pair[0];
        value /= 100;
    }
    if (value >= 10) {
        const char *pair = digit_pairs + 2 * value;

        text[--at] = pair[1];
        text[--at] = pair[0];
    } else {
        text[--at] = (char)('0' + value);
    }
    memcpy(to, text + at, sizeof text - at);
    return sizeof text - at;
}

size_t number_format(char *to, int64_t value) {
    if (value >= 0)
        return number_format_unsigned(to, (uint64_t)value);
    *to = '-';
    return 1 + number_format_unsigned(to + 1, 0 - (uint64_t)value);
}

bool float_parse(toon_slice text, long double *out) {
    char copy[FLOAT_TEXT_MAX];
    char *end = NULL;
    long double value = 0;

    if (text.size == 0 || text.size >= sizeof copy ||
        memchr(text.data, 0, text.size))
        return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    if (copy[0] == ' ' || (copy[0] >= '\t' && copy[0] <= '\r'))
        return false;
    errno = 0;
    value = strtold(copy, &end);
    if (*end != '\0' || isnan(value))
        return false;
    if (errno == ERANGE && (isinf(value) || value == 0.0L))
        return false;
    *out = value;
    return true;
}

size_t float_format(char *to, long double value) {
    int written = 0;
    size_t size = 0;

    if (isinf(value)) {
        memcpy(to, value > 0 ? "inf" : "-inf", 4);
        return value > 0 ? 3 : 4;
    }
    written = snprintf(to, FLOAT_TEXT_MAX, "%.17Lf", value);
    size = written < 0 ? 0 : (size_t)written;
    if (size >= FLOAT_TEXT_MAX)
        size = FLOAT_TEXT_MAX - 1;
    while (size > 0 && to[size - 1] == '0')
        size--;
    if (size > 0 && to[size - 1] == '.')
        size--;
    if (size == 2 && to[0] == '-' && to[1] == '0') {
        to[0] = '0';
        size = 1;
    }
    return size;
}

static const struct unit {
    const char *name;
    uint64_t bytes;
} units[] = {
    {"", 1},
    {"b", 1},
    {"k", 1000},
    {"kb", 1024},
    {"m", 1000000},
    {"mb", 1 << 20},
    {"g", UINT64_C(1000000000)},
    {"gb", UINT64_C(1) << 30},
};

bool memory_parse(toon_slice text, uint64_t *out) {
    size_t digits = 0;
    uint64_t value = 0;

    while (digits < text.size && text.data[digits] >= '0' &&
           text.data[digits] <= '9')
        digits++;
    if (!number_parse_unsigned(toon_bytes(text.data, digits), &value))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        toon_slice name = toon_bytes(text.data + digits, text.size - digits);

        if (!slice_is(name, units[i].name))
            continue;
        if (value > UINT64_MAX / units[i].bytes)
            return false;
        *out = value * units[i].bytes;
        return true;
    }
    return false;
}

bool slice_is(toon_slice text, const char *word) {
    size_t size = strlen(word);

    return text.size == size &&
           (size == 0 || strncasecmp(text.data, word, size) == 0);
}
