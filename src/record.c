/*
 * record.c - the one encoder and the one decoder of the log's lines.
 *
 * Knows bytes, TOON text, base64, CRC; must never know where a line lies,
 * files, or what keys are live.
 *
 * A line is read from both ends: the key from the front, then the cells of
 * fixed form from the back. What is left between them is the value, which is
 * not looked at until somebody wants it.
 */
#include "record.h"

#include "base64.h"
#include "crc32c.h"
#include "text_escape.h"
#include "toon_text.h"

#include <assert.h>

enum {
    CRC_SIZE = 8,       /* hex digits */
    END_SIZE = 9,       /* the CRC and the LF */
    SALT_SIZE = 14,     /* " salt=" and as many hex digits */
    NUMBER_MAX = 20,    /* characters of the longest number */
    TAIL_MAX = 96,      /* more than all cells behind the value take */
    FEWEST_CELLS = 4,   /* value, written, expires, type and CRC */
    MODE_MAX = 0177777, /* all that stat(2) has */
    MODE_DIGITS = 6,
    LOWER_CASE = 0x20, /* the bit that makes a letter lower case */
    BASE64_SLACK = 4,  /* a text may be so much longer than its base64 */
};

static const char base64_mark[] = "base64:";
static const char mark_start[] = "# synced=";
static const char headline_start[] =
    "# toonstore log: key[n]: value,written_ms,expires_ms,type+crc32c; the "
    "last line of a key wins, null deletes it; base=";
static const char headline_salt[] = " salt=";

typedef enum cell_kind {
    CELL_NULL,
    CELL_TEXT,
    CELL_BASE64,
} cell_kind;

typedef struct type_rule {
    cell_kind cell;
    char type;
    bool has_ref;
    bool may_have_mode;
} type_rule;

static const type_rule rules[] = {
    {CELL_TEXT, RECORD_STRING, false, true},
    {CELL_BASE64, RECORD_BASE64, false, true},
    {CELL_NULL, RECORD_DELETED, false, false},
    {CELL_TEXT, RECORD_APPENDED, true, true},
    {CELL_BASE64, RECORD_APPENDED_BASE64, true, true},
    {CELL_NULL, RECORD_META, true, true},
    {CELL_NULL, RECORD_SAME_VALUE, true, true},
};

/* NULL if there is no such type. */
static const type_rule *rule_of(char type) {
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (rules[i].type == type) {
            return &rules[i];
        }
    }
    return NULL;
}

/* ----------------------------------------------------------------- numbers */

static char *put_slice(char *out, toon_slice slice) {
    if (slice.size > 0) {
        memcpy(out, slice.data, slice.size);
    }
    return out + slice.size;
}

static char *put_i64(char *out, int64_t number) {
    uint64_t magnitude = (uint64_t)number;
    if (number < 0) {
        *out++ = '-';
        magnitude = 0 - magnitude;
    }
    return out + toon_format_u64(out, magnitude);
}

static char *put_octal(char *out, uint32_t number) {
    unsigned shift = 0;
    while (number >> shift > 7) {
        shift += 3;
    }
    for (;; shift -= 3) {
        *out++ = (char)('0' + (number >> shift & 7));
        if (shift == 0) {
            return out;
        }
    }
}

static char *put_hex(char *out, uint32_t number) {
    for (unsigned shift = 32; shift > 0; shift -= 4) {
        *out++ = "0123456789abcdef"[number >> (shift - 4) & 15];
    }
    return out;
}

static bool parse_hex(const char *text, uint32_t *out) {
    /* One more than what the digit stands for; 0: not a digit. */
    static const unsigned char places[256] = {
        ['0'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ['a'] = 11, 12, 13, 14, 15, 16,
    };
    uint32_t number = 0;
    unsigned all = 0;
    for (size_t i = 0; i < CRC_SIZE; i++) {
        unsigned digit = places[(unsigned char)text[i]] - 1u;
        all |= digit;
        number = number << 4 | (digit & 15);
    }
    *out = number;
    return all <= 15;
}

/* ------------------------------------------------------------ ends of lines */

/* Puts the CRC of the line up to `end`, and the LF. */
static char *put_end(char *line, char *end, uint32_t salt) {
    char *out = put_hex(end, toon_crc32c(salt, line, (size_t)(end - line)));
    *out = '\n';
    return out + 1;
}

bool toon_line_crc(toon_slice line, uint32_t *crc) {
    return line.size >= END_SIZE && line.data[line.size - 1] == '\n' &&
           parse_hex(line.data + line.size - END_SIZE, crc);
}

/* Is the CRC at the end of `line` the line's? */
static bool end_is_right(toon_slice line, uint32_t salt) {
    uint32_t crc = 0;
    return toon_line_crc(line, &crc) &&
           crc == toon_crc32c(salt, line.data, line.size - END_SIZE);
}

/* ------------------------------------------------------------------ base64 */

/* Is base64 the better way to write these bytes? */
static bool wants_base64(bool utf8, size_t text_size, size_t size) {
    return !utf8 || text_size > toon_base64_size(size) + BASE64_SLACK;
}

/* How many bytes at the end begin a UTF-8 sequence that ends elsewhere? */
static size_t unfinished_size(const char *bytes, size_t size) {
    for (size_t k = 1; k <= 3 && k <= size; k++) {
        unsigned char byte = (unsigned char)bytes[size - k];
        if (byte >= 0xc0) {
            size_t whole = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
            return whole > k ? k : 0;
        }
        if (byte < 0x80) {
            break;
        }
    }
    return 0;
}

/* Scans the bytes that a base64 text stands for, a piece at a time. False if
 * it is not canonical base64. */
static bool scan_base64(toon_slice text, toon_text_scan *scan) {
    enum { PIECE = 1024, PIECE_BYTES = PIECE / 4 * 3 };

    char bytes[3 + PIECE_BYTES];
    size_t kept = 0;
    *scan = (toon_text_scan){.utf8 = true};
    while (text.size > 0) {
        bool last = text.size <= PIECE;
        toon_slice piece = toon_bytes(text.data, last ? text.size : PIECE);
        size_t size = 0;
        if (!toon_base64_decoded_size(piece, &size) ||
            (!last && size < PIECE_BYTES) ||
            !toon_base64_decode(bytes + kept, piece)) {
            return false;
        }
        size += kept;
        kept = last ? 0 : unfinished_size(bytes, size);
        toon_text_scan more =
            toon_text_scan_bytes(toon_bytes(bytes, size - kept));
        scan->utf8 = scan->utf8 && more.utf8;
        scan->extra += more.extra;
        memmove(bytes, bytes + size - kept, kept);
        text = toon_bytes(text.data + piece.size, text.size - piece.size);
    }
    return true;
}

/* Is `text` base64 of `bytes`? */
static bool base64_equals(toon_slice text, toon_slice bytes) {
    enum { PIECE = 48 };

    if (text.size != toon_base64_size(bytes.size)) {
        return false;
    }
    while (bytes.size > 0) {
        char again[PIECE / 3 * 4];
        size_t size = bytes.size < PIECE ? bytes.size : PIECE;
        size_t text_size = toon_base64_size(size);
        toon_base64_encode(again, toon_bytes(bytes.data, size));
        if (memcmp(again, text.data, text_size) != 0) {
            return false;
        }
        bytes = toon_bytes(bytes.data + size, bytes.size - size);
        text = toon_bytes(text.data + text_size, text.size - text_size);
    }
    return true;
}

/* What stands between the quotes, if there are any. */
static toon_slice inside_of(toon_slice text) {
    bool quoted = text.size >= 2 && text.data[0] == '"' &&
                  text.data[text.size - 1] == '"';
    return quoted ? toon_bytes(text.data + 1, text.size - 2) : text;
}

/* -------------------------------------------------------------------- keys */

static bool starts_with(toon_slice text, const char *start) {
    size_t size = strlen(start);
    return text.size >= size && memcmp(text.data, start, size) == 0;
}

static bool key_wants_base64(toon_slice key, toon_text_shape shape) {
    return !shape.utf8 || starts_with(key, base64_mark);
}

/* If the key stands there in base64: that text. */
static bool key_base64(toon_slice text, toon_slice *base64) {
    size_t mark = strlen(base64_mark);
    toon_slice inside = inside_of(text);
    if (inside.size == text.size || !starts_with(inside, base64_mark)) {
        return false;
    }
    *base64 = toon_bytes(inside.data + mark, inside.size - mark);
    return true;
}

static bool key_is_canonical(toon_slice text) {
    toon_slice base64;
    toon_text_scan scan;
    if (!key_base64(text, &base64)) {
        return toon_text_key_is_canonical(text);
    }
    if (!scan_base64(base64, &scan)) {
        return false;
    }
    char start[9] = {0};
    size_t size = base64.size < 12 ? 0 : sizeof start;
    toon_slice head = toon_bytes(base64.data, size / 3 * 4);
    return !scan.utf8 || (toon_base64_decode(start, head) &&
                          starts_with(toon_bytes(start, size), base64_mark));
}

bool toon_record_key_is(const toon_record *record, toon_slice key) {
    toon_slice text = record->key_text;
    toon_slice inside = inside_of(text);
    toon_slice base64;
    if (inside.size == text.size) {
        return toon_slice_equal(text, key);
    }
    if (key_base64(text, &base64)) {
        return base64_equals(base64, key);
    }
    /* Every escape is longer than what it stands for. */
    if (inside.size == key.size) {
        return toon_slice_equal(inside, key) &&
               (key.size == 0 || memchr(key.data, '\\', key.size) == NULL);
    }
    return inside.size > key.size && toon_text_equals(text, key);
}

bool toon_record_key(const toon_record *record, toon_buf *out) {
    toon_slice text = record->key_text;
    size_t size = 0;
    bool base64 = key_base64(text, &text);
    if (base64 ? !toon_base64_decoded_size(text, &size)
               : !toon_text_decoded_size(text, &size)) {
        return false;
    }
    if (!toon_buf_reserve(out, size)) {
        return false;
    }
    char *end = size == 0 ? out->data : out->data + out->size;
    if (base64 ? !toon_base64_decode(end, text)
               : !toon_text_decode(end, text)) {
        return false;
    }
    out->size += size;
    return true;
}

/* ----------------------------------------------------------------- parsing */

/* Takes the last cell off the end of `rest` if it is a decimal number: digits
 * without a leading zero, no more than 64 bits. */
static bool take_number(toon_slice *rest, uint64_t *number) {
    static const uint64_t powers[NUMBER_MAX] = {1u,
                                                10u,
                                                100u,
                                                1000u,
                                                10000u,
                                                100000u,
                                                1000000u,
                                                10000000u,
                                                100000000u,
                                                1000000000u,
                                                10000000000u,
                                                100000000000u,
                                                1000000000000u,
                                                10000000000000u,
                                                100000000000000u,
                                                1000000000000000u,
                                                10000000000000000u,
                                                100000000000000000u,
                                                1000000000000000000u,
                                                10000000000000000000u};
    uint64_t total = 0;
    size_t size = 0;
    unsigned digit = 0;
    for (; size < rest->size; size++) {
        unsigned next =
            (unsigned)(unsigned char)rest->data[rest->size - 1 - size] - '0';
        uint64_t part = 0;
        if (next > 9) {
            break;
        }
        digit = next;
        if (size == NUMBER_MAX ||
            __builtin_mul_overflow(powers[size], digit, &part) ||
            __builtin_add_overflow(total, part, &total)) {
            return false;
        }
    }
    rest->size -= size;
    *number = total;
    return size == 1 || digit != 0;
}

/* Takes the comma before a cell off. */
static bool take_comma(toon_slice *rest) {
    if (rest->size == 0 || rest->data[rest->size - 1] != ',') {
        return false;
    }
    rest->size--;
    return true;
}

/* Takes the key and "[n]: " off the front of `rest`; *cells is n. */
static bool take_head(toon_slice *rest, toon_slice *key, unsigned *cells) {
    static const char behind_count[] = "]: ";

    if (rest->size == 0) {
        return false;
    }
    const char *end = rest->data;
    if (rest->data[0] == '"') {
        end += toon_text_quoted_size(*rest);
    } else {
        end = memchr(rest->data, '[', rest->size);
    }
    if (end == NULL || end == rest->data) {
        return false;
    }
    *key = toon_bytes(rest->data, (size_t)(end - rest->data));
    *rest = toon_bytes(end, rest->size - key->size);
    if (rest->size < 5 || end[0] != '[' || end[1] < '0' || end[1] > '9' ||
        memcmp(end + 2, behind_count, 3) != 0) {
        return false;
    }
    *cells = (unsigned)(end[1] - '0');
    *rest = toon_bytes(end + 5, rest->size - 5);
    return true;
}

/* The same for the octal digits of a mode, which is not 0. */
static bool take_mode(toon_slice *rest, uint32_t *mode) {
    uint32_t total = 0;
    unsigned digit = 0;
    size_t size = 0;
    for (; size < rest->size; size++) {
        unsigned next =
            (unsigned)(unsigned char)rest->data[rest->size - 1 - size] - '0';
        if (next > 7) {
            break;
        }
        if (size == MODE_DIGITS) {
            return false;
        }
        digit = next;
        total |= digit << (3 * size);
    }
    rest->size -= size;
    *mode = total;
    return digit != 0 && total <= MODE_MAX;
}

/* The same for a time, which may be negative but not -0. */
static bool take_time(toon_slice *rest, int64_t *time) {
    uint64_t number = 0;
    if (!take_number(rest, &number)) {
        return false;
    }
    if (rest->size == 0 || rest->data[rest->size - 1] != '-') {
        *time = (int64_t)number;
        return number <= INT64_MAX;
    }
    rest->size--;
    *time = (int64_t)(0 - number);
    return number > 0 && number <= (uint64_t)INT64_MAX + 1;
}

/* The cells of fixed form, from the last to the one behind the value. */
static bool take_tail(toon_slice *rest, const type_rule *rule, bool has_mode,
                      toon_record *out) {
    if (!take_time(rest, &out->expires_ms) || out->expires_ms < 0 ||
        !take_comma(rest) || !take_time(rest, &out->written_ms) ||
        !take_comma(rest)) {
        return false;
    }
    if (has_mode && (!take_mode(rest, &out->mode) || !take_comma(rest))) {
        return false;
    }
    return !rule->has_ref ||
           (take_number(rest, &out->ref) && out->ref > 0 && take_comma(rest));
}

toon_record_result toon_record_parse_trusted(toon_slice line,
                                             toon_record *out) {
    toon_record record = {.size = line.size};
    if (line.size < END_SIZE + 2 || line.data[line.size - 1] != '\n') {
        return RECORD_BAD;
    }
    const char *letter = line.data + line.size - END_SIZE - 1;
    toon_slice rest = toon_bytes(line.data, line.size - END_SIZE - 2);
    record.type = (char)(*letter | LOWER_CASE);
    record.more = record.type != *letter;
    const type_rule *rule = rule_of(record.type);
    if (rule == NULL || letter[-1] != ',' ||
        !parse_hex(letter + 1, &record.crc)) {
        return RECORD_BAD;
    }
    unsigned cells = 0;
    if (!take_head(&rest, &record.key_text, &cells)) {
        return RECORD_BAD;
    }
    unsigned fewest = FEWEST_CELLS + rule->has_ref;
    bool has_mode = rule->may_have_mode && cells == fewest + 1;
    if ((cells != fewest && !has_mode) ||
        !take_tail(&rest, rule, has_mode, &record) || rest.size == 0) {
        return RECORD_BAD;
    }
    if (rule->cell == CELL_NULL && !toon_slice_equal(rest, toon_str("null"))) {
        return RECORD_BAD;
    }
    record.value_text = rest;
    *out = record;
    return RECORD_OK;
}

toon_record_result toon_record_parse_line(toon_slice line, uint32_t salt,
                                          toon_record *out) {
    toon_record record;
    if (toon_record_parse_trusted(line, &record) != RECORD_OK ||
        record.crc != toon_crc32c(salt, line.data, line.size - END_SIZE)) {
        return RECORD_BAD;
    }
    *out = record;
    return RECORD_OK;
}

toon_record_result toon_record_parse(toon_slice bytes, uint32_t salt,
                                     toon_record *out) {
    toon_record record;
    const char *end =
        bytes.size == 0 ? NULL : memchr(bytes.data, '\n', bytes.size);
    if (end == NULL) {
        return RECORD_NEEDS_MORE;
    }
    toon_slice line = toon_bytes(bytes.data, (size_t)(end - bytes.data) + 1);
    if (toon_record_parse_line(line, salt, &record) != RECORD_OK ||
        !key_is_canonical(record.key_text)) {
        return RECORD_BAD;
    }
    *out = record;
    return RECORD_OK;
}

bool toon_record_is_foreign(toon_slice bytes, uint32_t salt, char *type,
                            size_t *size) {
    const char *end =
        bytes.size == 0 ? NULL : memchr(bytes.data, '\n', bytes.size);
    if (end == NULL || bytes.data[0] == '#' ||
        end - bytes.data < END_SIZE + 1) {
        return false;
    }
    toon_slice line = toon_bytes(bytes.data, (size_t)(end - bytes.data) + 1);
    const char *letter = end - END_SIZE;
    char lower = (char)(*letter | LOWER_CASE);
    if (letter[-1] != ',' || lower < 'a' || lower > 'z' ||
        rule_of(lower) != NULL || !end_is_right(line, salt)) {
        return false;
    }
    *type = lower;
    *size = line.size;
    return true;
}

/* ------------------------------------------------------------------ values */

static cell_kind kind_of(const toon_record *record) {
    const type_rule *rule = rule_of(record->type);
    return rule == NULL ? CELL_NULL : rule->cell;
}

bool toon_record_value_size(const toon_record *record, size_t *size) {
    switch (kind_of(record)) {
    case CELL_TEXT:
        return toon_text_decoded_size(record->value_text, size);
    case CELL_BASE64:
        return toon_base64_decoded_size(inside_of(record->value_text), size);
    case CELL_NULL:
        break;
    }
    *size = 0;
    return true;
}

bool toon_record_value(const toon_record *record, char *out) {
    switch (kind_of(record)) {
    case CELL_TEXT:
        return toon_text_decode(out, record->value_text);
    case CELL_BASE64:
        return toon_base64_decode(out, inside_of(record->value_text));
    case CELL_NULL:
        break;
    }
    return true;
}

static bool base64_value_is_canonical(toon_slice text) {
    size_t size = 0;
    toon_text_scan scan;
    toon_slice base64 = inside_of(text);
    return toon_text_cell_is_canonical(text) && scan_base64(base64, &scan) &&
           toon_base64_decoded_size(base64, &size) &&
           wants_base64(scan.utf8, size + scan.extra + 2, size);
}

static bool text_value_is_canonical(toon_slice text) {
    size_t size = 0;
    return toon_text_cell_is_canonical(text) &&
           toon_text_decoded_size(text, &size) &&
           !wants_base64(true, text.size, size);
}

bool toon_record_value_check(const toon_record *record) {
    switch (kind_of(record)) {
    case CELL_TEXT:
        return text_value_is_canonical(record->value_text);
    case CELL_BASE64:
        return base64_value_is_canonical(record->value_text);
    case CELL_NULL:
        break;
    }
    return true; /* parsing has seen that it is "null" */
}

/* ---------------------------------------------------------------- encoding */

static char *put_key(char *out, toon_slice key, toon_text_shape shape) {
    if (!key_wants_base64(key, shape)) {
        toon_text_encode(out, key, shape);
        return out + shape.encoded_size;
    }
    *out++ = '"';
    out = put_slice(out, toon_str(base64_mark));
    toon_base64_encode(out, key);
    out += toon_base64_size(key.size);
    *out++ = '"';
    return out;
}

static size_t key_text_size(toon_slice key, toon_text_shape shape) {
    return key_wants_base64(key, shape)
               ? strlen(base64_mark) + toon_base64_size(key.size) + 2
               : shape.encoded_size;
}

void toon_record_put_key(toon_buf *out, toon_slice key) {
    toon_text_shape shape = toon_text_key_shape(key);
    size_t size = key_text_size(key, shape);
    if (toon_buf_reserve(out, size)) {
        (void)put_key(out->data + out->size, key, shape);
        out->size += size;
    }
}

/* Base64 is a cell like any other: "1234" and "true" need their quotes. */
static char *put_base64_cell(char *out, toon_slice value) {
    size_t size = toon_base64_size(value.size);
    toon_base64_encode(out, value);
    if (!toon_text_cell_shape(toon_bytes(out, size)).quoted) {
        return out + size;
    }
    memmove(out + 1, out, size);
    out[0] = '"';
    out[size + 1] = '"';
    return out + size + 2;
}

/* How a draft's parts will be written. */
typedef struct plan {
    toon_text_shape key;
    toon_text_shape value;
    cell_kind cell;
    size_t tail_size;
    char cells; /* the digit n */
    char tail[TAIL_MAX];
} plan;

static char *put_number(char *out, uint64_t number) {
    *out++ = ',';
    return out + toon_format_u64(out, number);
}

/* All that stands between the value and the CRC. */
static void plan_tail(plan *p, const toon_record_draft *draft,
                      const type_rule *rule) {
    char type = draft->type;
    char *out = p->tail;
    p->cells = (char)('0' + FEWEST_CELLS + rule->has_ref);
    if (p->cell == CELL_BASE64) {
        type = type == RECORD_STRING ? RECORD_BASE64 : RECORD_APPENDED_BASE64;
    }
    if (rule->has_ref) {
        out = put_number(out, draft->ref);
    }
    if (rule->may_have_mode && draft->mode != 0) {
        p->cells++;
        *out++ = ',';
        out = put_octal(out, draft->mode);
    }
    *out++ = ',';
    out = put_i64(out, draft->written_ms);
    out = put_number(out, (uint64_t)draft->expires_ms);
    *out++ = ',';
    *out++ = (char)(draft->more ? type & ~LOWER_CASE : type);
    p->tail_size = (size_t)(out - p->tail);
}

static size_t plan_value(plan *p, toon_slice value) {
    p->value = toon_text_cell_shape(value);
    if (!wants_base64(p->value.utf8, p->value.encoded_size, value.size)) {
        return p->value.encoded_size;
    }
    p->cell = CELL_BASE64;
    return toon_base64_size(value.size) + 2;
}

static char *put_value(char *out, toon_slice value, const plan *p) {
    switch (p->cell) {
    case CELL_TEXT:
        toon_text_encode(out, value, p->value);
        return out + p->value.encoded_size;
    case CELL_BASE64:
        return put_base64_cell(out, value);
    case CELL_NULL:
        break;
    }
    return put_slice(out, toon_str("null"));
}

size_t toon_record_encode(toon_buf *out, const toon_record_draft *draft,
                          uint32_t salt) {
    const type_rule *rule = rule_of(draft->type);
    assert(rule != NULL && rule->cell != CELL_BASE64);
    if (rule == NULL) { /* a compiler without asserts cannot know */
        out->failed = true;
        return 0;
    }
    assert(draft->expires_ms >= 0 && draft->mode <= MODE_MAX);
    assert(rule->has_ref == (draft->ref != 0));

    plan p = {.key = toon_text_key_shape(draft->key), .cell = rule->cell};
    size_t size = rule->cell == CELL_TEXT ? plan_value(&p, draft->value) : 4;
    plan_tail(&p, draft, rule);
    size += key_text_size(draft->key, p.key) + 5 + p.tail_size + END_SIZE;
    if (!toon_buf_reserve(out, size)) {
        return 0;
    }
    char *line = out->data + out->size;
    char *end = put_key(line, draft->key, p.key);
    end = put_slice(end, toon_str("[n]: "));
    end[-4] = p.cells;
    end = put_value(end, draft->value, &p);
    end = put_slice(end, toon_bytes(p.tail, p.tail_size));
    end = put_end(line, end, salt);
    size = (size_t)(end - line);
    out->size += size;
    return size;
}

void toon_record_set_more(char *line, size_t size, bool more, uint32_t salt) {
    char *end = line + size - END_SIZE;
    end[-1] = (char)(more ? end[-1] & ~LOWER_CASE : end[-1] | LOWER_CASE);
    put_end(line, end, salt);
}

/* ---------------------------------------------------------------- comments */

/* Appends "<start><number><more> <crc>\n". */
static void encode_comment(toon_buf *out, toon_slice start, uint64_t number,
                           toon_slice more, uint32_t salt) {
    size_t size = start.size + NUMBER_MAX + more.size + 1 + END_SIZE;
    if (!toon_buf_reserve(out, size)) {
        return;
    }
    char *line = out->data + out->size;
    char *end = put_slice(line, start);
    end += toon_format_u64(end, number);
    end = put_slice(end, more);
    *end++ = ' ';
    end = put_end(line, end, salt);
    out->size += (size_t)(end - line);
}

/* Finds the comment line that begins with `start` and has no more than `rest`
 * characters behind that, and checks its end. *middle is what stands between
 * `start` and the space before the CRC. */
static toon_record_result find_comment(toon_slice bytes, toon_slice start,
                                       size_t rest, uint32_t salt,
                                       toon_slice *middle) {
    size_t most = start.size + rest;
    size_t size = bytes.size < most ? bytes.size : most;
    size_t seen = size < start.size ? size : start.size;
    if (seen > 0 && memcmp(bytes.data, start.data, seen) != 0) {
        return RECORD_BAD;
    }
    const char *end = size == 0 ? NULL : memchr(bytes.data, '\n', size);
    if (end == NULL) {
        return size < most ? RECORD_NEEDS_MORE : RECORD_BAD;
    }
    toon_slice line = toon_bytes(bytes.data, (size_t)(end - bytes.data) + 1);
    if (line.size < start.size + 1 + END_SIZE || !end_is_right(line, salt) ||
        end[-END_SIZE] != ' ') {
        return RECORD_BAD;
    }
    *middle = toon_bytes(line.data + start.size,
                         line.size - start.size - 1 - END_SIZE);
    return RECORD_OK;
}

void toon_mark_encode(toon_buf *out, uint64_t offset, uint32_t salt) {
    encode_comment(out, toon_str(mark_start), offset, toon_str(""), salt);
}

toon_record_result toon_mark_parse(toon_slice bytes, uint32_t salt,
                                   uint64_t *offset, size_t *size) {
    toon_slice start = toon_str(mark_start);
    toon_slice digits;
    toon_record_result result =
        find_comment(bytes, start, NUMBER_MAX + 1 + END_SIZE, salt, &digits);
    if (result != RECORD_OK) {
        return result;
    }
    if (!toon_parse_u64(digits, offset)) {
        return RECORD_BAD;
    }
    *size = start.size + digits.size + 1 + END_SIZE;
    return RECORD_OK;
}

void toon_headline_encode(toon_buf *out, uint64_t base, uint32_t salt) {
    char more[SALT_SIZE];
    put_hex(put_slice(more, toon_str(headline_salt)), salt);
    encode_comment(out, toon_str(headline_start), base,
                   toon_bytes(more, SALT_SIZE), 0);
}

toon_record_result toon_headline_parse(toon_slice bytes, uint64_t *base,
                                       uint32_t *salt, size_t *size) {
    toon_slice start = toon_str(headline_start);
    toon_slice middle;
    toon_record_result result = find_comment(
        bytes, start, NUMBER_MAX + SALT_SIZE + 1 + END_SIZE, 0, &middle);
    if (result != RECORD_OK) {
        return result;
    }
    if (middle.size < SALT_SIZE) {
        return RECORD_BAD;
    }
    toon_slice digits = toon_bytes(middle.data, middle.size - SALT_SIZE);
    toon_slice more = toon_bytes(digits.data + digits.size, SALT_SIZE);
    uint32_t read_salt = 0;
    if (!starts_with(more, headline_salt) ||
        !parse_hex(more.data + strlen(headline_salt), &read_salt) ||
        !toon_parse_u64(digits, base)) {
        return RECORD_BAD;
    }
    *salt = read_salt;
    *size = start.size + middle.size + 1 + END_SIZE;
    return RECORD_OK;
}
