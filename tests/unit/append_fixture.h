/*
 * append_fixture.h - a value that grows by lines, in a store that neither
 * caches nor compacts by itself.
 */
#ifndef TOON_TEST_APPEND_FIXTURE_H
#define TOON_TEST_APPEND_FIXTURE_H

#include "fixture.h"

enum { LINE = 100, LINES = 10000 };

/* What is cached is not looked for in the log, and what is compacted away
 * cannot be counted. */
static inline int uncached_setup(void **state) {
    int failed = fixture_setup(state);
    if (failed == 0) {
        struct fixture *self = *state;
        self->options.cache_policy = TOON_CACHE_NONE;
        self->options.compact_garbage = 100;
        reopen(self);
    }
    return failed;
}

static inline void line_of(int number, char out[LINE]) {
    memset(out, 'a' + number % 26, LINE);
    out[LINE - 1] = '\n';
}

static inline void add(struct fixture *self, const char *key, const void *bytes,
                       size_t count, size_t expected_size) {
    size_t size;
    assert_ok(toon_append(self->store, toon_str(key), toon_bytes(bytes, count),
                          &size));
    assert_int_equal(size, expected_size);
}

static inline void add_lines(struct fixture *self, const char *key, int from,
                             int to) {
    for (int i = from; i < to; i++) {
        char line[LINE];
        line_of(i, line);
        add(self, key, line, LINE, (size_t)(i + 1) * LINE);
    }
}

static inline size_t size_of(struct fixture *self, const char *key) {
    toon_key_stat stat;
    assert_ok(toon_stat_key(self->store, toon_str(key), &stat));
    return stat.size;
}

static inline void assert_lines(struct fixture *self, const char *key,
                                int count) {
    toon_value value;
    assert_int_equal(size_of(self, key), (size_t)count * LINE);
    assert_ok(toon_get(self->store, toon_str(key), &value));
    assert_int_equal(value.size, (size_t)count * LINE);
    for (int i = 0; i < count; i++) {
        char line[LINE];
        line_of(i, line);
        assert_memory_equal(value.data + i * LINE, line, LINE);
    }
    toon_value_release(&value);
}

#endif
