/* made_log.c - lines of a log from a script of bytes. */
#include "made_log.h"

#include "record.h"

enum {
    HEADER_SIZE = 16,
    OP_KIND = 0x07,
    OP_MORE = 0x08,
    OP_MODE = 0x10,
    OP_EXPIRY = 0x60,
    OP_EXPIRED = 0x60,
    OP_EXPIRES = 0x40,
    OP_WIDE = 0x80, /* a long value; an offset that no record has */
    VALUE_MASK = 0x1f,
    WIDE_TIMES = 97,
    SALT = 0x1f3a77c1,
};

#define TIME_MS INT64_C(1732300000000)

toon_slice made_key(unsigned number) {
    static const char long_key[300] = "a long key, mostly of NULs";
    const toon_slice keys[MADE_KEYS] = {
        toon_str("user:1"),
        toon_str(""),
        toon_str("bare_key.x"),
        toon_str("two words"),
        toon_str("\xff\xfe"),
        toon_str("base64:abc"),
        toon_str("dir/file"),
        toon_str("dir/"),
        toon_str("quote\"back\\slash"),
        toon_str("line\nbreak"),
        toon_bytes("\0", 1),
        toon_str("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"),
        toon_str("42"),
        toon_str("null"),
        toon_str("# synced=16 00000000"),
        toon_bytes(long_key, sizeof long_key),
    };
    return keys[number % MADE_KEYS];
}

void made_log_begin(made_log *log) {
    static const char header[HEADER_SIZE] = "TOON001\n\2";
    *log = (made_log){.salt = SALT};
    toon_buf_append(&log->bytes, header, sizeof header);
    toon_headline_encode(&log->bytes, 0, SALT);
}

/* Of an earlier record, the latest for 0; or nearly so. */
static uint64_t pick_ref(const made_log *log, fuzz_input *script, bool wide) {
    uint64_t back = fuzz_byte(script);
    if (wide)
        return (log->bytes.size > back ? log->bytes.size - back : back) + 1;
    if (log->count == 0)
        return 1;
    return log->offsets[log->count - 1 - back % log->count];
}

static void pick_value(toon_buf *value, fuzz_input *script, bool wide) {
    fuzz_input part = fuzz_take(script, fuzz_byte(script) & VALUE_MASK);
    for (size_t i = 0; i < (wide ? WIDE_TIMES : 1); i++)
        toon_buf_append(value, part.at, part.left);
}

static int64_t pick_expiry(unsigned op) {
    return (op & OP_EXPIRY) == OP_EXPIRED   ? TIME_MS + 1
           : (op & OP_EXPIRY) == OP_EXPIRES ? MADE_FAR_FUTURE_MS
                                            : 0;
}

static void add_record(made_log *log, fuzz_input *script, unsigned op,
                       char type) {
    toon_buf value = {0};
    bool wide = (op & OP_WIDE) != 0;
    toon_record_draft draft = {
        .key = made_key(fuzz_byte(script)),
        .type = type,
        .more = (op & OP_MORE) != 0,
        .written_ms = TIME_MS + (int64_t)log->count,
        .expires_ms = pick_expiry(op),
    };
    bool refers = type == RECORD_APPENDED || type == RECORD_META ||
                  type == RECORD_SAME_VALUE;
    if (refers)
        draft.ref = pick_ref(log, script, wide);
    if (type == RECORD_STRING || type == RECORD_APPENDED)
        pick_value(&value, script, wide);
    if ((op & OP_MODE) != 0 && type != RECORD_DELETED)
        draft.mode = (op & OP_WIDE) != 0 ? TOON_MODE_SYMLINK : 0755;
    draft.value = toon_buf_slice(&value);
    if (log->count < MADE_RECORDS_MAX)
        log->offsets[log->count++] = log->bytes.size;
    toon_record_encode(&log->bytes, &draft, log->salt);
    toon_buf_free(&value);
}

/* One that tells the truth, an old one, or one from the future. */
static void add_mark(made_log *log, fuzz_input *script) {
    uint64_t offset = log->bytes.size;
    unsigned choice = fuzz_byte(script);
    if ((choice & 3) == 1 && log->count > 0)
        offset = log->offsets[choice / 4 % log->count];
    if ((choice & 3) == 2)
        offset += choice;
    toon_mark_encode(&log->bytes, offset, log->salt);
}

void made_log_add(made_log *log, fuzz_input *script) {
    static const char types[] = {RECORD_STRING,     RECORD_DELETED,
                                 RECORD_APPENDED,   RECORD_META,
                                 RECORD_SAME_VALUE, RECORD_STRING};
    unsigned op = fuzz_byte(script);
    unsigned kind = op & OP_KIND;
    if (kind < sizeof types) {
        add_record(log, script, op, types[kind]);
    } else if (kind == sizeof types) {
        add_mark(log, script);
    } else { /* bytes as they are: a torn line, or none at all */
        fuzz_input part = fuzz_take(script, fuzz_byte(script) & VALUE_MASK);
        toon_buf_append(&log->bytes, part.at, part.left);
    }
    CHECK(!log->bytes.failed);
}

void made_log_sound(made_log *log) {
    /* Sets of keys, an append, a new expiry, a mark, a rename, a mode. */
    static const uint8_t script[] =
        "\0\0\5hello\0\1\0\0\2\3abc\x45\3\3\1\2\3\0\4\1x\0\5\1y\2\2\3\3def"
        "\x43\0\6\6\0\x0c\6\4\1\3\x10\7\2ok";
    fuzz_input input = {script, sizeof script - 1};
    made_log_begin(log);
    while (input.left > 0)
        made_log_add(log, &input);
}

void made_log_free(made_log *log) {
    toon_buf_free(&log->bytes);
}
