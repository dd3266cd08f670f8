/*
 * test_epoch.c - nothing is freed under a reader, and everything is at last.
 *
 * Knows epoch.h only.
 */
#include "epoch.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* cmocka.h needs what stands above. */
// clang-format off
#include <cmocka.h>
// clang-format on

/* The linker gives us the calls of calloc: -Wl,--wrap=calloc. */
static atomic_bool memory_is_out;
void *real_calloc(size_t count, size_t size) __asm__("__real_calloc");
void *scarce_calloc(size_t count, size_t size) __asm__("__wrap_calloc");

void *scarce_calloc(size_t count, size_t size) {
    return atomic_load(&memory_is_out) ? NULL : real_calloc(count, size);
}

static void count_up(void *arg) {
    atomic_fetch_add((atomic_uint *)arg, 1);
}

static void sleep_ms(long ms) {
    const struct timespec time = {.tv_sec = ms / 1000,
                                  .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* A reader in a thread of its own that stays inside until told to leave. */
typedef struct reader {
    pthread_t thread;
    atomic_bool inside, leave, left;
    long stay_ms; /* after it was told */
} reader;

static void *stay_inside(void *arg) {
    reader *me = arg;
    if (!toon_epoch_enter()) {
        return NULL;
    }
    atomic_store(&me->inside, true);
    while (!atomic_load(&me->leave)) {
        sleep_ms(1);
    }
    sleep_ms(me->stay_ms);
    atomic_store(&me->left, true);
    toon_epoch_leave();
    return NULL;
}

static void start_reader(reader *r) {
    assert_int_equal(pthread_create(&r->thread, NULL, stay_inside, r), 0);
    while (!atomic_load(&r->inside)) {
        sleep_ms(1);
    }
}

static void stop_reader(reader *r) {
    atomic_store(&r->leave, true);
    pthread_join(r->thread, NULL);
}

static void with_no_reader_inside_memory_is_freed_at_once(void **state) {
    (void)state;
    atomic_uint freed = 0;
    toon_epoch_retire(count_up, &freed);
    assert_int_equal(freed, 1);
    toon_epoch_retire(count_up, &freed);
    assert_int_equal(freed, 2);
}

static void what_a_thread_retires_inside_waits_for_it_to_leave(void **state) {
    (void)state;
    atomic_uint freed = 0;
    assert_true(toon_epoch_enter());
    toon_epoch_retire(count_up, &freed);
    assert_true(toon_epoch_enter());
    toon_epoch_retire(count_up, &freed);
    toon_epoch_retire(count_up, &freed);
    toon_epoch_leave();
    toon_epoch_retire(count_up, &freed);
    assert_int_equal(freed, 0);
    toon_epoch_leave();
    toon_epoch_retire(count_up, &freed);
    assert_int_equal(freed, 5);
}

static void nothing_is_freed_under_a_reader_of_another_thread(void **state) {
    (void)state;
    atomic_uint freed = 0;
    reader r = {0};
    start_reader(&r);
    for (int i = 0; i < 2000; i++) {
        toon_epoch_retire(count_up, &freed);
    }
    assert_int_equal(freed, 0);
    stop_reader(&r);
    toon_epoch_retire(count_up, &freed);
    assert_int_equal(freed, 2001);
}

static void drain_waits_for_the_readers_that_are_inside(void **state) {
    (void)state;
    atomic_uint freed = 0;
    reader r = {.stay_ms = 50};
    start_reader(&r);
    toon_epoch_retire(count_up, &freed);
    assert_int_equal(freed, 0);
    atomic_store(&r.leave, true);
    toon_epoch_drain();
    assert_true(atomic_load(&r.left));
    assert_int_equal(freed, 1);
    pthread_join(r.thread, NULL);
}

static void lazy_retirements_are_freed_at_the_64th(void **state) {
    (void)state;
    atomic_uint freed = 0;
    toon_epoch_drain();
    for (int i = 1; i <= 63; i++) {
        toon_epoch_retire_lazily(count_up, &freed, 100);
    }
    assert_int_equal(freed, 0);
    toon_epoch_retire_lazily(count_up, &freed, 100);
    assert_int_equal(freed, 64);
}

static void lazy_retirements_are_freed_at_one_mebibyte(void **state) {
    (void)state;
    const size_t mebibyte = 1 << 20;
    atomic_uint freed = 0;
    toon_epoch_drain();
    toon_epoch_retire_lazily(count_up, &freed, mebibyte - 1);
    assert_int_equal(freed, 0);
    toon_epoch_retire_lazily(count_up, &freed, 1);
    assert_int_equal(freed, 2);
    toon_epoch_retire_lazily(count_up, &freed, SIZE_MAX);
    assert_int_equal(freed, 3);
    toon_epoch_retire_lazily(count_up, &freed, 1);
    toon_epoch_retire(count_up, &freed);
    assert_int_equal(freed, 5);
}

static void without_memory_retiring_waits_for_the_readers(void **state) {
    (void)state;
    atomic_uint freed = 0;
    toon_epoch_drain();
    reader r = {.stay_ms = 20};
    start_reader(&r);
    atomic_store(&memory_is_out, true);
    for (int i = 0; i < 512; i++) {
        toon_epoch_retire(count_up, &freed);
    }
    assert_int_equal(freed, 0);
    atomic_store(&r.leave, true);
    toon_epoch_retire(count_up, &freed);
    assert_true(atomic_load(&r.left));
    toon_epoch_drain();
    assert_int_equal(freed, 513);
    atomic_store(&memory_is_out, false);
    pthread_join(r.thread, NULL);
}

typedef struct chain {
    atomic_uint *freed;
    unsigned left;
} chain;

static void retire_the_next(void *arg) {
    chain *link = arg;
    atomic_fetch_add(link->freed, 1);
    if (link->left-- > 0) {
        toon_epoch_retire(retire_the_next, link);
    }
}

static void freeing_may_retire_again(void **state) {
    (void)state;
    atomic_uint freed = 0;
    chain first = {&freed, 100000};
    toon_epoch_retire(retire_the_next, &first);
    while (freed < 100001) {
        toon_epoch_drain();
    }
    assert_int_equal(freed, 100001);
}

static void *note_number(void *arg) {
    if (toon_epoch_enter()) {
        *(unsigned *)arg = toon_epoch_thread();
        toon_epoch_leave();
    }
    return NULL;
}

static void numbers_of_threads_are_unique_and_used_again(void **state) {
    (void)state;
    assert_true(toon_epoch_enter());
    unsigned mine = toon_epoch_thread();
    unsigned most = 0;
    for (int i = 0; i < 100; i++) {
        unsigned other = mine;
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, note_number, &other), 0);
        pthread_join(thread, NULL);
        assert_int_not_equal(other, mine);
        most = other > most ? other : most;
    }
    assert_int_equal(toon_epoch_thread(), mine);
    toon_epoch_leave();
    assert_true(most < 8);
}

/* ------------------------------------------------------ readers and writers */

enum { ALIVE = 0x600d, DEAD = 0xdead };

typedef struct thing {
    unsigned mark[16];
} thing;

typedef struct stage {
    _Atomic(thing *) shown;
    atomic_bool over, failed;
    atomic_uint made, freed;
} stage;

static stage on;

static thing *make_thing(void) {
    thing *made = malloc(sizeof *made);
    assert_non_null(made);
    for (int i = 0; i < 16; i++) {
        made->mark[i] = ALIVE;
    }
    atomic_fetch_add(&on.made, 1);
    return made;
}

static void free_thing(void *arg) {
    thing *dying = arg;
    for (int i = 0; i < 16; i++) {
        dying->mark[i] = DEAD;
    }
    free(dying);
    atomic_fetch_add(&on.freed, 1);
}

static void *read_things(void *arg) {
    (void)arg;
    while (!atomic_load(&on.over)) {
        if (!toon_epoch_enter()) {
            break;
        }
        const thing *seen =
            atomic_load_explicit(&on.shown, memory_order_acquire);
        bool alive = true;
        for (int i = 0; i < 64; i++) {
            alive = alive && seen->mark[i % 16] == ALIVE;
        }
        toon_epoch_leave();
        if (!alive) {
            atomic_store(&on.failed, true);
        }
    }
    return NULL;
}

static void *replace_things(void *arg) {
    bool lazily = arg != NULL;
    while (!atomic_load(&on.over)) {
        thing *old = atomic_exchange(&on.shown, make_thing());
        if (lazily) {
            toon_epoch_retire_lazily(free_thing, old, sizeof *old);
        } else {
            toon_epoch_retire(free_thing, old);
        }
    }
    return NULL;
}

static void readers_beside_writers_see_only_live_memory(void **state) {
    (void)state;
    atomic_store(&on.shown, make_thing());
    pthread_t threads[4];
    assert_int_equal(pthread_create(&threads[0], NULL, read_things, NULL), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, read_things, NULL), 0);
    assert_int_equal(pthread_create(&threads[2], NULL, replace_things, NULL),
                     0);
    assert_int_equal(pthread_create(&threads[3], NULL, replace_things, &on), 0);
    sleep_ms(1000);
    atomic_store(&on.over, true);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    toon_epoch_drain();
    assert_false(atomic_load(&on.failed));
    assert_true(on.made > 100);
    assert_int_equal(on.freed, on.made - 1);
    free(atomic_load(&on.shown));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_no_reader_inside_memory_is_freed_at_once),
        cmocka_unit_test(what_a_thread_retires_inside_waits_for_it_to_leave),
        cmocka_unit_test(nothing_is_freed_under_a_reader_of_another_thread),
        cmocka_unit_test(drain_waits_for_the_readers_that_are_inside),
        cmocka_unit_test(lazy_retirements_are_freed_at_the_64th),
        cmocka_unit_test(lazy_retirements_are_freed_at_one_mebibyte),
        cmocka_unit_test(without_memory_retiring_waits_for_the_readers),
        cmocka_unit_test(freeing_may_retire_again),
        cmocka_unit_test(numbers_of_threads_are_unique_and_used_again),
        cmocka_unit_test(readers_beside_writers_see_only_live_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
