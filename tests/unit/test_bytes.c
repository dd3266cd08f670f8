/*
 * test_bytes.c - buffers that grow and fail, slices in order, numbers.
 *
 * Knows bytes.h only.
 */
#include "bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* cmocka.h needs what stands above. */
// clang-format off
#include <cmocka.h>

// clang-format on

static void assert_text(toon_slice got, const char *want) {
    assert_int_equal(got.size, strlen(want));
    assert_memory_equal(got.data, want, got.size);
}

static void what_is_appended_stands_in_order(void **state) {
    (void)state;
    toon_buf buf = {0};
    toon_buf_append_str(&buf, "a=");
    toon_buf_append_u64(&buf, 42);
    toon_buf_append(&buf, NULL, 0);
    toon_buf_append_slice(&buf, toon_str(" b="));
    toon_buf_append_i64(&buf, -7);
    toon_buf_append_slice(&buf, toon_bytes(NULL, 0));
    assert_text(toon_buf_slice(&buf), "a=42 b=-7");
    assert_false(buf.failed);
    toon_buf_free(&buf);
    assert_null(buf.data);
    toon_buf_append_str(&buf, "again");
    assert_text(toon_buf_slice(&buf), "again");
    toon_buf_free(&buf);
}

static void a_buffer_grows_from_byte_to_byte(void **state) {
    (void)state;
    toon_buf buf = {0};
    for (size_t i = 0; i < 5000; i++) {
        char byte = (char)('a' + i % 26);
        toon_buf_append(&buf, &byte, 1);
        assert_int_equal(buf.size, i + 1);
        assert_true(buf.cap >= buf.size);
    }
    for (size_t i = 0; i < buf.size; i++) {
        assert_int_equal(buf.data[i], 'a' + i % 26);
    }
    toon_buf_free(&buf);
}

static void reserved_room_is_not_moved_again(void **state) {
    (void)state;
    toon_buf buf = {0};
    assert_true(toon_buf_reserve(&buf, 0));
    assert_true(toon_buf_reserve(&buf, 1000));
    const char *data = buf.data;
    for (size_t i = 0; i < 1000; i++) {
        toon_buf_append(&buf, "x", 1);
    }
    assert_ptr_equal(buf.data, data);
    assert_int_equal(buf.size, 1000);
    toon_buf_free(&buf);
}

static void a_size_that_overflows_fails_for_good(void **state) {
    (void)state;
    toon_buf buf = {0};
    toon_buf_append_str(&buf, "kept");
    assert_false(toon_buf_reserve(&buf, SIZE_MAX - 3));
    assert_true(buf.failed);
    assert_false(toon_buf_reserve(&buf, 1));
    toon_buf_append_str(&buf, "lost");
    toon_buf_append_u64(&buf, 1);
    assert_text(toon_buf_slice(&buf), "kept");
    toon_buf_free(&buf);
    assert_false(buf.failed);
    toon_buf_append_str(&buf, "new");
    assert_text(toon_buf_slice(&buf), "new");
    toon_buf_free(&buf);
}

static void slices_are_ordered_by_bytes_and_prefixes_come_first(void **state) {
    (void)state;
    static const char *const sorted[] = {"",     "\x01",  "a",       "a\x01",
                                         "aa",   "a\xff", "b",       "\x7f",
                                         "\x80", "\xff",  "\xff\xff"};

    enum { COUNT = sizeof sorted / sizeof *sorted };

    for (size_t i = 0; i < COUNT; i++) {
        for (size_t j = 0; j < COUNT; j++) {
            toon_slice a = toon_str(sorted[i]);
            toon_slice b = toon_str(sorted[j]);
            int order = toon_slice_compare(a, b);
            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
            assert_int_equal(toon_slice_equal(a, b), i == j);
        }
    }
    toon_slice none = toon_bytes(NULL, 0);
    assert_int_equal(toon_slice_compare(none, none), 0);
    assert_true(toon_slice_equal(none, toon_str("")));
    assert_true(toon_slice_compare(none, toon_str("a")) < 0);
}

static void numbers_are_written_as_they_are_read(void **state) {
    (void)state;
    uint64_t number = 1;
    for (unsigned i = 0; i < 20; i++, number *= 10) {
        const uint64_t near[] = {number - 1, number, number + 1,
                                 number * 2 + 3};
        for (size_t k = 0; k < 4; k++) {
            char digits[20];
            char want[24];
            size_t size = toon_format_u64(digits, near[k]);
            snprintf(want, sizeof want, "%llu", (unsigned long long)near[k]);
            assert_text(toon_bytes(digits, size), want);
            uint64_t again = ~near[k];
            assert_true(toon_parse_u64(toon_bytes(digits, size), &again));
            assert_int_equal(again, near[k]);
        }
    }
    toon_buf buf = {0};
    toon_buf_append_u64(&buf, UINT64_MAX);
    toon_buf_append_str(&buf, " ");
    toon_buf_append_i64(&buf, INT64_MIN);
    toon_buf_append_str(&buf, " ");
    toon_buf_append_i64(&buf, INT64_MAX);
    toon_buf_append_i64(&buf, 0);
    assert_text(toon_buf_slice(&buf),
                "18446744073709551615 -9223372036854775808 "
                "92233720368547758070");
    toon_buf_free(&buf);
}

static void only_plain_numbers_are_read(void **state) {
    (void)state;
    static const char *const wrong[] = {"",
                                        "00",
                                        "01",
                                        "-1",
                                        "+1",
                                        " 1",
                                        "1 ",
                                        "1.0",
                                        "0x1",
                                        "a",
                                        "1a",
                                        "18446744073709551616",
                                        "18446744073709551620",
                                        "20000000000000000000",
                                        "100000000000000000000",
                                        "99999999999999999999999999"};
    uint64_t number = 77;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_false(toon_parse_u64(toon_str(wrong[i]), &number));
        assert_int_equal(number, 77);
    }
    assert_false(toon_parse_u64(toon_bytes("1\0", 2), &number));
    assert_false(toon_parse_u64(toon_bytes(NULL, 0), &number));
    assert_true(toon_parse_u64(toon_str("0"), &number));
    assert_int_equal(number, 0);
    assert_true(toon_parse_u64(toon_str("18446744073709551615"), &number));
    assert_true(number == UINT64_MAX);
}

static void integers_lie_with_their_low_byte_first(void **state) {
    (void)state;
    char bytes[8];
    toon_put_u32(bytes, 0x81020304u);
    assert_memory_equal(bytes, "\x04\x03\x02\x81", 4);
    assert_int_equal(toon_get_u32(bytes), 0x81020304u);
    toon_put_u64(bytes, 0xf102030405060708u);
    assert_memory_equal(bytes, "\x08\x07\x06\x05\x04\x03\x02\xf1", 8);
    assert_true(toon_get_u64(bytes) == 0xf102030405060708u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_appended_stands_in_order),
        cmocka_unit_test(a_buffer_grows_from_byte_to_byte),
        cmocka_unit_test(reserved_room_is_not_moved_again),
        cmocka_unit_test(a_size_that_overflows_fails_for_good),
        cmocka_unit_test(slices_are_ordered_by_bytes_and_prefixes_come_first),
        cmocka_unit_test(numbers_are_written_as_they_are_read),
        cmocka_unit_test(only_plain_numbers_are_read),
        cmocka_unit_test(integers_lie_with_their_low_byte_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
