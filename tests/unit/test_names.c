/*
 * test_names.c - keys as paths, both ways: doc/mount.md's rules, and round trips
 * over random bytes.
 */
#include "names.h"
#include "test_random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* cmocka.h needs what stands above. */
// clang-format off
#include <cmocka.h>
// clang-format on

#define SEED   UINT64_C(0x70076c6f)
#define ROUNDS 200000

static uint64_t random_state = SEED;

static void assert_path(toon_slice key, bool flat, const char *path) {
    char out[PATH_SIZE_MAX];
    size_t size;
    assert_true(path_encode(key, flat, out, sizeof(out), &size));
    if (size != strlen(path) || memcmp(out, path, size) != 0) {
        fail_msg("wanted %s, got %.*s", path, (int)size, out);
    }
}

static void assert_name(const char *text, bool flat, name_kind kind,
                        toon_slice component) {
    name_text out;
    assert_int_equal(name_decode(toon_str(text), flat, &out), kind);
    assert_int_equal(out.size, component.size);
    assert_memory_equal(out.data, component.data, component.size);
}

/* What the file system makes of a path: the key it is for, by tree rules. */
static bool key_of_path(toon_slice path, bool flat, char *key, size_t *size) {
    *size = 0;
    for (bool last = false; !last;) {
        const char *slash = memchr(path.data, '/', path.size);
        last = slash == NULL;
        toon_slice text = toon_bytes(
            path.data, last ? path.size : (size_t)(slash - path.data));
        name_text component;
        name_kind kind = name_decode(text, flat, &component);
        if (kind != NAME_PLAIN && kind != (last ? NAME_LAST : NAME_EMPTY)) {
            return false;
        }
        memcpy(key + *size, component.data, component.size);
        *size += component.size;
        if (!last) {
            key[(*size)++] = '/';
            path = toon_bytes(slash + 1, path.size - text.size - 1);
        }
    }
    return true;
}

/* ------------------------------------------------------------------- tests */

static void plain_keys_are_their_paths(void **state) {
    (void)state;
    assert_path(toon_str("users/1"), false, "users/1");
    assert_path(toon_str("foo%20bar"), false, "foo%20bar");
    assert_path(toon_str("a b\xff\n"), false, "a b\xff\n");
    assert_path(toon_str("%2f"), false, "%2f");
    assert_path(toon_str("..."), false, "...");
    assert_path(toon_str(".toonx"), false, ".toonx");
}

static void empty_components_have_names(void **state) {
    (void)state;
    assert_path(toon_str(""), false, "%2F");
    assert_path(toon_str("/"), false, "%/%2F");
    assert_path(toon_str("a/"), false, "a/%2F");
    assert_path(toon_str("a//b"), false, "a/%/b");
    assert_path(toon_str("/a"), false, "%/a");
    assert_name("%", false, NAME_EMPTY, toon_str(""));
    assert_name("%2F", false, NAME_LAST, toon_str(""));
}

static void names_that_mean_something_else_are_coded(void **state) {
    (void)state;
    assert_path(toon_str("."), false, "%2E");
    assert_path(toon_str(".."), false, "%2E%2E");
    assert_path(toon_str("a/./.."), false, "a/%2E/%2E%2E");
    assert_path(toon_str(".toon"), false, "%2Etoon");
    assert_path(toon_str("x/.toonstore"), false, "x/%2Etoonstore");
    assert_name("%2E", false, NAME_PLAIN, toon_str("."));
    assert_name("%2E%2E", false, NAME_PLAIN, toon_str(".."));
    assert_name("%2Etoon", false, NAME_PLAIN, toon_str(".toon"));
    assert_name("%2Etoonstore", false, NAME_PLAIN, toon_str(".toonstore"));
    assert_name("%3D", false, NAME_VALUE, toon_str(""));
    assert_name(".toon", false, NAME_OWN, toon_str(""));
    assert_name(".toonstore", false, NAME_OWN, toon_str(""));
}

static void literal_codes_gain_a_25(void **state) {
    (void)state;
    assert_path(toon_str("%"), false, "%25");
    assert_path(toon_str("%25"), false, "%2525");
    assert_path(toon_str("%2E"), false, "%252E");
    assert_path(toon_str("%252E"), false, "%25252E");
    assert_path(toon_str("%2E%2E"), false, "%252E%2E");
    assert_path(toon_str("%2F"), false, "%252F");
    assert_path(toon_str("%3D"), false, "%253D");
    assert_path(toon_str("%2Etoon"), false, "%252Etoon");
    assert_path(toon_str("%2Etoonstore"), false, "%252Etoonstore");
    assert_path(toon_str("%2Ex"), false, "%2Ex");
    assert_path(toon_str("x%2E"), false, "x%2E");
    assert_name("%25", false, NAME_PLAIN, toon_str("%"));
    assert_name("%252F", false, NAME_PLAIN, toon_str("%2F"));
}

static void nul_is_coded_anywhere(void **state) {
    (void)state;
    assert_path(toon_bytes("\0", 1), false, "%00");
    assert_path(toon_bytes("a\0b", 3), false, "a%00b");
    assert_path(toon_str("a%00b"), false, "a%2500b");
    assert_path(toon_str("%2500"), false, "%252500");
    assert_path(toon_bytes("%\0", 2), false, "%%00");
    assert_path(toon_bytes("%25\0", 4), false, "%25%00");
    assert_name("a%00b", false, NAME_PLAIN, toon_bytes("a\0b", 3));
    assert_name("%%00", false, NAME_PLAIN, toon_bytes("%\0", 2));
}

static void flat_names_have_no_slashes(void **state) {
    (void)state;
    assert_path(toon_str("a/b"), true, "a%2Fb");
    assert_path(toon_str("/"), true, "%2F");
    assert_path(toon_str(""), true, "%");
    assert_path(toon_str("%"), true, "%25");
    assert_path(toon_str("a%2Fb"), true, "a%252Fb");
    assert_path(toon_str("%2F"), true, "%252F");
    assert_path(toon_str("."), true, "%2E");
    assert_path(toon_str("./"), true, ".%2F");
    assert_name("%2F", true, NAME_PLAIN, toon_str("/"));
    assert_name("%", true, NAME_PLAIN, toon_str(""));
}

static void a_name_has_at_most_1024_bytes(void **state) {
    (void)state;
    char text[NAME_SIZE_MAX + 1];
    name_text out;
    memset(text, 'n', sizeof(text));
    assert_true(
        name_encode(toon_bytes(text, NAME_SIZE_MAX), true, false, &out));
    assert_int_equal(out.size, NAME_SIZE_MAX);
    assert_false(
        name_encode(toon_bytes(text, NAME_SIZE_MAX + 1), true, false, &out));
    assert_int_equal(name_decode(toon_bytes(text, NAME_SIZE_MAX), false, &out),
                     NAME_PLAIN);
    assert_int_equal(
        name_decode(toon_bytes(text, NAME_SIZE_MAX + 1), false, &out),
        NAME_TOO_LONG);
    /* Codes count: 341 NULs are 1,023 bytes, one more does not fit. */
    memset(text, 0, sizeof(text));
    assert_true(name_encode(toon_bytes(text, 341), true, false, &out));
    assert_false(name_encode(toon_bytes(text, 342), true, false, &out));
}

static void a_path_has_at_most_4095_bytes(void **state) {
    (void)state;
    char key[PATH_SIZE_MAX + 1];
    memset(key, 'n', sizeof(key));
    for (size_t i = 1000; i < sizeof(key); i += 1000) {
        key[i] = '/';
    }
    assert_true(key_is_shown(toon_bytes(key, PATH_SIZE_MAX), false));
    assert_false(key_is_shown(toon_bytes(key, PATH_SIZE_MAX + 1), false));
    assert_false(key_is_shown(toon_bytes(key, PATH_SIZE_MAX), true));
    assert_true(key_is_shown(toon_str(""), false));
}

/* Bytes of which codes are made, so that near misses are frequent. */
static size_t random_bytes(char *out, size_t max, bool slashes) {
    static const char alphabet[] = "%%%2525003DEF2Etoonstore./\0\n\xff";
    size_t size = random_below(&random_state, max + 1);
    for (size_t i = 0; i < size; i++) {
        do {
            out[i] =
                alphabet[random_below(&random_state, sizeof(alphabet) - 1)];
        } while (!slashes && (out[i] == '/' || out[i] == '\0'));
    }
    return size;
}

static void every_key_comes_back_from_its_path(void **state) {
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        char key[24], path[PATH_SIZE_MAX], back[PATH_SIZE_MAX];
        size_t size = random_bytes(key, sizeof(key), true);
        bool flat = i % 2 != 0;
        size_t path_size, back_size;
        assert_true(path_encode(toon_bytes(key, size), flat, path, sizeof(path),
                                &path_size));
        assert_null(memchr(path, '\0', path_size));
        assert_true(flat ? memchr(path, '/', path_size) == NULL : true);
        assert_true(
            key_of_path(toon_bytes(path, path_size), flat, back, &back_size));
        assert_int_equal(back_size, size);
        assert_memory_equal(back, key, size);
    }
}

static void every_name_comes_back_from_its_component(void **state) {
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        char text[16];
        size_t size = random_bytes(text, sizeof(text), false);
        bool flat = i % 2 != 0;
        name_text component, again;
        name_kind kind = name_decode(toon_bytes(text, size), flat, &component);
        bool dots = size <= 2 && memcmp(text, "..", size) == 0;
        if (kind != NAME_PLAIN || dots) {
            continue;
        }
        assert_true(name_encode(toon_bytes(component.data, component.size),
                                true, flat, &again));
        assert_int_equal(again.size, size);
        assert_memory_equal(again.data, text, size);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_keys_are_their_paths),
        cmocka_unit_test(empty_components_have_names),
        cmocka_unit_test(names_that_mean_something_else_are_coded),
        cmocka_unit_test(literal_codes_gain_a_25),
        cmocka_unit_test(nul_is_coded_anywhere),
        cmocka_unit_test(flat_names_have_no_slashes),
        cmocka_unit_test(a_name_has_at_most_1024_bytes),
        cmocka_unit_test(a_path_has_at_most_4095_bytes),
        cmocka_unit_test(every_key_comes_back_from_its_path),
        cmocka_unit_test(every_name_comes_back_from_its_component),
    };
    print_message("seed %llu\n", (unsigned long long)SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
