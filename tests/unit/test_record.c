/*
 * test_record.c - the lines of doc/format.md both ways, all kinds of damage, and
 * random records there and back.
 *
 * Knows record.h, and crc32c.h to make wrong lines with right CRCs.
 */
#include "base64.h"
#include "crc32c.h"
#include "record.h"
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

#define SALT 0x9f3a77c1u

typedef struct example {
    const char *line;
    toon_record_draft draft;
} example;

#define BYTES(text)                                                            \
    { (text), sizeof(text) - 1 }

/* doc/format.md, the lines with salt 0. */
static const example plain[] = {
    {"\"user:1\"[4]: hello,1732300000000,0,s25d9ec82\n",
     {.key = BYTES("user:1"),
      .value = BYTES("hello"),
      .written_ms = 1732300000000,
      .type = 's'}},
    {"counter[4]: \"42\",1732300000001,0,sb7370686\n",
     {.key = BYTES("counter"),
      .value = BYTES("42"),
      .written_ms = 1732300000001,
      .type = 's'}},
    {"n.lz[4]: \"007\",1732300000002,0,s9c6d0522\n",
     {.key = BYTES("n.lz"),
      .value = BYTES("007"),
      .written_ms = 1732300000002,
      .type = 's'}},
    {"flag[4]: \"true\",1732300000003,0,sdae4e1a7\n",
     {.key = BYTES("flag"),
      .value = BYTES("true"),
      .written_ms = 1732300000003,
      .type = 's'}},
    {"empty[4]: \"\",1732300000004,0,s1eaba734\n",
     {.key = BYTES("empty"), .written_ms = 1732300000004, .type = 's'}},
    {"note[4]: \" two\\nlines, \\\"q\\\" \\u0000\",1732300000005,0,s19ed2350\n",
     {.key = BYTES("note"),
      .value = BYTES(" two\nlines, \"q\" \0"),
      .written_ms = 1732300000005,
      .type = 's'}},
    {"\"sess:9f\"[4]: tok,1732300000006,1732303600006,s05bd38a4\n",
     {.key = BYTES("sess:9f"),
      .value = BYTES("tok"),
      .written_ms = 1732300000006,
      .expires_ms = 1732303600006,
      .type = 's'}},
    {"img[4]: /9j/4A==,1732300000007,0,b37f60dbf\n",
     {.key = BYTES("img"),
      .value = BYTES("\xff\xd8\xff\xe0"),
      .written_ms = 1732300000007,
      .type = 's'}},
    {"\"base64:/gE=\"[4]: v,1732300000010,0,sa77e3bda\n",
     {.key = BYTES("\xfe\x01"),
      .value = BYTES("v"),
      .written_ms = 1732300000010,
      .type = 's'}},
    {"link[5]: docs/a.txt,120777,1732300000014,0,se699278a\n",
     {.key = BYTES("link"),
      .value = BYTES("docs/a.txt"),
      .written_ms = 1732300000014,
      .mode = TOON_MODE_SYMLINK,
      .type = 's'}},
    {"a[4]: \"1\",1732300000015,0,Sa81cd9a5\n",
     {.key = BYTES("a"),
      .value = BYTES("1"),
      .written_ms = 1732300000015,
      .type = 's',
      .more = true}},
    {"b[4]: \"2\",1732300000015,0,s3326f85c\n",
     {.key = BYTES("b"),
      .value = BYTES("2"),
      .written_ms = 1732300000015,
      .type = 's'}},
};

static const char headline[] =
    "# toonstore log: key[n]: value,written_ms,expires_ms,type+crc32c; the last"
    " line of a key wins, null deletes it; base=0 salt=9f3a77c1 044c13d2\n";
static const char mark[] = "# synced=414 9c07bcbe\n";

/* doc/format.md, the whole log: its records; the mark stands before run.sh.
 */
static const example salted[] = {
    {"\"user:1\"[4]: hello,1732300000000,0,sa2c21433\n",
     {.key = BYTES("user:1"),
      .value = BYTES("hello"),
      .written_ms = 1732300000000,
      .type = 's'}},
    {"\"sess:9f\"[4]: tok,1732300000006,1732303600006,s1b57c918\n",
     {.key = BYTES("sess:9f"),
      .value = BYTES("tok"),
      .written_ms = 1732300000006,
      .expires_ms = 1732303600006,
      .type = 's'}},
    {"log[4]: \"line 1\\n\",1732300000010,0,s9218dece\n",
     {.key = BYTES("log"),
      .value = BYTES("line 1\n"),
      .written_ms = 1732300000010,
      .type = 's'}},
    {"log[5]: \"line 2\\n\",259,1732300000013,0,a906cfe96\n",
     {.key = BYTES("log"),
      .value = BYTES("line 2\n"),
      .ref = 259,
      .written_ms = 1732300000013,
      .type = 'a'}},
    {"\"sess:9f\"[5]: null,203,1732300000016,1732307200000,t751a85e7\n",
     {.key = BYTES("sess:9f"),
      .ref = 203,
      .written_ms = 1732300000016,
      .expires_ms = 1732307200000,
      .type = 't'}},
    {"run.sh[5]: \"#!/bin/sh\\n\",755,1732300000020,0,s1897e2bc\n",
     {.key = BYTES("run.sh"),
      .value = BYTES("#!/bin/sh\n"),
      .written_ms = 1732300000020,
      .mode = 0755,
      .type = 's'}},
    {"bin.sh[6]: null,436,755,1732300000021,0,R6d7c309b\n",
     {.key = BYTES("bin.sh"),
      .ref = 436,
      .written_ms = 1732300000021,
      .mode = 0755,
      .type = 'r',
      .more = true}},
    {"run.sh[4]: null,1732300000021,0,d6a7ec500\n",
     {.key = BYTES("run.sh"), .written_ms = 1732300000021, .type = 'd'}},
    {"\"user:1\"[4]: null,1732300000022,0,d8f89d7ba\n",
     {.key = BYTES("user:1"), .written_ms = 1732300000022, .type = 'd'}},
};

enum {
    PLAIN = sizeof plain / sizeof *plain,
    SALTED = sizeof salted / sizeof *salted,
};

/* ----------------------------------------------------------------- helpers */

/* Heap blocks of exact size, so that a byte read past the end is seen. */
static char *exact_copy(toon_slice bytes) {
    char *copy = malloc(bytes.size + (bytes.size == 0));
    assert_non_null(copy);
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return copy;
}

static toon_record_result parse_exact(toon_slice bytes, uint32_t salt) {
    toon_record record;
    char *copy = exact_copy(bytes);
    toon_record_result result =
        toon_record_parse(toon_bytes(copy, bytes.size), salt, &record);
    free(copy);
    return result;
}

/* The line `text`, which lacks CRC and LF, with a CRC that is right. */
static toon_slice sealed(const char *text, char *out, size_t size) {
    uint32_t crc = toon_crc32c(SALT, text, strlen(text));
    int used = snprintf(out, size, "%s%08x\n", text, (unsigned)crc);
    assert_true(used > 0 && (size_t)used < size);
    return toon_bytes(out, (size_t)used);
}

static toon_slice encoded(toon_buf *buf, const toon_record_draft *draft,
                          uint32_t salt) {
    buf->size = 0;
    size_t size = toon_record_encode(buf, draft, salt);
    assert_false(buf->failed);
    assert_int_equal(size, buf->size);
    return toon_buf_slice(buf);
}

/* Parses the line and compares all that comes out with the draft. */
static void assert_reads_as(toon_slice line, const toon_record_draft *draft,
                            uint32_t salt) {
    char *copy = exact_copy(line);
    toon_record r;
    toon_record trusted;
    toon_slice exact = toon_bytes(copy, line.size);
    assert_int_equal(toon_record_parse(exact, salt, &r), RECORD_OK);
    assert_int_equal(toon_record_parse_trusted(exact, &trusted), RECORD_OK);
    assert_ptr_equal(r.key_text.data, trusted.key_text.data);
    assert_ptr_equal(r.value_text.data, trusted.value_text.data);
    assert_int_equal(r.value_text.size, trusted.value_text.size);
    assert_int_equal(r.crc, trusted.crc);
    assert_int_equal(r.size, line.size);
    assert_int_equal(r.more, draft->more);
    assert_true(r.ref == draft->ref);
    assert_true(r.written_ms == draft->written_ms);
    assert_true(r.expires_ms == draft->expires_ms);
    assert_int_equal(r.mode, draft->mode);
    bool base64 = r.type == 'b' || r.type == 'c';
    char type = r.type == 'b' ? 's' : r.type == 'c' ? 'a' : r.type;
    assert_int_equal(type, draft->type);

    toon_buf key = {0};
    assert_true(toon_record_key(&r, &key));
    assert_true(toon_slice_equal(toon_buf_slice(&key), draft->key));
    assert_true(toon_record_key_is(&r, draft->key));
    toon_buf_free(&key);

    size_t size = 0;
    assert_true(toon_record_value_check(&r));
    assert_true(toon_record_value_size(&r, &size));
    assert_int_equal(size, draft->value.size);
    char *value = malloc(size + 1);
    assert_non_null(value);
    value[size] = '#';
    assert_true(toon_record_value(&r, value));
    assert_true(toon_slice_equal(toon_bytes(value, size), draft->value));
    assert_int_equal(value[size], '#');
    assert_true(!base64 || size > 0);
    free(value);
    free(copy);
}

/* --------------------------------------------------------- the known lines */

static void assert_examples(const example *examples, size_t count,
                            uint32_t salt) {
    toon_buf buf = {0};
    for (size_t i = 0; i < count; i++) {
        toon_slice line = encoded(&buf, &examples[i].draft, salt);
        toon_buf_append(&buf, "", 1);
        assert_string_equal(buf.data, examples[i].line);
        assert_reads_as(toon_str(examples[i].line), &examples[i].draft, salt);
        assert_int_equal(parse_exact(line, salt ^ 1), RECORD_BAD);
    }
    toon_buf_free(&buf);
}

static void the_lines_with_salt_0_are_written_and_read(void **state) {
    (void)state;
    assert_examples(plain, PLAIN, 0);
}

static void the_lines_of_the_salted_log_are_written_and_read(void **state) {
    (void)state;
    assert_examples(salted, SALTED, SALT);
}

/* The log of doc/format.md as it would be read: at these offsets alone. */
static void the_whole_log_is_read_line_by_line(void **state) {
    (void)state;
    static const size_t offsets[] = {158, 203, 259, 304, 353,
                                     436, 491, 541, 583};
    uint64_t base = 77;
    uint32_t salt = 0;
    uint64_t synced = 0;
    size_t size = 0;
    toon_buf log = {0};
    toon_buf_append_str(&log, "TOON001\n........");
    toon_headline_encode(&log, 0, SALT);
    for (size_t i = 0; i < SALTED; i++) {
        if (log.size == 414) {
            toon_mark_encode(&log, 414, SALT);
        }
        assert_int_equal(log.size, offsets[i]);
        toon_record_encode(&log, &salted[i].draft, SALT);
    }
    toon_slice rest = toon_bytes(log.data + 16, log.size - 16);
    assert_int_equal(toon_headline_parse(rest, &base, &salt, &size), RECORD_OK);
    assert_int_equal(base, 0);
    assert_int_equal(salt, SALT);
    size_t at = 16 + size;
    for (size_t i = 0; i < SALTED; i++) {
        toon_record record;
        rest = toon_bytes(log.data + at, log.size - at);
        if (toon_mark_parse(rest, salt, &synced, &size) == RECORD_OK) {
            assert_int_equal(at, synced);
            at += size;
            rest = toon_bytes(log.data + at, log.size - at);
        }
        assert_int_equal(at, offsets[i]);
        assert_int_equal(toon_record_parse(rest, salt, &record), RECORD_OK);
        at += record.size;
    }
    assert_int_equal(synced, 414);
    assert_int_equal(at, log.size);
    toon_buf_free(&log);
}

/* ------------------------------------------------------------------ damage */

static void no_prefix_of_a_line_is_a_line(void **state) {
    (void)state;
    for (size_t i = 0; i < PLAIN + SALTED; i++) {
        bool first = i < PLAIN;
        const char *line = first ? plain[i].line : salted[i - PLAIN].line;
        for (size_t size = 0; size < strlen(line); size++) {
            toon_slice prefix = toon_bytes(line, size);
            assert_int_equal(parse_exact(prefix, first ? 0 : SALT),
                             RECORD_NEEDS_MORE);
            char *copy = exact_copy(prefix);
            toon_record record;
            assert_int_equal(
                toon_record_parse_trusted(toon_bytes(copy, size), &record),
                RECORD_BAD);
            free(copy);
        }
    }
}

/* The bit that makes a letter upper case is no exception: the CRC covers it.
 * Where the LF itself goes, the line has no end. */
static void no_line_survives_the_flip_of_a_bit(void **state) {
    (void)state;
    for (size_t i = 0; i < PLAIN + SALTED; i++) {
        bool first = i < PLAIN;
        const char *line = first ? plain[i].line : salted[i - PLAIN].line;
        toon_slice whole = toon_str(line);
        char *copy = exact_copy(whole);
        for (size_t bit = 0; bit < whole.size * 8; bit++) {
            copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
            toon_record_result want =
                bit / 8 == whole.size - 1 ? RECORD_NEEDS_MORE : RECORD_BAD;
            toon_record record;
            assert_int_equal(toon_record_parse(toon_bytes(copy, whole.size),
                                               first ? 0 : SALT, &record),
                             want);
            copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
        }
        free(copy);
    }
}

static void lines_that_the_grammar_forbids_are_bad(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",
        "s",
        ",s",
        "a[4]: b,0,0s",
        "a[4]: b,0,0,",
        "a[4]: ,0,0,s",   /* no value text */
        "a[4]: 0,0,s",    /* a cell too few */
        "a[3]: 0,0,s",    /* and counted right */
        "a[5]: b,0,0,s",  /* counted wrong */
        "a[04]: b,0,0,s", /* leading zeros, everywhere */
        "a[4]: b,00,0,s",
        "a[4]: b,0,00,s",
        "a[4]: b,-0,0,s",
        "a[4]: b,-01,0,s",
        "a[4]: b,+1,0,s",
        "a[4]: b,1.0,0,s",
        "a[4]: b,,0,s",
        "a[4]: b,0,,s",
        "a[4]: b,-,0,s",
        "a[4]: b, 0,0,s",
        "a[4]: b,0,-1,s", /* expires in negative time */
        "a[4]: b,9223372036854775808,0,s",
        "a[4]: b,-9223372036854775809,0,s",
        "a[4]: b,0,9223372036854775808,s",
        "a[4]: b,0,18446744073709551616,s",
        "a[4]: b,0,0,l", /* reserved types */
        "a[4]: b,0,0,h",
        "a[4]: b,0,0,m",
        "a[4]: b,0,0,g",
        "a[4]: b,0,0,L",
        "a[4]: b,0,0,x",
        "a[4]: b,0,0,?",
        "a[4]: b,0,0,3",
        "a[4]: b,0,0,\x13",
        "a[4]: b,0,0,ss",
        "a[4]:b,0,0,s", /* the head */
        "a[4] b,0,0,s",
        "a[4] : b,0,0,s",
        "a(4): b,0,0,s",
        "a[4}: b,0,0,s",
        "a[]: b,0,0,s",
        "a4]: b,0,0,s",
        "a: b,0,0,s",
        "[4]: b,0,0,s",
        " a[4]: b,0,0,s",
        "# a[4]: b,0,0,s",
        "a[5]: b,0,0,0,s", /* modes */
        "a[5]: b,0755,0,0,s",
        "a[5]: b,8,0,0,s",
        "a[5]: b,200000,0,0,s",
        "a[5]: b,37777777777777777777,0,0,s",
        "a[5]: b,-7,0,0,s",
        "a[5]: b,,0,0,s",
        "a[6]: b,1,755,0,0,s", /* s has no offset */
        "a[5]: b,755,0,0,d",
        "a[4]: b,0,0,d", /* d holds null */
        "a[4]: \"null\",0,0,d",
        "a[5]: null,755,0,0,d",
        "a[4]: b,0,0,a", /* a has an offset */
        "a[5]: b,0,0,0,a",
        "a[5]: b,01,0,0,a",
        "a[5]: b,-1,0,0,a",
        "a[5]: b,18446744073709551616,0,0,a",
        "a[6]: b,1,0,0,0,a", /* and, if there is one, a mode */
        "a[6]: b,755,0,0,0,a",
        "a[6]: b,0,755,0,0,a",
        "a[7]: b,1,755,755,0,0,a",
        "a[5]: b,1,0,0,t",
        "a[4]: null,0,0,t",
        "a[4]: null,0,0,r",
        "a[5]: null,0,0,0,r",
        "a[6]: null,1,0,0,0,r",
        "a[6]: null,1,08,0,0,r",
        "a[7]: null,1,755,1,0,0,r",
        "a-b[4]: b,0,0,s", /* keys */
        "9[4]: b,0,0,s",
        "\"a\"[4]: b,0,0,s",
        "\"a[4]: b,0,0,s",
        "\"a-\\u0062\"[4]: b,0,0,s",
        "\"\\x\"[4]: b,0,0,s",
        "\"a-\xff\"[4]: b,0,0,s",
        "\xff[4]: b,0,0,s",
        "\"\t\"[4]: b,0,0,s",
        "\"base64:\"[4]: b,0,0,s",
        "\"base64:QUJD\"[4]: b,0,0,s", /* ABC needs no base64 */
        "\"base64:/w\"[4]: b,0,0,s",
        "\"base64:/x==\"[4]: b,0,0,s",
        "\"base64:/w== \"[4]: b,0,0,s",
        "\"base64:/\\u0077==\"[4]: b,0,0,s",
        "\"base64:YmFzZTY0\"[4]: b,0,0,s", /* "base64" */
    };
    char line[160];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        toon_slice bytes = sealed(wrong[i], line, sizeof line);
        if (parse_exact(bytes, SALT) != RECORD_BAD) {
            fail_msg("accepted: %s", wrong[i]);
        }
    }
    static const char *const right[] = {
        "a[4]: b,0,0,s",
        "a[4]: b,-1,0,S",
        "a[4]: b,9223372036854775807,9223372036854775807,s",
        "a[4]: b,-9223372036854775808,0,s",
        "a[5]: b,1,0,0,s",
        "a[5]: b,177777,0,0,s",
        "a[5]: b,18446744073709551615,0,0,a",
        "a[5]: /w==,1,0,0,C",
        "a[6]: null,1,7,0,0,T",
        "\"\"[4]: b,0,0,s",
        "\"base64:YmFzZTY0Og==\"[4]: b,0,0,s", /* "base64:" */
        "\"base64:/w==\"[4]: b,0,0,s",
    };
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        toon_slice bytes = sealed(right[i], line, sizeof line);
        if (parse_exact(bytes, SALT) != RECORD_OK) {
            fail_msg("refused: %s", right[i]);
        }
    }
}

static void upper_case_crcs_are_bad(void **state) {
    (void)state;
    const char line[] = "\"user:1\"[4]: hello,1732300000000,0,s25D9ec82\n";
    assert_int_equal(parse_exact(toon_str(line), 0), RECORD_BAD);
    const char g[] = "\"user:1\"[4]: hello,1732300000000,0,s25g9ec82\n";
    assert_int_equal(parse_exact(toon_str(g), 0), RECORD_BAD);
}

/* Lines that parse, but whose value the encoder would have written otherwise.
 */
static void value_check_refuses_what_the_encoder_would_not_write(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "a[4]: null,0,0,s",
        "a[4]: 42,0,0,s",
        "a[4]: true,0,0,s",
        "a[4]: \"hello\",0,0,s",
        "a[4]: b,c,0,0,s",
        "a[4]: \",0,0,s",
        "a[4]: \"\\u000a\",0,0,s",
        "a[4]: \"\\x\",0,0,s",
        "a[4]: \xff,0,0,s",
        "a[4]: \"\\u0000\\u0000\\u0000\",0,0,s", /* base64 is shorter */
        "a[5]: \"a\"b\",1,0,0,a",
        "a[4]: AAAA,0,0,b", /* three NULs: 20 characters, not 4 */
        "a[4]: QUJD,0,0,b", /* "ABC" is text */
        "a[4]: \"\",0,0,b",
        "a[4]: \"/w==\",0,0,b", /* quotes for nothing */
        "a[4]: /w=,0,0,b",
        "a[4]: /w==/w==,0,0,b",
        "a[4]: /x==,0,0,b",
        "a[4]: 4444,0,0,b", /* lacks quotes, see below */
        "a[5]: /w,1,0,0,c",
    };
    static const bool bad[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                               1, 0, 1, 1, 1, 1, 1, 1, 1, 1};
    char line[160];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        toon_record record;
        toon_slice bytes = sealed(wrong[i], line, sizeof line);
        assert_int_equal(toon_record_parse(bytes, SALT, &record), RECORD_OK);
        if (toon_record_value_check(&record) == bad[i]) {
            fail_msg("judged wrongly: %s", wrong[i]);
        }
    }
    toon_record record;
    toon_slice bytes = sealed("a[4]: \"4444\",0,0,b", line, sizeof line);
    assert_int_equal(toon_record_parse(bytes, SALT, &record), RECORD_OK);
    assert_true(toon_record_value_check(&record));
}

/* ---------------------------------------------------------- there and back */

static void base64_that_looks_like_a_number_is_quoted(void **state) {
    (void)state;
    static const char *const texts[] = {"4444", "true", "null",    "+447",
                                        "88e8", "4E+7", "44444444"};
    toon_buf buf = {0};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char value[8];
        char want[32];
        size_t size = 0;
        toon_slice text = toon_str(texts[i]);
        assert_true(toon_base64_decoded_size(text, &size));
        assert_true(toon_base64_decode(value, text));
        toon_record_draft draft = {.key = BYTES("k"),
                                   .value = toon_bytes(value, size),
                                   .type = RECORD_STRING};
        toon_slice line = encoded(&buf, &draft, SALT);
        snprintf(want, sizeof want, "k[4]: \"%s\",0,0,b", texts[i]);
        assert_memory_equal(line.data, want, strlen(want));
        assert_reads_as(line, &draft, SALT);
    }
    toon_buf_free(&buf);
}

/* Text up to 4 characters longer than its base64 stays text. */
static void base64_begins_where_escapes_cost_more(void **state) {
    (void)state;
    toon_buf buf = {0};
    for (size_t quotes = 0; quotes < 40; quotes++) {
        char value[60];
        memset(value, 'x', sizeof value);
        memset(value, '"', quotes);
        toon_record_draft draft = {.key = BYTES("k"),
                                   .value = toon_bytes(value, 60),
                                   .type = RECORD_STRING};
        toon_slice line = encoded(&buf, &draft, SALT);
        size_t text = 60 + (quotes > 0 ? 2 + quotes : 0);
        char type = line.data[line.size - 10];
        assert_int_equal(type, text > 80 + 4 ? 'b' : 's');
        assert_reads_as(line, &draft, SALT);
        draft.type = RECORD_APPENDED;
        draft.ref = 1;
        line = encoded(&buf, &draft, SALT);
        type = line.data[line.size - 10];
        assert_int_equal(type, text > 80 + 4 ? 'c' : 'a');
        assert_reads_as(line, &draft, SALT);
    }
    toon_buf_free(&buf);
}

static int64_t random_time(uint64_t *seed) {
    switch (random_below(seed, 4)) {
    case 0:
        return 0;
    case 1:
        return INT64_MAX;
    default:
        return (int64_t)(random_next(seed) >> 1 >> random_below(seed, 63));
    }
}

static toon_record_draft random_draft(uint64_t *seed, toon_slice key,
                                      toon_slice value) {
    static const char types[] = "sssdatr";
    toon_record_draft draft = {
        .key = key,
        .written_ms = random_time(seed),
        .expires_ms = random_time(seed),
        .type = types[random_below(seed, sizeof types - 1)],
        .more = random_below(seed, 2) == 0,
    };
    if (random_below(seed, 3) == 0) {
        draft.written_ms = -1 - draft.written_ms;
    }
    if (strchr("sa", draft.type) != NULL) {
        draft.value = value;
    }
    if (strchr("atr", draft.type) != NULL) {
        draft.ref = 1 + (random_next(seed) >> 1 >> random_below(seed, 63));
    }
    if (strchr("satr", draft.type) != NULL && random_below(seed, 2) == 0) {
        draft.mode = (uint32_t)random_below(seed, 0200000);
    }
    return draft;
}

static void random_records_come_back(void **state) {
    (void)state;

    enum { LONGEST = 4000 };

    uint64_t seed = 0x5eed0006;
    print_message("seed %llx\n", (unsigned long long)seed);
    toon_buf buf = {0};
    for (unsigned round = 0; round < 20000; round++) {
        char key[80];
        char value[LONGEST];
        size_t most = round % 16 == 0 ? LONGEST : 60;
        size_t key_size = random_text(
            &seed, key, random_below(&seed, sizeof key), round % 3 == 0);
        size_t value_size = random_text(&seed, value, random_below(&seed, most),
                                        round % 5 == 0);
        uint32_t salt = (uint32_t)random_next(&seed);
        toon_record_draft draft = random_draft(&seed, toon_bytes(key, key_size),
                                               toon_bytes(value, value_size));
        assert_reads_as(encoded(&buf, &draft, salt), &draft, salt);
    }
    toon_buf_free(&buf);
}

/* Every byte value in every place of a key and a value, and pairs of them. */
static void every_byte_comes_back(void **state) {
    (void)state;
    toon_buf buf = {0};
    for (unsigned pair = 0; pair < 65536; pair += pair < 512 ? 1 : 17) {
        const char bytes[] = {(char)(unsigned char)pair,
                              (char)(unsigned char)(pair >> 8)};
        toon_slice some = toon_bytes(bytes, pair < 256 ? 1 : 2);
        toon_record_draft draft = {
            .key = some, .value = some, .type = RECORD_STRING};
        assert_reads_as(encoded(&buf, &draft, 0), &draft, 0);
    }
    toon_buf_free(&buf);
}

/* Base64 values are checked in pieces of 768 bytes; a character that lies
 * across two of them must not make valid UTF-8 look invalid. */
static void long_base64_values_are_judged_whole(void **state) {
    (void)state;

    enum { SIZE = 3000 };

    static const char *const characters[] = {"\u00e9", "\u6f22", "\U0001f600"};
    toon_buf buf = {0};
    char value[SIZE];
    for (size_t i = 0; i < 3; i++) {
        size_t size = strlen(characters[i]);
        for (size_t at = 760; at < 775; at++) {
            memset(value, 1, SIZE);
            memcpy(value + at, characters[i], size);
            memcpy(value + at + 768, characters[i], size);
            toon_record_draft draft = {.key = BYTES("k"),
                                       .value = toon_bytes(value, SIZE),
                                       .type = RECORD_STRING};
            toon_slice line = encoded(&buf, &draft, SALT);
            assert_int_equal(line.data[line.size - 10], 'b');
            assert_reads_as(line, &draft, SALT);
        }
        /* The same without control characters is text. */
        for (size_t at = 760; at < 775; at++) {
            memset(value, 'x', SIZE);
            memcpy(value + at, characters[i], size);
            char text[SIZE / 3 * 4 + 40];
            int head = snprintf(text, sizeof text, "a[4]: ");
            toon_base64_encode(text + head, toon_bytes(value, SIZE));
            char *end = text + head + toon_base64_size(SIZE);
            memcpy(end, ",0,0,b", 7);
            char line[sizeof text + 16];
            toon_record record;
            assert_int_equal(toon_record_parse(sealed(text, line, sizeof line),
                                               SALT, &record),
                             RECORD_OK);
            assert_false(toon_record_value_check(&record));
        }
    }
    toon_buf_free(&buf);
}

static void large_keys_and_values_come_back(void **state) {
    (void)state;

    enum { KEY = 64 * 1024, VALUE = 5000003 };

    char *key = malloc(KEY);
    char *value = malloc(VALUE);
    assert_true(key != NULL && value != NULL);
    toon_buf buf = {0};
    static const unsigned char fills[] = {'x', 0, 0xff, '\n', '"'};
    for (size_t i = 0; i < sizeof fills; i++) {
        memset(key, fills[i], KEY);
        memset(value, fills[i], VALUE);
        value[VALUE / 2] = ',';
        toon_record_draft draft = {.key = toon_bytes(key, KEY),
                                   .value = toon_bytes(value, VALUE),
                                   .type = RECORD_STRING};
        assert_reads_as(encoded(&buf, &draft, SALT), &draft, SALT);
    }
    toon_buf_free(&buf);
    free(key);
    free(value);
}

static void lines_are_appended_to_what_is_there(void **state) {
    (void)state;
    toon_buf buf = {0};
    toon_record_encode(&buf, &plain[0].draft, 0);
    size_t size = toon_record_encode(&buf, &plain[1].draft, 0);
    size_t first = strlen(plain[0].line);
    assert_int_equal(size, strlen(plain[1].line));
    assert_int_equal(buf.size, first + size);
    assert_memory_equal(buf.data, plain[0].line, first);
    assert_memory_equal(buf.data + first, plain[1].line, size);
    /* A buffer that has failed takes nothing more. */
    buf.failed = true;
    assert_int_equal(toon_record_encode(&buf, &plain[1].draft, 0), 0);
    toon_mark_encode(&buf, 1, 0);
    toon_headline_encode(&buf, 1, 0);
    assert_int_equal(buf.size, first + size);
    toon_buf_free(&buf);
}

/* ---------------------------------------------------------------- the rest */

static void a_key_is_itself_and_no_other(void **state) {
    (void)state;
    static const toon_slice keys[] = {
        BYTES(""),
        BYTES("a"),
        BYTES("b"),
        BYTES("ab"),
        BYTES("a-b"),
        BYTES("a\n"),
        BYTES("a\\n"),
        BYTES("\\n"),
        BYTES("\n"),
        BYTES("n"),
        BYTES("\""),
        BYTES("\\\""),
        BYTES("\\"),
        BYTES("\\\\"),
        BYTES("\\u0001"),
        BYTES("\1"),
        BYTES("base64:"),
        BYTES("base64:/w=="),
        BYTES("/w=="),
        BYTES("\xff"),
        BYTES("\xff\xff"),
        BYTES("base64"),
        BYTES("\"a\""),
        BYTES("\"base64:/w==\""),
        BYTES("user:1"),
        BYTES("user:2"),
        BYTES("user:1\t"),
        BYTES("\u00e9"),
        BYTES("\0"),
        BYTES("\0\0"),
        BYTES("a\nb"),
        BYTES("a\nc"),
        BYTES("a\tb"),
        BYTES("\xff"
              "012345678901234567890123456789012345678901234567890"),
        BYTES("\xff"
              "012345678901234567890123456789012345678901234567891"),
    };

    enum { KEYS = sizeof keys / sizeof *keys };

    toon_buf buf = {0};
    for (size_t i = 0; i < KEYS; i++) {
        toon_record_draft draft = {.key = keys[i], .type = RECORD_DELETED};
        toon_record record;
        toon_slice line = encoded(&buf, &draft, 0);
        assert_int_equal(toon_record_parse(line, 0, &record), RECORD_OK);
        for (size_t j = 0; j < KEYS; j++) {
            char *other = exact_copy(keys[j]);
            toon_slice exact = toon_bytes(other, keys[j].size);
            assert_int_equal(toon_record_key_is(&record, exact), i == j);
            free(other);
        }
        assert_int_equal(toon_record_key_is(&record, toon_bytes(NULL, 0)),
                         i == 0);
    }
    toon_buf_free(&buf);
}

static void damaged_keys_are_told_when_they_are_decoded(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "\"\\x\"[4]: b,0,0,s",
        "\"\\ud800\"[4]: b,0,0,s",
        "\"base64:/w=\"[4]: b,0,0,s",
        "\"base64:/x==\"[4]: b,0,0,s",
    };
    char line[80];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        toon_record record;
        toon_buf key = {0};
        toon_slice bytes = sealed(wrong[i], line, sizeof line);
        assert_int_equal(toon_record_parse_trusted(bytes, &record), RECORD_OK);
        assert_false(toon_record_key(&record, &key));
        assert_int_equal(key.size, 0);
        assert_false(key.failed);
        assert_false(toon_record_key_is(&record, toon_str("\xff")));
        toon_buf_free(&key);
    }
}

static void a_batch_is_opened_and_closed_in_place(void **state) {
    (void)state;
    toon_buf buf = {0};
    for (size_t i = 0; i < SALTED; i++) {
        toon_record_draft draft = salted[i].draft;
        toon_slice line = encoded(&buf, &draft, SALT);
        char *copy = exact_copy(line);
        for (unsigned k = 0; k < 3; k++) {
            draft.more = !draft.more;
            toon_record_set_more(copy, line.size, draft.more, SALT);
            line = encoded(&buf, &draft, SALT);
            assert_memory_equal(copy, line.data, line.size);
            toon_record_set_more(copy, line.size, draft.more, SALT);
            assert_memory_equal(copy, line.data, line.size);
        }
        free(copy);
    }
    toon_buf_free(&buf);
}

static toon_record_result parse_mark(toon_slice bytes, uint64_t *offset,
                                     size_t *size) {
    char *copy = exact_copy(bytes);
    toon_record_result result =
        toon_mark_parse(toon_bytes(copy, bytes.size), SALT, offset, size);
    free(copy);
    return result;
}

static toon_record_result parse_headline(toon_slice bytes, uint64_t *base,
                                         uint32_t *salt, size_t *size) {
    char *copy = exact_copy(bytes);
    toon_record_result result =
        toon_headline_parse(toon_bytes(copy, bytes.size), base, salt, size);
    free(copy);
    return result;
}

static void marks_are_written_and_read(void **state) {
    (void)state;
    static const uint64_t offsets[] = {0, 9, 414, UINT64_MAX};
    uint64_t offset = 0;
    size_t size = 0;
    toon_buf buf = {0};
    toon_mark_encode(&buf, 414, SALT);
    toon_buf_append(&buf, "", 1);
    assert_string_equal(buf.data, mark);
    for (size_t i = 0; i < 4; i++) {
        buf.size = 0;
        toon_mark_encode(&buf, offsets[i], SALT);
        size_t whole = buf.size;
        for (size_t k = 0; k < whole; k++) {
            assert_int_equal(
                parse_mark(toon_bytes(buf.data, k), &offset, &size),
                RECORD_NEEDS_MORE);
        }
        assert_int_equal(parse_mark(toon_buf_slice(&buf), &offset, &size),
                         RECORD_OK);
        assert_true(offset == offsets[i]);
        assert_int_equal(size, whole);
        toon_buf_append_str(&buf, "next[4]: line");
        assert_int_equal(parse_mark(toon_buf_slice(&buf), &offset, &size),
                         RECORD_OK);
        assert_int_equal(size, whole);
    }
    toon_buf_free(&buf);
}

static void wrong_marks_are_bad(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "# synced= ",
        "# synced=01 ",
        "# synced=-1 ",
        "# synced=1",
        "# synced=1  ",
        "# synced=a ",
        "# synced=18446744073709551616 ",
        "# Synced=1 ",
        "#synced=1 ",
        "a[4]: b,0,0,s",
    };
    uint64_t offset = 77;
    size_t size = 77;
    char line[80];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        toon_slice bytes = sealed(wrong[i], line, sizeof line);
        assert_int_equal(parse_mark(bytes, &offset, &size), RECORD_BAD);
    }
    /* A comment without an end does not make the reader wait for one. */
    memcpy(line, "# synced=1", 10);
    memset(line + 10, '1', sizeof line - 10);
    assert_int_equal(parse_mark(toon_bytes(line, sizeof line), &offset, &size),
                     RECORD_BAD);
    for (size_t bit = 0; bit < (sizeof mark - 2) * 8; bit++) {
        memcpy(line, mark, sizeof mark);
        line[bit / 8] = (char)(line[bit / 8] ^ 1 << bit % 8);
        toon_slice bytes = toon_bytes(line, sizeof mark - 1);
        assert_int_equal(parse_mark(bytes, &offset, &size), RECORD_BAD);
    }
    assert_int_equal(offset, 77);
    assert_int_equal(size, 77);
}

static void the_headline_is_written_and_read(void **state) {
    (void)state;
    uint64_t base = 77;
    uint32_t salt = 77;
    size_t size = 77;
    char line[sizeof headline];
    toon_buf buf = {0};
    toon_headline_encode(&buf, 0, SALT);
    toon_buf_append(&buf, "", 1);
    assert_string_equal(buf.data, headline);
    for (size_t k = 0; k < sizeof headline - 1; k++) {
        assert_int_equal(
            parse_headline(toon_bytes(headline, k), &base, &salt, &size),
            RECORD_NEEDS_MORE);
    }
    for (size_t bit = 0; bit < (sizeof headline - 2) * 8; bit++) {
        memcpy(line, headline, sizeof headline);
        line[bit / 8] = (char)(line[bit / 8] ^ 1 << bit % 8);
        toon_slice bytes = toon_bytes(line, sizeof headline - 1);
        assert_int_equal(parse_headline(bytes, &base, &salt, &size),
                         RECORD_BAD);
    }
    assert_int_equal(base, 77);
    assert_int_equal(salt, 77);
    assert_int_equal(size, 77);
    buf.size = 0;
    toon_headline_encode(&buf, UINT64_MAX, 0x0000000fu);
    assert_int_equal(parse_headline(toon_buf_slice(&buf), &base, &salt, &size),
                     RECORD_OK);
    assert_true(base == UINT64_MAX);
    assert_int_equal(salt, 0xf);
    assert_int_equal(size, buf.size);
    toon_buf_free(&buf);
}

static void wrong_headlines_are_bad(void **state) {
    (void)state;
    static const char *const ends[] = {
        "base=0 salt=9f3a77c ",
        "base=0 salt=9F3a77c1 ",
        "base= salt=9f3a77c1 ",
        "base=00 salt=9f3a77c1 ",
        "salt=9f3a77c1 ",
        "base=0 ",
        "base=",
        "base=0 salt:9f3a77c1 ",
        "base=0 salt=9f3a77c1",
    };
    uint64_t base = 77;
    uint32_t salt = 77;
    size_t size = 77;
    size_t start = (size_t)(strstr(headline, "base=") - headline);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char line[200];
        memcpy(line, headline, start);
        size_t used = start + strlen(ends[i]);
        memcpy(line + start, ends[i], used - start);
        unsigned crc = toon_crc32c(0, line, used);
        snprintf(line + used, sizeof line - used, "%08x\n", crc);
        assert_int_equal(parse_headline(toon_str(line), &base, &salt, &size),
                         RECORD_BAD);
    }
    assert_int_equal(base, 77);
    assert_int_equal(salt, 77);
    assert_int_equal(size, 77);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lines_with_salt_0_are_written_and_read),
        cmocka_unit_test(the_lines_of_the_salted_log_are_written_and_read),
        cmocka_unit_test(the_whole_log_is_read_line_by_line),
        cmocka_unit_test(no_prefix_of_a_line_is_a_line),
        cmocka_unit_test(no_line_survives_the_flip_of_a_bit),
        cmocka_unit_test(lines_that_the_grammar_forbids_are_bad),
        cmocka_unit_test(upper_case_crcs_are_bad),
        cmocka_unit_test(value_check_refuses_what_the_encoder_would_not_write),
        cmocka_unit_test(base64_that_looks_like_a_number_is_quoted),
        cmocka_unit_test(base64_begins_where_escapes_cost_more),
        cmocka_unit_test(random_records_come_back),
        cmocka_unit_test(every_byte_comes_back),
        cmocka_unit_test(long_base64_values_are_judged_whole),
        cmocka_unit_test(large_keys_and_values_come_back),
        cmocka_unit_test(lines_are_appended_to_what_is_there),
        cmocka_unit_test(a_key_is_itself_and_no_other),
        cmocka_unit_test(damaged_keys_are_told_when_they_are_decoded),
        cmocka_unit_test(a_batch_is_opened_and_closed_in_place),
        cmocka_unit_test(marks_are_written_and_read),
        cmocka_unit_test(wrong_marks_are_bad),
        cmocka_unit_test(the_headline_is_written_and_read),
        cmocka_unit_test(wrong_headlines_are_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
