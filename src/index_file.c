/*
 * index_file.c - saving and loading db.toon.idx.
 *
 * Knows its layout; must never know the inside of the log.
 */
#include "index_file.h"

#include "crc32c.h"
#include "error.h"

#include <assert.h>

static const char rows_magic[8] = {'T', 'O', 'O', 'N', 'I', 'D', 'X', '1'};
static const char keys_magic[8] = {'T', 'O', 'O', 'N', 'K', 'E', 'Y', 'S'};

enum {
    ROWS_HEAD_SIZE = 12,
    KEYS_HEAD_SIZE = 64,
    ROW_SIZE = 8,
    SLOT_SIZE = 16,
    EXPIRY_SIZE = 24,
    CRC_SIZE = 4,
    WRITE_PIECE = 1 << 20,
};

/* ----------------------------------------------------------------- loading */

static toon_err damaged(const toon_file *file, const char *what) {
    toon_where where = {file->path, -1, 0};
    return toon_fail(TOON_CORRUPT, where, "%s: %s", file->path, what);
}

static toon_err map_whole(const toon_dir *dir, toon_index *index,
                          toon_file *file) {
    uint64_t size = 0;
    toon_err err = toon_file_open(dir, TOON_INDEX_NAME, O_RDONLY, file);
    if (err != TOON_OK)
        return err;
    err = toon_file_size(file, &size);
    if (err == TOON_OK && size < CRC_SIZE)
        err = damaged(file, "is too short for an index");
    if (err == TOON_OK) {
        index->io = dir->io;
        index->size = (size_t)size;
        index->at = toon_file_map(file, index->size);
        if (index->at == NULL)
            err = toon_file_fail(file, -1, "cannot map");
    }
    toon_file_close(file);
    return err;
}

/* Sizes are checked by division, so that no count can overflow. */
static bool take_items(uint64_t *rest, uint64_t count, uint64_t item_size) {
    if (count > *rest / item_size)
        return false;
    *rest -= count * item_size;
    return true;
}

/* Of the key section. */
static bool parse_head(const char *at, toon_index_head *head) {
    if (memcmp(at, keys_magic, sizeof keys_magic) != 0)
        return false;
    head->salt = toon_get_u32(at + 8);
    head->last_crc = toon_get_u32(at + 12);
    head->covered = toon_get_u64(at + 16);
    head->last_offset = toon_get_u64(at + 24);
    head->live_bytes = toon_get_u64(at + 32);
    head->seed = toon_get_u64(at + 40);
    head->slots = toon_get_u64(at + 48);
    head->expiring = toon_get_u64(at + 56);
    return true;
}

static bool parse(toon_index *index) {
    toon_index_head *head = &index->head;
    const char *at = index->at;
    uint64_t rest = index->size;
    if (rest < ROWS_HEAD_SIZE + KEYS_HEAD_SIZE + CRC_SIZE ||
        memcmp(at, rows_magic, sizeof rows_magic) != 0)
        return false;
    rest -= ROWS_HEAD_SIZE + KEYS_HEAD_SIZE + CRC_SIZE;
    head->rows = toon_get_u32(at + 8);
    index->row_offsets = at + ROWS_HEAD_SIZE;
    if (!take_items(&rest, head->rows, ROW_SIZE))
        return false;
    at = index->row_offsets + head->rows * ROW_SIZE;
    if (!parse_head(at, head))
        return false;
    index->slot_pairs = at + KEYS_HEAD_SIZE;
    if (!take_items(&rest, head->slots, SLOT_SIZE) ||
        !take_items(&rest, head->expiring, EXPIRY_SIZE) || rest != 0)
        return false;
    index->expiry_triples = index->slot_pairs + head->slots * SLOT_SIZE;
    return true;
}

static toon_err check(toon_index *index, const toon_file *file) {
    size_t size = index->size - CRC_SIZE;
    if (toon_crc32c(0, index->at, size) != toon_get_u32(index->at + size))
        return damaged(file, "its checksum is wrong");
    if (!parse(index))
        return damaged(file, "is no index of this version");
    return TOON_OK;
}

toon_err toon_index_load(const toon_dir *dir, toon_index *out) {
    toon_file file;
    *out = (toon_index){0};
    toon_err err = map_whole(dir, out, &file);
    if (err == TOON_OK)
        err = check(out, &file);
    if (err != TOON_OK)
        toon_index_free(out);
    return err;
}

void toon_index_free(toon_index *index) {
    if (index->at != NULL)
        toon_file_unmap(index->io, index->at, index->size, index->size);
    *index = (toon_index){0};
}

toon_err toon_index_peek(const toon_file *file, toon_index_head *out) {
    char start[ROWS_HEAD_SIZE];
    char keys[KEYS_HEAD_SIZE];
    *out = (toon_index_head){0};
    toon_err err = toon_file_read(file, start, sizeof start, 0);
    if (err != TOON_OK)
        return err;
    if (memcmp(start, rows_magic, sizeof rows_magic) != 0)
        return damaged(file, "is no index");
    out->rows = toon_get_u32(start + 8);
    err = toon_file_read(file, keys, sizeof keys,
                         ROWS_HEAD_SIZE + out->rows * ROW_SIZE);
    if (err == TOON_OK && !parse_head(keys, out))
        err = damaged(file, "is no index of this version");
    return err;
}

uint64_t toon_index_row(const toon_index *index, uint64_t row) {
    assert(row < index->head.rows);
    return toon_get_u64(index->row_offsets + row * ROW_SIZE);
}

toon_slot toon_index_slot(const toon_index *index, uint64_t i) {
    assert(i < index->head.slots);
    const char *at = index->slot_pairs + i * SLOT_SIZE;
    return (toon_slot){toon_get_u64(at), toon_get_u64(at + 8)};
}

toon_expiry_entry toon_index_expiry(const toon_index *index, uint64_t i) {
    assert(i < index->head.expiring);
    const char *at = index->expiry_triples + i * EXPIRY_SIZE;
    return (toon_expiry_entry){
        .hash = toon_get_u64(at),
        .payload = toon_get_u64(at + 8),
        .expires_ms = (int64_t)toon_get_u64(at + 16),
    };
}

/* ------------------------------------------------------------------ saving */

static void flush(toon_index_writer *writer) {
    toon_buf *buf = &writer->buf;
    if (writer->err == TOON_OK && buf->failed)
        writer->err = toon_fail_memory();
    if (writer->err == TOON_OK) {
        writer->crc = toon_crc32c(writer->crc, buf->data, buf->size);
        writer->err = toon_file_write(&writer->file, buf->data, buf->size,
                                      writer->offset);
        writer->offset += buf->size;
    }
    buf->size = 0;
}

static void put(toon_index_writer *writer, const void *bytes, size_t size) {
    toon_buf_append(&writer->buf, bytes, size);
    if (writer->buf.size >= WRITE_PIECE || writer->buf.failed)
        flush(writer);
}

static void put_u32(toon_index_writer *writer, uint32_t number) {
    char bytes[4];
    toon_put_u32(bytes, number);
    put(writer, bytes, sizeof bytes);
}

static void put_u64(toon_index_writer *writer, uint64_t number) {
    char bytes[8];
    toon_put_u64(bytes, number);
    put(writer, bytes, sizeof bytes);
}

static void put_keys_head(toon_index_writer *writer) {
    const toon_index_head *head = &writer->head;
    assert(writer->rows_left == 0);
    put(writer, keys_magic, sizeof keys_magic);
    put_u32(writer, head->salt);
    put_u32(writer, head->last_crc);
    put_u64(writer, head->covered);
    put_u64(writer, head->last_offset);
    put_u64(writer, head->live_bytes);
    put_u64(writer, head->seed);
    put_u64(writer, head->slots);
    put_u64(writer, head->expiring);
}

void toon_index_begin(toon_index_writer *writer, const toon_dir *dir,
                      const toon_index_head *head) {
    *writer = (toon_index_writer){.dir = dir, .head = *head};
    writer->rows_left = head->rows;
    writer->slots_left = head->slots;
    writer->expiring_left = head->expiring;
    writer->err = toon_file_open(dir, TOON_INDEX_NEW_NAME,
                                 O_RDWR | O_CREAT | O_TRUNC, &writer->file);
    put(writer, rows_magic, sizeof rows_magic);
    put_u32(writer, (uint32_t)head->rows);
    if (head->rows == 0)
        put_keys_head(writer);
}

void toon_index_add_row(toon_index_writer *writer, uint64_t offset) {
    assert(writer->rows_left > 0);
    put_u64(writer, offset);
    if (--writer->rows_left == 0)
        put_keys_head(writer);
}

void toon_index_add_slot(toon_index_writer *writer, toon_slot slot) {
    assert(writer->rows_left == 0 && writer->slots_left > 0);
    writer->slots_left--;
    put_u64(writer, slot.hash);
    put_u64(writer, slot.payload);
}

void toon_index_add_expiry(toon_index_writer *writer, toon_expiry_entry entry) {
    assert(writer->slots_left == 0 && writer->expiring_left > 0);
    writer->expiring_left--;
    put_u64(writer, entry.hash);
    put_u64(writer, entry.payload);
    put_u64(writer, (uint64_t)entry.expires_ms);
}

toon_err toon_index_end(toon_index_writer *writer) {
    assert(writer->err != TOON_OK ||
           (writer->rows_left == 0 && writer->slots_left == 0 &&
            writer->expiring_left == 0));
    flush(writer);
    char crc[CRC_SIZE];
    toon_put_u32(crc, writer->crc);
    put(writer, crc, sizeof crc);
    flush(writer);
    if (writer->err == TOON_OK)
        writer->err = toon_file_sync(&writer->file);
    toon_file_close(&writer->file);
    if (writer->err == TOON_OK)
        writer->err =
            toon_dir_rename(writer->dir, TOON_INDEX_NEW_NAME, TOON_INDEX_NAME);
    if (writer->err == TOON_OK)
        writer->err = toon_dir_sync(writer->dir);
    if (writer->err != TOON_OK)
        (void)writer->dir->io->unlink_at(writer->dir->fd, TOON_INDEX_NEW_NAME);
    toon_buf_free(&writer->buf);
    return writer->err;
}
