/*
 * base64.c - the standard alphabet, padded, and nothing but the one text that
 * the encoder writes is taken back.
 *
 * Knows bytes; must never know TOON.
 */
#include "base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "abcdefghijklmnopqrstuvwxyz0123456789+/";

/* What each character stands for, plus one; 0: no character of base64. */
static const unsigned char places[256] = {
    ['+'] = 63, ['/'] = 64, ['0'] = 53, 54, 55, 56,         57, 58, 59, 60, 61,
    62,         ['A'] = 1,  2,          3,  4,  5,          6,  7,  8,  9,  10,
    11,         12,         13,         14, 15, 16,         17, 18, 19, 20, 21,
    22,         23,         24,         25, 26, ['a'] = 27, 28, 29, 30, 31, 32,
    33,         34,         35,         36, 37, 38,         39, 40, 41, 42, 43,
    44,         45,         46,         47, 48, 49,         50, 51, 52,
};

/* Four characters for the 24 bits of `bits`. */
static inline void put_group(char *out, unsigned bits) {
    out[0] = alphabet[bits >> 18];
    out[1] = alphabet[bits >> 12 & 63];
    out[2] = alphabet[bits >> 6 & 63];
    out[3] = alphabet[bits & 63];
}

void toon_base64_encode(char *out, toon_slice in) {
    const unsigned char *bytes = (const unsigned char *)in.data;
    size_t left = in.size;
    for (; left >= 3; left -= 3, bytes += 3, out += 4) {
        put_group(out, (unsigned)bytes[0] << 16 | (unsigned)bytes[1] << 8 |
                           (unsigned)bytes[2]);
    }
    if (left > 0) {
        unsigned second = left == 2 ? bytes[1] : 0;
        put_group(out, (unsigned)bytes[0] << 16 | second << 8);
        memset(out + 1 + left, '=', 3 - left);
    }
}

bool toon_base64_decoded_size(toon_slice in, size_t *size) {
    if (in.size % 4 != 0) {
        return false;
    }
    size_t padding = 0;
    while (padding < in.size && in.data[in.size - 1 - padding] == '=') {
        padding++;
    }
    if (padding > 2) {
        return false;
    }
    *size = in.size / 4 * 3 - padding;
    return true;
}

/* The 24 bits that four characters stand for; more bits where one is wrong. */
static inline unsigned get_group(const char *in) {
    const unsigned char *text = (const unsigned char *)in;
    unsigned a = places[text[0]] - 1u;
    unsigned b = places[text[1]] - 1u;
    unsigned c = places[text[2]] - 1u;
    unsigned d = places[text[3]] - 1u;
    return (a | b | c | d) > 63 ? UINT32_MAX : a << 18 | b << 12 | c << 6 | d;
}

static inline void put_bytes(char *out, unsigned bits, size_t size) {
    for (size_t i = 0; i < size; i++) {
        out[i] = (char)(unsigned char)(bits >> (16 - 8 * i));
    }
}

bool toon_base64_decode(char *out, toon_slice in) {
    size_t left = 0;
    if (!toon_base64_decoded_size(in, &left)) {
        return false;
    }
    const char *text = in.data;
    for (; left >= 3; left -= 3, text += 4, out += 3) {
        unsigned bits = get_group(text);
        if (bits == UINT32_MAX) {
            return false;
        }
        put_bytes(out, bits, 3);
    }
    if (left > 0) {
        /* The bits that the padding leaves over must be zero. */
        char last[4] = {text[0], text[1], 'A', 'A'};
        if (left == 2) {
            last[2] = text[2];
        }
        unsigned bits = get_group(last);
        if (bits == UINT32_MAX || bits << (8 + 8 * left) != 0) {
            return false;
        }
        put_bytes(out, bits, left);
    }
    return true;
}
