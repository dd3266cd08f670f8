/* test_log.c - lines gather, are written together and read at their offsets. */
#include "epoch.h"
#include "fixture.h"
#include "log.h"

struct log_fixture {
    struct fixture files;
    toon_dir dir;
    toon_log *log;
};

static int log_setup(void **state) {
    struct log_fixture *self = calloc(1, sizeof *self);
    (void)snprintf(self->files.dir, sizeof self->files.dir,
                   "/tmp/toon-unit-XXXXXX");
    if (mkdtemp(self->files.dir) == NULL)
        return -1;
    *state = self;
    if (toon_dir_open(&toon_io_system, self->files.dir, false, &self->dir) !=
            TOON_OK ||
        toon_log_create(&self->dir, TOON_LOG_NAME, 7, 0x1234, true) !=
            TOON_OK ||
        toon_log_open(&self->dir, TOON_LOG_NAME, false, &self->log) != TOON_OK)
        return -1;
    return toon_epoch_enter() ? 0 : -1;
}

static int log_teardown(void **state) {
    struct log_fixture *self = *state;
    toon_epoch_leave();
    toon_epoch_drain();
    toon_log_free(self->log);
    toon_dir_close(&self->dir);
    remove_files(self->files.dir);
    (void)rmdir(self->files.dir);
    free(self);
    return 0;
}

static uint64_t gather(struct log_fixture *self, const char *key) {
    toon_record_draft draft = {.key = toon_str(key),
                               .value = toon_str("v"),
                               .written_ms = 1,
                               .type = RECORD_STRING};
    size_t begun = toon_log_begin(self->log);
    uint64_t offset = toon_log_end(self->log);
    (void)toon_record_encode(&self->log->gather, &draft, self->log->salt);
    assert_ok(toon_log_admit(self->log, begun, 0, 0));
    return offset;
}

static void write_out(struct log_fixture *self) {
    bool cut_failed;
    assert_ok(toon_log_write(self->log, &cut_failed));
}

static void assert_key_at(struct log_fixture *self, uint64_t offset,
                          const char *key) {
    toon_record record;
    toon_slice view = toon_log_view(self->log, offset, 0);
    assert_non_null(view.data);
    assert_int_equal(toon_record_parse(view, self->log->salt, &record),
                     RECORD_OK);
    assert_true(toon_record_key_is(&record, toon_str(key)));
}

static void header_and_headline_are_read_back(void **state) {
    struct log_fixture *self = *state;
    assert_int_equal(self->log->base, 7);
    assert_int_equal(self->log->salt, 0x1234);
    assert_int_equal(atomic_load(&self->log->written), self->log->first);
}

static void lines_are_invisible_until_they_are_written(void **state) {
    struct log_fixture *self = *state;
    uint64_t a = gather(self, "a");
    uint64_t b = gather(self, "b");
    assert_null(toon_log_view(self->log, a, 0).data);
    assert_non_null(toon_log_view_gathered(self->log, b).data);
    write_out(self);
    assert_key_at(self, a, "a");
    assert_key_at(self, b, "b");
}

static void a_mark_starts_the_write_after_a_sync(void **state) {
    struct log_fixture *self = *state;
    (void)gather(self, "a");
    write_out(self);
    uint64_t synced = atomic_load(&self->log->written);
    assert_ok(toon_log_sync(self->log, synced));
    uint64_t b = gather(self, "b");
    uint64_t c = gather(self, "c");
    write_out(self);
    uint64_t said;
    size_t size;
    toon_slice view = toon_log_view(self->log, synced, 0);
    assert_int_equal(toon_mark_parse(view, self->log->salt, &said, &size),
                     RECORD_OK);
    assert_int_equal(said, synced);
    assert_int_equal(b, synced + size);
    (void)gather(self, "d"); /* one mark for one sync */
    write_out(self);
    assert_key_at(self, c, "c");
    assert_key_at(self, toon_log_end(self->log) - (c - b), "d");
}

static void a_dropped_mark_comes_again(void **state) {
    struct log_fixture *self = *state;
    (void)gather(self, "a");
    write_out(self);
    uint64_t synced = atomic_load(&self->log->written);
    assert_ok(toon_log_sync(self->log, synced));
    (void)gather(self, "b");
    toon_log_drop(self->log, 0);
    assert_int_equal(toon_log_end(self->log), synced);
    uint64_t b = gather(self, "b");
    assert_true(b > synced);
}

static void the_mapping_follows_a_growing_log(void **state) {
    struct log_fixture *self = *state;
    static char big[8 << 20];
    memset(big, 'x', sizeof big);
    uint64_t offsets[20];
    for (int i = 0; i < 20; i++) { /* past the first mapping of 64 MiB */
        toon_record_draft draft = {.key = toon_str("k"),
                                   .value = toon_bytes(big, sizeof big),
                                   .type = RECORD_STRING};
        size_t begun = toon_log_begin(self->log);
        offsets[i] = toon_log_end(self->log);
        (void)toon_record_encode(&self->log->gather, &draft, self->log->salt);
        assert_ok(toon_log_admit(self->log, begun, 0, 0));
        write_out(self);
    }
    for (int i = 0; i < 20; i++)
        assert_key_at(self, offsets[i], "k");
}

static void reading_by_calls_gives_the_same_bytes(void **state) {
    struct log_fixture *self = *state;
    uint64_t a = gather(self, "a");
    (void)gather(self, "b");
    write_out(self);
    toon_buf line = {0};
    assert_ok(toon_log_read(self->log, a, 0, &line));
    toon_slice view = toon_log_view(self->log, a, line.size);
    assert_true(toon_slice_equal(view, toon_buf_slice(&line)));
    line.size = 0;
    assert_int_equal(
        toon_log_read(self->log, toon_log_end(self->log) + 10, 5, &line),
        TOON_CORRUPT);
    toon_buf_free(&line);
}

int main(void) {
#define LOG_TEST(name)                                                         \
    cmocka_unit_test_setup_teardown(name, log_setup, log_teardown)
    const struct CMUnitTest tests[] = {
        LOG_TEST(header_and_headline_are_read_back),
        LOG_TEST(lines_are_invisible_until_they_are_written),
        LOG_TEST(a_mark_starts_the_write_after_a_sync),
        LOG_TEST(a_dropped_mark_comes_again),
        LOG_TEST(the_mapping_follows_a_growing_log),
        LOG_TEST(reading_by_calls_gives_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
