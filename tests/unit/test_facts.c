/* test_facts.c - the small memory of what is known of large values. */
#include "facts.h"
#include "fixture.h"

#include <pthread.h>

static bool no_memory;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size) {
    return no_memory ? NULL : __real_calloc(count, size);
}

static toon_fact fact_of(uint64_t number) {
    return (toon_fact){
        .chain_size = number << 33 | 1,
        .line_size = (uint32_t)number,
        .value_size = ~(uint32_t)number,
        .tiny = (uint8_t)(number % 64),
        .small = (uint8_t)(number % 127),
    };
}

static void assert_known(toon_facts *facts, uint64_t offset, uint64_t number) {
    toon_fact fact;
    toon_fact expected = fact_of(number);
    assert_true(toon_facts_find(facts, offset, &fact));
    assert_int_equal(fact.chain_size, expected.chain_size);
    assert_int_equal(fact.line_size, expected.line_size);
    assert_int_equal(fact.value_size, expected.value_size);
    assert_int_equal(fact.tiny, expected.tiny);
    assert_int_equal(fact.small, expected.small);
}

static void assert_unknown(toon_facts *facts, uint64_t offset) {
    toon_fact fact;
    assert_false(toon_facts_find(facts, offset, &fact));
}

static void put_fact(toon_facts *facts, uint64_t offset, uint64_t number) {
    toon_fact fact = fact_of(number);
    toon_facts_put(facts, offset, &fact);
}

static void what_is_put_is_found_until_it_is_forgotten(void **state) {
    toon_facts *facts = toon_facts_new();
    (void)state;
    assert_unknown(facts, 158);
    toon_facts_forget(facts, 158);
    put_fact(facts, 158, 1);
    put_fact(facts, ((uint64_t)1 << 40) - 1, 2);
    assert_known(facts, 158, 1);
    assert_known(facts, ((uint64_t)1 << 40) - 1, 2);
    put_fact(facts, 158, 3);
    assert_known(facts, 158, 3);
    assert_int_equal(toon_facts_count(facts), 2);
    toon_facts_forget(facts, 158);
    assert_unknown(facts, 158);
    assert_known(facts, ((uint64_t)1 << 40) - 1, 2);
    assert_int_equal(toon_facts_count(facts), 1);
    toon_facts_free(facts);
}

static void the_table_is_bounded_and_keeps_what_is_used(void **state) {
    enum { USED = 50 };

    toon_facts *facts = toon_facts_new();
    (void)state;
    for (uint64_t i = 0; i < 20 * TOON_FACTS_COUNT_MAX; i++) {
        put_fact(facts, 1000 + 46 * i, i);
        assert_known(facts, 1000 + 46 * (i % USED), i % USED);
        assert_known(facts, 1000 + 46 * i, i);
    }
    size_t count = toon_facts_count(facts);
    assert_true(count <= TOON_FACTS_COUNT_MAX);
    assert_true(count > TOON_FACTS_COUNT_MAX / 10 * 9); /* spread evenly */
    toon_facts_free(facts);
}

static void without_memory_nothing_is_remembered(void **state) {
    (void)state;
    no_memory = true;
    assert_null(toon_facts_new());
    no_memory = false;
    toon_facts *facts = toon_facts_new();
    no_memory = true;
    put_fact(facts, 158, 1);
    assert_unknown(facts, 158);
    assert_int_equal(toon_facts_count(facts), 0);
    no_memory = false;
    put_fact(facts, 158, 1);
    assert_known(facts, 158, 1);
    toon_facts_free(facts);
    toon_facts_free(NULL);
}

enum { THREADS = 3, ROUNDS = 20000, OFFSETS = 97 };

/* Whatever others do, a fact is whole; else it returns what is not NULL. */
static void *put_and_find(void *arg) {
    toon_facts *facts = arg;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t offset = 200 + i % OFFSETS;
        toon_fact fact;
        if (i % 7 == 0)
            toon_facts_forget(facts, offset);
        else if (i % 3 == 0)
            put_fact(facts, offset, i);
        else if (toon_facts_find(facts, offset, &fact) &&
                 fact.value_size != ~fact.line_size)
            return arg;
    }
    return NULL;
}

static void threads_find_whole_facts(void **state) {
    toon_facts *facts = toon_facts_new();
    pthread_t threads[THREADS];
    (void)state;
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, put_and_find, facts),
                         0);
    for (size_t i = 0; i < THREADS; i++) {
        void *wrong;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    toon_facts_free(facts);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_is_found_until_it_is_forgotten),
        cmocka_unit_test(the_table_is_bounded_and_keeps_what_is_used),
        cmocka_unit_test(without_memory_nothing_is_remembered),
        cmocka_unit_test(threads_find_whole_facts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
