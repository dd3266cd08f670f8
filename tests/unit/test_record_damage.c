/*
 * test_record_damage.c - what is told of lines that are not valid any more.
 *
 * Knows record.h, record_damage.h, and crc32c.h to make wrong lines with
 * right CRCs.
 */
#include "crc32c.h"
#include "record_damage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* cmocka.h needs what stands above. */
// clang-format off
#include <cmocka.h>
// clang-format on

#define SALT 0x9f3a77c1u

/* Lines of doc/format.md, with that salt. */
static const char *const lines[] = {
    "\"user:1\"[4]: hello,1732300000000,0,sa2c21433\n",
    "log[5]: \"line 2\\n\",259,1732300000013,0,a906cfe96\n",
    "bin.sh[6]: null,436,755,1732300000021,0,R6d7c309b\n",
    "run.sh[4]: null,1732300000021,0,d6a7ec500\n",
    "# synced=414 9c07bcbe\n",
};

enum { LINES = sizeof lines / sizeof *lines };

static const char headline[] =
    "# toonstore log: key[n]: value,written_ms,expires_ms,type+crc32c; the "
    "last line of a key wins, null deletes it; base=70 salt=9f3a77c1 ";

static void a_line_tells_its_salt(void **state) {
    (void)state;
    uint32_t salt = 0;
    for (size_t i = 0; i < LINES; i++) {
        assert_true(toon_line_salt(toon_str(lines[i]), &salt));
        assert_int_equal(salt, SALT);
    }
    assert_false(toon_line_salt(toon_str("no line at all, this\n"), &salt));
    assert_false(toon_line_salt(toon_str(""), &salt));
}

static void a_headline_tells_what_is_left_of_it(void **state) {
    (void)state;
    uint32_t salt = 0;
    uint64_t base = 0;
    toon_slice line = toon_str(headline);
    assert_true(toon_headline_guess_salt(line, &salt));
    assert_int_equal(salt, SALT);
    assert_true(toon_headline_guess_base(line, &base));
    assert_int_equal(base, 70);
    line.size = strlen(headline) - 2;
    assert_false(toon_headline_guess_salt(line, &salt));
    line.size = strlen(headline) - strlen("0 salt=9f3a77c1 ");
    assert_false(toon_headline_guess_base(line, &base));
    assert_false(toon_headline_guess_base(toon_str(""), &base));
}

/* Every bit of every line, and every byte by something else. */
static void one_damaged_byte_is_mended(void **state) {
    (void)state;
    for (size_t i = 0; i < LINES; i++) {
        toon_slice right = toon_str(lines[i]);
        for (size_t k = 0; k < right.size * 9; k++) {
            char wrong[80];
            toon_buf mended = {0};
            size_t at = k % right.size;
            char change = (char)(k < right.size * 8 ? 1 << k / right.size : 95);
            memcpy(wrong, right.data, right.size);
            wrong[at] = (char)(wrong[at] ^ change);
            assert_true(
                toon_line_mend(toon_bytes(wrong, right.size), SALT, &mended));
            assert_true(toon_slice_equal(right, toon_buf_slice(&mended)));
            toon_buf_free(&mended);
        }
    }
}

static void two_damaged_bytes_are_not_mended(void **state) {
    (void)state;
    toon_buf mended = {0};
    for (size_t i = 0; i < LINES; i++) {
        toon_slice right = toon_str(lines[i]);
        for (size_t a = 0; a < right.size; a++) {
            char wrong[80];
            memcpy(wrong, right.data, right.size);
            wrong[a] = (char)(wrong[a] ^ 4);
            wrong[(a + 7) % right.size] ^= 1;
            assert_false(
                toon_line_mend(toon_bytes(wrong, right.size), SALT, &mended));
            assert_int_equal(mended.size, 0);
        }
    }
    assert_false(toon_line_mend(toon_str("x\n"), SALT, &mended));
    toon_buf_free(&mended);
}

/* What swallowed the newline in front of a line has not swallowed the line. */
static void a_valid_line_is_found_inside_a_bad_one(void **state) {
    (void)state;
    for (size_t i = 0; i < LINES; i++) {
        char text[200];
        size_t at;
        int size = snprintf(text, sizeof text, "%.20s and then?%s", lines[0],
                            lines[i]);
        toon_slice line = toon_bytes(text, (size_t)size);
        assert_true(toon_line_find_inner(line, SALT, &at));
        assert_string_equal(text + at, lines[i]);
        assert_false(toon_line_find_inner(line, SALT + 1, &at));
        text[size - 12] ^= 1;
        assert_false(toon_line_find_inner(line, SALT, &at));
    }
}

static void assert_guess(const char *line, const char *key) {
    toon_buf out = {0};
    assert_int_equal(toon_line_guess_key(toon_str(line), &out), key != NULL);
    if (key != NULL)
        assert_true(toon_slice_equal(toon_buf_slice(&out), toon_str(key)));
    toon_buf_free(&out);
}

static void a_key_is_read_from_what_is_left_of_its_line(void **state) {
    (void)state;
    assert_guess("\"user:1\"[4]: hel", "user:1");
    assert_guess("\"a \\\"[4]: \\\"\"[5]: ?", "a \"[4]: \"");
    assert_guess("log[5]: ", "log");
    assert_guess("\"base64:/gE=\"[4]: v", "\xfe\x01");
    assert_guess("log[5]:", NULL);
    assert_guess("log5]: x", NULL);
    assert_guess("\"user:1[4]: x", NULL);
    assert_guess("[4]: x", NULL);
    assert_guess("# synced=414 9c07bcbe\n", NULL);
    assert_guess("", NULL);
}

static void the_end_of_damaged_bytes_tells_of_the_batch(void **state) {
    (void)state;

    static const struct {
        const char *line;
        toon_line_end end;
    } cases[] = {
        {"???lo,1732300000000,0,sa2c21433\n", LINE_ENDS_BATCH},
        {"???lo,1732300000000,0,Sa2c21433\n", LINE_MORE_FOLLOWS},
        {"?,0,ra2c21433\n", LINE_ENDS_BATCH},
        {"# synced=414 9c07bcbe\n", LINE_ENDS_BATCH},
        {"?? synced=414 9c07bcbe\n", LINE_END_UNKNOWN},
        {"???lo,1732300000000,0,sa2c2143\n", LINE_END_UNKNOWN},
        {"???lo,1732300000000,0,xa2c21433\n", LINE_END_UNKNOWN},
        {"???lo,1732300000000,0,sa2c21433", LINE_END_UNKNOWN},
        {"???lo,1732300000000,?,sa2c21433\n", LINE_END_UNKNOWN},
        {"0,sa2c21433\n", LINE_END_UNKNOWN},
        {"\n", LINE_END_UNKNOWN},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(toon_line_guess_end(toon_str(cases[i].line)),
                         cases[i].end);
}

/* -------------------------------------------------- lines of newer programs */

static size_t seal(char *line, uint32_t salt) {
    size_t size = strlen(line);
    (void)sprintf(line + size, "%08x\n", toon_crc32c(salt, line, size));
    return size + 9;
}

static void a_record_of_an_unknown_type_is_foreign(void **state) {
    (void)state;
    static const char types[] = "lhmgLHMGxZ";
    for (size_t i = 0; i < sizeof types - 1; i++) {
        char line[100];
        char type = 0;
        size_t told = 0;
        toon_record record;
        (void)sprintf(line, "k[5]: YQ==,Yg==,1732300000000,0,%c", types[i]);
        size_t size = seal(line, SALT);
        toon_slice bytes = toon_bytes(line, size);
        assert_int_equal(toon_record_parse(bytes, SALT, &record), RECORD_BAD);
        assert_true(toon_record_is_foreign(bytes, SALT, &type, &told));
        assert_int_equal(type, types[i] | 0x20);
        assert_int_equal(told, size);
        assert_false(toon_record_is_foreign(bytes, SALT ^ 1, &type, &told));
        line[3] ^= 1;
        assert_false(toon_record_is_foreign(bytes, SALT, &type, &told));
    }
}

static void what_we_know_or_nobody_wrote_is_not_foreign(void **state) {
    (void)state;
    char type;
    size_t size;
    for (size_t i = 0; i < LINES; i++)
        assert_false(
            toon_record_is_foreign(toon_str(lines[i]), SALT, &type, &size));
    char line[100] = "k[4]: v,1732300000000,0,1";
    toon_slice bytes = toon_bytes(line, seal(line, SALT));
    assert_false(toon_record_is_foreign(bytes, SALT, &type, &size));
    assert_false(toon_record_is_foreign(toon_str(""), SALT, &type, &size));
    assert_false(toon_record_is_foreign(toon_str("\n"), SALT, &type, &size));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_tells_its_salt),
        cmocka_unit_test(a_headline_tells_what_is_left_of_it),
        cmocka_unit_test(one_damaged_byte_is_mended),
        cmocka_unit_test(two_damaged_bytes_are_not_mended),
        cmocka_unit_test(a_valid_line_is_found_inside_a_bad_one),
        cmocka_unit_test(a_key_is_read_from_what_is_left_of_its_line),
        cmocka_unit_test(the_end_of_damaged_bytes_tells_of_the_batch),
        cmocka_unit_test(a_record_of_an_unknown_type_is_foreign),
        cmocka_unit_test(what_we_know_or_nobody_wrote_is_not_foreign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
