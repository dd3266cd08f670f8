/*
 * fuzz_record.c - any bytes as a line of the log, and as a string.
 *
 * Knows the codec; build it with -fsanitize=fuzzer,address,undefined.
 *
 * The first four bytes of the input are the salt. The rest is parsed as it
 * comes and, so that more than the CRC is tested, once more with its first
 * line's CRC put right. What is accepted must come out and go in again as the
 * same bytes.
 */
#include "bytes.h"
#include "crc32c.h"
#include "record.h"
#include "text_escape.h"
#include "toon_text.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(what)                                                            \
    do {                                                                       \
        if (!(what)) {                                                         \
            fprintf(stderr, "line %d: %s\n", __LINE__, #what);                 \
            abort();                                                           \
        }                                                                      \
    } while (0)

/* The sanitizers see a byte too many in a block of exact size. */
static char *block(size_t size) {
    char *bytes = malloc(size == 0 ? 1 : size);
    CHECK(bytes != NULL);
    return bytes;
}

static char text_type_of(char type) {
    return type == RECORD_BASE64            ? RECORD_STRING
           : type == RECORD_APPENDED_BASE64 ? RECORD_APPENDED
                                            : type;
}

static void check_record(const toon_record *record, toon_slice line,
                         uint32_t salt) {
    toon_buf key = {0};
    toon_buf again = {0};
    size_t size = 0;
    CHECK(record->size == line.size);
    CHECK(toon_record_key(record, &key));
    CHECK(toon_record_key_is(record, toon_buf_slice(&key)));
    bool known = toon_record_value_size(record, &size);
    char *value = block(known ? size : 0);
    bool decoded = known && toon_record_value(record, value);
    if (toon_record_value_check(record)) {
        CHECK(decoded);
        toon_record_draft draft = {.key = toon_buf_slice(&key),
                                   .value = toon_bytes(value, size),
                                   .ref = record->ref,
                                   .written_ms = record->written_ms,
                                   .expires_ms = record->expires_ms,
                                   .mode = record->mode,
                                   .type = text_type_of(record->type),
                                   .more = record->more};
        CHECK(toon_record_encode(&again, &draft, salt) == line.size);
        CHECK(toon_slice_equal(toon_buf_slice(&again), line));
    }
    free(value);
    toon_buf_free(&key);
    toon_buf_free(&again);
}

static void check_line(toon_slice bytes, uint32_t salt) {
    toon_record record;
    toon_record trusted;
    toon_record_result result = toon_record_parse(bytes, salt, &record);
    bool ended = bytes.size > 0 && memchr(bytes.data, '\n', bytes.size) != NULL;
    CHECK((result == RECORD_NEEDS_MORE) == !ended);
    if (result == RECORD_OK) {
        toon_slice line = toon_bytes(bytes.data, record.size);
        CHECK(toon_record_parse_trusted(line, &trusted) == RECORD_OK);
        check_record(&record, line, salt);
    }
    /* Nothing but the memory is at stake here. */
    if (toon_record_parse_trusted(bytes, &trusted) == RECORD_OK) {
        size_t size = 0;
        toon_buf key = {0};
        toon_record_key(&trusted, &key);
        toon_record_key_is(&trusted, toon_str("\xff\xfe\xfd"));
        toon_record_value_check(&trusted);
        if (toon_record_value_size(&trusted, &size)) {
            char *value = block(size);
            toon_record_value(&trusted, value);
            free(value);
        }
        toon_buf_free(&key);
    }
}

static void check_comments(toon_slice bytes, uint32_t salt) {
    uint64_t number = 0;
    uint32_t read_salt = 0;
    size_t size = 0;
    toon_buf again = {0};
    if (toon_mark_parse(bytes, salt, &number, &size) == RECORD_OK) {
        toon_mark_encode(&again, number, salt);
        CHECK(toon_slice_equal(toon_buf_slice(&again),
                               toon_bytes(bytes.data, size)));
    }
    again.size = 0;
    if (toon_headline_parse(bytes, &number, &read_salt, &size) == RECORD_OK) {
        toon_headline_encode(&again, number, read_salt);
        CHECK(toon_slice_equal(toon_buf_slice(&again),
                               toon_bytes(bytes.data, size)));
    }
    toon_buf_free(&again);
}

/* Any bytes are a string, and any bytes are a text that may be one's. */
static void check_string(toon_slice bytes) {
    toon_text_shape shape = toon_text_cell_shape(bytes);
    toon_text_shape twin = toon_text_cell_shape_portable(bytes);
    CHECK(shape.utf8 == twin.utf8 && shape.quoted == twin.quoted &&
          shape.encoded_size == twin.encoded_size);
    if (shape.utf8) {
        char *text = block(shape.encoded_size);
        toon_text_encode(text, bytes, shape);
        toon_slice written = toon_bytes(text, shape.encoded_size);
        CHECK(toon_text_cell_is_canonical(written));
        CHECK(toon_text_equals(written, bytes));
        free(text);
    }
    size_t size = 0;
    if (toon_text_decoded_size(bytes, &size)) {
        char *value = block(size);
        CHECK(toon_text_decode(value, bytes));
        CHECK(toon_text_equals(bytes, toon_bytes(value, size)));
        if (toon_text_cell_is_canonical(bytes)) {
            shape = toon_text_cell_shape(toon_bytes(value, size));
            CHECK(shape.utf8 && shape.encoded_size == bytes.size);
        }
        free(value);
    }
}

/* Puts the CRC of the first line right, if there is room for one. */
static void mend_crc(char *bytes, size_t size, uint32_t salt) {
    enum { CRC = 8 };

    const char *end = size == 0 ? NULL : memchr(bytes, '\n', size);
    if (end != NULL && end - bytes >= CRC) {
        char digits[CRC + 1];
        size_t covered = (size_t)(end - bytes) - CRC;
        unsigned crc = toon_crc32c(salt, bytes, covered);
        snprintf(digits, sizeof digits, "%08x", crc);
        memcpy(bytes + covered, digits, CRC);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 4) {
        return 0;
    }
    uint32_t salt = toon_get_u32((const char *)data);
    size -= 4;
    char *bytes = block(size);
    memcpy(bytes, data + 4, size);
    check_string(toon_bytes(bytes, size));
    check_line(toon_bytes(bytes, size), salt);
    check_comments(toon_bytes(bytes, size), salt);
    mend_crc(bytes, size, salt);
    check_line(toon_bytes(bytes, size), salt);
    check_comments(toon_bytes(bytes, size), salt);
    mend_crc(bytes, size, 0);
    check_comments(toon_bytes(bytes, size), 0);
    free(bytes);
    return 0;
}
