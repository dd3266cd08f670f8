/*
 * test_inodes.c - the table of what the kernel knows.
 */
#include "inodes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* cmocka.h needs what stands above. */
// clang-format off
#include <cmocka.h>
// clang-format on

#define MANY 5000

static inodes table;

static int set_up(void **state) {
    (void)state;
    return inodes_init(&table) ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    inodes_free(&table);
    return 0;
}

static node *hold(const char *key) {
    node *n = inodes_hold(&table, NODE_KEY, toon_str(key));
    assert_non_null(n);
    return n;
}

static node *find(const char *key) {
    inodes_lock(&table);
    node *n = inodes_find_locked(&table, NODE_KEY, toon_str(key));
    inodes_unlock(&table);
    return n;
}

static void assert_sound(void) {
    inodes_lock(&table);
    assert_true(inodes_check_locked(&table));
    inodes_unlock(&table);
}

static void a_key_has_one_node_until_it_is_forgotten(void **state) {
    (void)state;
    node *n = hold("a");
    assert_ptr_equal(hold("a"), n);
    assert_ptr_not_equal(inodes_hold(&table, NODE_DIR, toon_str("a")), n);
    inodes_put(&table, n, 1);
    assert_ptr_equal(find("a"), n);
    inodes_put(&table, n, 1);
    assert_null(find("a"));
    assert_sound();
}

static void numbers_are_stable_and_never_the_roots(void **state) {
    (void)state;
    uint64_t number = inode_number(NODE_KEY, toon_str("a"));
    assert_int_equal(number, inode_number(NODE_KEY, toon_str("a")));
    assert_int_not_equal(number, inode_number(NODE_DIR, toon_str("a")));
    assert_true(inode_number(NODE_KEY, toon_str("")) > 1);
}

static void a_detached_node_gives_its_name_to_another(void **state) {
    (void)state;
    node *old = hold("a");
    inodes_detach(&table, old);
    assert_null(find("a"));
    node *new = hold("a");
    assert_ptr_not_equal(new, old);
    assert_int_not_equal(new->generation, old->generation);
    assert_sound();
    inodes_put(&table, old, 1);
    assert_ptr_equal(find("a"), new);
}

static void unlinking_reaches_detached_nodes_too(void **state) {
    (void)state;
    node *old = hold("a");
    inodes_detach(&table, old);
    node *new = hold("a");
    inodes_lock(&table);
    inodes_unlink_locked(&table, toon_str("a"));
    inodes_unlock(&table);
    assert_true(old->unlinked && new->unlinked);
    assert_null(find("a"));
}

static void move(const char *from, const char *to, bool tree, bool swap) {
    inodes_spare spare = {NULL};
    assert_true(inodes_reserve(&table, toon_str(from), toon_str(to), tree, swap,
                               &spare));
    inodes_lock(&table);
    if (tree)
        inodes_move_tree_locked(&table, toon_str(from), toon_str(to), swap,
                                &spare);
    else
        inodes_move_locked(&table, toon_str(from), toon_str(to), swap, &spare);
    inodes_unlock(&table);
    assert_null(spare.first); /* exactly what was needed */
}

static void a_move_replaces_what_is_there(void **state) {
    (void)state;
    node *from = hold("a");
    node *to = hold("b");
    inodes_lock(&table);
    inodes_set_created_locked(&table, to, true);
    inodes_unlock(&table);
    move("a", "b", false, false);
    assert_ptr_equal(find("b"), from);
    assert_null(find("a"));
    assert_true(to->unlinked);
    assert_true(LIST_EMPTY(&table.created));
    assert_sound();
}

static void a_swap_moves_both(void **state) {
    (void)state;
    node *a = hold("a");
    node *b = hold("b");
    move("a", "b", false, true);
    assert_ptr_equal(find("b"), a);
    assert_ptr_equal(find("a"), b);
    assert_sound();
}

static void a_tree_moves_with_all_that_is_below(void **state) {
    (void)state;
    node *file = hold("d/x/y");
    node *beside = hold("dx");
    node *dir = inodes_hold(&table, NODE_DIR, toon_str("d/"));
    node *replaced = inodes_hold(&table, NODE_DIR, toon_str("long/e/"));
    move("d/", "long/e/", true, false);
    assert_ptr_equal(find("long/e/x/y"), file);
    assert_ptr_equal(find("dx"), beside);
    assert_null(find("d/x/y"));
    assert_true(replaced->unlinked);
    assert_int_equal(dir->key_size, strlen("long/e/"));
    assert_sound();
}

static void created_files_are_on_a_list(void **state) {
    (void)state;
    node *a = hold("a");
    inodes_lock(&table);
    inodes_set_created_locked(&table, a, true);
    inodes_set_created_locked(&table, a, true);
    assert_ptr_equal(LIST_FIRST(&table.created), a);
    assert_null(LIST_NEXT(a, created_link));
    inodes_unlock(&table);
    inodes_put(&table, a, 1);
    assert_true(LIST_EMPTY(&table.created));
}

static void many_nodes_are_found(void **state) {
    (void)state;
    static node *nodes[MANY];
    char key[16];
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        nodes[i] = hold(key);
    }
    assert_sound();
    for (int i = 0; i < MANY; i += 2) {
        inodes_put(&table, nodes[i], 1);
    }
    assert_int_equal(table.node_count, MANY / 2);
    assert_ptr_equal(find("k1"), nodes[1]);
    assert_null(find("k2"));
    assert_sound();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_key_has_one_node_until_it_is_forgotten),
        TEST(numbers_are_stable_and_never_the_roots),
        TEST(a_detached_node_gives_its_name_to_another),
        TEST(unlinking_reaches_detached_nodes_too),
        TEST(a_move_replaces_what_is_there),
        TEST(a_swap_moves_both),
        TEST(a_tree_moves_with_all_that_is_below),
        TEST(created_files_are_on_a_list),
        TEST(many_nodes_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
