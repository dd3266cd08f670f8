/*
 * test_key_order.c - the ordered index of keys, against a sorted array.
 *
 * Knows key_order.h and bytes.h alone. Linked with --wrap=malloc and
 * --wrap=realloc, so that memory can run out at any chosen allocation.
 */
#include "key_order.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* cmocka.h wants the headers above */
#include <cmocka.h>

/* ----------------------------------------------------- memory that runs out */

static long allocations_left = -1; /* -1: no limit */

void *__real_malloc(size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *memory, size_t size);

static bool allocation_fails(void) {
    if (allocations_left == 0) {
        return true;
    }
    if (allocations_left > 0) {
        allocations_left--;
    }
    return false;
}

void *__wrap_malloc(size_t size) {
    return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *memory, size_t size) {
    return allocation_fails() ? NULL : __real_realloc(memory, size);
}

/* -------------------------------------------------------------- the model */

enum { KEY_MAX = 65536, MODEL_MAX = 40000 };

struct key {
    size_t size;
    char *data;
};

struct model {
    size_t count;
    struct key key[MODEL_MAX];
};

static struct model model;
static toon_key_order *order;
static uint64_t seed;

static uint64_t random_number(uint64_t below) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
}

static toon_slice slice_of(const struct key *key) {
    return toon_bytes(key->data, key->size);
}

/* The first key of the model that is not less. */
static size_t model_find(toon_slice key, bool *found) {
    size_t low = 0, high = model.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (toon_slice_compare(slice_of(&model.key[middle]), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *found = low < model.count &&
             toon_slice_compare(slice_of(&model.key[low]), key) == 0;
    return low;
}

static void model_insert(toon_slice key) {
    bool found;
    size_t at = model_find(key, &found);
    if (found) {
        return;
    }
    assert_true(model.count < MODEL_MAX);
    memmove(&model.key[at + 1], &model.key[at],
            (model.count - at) * sizeof model.key[0]);
    model.key[at].size = key.size;
    model.key[at].data = __real_malloc(key.size + 1);
    assert_non_null(model.key[at].data);
    if (key.size != 0) {
        memcpy(model.key[at].data, key.data, key.size);
    }
    model.count++;
}

static bool model_remove(toon_slice key) {
    bool found;
    size_t at = model_find(key, &found);
    if (found) {
        free(model.key[at].data);
        model.count--;
        memmove(&model.key[at], &model.key[at + 1],
                (model.count - at) * sizeof model.key[0]);
    }
    return found;
}

/* ----------------------------------------------------- both, side by side */

static void insert(toon_slice key) {
    assert_int_equal(toon_key_order_insert(order, key), TOON_OK);
    model_insert(key);
}

static void take_out(toon_slice key) {
    assert_true(toon_key_order_remove(order, key) == model_remove(key));
}

/* `keys` holds the model's keys from number `at` on; returns the next. */
static size_t expect_keys(const toon_buf *keys, size_t at, size_t count) {
    size_t used = 0;
    for (size_t i = 0; i < count; i++, at++) {
        assert_true(at < model.count);
        assert_true(keys->size - used >= 4);
        size_t size = toon_get_u32(keys->data + used);
        used += 4;
        assert_true(keys->size - used >= size);
        assert_int_equal(size, model.key[at].size);
        assert_memory_equal(keys->data + used, model.key[at].data, size);
        used += size;
    }
    assert_int_equal(used, keys->size);
    return at;
}

static void expect_same(void) {
    toon_buf keys = {0};
    assert_true(toon_key_order_check(order));
    assert_int_equal(toon_key_order_count(order), model.count);
    size_t count = toon_key_order_copy(order, toon_bytes(NULL, 0), false,
                                       SIZE_MAX, SIZE_MAX, &keys);
    assert_int_equal(count, model.count);
    assert_int_equal(expect_keys(&keys, 0, count), model.count);
    toon_buf_free(&keys);
}

static int begin(void **state) {
    (void)state;
    seed = 0x9e3779b97f4a7c15u;
    allocations_left = -1;
    order = toon_key_order_new();
    return order == NULL;
}

static int end(void **state) {
    (void)state;
    toon_key_order_free(order);
    for (size_t i = 0; i < model.count; i++) {
        free(model.key[i].data);
    }
    model.count = 0;
    return 0;
}

static toon_slice number_key(char *out, size_t number) {
    int size = snprintf(out, 17, "key:%012zu", number);
    return toon_bytes(out, (size_t)size);
}

static void insert_number(size_t number) {
    char text[32];
    insert(number_key(text, number));
}

static void take_out_number(size_t number) {
    char text[32];
    take_out(number_key(text, number));
}

static size_t bytes_each(void) {
    return toon_key_order_bytes(order) / toon_key_order_count(order);
}

/* ------------------------------------------------------------------- tests */

static void an_empty_tree_has_nothing(void **state) {
    (void)state;
    toon_buf keys = {0};
    assert_true(toon_key_order_check(order));
    assert_int_equal(toon_key_order_count(order), 0);
    assert_false(toon_key_order_remove(order, toon_str("a")));
    assert_int_equal(
        toon_key_order_copy(order, toon_str(""), false, 10, SIZE_MAX, &keys),
        0);
    assert_int_equal(keys.size, 0);
    toon_key_order_free(NULL);
}

static void a_key_is_there_once(void **state) {
    (void)state;
    insert(toon_str("a"));
    insert(toon_str("a"));
    insert(toon_str(""));
    insert(toon_str(""));
    assert_int_equal(toon_key_order_count(order), 2);
    expect_same();
    take_out(toon_str("a"));
    take_out(toon_str("a"));
    expect_same();
}

static void keys_in_order_fill_their_leaves(void **state) {
    (void)state;
    for (size_t i = 0; i < 30000; i++) {
        insert_number(i);
    }
    expect_same();
    assert_true(bytes_each() <= 18);
}

static void keys_in_reverse_fill_their_leaves(void **state) {
    (void)state;
    for (size_t i = 30000; i > 0; i--) {
        insert_number(i);
    }
    expect_same();
    assert_true(bytes_each() <= 18);
}

static void random_keys_take_little_more_than_their_bytes(void **state) {
    (void)state;
    for (size_t i = 0; i < 30000; i++) {
        uint64_t key[2] = {random_number(UINT64_MAX), random_number(1u << 30)};
        insert(toon_bytes(key, sizeof key));
    }
    expect_same();
    assert_true(bytes_each() <= 24);
}

static void keys_are_removed_from_the_front(void **state) {
    (void)state;
    size_t empty = toon_key_order_bytes(order);
    for (size_t i = 0; i < 20000; i++) {
        insert_number(i);
    }
    for (size_t i = 0; i < 20000; i++) {
        take_out_number(i);
        if (i % 2500 == 0) {
            expect_same();
        }
    }
    expect_same();
    assert_true(toon_key_order_bytes(order) <= empty + 256);
}

static void keys_are_removed_from_the_back(void **state) {
    (void)state;
    for (size_t i = 0; i < 20000; i++) {
        insert_number(i);
    }
    for (size_t i = 20000; i > 0; i--) {
        take_out_number(i - 1);
    }
    expect_same();
    insert_number(7);
    expect_same();
}

static void thinned_out_leaves_are_merged(void **state) {
    (void)state;
    for (size_t i = 0; i < 30000; i++) {
        insert_number(i);
    }
    size_t full = toon_key_order_bytes(order);
    for (size_t i = 0; i < 30000; i++) {
        if (i % 20 != 0) {
            take_out_number(i);
        }
    }
    expect_same();
    assert_true(toon_key_order_bytes(order) < full / 6);
}

/* First in, first out: the tree must neither grow nor lean. */
static void a_queue_stays_small(void **state) {
    (void)state;
    for (size_t i = 0; i < 60000; i++) {
        insert_number(i);
        if (i >= 100) {
            take_out_number(i - 100);
        }
    }
    expect_same();
    assert_true(toon_key_order_bytes(order) < 16 * 1024);
}

static void keys_that_are_prefixes_of_each_other_are_in_order(void **state) {
    (void)state;
    static char long_key[3000];
    memset(long_key, 'x', sizeof long_key);
    for (size_t i = 0; i < sizeof long_key; i++) {
        insert(toon_bytes(long_key, (i * 1237) % sizeof long_key));
    }
    expect_same();
    for (size_t i = 0; i < sizeof long_key; i += 2) {
        take_out(toon_bytes(long_key, i));
    }
    expect_same();
}

static void bytes_are_unsigned_and_zero_bytes_count(void **state) {
    (void)state;
    for (size_t a = 0; a < 256; a++) {
        for (size_t b = 0; b < 256; b += 5) {
            char key[12] = {(char)a, 0, 0, 0, 0, 0, 0, 0, 0, (char)b, 0, 0};
            insert(toon_bytes(key, 1 + b % 12));
        }
    }
    expect_same();
}

static void the_largest_keys_are_kept(void **state) {
    (void)state;
    static char huge[KEY_MAX];
    for (size_t i = 0; i < 200; i++) {
        memset(huge, (int)('a' + random_number(2)), KEY_MAX);
        huge[random_number(KEY_MAX)] = (char)random_number(256);
        insert(toon_bytes(huge, KEY_MAX - random_number(2)));
        insert(toon_bytes(huge, random_number(KEY_MAX)));
        insert(toon_bytes(huge, random_number(30)));
        insert_number(i);
    }
    expect_same();
    while (model.count > 0) {
        struct key *key = &model.key[random_number(model.count)];
        memcpy(huge, key->data, key->size);
        take_out(toon_bytes(huge, key->size));
        if (model.count % 100 == 0) {
            expect_same();
        }
    }
    expect_same();
}

/* A long prefix in common, then keys on both sides that lack it. */
static void a_key_without_the_common_prefix_finds_its_place(void **state) {
    (void)state;
    static char key[20000];
    memset(key, 'm', sizeof key);
    for (size_t i = 0; i < 500; i++) {
        key[sizeof key - 2] = (char)(i / 256);
        key[sizeof key - 1] = (char)i;
        insert(toon_bytes(key, sizeof key));
    }
    assert_true(toon_key_order_bytes(order) < 1000 * 1000);
    insert(toon_str("a"));
    insert(toon_str("z"));
    insert(toon_str("m"));
    key[10000] = 'a';
    insert(toon_bytes(key, sizeof key));
    key[10000] = 'z';
    insert(toon_bytes(key, sizeof key));
    expect_same();
}

/* Lengths, alphabet and the share of inserts change from round to round. */
static void random_changes_agree_with_a_sorted_array(void **state) {
    (void)state;
    static char key[600];
    static const size_t sizes[] = {3, 20, 600, 8, 60, 12};
    static const size_t inserts[] = {70, 60, 60, 30, 55, 5};
    print_message("seed %llu\n", (unsigned long long)seed);
    for (size_t round = 0; round < 6; round++) {
        for (size_t i = 0; i < 12000; i++) {
            size_t size = random_number(sizes[round] + 1);
            for (size_t k = 0; k < size; k++) {
                key[k] = (char)('a' + random_number(1 + k % 5));
            }
            if (random_number(100) < inserts[round]) {
                insert(toon_bytes(key, size));
            } else if (i % 2 == 0 || model.count == 0) {
                take_out(toon_bytes(key, size));
            } else {
                struct key *old = &model.key[random_number(model.count)];
                size = old->size;
                memcpy(key, old->data, size);
                take_out(toon_bytes(key, size));
            }
        }
        expect_same();
    }
    while (model.count > 0) {
        size_t size = model.key[model.count / 2].size;
        memcpy(key, model.key[model.count / 2].data, size);
        take_out(toon_bytes(key, size));
    }
    expect_same();
}

static void a_copy_starts_where_it_is_told(void **state) {
    (void)state;
    char text[32];
    for (size_t i = 0; i < 5000; i++) {
        insert_number(2 * i);
    }
    for (size_t i = 0; i < 10000; i += 37) {
        for (int after = 0; after < 2; after++) {
            toon_buf keys = {0};
            bool found;
            toon_slice from = number_key(text, i);
            size_t at = model_find(from, &found) + (found && after);
            size_t want = at + 3 < model.count ? 3 : model.count - at;
            assert_int_equal(
                toon_key_order_copy(order, from, after, 3, SIZE_MAX, &keys),
                want);
            (void)expect_keys(&keys, at, want);
            toon_buf_free(&keys);
        }
    }
}

static void copies_one_after_the_other_show_every_key_once(void **state) {
    (void)state;
    char text[32];
    for (size_t i = 0; i < 9000; i++) {
        insert_number(i);
    }
    size_t at = 0;
    toon_slice from = toon_bytes(NULL, 0);
    while (at < model.count) {
        toon_buf keys = {0};
        size_t count =
            toon_key_order_copy(order, from, at != 0, 7, SIZE_MAX, &keys);
        assert_true(count > 0);
        at = expect_keys(&keys, at, count);
        toon_buf_free(&keys);
        memcpy(text, model.key[at - 1].data, model.key[at - 1].size);
        from = toon_bytes(text, model.key[at - 1].size);
    }
    toon_buf keys = {0};
    assert_int_equal(toon_key_order_copy(order, from, true, 7, SIZE_MAX, &keys),
                     0);
}

/* Each key here takes 20 bytes with its length. */
static void a_copy_ends_at_its_limits(void **state) {
    (void)state;

    static const struct {
        size_t max_keys, max_bytes, copied;
    } limits[] = {
        {0, SIZE_MAX, 0},    {1, SIZE_MAX, 1},    {999, SIZE_MAX, 999},
        {SIZE_MAX, 0, 0},    {SIZE_MAX, 1, 1},    {SIZE_MAX, 20, 1},
        {10, 21, 2},         {SIZE_MAX, 200, 10}, {1000, 20000, 1000},
        {1001, 20001, 1000},
    };

    for (size_t i = 0; i < 1000; i++) {
        insert_number(i);
    }
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        toon_buf keys = {0};
        assert_int_equal(toon_key_order_copy(order, toon_str(""), false,
                                             limits[i].max_keys,
                                             limits[i].max_bytes, &keys),
                         limits[i].copied);
        (void)expect_keys(&keys, 0, limits[i].copied);
        toon_buf_free(&keys);
    }
}

static void a_copy_adds_to_what_the_buffer_holds(void **state) {
    (void)state;
    toon_buf keys = {0};
    insert(toon_str("a"));
    toon_buf_append_str(&keys, "before");
    assert_int_equal(
        toon_key_order_copy(order, toon_str(""), false, 9, 1, &keys), 1);
    assert_int_equal(keys.size, 11);
    assert_memory_equal(keys.data, "before\1\0\0\0a", 11);
    toon_buf_free(&keys);
}

/* Every insert meets every allocation that it makes failing, once. */
static void no_memory_leaves_the_tree_as_it_was(void **state) {
    (void)state;
    char key[64];
    size_t failures = 0;
    for (size_t i = 0; i < 6000; i++) {
        size_t size = 8 + random_number(i % 100 == 0 ? 57 : 20);
        for (size_t k = 0; k < size; k++) {
            key[k] = (char)('a' + random_number(3));
        }
        for (long allowed = 0;; allowed++) {
            allocations_left = allowed;
            toon_err err = toon_key_order_insert(order, toon_bytes(key, size));
            allocations_left = -1;
            if (err == TOON_OK) {
                break;
            }
            failures++;
            assert_int_equal(err, TOON_NO_MEMORY);
            assert_int_equal(toon_key_order_count(order), model.count);
            if (i % 500 == 0) {
                expect_same();
            }
        }
        model_insert(toon_bytes(key, size));
    }
    assert_true(failures > 1000);
    expect_same();
}

static void no_memory_at_the_first_split_does_no_harm(void **state) {
    (void)state;
    size_t i = 0;
    char text[32];
    toon_err err = TOON_OK;
    allocations_left = 200;
    while (err == TOON_OK) {
        err = toon_key_order_insert(order, number_key(text, 1000003 * i));
        if (err == TOON_OK) {
            model_insert(toon_str(text));
            i++;
        }
    }
    /* Again and again: nothing may pile up. */
    for (int k = 0; k < 100; k++) {
        assert_int_equal(toon_key_order_insert(order, toon_str(text)),
                         TOON_NO_MEMORY);
    }
    allocations_left = -1;
    expect_same();
    insert(number_key(text, 1000003 * i));
    expect_same();
}

static void removing_never_needs_memory(void **state) {
    (void)state;
    for (size_t i = 0; i < 20000; i++) {
        insert_number(random_number(1000000));
    }
    allocations_left = 0;
    while (model.count > 0) {
        char text[32];
        struct key *key = &model.key[random_number(model.count)];
        memcpy(text, key->data, key->size);
        take_out(toon_bytes(text, key->size));
    }
    assert_true(toon_key_order_check(order));
    allocations_left = -1;
    insert_number(1);
    expect_same();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(an_empty_tree_has_nothing),
        TEST(a_key_is_there_once),
        TEST(keys_in_order_fill_their_leaves),
        TEST(keys_in_reverse_fill_their_leaves),
        TEST(random_keys_take_little_more_than_their_bytes),
        TEST(keys_are_removed_from_the_front),
        TEST(keys_are_removed_from_the_back),
        TEST(thinned_out_leaves_are_merged),
        TEST(a_queue_stays_small),
        TEST(keys_that_are_prefixes_of_each_other_are_in_order),
        TEST(bytes_are_unsigned_and_zero_bytes_count),
        TEST(the_largest_keys_are_kept),
        TEST(a_key_without_the_common_prefix_finds_its_place),
        TEST(random_changes_agree_with_a_sorted_array),
        TEST(a_copy_starts_where_it_is_told),
        TEST(copies_one_after_the_other_show_every_key_once),
        TEST(a_copy_ends_at_its_limits),
        TEST(a_copy_adds_to_what_the_buffer_holds),
        TEST(no_memory_leaves_the_tree_as_it_was),
        TEST(no_memory_at_the_first_split_does_no_harm),
        TEST(removing_never_needs_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
