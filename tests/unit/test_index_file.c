/* test_index_file.c - db.toon.idx, byte for byte. */
#include "fixture.h"
#include "index_file.h"

static const toon_index_head example = {
    .salt = 0x9f3a77c1,
    .last_crc = 0xd8f89d7b,
    .covered = 628,
    .last_offset = 583,
    .live_bytes = 200,
    .seed = 7,
    .rows = 3,
    .slots = 2,
    .expiring = 1,
};

static void write_example(const toon_dir *dir) {
    toon_index_writer writer;
    toon_index_begin(&writer, dir, &example);
    toon_index_add_row(&writer, 0);
    toon_index_add_row(&writer, 158);
    toon_index_add_row(&writer, 203);
    toon_index_add_slot(&writer, (toon_slot){11, 12});
    toon_index_add_slot(&writer, (toon_slot){21, 22});
    toon_index_add_expiry(&writer, (toon_expiry_entry){99, 11, 12});
    assert_ok(toon_index_end(&writer));
}

static toon_dir open_dir(const struct fixture *self) {
    toon_dir dir;
    assert_ok(toon_dir_open(&toon_io_system, self->dir, false, &dir));
    return dir;
}

static void what_was_saved_is_loaded(void **state) {
    struct fixture *self = *state;
    toon_dir dir = open_dir(self);
    toon_index index;
    write_example(&dir);
    assert_ok(toon_index_load(&dir, &index));
    assert_memory_equal(&index.head, &example, sizeof example);
    assert_int_equal(toon_index_row(&index, 0), 0);
    assert_int_equal(toon_index_row(&index, 2), 203);
    assert_int_equal(toon_index_slot(&index, 1).hash, 21);
    assert_int_equal(toon_index_slot(&index, 1).payload, 22);
    assert_int_equal(toon_index_expiry(&index, 0).expires_ms, 99);
    assert_false(file_exists(self, TOON_INDEX_NEW_NAME));
    toon_index_free(&index);
    toon_dir_close(&dir);
}

static void the_layout_is_the_ancestors_and_then_ours(void **state) {
    struct fixture *self = *state;
    toon_dir dir = open_dir(self);
    size_t size;
    write_example(&dir);
    char *bytes = slurp(self, TOON_INDEX_NAME, &size);
    assert_int_equal(size, 12 + 3 * 8 + 64 + 2 * 16 + 24 + 4);
    assert_memory_equal(bytes, "TOONIDX1\x03\0\0\0", 12);
    assert_memory_equal(bytes + 20, "\x9e\0\0\0\0\0\0\0", 8);
    assert_memory_equal(bytes + 36, "TOONKEYS\xc1\x77\x3a\x9f", 12);
    free(bytes);
    toon_dir_close(&dir);
}

static void damage_at_any_byte_is_noticed(void **state) {
    struct fixture *self = *state;
    toon_dir dir = open_dir(self);
    toon_index index;
    size_t size;
    write_example(&dir);
    char *bytes = slurp(self, TOON_INDEX_NAME, &size);
    for (size_t at = 0; at < size; at++) {
        bytes[at] = (char)(bytes[at] ^ 1);
        spill(self, TOON_INDEX_NAME, bytes, size);
        assert_int_equal(toon_index_load(&dir, &index), TOON_CORRUPT);
        bytes[at] = (char)(bytes[at] ^ 1);
        spill(self, TOON_INDEX_NAME, bytes, at);
        assert_int_equal(toon_index_load(&dir, &index), TOON_CORRUPT);
    }
    remove_file(self, TOON_INDEX_NAME);
    assert_int_equal(toon_index_load(&dir, &index), TOON_NOT_FOUND);
    free(bytes);
    toon_dir_close(&dir);
}

int main(void) {
#define INDEX_TEST(name)                                                       \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        INDEX_TEST(what_was_saved_is_loaded),
        INDEX_TEST(the_layout_is_the_ancestors_and_then_ours),
        INDEX_TEST(damage_at_any_byte_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
