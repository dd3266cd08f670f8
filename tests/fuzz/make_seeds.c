/*
 * make_seeds.c - writes the first inputs of fuzz_index and fuzz_open, so that
 * they can be made anew when a format changes.
 *
 * usage: make_seeds SEED_DIRECTORY (as tests/fuzz/seeds)
 *
 * Knows the inputs' layouts (fuzz_index.c, fuzz_open.c).
 */
#include "made_index.h"
#include "made_log.h"
#include "scratch.h"

#include <errno.h>
#include <sys/stat.h>

/* Of the first byte of an input, as the targets say. */
enum {
    INDEX_AS_IT_IS = 0,
    INDEX_MENDED = 1,
    INDEX_BOUND = 3,
    OPEN_BYTES = 0,
    OPEN_MADE = 0x01,
    OPEN_MENDED = 0x02,
    OPEN_BOUND = 0x0c,
    OPEN_HONEST = 0x10,
    OPEN_NO_INDEX = 0x20,
};

static const char *seed_directory;

static void write_seed(const char *target, const char *name,
                       const toon_buf *bytes) {
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s", seed_directory, target);
    CHECK(mkdir(path, 0777) == 0 || errno == EEXIST);
    (void)snprintf(path, sizeof path, "%s/%s/%s", seed_directory, target, name);
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL);
    CHECK(fwrite(bytes->data, 1, bytes->size, file) == bytes->size);
    CHECK(fclose(file) == 0);
}

/* The index of that log; empty if it cannot be opened. */
static toon_buf index_of(const toon_buf *log) {
    toon_buf index = {0};
    toon_dir dir;
    scratch_write("db.toon", log->data, log->size);
    CHECK(toon_dir_open(scratch_io(), scratch_path(), false, &dir) == TOON_OK);
    if (made_index_write(&dir))
        CHECK(scratch_read("db.toon.idx", &index));
    toon_dir_close(&dir);
    return index;
}

static void put(toon_buf *input, unsigned byte) {
    char one = (char)byte;
    toon_buf_append(input, &one, 1);
}

/* ----------------------------------------------------------------- index */

static void write_index_seed(const char *name, unsigned how,
                             const toon_buf *index, size_t size) {
    toon_buf input = {0};
    put(&input, how);
    toon_buf_append(&input, index->data, size);
    write_seed("index", name, &input);
    toon_buf_free(&input);
}

static void write_index_seeds(void) {
    made_log log;
    made_log empty;
    made_log_sound(&log);
    made_log_begin(&empty);
    toon_buf index = index_of(&log.bytes);
    toon_buf none = index_of(&empty.bytes);
    write_index_seed("sound", INDEX_AS_IT_IS, &index, index.size);
    write_index_seed("sound-mended", INDEX_MENDED, &index, index.size);
    write_index_seed("sound-bound", INDEX_BOUND, &index, index.size);
    write_index_seed("cut", INDEX_MENDED, &index, index.size / 2);
    write_index_seed("empty", INDEX_BOUND, &none, none.size);
    write_index_seed("head", INDEX_AS_IT_IS, &index, 12);
    toon_buf_free(&index);
    toon_buf_free(&none);
    made_log_free(&log);
    made_log_free(&empty);
}

/* ------------------------------------------------------------------ open */

#define SCRIPT(name, bytes)                                                    \
    { name, (const uint8_t *)(bytes), sizeof(bytes) - 1 }

static const struct script {
    const char *name;
    const uint8_t *bytes;
    size_t size;
} scripts[] = {
    SCRIPT("sets", "\0\0\3one\0\1\3two\5\2\2\xff\xfe\0\0\5three\6\0"),
    SCRIPT("appends", "\0\0\2ab\2\0\0\2cd\2\0\0\2\xff\x01\2\0\0\1e\0\4\1x"
                      "\2\4\0\1y"),
    SCRIPT("renames", "\0\6\4file\x0c\7\0\1\6\0\3\1z\x0c\1\0\4\3\2"),
    SCRIPT("batch", "\x08\0\1a\x08\1\1b\0\2\1c\6\0\x09\0\1\1"),
    SCRIPT("open-batch", "\0\0\1a\6\0\x08\1\1b\x08\2\1c"),
    SCRIPT("expiry", "\x40\0\1a\x60\1\1b\x43\0\1\3\0\0\x63\1\2"),
    SCRIPT("modes", "\x10\0\1a\x90\1\4link\x13\0\1\x14\2\1"),
    SCRIPT("torn", "\0\0\1a\6\0\0\1\1b\7\x0bhalf a line"),
    SCRIPT("damage", "\0\0\1a\7\5junk\n\0\1\1b\6\0\0\2\1c"),
    SCRIPT("strange-refs", "\0\0\1a\x82\0\7\1x\1\0\2\0\0\1y\4\1\0\3\1\1"),
    SCRIPT("long",
           "\x80\x0f\x1fthis is thirty-one bytes long..\x80\4\3\xff..."),
};

static void write_open_seed(const char *kind, const char *name, unsigned how,
                            toon_slice log, toon_slice index) {
    char path[64];
    toon_buf input = {0};
    put(&input, how);
    put(&input, (unsigned)strlen(name) * 7); /* any seed of changes */
    put(&input, (unsigned)log.size & 255);
    put(&input, (unsigned)log.size >> 8);
    toon_buf_append_slice(&input, log);
    toon_buf_append_slice(&input, index);
    (void)snprintf(path, sizeof path, "%s-%s", kind, name);
    write_seed("open", path, &input);
    toon_buf_free(&input);
}

static void write_open_seeds(const struct script *script) {
    static const char half = '\x80';
    made_log log;
    fuzz_input input = {script->bytes, script->size};
    toon_slice text = toon_bytes(script->bytes, script->size);
    made_log_begin(&log);
    while (input.left > 0)
        made_log_add(&log, &input);
    toon_slice bytes = toon_buf_slice(&log.bytes);
    toon_buf index = index_of(&log.bytes);
    toon_slice none = {NULL, 0};
    write_open_seed("made", script->name, OPEN_MADE | OPEN_NO_INDEX, text,
                    none);
    write_open_seed("honest", script->name, OPEN_MADE | OPEN_HONEST, text,
                    toon_bytes(&half, 1));
    write_open_seed("mended", script->name, OPEN_MENDED | OPEN_BOUND, bytes,
                    toon_buf_slice(&index));
    write_open_seed("bytes", script->name, OPEN_BYTES, bytes,
                    toon_buf_slice(&index));
    toon_buf_free(&index);
    made_log_free(&log);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s SEED_DIRECTORY\n", argv[0]);
        return 2;
    }
    seed_directory = argv[1];
    write_index_seeds();
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++)
        write_open_seeds(&scripts[i]);
    return 0;
}
