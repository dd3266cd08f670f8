/*
 * test_base64.c - the vectors of RFC 4648, and nothing but canonical text.
 *
 * Knows base64.h only.
 */
#include "base64.h"
#include "test_random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* cmocka.h needs what stands above. */
// clang-format off
#include <cmocka.h>

// clang-format on

static bool decodes(toon_slice text, char *out, size_t *size) {
    return toon_base64_decoded_size(text, size) &&
           toon_base64_decode(out, text);
}

static void the_vectors_of_the_rfc_hold_both_ways(void **state) {
    (void)state;
    static const char *const vectors[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xff\xd8\xff\xe0", "/9j/4A=="},
        {"\xfb\xef\xbe", "++++"},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        toon_slice bytes = toon_str(vectors[i][0]);
        toon_slice text = toon_str(vectors[i][1]);
        char out[16];
        size_t size = 99;
        assert_int_equal(toon_base64_size(bytes.size), text.size);
        toon_base64_encode(out, bytes);
        assert_memory_equal(out, text.data, text.size);
        assert_true(decodes(text, out, &size));
        assert_int_equal(size, bytes.size);
        assert_memory_equal(out, bytes.data, size);
    }
}

static void every_other_text_is_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "A",       "AA",   "AAA",      "AAAAA",    "=",        "==",
        "===",     "====", "A===",     "=AAA",     "A=AA",     "AA=A",
        "=A==",    "AAA!", "AA A",     "AA\n=",    "AAA-",     "AAA_",
        "Zh==",    "Zm9=", "Zm8=Zm9v", "Zg==Zg==", "AAAA====", "AAAAA===",
        "AAA\x80", "AA.=",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char out[16];
        size_t size = 0;
        assert_false(decodes(toon_str(wrong[i]), out, &size));
        assert_false(toon_base64_decode(out, toon_str(wrong[i])));
    }
    char out[4];
    assert_false(toon_base64_decode(out, toon_bytes("AA\0A", 4)));
}

/* Whatever is accepted is what the encoder writes for what comes out. */
static void four_characters_that_are_accepted_encode_again(void **state) {
    (void)state;
    static const char some[] = "AQgwZaz09+/=-\x80";
    size_t accepted = 0;
    for (size_t i = 0; i < 14 * 14 * 14 * 14; i++) {
        const char text[4] = {some[i % 14], some[i / 14 % 14],
                              some[i / 14 / 14 % 14], some[i / 14 / 14 / 14]};
        char out[3];
        char again[4];
        size_t size = 0;
        if (decodes(toon_bytes(text, 4), out, &size)) {
            toon_base64_encode(again, toon_bytes(out, size));
            assert_memory_equal(again, text, 4);
            accepted++;
        }
    }
    /* 11 digits; 4 of them end in four zero bits, 5 in two. */
    assert_int_equal(accepted, 11 * 11 * 11 * 11 + 11 * 11 * 5 + 11 * 4);
}

static void random_bytes_come_back(void **state) {
    (void)state;
    uint64_t seed = 0x5eed0003;
    print_message("seed %llx\n", (unsigned long long)seed);
    for (size_t size = 0; size < 500; size++) {
        char *bytes = malloc(size + 1);
        char *text = malloc(toon_base64_size(size) + 1);
        char *again = malloc(size + 1);
        assert_true(bytes != NULL && text != NULL && again != NULL);
        for (size_t i = 0; i < size; i++) {
            bytes[i] = (char)(unsigned char)random_next(&seed);
        }
        size_t text_size = toon_base64_size(size);
        text[text_size] = '#';
        again[size] = '#';
        toon_base64_encode(text, toon_bytes(bytes, size));
        size_t decoded = 0;
        assert_true(decodes(toon_bytes(text, text_size), again, &decoded));
        assert_int_equal(decoded, size);
        assert_memory_equal(again, bytes, size);
        assert_int_equal(text[text_size], '#');
        assert_int_equal(again[size], '#');
        free(bytes);
        free(text);
        free(again);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_the_rfc_hold_both_ways),
        cmocka_unit_test(every_other_text_is_refused),
        cmocka_unit_test(four_characters_that_are_accepted_encode_again),
        cmocka_unit_test(random_bytes_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
