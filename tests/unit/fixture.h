/*
 * fixture.h - a store in a directory of its own, for the tests of the core.
 */
#ifndef TOON_TEST_FIXTURE_H
#define TOON_TEST_FIXTURE_H

#include "toonstore.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* cmocka.h needs what stands above. */
// clang-format off
#include <cmocka.h>
// clang-format on

#define assert_ok(expression)                                                  \
    do {                                                                       \
        toon_err err_ = (expression);                                          \
        if (err_ != TOON_OK)                                                   \
            fail_msg("%s: %s (%s)", #expression, toon_strerror(err_),          \
                     toon_last_error()->text);                                 \
    } while (0)

struct fixture {
    char dir[64];
    toon_store *store;
    toon_options options;
};

static inline int fixture_setup(void **state) {
    struct fixture *self = calloc(1, sizeof *self);
    (void)snprintf(self->dir, sizeof self->dir, "/tmp/toon-unit-XXXXXX");
    if (mkdtemp(self->dir) == NULL)
        return -1;
    self->options.sync = TOON_SYNC_NO;
    *state = self;
    return toon_open(self->dir, &self->options, &self->store) == TOON_OK ? 0
                                                                         : -1;
}

static inline void remove_files(const char *dir) {
    DIR *listing = opendir(dir);
    struct dirent *entry;
    char path[400];
    while (listing != NULL && (entry = readdir(listing)) != NULL) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        if (entry->d_name[0] != '.')
            (void)unlink(path);
    }
    if (listing != NULL)
        (void)closedir(listing);
}

static inline int fixture_teardown(void **state) {
    struct fixture *self = *state;
    (void)toon_close(self->store);
    remove_files(self->dir);
    (void)rmdir(self->dir);
    free(self);
    return 0;
}

static inline void close_store(struct fixture *self) {
    assert_ok(toon_close(self->store));
    self->store = NULL;
}

static inline void reopen(struct fixture *self) {
    if (self->store != NULL)
        close_store(self);
    assert_ok(toon_open(self->dir, &self->options, &self->store));
}

static inline void put(struct fixture *self, const char *key,
                       const char *value) {
    assert_ok(toon_set(self->store, toon_str(key), toon_str(value), NULL));
}

static inline void assert_value_bytes(struct fixture *self, const char *key,
                                      const void *data, size_t size) {
    toon_value value;
    assert_ok(toon_get(self->store, toon_str(key), &value));
    assert_int_equal(value.size, size);
    assert_memory_equal(value.data, data, size);
    assert_int_equal(value.data[size], 0);
    toon_value_release(&value);
}

static inline void assert_value(struct fixture *self, const char *key,
                                const char *text) {
    assert_value_bytes(self, key, text, strlen(text));
}

static inline void assert_absent(struct fixture *self, const char *key) {
    toon_key_stat stat;
    assert_int_equal(toon_stat_key(self->store, toon_str(key), &stat),
                     TOON_NOT_FOUND);
}

static inline void path_of(const struct fixture *self, const char *name,
                           char path[128]) {
    (void)snprintf(path, 128, "%s/%s", self->dir, name);
}

/* The whole file, to be freed. */
static inline char *slurp(const struct fixture *self, const char *name,
                          size_t *size) {
    char path[128];
    path_of(self, name, path);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    struct stat st;
    assert_int_equal(fstat(fileno(file), &st), 0);
    *size = (size_t)st.st_size;
    char *bytes = malloc(*size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    bytes[*size] = '\0';
    (void)fclose(file);
    return bytes;
}

static inline void spill(const struct fixture *self, const char *name,
                         const void *bytes, size_t size) {
    char path[128];
    path_of(self, name, path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    (void)fclose(file);
}

static inline bool file_exists(const struct fixture *self, const char *name) {
    char path[128];
    path_of(self, name, path);
    return access(path, F_OK) == 0;
}

static inline void remove_file(const struct fixture *self, const char *name) {
    char path[128];
    path_of(self, name, path);
    (void)unlink(path);
}

#endif
