/*
 * test_random.h - random bytes that are the same in every run, for the tests
 * of the codec.
 *
 * Knows nothing of what is tested.
 */
#ifndef TEST_RANDOM_H
#define TEST_RANDOM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* xorshift64; the seed is not 0. */
static inline uint64_t random_next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline size_t random_below(uint64_t *state, size_t limit) {
    return (size_t)(random_next(state) >> 11) % limit;
}

/*
 * Pieces that quoting and escaping care about, glued together until `size` is
 * reached or the next one does not fit; now and then a byte of any value, if
 * `any`. Returns the size.
 */
static inline size_t random_text(uint64_t *state, char *out, size_t size,
                                 int any) {
    static const char *const pieces[] = {
        "a",          "Z",       "_",
        ".",          "7",       "42",
        "-",          "+",       "e",
        "#",          " ",       "\t",
        "\n",         "\r",      "\\",
        "\"",         ",",       ":",
        "[",          "]",       "{",
        "}",          "|",       "true",
        "null",       "\x01",    "\x1f",
        "\x7f",       "\u00e9",  "\u6f22",
        "\U0001f600", "base64:", "plain words and nothing else ",
    };

    enum { KINDS = sizeof pieces / sizeof *pieces };

    size_t used = 0;
    while (used < size) {
        size_t kind = random_below(state, KINDS + 2);
        char byte = (char)(unsigned char)random_next(state);
        const char *piece = kind < KINDS ? pieces[kind] : &byte;
        size_t more = kind < KINDS ? strlen(piece) : 1;
        if (kind >= KINDS) {
            byte = kind == KINDS || !any ? 0 : byte;
        }
        if (more > size - used) {
            break;
        }
        memcpy(out + used, piece, more);
        used += more;
    }
    return used;
}

#endif
