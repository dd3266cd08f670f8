/*
 * record_damage.c - what can still be told of lines that are not valid.
 *
 * Knows lines and their CRC; must never know where a line lies, or files.
 */
#include "record_damage.h"

#include "crc32c.h"
#include "toon_text.h"

enum {
    END_SIZE = TOON_LINE_END_SIZE,
    FEWEST = 18, /* bytes of the shortest line: a[4]: x,0,0,s and its end */
    LOWER_CASE = 0x20,
    KEY_TEXT_MAX = 6 * 64 * 1024 + 16, /* each byte of a key escaped */
    /* Of longer lines, one flipped bit is found and not one damaged byte: by
     * chance some byte explains any CRC, once in 2^24 / size. */
    MEND_BYTE_MAX = 4096,
};

static bool valid_line(toon_slice line, uint32_t salt) {
    toon_record record;
    uint64_t synced;
    size_t size;
    if (line.data[0] == '#')
        return toon_mark_parse(line, salt, &synced, &size) == RECORD_OK &&
               size == line.size;
    return toon_record_parse(line, salt, &record) == RECORD_OK &&
           record.size == line.size;
}

/* -------------------------------------------------------------------- salt */

bool toon_line_salt(toon_slice line, uint32_t *salt) {
    uint32_t crc;
    if (line.size < FEWEST || !toon_line_crc(line, &crc))
        return false;
    uint32_t found = toon_crc32c_back(crc, line.data, line.size - END_SIZE);
    if (!valid_line(line, found))
        return false;
    *salt = found;
    return true;
}

/* What stands behind `start`, up to `most` bytes. */
static toon_slice behind(toon_slice line, const char *start, size_t most) {
    size_t size = strlen(start);
    const char *at =
        line.size == 0 ? NULL : memmem(line.data, line.size, start, size);
    if (at == NULL)
        return toon_bytes(NULL, 0);
    size_t rest = line.size - (size_t)(at - line.data) - size;
    return toon_bytes(at + size, rest < most ? rest : most);
}

bool toon_headline_guess_salt(toon_slice line, uint32_t *salt) {
    char text[END_SIZE];
    toon_slice digits = behind(line, " salt=", END_SIZE - 1);
    if (digits.size < END_SIZE - 1)
        return false;
    memcpy(text, digits.data, digits.size);
    text[END_SIZE - 1] = '\n';
    return toon_line_crc(toon_bytes(text, END_SIZE), salt);
}

bool toon_headline_guess_base(toon_slice line, uint64_t *base) {
    toon_slice digits = behind(line, "; base=", 21);
    const char *end =
        digits.size == 0 ? NULL : memchr(digits.data, ' ', digits.size);
    if (end == NULL)
        return false;
    return toon_parse_u64(toon_bytes(digits.data, (size_t)(end - digits.data)),
                          base);
}

/* ------------------------------------------------------------- lines inside */

bool toon_line_find_inner(toon_slice line, uint32_t salt, size_t *at) {
    uint32_t crc;
    if (line.size < FEWEST || !toon_line_crc(line, &crc))
        return false;
    size_t start =
        toon_crc32c_find_start(salt, crc, line.data, line.size - END_SIZE);
    if (start == SIZE_MAX || start == 0 ||
        !valid_line(toon_bytes(line.data + start, line.size - start), salt))
        return false;
    *at = start;
    return true;
}

/* ---------------------------------------------------------------- one byte */

static bool one_bit(unsigned char byte) {
    return byte != 0 && (byte & (byte - 1)) == 0;
}

static void put_hex(char *out, uint32_t number) {
    for (unsigned i = 0; i < 8; i++)
        out[i] = "0123456789abcdef"[number >> (28 - 4 * i) & 15];
}

/* All but one of the eight digits are those of `crc`. */
static bool mend_crc(char *digits, uint32_t crc) {
    char right[8];
    unsigned wrong = 0;
    put_hex(right, crc);
    for (unsigned i = 0; i < sizeof right; i++)
        wrong += digits[i] != right[i];
    if (wrong > 1)
        return false;
    memcpy(digits, right, sizeof right);
    return true;
}

static bool mend_body(char *line, size_t size, uint32_t difference) {
    unsigned char change = 0;
    size_t at = toon_crc32c_find_byte(difference, size, &change);
    if (at == SIZE_MAX || (size > MEND_BYTE_MAX && !one_bit(change)))
        return false;
    line[at] = (char)(line[at] ^ (char)change);
    return true;
}

static bool mend(char *line, size_t size, uint32_t salt) {
    size_t body = size - END_SIZE;
    bool ended = line[size - 1] == '\n';
    uint32_t said;
    line[size - 1] = '\n';
    uint32_t crc = toon_crc32c(salt, line, body);
    bool reads = toon_line_crc(toon_bytes(line, size), &said);
    if (reads && said == crc)
        return true;
    if (!ended) /* that was one byte already */
        return false;
    return mend_crc(line + body, crc) ||
           (reads && mend_body(line, body, crc ^ said));
}

bool toon_line_mend(toon_slice line, uint32_t salt, toon_buf *out) {
    size_t before = out->size;
    if (line.size < FEWEST)
        return false;
    toon_buf_append_slice(out, line);
    if (out->failed)
        return false;
    if (mend(out->data + before, line.size, salt))
        return true;
    out->size = before;
    return false;
}

/* ----------------------------------------------------------------- guessing */

/* A key's text and "[n]: " behind it, whatever follows. */
bool toon_line_guess_key(toon_slice line, toon_buf *key) {
    toon_record record = {0};
    size_t size;
    if (line.size > KEY_TEXT_MAX)
        line.size = KEY_TEXT_MAX;
    if (line.size == 0)
        return false;
    if (line.data[0] == '"') {
        size = toon_text_quoted_size(line);
    } else {
        const char *open = memchr(line.data, '[', line.size);
        size = open == NULL ? 0 : (size_t)(open - line.data);
    }
    if (size == 0 || line.size < size + 5 ||
        memcmp(line.data + size + 2, "]: ", 3) != 0)
        return false;
    record.key_text = toon_bytes(line.data, size);
    return toon_record_key(&record, key);
}

/* ",<digits>," before the type: the expiry of a record. */
static bool number_before(const char *line, size_t end) {
    size_t at = end;
    while (at > 0 && line[at - 1] >= '0' && line[at - 1] <= '9')
        at--;
    return at < end && at > 0 && line[at - 1] == ',';
}

toon_line_end toon_line_guess_end(toon_slice line) {
    static const char types[] = "sbdactr";
    uint32_t crc;
    if (line.size < END_SIZE + 2 || !toon_line_crc(line, &crc))
        return LINE_END_UNKNOWN;
    size_t at = line.size - END_SIZE - 1;
    char lower = (char)(line.data[at] | LOWER_CASE);
    if (line.data[at] == ' ' && line.size > FEWEST &&
        memcmp(line.data, "# synced=", 9) == 0)
        return LINE_ENDS_BATCH; /* a mark: it stands before a batch */
    if (memchr(types, lower, sizeof types - 1) == NULL ||
        line.data[at - 1] != ',' || !number_before(line.data, at - 1))
        return LINE_END_UNKNOWN;
    return lower == line.data[at] ? LINE_ENDS_BATCH : LINE_MORE_FOLLOWS;
}
