/*
 * tst_v1.c - the files of a version 1 store, and what is wrong with them.
 *
 * Knows these files; must never know where their rows go.
 */
#include "tst_v1.h"

#include "tst.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_NAME   "db.toon"
#define INDEX_NAME "db.toon.idx"
#define MAP_NAME   "keymap.txt"

enum {
    LOG_HEAD = 16,
    INDEX_HEAD = 12,
    ENTRY_SIZE = 8,
    VERSION = 1,
    WINDOW_MIN = 64 * 1024,
};

/* A line may be as long as a value of ours, and its LF. */
#define LINE_MAX_BYTES (TOON_VALUE_SIZE_LIMIT + 1)

static uint32_t get_u32(const char *at) {
    const unsigned char *bytes = (const unsigned char *)at;
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 |
           (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static uint64_t get_u64(const char *at) {
    return get_u32(at) | (uint64_t)get_u32(at + 4) << 32;
}

/* ------------------------------------------------------------------ telling */

/* V1_OK: go on without it. */
static v1_result __attribute__((format(printf, 2, 3)))
damage(const v1_store *v1, const char *format, ...) {
    char text[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return v1->damaged(v1->arg, text) ? V1_OK : V1_DAMAGED;
}

static v1_result fail(const v1_store *v1, const char *name, const char *what) {
    tst_say("%s/%s: %s: %s", v1->dir, name, what, strerrordesc_np(errno));
    return V1_FAILED;
}

static v1_result fail_memory(void) {
    tst_say("out of memory");
    return V1_FAILED;
}

/* -------------------------------------------------------------------- files */

static int open_file(const v1_store *v1, const char *name) {
    char path[4096];
    int size = snprintf(path, sizeof path, "%s/%s", v1->dir, name);
    if (size < 0 || (size_t)size >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Bytes that were read, fewer only at the end of the file; -1: failed. */
static ssize_t read_at(int fd, char *out, size_t size, uint64_t offset) {
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(fd, out + done, size - done,
                            (off_t)(offset + (uint64_t)done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -1;
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    return (ssize_t)done;
}

/* The whole file; *data is the caller's. */
static v1_result read_file(const v1_store *v1, const char *name, int fd,
                           char **data, size_t *size) {
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return fail(v1, name, "cannot stat");
    }
    *size = (size_t)st.st_size;
    *data = malloc(*size + 1);
    if (*data == NULL) {
        return fail_memory();
    }
    ssize_t got = read_at(fd, *data, *size, 0);
    if (got < 0) {
        return fail(v1, name, "cannot read");
    }
    *size = (size_t)got;
    return V1_OK;
}

/* ---------------------------------------------------------------- the heads */

/* What is not version 1 at all is no damage of it. */
static v1_result read_log_head(v1_store *v1, uint32_t *count) {
    char head[LOG_HEAD];
    struct stat st;
    v1->log = open_file(v1, LOG_NAME);
    if (v1->log < 0 || fstat(v1->log, &st) != 0) {
        return fail(v1, LOG_NAME, "cannot open");
    }
    v1->log_size = (uint64_t)st.st_size;
    ssize_t got = read_at(v1->log, head, sizeof head, 0);
    if (got < 0) {
        return fail(v1, LOG_NAME, "cannot read");
    }
    if (got < (ssize_t)sizeof head || memcmp(head, "TOON001\n", 8) != 0) {
        tst_say("%s/" LOG_NAME ": is no store's log", v1->dir);
        return V1_FAILED;
    }
    uint32_t version = get_u32(head + 8);
    if (version != VERSION) {
        tst_say("%s/" LOG_NAME ": is of version %" PRIu32
                ", not of version 1%s",
                v1->dir, version, version == 2 ? "; `tst copy` copies it" : "");
        return V1_FAILED;
    }
    *count = get_u32(head + 12);
    return V1_OK;
}

static v1_result parse_index(v1_store *v1, const char *data, size_t size,
                             uint32_t log_count) {
    v1_result result = V1_OK;
    if (size < INDEX_HEAD || memcmp(data, "TOONIDX1", 8) != 0) {
        tst_say("%s/" INDEX_NAME ": is no index", v1->dir);
        return V1_FAILED;
    }
    uint64_t count = get_u32(data + 8);
    uint64_t room = (size - INDEX_HEAD) / ENTRY_SIZE;
    if (count > room) {
        result = damage(v1,
                        INDEX_NAME ": counts %" PRIu64
                                   " rows, and has room for %" PRIu64,
                        count, room);
    } else if (size != INDEX_HEAD + count * ENTRY_SIZE) {
        result = damage(v1,
                        INDEX_NAME ": goes on behind the %" PRIu64
                                   " rows that it counts",
                        count);
    } else if (log_count > count) {
        result = damage(v1,
                        LOG_NAME ": counts %" PRIu32 " rows, and " INDEX_NAME
                                 " only %" PRIu64,
                        log_count, count);
    }
    v1->rows = count < room ? count : room;
    v1->offsets = malloc((size_t)v1->rows * sizeof *v1->offsets + 1);
    if (v1->offsets == NULL) {
        return fail_memory();
    }
    for (uint64_t row = 0; row < v1->rows; row++) {
        v1->offsets[row] = get_u64(data + INDEX_HEAD + row * ENTRY_SIZE);
    }
    return result;
}

static v1_result read_index(v1_store *v1, uint32_t log_count) {
    char *data = NULL;
    size_t size = 0;
    int fd = open_file(v1, INDEX_NAME);
    if (fd < 0) {
        return fail(v1, INDEX_NAME,
                    "cannot open, and it alone knows which rows are deleted");
    }
    v1_result result = read_file(v1, INDEX_NAME, fd, &data, &size);
    (void)close(fd);
    if (result == V1_OK) {
        result = parse_index(v1, data, size, log_count);
    }
    free(data);
    return result;
}

/* ----------------------------------------------------------------- the names */

bool v1_parse_row(toon_slice text, uint64_t *out) {
    uint64_t row = 0;
    if (text.size == 0 || text.size > 19 ||
        (text.size > 1 && text.data[0] == '0')) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        row = row * 10 + (uint64_t)(text.data[i] - '0');
    }
    *out = row;
    return true;
}

/* A key may have tabs: the last one parts. */
static v1_result parse_name(v1_store *v1, toon_slice text, size_t line) {
    v1_name name = {.line = line};
    const char *tab = memrchr(text.data, '\t', text.size);
    size_t key_size = tab != NULL ? (size_t)(tab - text.data) : 0;
    if (tab == NULL ||
        !v1_parse_row(toon_bytes(tab + 1, text.size - key_size - 1),
                      &name.row)) {
        return damage(v1, MAP_NAME ": line %zu is not a key, a tab and a row",
                      line);
    }
    if (name.row >= v1->rows) {
        return damage(v1,
                      MAP_NAME ": line %zu names row %" PRIu64
                               ", and there are %" PRIu64,
                      line, name.row, v1->rows);
    }
    if (key_size > TOON_KEY_SIZE_LIMIT) {
        return damage(v1, MAP_NAME ": the key of line %zu is over 64 KiB",
                      line);
    }
    name.key = toon_bytes(text.data, key_size);
    v1->names[v1->name_count++] = name;
    return V1_OK;
}

static int compare_keys(const void *a, const void *b) {
    const v1_name *x = a;
    const v1_name *y = b;
    size_t size = x->key.size < y->key.size ? x->key.size : y->key.size;
    int order = size > 0 ? memcmp(x->key.data, y->key.data, size) : 0;
    if (order == 0) {
        order = (x->key.size > y->key.size) - (x->key.size < y->key.size);
    }
    return order != 0 ? order : (x->line > y->line) - (x->line < y->line);
}

static int compare_rows(const void *a, const void *b) {
    const v1_name *x = a;
    const v1_name *y = b;
    if (x->row != y->row) {
        return x->row > y->row ? 1 : -1;
    }
    return (x->line > y->line) - (x->line < y->line);
}

static bool same_key(const v1_name *a, const v1_name *b) {
    return a->key.size == b->key.size &&
           (a->key.size == 0 ||
            memcmp(a->key.data, b->key.data, a->key.size) == 0);
}

/* Of several lines of a key the last counts. */
static void sort_names(v1_store *v1) {
    size_t kept = 0;
    qsort(v1->names, v1->name_count, sizeof *v1->names, compare_keys);
    for (size_t i = 0; i < v1->name_count; i++) {
        if (i + 1 == v1->name_count ||
            !same_key(&v1->names[i], &v1->names[i + 1])) {
            v1->names[kept++] = v1->names[i];
        }
    }
    v1->name_count = kept;
    qsort(v1->names, kept, sizeof *v1->names, compare_rows);
}

static v1_result parse_names(v1_store *v1, size_t size) {
    v1_result result = V1_OK;
    size_t lines = 1;
    for (size_t i = 0; i < size; i++) {
        lines += v1->map[i] == '\n';
    }
    v1->names = malloc(lines * sizeof *v1->names);
    if (v1->names == NULL) {
        return fail_memory();
    }
    const char *at = v1->map;
    const char *end = v1->map + size;
    for (size_t line = 1; result == V1_OK && at < end; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline != NULL ? newline : end;
        result = parse_name(v1, toon_bytes(at, (size_t)(stop - at)), line);
        at = stop + 1;
    }
    sort_names(v1);
    return result;
}

static v1_result read_names(v1_store *v1) {
    size_t size = 0;
    int fd = open_file(v1, MAP_NAME);
    if (fd < 0 && errno == ENOENT) {
        return V1_OK;
    }
    if (fd < 0) {
        return fail(v1, MAP_NAME, "cannot open");
    }
    v1_result result = read_file(v1, MAP_NAME, fd, &v1->map, &size);
    (void)close(fd);
    return result == V1_OK ? parse_names(v1, size) : result;
}

const v1_name *v1_names_of(const v1_store *v1, uint64_t row, size_t *count) {
    size_t low = 0;
    size_t high = v1->name_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (v1->names[middle].row < row) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *count = 0;
    while (low + *count < v1->name_count &&
           v1->names[low + *count].row == row) {
        ++*count;
    }
    return v1->names + low;
}

/* --------------------------------------------------------------------- lines */

/* The window begins at `offset` and has `size` bytes, or ends with the file. */
static v1_result fill_window(v1_store *v1, uint64_t offset, size_t size) {
    if (size > v1->line_capacity) {
        char *line = realloc(v1->line, size);
        if (line == NULL) {
            return fail_memory();
        }
        v1->line = line;
        v1->line_capacity = size;
    }
    ssize_t got = read_at(v1->log, v1->line, size, offset);
    if (got < 0) {
        return fail(v1, LOG_NAME, "cannot read");
    }
    v1->window_at = offset;
    v1->window_size = (size_t)got;
    return V1_OK;
}

static bool in_window(const v1_store *v1, uint64_t offset) {
    return offset >= v1->window_at && offset - v1->window_at < v1->window_size;
}

static const char *look_in_window(const v1_store *v1, uint64_t offset) {
    size_t skip = (size_t)(offset - v1->window_at);
    return memchr(v1->line + skip, '\n', v1->window_size - skip);
}

/* *stop is the LF, in the window as all of the line; NULL: the file ends, or
 * the line is too long. */
static v1_result find_line(v1_store *v1, uint64_t offset, const char **stop) {
    size_t size = WINDOW_MIN;
    *stop = in_window(v1, offset) ? look_in_window(v1, offset) : NULL;
    while (*stop == NULL) {
        v1_result result = fill_window(v1, offset, size);
        if (result != V1_OK) {
            return result;
        }
        *stop = look_in_window(v1, offset);
        if (v1->window_size < size || size == LINE_MAX_BYTES) {
            break; /* there is no more to see */
        }
        size = size * 4 < LINE_MAX_BYTES ? size * 4 : LINE_MAX_BYTES;
    }
    return V1_OK;
}

/* A row begins the file's text, or behind a LF. */
static v1_result begins_line(const v1_store *v1, uint64_t offset, bool *out) {
    char before = '\n';
    *out = offset >= LOG_HEAD && offset < v1->log_size;
    if (*out && in_window(v1, offset - 1)) {
        before = v1->line[offset - 1 - v1->window_at];
    } else if (*out && offset > LOG_HEAD &&
               read_at(v1->log, &before, 1, offset - 1) != 1) {
        return fail(v1, LOG_NAME, "cannot read");
    }
    *out = *out && (offset == LOG_HEAD || before == '\n');
    return V1_OK;
}

static v1_result leave_out(v1_store *v1, uint64_t row, const char *what) {
    v1_result result =
        damage(v1, LOG_NAME ": row %" PRIu64 " at offset %" PRIu64 " %s", row,
               v1->offsets[row], what);
    v1->offsets[row] = 0;
    return result;
}

void v1_forget(v1_store *v1, uint64_t row) {
    v1->offsets[row] = 0;
}

bool v1_is_gone(const v1_store *v1, uint64_t row) {
    return v1->offsets[row] == 0;
}

v1_result v1_read(v1_store *v1, uint64_t row, toon_slice *out) {
    const char *stop = NULL;
    uint64_t offset = v1->offsets[row];
    bool begins = false;
    *out = toon_bytes(NULL, 0);
    v1_result result = begins_line(v1, offset, &begins);
    if (result != V1_OK) {
        return result;
    }
    if (!begins) {
        return leave_out(v1, row,
                         offset >= v1->log_size
                             ? "lies behind the end of the file"
                             : "is not where a line begins");
    }
    result = find_line(v1, offset, &stop);
    if (result != V1_OK) {
        return result;
    }
    if (stop == NULL) {
        return leave_out(v1, row, "has no end");
    }
    const char *start = v1->line + (offset - v1->window_at);
    *out = toon_bytes(start, (size_t)(stop - start));
    return V1_OK;
}

/* --------------------------------------------------------------- open, close */

v1_result v1_open(v1_store *v1, const char *dir, v1_damage_fn *damaged,
                  void *arg) {
    uint32_t log_count = 0;
    *v1 = (v1_store){.dir = dir, .damaged = damaged, .arg = arg, .log = -1};
    v1_result result = read_log_head(v1, &log_count);
    if (result == V1_OK) {
        result = read_index(v1, log_count);
    }
    return result == V1_OK ? read_names(v1) : result;
}

void v1_close(v1_store *v1) {
    if (v1->log >= 0) {
        (void)close(v1->log);
    }
    free(v1->offsets);
    free(v1->map);
    free(v1->names);
    free(v1->line);
    *v1 = (v1_store){.log = -1};
}
