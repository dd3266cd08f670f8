/*
 * toon_text.c - the rules of quoting, and quoted text read back.
 *
 * Knows TOON's cells and keys; must never know records or disk.
 *
 * What is read is walked in pieces: a run of bytes that stand for themselves,
 * then one escape, and so on. Sizes, copies and comparisons all take the same
 * walk, so they can never disagree about what a text stands for.
 */
#include "toon_text.h"

#include "text_escape.h"

/* ------------------------------------------------------------------ shapes */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* The end of the digits at `at`; `at` itself if there are none. */
static size_t skip_digits(toon_slice text, size_t at) {
    while (at < text.size && is_digit(text.data[at])) {
        at++;
    }
    return at;
}

static bool is_one_of(toon_slice text, size_t at, const char *set) {
    return at < text.size && text.data[at] != 0 &&
           strchr(set, text.data[at]) != NULL;
}

/* [+-] digits [. digits] [e [+-] digits]; wider than what decoders take for a
 * number, leading zeros included, as section 7.2 asks. */
static bool looks_numeric(toon_slice text) {
    size_t start = is_one_of(text, 0, "+-") ? 1 : 0;
    size_t at = skip_digits(text, start);
    if (at == start) {
        return false;
    }
    if (is_one_of(text, at, ".")) {
        start = at + 1;
        at = skip_digits(text, start);
        if (at == start) {
            return false;
        }
    }
    if (is_one_of(text, at, "eE")) {
        start = at + (is_one_of(text, at + 1, "+-") ? 2 : 1);
        at = skip_digits(text, start);
        if (at == start) {
            return false;
        }
    }
    return at == text.size;
}

static bool is_literal(toon_slice text) {
    return toon_slice_equal(text, toon_str("true")) ||
           toon_slice_equal(text, toon_str("false")) ||
           toon_slice_equal(text, toon_str("null"));
}

static toon_text_shape shape_of(toon_slice value, toon_text_scan scan,
                                bool quoted) {
    if (!scan.utf8) {
        return (toon_text_shape){0};
    }
    size_t more = quoted ? 2 + scan.extra : 0;
    return (toon_text_shape){true, quoted, value.size + more};
}

static toon_text_shape cell_shape(toon_slice value, toon_text_scan scan) {
    bool quoted = scan.special || value.size == 0 ||
                  is_one_of(value, 0, " -#") ||
                  value.data[value.size - 1] == ' ' || is_literal(value) ||
                  looks_numeric(value);
    return shape_of(value, scan, quoted);
}

toon_text_shape toon_text_cell_shape(toon_slice value) {
    return cell_shape(value, toon_text_scan_bytes(value));
}

toon_text_shape toon_text_cell_shape_portable(toon_slice value) {
    return cell_shape(value, toon_text_scan_bytes_portable(value));
}

static bool is_bare_key(toon_slice key) {
    for (size_t i = 0; i < key.size; i++) {
        char c = key.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool later = i > 0 && (is_digit(c) || c == '.');
        if (!letter && c != '_' && !later) {
            return false;
        }
    }
    return key.size > 0;
}

toon_text_shape toon_text_key_shape(toon_slice key) {
    if (is_bare_key(key)) {
        return (toon_text_shape){true, false, key.size};
    }
    return shape_of(key, toon_text_scan_bytes(key), true);
}

void toon_text_encode(char *out, toon_slice value, toon_text_shape shape) {
    size_t quote = shape.quoted ? 1 : 0;
    if (quote != 0) {
        out[0] = '"';
        out[shape.encoded_size - 1] = '"';
    }
    if (shape.encoded_size > value.size + 2 * quote) {
        toon_text_escape(out + quote, value);
    } else if (value.size > 0) {
        memcpy(out + quote, value.data, value.size);
    }
}

/* ------------------------------------------------------------ reading back */

/* A walk over a text's pieces. */
typedef struct walk {
    const char *at;
    const char *end;
    bool quoted;
    char decoded[3]; /* the bytes of the escape read last, if any */
} walk;

typedef enum step {
    STEP_PIECE,
    STEP_END,
    STEP_BAD,
} step;

/* Takes the quotes off; false if they do not come in a pair. */
static bool walk_begin(walk *w, toon_slice text) {
    w->quoted = text.size > 0 && text.data[0] == '"';
    if (w->quoted && (text.size < 2 || text.data[text.size - 1] != '"')) {
        return false;
    }
    size_t quote = w->quoted ? 1 : 0;
    toon_slice inside = toon_bytes(text.data + quote, text.size - 2 * quote);
    w->at = inside.data;
    w->end = inside.size == 0 ? inside.data : inside.data + inside.size;
    return true;
}

/* The first quote or backslash, or `end`. Most are near where there are any. */
static const char *find_special(const char *at, const char *end) {
    enum { NEAR = 16 };

    const char *near = end - at > NEAR ? at + NEAR : end;
    while (at < near && *at != '"' && *at != '\\') {
        at++;
    }
    if (at < near || near == end) {
        return at;
    }
    const char *slash = memchr(at, '\\', (size_t)(end - at));
    end = slash == NULL ? end : slash;
    const char *quote = memchr(at, '"', (size_t)(end - at));
    return quote == NULL ? end : quote;
}

static int hex_value(char c) {
    if (is_digit(c)) {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Writes the character as UTF-8; 0 for a surrogate, else its size. */
static size_t put_utf8(char *out, unsigned code) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(unsigned char)(0xc0 | code >> 6);
        out[1] = (char)(unsigned char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code >= 0xd800 && code <= 0xdfff) {
        return 0;
    }
    out[0] = (char)(unsigned char)(0xe0 | code >> 12);
    out[1] = (char)(unsigned char)(0x80 | (code >> 6 & 0x3f));
    out[2] = (char)(unsigned char)(0x80 | (code & 0x3f));
    return 3;
}

/* \uXXXX; the size of its UTF-8, 0 if it is wrong. */
static size_t read_code(walk *w) {
    unsigned code = 0;
    if (w->end - w->at < 6) {
        return 0;
    }
    for (size_t i = 2; i < 6; i++) {
        int digit = hex_value(w->at[i]);
        if (digit < 0) {
            return 0;
        }
        code = code << 4 | (unsigned)digit;
    }
    w->at += 6;
    return put_utf8(w->decoded, code);
}

static step read_escape(walk *w, toon_slice *piece) {
    static const char letters[] = "nrt\"\\";
    static const char meanings[] = "\n\r\t\"\\";

    size_t size = 1;
    const char *letter =
        w->end - w->at < 2 || w->at[1] == 0 ? NULL : strchr(letters, w->at[1]);
    if (letter != NULL) {
        w->decoded[0] = meanings[letter - letters];
        w->at += 2;
    } else {
        size = w->end - w->at > 1 && w->at[1] == 'u' ? read_code(w) : 0;
    }
    *piece = toon_bytes(w->decoded, size);
    return size == 0 ? STEP_BAD : STEP_PIECE;
}

/* The next bytes that the text stands for: some that stand for themselves, or
 * one escape's, in w->decoded. */
static step walk_next(walk *w, toon_slice *piece) {
    if (w->at == w->end) {
        return STEP_END;
    }
    const char *end = find_special(w->at, w->end);
    if (end == w->at) {
        return *end == '\\' && w->quoted ? read_escape(w, piece) : STEP_BAD;
    }
    *piece = toon_bytes(w->at, (size_t)(end - w->at));
    w->at = end;
    return STEP_PIECE;
}

size_t toon_text_quoted_size(toon_slice text) {
    size_t at = 1;
    while (at < text.size && text.data[at] != '"') {
        at += text.data[at] == '\\' ? 2 : 1;
    }
    return at < text.size ? at + 1 : 0;
}

bool toon_text_decoded_size(toon_slice text, size_t *size) {
    walk w;
    toon_slice piece;
    size_t total = 0;
    step now = walk_begin(&w, text) ? STEP_PIECE : STEP_BAD;
    while (now == STEP_PIECE) {
        now = walk_next(&w, &piece);
        total += now == STEP_PIECE ? piece.size : 0;
    }
    if (now != STEP_END) {
        return false;
    }
    *size = total;
    return true;
}

bool toon_text_decode(char *out, toon_slice text) {
    walk w;
    toon_slice piece;
    if (!walk_begin(&w, text)) {
        return false;
    }
    step now;
    while ((now = walk_next(&w, &piece)) == STEP_PIECE) {
        memcpy(out, piece.data, piece.size);
        out += piece.size;
    }
    return now == STEP_END;
}

bool toon_text_equals(toon_slice text, toon_slice value) {
    walk w;
    toon_slice piece;
    if (!walk_begin(&w, text)) {
        return false;
    }
    step now;
    while ((now = walk_next(&w, &piece)) == STEP_PIECE) {
        if (piece.size > value.size ||
            memcmp(piece.data, value.data, piece.size) != 0) {
            return false;
        }
        value = toon_bytes(value.data + piece.size, value.size - piece.size);
    }
    return now == STEP_END && value.size == 0;
}

/* -------------------------------------------------------------- strictness */

/* Is this piece of a text what escaping writes for the bytes it stands for? */
static bool is_as_written(toon_slice read, toon_slice piece) {
    if (piece.data == read.data) {
        return toon_text_scan_bytes(piece).extra == 0;
    }
    char again[6];
    char *end = toon_text_escape_portable(again, piece);
    return toon_slice_equal(read, toon_bytes(again, (size_t)(end - again)));
}

/* Does a walk over the text meet nothing but what escaping writes? */
static bool pieces_are_canonical(toon_slice text) {
    walk w;
    toon_slice piece;
    if (!walk_begin(&w, text)) {
        return false;
    }
    const char *from = w.at;
    step now;
    while ((now = walk_next(&w, &piece)) == STEP_PIECE) {
        toon_slice read = toon_bytes(from, (size_t)(w.at - from));
        from = w.at;
        if (!is_as_written(read, piece)) {
            return false;
        }
    }
    return now == STEP_END;
}

static bool is_canonical(toon_slice text,
                         toon_text_shape (*shape_fn)(toon_slice)) {
    if (text.size == 0 || text.data[0] != '"') {
        toon_text_shape shape = shape_fn(text);
        return shape.utf8 && !shape.quoted;
    }
    if (text.size < 2 || text.data[text.size - 1] != '"') {
        return false;
    }
    /* What escapes stand for is ASCII, so the inside, as it stands, is UTF-8
     * where the string is, and needs quotes where the string does. */
    toon_slice inside = toon_bytes(text.data + 1, text.size - 2);
    toon_text_shape shape = shape_fn(inside);
    bool plain = shape.encoded_size == text.size;
    return shape.utf8 && shape.quoted && (plain || pieces_are_canonical(text));
}

bool toon_text_cell_is_canonical(toon_slice text) {
    return is_canonical(text, toon_text_cell_shape);
}

bool toon_text_key_is_canonical(toon_slice text) {
    return is_canonical(text, toon_text_key_shape);
}
