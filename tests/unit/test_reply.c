/*
 * test_reply.c - the reply writer: bytes of both protocols, going back,
 * pinned values on their way out.
 */
#include "reply.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

// clang-format off
#include <cmocka.h>
// clang-format on

/* The store is not linked: pins are counted here. */
static int pins_released;

void toon_value_release(toon_value *value) {
    if (value->pin)
        pins_released++;
    *value = (toon_value){0};
}

/* All that is to be sent, as one text, taken `step` bytes at a time. */
static char *sent(reply *r, size_t step, size_t *size) {
    char *text = malloc(reply_unsent(r) + 1);
    size_t at = 0;

    while (reply_unsent(r) > 0) {
        struct iovec vectors[3];
        size_t count = reply_iovecs(r, vectors, 3), left = step;

        assert_true(count > 0);
        for (size_t i = 0; i < count && left > 0; i++) {
            size_t part = vectors[i].iov_len < left ? vectors[i].iov_len : left;

            assert_true(vectors[i].iov_len > 0);
            memcpy(text + at, vectors[i].iov_base, part);
            at += part;
            left -= part;
        }
        reply_sent(r, step - left);
    }
    text[at] = '\0';
    *size = at;
    return text;
}

static void assert_sent(reply *r, const char *expected) {
    size_t size = 0;
    char *text = sent(r, SIZE_MAX, &size);

    assert_false(r->failed);
    assert_int_equal(size, strlen(expected));
    assert_string_equal(text, expected);
    free(text);
    reply_clear(r);
}

static void write_one_of_each(reply *r) {
    reply_ok(r);
    reply_simple(r, "PONG");
    reply_error(r, "ERR no");
    reply_integer(r, -42);
    reply_bulk(r, toon_bytes("a\0b", 3));
    reply_text(r, "");
    reply_bulk_number(r, INT64_MIN);
    reply_null(r);
    reply_null_array(r);
    reply_array(r, 0);
    reply_map(r, 1);
    reply_set(r, 2);
    reply_double(r, 1.5);
    reply_double(r, -INFINITY);
    reply_bool(r, true);
    reply_verbatim(r, "txt", toon_str("hi"));
}

static void assert_bytes(reply *r, const char *expected, size_t size) {
    assert_int_equal(r->size, size);
    assert_memory_equal(r->data, expected, size);
    reply_free(r);
}

static void each_type_has_its_bytes_in_resp2(void **state) {
    static const char expected[] =
        "+OK\r\n+PONG\r\n-ERR no\r\n:-42\r\n$3\r\na\0b\r\n$0\r\n\r\n"
        "$20\r\n-9223372036854775808\r\n$-1\r\n*-1\r\n*0\r\n*2\r\n*2\r\n"
        "$3\r\n1.5\r\n$4\r\n-inf\r\n:1\r\n$2\r\nhi\r\n";
    reply r;

    (void)state;
    reply_init(&r);
    write_one_of_each(&r);
    assert_int_equal(r.errors, 1);
    assert_bytes(&r, expected, sizeof expected - 1);
}

static void each_type_has_its_bytes_in_resp3(void **state) {
    static const char expected[] =
        "+OK\r\n+PONG\r\n-ERR no\r\n:-42\r\n$3\r\na\0b\r\n$0\r\n\r\n"
        "$20\r\n-9223372036854775808\r\n_\r\n_\r\n*0\r\n%1\r\n~2\r\n"
        ",1.5\r\n,-inf\r\n#t\r\n=6\r\ntxt:hi\r\n";
    reply r;

    (void)state;
    reply_init(&r);
    r.protocol = 3;
    write_one_of_each(&r);
    assert_bytes(&r, expected, sizeof expected - 1);
}

static void integers_have_their_digits(void **state) {
    static const int64_t numbers[] = {0, 9, 10, 99, 100, 101, INT64_MAX, -1};
    reply r;

    (void)state;
    reply_init(&r);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        char expected[32];

        snprintf(expected, sizeof expected, ":%lld\r\n", (long long)numbers[i]);
        reply_integer(&r, numbers[i]);
        assert_sent(&r, expected);
    }
    reply_free(&r);
}

static void line_ends_in_errors_become_spaces(void **state) {
    reply r;

    (void)state;
    reply_init(&r);
    reply_errorf(&r, "ERR unknown '%s'", "a\r\nb\n+OK\r\n");
    reply_errorf(&r, "ERR %s", "what\r\nnow\r\n\r\n");
    reply_simple(&r, "x\r\ny");
    assert_sent(&r, "-ERR unknown 'a  b +OK  '\r\n-ERR what  now\r\n"
                    "+x  y\r\n");
    reply_free(&r);
}

static void what_was_rewound_is_gone(void **state) {
    reply r;
    reply_mark mark;
    toon_value big = {
        .data = calloc(1, REPLY_PIN_MIN), .size = REPLY_PIN_MIN, .pin = &big};
    char *bytes = (char *)(uintptr_t)big.data;

    (void)state;
    pins_released = 0;
    reply_init(&r);
    reply_ok(&r);
    mark = reply_here(&r);
    reply_value(&r, &big);
    reply_integer(&r, 5);
    reply_rewind(&r, mark);
    assert_int_equal(pins_released, 1);
    assert_sent(&r, "+OK\r\n");
    reply_free(&r);
    free(bytes);
}

static void counts_go_in_front_of_what_they_count(void **state) {
    reply r;
    reply_mark outer, inner;

    (void)state;
    reply_init(&r);
    reply_ok(&r);
    outer = reply_here(&r);
    reply_text(&r, "a");
    inner = reply_here(&r);
    for (int i = 0; i < 12; i++)
        reply_integer(&r, i);
    reply_insert_count(&r, inner, '*', 12);
    reply_insert_bulk(&r, outer, toon_str("17"));
    reply_insert_count(&r, outer, '%', 1);
    assert_sent(&r, "+OK\r\n*2\r\n$2\r\n17\r\n$1\r\na\r\n*12\r\n:0\r\n:1\r\n"
                    ":2\r\n:3\r\n:4\r\n:5\r\n:6\r\n:7\r\n:8\r\n:9\r\n:10\r\n"
                    ":11\r\n");
    outer = reply_here(&r);
    reply_insert_count(&r, outer, '~', 0);
    assert_sent(&r, "*0\r\n");
    reply_free(&r);
}

/* A value that is pinned, of `size` letters. */
static toon_value pinned(char letter, size_t size) {
    char *bytes = malloc(size);

    memset(bytes, letter, size);
    return (toon_value){.data = bytes, .size = size, .pin = bytes};
}

static void values_are_pinned_from_their_limit_on(void **state) {
    toon_value small = pinned('s', REPLY_PIN_MIN - 1);
    toon_value large = pinned('l', REPLY_PIN_MIN);
    char *small_bytes = small.pin, *large_bytes = large.pin;
    reply r;

    (void)state;
    pins_released = 0;
    reply_init(&r);
    reply_value(&r, &small);
    assert_int_equal(pins_released, 1);
    assert_int_equal(r.pins_count, 0);
    reply_value(&r, &large);
    assert_int_equal(pins_released, 1);
    assert_int_equal(r.pins_count, 1);
    reply_free(&r);
    assert_int_equal(pins_released, 2);
    free(small_bytes);
    free(large_bytes);
}

static void pinned_values_leave_in_order_in_steps_of_any_size(void **state) {
    static const size_t steps[] = {1, 7, 1000, REPLY_PIN_MIN, 1 << 20};

    (void)state;
    for (size_t s = 0; s < sizeof steps / sizeof steps[0]; s++) {
        char *bytes[3], *text = NULL;
        size_t size = 0, one = REPLY_PIN_MIN;
        reply r;

        pins_released = 0;
        reply_init(&r);
        reply_ok(&r);
        for (int i = 0; i < 3; i++) {
            toon_value value = pinned((char)('a' + i), one);

            bytes[i] = value.pin;
            reply_value(&r, &value);
            if (i == 1)
                reply_integer(&r, 7);
        }
        text = sent(&r, steps[s], &size);
        assert_int_equal(pins_released, 3);
        assert_int_equal(size, 5 + 3 * (one + 10) + 4);
        assert_memory_equal(text, "+OK\r\n$16384\r\naaa", 16);
        assert_int_equal(text[5 + 8 + one - 1], 'a');
        assert_memory_equal(text + 5 + 8 + one, "\r\n$16384\r\nbbb", 13);
        assert_memory_equal(text + size - 3, "c\r\n", 3);
        assert_non_null(strstr(text, "b\r\n:7\r\n$16384\r\nc"));
        assert_int_equal(reply_unsent(&r), 0);
        reply_free(&r);
        free(text);
        for (int i = 0; i < 3; i++)
            free(bytes[i]);
    }
}

static void an_empty_writer_keeps_a_small_buffer_only(void **state) {
    reply r;

    (void)state;
    reply_init(&r);
    reply_ok(&r);
    reply_clear(&r);
    assert_non_null(r.data);
    for (size_t i = 0; i < REPLY_KEEP_BYTES; i++)
        reply_ok(&r);
    reply_clear(&r);
    assert_null(r.data);
    assert_int_equal(r.capacity, 0);
    reply_ok(&r);
    assert_sent(&r, "+OK\r\n");
    reply_free(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_type_has_its_bytes_in_resp2),
        cmocka_unit_test(each_type_has_its_bytes_in_resp3),
        cmocka_unit_test(integers_have_their_digits),
        cmocka_unit_test(line_ends_in_errors_become_spaces),
        cmocka_unit_test(what_was_rewound_is_gone),
        cmocka_unit_test(counts_go_in_front_of_what_they_count),
        cmocka_unit_test(values_are_pinned_from_their_limit_on),
        cmocka_unit_test(pinned_values_leave_in_order_in_steps_of_any_size),
        cmocka_unit_test(an_empty_writer_keeps_a_small_buffer_only),
    };

    return cmocka_run_group_tests_name("reply", tests, NULL, NULL);
}
