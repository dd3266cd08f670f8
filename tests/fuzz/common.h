/*
 * common.h - what the fuzz targets share: a check that stays in every build,
 * blocks of exact size, and a way to take an input apart.
 */
#ifndef TOON_FUZZ_COMMON_H
#define TOON_FUZZ_COMMON_H

#include "bytes.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(what)                                                            \
    do {                                                                       \
        if (!(what)) {                                                         \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);   \
            abort();                                                           \
        }                                                                      \
    } while (0)

/* The sanitizers see a byte too many in a block of exact size. */
static inline char *fuzz_block(size_t size) {
    char *bytes = malloc(size == 0 ? 1 : size);
    CHECK(bytes != NULL);
    return bytes;
}

static inline char *fuzz_copy(const void *data, size_t size) {
    char *bytes = fuzz_block(size);
    if (size > 0)
        memcpy(bytes, data, size);
    return bytes;
}

/* An input that is used up from its front; at its end come zeros. */
typedef struct fuzz_input {
    const uint8_t *at;
    size_t left;
} fuzz_input;

static inline uint8_t fuzz_byte(fuzz_input *input) {
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

static inline fuzz_input fuzz_take(fuzz_input *input, size_t size) {
    size_t taken = size < input->left ? size : input->left;
    fuzz_input part = {input->at, taken};
    input->at += taken;
    input->left -= taken;
    return part;
}

#endif
