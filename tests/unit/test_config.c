/*
 * test_config.c - directives: flags, files, what is refused; numbers and
 * memory sizes on the way.
 */
#include "config.h"
#include "numbers.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// clang-format off
#include <cmocka.h>

// clang-format on

static int setup(void **state) {
    config *c = malloc(sizeof *c);

    *state = c;
    return c && config_init(c) ? 0 : -1;
}

static int teardown(void **state) {
    config_free(*state);
    free(*state);
    return 0;
}

static bool set(config *c, const char *name, const char *value) {
    char error[CONFIG_ERROR_TEXT] = "";
    bool fine = config_set(c, toon_str(name), toon_str(value), error);

    assert_int_equal(fine, error[0] == '\0');
    return fine;
}

static void defaults_are_those_of_redis_and_safe(void **state) {
    const config *c = *state;

    assert_int_equal(c->port, 6379);
    assert_string_equal(c->bind, "127.0.0.1 -::1");
    assert_int_equal(c->protected_mode, 1);
    assert_string_equal(c->dir, "./data");
    assert_int_equal(c->appendfsync, TOON_SYNC_EVERYSEC);
    assert_int_equal(c->cache_policy, TOON_CACHE_S3FIFO);
    assert_int_equal(c->cache_bytes, 64 * 1024 * 1024);
    assert_int_equal(c->output_limits[OUTPUT_NORMAL].hard_bytes, 0);
    assert_int_equal(c->output_limits[OUTPUT_PUBSUB].soft_s, 60);
}

static void numbers_are_taken_up_to_their_limits(void **state) {
    config *c = *state;

    assert_true(set(c, "port", "65535"));
    assert_false(set(c, "port", "65536"));
    assert_false(set(c, "port", "-1"));
    assert_false(set(c, "port", ""));
    assert_false(set(c, "port", "1 2"));
    assert_int_equal(c->port, 65535);
    assert_true(set(c, "PORT", "0"));
    assert_true(set(c, "unixsocketperm", "777"));
    assert_int_equal(c->unixsocketperm, 0777);
    assert_false(set(c, "unixsocketperm", "1000"));
    assert_false(set(c, "unixsocketperm", "8"));
    assert_true(set(c, "value-max", "512mb"));
    assert_false(set(c, "value-max", "536870913"));
    assert_false(set(c, "maxmemory", "1"));
    assert_int_equal(c->compact_garbage, 50);
    assert_true(set(c, "compact-garbage", "1"));
    assert_true(set(c, "compact-garbage", "100"));
    assert_false(set(c, "compact-garbage", "0"));
    assert_false(set(c, "compact-garbage", "101"));
    assert_int_equal(config_compact_rate(c), 128 << 20);
    assert_true(set(c, "compact-rate", "1"));
    assert_int_equal(config_compact_rate(c), 1);
    assert_true(set(c, "compact-rate", "0"));
    assert_true(config_compact_rate(c) >= INT64_C(1) << 40);
    assert_true(set(c, "cache-policy", "LRU"));
    assert_int_equal(c->cache_policy, TOON_CACHE_LRU);
    assert_false(set(c, "cache-policy", "arc"));
    assert_false(set(c, "appendonly", "no"));
    assert_false(set(c, "nosuch", "1"));
}

static void output_limits_change_one_class_at_a_time(void **state) {
    config *c = *state;

    assert_true(set(c, "client-output-buffer-limit", "normal 1mb 512kb 7"));
    assert_int_equal(c->output_limits[OUTPUT_NORMAL].hard_bytes, 1 << 20);
    assert_int_equal(c->output_limits[OUTPUT_NORMAL].soft_bytes, 1 << 19);
    assert_int_equal(c->output_limits[OUTPUT_NORMAL].soft_s, 7);
    assert_int_equal(c->output_limits[OUTPUT_PUBSUB].soft_s, 60);
    assert_true(
        set(c, "client-output-buffer-limit", "replica 1 2 3 pubsub 4 5 6"));
    assert_int_equal(c->output_limits[OUTPUT_REPLICA].soft_s, 3);
    assert_int_equal(c->output_limits[OUTPUT_PUBSUB].hard_bytes, 4);
    assert_false(set(c, "client-output-buffer-limit", "normal 1 2"));
    assert_false(set(c, "client-output-buffer-limit", "pubsub 1 2 3 x 1 2 3"));
    assert_int_equal(c->output_limits[OUTPUT_PUBSUB].hard_bytes, 4);
}

static bool read_args(config *c, char *error, const char *const *words) {
    char *argv[16] = {strdup("tstd")};
    int argc = 1;
    bool fine = false;

    while (words[argc - 1]) {
        argv[argc] = strdup(words[argc - 1]);
        argc++;
    }
    fine = config_read_args(c, argc, argv, error);
    while (argc > 0)
        free(argv[--argc]);
    return fine;
}

static void flags_take_their_words_up_to_the_next_flag(void **state) {
    config *c = *state;
    char error[CONFIG_ERROR_TEXT];

    assert_true(read_args(c, error,
                          (const char *const[]){"--bind", "127.0.0.1", "::1",
                                                "--port", "7000", "--data",
                                                "/tmp/x", "--save", "900", "1",
                                                "--save", "60", "100", NULL}));
    assert_string_equal(c->bind, "127.0.0.1 ::1");
    assert_int_equal(c->port, 7000);
    assert_string_equal(c->dir, "/tmp/x");
    assert_string_equal(c->save, "900 1 60 100");
    assert_false(
        read_args(c, error, (const char *const[]){"--prot", "1", NULL}));
    assert_string_equal(error,
                        "unknown option '--prot'; tstd --help lists them all");
    assert_false(read_args(c, error, (const char *const[]){"--port", NULL}));
    assert_string_equal(error, "--port: the value is missing");
    assert_false(
        read_args(c, error, (const char *const[]){"--port", "1", "-x", NULL}));
}

static void files_name_the_line_of_a_mistake(void **state) {
    config *c = *state;
    char error[CONFIG_ERROR_TEXT], path[] = "/tmp/toon-conf-XXXXXX";
    int fd = mkstemp(path);
    FILE *out = fdopen(fd, "w");

    fputs("# words\n\n  port 7001\ndir \"/a b\"\nport what\n", out);
    fclose(out);
    assert_false(config_read_file(c, path, error));
    assert_int_equal(c->port, 7001);
    assert_string_equal(c->dir, "/a b");
    assert_non_null(strstr(error, "line 5"));
    assert_non_null(strstr(error, path));
    unlink(path);
    assert_false(config_read_file(c, path, error));
}

static void count_directive(void *arg, const char *name, const char *value) {
    assert_true(name[0] != '\0' && value);
    ++*(int *)arg;
}

static void directives_are_found_by_globs_in_any_case(void **state) {
    const config *c = *state;
    int count = 0;

    config_each(c, toon_str("PORT"), count_directive, &count);
    assert_int_equal(count, 1);
    config_each(c, toon_str("nosuch*"), count_directive, &count);
    assert_int_equal(count, 1);
    config_each(c, toon_str("*"), count_directive, &count);
    assert_true(count > 25);
    assert_true(config_is_mutable(toon_str("timeout")));
    assert_false(config_is_mutable(toon_str("port")));
    assert_true(config_same(toon_str("data"), toon_str("DIR")));
    assert_false(config_same(toon_str("port"), toon_str("dir")));
}

static void copies_share_nothing(void **state) {
    config *c = *state, copy;

    assert_true(config_copy(c, &copy));
    assert_true(set(c, "requirepass", "changed"));
    assert_string_equal(copy.requirepass, "");
    config_free(&copy);
}

static void integers_are_read_strictly(void **state) {
    static const char *const wrong[] = {"",
                                        "-",
                                        "+1",
                                        " 1",
                                        "1 ",
                                        "01",
                                        "-0",
                                        "1.0",
                                        "0x",
                                        "9223372036854775808",
                                        "-9223372036854775809",
                                        "184467440737095516160"};
    int64_t out = 7;
    uint64_t large = 7;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(number_parse(toon_str(wrong[i]), &out));
    assert_int_equal(out, 7);
    assert_true(number_parse(toon_str("9223372036854775807"), &out));
    assert_true(out == INT64_MAX);
    assert_true(number_parse(toon_str("-9223372036854775808"), &out));
    assert_true(out == INT64_MIN);
    assert_true(number_parse(toon_str("0"), &out));
    assert_int_equal(out, 0);
    assert_true(
        number_parse_unsigned(toon_str("18446744073709551615"), &large));
    assert_true(large == UINT64_MAX);
    assert_false(
        number_parse_unsigned(toon_str("18446744073709551616"), &large));
}

static void memory_sizes_have_their_units(void **state) {
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {{"0", 0},          {"17", 17},          {"1b", 1},
                 {"1k", 1000},      {"1kb", 1024},       {"1KB", 1024},
                 {"3m", 3000000},   {"1mb", 1048576},    {"2g", 2000000000},
                 {"1GB", 1u << 30}, {"512mb", 536870912}};

    uint64_t bytes = 0;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_true(memory_parse(toon_str(cases[i].text), &bytes));
        assert_true(bytes == cases[i].bytes);
    }
    assert_false(memory_parse(toon_str("mb"), &bytes));
    assert_false(memory_parse(toon_str("-1"), &bytes));
    assert_false(memory_parse(toon_str("1tb"), &bytes));
    assert_false(memory_parse(toon_str("1 mb"), &bytes));
    assert_false(memory_parse(toon_str("18446744073709551615kb"), &bytes));
}

static void fractions_lose_their_zeros_and_nothing_else(void **state) {
    static const struct {
        const char *in, *out;
    } cases[] = {{"10.50", "10.5"}, {"5.0e3", "5000"},   {"-0", "0"},
                 {"0.1", "0.1"},    {"1e-5", "0.00001"}, {"100", "100"}};

    char text[FLOAT_TEXT_MAX];
    long double value = 0;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t size = 0;

        assert_true(float_parse(toon_str(cases[i].in), &value));
        size = float_format(text, value);
        assert_int_equal(size, strlen(cases[i].out));
        assert_memory_equal(text, cases[i].out, size);
    }
    assert_false(float_parse(toon_str(""), &value));
    assert_false(float_parse(toon_str(" 1"), &value));
    assert_false(float_parse(toon_str("1x"), &value));
    assert_false(float_parse(toon_str("nan"), &value));
    assert_false(float_parse(toon_bytes("1\0", 2), &value));
    assert_true(float_parse(toon_str("inf"), &value));
    assert_true(isinf(value));
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(defaults_are_those_of_redis_and_safe),
        CASE(numbers_are_taken_up_to_their_limits),
        CASE(output_limits_change_one_class_at_a_time),
        CASE(flags_take_their_words_up_to_the_next_flag),
        CASE(files_name_the_line_of_a_mistake),
        CASE(directives_are_found_by_globs_in_any_case),
        CASE(copies_share_nothing),
        cmocka_unit_test(integers_are_read_strictly),
        cmocka_unit_test(memory_sizes_have_their_units),
        cmocka_unit_test(fractions_lose_their_zeros_and_nothing_else),
    };

    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
