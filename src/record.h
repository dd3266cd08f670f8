/*
 * record.h - one line of the log: a record, a sync mark or the first comment,
 * and its bytes. doc/format.md, "A record line", is the specification.
 *
 * Knows bytes, TOON text, CRC; must never know where a line lies, files, or
 * what keys are live.
 */
#ifndef TOON_RECORD_H
#define TOON_RECORD_H

#include "bytes.h"

/* Types as they stand in a line, in lower case. */
enum {
    RECORD_STRING = 's',
    RECORD_BASE64 = 'b',
    RECORD_DELETED = 'd',
    RECORD_APPENDED = 'a',
    RECORD_APPENDED_BASE64 = 'c',
    RECORD_META = 't',
    RECORD_SAME_VALUE = 'r',
};

/* A line that was read. Borrows from the bytes that it was parsed from. */
typedef struct toon_record {
    toon_slice key_text;   /* as it stands there, quotes included */
    toon_slice value_text; /* the first cell, as it stands there */
    uint64_t ref;          /* offset of the record that this one builds on; 0:
                              this type has none */
    int64_t written_ms;
    int64_t expires_ms; /* 0: never */
    uint32_t mode;      /* 0: the default */
    uint32_t crc;
    char type;   /* one of the above, in lower case */
    bool more;   /* more records of the same batch follow */
    size_t size; /* of the line with its LF */
} toon_record;

typedef enum toon_record_result {
    RECORD_OK,
    RECORD_NEEDS_MORE, /* no LF in the bytes */
    RECORD_BAD,        /* the line does not parse, or its CRC is wrong */
} toon_record_result;

/*
 * Parses the line at the start of `bytes` (which may go on behind it) and
 * checks its CRC with the log's salt. Strict: what it accepts re-encodes byte
 * for byte, but that the value cell is looked at closely only by
 * toon_record_value_check(). Never reads past the slice.
 */
toon_record_result toon_record_parse(toon_slice bytes, uint32_t salt,
                                     toon_record *out);

/* The same for bytes that should be one line, as an index says: no search for
 * its end, and the key's form is not looked at. The CRC is. */
toon_record_result toon_record_parse_line(toon_slice line, uint32_t salt,
                                          toon_record *out);

/* The same for bytes that are known to be one valid line of `bytes.size`,
 * found by an index: no search for its end, no CRC. Still never reads past
 * the slice and says RECORD_BAD to what cannot be parsed. */
toon_record_result toon_record_parse_trusted(toon_slice line, toon_record *out);

/*
 * Is the line at the start of `bytes` a record of a type that this program
 * does not know (the reserved l, h, m, g are some), whole and with a right
 * CRC? Then a newer program wrote it: it is neither torn nor damaged.
 */
bool toon_record_is_foreign(toon_slice bytes, uint32_t salt, char *type,
                            size_t *size);

/* The CRC that stands at the end of a line. False: none stands there. */
bool toon_line_crc(toon_slice line, uint32_t *crc);

/* Is the key of the record this one? Without decoding where it can. */
bool toon_record_key_is(const toon_record *record, toon_slice key);

/* Appends the decoded key. False if its text is wrong (a damaged line), or
 * with out->failed if memory ran out. */
bool toon_record_key(const toon_record *record, toon_buf *out);

/* Appends the key's text as a line would begin with it. */
void toon_record_put_key(toon_buf *out, toon_slice key);

/* Bytes of this record's own piece of value: the value of s and b, what was
 * appended of a and c, 0 of the others. False if its text is wrong. */
bool toon_record_value_size(const toon_record *record, size_t *size);

/* Writes them; `out` has room for that. False if the text is wrong. */
bool toon_record_value(const toon_record *record, char *out);

/* Is the value cell the canonical text that the encoder would write? */
bool toon_record_value_check(const toon_record *record);

/* What to write. */
typedef struct toon_record_draft {
    toon_slice key;
    toon_slice value;   /* of s, b, a, c; b or s, c or a is the encoder's
                           choice, by the bytes */
    uint64_t ref;       /* of a, c, t, r */
    int64_t written_ms; /* any */
    int64_t expires_ms; /* >= 0 */
    uint32_t mode;
    char type; /* RECORD_STRING, _DELETED, _APPENDED, _META, _SAME_VALUE */
    bool more;
} toon_record_draft;

/* Appends the line, LF included; out->failed says if memory ran out (then
 * nothing was appended). Returns the line's size. */
size_t toon_record_encode(toon_buf *out, const toon_record_draft *draft,
                          uint32_t salt);

/* Changes the case of the type of the encoded line and its CRC: a batch's
 * last record is known only when it ends. */
void toon_record_set_more(char *line, size_t size, bool more, uint32_t salt);

/* "# synced=<offset> <crc>\n" */
void toon_mark_encode(toon_buf *out, uint64_t offset, uint32_t salt);
toon_record_result toon_mark_parse(toon_slice bytes, uint32_t salt,
                                   uint64_t *offset, size_t *size);

/* The first comment line, as in doc/format.md; its CRC has salt 0. */
void toon_headline_encode(toon_buf *out, uint64_t base, uint32_t salt);
toon_record_result toon_headline_parse(toon_slice bytes, uint64_t *base,
                                       uint32_t *salt, size_t *size);

#endif
