/* test_lying_disk.c - the instrument itself: it counts, refuses, lies, and
 * its journal is what happened. */
#include "lying_disk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* cmocka.h needs what stands above. */
// clang-format off
#include <cmocka.h>
// clang-format on

static char root[64];
static disk_journal journal;
static toon_dir dir;

static int setup(void **state) {
    char path[80];
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/toon-disk-XXXXXX");
    if (mkdtemp(root) == NULL)
        return -1;
    lying_disk_reset();
    disk_journal_init(&journal);
    lying_disk_record(root, &journal);
    (void)snprintf(path, sizeof path, "%s/store", root);
    return toon_dir_open(&lying_disk_io, path, true, &dir) == TOON_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    toon_dir_close(&dir);
    lying_disk_reset();
    disk_journal_free(&journal);
    char command[100];
    (void)snprintf(command, sizeof command, "rm -r %s", root);
    return system(command); /* NOLINT: a directory of our own */
}

static void assert_journal(const char *const *wanted) {
    char text[200];
    size_t i;
    for (i = 0; wanted[i] != NULL && i < journal.count; i++) {
        disk_op_text(&journal.ops[i], text, sizeof text);
        assert_string_equal(text, wanted[i]);
    }
    assert_null(wanted[i]);
    assert_int_equal(i, journal.count);
}

static toon_file open_file(const char *name, int flags) {
    toon_file file;
    assert_int_equal(toon_file_open(&dir, name, flags, &file), TOON_OK);
    return file;
}

static void what_changes_the_disk_is_put_down_in_order(void **state) {
    (void)state;
    toon_file file = open_file("new", O_RDWR | O_CREAT | O_TRUNC);
    assert_int_equal(toon_file_write(&file, "hello", 5, 0), TOON_OK);
    assert_int_equal(toon_file_sync(&file), TOON_OK);
    assert_int_equal(toon_file_truncate(&file, 3), TOON_OK);
    assert_int_equal(toon_dir_rename(&dir, "new", "old"), TOON_OK);
    assert_int_equal(toon_dir_sync(&dir), TOON_OK);
    assert_int_equal(toon_file_write(&file, "x", 1, 3), TOON_OK);
    toon_file_close(&file);
    file = open_file("old", O_RDWR | O_TRUNC);
    assert_int_equal(toon_dir_unlink(&dir, "old"), TOON_OK);
    toon_file_close(&file);
    static const char *const wanted[] = {
        "create directory store",
        "sync directory ",
        "create new",
        "write 5 bytes at 0 of new",
        "sync new",
        "truncate new to 3",
        "rename new to old",
        "sync directory store",
        "write 1 bytes at 3 of old",
        "truncate old to 0",
        "unlink old",
        NULL,
    };
    assert_journal(wanted);
    assert_memory_equal(journal.ops[3].bytes, "hello", 5);
    assert_int_equal(journal.ops[8].node, journal.ops[2].node);
}

static void a_journal_can_be_cut_and_recorded_on(void **state) {
    (void)state;
    disk_journal cut;
    toon_file file = open_file("a", O_RDWR | O_CREAT);
    assert_int_equal(toon_file_write(&file, "hello", 5, 0), TOON_OK);
    assert_int_equal(toon_dir_rename(&dir, "a", "b"), TOON_OK);
    disk_journal_copy(&journal, journal.count - 1, &cut);
    assert_int_equal(disk_names_find(&journal.names, 1, "a"), -1);
    assert_int_equal(disk_names_find(&cut.names, 1, "a"), 2);
    assert_int_equal(disk_names_find(&cut.names, 1, "b"), -1);
    assert_memory_equal(cut.ops[cut.count - 1].bytes, "hello", 5);
    disk_journal_free(&cut);
    toon_file_close(&file);
}

static void the_call_that_was_chosen_fails_and_no_other(void **state) {
    (void)state;
    toon_file file = open_file("a", O_RDWR | O_CREAT);
    disk_fault fault = {FAULT_FAILS, CALL_WRITE | CALL_SYNC, 3, false, EIO,
                        false};
    lying_disk_fail(&fault);
    assert_int_equal(toon_file_write(&file, "1", 1, 0), TOON_OK);
    assert_int_equal(toon_file_sync(&file), TOON_OK);
    assert_int_equal(toon_file_write(&file, "2", 1, 1), TOON_IO);
    assert_int_equal(toon_file_write(&file, "3", 1, 1), TOON_OK);
    assert_int_equal(lying_disk_struck(), 1);
    assert_int_equal(lying_disk_calls(CALL_WRITE), 3);
    assert_int_equal(lying_disk_calls(CALL_ANY), 4);
    fault.goes_on = true;
    fault.at = 1;
    lying_disk_fail(&fault);
    assert_int_equal(toon_file_write(&file, "4", 1, 1), TOON_IO);
    assert_int_equal(toon_file_sync(&file), TOON_IO);
    toon_file_close(&file);
}

static void torn_short_and_interrupted_writes(void **state) {
    (void)state;
    uint64_t size;
    toon_file file = open_file("a", O_RDWR | O_CREAT);
    disk_fault fault = {FAULT_IS_TORN, CALL_WRITE, 1, false, ENOSPC, false};
    lying_disk_fail(&fault);
    assert_int_equal(toon_file_write(&file, "123456", 6, 0), TOON_FULL);
    assert_int_equal(toon_file_size(&file, &size), TOON_OK);
    assert_int_equal(size, 3);
    fault = (disk_fault){FAULT_IS_SHORT, CALL_WRITE, 1, false, 0, false};
    lying_disk_fail(&fault);
    assert_int_equal(toon_file_write(&file, "abcdef", 6, 0), TOON_OK);
    fault = (disk_fault){FAULT_FAILS, CALL_WRITE, 1, false, EINTR, false};
    lying_disk_fail(&fault);
    assert_int_equal(toon_file_write(&file, "gh", 2, 6), TOON_OK);
    assert_int_equal(toon_file_size(&file, &size), TOON_OK);
    assert_int_equal(size, 8);
    toon_file_close(&file);
}

static void lies_are_told_as_done_and_put_down_as_lies(void **state) {
    (void)state;
    uint64_t size;
    toon_file file = open_file("a", O_RDWR | O_CREAT);
    disk_fault fault = {FAULT_LIES, CALL_SYNC, 1, false, 0, false};
    lying_disk_fail(&fault);
    assert_int_equal(toon_file_sync(&file), TOON_OK);
    assert_true(journal.ops[journal.count - 1].lied);
    fault.calls = CALL_WRITE;
    lying_disk_fail(&fault);
    assert_int_equal(toon_file_write(&file, "123456", 6, 0), TOON_OK);
    assert_int_equal(toon_file_size(&file, &size), TOON_OK);
    assert_int_equal(size, 3);
    fault.calls = CALL_RENAME;
    lying_disk_fail(&fault);
    assert_int_equal(toon_dir_rename(&dir, "a", "b"), TOON_OK);
    assert_true(journal.ops[journal.count - 1].lied);
    toon_file_close(&file);
}

int main(void) {
#define DISK_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        DISK_TEST(what_changes_the_disk_is_put_down_in_order),
        DISK_TEST(a_journal_can_be_cut_and_recorded_on),
        DISK_TEST(the_call_that_was_chosen_fails_and_no_other),
        DISK_TEST(torn_short_and_interrupted_writes),
        DISK_TEST(lies_are_told_as_done_and_put_down_as_lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
