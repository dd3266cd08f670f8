/*
 * test_mount_options.c - the -o words, and what stat(2) is told.
 */
#include "attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* cmocka.h needs what stands above. */
// clang-format off
#include <cmocka.h>
// clang-format on

static mount_options options;
static char error[256];

static int set_up(void **state) {
    (void)state;
    mount_options_init(&options);
    error[0] = '\0';
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    mount_options_free(&options);
    return 0;
}

static bool parse(const char *words) {
    return mount_options_parse(&options, words, error, sizeof(error));
}

static void words_set_their_fields(void **state) {
    (void)state;
    assert_true(parse("ro,flat,lazy,allow_other,strict_owner,uid=5,gid=6,"
                      "file_mode=0640,dir_mode=750,threads=3,db=0,"
                      "prefix=a\\,b/"));
    assert_true(options.read_only && options.flat && options.lazy);
    assert_true(options.allow_other && options.strict_owner);
    assert_int_equal(options.uid, 5);
    assert_int_equal(options.gid, 6);
    assert_int_equal(options.file_mode, 0640);
    assert_int_equal(options.dir_mode, 0750);
    assert_int_equal(options.threads, 3);
    assert_string_equal(options.prefix, "a,b/");
    assert_true(parse("rw,"));
    assert_false(options.read_only);
}

static void words_of_fstab_are_ignored(void **state) {
    (void)state;
    assert_true(parse("_netdev,nofail,noauto,user,x-systemd.automount,"
                      "comment=hello,defaults,nosuid,relatime"));
    assert_null(options.kernel_words);
    assert_true(parse("noexec,noatime"));
    assert_string_equal(options.kernel_words, "noexec,noatime");
}

static void wrong_words_are_named(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "nonsense",
        "flat=1",
        "uid",
        "uid=",
        "uid=-1",
        "uid=5x",
        "uid=99999999999999999999",
        "file_mode=0778",
        "file_mode=8",
        "dir_mode=07770",
        "threads=65",
        "db=1",
        "xattr=1",
        "fast_open",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        error[0] = '\0';
        assert_false(parse(wrong[i]));
        assert_non_null(strstr(error, wrong[i]));
    }
}

static void a_prefix_has_at_most_its_limit(void **state) {
    (void)state;
    char words[16 + PREFIX_SIZE_MAX];
    memset(words, 'p', sizeof(words));
    memcpy(words, "prefix=", 7);
    words[7 + PREFIX_SIZE_MAX] = '\0';
    assert_true(parse(words));
    words[7 + PREFIX_SIZE_MAX] = 'p';
    words[8 + PREFIX_SIZE_MAX] = '\0';
    assert_false(parse(words));
}

/* -------------------------------------------------------------- attributes */

static void times_before_1970_are_told(void **state) {
    (void)state;
    file_facts facts = {.meta = {.written_ms = -1}};
    struct stat st;
    attr_of_file(&options, &facts, &st);
    assert_int_equal(st.st_mtim.tv_sec, -1);
    assert_int_equal(st.st_mtim.tv_nsec, 999000000);
}

static void modes_are_the_records_or_the_defaults(void **state) {
    (void)state;
    struct stat st;
    file_facts facts = {.size = 513};
    attr_of_file(&options, &facts, &st);
    assert_int_equal(st.st_mode, S_IFREG | 0644);
    assert_int_equal(st.st_blocks, 2);
    facts.meta.mode = TOON_MODE_SYMLINK;
    attr_of_file(&options, &facts, &st);
    assert_true(S_ISLNK(st.st_mode));
    facts.meta.mode = mode_to_store(0, options.file_mode);
    attr_of_file(&options, &facts, &st);
    assert_int_equal(st.st_mode, S_IFREG);
    assert_int_equal(mode_to_store(0644, options.file_mode), 0);
    assert_int_equal(mode_to_store(0755, options.file_mode), 0755);
}

static uint32_t tick(ticks *t, int64_t written_ms, uint64_t version,
                     uint64_t mark) {
    toon_meta meta = {.written_ms = written_ms, .version = version};
    return ticks_of(t, 1, &meta, mark);
}

static void a_time_moves_with_each_version(void **state) {
    (void)state;
    ticks t;
    ticks_init(&t);
    assert_int_equal(tick(&t, 1000, 7, 0), 0);
    assert_int_equal(tick(&t, 1000, 7, 0), 0);
    assert_int_equal(tick(&t, 1000, 8, 0), 1);
    assert_int_equal(tick(&t, 1000, 0, 0), 1);
    assert_int_equal(tick(&t, 1001, 9, 0), 0);
    ticks_keep(&t, 1);
    assert_int_equal(tick(&t, 1001, 10, 0), 0);
    assert_int_equal(tick(&t, 1001, 11, 0), 1);
    ticks_free(&t);
}

static void a_time_stays_when_versions_are_moved(void **state) {
    (void)state;
    ticks t;
    ticks_init(&t);
    assert_int_equal(tick(&t, 1000, 7, 0), 0);
    assert_int_equal(tick(&t, 1000, 8, 0), 1);
    ticks_moved(&t, 1009);
    assert_int_equal(tick(&t, 1000, 1005, 1009), 1);
    assert_int_equal(tick(&t, 1000, 1010, 1009), 2);
    assert_int_equal(tick(&t, 1000, 8, 0), 2); /* read before */
    assert_int_equal(tick(&t, 1000, 1010, 1009), 2);
    ticks_moved(&t, 2009);
    assert_int_equal(tick(&t, 1000, 2001, 2009), 2);
    ticks_free(&t);
}

static void timeouts_never_outlast_the_expiry(void **state) {
    (void)state;
    assert_true(timeout_until(0, 5) >= TIMEOUT_LONG_S);
    assert_true(timeout_until(2000, 1000) < 1.0);
    assert_true(timeout_until(2000, 1000) > 0.9);
    assert_true(timeout_until(2000, 2000) <= 0);
    assert_true(timeout_until(2000, 3000) <= 0);
    assert_true(timeout_until(INT64_MAX, 0) <= TIMEOUT_LONG_S);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(words_set_their_fields),
        TEST(words_of_fstab_are_ignored),
        TEST(wrong_words_are_named),
        TEST(a_prefix_has_at_most_its_limit),
        TEST(times_before_1970_are_told),
        TEST(modes_are_the_records_or_the_defaults),
        TEST(a_time_moves_with_each_version),
        TEST(a_time_stays_when_versions_are_moved),
        TEST(timeouts_never_outlast_the_expiry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
