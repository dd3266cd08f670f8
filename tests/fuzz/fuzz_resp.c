/*
 * fuzz_resp.c - any bytes as a stream of requests.
 *
 * Knows the parser; build it with -fsanitize=fuzzer,address,undefined.
 *
 * The first byte chooses in which pieces the rest arrives. The requests must
 * be the same as if it had come at once.
 */
#include "common.h"
#include "resp.h"

/* What a stream came to: its requests, mixed into a number, and its end. */
typedef struct outcome {
    uint64_t digest;
    size_t requests, used;
    resp_outcome end;
} outcome;

static void mix(outcome *o, const char *bytes, size_t size) {
    o->digest = (o->digest ^ size) * UINT64_C(1099511628211);
    for (size_t i = 0; i < size; i++)
        o->digest =
            (o->digest ^ (unsigned char)bytes[i]) * UINT64_C(1099511628211);
}

static resp_outcome parse_copy(resp *p, const uint8_t *bytes, size_t size,
                               outcome *o, size_t *used) {
    char *copy = fuzz_copy(bytes, size);
    resp_outcome end;

    end = resp_parse(p, toon_bytes(copy, size), used);
    for (size_t i = 0; end == RESP_DONE && i < p->argc; i++)
        mix(o, p->argv[i].data, p->argv[i].size);
    if (end == RESP_DONE) {
        CHECK(*used > 0 && *used <= size);
        o->digest += p->argc;
    }
    if (end == RESP_MORE && size > 0)
        CHECK(resp_wanted(p) > size);
    free(copy);
    return end;
}

static outcome run(const uint8_t *data, size_t size, size_t piece) {
    outcome o = {.end = RESP_MORE};
    size_t have = 0;
    resp p;

    resp_init(&p, 1 << 20);
    while (have < size && o.end != RESP_BAD) {
        size_t used = 0;

        have = have + piece < size ? have + piece : size;
        do {
            used = 0;
            o.end = parse_copy(&p, data + o.used, have - o.used, &o, &used);
            if (o.end == RESP_DONE) {
                o.used += used;
                o.requests++;
            }
        } while (o.end == RESP_DONE);
    }
    resp_free(&p);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    outcome whole, pieces;

    if (size < 2)
        return 0;
    whole = run(data + 1, size - 1, size);
    pieces = run(data + 1, size - 1, data[0] % 40 + 1u);
    CHECK(whole.requests == pieces.requests);
    CHECK(whole.digest == pieces.digest);
    CHECK(whole.end == pieces.end);
    return 0;
}
