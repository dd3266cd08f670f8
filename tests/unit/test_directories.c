/*
 * test_directories.c - directories as keys imply them, and their listings,
 * over a real store.
 */
#include "fixture.h"
#include "list.h"
#include "test_random.h"

#include <errno.h>

#define SEED UINT64_C(0x6469726563746f72)

static tree tree_over(void **state, bool flat) {
    struct fixture *self = *state;
    return (tree){backend_of_store(self->store), toon_str(""), flat};
}

static void set(void **state, const char *key) {
    struct fixture *self = *state;
    assert_ok(toon_set(self->store, toon_str(key), toon_str("v"), NULL));
}

static void set_marker(void **state, const char *key) {
    struct fixture *self = *state;
    assert_ok(toon_set(self->store, toon_str(key), toon_str(""), NULL));
}

static bool has(void **state, const char *key) {
    struct fixture *self = *state;
    toon_key_stat stat;
    return toon_stat_key(self->store, toon_str(key), &stat) == TOON_OK;
}

/* All names of a directory, each followed by a blank. */
static const char *names_in(const tree *t, const char *dir,
                            const list_created *created) {
    static char out[1 << 16];
    static list_piece piece;
    static const list_created none;
    size_t used = 0;
    list_place place;
    list_start(t, toon_str(dir), &place);
    do {
        assert_ok(list_read(t, toon_str(dir), &place,
                            created != NULL ? created : &none, &piece));
        for (size_t i = 0; i < piece.count; i++) {
            name_text text;
            assert_true(list_name(t, &piece, i, &text));
            used += (size_t)snprintf(
                out + used, sizeof(out) - used, "%.*s%s ", (int)text.size,
                text.data, piece.entries[i].kind == LIST_DIR ? "/" : "");
        }
        place = piece.next;
    } while (!piece.last);
    out[used] = '\0';
    list_piece_free(&piece);
    piece = (list_piece){.count = 0};
    return out;
}

/* ------------------------------------------------------------------- names */

static void a_name_is_a_file_or_a_directory(void **state) {
    tree t = tree_over(state, false);
    tree_child child;
    assert_int_equal(tree_child_of(&t, toon_str("d/"), toon_str("x"), &child),
                     0);
    assert_memory_equal(child.file.data, "d/x", child.file.size);
    assert_memory_equal(child.dir.data, "d/x/", child.dir.size);
    assert_int_equal(tree_child_of(&t, toon_str("d/"), toon_str("%3D"), &child),
                     0);
    assert_true(child.has_file && !child.has_dir);
    assert_memory_equal(child.file.data, "d", child.file.size);
    assert_int_equal(child.by, NODE_BY_VALUE);
    assert_int_equal(tree_child_of(&t, toon_str("d/"), toon_str("%2F"), &child),
                     0);
    assert_true(child.has_file && !child.has_dir);
    assert_int_equal(child.file.size, 2);
    assert_int_equal(tree_child_of(&t, toon_str("d/"), toon_str("%"), &child),
                     0);
    assert_true(!child.has_file && child.has_dir);
    assert_memory_equal(child.dir.data, "d//", child.dir.size);
}

static void names_that_no_key_has_are_refused(void **state) {
    tree t = tree_over(state, false);
    tree_child child;
    assert_int_equal(tree_child_of(&t, toon_str(""), toon_str("%3D"), &child),
                     ENOENT);
    assert_int_equal(
        tree_child_of(&t, toon_str("a//"), toon_str("%3D"), &child), ENOENT);
    assert_int_equal(tree_child_of(&t, toon_str(""), toon_str(".toon"), &child),
                     EPERM);
    char deep[PATH_SIZE_MAX];
    memset(deep, 'd', sizeof(deep));
    for (size_t i = 1000; i < sizeof(deep); i += 1000) {
        deep[i] = '/';
    }
    deep[4092] = '/';
    toon_slice dir = toon_bytes(deep, 4093);
    assert_int_equal(tree_child_of(&t, dir, toon_str("ab"), &child), 0);
    assert_int_equal(tree_child_of(&t, dir, toon_str("abc"), &child),
                     ENAMETOOLONG);
}

static void the_parent_is_all_up_to_the_last_slash(void **state) {
    tree t = tree_over(state, false);
    tree flat = tree_over(state, true);
    assert_int_equal(tree_parent(&t, toon_str("a/b/c")).size, 4);
    assert_int_equal(tree_parent(&t, toon_str("a/b/")).size, 4);
    assert_int_equal(tree_parent(&t, toon_str("abc")).size, 0);
    assert_int_equal(tree_parent(&flat, toon_str("a/b/c")).size, 0);
}

/* ------------------------------------------------------------- directories */

static void a_directory_is_there_while_a_key_is_below_it(void **state) {
    struct fixture *self = *state;
    tree t = tree_over(state, false);
    tree_probe probe;
    bool empty, one;
    set(state, "d/x");
    assert_ok(tree_look(&t, toon_str("d/"), &probe));
    assert_true(probe.found && !probe.marked);
    assert_ok(tree_is_empty(&t, toon_str("d/"), &empty));
    assert_false(empty);
    assert_ok(tree_has_one(&t, toon_str("d/"), &one));
    assert_true(one);
    assert_ok(toon_delete(self->store, toon_str("d/x"), 0, NULL));
    assert_ok(tree_look(&t, toon_str("d/"), &probe));
    assert_false(probe.found);
}

static void an_empty_directory_has_a_marker(void **state) {
    tree t = tree_over(state, false);
    tree_probe probe;
    bool empty;
    assert_ok(tree_keep(&t, toon_str("d/")));
    assert_true(has(state, "d/"));
    assert_ok(tree_look(&t, toon_str("d/"), &probe));
    assert_true(probe.found && probe.marked);
    assert_ok(tree_is_empty(&t, toon_str("d/"), &empty));
    assert_true(empty);
    assert_string_equal(names_in(&t, "d/", NULL), "");
    set(state, "d");
    assert_ok(tree_is_empty(&t, toon_str("d/"), &empty));
    assert_false(empty);
}

static void a_directory_with_keys_and_the_root_get_no_marker(void **state) {
    tree t = tree_over(state, false);
    set(state, "d/x");
    assert_ok(tree_keep(&t, toon_str("d/")));
    assert_ok(tree_keep(&t, toon_str("")));
    assert_false(has(state, "d/"));
    assert_false(has(state, ""));
}

static void an_expiry_bounds_how_long_a_directory_is_there(void **state) {
    struct fixture *self = *state;
    tree t = tree_over(state, false);
    tree_probe probe;
    toon_set_options options = {.expires_ms = INT64_C(4102444800000)};
    assert_ok(toon_set(self->store, toon_str("d/x"), toon_str("v"), &options));
    assert_ok(tree_look(&t, toon_str("d/"), &probe));
    assert_true(probe.expires_ms == options.expires_ms);
}

static void a_moved_directory_takes_its_value_along(void **state) {
    tree t = tree_over(state, false);
    set(state, "a");
    set(state, "a/x");
    set(state, "a/y/z");
    set(state, "ab/x");
    assert_ok(tree_move(&t, toon_str("a/"), toon_str("long/b/"), false));
    assert_string_equal(names_in(&t, "", NULL), "ab/ long/ ");
    assert_string_equal(names_in(&t, "long/b/", NULL), "%3D x y/ ");
    assert_true(has(state, "long/b/y/z"));
}

static void a_swap_exchanges_both_sides_whole(void **state) {
    tree t = tree_over(state, false);
    set(state, "a/both");
    set(state, "a/left");
    set(state, "b/both");
    set(state, "b/right");
    set_marker(state, "b/");
    assert_ok(tree_move(&t, toon_str("a/"), toon_str("b/"), true));
    assert_string_equal(names_in(&t, "a/", NULL), "both right ");
    assert_string_equal(names_in(&t, "b/", NULL), "both left ");
    assert_true(has(state, "a/"));
    assert_false(has(state, "b/"));
}

/* ---------------------------------------------------------------- listings */

static void a_listing_skips_what_is_below(void **state) {
    tree t = tree_over(state, false);
    static const char *const keys[] = {"b/1", "b/2/3", "a",   "c",
                                       "d",   "d/x",   "d-x", "e//f"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        set(state, keys[i]);
    }
    assert_string_equal(names_in(&t, "", NULL), "a b/ c d-x d/ e/ ");
    assert_string_equal(names_in(&t, "d/", NULL), "%3D x ");
    assert_string_equal(names_in(&t, "e/", NULL), "%/ ");
    assert_string_equal(names_in(&t, "e//", NULL), "f ");
}

static void values_with_empty_names_are_listed_markers_are_not(void **state) {
    tree t = tree_over(state, false);
    set(state, "");
    set(state, "a/");
    set_marker(state, "b/");
    assert_string_equal(names_in(&t, "", NULL), "%2F a/ b/ ");
    assert_string_equal(names_in(&t, "a/", NULL), "%2F ");
    assert_string_equal(names_in(&t, "b/", NULL), "");
}

static void a_flat_listing_has_every_key(void **state) {
    tree t = tree_over(state, true);
    set(state, "a");
    set(state, "a/b");
    set_marker(state, "b/");
    set(state, "");
    assert_string_equal(names_in(&t, "", NULL), "% a a%2Fb b%2F ");
}

static void names_too_long_are_left_out_and_the_rest_is_listed(void **state) {
    tree t = tree_over(state, false);
    char key[3 * NAME_SIZE_MAX];
    memset(key, 'n', sizeof(key));
    key[sizeof(key) - 1] = '\0';
    set(state, key);
    key[NAME_SIZE_MAX + 1] = '/';
    set(state, key);
    set(state, "a");
    set(state, "z");
    assert_string_equal(names_in(&t, "", NULL), "a z ");
}

static void what_is_created_is_listed_in_its_place(void **state) {
    tree t = tree_over(state, false);
    toon_slice keys[] = {toon_str("a"), toon_str("b.x"), toon_str("c"),
                         toon_str("z")};
    list_created created = {keys, 4};
    set(state, "b/1");
    set(state, "c");
    set(state, "d");
    assert_string_equal(names_in(&t, "", &created), "a b.x b/ c d z ");
}

/* Many keys: pieces end in files, directories and files that are both. */
static void every_name_is_listed_once_and_in_order(void **state) {
    tree t = tree_over(state, false);
    uint64_t random_state = SEED;
    static bool file[1500], dir[1500];
    char key[32];
    char wanted[1 << 16];
    size_t used = 0;
    for (size_t i = 0; i < 1500; i++) {
        file[i] = random_below(&random_state, 4) != 0;
        dir[i] = random_below(&random_state, 3) == 0;
        (void)snprintf(key, sizeof(key), "k%05zu", i);
        if (file[i]) {
            set(state, key);
        }
        (void)snprintf(key, sizeof(key), "k%05zu/x", i);
        if (dir[i]) {
            set(state, key);
        }
        if (file[i] || dir[i]) {
            used += (size_t)snprintf(wanted + used, sizeof(wanted) - used,
                                     "k%05zu%s ", i, dir[i] ? "/" : "");
        }
    }
    assert_string_equal(names_in(&t, "", NULL), wanted);
}

static void pieces_end_at_their_limit(void **state) {
    tree t = tree_over(state, false);
    list_piece piece = {.count = 0};
    list_created none = {NULL, 0};
    list_place place;
    char key[32];
    for (size_t i = 0; i < LIST_PIECE; i++) {
        (void)snprintf(key, sizeof(key), "k%05zu", i);
        set(state, key);
    }
    list_start(&t, toon_str(""), &place);
    assert_ok(list_read(&t, toon_str(""), &place, &none, &piece));
    assert_int_equal(piece.count, LIST_PIECE);
    assert_true(piece.last);
    set(state, "z");
    assert_ok(list_read(&t, toon_str(""), &place, &none, &piece));
    assert_int_equal(piece.count, LIST_PIECE);
    assert_false(piece.last);
    place = piece.next;
    assert_ok(list_read(&t, toon_str(""), &place, &none, &piece));
    assert_int_equal(piece.count, 1);
    assert_true(piece.last);
    list_piece_free(&piece);
}

#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_name_is_a_file_or_a_directory),
        TEST(names_that_no_key_has_are_refused),
        TEST(the_parent_is_all_up_to_the_last_slash),
        TEST(a_directory_is_there_while_a_key_is_below_it),
        TEST(an_empty_directory_has_a_marker),
        TEST(a_directory_with_keys_and_the_root_get_no_marker),
        TEST(an_expiry_bounds_how_long_a_directory_is_there),
        TEST(a_moved_directory_takes_its_value_along),
        TEST(a_swap_exchanges_both_sides_whole),
        TEST(a_listing_skips_what_is_below),
        TEST(values_with_empty_names_are_listed_markers_are_not),
        TEST(a_flat_listing_has_every_key),
        TEST(names_too_long_are_left_out_and_the_rest_is_listed),
        TEST(what_is_created_is_listed_in_its_place),
        TEST(every_name_is_listed_once_and_in_order),
        TEST(pieces_end_at_their_limit),
    };
    print_message("seed %llu\n", (unsigned long long)SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
