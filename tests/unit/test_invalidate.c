/*
 * test_invalidate.c - what a change of the store means for the nodes that the
 * kernel has, and what is queued for it. Without a kernel: nothing is told.
 */
#include "fs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* cmocka.h needs what stands above. */
// clang-format off
#include <cmocka.h>
// clang-format on

static struct mount *m;

static uint64_t version_base(void *store) {
    (void)store;
    return 7;
}

static const backend_ops ops = {.version_base = version_base};

static int set_up(void **state) {
    (void)state;
    m = calloc(1, sizeof(*m));
    if (m == NULL) {
        return -1;
    }
    m->store.ops = &ops;
    ticks_init(&m->ticks);
    bool ready = notices_init(&m->notices);
    ready = ready && inodes_init(&m->inodes);
    m->root = ready ? inodes_hold(&m->inodes, NODE_DIR, m->prefix) : NULL;
    return m->root != NULL ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    while (m->notices.first != NULL) {
        notice *next = m->notices.first->next;
        free(m->notices.first);
        m->notices.first = next;
    }
    inodes_free(&m->inodes);
    notices_free(&m->notices);
    ticks_free(&m->ticks);
    free(m);
    return 0;
}

static node *known_file(const char *key, uint64_t version) {
    node *n = inodes_hold(&m->inodes, NODE_KEY, toon_str(key));
    n->names = NODE_BY_NAME;
    n->version = version;
    return n;
}

static void change(toon_change_kind kind, const char *key, bool existed,
                   uint64_t version, const void *origin) {
    toon_change what = {.kind = kind,
                        .key = toon_str(key),
                        .existed = existed,
                        .version = version,
                        .origin = origin};
    notices_on_change(m, &what);
}

static uint64_t queued(void) {
    return atomic_load(&m->notices.queued);
}

static void what_the_kernel_does_not_know_is_not_told(void **state) {
    (void)state;
    change(TOON_CHANGE_SET, "a", true, 2, NULL);
    change(TOON_CHANGE_SET, "new", false, 3, NULL);
    change(TOON_CHANGE_DELETE, "a", true, 0, NULL);
    assert_int_equal(queued(), 0);
}

static void a_new_value_from_outside_gives_a_new_node(void **state) {
    (void)state;
    node *n = known_file("a", 1);
    change(TOON_CHANGE_SET, "a", true, 2, NULL);
    assert_true(n->detached);
    assert_int_equal(queued(), 1);
    assert_int_equal(m->notices.first->tell, TELL_NAME);
    change(TOON_CHANGE_SET, "a", true, 3, NULL);
    assert_int_equal(queued(), 1);
}

static void an_append_from_outside_keeps_the_node(void **state) {
    (void)state;
    node *n = known_file("a", 1);
    change(TOON_CHANGE_APPEND, "a", true, 2, NULL);
    assert_false(n->detached);
    assert_int_equal(n->version, 2);
    assert_int_equal(n->appends, 1);
    assert_int_equal(m->notices.first->tell, TELL_ATTR);
}

static void an_expiry_from_outside_drops_the_name(void **state) {
    (void)state;
    node *n = known_file("a", 1);
    change(TOON_CHANGE_META, "a", true, 2, NULL);
    assert_false(n->detached);
    assert_int_equal(m->notices.first->tell, TELL_ATTR | TELL_NAME);
}

static void own_changes_are_not_told(void **state) {
    (void)state;
    node *n = known_file("a", 1);
    change(TOON_CHANGE_SET, "a", true, 2, n);
    assert_int_equal(n->version, 2);
    change(TOON_CHANGE_META, "a", true, 3, m);
    assert_int_equal(n->version, 3);
    change(TOON_CHANGE_SET, "a", true, 4, m);
    assert_int_equal(n->version, 0);
    assert_int_equal(n->renamed_version, 4);
    assert_false(n->detached);
    assert_int_equal(queued(), 0);
}

static void a_close_of_a_detached_file_is_news_for_its_successor(void **state) {
    (void)state;
    node *old = known_file("a", 1);
    inodes_detach(&m->inodes, old);
    node *new = known_file("a", 2);
    change(TOON_CHANGE_SET, "a", true, 3, old);
    assert_true(new->detached);
    assert_int_equal(queued(), 1);
}

static void a_file_that_becomes_a_directory_is_told(void **state) {
    (void)state;
    (void)known_file("a", 1);
    change(TOON_CHANGE_SET, "a/b/c", false, 2, NULL);
    assert_int_equal(queued(), 1);
    assert_int_equal(m->notices.first->key_size, 1);
}

static void known_directories_hear_of_keys_that_come_and_go(void **state) {
    (void)state;
    node *dir = inodes_hold(&m->inodes, NODE_DIR, toon_str("d/"));
    change(TOON_CHANGE_SET, "d/x", false, 2, NULL);
    assert_int_equal(queued(), 0);
    dir->attr_told = true;
    change(TOON_CHANGE_SET, "d/x", true, 3, NULL);
    assert_int_equal(queued(), 0);
    change(TOON_CHANGE_SET, "d/y", false, 4, NULL);
    assert_int_equal(queued(), 1);
    assert_int_equal(m->notices.first->tell, TELL_CAME);
    dir->attr_told = false;
    change(TOON_CHANGE_EXPIRE, "d/y", true, 0, NULL);
    assert_int_equal(queued(), 2);
}

static void clearing_detaches_all_but_what_is_not_stored(void **state) {
    (void)state;
    node *stored = known_file("a", 1);
    node *created = known_file("b", 0);
    inodes_lock(&m->inodes);
    inodes_set_created_locked(&m->inodes, created, true);
    inodes_unlock(&m->inodes);
    change(TOON_CHANGE_CLEAR, "", true, 0, NULL);
    assert_true(stored->detached);
    assert_false(created->detached);
    assert_true(m->notices.all);
    assert_int_equal(m->moved_mark, 7);
}

static void a_compaction_is_told_to_nobody(void **state) {
    (void)state;
    node *n = known_file("a", 1);
    m->root->attr_told = true;
    change(TOON_CHANGE_MOVED, "", true, 9, NULL);
    assert_int_equal(m->moved_mark, 9);
    assert_int_equal(n->version, 1);
    assert_false(n->detached);
    assert_int_equal(queued(), 0);
}

static void keys_outside_the_prefix_are_no_concern(void **state) {
    (void)state;
    m->prefix = toon_str("u/");
    m->root->attr_told = true;
    change(TOON_CHANGE_SET, "v/x", false, 2, NULL);
    change(TOON_CHANGE_SET, "u", false, 2, NULL);
    assert_int_equal(queued(), 0);
    change(TOON_CHANGE_SET, "u/x", false, 2, NULL);
    assert_int_equal(queued(), 1);
}

static void a_queue_that_is_too_long_becomes_everything(void **state) {
    (void)state;
    node *n = known_file("a", 1);
    for (int i = 0; i < 70000; i++) {
        change(TOON_CHANGE_APPEND, "a", true, 2, NULL);
    }
    assert_int_equal(n->appends, 70000);
    assert_int_equal(queued(), 70000);
    assert_true(m->notices.length < 70000);
    assert_true(m->notices.all);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_the_kernel_does_not_know_is_not_told),
        TEST(a_new_value_from_outside_gives_a_new_node),
        TEST(an_append_from_outside_keeps_the_node),
        TEST(an_expiry_from_outside_drops_the_name),
        TEST(own_changes_are_not_told),
        TEST(a_close_of_a_detached_file_is_news_for_its_successor),
        TEST(a_file_that_becomes_a_directory_is_told),
        TEST(known_directories_hear_of_keys_that_come_and_go),
        TEST(clearing_detaches_all_but_what_is_not_stored),
        TEST(a_compaction_is_told_to_nobody),
        TEST(keys_outside_the_prefix_are_no_concern),
        TEST(a_queue_that_is_too_long_becomes_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
