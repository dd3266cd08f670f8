/*
 * test_versions.c - files stay what they are when a compaction gives every
 * key another version: at rest, and in the moments around it. The store is a
 * table of operations with one key.
 */
#include "file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* cmocka.h needs what stands above. */
// clang-format off
#include <cmocka.h>
// clang-format on

/* Versions up to BASE are of before a move. */
#define BEFORE 100
#define BASE   1000
#define MOVED  1050
#define MARK   1100
#define LATER  1200

static struct mount *m;
static node *file;

/* The store: one key, which moves when it is told to. */
static struct fake {
    _Atomic uint64_t version, base;
    int looks;
    void (*before_look)(void);
    void (*after_look)(void);
    bool event_due; /* the next who asks for the base has it delivered */
    pthread_t deliverer;
    int sets;
} store;

static void run_once(void (**fn)(void)) {
    void (*once)(void) = *fn;
    *fn = NULL;
    if (once != NULL) {
        once();
    }
}

static toon_meta look(void) {
    store.looks++;
    run_once(&store.before_look);
    toon_meta meta = {.written_ms = 5000, .version = store.version};
    run_once(&store.after_look);
    return meta;
}

static toon_err fake_stat(void *self, toon_slice key, toon_key_stat *out) {
    (void)self;
    (void)key;
    *out = (toon_key_stat){3, look()};
    return TOON_OK;
}

static toon_err fake_get(void *self, toon_slice key, toon_value *out) {
    (void)self;
    (void)key;
    *out = (toon_value){"abc", 3, look(), NULL};
    return TOON_OK;
}

static toon_err fake_pin_value(void *self, toon_slice key, toon_pinned *out) {
    (void)self;
    (void)key;
    *out = (toon_pinned){3, look(), NULL, &store};
    return TOON_OK;
}

static toon_err fake_pinned_get(const toon_pinned *pinned, toon_value *out) {
    assert_ptr_equal(pinned->line, &store);
    *out = (toon_value){"abc", 3, pinned->meta, NULL};
    return TOON_OK;
}

static void fake_pinned_release(toon_pinned *pinned) {
    *pinned = (toon_pinned){0};
}

static toon_err fake_set(void *self, toon_slice key, toon_slice value,
                         const toon_set_options *options) {
    (void)self;
    (void)key;
    (void)value;
    assert_int_equal(options->if_version, 0);
    store.sets++;
    return TOON_OK;
}

static void fake_figures(void *self, toon_stats *out) {
    (void)self;
    *out = (toon_stats){.keys = 1};
}

static toon_err fake_reserve(void *self, size_t bytes) {
    (void)self;
    (void)bytes;
    return TOON_OK;
}

static void tell_moved(void) {
    notices_on_change(
        m, &(toon_change){.kind = TOON_CHANGE_MOVED, .version = MARK});
}

static void *deliver(void *arg) {
    tell_moved();
    return arg;
}

static uint64_t fake_version_base(void *self) {
    (void)self;
    if (store.event_due) {
        store.event_due = false;
        assert_int_equal(pthread_create(&store.deliverer, NULL, deliver, NULL),
                         0);
    }
    return store.base;
}

/* The volume is swapped; who looks sees it, and nobody was told. */
static void move_store(void) {
    store.base = BASE;
    store.version = MOVED;
}

static void move_and_tell(void) {
    move_store();
    tell_moved();
}

static void move_and_tell_later(void) {
    move_store();
    store.event_due = true;
}

static const backend_ops ops = {.get = fake_get,
                                .pin_value = fake_pin_value,
                                .pinned_get = fake_pinned_get,
                                .pinned_release = fake_pinned_release,
                                .stat = fake_stat,
                                .set = fake_set,
                                .reserve = fake_reserve,
                                .version_base = fake_version_base,
                                .figures = fake_figures};

static int set_up(void **state) {
    (void)state;
    store = (struct fake){.version = BEFORE};
    m = calloc(1, sizeof(*m));
    if (m == NULL) {
        return -1;
    }
    m->store.ops = &ops;
    ticks_init(&m->ticks);
    bool ready = notices_init(&m->notices) && inodes_init(&m->inodes) &&
                 pthread_cond_init(&m->moved, NULL) == 0;
    m->root = ready ? inodes_hold(&m->inodes, NODE_DIR, m->prefix) : NULL;
    file = ready ? inodes_hold(&m->inodes, NODE_KEY, toon_str("k")) : NULL;
    return m->root != NULL && file != NULL ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    if (store.deliverer != 0) {
        (void)pthread_join(store.deliverer, NULL);
    }
    while (m->notices.first != NULL) {
        notice *next = m->notices.first->next;
        free(m->notices.first);
        m->notices.first = next;
    }
    inodes_free(&m->inodes);
    notices_free(&m->notices);
    ticks_free(&m->ticks);
    pthread_cond_destroy(&m->moved);
    free(m);
    return 0;
}

/* As the kernel's first look-up of the name leaves it. */
static void look_up(void) {
    file_facts facts;
    assert_int_equal(file_look_locked(m, file, &facts), 0);
    file->names = NODE_BY_NAME;
    assert_int_equal(file->version, BEFORE);
}

/* What no user may notice a move by. */
static void assert_is_what_it_was(void) {
    file_facts facts;
    assert_int_equal(file_look_locked(m, file, &facts), 0);
    assert_int_equal(facts.size, 3);
    assert_int_equal(facts.meta.written_ms, 5000);
    assert_int_equal(facts.tick_us, 0);
    assert_false(file->detached);
    assert_int_equal(atomic_load(&m->notices.queued), 0);
}

static void open_and_close(int flags) {
    assert_int_equal(file_open_locked(m, file, flags), 0);
    assert_int_equal(file_close_locked(m, file), 0);
    inodes_put(&m->inodes, file, 1);
}

static void a_closed_file_stays_what_it_is(void **state) {
    (void)state;
    look_up();
    move_and_tell();
    assert_is_what_it_was();
    open_and_close(O_RDONLY);
    assert_is_what_it_was();
}

static void an_open_file_keeps_its_bytes(void **state) {
    (void)state;
    look_up();
    assert_int_equal(file_open_locked(m, file, O_RDONLY), 0);
    int looks = store.looks;
    move_and_tell();
    struct iovec slices[2];
    int count = 0;
    assert_int_equal(file_read_locked(m, file, 0, 10, slices, &count), 0);
    assert_int_equal(count, 1);
    assert_memory_equal(slices[0].iov_base, "abc", 3);
    assert_int_equal(store.looks, looks);
    assert_is_what_it_was();
    assert_int_equal(file_close_locked(m, file), 0);
    inodes_put(&m->inodes, file, 1);
}

static void what_was_written_before_is_committed_after(void **state) {
    (void)state;
    look_up();
    size_t at = 0;
    assert_int_equal(file_open_locked(m, file, O_RDWR), 0);
    assert_int_equal(file_write_locked(m, file, toon_str("x"), false, &at), 0);
    move_and_tell();
    assert_int_equal(file_close_locked(m, file), 0);
    assert_int_equal(store.sets, 1);
    inodes_put(&m->inodes, file, 1);
}

static void a_value_set_after_it_is_another(void **state) {
    (void)state;
    file_facts facts;
    look_up();
    move_and_tell();
    store.version = LATER;
    assert_int_equal(file_look_locked(m, file, &facts), ESTALE);
    assert_int_equal(file_open_locked(m, file, O_RDONLY), ESTALE);
}

static void a_value_set_before_it_was_told_of(void **state) {
    (void)state;
    look_up();
    notices_on_change(m, &(toon_change){.kind = TOON_CHANGE_SET,
                                        .key = toon_str("k"),
                                        .existed = true,
                                        .version = BEFORE + 1});
    move_and_tell();
    assert_true(file->detached);
}

static void a_look_ahead_of_the_event_waits_for_it(void **state) {
    (void)state;
    look_up();
    store.before_look = move_and_tell_later;
    assert_is_what_it_was();
    assert_int_equal(m->moved_mark, MARK);
}

static void an_open_ahead_of_the_event_waits_for_it(void **state) {
    (void)state;
    look_up();
    store.before_look = move_and_tell_later;
    open_and_close(O_RDONLY);
    assert_is_what_it_was();
}

static void a_look_behind_the_event_is_made_again(void **state) {
    (void)state;
    look_up();
    int looks = store.looks;
    store.after_look = move_and_tell;
    assert_is_what_it_was();
    assert_int_equal(store.looks, looks + 2);
}

/* What it read is of before, and a change between the two may be, too. */
static void a_first_look_behind_the_event_is_not_noted(void **state) {
    (void)state;
    store.after_look = move_and_tell;
    assert_is_what_it_was();
    assert_int_equal(file->version, MOVED);
    file->names = NODE_BY_NAME;
    assert_is_what_it_was();
}

static void an_open_behind_the_event_is_made_again(void **state) {
    (void)state;
    look_up();
    store.after_look = move_and_tell;
    open_and_close(O_RDONLY);
    assert_is_what_it_was();
}

static void
a_mount_of_a_store_that_was_compacted_waits_for_nothing(void **state) {
    (void)state;
    move_store();
    versions_start(m);
    assert_is_what_it_was();
}

/* Such as when the watch has ended. It costs a wait, once. */
static void an_event_that_never_comes_is_done_without(void **state) {
    (void)state;
    file_facts facts;
    look_up();
    move_store();
    assert_int_equal(file_look_locked(m, file, &facts), ESTALE);
    int looks = store.looks;
    assert_int_equal(file_look_locked(m, file, &facts), ESTALE);
    assert_int_equal(store.looks, looks + 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_closed_file_stays_what_it_is),
        TEST(an_open_file_keeps_its_bytes),
        TEST(what_was_written_before_is_committed_after),
        TEST(a_value_set_after_it_is_another),
        TEST(a_value_set_before_it_was_told_of),
        TEST(a_look_ahead_of_the_event_waits_for_it),
        TEST(an_open_ahead_of_the_event_waits_for_it),
        TEST(a_look_behind_the_event_is_made_again),
        TEST(a_first_look_behind_the_event_is_not_noted),
        TEST(an_open_behind_the_event_is_made_again),
        TEST(a_mount_of_a_store_that_was_compacted_waits_for_nothing),
        TEST(an_event_that_never_comes_is_done_without),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
