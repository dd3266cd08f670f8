/*
 * fuzz_record.c - any bytes as a line of the log, and as a string.
 *
 * Knows the codec; build it with -fsanitize=fuzzer,address,undefined.
 *
 * The first four bytes of the input are the salt. The rest is parsed as it
 * comes and, so that more than the CRC is tested, once more with its first
 * line's CRC put right. What is accepted must come out and go in again as the
 * same bytes. Last, the input is taken as a draft, which must be read as it
 * was written.
 */
#include "common.h"
#include "mend.h"
#include "record.h"
#include "text_escape.h"
#include "toon_text.h"

static bool same_record(const toon_record *a, const toon_record *b) {
    return toon_slice_equal(a->key_text, b->key_text) &&
           toon_slice_equal(a->value_text, b->value_text) && a->ref == b->ref &&
           a->written_ms == b->written_ms && a->expires_ms == b->expires_ms &&
           a->mode == b->mode && a->crc == b->crc && a->type == b->type &&
           a->more == b->more && a->size == b->size;
}

/* Every way of parsing the line says the same. */
static void check_parsers(toon_slice line, uint32_t salt,
                          const toon_record *record) {
    toon_record other;
    CHECK(toon_record_parse_line(line, salt, &other) == RECORD_OK);
    CHECK(same_record(record, &other));
    CHECK(toon_record_parse_trusted(line, &other) == RECORD_OK);
    CHECK(same_record(record, &other));
    toon_slice part = toon_bytes(line.data, line.size - 1);
    CHECK(toon_record_parse(part, salt, &other) == RECORD_NEEDS_MORE);
    CHECK(toon_record_parse_line(part, salt, &other) == RECORD_BAD);
    CHECK(toon_record_parse(line, salt + 1, &other) == RECORD_BAD);
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
    char *value = fuzz_block(known ? size : 0);
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
        check_parsers(line, salt, &record);
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
            char *value = fuzz_block(size);
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
        char *text = fuzz_block(shape.encoded_size);
        toon_text_encode(text, bytes, shape);
        toon_slice written = toon_bytes(text, shape.encoded_size);
        CHECK(toon_text_cell_is_canonical(written));
        CHECK(toon_text_equals(written, bytes));
        free(text);
    }
    size_t size = 0;
    if (toon_text_decoded_size(bytes, &size)) {
        char *value = fuzz_block(size);
        CHECK(toon_text_decode(value, bytes));
        CHECK(toon_text_equals(bytes, toon_bytes(value, size)));
        if (toon_text_cell_is_canonical(bytes)) {
            shape = toon_text_cell_shape(toon_bytes(value, size));
            CHECK(shape.utf8 && shape.encoded_size == bytes.size);
        }
        free(value);
    }
}

/* ------------------------------------------------------------------ drafts */

static uint64_t take_number(fuzz_input *input) {
    uint64_t number = 0;
    for (unsigned size = fuzz_byte(input) % 9; size > 0; size--)
        number = number << 8 | fuzz_byte(input);
    return number;
}

static toon_slice as_slice(fuzz_input part) {
    return toon_bytes(part.at, part.left);
}

static toon_record_draft take_draft(fuzz_input *input) {
    static const char types[] = {RECORD_STRING, RECORD_DELETED, RECORD_APPENDED,
                                 RECORD_META, RECORD_SAME_VALUE};
    toon_record_draft draft = {.type = types[fuzz_byte(input) % sizeof types]};
    bool refers = draft.type != RECORD_STRING && draft.type != RECORD_DELETED;
    bool has_mode = draft.type != RECORD_DELETED;
    draft.more = (fuzz_byte(input) & 1) != 0;
    draft.written_ms = (int64_t)take_number(input);
    draft.expires_ms = (int64_t)(take_number(input) & INT64_MAX);
    uint64_t ref = take_number(input);
    uint32_t mode = (uint32_t)take_number(input) & 0177777;
    draft.ref = !refers ? 0 : ref == 0 ? 1 : ref;
    draft.mode = has_mode ? mode : 0;
    draft.key = as_slice(fuzz_take(input, fuzz_byte(input)));
    if (draft.type == RECORD_STRING || draft.type == RECORD_APPENDED)
        draft.value = as_slice(*input);
    return draft;
}

static void check_set_more(toon_slice line, uint32_t salt, bool more) {
    toon_record record;
    char *copy = fuzz_copy(line.data, line.size);
    toon_record_set_more(copy, line.size, !more, salt);
    toon_slice changed = toon_bytes(copy, line.size);
    CHECK(toon_record_parse(changed, salt, &record) == RECORD_OK);
    CHECK(record.more == !more);
    toon_record_set_more(copy, line.size, more, salt);
    CHECK(toon_slice_equal(changed, line));
    free(copy);
}

static void check_draft(fuzz_input input, uint32_t salt) {
    toon_record_draft draft = take_draft(&input);
    toon_record record;
    toon_buf key = {0};
    toon_buf out = {0};
    size_t size = 0;
    toon_buf_append_str(&out, "what stood there before\n");
    size_t before = out.size;
    CHECK(toon_record_encode(&out, &draft, salt) == out.size - before);
    char *copy = fuzz_copy(out.data + before, out.size - before);
    toon_slice line = toon_bytes(copy, out.size - before);
    CHECK(toon_record_parse(line, salt, &record) == RECORD_OK);
    CHECK(record.size == line.size && record.ref == draft.ref &&
          record.written_ms == draft.written_ms &&
          record.expires_ms == draft.expires_ms && record.mode == draft.mode &&
          record.more == draft.more && text_type_of(record.type) == draft.type);
    CHECK(toon_record_value_check(&record));
    CHECK(toon_record_key(&record, &key) &&
          toon_slice_equal(toon_buf_slice(&key), draft.key));
    CHECK(toon_record_value_size(&record, &size) && size == draft.value.size);
    char *value = fuzz_block(size);
    CHECK(toon_record_value(&record, value) &&
          toon_slice_equal(toon_bytes(value, size), draft.value));
    check_parsers(line, salt, &record);
    check_set_more(line, salt, draft.more);
    free(value);
    free(copy);
    toon_buf_free(&key);
    toon_buf_free(&out);
}

/* --------------------------------------------------------------- one input */

/* Puts the CRC of the first line right, if there is one. */
static void mend_first(char *bytes, size_t size, uint32_t salt) {
    const char *end = size == 0 ? NULL : memchr(bytes, '\n', size);
    if (end != NULL)
        mend_line(bytes, (size_t)(end - bytes), salt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 4) {
        return 0;
    }
    uint32_t salt = toon_get_u32((const char *)data);
    size -= 4;
    char *bytes = fuzz_copy(data + 4, size);
    check_string(toon_bytes(bytes, size));
    check_line(toon_bytes(bytes, size), salt);
    check_comments(toon_bytes(bytes, size), salt);
    mend_first(bytes, size, salt);
    check_line(toon_bytes(bytes, size), salt);
    check_comments(toon_bytes(bytes, size), salt);
    mend_first(bytes, size, 0);
    check_comments(toon_bytes(bytes, size), 0);
    check_draft((fuzz_input){data + 4, size}, salt);
    free(bytes);
    return 0;
}
