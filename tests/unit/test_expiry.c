/* test_expiry.c - the heap of expiry times. */
#include "expiry.h"
#include "fixture.h"

static void entries_come_up_in_the_order_of_their_times(void **state) {
    toon_expiry heap = {0};
    uint64_t random = 42;
    (void)state;
    for (uint64_t i = 0; i < 2000; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        assert_true(toon_expiry_reserve(&heap, 1));
        toon_expiry_push(
            &heap, (toon_expiry_entry){(int64_t)(random >> 40), i, i + 1});
        assert_true(toon_expiry_check(&heap));
    }
    int64_t last = 0;
    size_t count = 0;
    const toon_expiry_entry *next;
    while ((next = toon_expiry_peek(&heap)) != NULL) {
        assert_true(next->expires_ms >= last);
        last = next->expires_ms;
        toon_expiry_pop(&heap);
        count++;
    }
    assert_int_equal(count, 2000);
    toon_expiry_free(&heap);
}

static bool is_even(void *arg, const toon_expiry_entry *entry) {
    (void)arg;
    return entry->payload % 2 == 0;
}

static void filtering_keeps_order_and_what_is_wanted(void **state) {
    toon_expiry heap = {0};
    (void)state;
    assert_true(toon_expiry_reserve(&heap, 101));
    for (uint64_t i = 0; i < 101; i++)
        toon_expiry_push(&heap,
                         (toon_expiry_entry){(int64_t)((i * 37) % 101), i, i});
    toon_expiry_filter(&heap, is_even, NULL);
    assert_int_equal(heap.count, 51);
    assert_true(toon_expiry_check(&heap));
    toon_expiry_filter(&heap, is_even, NULL);
    assert_int_equal(heap.count, 51);
    toon_expiry_free(&heap);
    assert_null(toon_expiry_peek(&heap));
}

static void memory_follows_the_number_of_entries(void **state) {
    enum { MANY = 100000 };

    toon_expiry heap = {0};
    (void)state;
    for (uint64_t i = 0; i < MANY; i++) {
        assert_true(toon_expiry_reserve(&heap, 1));
        toon_expiry_push(&heap, (toon_expiry_entry){(int64_t)i, i, i + 1});
        assert_true(i < 1000 || heap.capacity <= heap.count + heap.count / 2);
    }
    while (heap.count > 10) {
        toon_expiry_pop(&heap);
        assert_true(toon_expiry_reserve(&heap, 3));
        assert_true(heap.capacity >= heap.count + 3);
    }
    assert_true(heap.capacity < 8192);
    assert_true(toon_expiry_check(&heap));
    assert_int_equal(toon_expiry_peek(&heap)->expires_ms, MANY - 10);
    toon_expiry_free(&heap);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_come_up_in_the_order_of_their_times),
        cmocka_unit_test(memory_follows_the_number_of_entries),
        cmocka_unit_test(filtering_keeps_order_and_what_is_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
