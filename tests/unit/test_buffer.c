/*
 * test_buffer.c - the content of one open file, against a plain model.
 */
#include "buffer.h"
#include "test_random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* cmocka.h needs what stands above. */
// clang-format off
#include <cmocka.h>
// clang-format on

#define SEED           UINT64_C(0x6275666665723031)
#define ROUNDS         400
#define STEPS          60
#define SIZE_MAX_MODEL 3000

static uint64_t random_state = SEED;

/* A value of the store's kind, which the test must not release by a store. */
static toon_value value_of(const char *text) {
    return (toon_value){.data = text, .size = strlen(text)};
}

static void assert_content(const buffer *b, const char *wanted, size_t size) {
    struct iovec slices[2];
    char all[2 * SIZE_MAX_MODEL];
    size_t used = 0;
    int count = buffer_slices(b, 0, sizeof(all), slices);
    for (int i = 0; i < count; i++) {
        memcpy(all + used, slices[i].iov_base, slices[i].iov_len);
        used += slices[i].iov_len;
    }
    assert_true(buffer_check(b));
    assert_int_equal(buffer_size(b), size);
    assert_int_equal(used, size);
    assert_memory_equal(all, wanted, size);
}

static void an_append_leaves_the_base_alone(void **state) {
    (void)state;
    buffer b;
    toon_value base = value_of("base");
    buffer_init(&b);
    buffer_set_base_size(&b, base.size);
    buffer_set_base(&b, &base);
    assert_true(buffer_append(&b, toon_str("+1")));
    assert_false(b.whole);
    assert_int_equal(buffer_uncommitted(&b).size, 2);
    assert_content(&b, "base+1", 6);
    buffer_committed(&b);
    assert_true(buffer_append(&b, toon_str("23")));
    assert_memory_equal(buffer_uncommitted(&b).data, "23", 2);
    assert_content(&b, "base+123", 8);
    buffer_free(&b);
}

static void a_write_makes_it_whole(void **state) {
    (void)state;
    buffer b;
    toon_value base = value_of("base");
    buffer_init(&b);
    buffer_set_base_size(&b, base.size);
    buffer_set_base(&b, &base);
    assert_true(buffer_append(&b, toon_str("tail")));
    assert_true(buffer_write(&b, 1, toon_str("X")));
    assert_true(b.whole);
    assert_int_equal(buffer_uncommitted(&b).size, 8);
    assert_content(&b, "bXsetail", 8);
    buffer_committed(&b);
    assert_int_equal(buffer_uncommitted(&b).size, 0);
    assert_content(&b, "bXsetail", 8);
    buffer_free(&b);
}

static void holes_are_zeros(void **state) {
    (void)state;
    buffer b;
    buffer_init(&b);
    assert_true(buffer_write(&b, 3, toon_str("x")));
    assert_content(&b, "\0\0\0x", 4);
    assert_true(buffer_truncate(&b, 1));
    assert_true(buffer_truncate(&b, 3));
    assert_content(&b, "\0\0\0", 3);
    buffer_free(&b);
}

static void truncating_to_nothing_needs_no_base(void **state) {
    (void)state;
    buffer b;
    buffer_init(&b);
    buffer_set_base_size(&b, 1000);
    assert_true(buffer_truncate(&b, 0));
    assert_true(b.whole);
    assert_content(&b, "", 0);
    buffer_free(&b);
}

static void what_was_appended_elsewhere_comes_before_ours(void **state) {
    (void)state;
    buffer b;
    toon_value base = value_of("base");
    toon_value newer = value_of("base+1+other");
    buffer_init(&b);
    buffer_set_base_size(&b, base.size);
    buffer_set_base(&b, &base);
    assert_true(buffer_append(&b, toon_str("+1")));
    buffer_committed(&b);
    assert_true(buffer_append(&b, toon_str("+mine")));
    assert_true(buffer_rebase(&b, &newer, false));
    assert_content(&b, "base+1+other+mine", 17);
    assert_memory_equal(buffer_uncommitted(&b).data, "+mine", 5);
    buffer_free(&b);
}

static void another_value_is_no_growth(void **state) {
    (void)state;
    buffer b;
    toon_value base = value_of("base");
    toon_value shorter = value_of("bas");
    toon_value other = value_of("bose and more");
    buffer_init(&b);
    buffer_set_base_size(&b, base.size);
    buffer_set_base(&b, &base);
    assert_false(buffer_rebase(&b, &shorter, false));
    assert_false(buffer_rebase(&b, &other, false));
    assert_content(&b, "base", 4);
    assert_true(buffer_append(&b, toon_str("!")));
    assert_true(buffer_rebase(&b, &other, true));
    assert_content(&b, "bose and more!", 14);
    assert_true(buffer_truncate(&b, 2));
    assert_false(buffer_rebase(&b, &other, true));
    buffer_free(&b);
}

static void a_base_of_known_size_can_be_loaded_later(void **state) {
    (void)state;
    buffer b;
    toon_value value = value_of("value");
    buffer_init(&b);
    buffer_set_base_size(&b, 5);
    assert_true(buffer_append(&b, toon_str("!")));
    assert_int_equal(buffer_size(&b), 6);
    assert_true(buffer_rebase(&b, &value, false));
    assert_content(&b, "value!", 6);
    buffer_free(&b);
}

static void slices_end_where_the_content_does(void **state) {
    (void)state;
    buffer b;
    struct iovec slices[2];
    toon_value base = value_of("base");
    buffer_init(&b);
    buffer_set_base_size(&b, base.size);
    buffer_set_base(&b, &base);
    assert_true(buffer_append(&b, toon_str("tail")));
    assert_int_equal(buffer_slices(&b, 2, 4, slices), 2);
    assert_memory_equal(slices[0].iov_base, "se", 2);
    assert_memory_equal(slices[1].iov_base, "ta", 2);
    assert_int_equal(buffer_slices(&b, 4, 100, slices), 1);
    assert_int_equal(slices[0].iov_len, 4);
    assert_int_equal(buffer_slices(&b, 8, 1, slices), 0);
    buffer_free(&b);
}

static void random_step(buffer *b, char *model, size_t *size) {
    char bytes[64];
    size_t count = random_below(&random_state, sizeof(bytes));
    size_t at = random_below(&random_state, SIZE_MAX_MODEL / 2);
    for (size_t i = 0; i < count; i++) {
        bytes[i] = (char)random_below(&random_state, 256);
    }
    switch (random_below(&random_state, 8)) {
    case 0:
        assert_true(buffer_truncate(b, at));
        if (at > *size) {
            memset(model + *size, 0, at - *size);
        }
        *size = at;
        break;
    case 1:
    case 2:
        at = random_below(&random_state, *size + 50);
        if (at > *size) {
            memset(model + *size, 0, at - *size);
        }
        assert_true(buffer_write(b, at, toon_bytes(bytes, count)));
        memcpy(model + at, bytes, count);
        *size = at + count > *size ? at + count : *size;
        break;
    case 3:
        buffer_committed(b);
        break;
    default:
        if (*size + count < SIZE_MAX_MODEL) {
            assert_true(buffer_append(b, toon_bytes(bytes, count)));
            memcpy(model + *size, bytes, count);
            *size += count;
        }
    }
}

static void random_changes_match_a_model(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        char model[2 * SIZE_MAX_MODEL];
        size_t size = 9;
        buffer b;
        toon_value base = value_of("the start");
        memcpy(model, base.data, size);
        buffer_init(&b);
        buffer_set_base_size(&b, base.size);
        buffer_set_base(&b, &base);
        for (int step = 0; step < STEPS; step++) {
            random_step(&b, model, &size);
            assert_content(&b, model, size);
        }
        buffer_free(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_append_leaves_the_base_alone),
        cmocka_unit_test(a_write_makes_it_whole),
        cmocka_unit_test(holes_are_zeros),
        cmocka_unit_test(truncating_to_nothing_needs_no_base),
        cmocka_unit_test(what_was_appended_elsewhere_comes_before_ours),
        cmocka_unit_test(another_value_is_no_growth),
        cmocka_unit_test(a_base_of_known_size_can_be_loaded_later),
        cmocka_unit_test(slices_end_where_the_content_does),
        cmocka_unit_test(random_changes_match_a_model),
    };
    print_message("seed %llu\n", (unsigned long long)SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
