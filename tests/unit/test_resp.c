/*
 * test_resp.c - the request parser: whole streams, streams in pieces, hostile
 * ones.
 */
#include "resp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

// clang-format off
#include <cmocka.h>
// clang-format on

#define BULK_MAX ((int64_t)512 * 1024 * 1024)
#define SEED     20240611u

static resp_outcome parse(resp *p, const char *bytes, size_t size,
                          size_t *used) {
    return resp_parse(p, toon_bytes(bytes, size), used);
}

/* The stream is refused with this text, whole and byte by byte. */
static void assert_refused_as(resp *p, const char *bytes, size_t size,
                              const char *text) {
    size_t used = 0, at = 1;
    resp_outcome outcome = RESP_MORE;

    while (at <= size && outcome == RESP_MORE)
        outcome = parse(p, bytes, at++, &used);
    assert_int_equal(outcome, RESP_BAD);
    assert_string_equal(p->error, text);
}

static void refused(const char *stream, const char *text) {
    resp p;
    size_t used = 0;
    char expected[RESP_ERROR_TEXT];

    snprintf(expected, sizeof expected, "Protocol error: %s", text);
    resp_init(&p, BULK_MAX);
    assert_int_equal(parse(&p, stream, strlen(stream), &used), RESP_BAD);
    assert_string_equal(p.error, expected);
    resp_free(&p);
    assert_refused_as(&p, stream, strlen(stream), expected);
    resp_free(&p);
}

static void assert_arg(const resp *p, size_t at, const char *text) {
    assert_true(at < p->argc);
    assert_int_equal(p->argv[at].size, strlen(text));
    assert_memory_equal(p->argv[at].data, text, strlen(text));
}

static void multibulk_requests_give_their_arguments(void **state) {
    static const char stream[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\nrest";
    resp p;
    size_t used = 0;

    (void)state;
    resp_init(&p, BULK_MAX);
    assert_int_equal(parse(&p, stream, sizeof stream - 1, &used), RESP_DONE);
    assert_int_equal(used, sizeof stream - 1 - 4);
    assert_int_equal(p.argc, 3);
    assert_arg(&p, 0, "SET");
    assert_arg(&p, 1, "k");
    assert_arg(&p, 2, "");
    /* borrowed, not copied */
    assert_ptr_equal(p.argv[0].data, stream + 8);
    resp_free(&p);
}

static void inline_requests_follow_the_quoting_rules(void **state) {
    static const char stream[] =
        "  set  'a \\'b'\t\"x\\x41\\n\\\"\\q\\x4\" \"\" plain\"mid\"\r\n";
    resp p;
    size_t used = 0;

    (void)state;
    resp_init(&p, BULK_MAX);
    assert_int_equal(parse(&p, stream, sizeof stream - 1, &used), RESP_DONE);
    assert_int_equal(used, sizeof stream - 1);
    assert_int_equal(p.argc, 5);
    assert_arg(&p, 0, "set");
    assert_arg(&p, 1, "a 'b");
    assert_arg(&p, 2, "xA\n\"qx4");
    assert_arg(&p, 3, "");
    assert_arg(&p, 4, "plainmid");
    resp_free(&p);
}

static void empty_requests_are_done_with_no_arguments(void **state) {
    static const char *const streams[] = {"\r\n",   "\n",      "  \r\n",
                                          "*0\r\n", "*-1\r\n", "*-7\r\n"};

    (void)state;
    for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++) {
        size_t size = strlen(streams[i]), used = 0;
        resp p;

        resp_init(&p, BULK_MAX);
        assert_int_equal(parse(&p, streams[i], size, &used), RESP_DONE);
        assert_int_equal(p.argc, 0);
        assert_int_equal(used, size);
        resp_free(&p);
    }
}

static void malformed_requests_get_the_texts_of_redis(void **state) {
    (void)state;
    refused("*x\r\n", "invalid multibulk length");
    refused("*\r\n", "invalid multibulk length");
    refused("*01\r\n", "invalid multibulk length");
    refused("*1048577\r\n", "invalid multibulk length");
    refused("*99999999999999999999\r\n", "invalid multibulk length");
    refused("*1\r\n$x\r\n", "invalid bulk length");
    refused("*1\r\n$\r\n", "invalid bulk length");
    refused("*1\r\n$-1\r\n", "invalid bulk length");
    refused("*1\r\n$536870913\r\n", "invalid bulk length");
    refused("*1\r\n:1\r\n", "expected '$', got ':'");
    refused("*1\r\n\r\n", "expected '$', got '\r'");
    refused("*2\r\n$1\r\na\r\nGET\r\n", "expected '$', got 'G'");
    refused("get \"x\r\n", "unbalanced quotes in request");
    refused("get 'x\r\n", "unbalanced quotes in request");
    refused("get \"x\"y\r\n", "unbalanced quotes in request");
}

static void the_largest_count_and_bulk_are_not_refused(void **state) {
    static const char *const streams[] = {"*1048576\r\n",
                                          "*1\r\n$536870912\r\n"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        size_t used = 0;
        resp p;

        resp_init(&p, BULK_MAX);
        assert_int_equal(parse(&p, streams[i], strlen(streams[i]), &used),
                         RESP_MORE);
        /* An announcement alone reserves nothing. */
        assert_true(p.capacity < 100);
        resp_free(&p);
    }
}

static void guests_have_limits_of_their_own(void **state) {
    static const struct {
        const char *stream, *error; /* NULL: more */
    } cases[] = {
        {"*10\r\n", NULL},
        {"*11\r\n", "Protocol error: unauthenticated multibulk length"},
        {"*1\r\n$16384\r\n", NULL},
        {"*1\r\n$16385\r\n", "Protocol error: unauthenticated bulk length"},
    };

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        size_t used = 0;
        resp p;

        resp_init(&p, BULK_MAX);
        p.guest = true;
        assert_int_equal(
            parse(&p, cases[i].stream, strlen(cases[i].stream), &used),
            cases[i].error ? RESP_BAD : RESP_MORE);
        if (cases[i].error)
            assert_string_equal(p.error, cases[i].error);
        resp_free(&p);
    }
}

/* A line of `size` bytes after `prefix`, without an end. */
static void long_line(const char *prefix, const char *error) {
    size_t fixed = strlen(prefix), size = fixed + RESP_LINE_MAX + 2;
    char *line = malloc(size), expected[RESP_ERROR_TEXT];
    size_t used = 0, start = prefix[0] == '*' && fixed > 1 ? fixed - 1 : 0;
    resp p;

    snprintf(expected, sizeof expected, "Protocol error: %s", error);
    memset(line, '1', size);
    memcpy(line, prefix, fixed);
    resp_init(&p, BULK_MAX);
    assert_int_equal(parse(&p, line, start + RESP_LINE_MAX, &used), RESP_MORE);
    assert_int_equal(parse(&p, line, start + RESP_LINE_MAX + 1, &used),
                     RESP_BAD);
    assert_string_equal(p.error, expected);
    resp_free(&p);
    free(line);
}

static void endless_lines_are_refused_at_their_limit(void **state) {
    (void)state;
    long_line("1", "too big inline request");
    long_line("*", "too big mbulk count string");
    long_line("*1\r\n$", "too big bulk count string");
}

/* Parses `stream` in pieces, moving the buffer each time; appends what the
 * requests are to `log`. */
static void parse_in_pieces(const char *stream, size_t size, size_t piece,
                            char *log) {
    size_t start = 0, have = 0, used = 0;
    resp p;

    resp_init(&p, BULK_MAX);
    while (have < size) {
        have = have + piece < size ? have + piece : size;
        for (;;) {
            size_t left = have - start;
            char *copy = malloc(left + 1); /* of its exact size, for ASan */
            resp_outcome outcome;

            memcpy(copy, stream + start, left);
            outcome = parse(&p, copy, left, &used);
            assert_int_not_equal(outcome, RESP_BAD);
            for (size_t i = 0; outcome == RESP_DONE && i < p.argc; i++)
                log +=
                    sprintf(log, "[%.*s]", (int)p.argv[i].size, p.argv[i].data);
            if (outcome == RESP_DONE)
                log += sprintf(log, ";");
            free(copy);
            if (outcome == RESP_MORE)
                break;
            start += used;
        }
    }
    assert_int_equal(start, size);
    resp_free(&p);
}

static void a_pipeline_in_pieces_of_any_size_is_the_same(void **state) {
    static const char stream[] =
        "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nva\r\nl\r\nPING\r\n"
        "*1\r\n$4\r\nPING\r\nset 'a b' \"c\\x41\"\n*0\r\n\r\n"
        "*2\r\n$4\r\nECHO\r\n$12\r\n*1\r\n$4\r\nPING\r\n"
        "*4\r\n$1\r\na\r\n$0\r\n\r\n$2\r\n\r\n\r\n$1\r\nz\r\nQUIT\r\n";
    char whole[1024] = "", log[1024];

    (void)state;
    parse_in_pieces(stream, sizeof stream - 1, sizeof stream, whole);
    assert_non_null(strstr(whole, "[SET][key][va\r\nl];[PING];[PING];"
                                  "[set][a b][cA];;;[ECHO]"));
    for (size_t piece = 1; piece < sizeof stream; piece++) {
        log[0] = '\0';
        parse_in_pieces(stream, sizeof stream - 1, piece, log);
        assert_string_equal(log, whole);
    }
}

static void a_request_split_once_at_each_byte_is_the_same(void **state) {
    static const char stream[] =
        "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$10\r\n0123456789\r\n";
    size_t size = sizeof stream - 1, used = 0;

    (void)state;
    for (size_t at = 1; at < size; at++) {
        char *first = malloc(at), *second = malloc(size);
        resp p;

        memcpy(first, stream, at);
        memcpy(second, stream, size);
        resp_init(&p, BULK_MAX);
        assert_int_equal(parse(&p, first, at, &used), RESP_MORE);
        assert_true(resp_wanted(&p) > at);
        assert_true(resp_wanted(&p) <= size);
        free(first);
        assert_int_equal(parse(&p, second, size, &used), RESP_DONE);
        assert_int_equal(used, size);
        assert_arg(&p, 1, "key");
        assert_arg(&p, 2, "0123456789");
        resp_free(&p);
        free(second);
    }
}

static void bytes_of_any_value_come_through(void **state) {
    char stream[300] = "*1\r\n$256\r\n";
    size_t size = strlen(stream), used = 0;
    resp p;

    (void)state;
    for (int byte = 0; byte < 256; byte++)
        stream[size + (size_t)byte] = (char)byte;
    memcpy(stream + size + 256, "\r\n", 2);
    resp_init(&p, BULK_MAX);
    assert_int_equal(parse(&p, stream, size + 258, &used), RESP_DONE);
    for (int byte = 0; byte < 256; byte++)
        assert_int_equal((unsigned char)p.argv[0].data[byte], byte);
    resp_free(&p);
}

static uint32_t next_random(uint32_t *seed) {
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Feeds a stream until it is used up or refused; arguments stay inside. */
static void survive(const char *stream, size_t size) {
    size_t start = 0, used = 0;
    resp p;

    resp_init(&p, BULK_MAX);
    while (start < size) {
        char *copy = malloc(size - start);
        resp_outcome outcome;

        memcpy(copy, stream + start, size - start);
        outcome = parse(&p, copy, size - start, &used);
        for (size_t i = 0; outcome == RESP_DONE && i < p.argc; i++)
            for (size_t j = 0; j < p.argv[i].size; j++)
                used += p.argv[i].data[j] & 0 ? 1u : 0u;
        free(copy);
        if (outcome != RESP_DONE)
            break;
        assert_in_range(used, 1, size - start);
        start += used;
    }
    resp_free(&p);
}

static void random_streams_never_harm(void **state) {
    static const char alphabet[] = "*$0123456789-\r\n\r\n\"'\\x aZ\0";
    uint32_t seed = SEED;
    char stream[200];

    (void)state;
    print_message("seed %u\n", SEED);
    for (int round = 0; round < 200000; round++) {
        size_t size = 1 + next_random(&seed) % sizeof stream;
        bool wild = next_random(&seed) % 4 == 0;

        for (size_t i = 0; i < size; i++)
            stream[i] =
                wild ? (char)next_random(&seed)
                     : alphabet[next_random(&seed) % (sizeof alphabet - 1)];
        if (next_random(&seed) % 2)
            stream[0] = '*';
        survive(stream, size);
    }
}

static void many_arguments_arrive_in_small_reads(void **state) {
    enum { ARGS = 50000 };

    char *stream = malloc(64 + ARGS * 16), *at = stream;
    size_t size = 0, have = 0, used = 0;
    resp_outcome outcome = RESP_MORE;
    resp p;

    (void)state;
    at += sprintf(at, "*%d\r\n", ARGS);
    for (int i = 0; i < ARGS; i++)
        at += sprintf(at, "$5\r\n%05d\r\n", i);
    size = (size_t)(at - stream);
    resp_init(&p, BULK_MAX);
    while (outcome == RESP_MORE && have < size) {
        have = have + 1000 < size ? have + 1000 : size;
        outcome = parse(&p, stream, have, &used);
    }
    assert_int_equal(outcome, RESP_DONE);
    assert_int_equal(p.argc, ARGS);
    assert_arg(&p, 0, "00000");
    assert_arg(&p, ARGS - 1, "49999");
    resp_free(&p);
    free(stream);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(multibulk_requests_give_their_arguments),
        cmocka_unit_test(inline_requests_follow_the_quoting_rules),
        cmocka_unit_test(empty_requests_are_done_with_no_arguments),
        cmocka_unit_test(malformed_requests_get_the_texts_of_redis),
        cmocka_unit_test(the_largest_count_and_bulk_are_not_refused),
        cmocka_unit_test(guests_have_limits_of_their_own),
        cmocka_unit_test(endless_lines_are_refused_at_their_limit),
        cmocka_unit_test(a_pipeline_in_pieces_of_any_size_is_the_same),
        cmocka_unit_test(a_request_split_once_at_each_byte_is_the_same),
        cmocka_unit_test(bytes_of_any_value_come_through),
        cmocka_unit_test(random_streams_never_harm),
        cmocka_unit_test(many_arguments_arrive_in_small_reads),
    };

    return cmocka_run_group_tests_name("resp", tests, NULL, NULL);
}
