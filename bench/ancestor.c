/*
 * ancestor.c - the ancestor's way to keep rows: the base line of bench_core.
 *
 * Knows files and an LRU list; must never know toonstore.
 */
#include "ancestor.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    READ_SIZE = 4096,
    HEADER_SIZE = 16,
    COUNT_OFFSET = 8,
    INDEX_HEADER = 12
};

struct entry {
    struct entry *newer, *older; /* in the list */
    struct entry *next;          /* in its bucket */
    uint32_t row;
    size_t size;
    char value[];
};

struct ancestor {
    pthread_mutex_t lock;
    int log, index;
    uint64_t *offsets; /* of each row's line; all of them in memory */
    uint32_t count, capacity;
    uint64_t log_size;
    char *line; /* a put's line, with its newline */
    size_t line_capacity;

    struct entry *newest, *oldest;
    struct entry **buckets;
    size_t bucket_mask, entries, entries_max;
};

/* ------------------------------------------------------------------ the LRU */

static struct entry **bucket_of(ancestor *self, uint32_t row) {
    uint64_t hash = row * UINT64_C(0x9e3779b97f4a7c15);
    return &self->buckets[(hash >> 32) & self->bucket_mask];
}

static void list_take(ancestor *self, struct entry *entry) {
    *(entry->newer ? &entry->newer->older : &self->newest) = entry->older;
    *(entry->older ? &entry->older->newer : &self->oldest) = entry->newer;
}

static void list_push(ancestor *self, struct entry *entry) {
    entry->newer = NULL;
    entry->older = self->newest;
    *(self->newest ? &self->newest->newer : &self->oldest) = entry;
    self->newest = entry;
}

static void evict(ancestor *self) {
    struct entry *entry = self->oldest;
    struct entry **at = bucket_of(self, entry->row);
    while (*at != entry) {
        at = &(*at)->next;
    }
    *at = entry->next;
    list_take(self, entry);
    free(entry);
    self->entries--;
}

static const struct entry *cache_find(ancestor *self, uint32_t row) {
    if (self->entries_max == 0) {
        return NULL;
    }
    struct entry *entry = *bucket_of(self, row);
    while (entry != NULL && entry->row != row) {
        entry = entry->next;
    }
    if (entry != NULL && entry != self->newest) {
        list_take(self, entry);
        list_push(self, entry);
    }
    return entry;
}

static void cache_add(ancestor *self, uint32_t row, const char *value,
                      size_t size) {
    if (self->entries_max == 0) {
        return;
    }
    struct entry *entry = malloc(sizeof *entry + size);
    if (entry == NULL) {
        return;
    }
    if (self->entries == self->entries_max) {
        evict(self);
    }
    struct entry **bucket = bucket_of(self, row);
    entry->row = row;
    entry->size = size;
    memcpy(entry->value, value, size);
    entry->next = *bucket;
    *bucket = entry;
    list_push(self, entry);
    self->entries++;
}

/* ---------------------------------------------------------------- the files */

static int open_file(const char *dir, const char *name) {
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
}

static bool write_headers(ancestor *self) {
    char log[HEADER_SIZE] = "TOON001\n\1", index[INDEX_HEADER] = "TOONIDX1";
    self->log_size = sizeof log;
    return write(self->log, log, sizeof log) == (ssize_t)sizeof log &&
           write(self->index, index, sizeof index) == (ssize_t)sizeof index;
}

ancestor *ancestor_open(const char *dir, size_t cache_entries) {
    ancestor *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return NULL;
    }
    size_t buckets = 1;
    while (buckets < 2 * cache_entries) {
        buckets *= 2;
    }
    (void)pthread_mutex_init(&self->lock, NULL);
    self->entries_max = cache_entries;
    self->bucket_mask = buckets - 1;
    self->buckets = calloc(buckets, sizeof(struct entry *));
    self->log = open_file(dir, "ancestor.toon");
    self->index = open_file(dir, "ancestor.toon.idx");
    if (self->buckets == NULL || self->log < 0 || self->index < 0 ||
        !write_headers(self)) {
        ancestor_close(self);
        return NULL;
    }
    return self;
}

void ancestor_close(ancestor *self) {
    if (self->log >= 0) {
        (void)close(self->log);
    }
    if (self->index >= 0) {
        (void)close(self->index);
    }
    while (self->oldest != NULL) {
        evict(self);
    }
    free(self->buckets);
    free(self->offsets);
    free(self->line);
    (void)pthread_mutex_destroy(&self->lock);
    free(self);
}

static bool make_room(ancestor *self, size_t size) {
    if (self->count == self->capacity) {
        uint32_t capacity = self->capacity == 0 ? 1024 : self->capacity * 2;
        uint64_t *offsets =
            realloc(self->offsets, capacity * sizeof self->offsets[0]);
        if (offsets == NULL) {
            return false;
        }
        self->offsets = offsets;
        self->capacity = capacity;
    }
    if (size + 1 > self->line_capacity) {
        char *line = realloc(self->line, size + 1);
        if (line == NULL) {
            return false;
        }
        self->line = line;
        self->line_capacity = size + 1;
    }
    return true;
}

static bool write_at(int file, off_t offset, const void *data, size_t size) {
    return lseek(file, offset, SEEK_SET) == offset &&
           write(file, data, size) == (ssize_t)size;
}

static bool append_row(ancestor *self, const char *value, size_t size) {
    if (!make_room(self, size)) {
        return false;
    }
    memcpy(self->line, value, size);
    self->line[size] = '\n';
    uint64_t offset = self->log_size;
    uint32_t count = self->count + 1;
    off_t entry = INDEX_HEADER + (off_t)self->count * (off_t)sizeof offset;
    if (!write_at(self->log, (off_t)offset, self->line, size + 1) ||
        !write_at(self->index, COUNT_OFFSET, &count, sizeof count) ||
        !write_at(self->index, entry, &offset, sizeof offset)) {
        return false;
    }
    self->offsets[self->count] = offset;
    self->log_size += size + 1;
    cache_add(self, self->count, value, size);
    self->count = count;
    return true;
}

bool ancestor_put(ancestor *self, const char *value, size_t size) {
    (void)pthread_mutex_lock(&self->lock);
    bool ok = append_row(self, value, size);
    (void)pthread_mutex_unlock(&self->lock);
    return ok;
}

static bool read_row(ancestor *self, uint32_t row, char *out, size_t capacity,
                     size_t *size) {
    char piece[READ_SIZE];
    const char *end = NULL;
    if (row >= self->count ||
        lseek(self->log, (off_t)self->offsets[row], SEEK_SET) < 0) {
        return false;
    }
    for (*size = 0; end == NULL;) {
        ssize_t got = read(self->log, piece, sizeof piece);
        if (got <= 0) {
            return false;
        }
        end = memchr(piece, '\n', (size_t)got);
        size_t more = end != NULL ? (size_t)(end - piece) : (size_t)got;
        if (more > capacity - *size) {
            return false;
        }
        memcpy(out + *size, piece, more);
        *size += more;
    }
    return true;
}

static bool get_row(ancestor *self, uint32_t row, char *out, size_t capacity,
                    size_t *size) {
    const struct entry *entry = cache_find(self, row);
    if (entry == NULL) {
        if (!read_row(self, row, out, capacity, size)) {
            return false;
        }
        cache_add(self, row, out, *size);
        return true;
    }
    if (entry->size > capacity) {
        return false;
    }
    memcpy(out, entry->value, entry->size);
    *size = entry->size;
    return true;
}

bool ancestor_get(ancestor *self, uint32_t row, char *out, size_t capacity,
                  size_t *size) {
    (void)pthread_mutex_lock(&self->lock);
    bool ok = get_row(self, row, out, capacity, size);
    (void)pthread_mutex_unlock(&self->lock);
    return ok;
}
