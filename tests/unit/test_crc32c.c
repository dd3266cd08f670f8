/*
 * test_crc32c.c - the published check values, and the two twins compared.
 *
 * Knows crc32c.h only.
 */
#include "crc32c.h"
#include "test_random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* cmocka.h needs what stands above. */
// clang-format off
#include <cmocka.h>
// clang-format on

typedef uint32_t crc_fn(uint32_t crc, const void *data, size_t size);

static crc_fn *const twins[] = {toon_crc32c, toon_crc32c_portable};

enum { TWINS = sizeof twins / sizeof *twins };

/* RFC 3720, appendix B.4, and the usual check value. */
static void published_values_come_out(void **state) {
    (void)state;
    unsigned char bytes[32];
    for (size_t i = 0; i < TWINS; i++) {
        memset(bytes, 0, sizeof bytes);
        assert_int_equal(twins[i](0, bytes, 32), 0x8a9136aau);
        memset(bytes, 0xff, sizeof bytes);
        assert_int_equal(twins[i](0, bytes, 32), 0x62a8ab43u);
        for (unsigned k = 0; k < 32; k++) {
            bytes[k] = (unsigned char)k;
        }
        assert_int_equal(twins[i](0, bytes, 32), 0x46dd794eu);
        for (unsigned k = 0; k < 32; k++) {
            bytes[k] = (unsigned char)(31 - k);
        }
        assert_int_equal(twins[i](0, bytes, 32), 0x113fdb5cu);
        assert_int_equal(twins[i](0, "123456789", 9), 0xe3069283u);
    }
}

/* The definition, bit by bit. */
static uint32_t crc_by_bits(uint32_t crc, const unsigned char *in,
                            size_t size) {
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= in[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
        }
    }
    return ~crc;
}

static void nothing_changes_nothing(void **state) {
    (void)state;
    for (size_t i = 0; i < TWINS; i++) {
        assert_int_equal(twins[i](0, NULL, 0), 0);
        assert_int_equal(twins[i](0x12345678u, "", 0), 0x12345678u);
    }
}

/* Exact heap blocks, so that a byte read past the end is seen. */
static void both_twins_are_the_definition_at_every_length(void **state) {
    (void)state;
    uint64_t seed = 0x5eed0001;
    print_message("seed %llx\n", (unsigned long long)seed);
    for (size_t size = 1; size < 2200; size += size < 1200 ? 1 : 37) {
        size_t skew = random_below(&seed, 8);
        unsigned char *bytes = malloc(size + skew);
        assert_non_null(bytes);
        for (size_t i = 0; i < size + skew; i++) {
            bytes[i] = (unsigned char)random_next(&seed);
        }
        uint32_t start = (uint32_t)random_next(&seed);
        uint32_t want = crc_by_bits(start, bytes + skew, size);
        for (size_t i = 0; i < TWINS; i++) {
            assert_int_equal(twins[i](start, bytes + skew, size), want);
        }
        free(bytes);
    }
}

static void a_crc_goes_on_where_it_stopped(void **state) {
    (void)state;
    uint64_t seed = 0x5eed0002;
    print_message("seed %llx\n", (unsigned long long)seed);
    unsigned char bytes[3000];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)random_next(&seed);
    }
    for (size_t i = 0; i < TWINS; i++) {
        uint32_t whole = twins[i](0, bytes, sizeof bytes);
        for (unsigned k = 0; k < 200; k++) {
            size_t cut = random_below(&seed, sizeof bytes + 1);
            uint32_t crc = twins[i](0, bytes, cut);
            crc = twins[i](crc, bytes + cut, sizeof bytes - cut);
            assert_int_equal(crc, whole);
        }
    }
}

/* Random bytes in a heap block of their own. */
static unsigned char *random_block(uint64_t *seed, size_t size) {
    unsigned char *bytes = malloc(size + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (unsigned char)random_next(seed);
    }
    return bytes;
}

static void going_back_leads_to_where_it_began(void **state) {
    (void)state;
    uint64_t seed = 0x5eed0003;
    for (size_t size = 0; size < 300; size++) {
        unsigned char *bytes = random_block(&seed, size);
        uint32_t start = (uint32_t)random_next(&seed);
        uint32_t crc = toon_crc32c(start, bytes, size);
        assert_int_equal(toon_crc32c_back(crc, bytes, size), start);
        free(bytes);
    }
}

static void the_start_of_what_a_crc_is_of_is_found(void **state) {
    (void)state;
    uint64_t seed = 0x5eed0004;
    for (size_t size = 2; size < 300; size++) {
        unsigned char *bytes = random_block(&seed, size);
        uint32_t start = (uint32_t)random_next(&seed);
        size_t at = random_below(&seed, size);
        uint32_t crc = toon_crc32c(start, bytes + at, size - at);
        assert_int_equal(toon_crc32c_find_start(start, crc, bytes, size), at);
        assert_int_equal(toon_crc32c_find_start(start, crc ^ 1, bytes, size),
                         SIZE_MAX);
        free(bytes);
    }
}

static void one_wrong_byte_betrays_itself(void **state) {
    (void)state;
    uint64_t seed = 0x5eed0005;
    for (size_t size = 1; size < 300; size++) {
        unsigned char *bytes = random_block(&seed, size);
        uint32_t start = (uint32_t)random_next(&seed);
        uint32_t crc = toon_crc32c(start, bytes, size);
        size_t at = random_below(&seed, size);
        unsigned char change = (unsigned char)(1 + random_below(&seed, 255));
        unsigned char told = 0;
        bytes[at] ^= change;
        uint32_t wrong_by = crc ^ toon_crc32c(start, bytes, size);
        assert_int_equal(toon_crc32c_find_byte(wrong_by, size, &told), at);
        assert_int_equal(told, change);
        free(bytes);
    }
    unsigned char told = 0;
    assert_int_equal(toon_crc32c_find_byte(0x12345678, 40, &told), SIZE_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_values_come_out),
        cmocka_unit_test(nothing_changes_nothing),
        cmocka_unit_test(both_twins_are_the_definition_at_every_length),
        cmocka_unit_test(a_crc_goes_on_where_it_stopped),
        cmocka_unit_test(going_back_leads_to_where_it_began),
        cmocka_unit_test(the_start_of_what_a_crc_is_of_is_found),
        cmocka_unit_test(one_wrong_byte_betrays_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
