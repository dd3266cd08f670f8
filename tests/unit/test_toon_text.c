/*
 * test_toon_text.c - strings as cells and keys, against the reference
 * implementation's own text, and the vector code against its scalar twin.
 *
 * Knows toon_text.h, and text_escape.h for the twins.
 */
#include "test_random.h"
#include "text_escape.h"
#include "toon_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* cmocka.h needs what stands above. */
// clang-format off
#include <cmocka.h>

// clang-format on

typedef struct example {
    toon_slice value;
    const char *cell;
    const char *key;
} example;

#define STRING(value, cell, key) {{(value), sizeof(value) - 1}, (cell), (key)},

static const example examples[] = {
#include "data/toon_strings.inc"
};

enum { EXAMPLES = sizeof examples / sizeof *examples };

/* Heap blocks of exact size, so that a byte read or written past the end is
 * seen by the sanitizers. */
static char *exact_copy(toon_slice bytes) {
    char *copy = malloc(bytes.size + (bytes.size == 0));
    assert_non_null(copy);
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return copy;
}

static void assert_encodes(toon_slice value, toon_text_shape shape,
                           const char *want) {
    assert_true(shape.utf8);
    assert_int_equal(shape.encoded_size, strlen(want));
    assert_int_equal(shape.quoted, want[0] == '"');
    char *text = malloc(shape.encoded_size + 1);
    assert_non_null(text);
    text[shape.encoded_size] = '\0';
    toon_text_encode(text, value, shape);
    assert_string_equal(text, want);
    free(text);
}

static void assert_decodes(toon_slice text, toon_slice want) {
    char *copy = exact_copy(text);
    size_t size = 0;
    toon_slice exact = toon_bytes(copy, text.size);
    assert_true(toon_text_decoded_size(exact, &size));
    assert_int_equal(size, want.size);
    char *out = malloc(size + 1);
    assert_non_null(out);
    out[size] = '#';
    assert_true(toon_text_decode(out, exact));
    assert_true(toon_slice_equal(toon_bytes(out, size), want));
    assert_int_equal(out[size], '#');
    assert_true(toon_text_equals(exact, want));
    free(out);
    free(copy);
}

static void strings_are_written_as_the_reference_writes_them(void **state) {
    (void)state;
    assert_true(EXAMPLES > 100);
    for (size_t i = 0; i < EXAMPLES; i++) {
        toon_slice value = examples[i].value;
        assert_encodes(value, toon_text_cell_shape(value), examples[i].cell);
        assert_encodes(value, toon_text_cell_shape_portable(value),
                       examples[i].cell);
        assert_encodes(value, toon_text_key_shape(value), examples[i].key);
    }
}

static void what_the_reference_writes_is_read_back(void **state) {
    (void)state;
    for (size_t i = 0; i < EXAMPLES; i++) {
        toon_slice cell = toon_str(examples[i].cell);
        toon_slice key = toon_str(examples[i].key);
        assert_decodes(cell, examples[i].value);
        assert_decodes(key, examples[i].value);
        assert_true(toon_text_cell_is_canonical(cell));
        assert_true(toon_text_key_is_canonical(key));
    }
}

static void every_escape_that_toon_knows_is_read(void **state) {
    (void)state;
    static const char *const escapes[][2] = {
        {"\"\\\\\"", "\\"},
        {"\"\\\"\"", "\""},
        {"\"\\n\\r\\t\"", "\n\r\t"},
        {"\"\\u0041\\u00E9\\u00e9\"", "A\u00e9\u00e9"},
        {"\"\\u007f\\u0080\\u07ff\"", "\x7f\xc2\x80\xdf\xbf"},
        {"\"\\u0800\\ud7ff\\ue000\\uFFFF\"",
         "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"},
        {"\"a\\nb\\nc\"", "a\nb\nc"},
        {"\"\\\\n\"", "\\n"},
        {"plain", "plain"},
        {"", ""},
        {"\"\"", ""},
    };
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
        assert_decodes(toon_str(escapes[i][0]), toon_str(escapes[i][1]));
    }
    assert_decodes(toon_str("\"\\u0000\""), toon_bytes("", 1));
}

static void wrong_texts_are_refused_by_all_who_read(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "\"",          "\"a",         "a\"",          "a\"b",
        "a\\b",        "\\n",         "\"a\"b\"",     "\"\"\"",
        "\"\\\"",      "\"\\",        "\"a\\",        "\"\\x\"",
        "\"\\b\"",     "\"\\f\"",     "\"\\/\"",      "\"\\N\"",
        "\"\\u\"",     "\"\\u1\"",    "\"\\u12\"",    "\"\\u123\"",
        "\"\\u123g\"", "\"\\u 123\"", "\"\\ud800\"",  "\"\\uDFFF\"",
        "\"\\U0041\"", "\"\\\\\"\"",  "\"\\n\"\\n\"", "\"\\u00+1\"",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        toon_slice text = toon_str(wrong[i]);
        char *copy = exact_copy(text);
        toon_slice exact = toon_bytes(copy, text.size);
        char out[32];
        size_t size = 77;
        assert_false(toon_text_decoded_size(exact, &size));
        assert_int_equal(size, 77);
        assert_false(toon_text_decode(out, exact));
        assert_false(toon_text_equals(exact, toon_str("")));
        assert_false(toon_text_cell_is_canonical(exact));
        assert_false(toon_text_key_is_canonical(exact));
        free(copy);
    }
    toon_slice nul = toon_bytes("\"\\\0\"", 4);
    assert_false(toon_text_equals(nul, toon_str("")));
}

/* Readable, but not what the encoder would write. */
static void only_one_text_of_a_string_is_canonical(void **state) {
    (void)state;
    static const char *const cells[] = {
        "",
        "\"a\"",
        "\"\\u0041\"",
        "\"\\u000a\"",
        "\"\\u001F\"",
        "\"\\u007f\"",
        "\"\\u00e9\"",
        "\"\\u0022\"",
        "42",
        "true",
        " a",
        "a,b",
        "\"\t\"",
        "\"\x01,\"",
        "\"\\n\x1f\"",
        "\xff",
        "\"\xff,\"",
        "\"\\n\xc3\"",
        "\"\xc3\\n\xa9\"",
    };
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        assert_false(toon_text_cell_is_canonical(toon_str(cells[i])));
    }
    static const char *const keys[] = {
        "", "\"a\"", "a-b", "9", ".a", "\u00e9", "\"\\u0041b\"", "\"\xff\"",
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        assert_false(toon_text_key_is_canonical(toon_str(keys[i])));
    }
    assert_true(toon_text_cell_is_canonical(toon_str("\"\\u001f\"")));
    assert_true(toon_text_key_is_canonical(toon_str("\"a-b\"")));
}

static void a_text_equals_its_string_and_no_other(void **state) {
    (void)state;
    toon_slice text = toon_str("\"a\\nbc\"");
    assert_true(toon_text_equals(text, toon_str("a\nbc")));
    assert_false(toon_text_equals(text, toon_str("a\nb")));
    assert_false(toon_text_equals(text, toon_str("a\nbcd")));
    assert_false(toon_text_equals(text, toon_str("a\nbd")));
    assert_false(toon_text_equals(text, toon_str("a")));
    assert_false(toon_text_equals(text, toon_str("")));
    assert_false(toon_text_equals(text, toon_bytes(NULL, 0)));
    assert_true(toon_text_equals(toon_str("\"\""), toon_bytes(NULL, 0)));
}

static void a_quoted_string_ends_at_its_own_quote(void **state) {
    (void)state;

    static const struct {
        const char *text;
        size_t size;
    } cases[] = {
        {"\"\"", 2},       {"\"a\"[4]", 3}, {"\"a\\\"b\" \"", 6},
        {"\"\\\\\"\"", 4}, {"\"", 0},       {"\"a", 0},
        {"\"\\", 0},       {"\"\\\"", 0},   {"\"a\\\\\\\"", 0},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        toon_slice text = toon_str(cases[i].text);
        char *copy = exact_copy(text);
        assert_int_equal(toon_text_quoted_size(toon_bytes(copy, text.size)),
                         cases[i].size);
        free(copy);
    }
}

static void utf8_is_judged_strictly(void **state) {
    (void)state;
    static const char *const good[] = {
        "\xc2\x80",         "\xdf\xbf",         "\xe0\xa0\x80",
        "\xed\x9f\xbf",     "\xee\x80\x80",     "\xef\xbf\xbf",
        "\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80", "\x7f",
    };
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc2",
        "\xc2\x7f",
        "\xc2\xc0",
        "\xe0\x9f\xbf",
        "\xe0\xa0",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xe1\x80\xc0",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xf0\x90\x80",
        "\xf1\x80\x80\x00",
        "\xff",
        "\xfe",
        "\xf8\x88\x80\x80\x80",
    };
    /* At every place around the borders of the vectors. */
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        for (size_t before = 0; before < 140; before++) {
            char bytes[160];
            size_t size = strlen(good[i]);
            memset(bytes, 'x', sizeof bytes);
            memcpy(bytes + before, good[i], size);
            toon_slice cut = toon_bytes(bytes, before + size);
            toon_slice whole = toon_bytes(bytes, sizeof bytes);
            assert_true(toon_text_cell_shape(cut).utf8);
            assert_true(toon_text_cell_shape(whole).utf8);
        }
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        for (size_t before = 0; before < 140; before++) {
            char bytes[160];
            size_t size = strlen(bad[i]);
            memset(bytes, 'x', sizeof bytes);
            memcpy(bytes + before, bad[i], size);
            toon_slice cut = toon_bytes(bytes, before + size);
            toon_slice whole = toon_bytes(bytes, sizeof bytes);
            assert_false(toon_text_cell_shape(cut).utf8);
            assert_false(toon_text_cell_shape(whole).utf8);
            assert_false(toon_text_cell_shape_portable(cut).utf8);
            assert_false(toon_text_key_shape(cut).utf8);
        }
    }
}

static void assert_same_shape(toon_slice value) {
    toon_text_shape fast = toon_text_cell_shape(value);
    toon_text_shape slow = toon_text_cell_shape_portable(value);
    assert_int_equal(fast.utf8, slow.utf8);
    assert_int_equal(fast.quoted, slow.quoted);
    assert_int_equal(fast.encoded_size, slow.encoded_size);
}

static void each_byte_has_the_same_shape_for_both_twins(void **state) {
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        for (size_t size = 1; size <= 300; size += size < 40 ? 1 : 13) {
            char *bytes = malloc(size);
            assert_non_null(bytes);
            memset(bytes, 'x', size);
            bytes[size - 1] = (char)(unsigned char)byte;
            assert_same_shape(toon_bytes(bytes, size));
            memset(bytes, (int)byte, size);
            assert_same_shape(toon_bytes(bytes, size));
            free(bytes);
        }
    }
}

static void random_strings_go_there_and_back(void **state) {
    (void)state;

    enum { LONGEST = 700 };

    uint64_t seed = 0x5eed0004;
    print_message("seed %llx\n", (unsigned long long)seed);
    for (unsigned round = 0; round < 20000; round++) {
        char text[LONGEST];
        size_t longest = random_below(&seed, round % 4 == 0 ? LONGEST : 40);
        size_t size = random_text(&seed, text, longest, round % 3 == 0);
        char *bytes = exact_copy(toon_bytes(text, size));
        toon_slice value = toon_bytes(bytes, size);
        assert_same_shape(value);
        toon_text_shape shapes[] = {toon_text_cell_shape(value),
                                    toon_text_key_shape(value)};
        assert_int_equal(shapes[0].utf8, shapes[1].utf8);
        for (size_t i = 0; shapes[0].utf8 && i < 2; i++) {
            size_t encoded = shapes[i].encoded_size;
            char *out = malloc(encoded + (encoded == 0));
            assert_non_null(out);
            toon_text_encode(out, value, shapes[i]);
            assert_decodes(toon_bytes(out, encoded), value);
            assert_true((i == 0 ? toon_text_cell_is_canonical
                                : toon_text_key_is_canonical)(
                toon_bytes(out, encoded)));
            free(out);
        }
        free(bytes);
    }
}

/* Six characters for a byte: the least room that decoding ever has. */
static void runs_of_the_longest_escapes_are_read(void **state) {
    (void)state;
    for (size_t size = 1; size < 300; size++) {
        char *bytes = calloc(size, 1);
        assert_non_null(bytes);
        for (size_t words = 0; words < 2; words++) {
            memset(bytes, 'w', words * (size / 2));
            toon_slice value = toon_bytes(bytes, size);
            toon_text_shape shape = toon_text_cell_shape(value);
            char *text = malloc(shape.encoded_size);
            assert_non_null(text);
            toon_text_encode(text, value, shape);
            assert_decodes(toon_bytes(text, shape.encoded_size), value);
            free(text);
        }
        free(bytes);
    }
}

/* Wrong texts, too, are judged alike. */
static void both_twins_unescape_alike(void **state) {
    (void)state;

    enum { LONGEST = 500 };

    static const char *const pieces[] = {
        "\\n",     "\\\"",    "\\\\", "\\u0000",
        "\\u00e9", "\\u6f22", "a",    "some more words",
        "\\ud800", "\\x",     "\""};
    uint64_t seed = 0x5eed0007;
    print_message("seed %llx\n", (unsigned long long)seed);
    size_t right = 0;
    for (unsigned round = 0; round < 20000; round++) {
        char text[LONGEST];
        char fast[LONGEST];
        char slow[LONGEST];
        size_t kinds = round % 4 == 0 ? 11 : 8;
        size_t longest = random_below(&seed, LONGEST);
        size_t size = 0;
        for (;;) {
            const char *piece = pieces[random_below(&seed, kinds)];
            if (strlen(piece) > longest - size) {
                break;
            }
            memcpy(text + size, piece, strlen(piece));
            size += strlen(piece);
        }
        size_t sizes[3] = {77, 77, 77};
        toon_slice exact = toon_bytes(text, size);
        bool known = toon_text_unescape(NULL, exact, &sizes[0]);
        assert_int_equal(toon_text_unescape(fast, exact, &sizes[1]), known);
        assert_int_equal(toon_text_unescape_portable(slow, exact, &sizes[2]),
                         known);
        assert_int_equal(sizes[0], sizes[1]);
        assert_int_equal(sizes[0], sizes[2]);
        if (known) {
            assert_memory_equal(fast, slow, sizes[0]);
            right++;
        }
    }
    assert_true(right > 15000 && right < 20000);
}

static void both_twins_escape_alike(void **state) {
    (void)state;

    enum { LONGEST = 400 };

    uint64_t seed = 0x5eed0005;
    print_message("seed %llx\n", (unsigned long long)seed);
    for (unsigned round = 0; round < 5000; round++) {
        char text[LONGEST];
        size_t size = random_text(&seed, text, random_below(&seed, LONGEST), 0);
        toon_slice value = toon_bytes(text, size);
        size_t escaped = size + toon_text_scan_bytes(value).extra;
        char *fast = malloc(escaped + 1);
        char *slow = malloc(escaped + 1);
        assert_true(fast != NULL && slow != NULL);
        fast[escaped] = '#';
        assert_ptr_equal(toon_text_escape(fast, value), fast + escaped);
        assert_ptr_equal(toon_text_escape_portable(slow, value),
                         slow + escaped);
        assert_memory_equal(fast, slow, escaped);
        assert_int_equal(fast[escaped], '#');
        free(fast);
        free(slow);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_written_as_the_reference_writes_them),
        cmocka_unit_test(what_the_reference_writes_is_read_back),
        cmocka_unit_test(every_escape_that_toon_knows_is_read),
        cmocka_unit_test(wrong_texts_are_refused_by_all_who_read),
        cmocka_unit_test(only_one_text_of_a_string_is_canonical),
        cmocka_unit_test(a_text_equals_its_string_and_no_other),
        cmocka_unit_test(a_quoted_string_ends_at_its_own_quote),
        cmocka_unit_test(utf8_is_judged_strictly),
        cmocka_unit_test(each_byte_has_the_same_shape_for_both_twins),
        cmocka_unit_test(random_strings_go_there_and_back),
        cmocka_unit_test(runs_of_the_longest_escapes_are_read),
        cmocka_unit_test(both_twins_escape_alike),
        cmocka_unit_test(both_twins_unescape_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
