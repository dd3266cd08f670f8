/*
 * fuzz_resp.c - any bytes as a stream of requests: whole, and one byte more at
 * a time. Both must give the same requests, in bounds, and the same end.
 *
 * Knows resp.h; build it with -fsanitize=fuzzer,address,undefined, or with
 * driver.c.
 */
#include "resp.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(what)                                                            \
    do {                                                                       \
        if (!(what)) {                                                         \
            (void)fprintf(stderr, "line %d: %s\n", __LINE__, #what);           \
            abort();                                                           \
        }                                                                      \
    } while (0)

enum { BULK_MAX = 1000 };

/* What a stream came to. */
struct outcome {
    size_t requests;
    uint64_t sum; /* of every argument's bytes and length */
    bool bad;
};

static void add_request(struct outcome *outcome, const resp *parser) {
    outcome->requests++;
    for (size_t i = 0; i < parser->argc; i++) {
        toon_slice arg = parser->argv[i];
        outcome->sum = outcome->sum * 31 + arg.size;
        for (size_t b = 0; b < arg.size; b++)
            outcome->sum = outcome->sum * 31 + (unsigned char)arg.data[b];
    }
}

/* A parser that is given `step` more bytes whenever it wants more. */
static struct outcome parse(const char *data, size_t size, size_t step) {
    struct outcome outcome = {0};
    resp parser;
    size_t start = 0;
    size_t there = step < size ? step : size;
    resp_init(&parser, BULK_MAX);
    while (start < size) {
        size_t used = 0;
        resp_outcome result =
            resp_parse(&parser, toon_bytes(data + start, there - start), &used);
        if (result == RESP_DONE) {
            CHECK(used > 0 && used <= there - start);
            add_request(&outcome, &parser);
            start += used;
            continue;
        }
        outcome.bad = result == RESP_BAD;
        if (outcome.bad || there == size)
            break;
        there = there + step < size ? there + step : size;
    }
    resp_free(&parser);
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct outcome whole = parse((const char *)data, size, size + 1);
    struct outcome pieces = parse((const char *)data, size, 1);
    CHECK(whole.requests == pieces.requests && whole.sum == pieces.sum);
    CHECK(whole.bad == pieces.bad);
    return 0;
}
