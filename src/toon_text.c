/*
 * toon_text.c - the rules of quoting, and quoted text read back.
 *
 * Knows TOON's cells and keys; must never know records or disk.
 */
#include "toon_text.h"

#include "text_escape.h"

/* ------------------------------------------------------------------ shapes */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* NUL behind the end: no member of any set that is asked for here. */
static char char_at(toon_slice text, size_t at) {
    if (at >= text.size) {
        return '\0';
    }
    return text.data[at];
}

static bool is_sign(char c) {
    return c == '+' || c == '-';
}

/* Moves *at past the digits there; false if there are none. */
static bool skip_digits(toon_slice text, size_t *at) {
    size_t start = *at;
    while (is_digit(char_at(text, *at))) {
        ++*at;
    }
    return *at > start;
}

/* [+-] digits [. digits] [e [+-] digits]; wider than what decoders take for a
 * number, leading zeros included, as section 7.2 asks. */
static bool looks_numeric(toon_slice text) {
    size_t at = is_sign(char_at(text, 0)) ? 1 : 0;
    if (!skip_digits(text, &at)) {
        return false;
    }
    if (char_at(text, at) == '.') {
        at++;
        if (!skip_digits(text, &at)) {
            return false;
        }
    }
    if ((char_at(text, at) | 0x20) == 'e') {
        at += is_sign(char_at(text, at + 1)) ? 2 : 1;
        if (!skip_digits(text, &at)) {
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

static bool has_outer_mark(toon_slice value) {
    char first = char_at(value, 0);
    return first == ' ' || first == '-' || first == '#' ||
           value.data[value.size - 1] == ' ';
}

static toon_text_shape cell_shape(toon_slice value, toon_text_scan scan) {
    bool quoted = scan.special || value.size == 0 || has_outer_mark(value) ||
                  is_literal(value) || looks_numeric(value);
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

size_t toon_text_quoted_size(toon_slice text) {
    size_t at = 1;
    while (at < text.size) {
        const char *quote = memchr(text.data + at, '"', text.size - at);
        if (quote == NULL) {
            return 0;
        }
        /* Behind an odd number of backslashes it is escaped. The quote that
         * the text starts with ends the count. */
        size_t slashes = 0;
        while (quote[-1 - (ptrdiff_t)slashes] == '\\') {
            slashes++;
        }
        at = (size_t)(quote - text.data) + 1;
        if (slashes % 2 == 0) {
            return at;
        }
    }
    return 0;
}

/* Takes the quotes off; false if they do not come in a pair. */
static bool open_text(toon_slice text, toon_slice *inside, bool *quoted) {
    *quoted = text.size > 0 && text.data[0] == '"';
    *inside = text;
    if (!*quoted) {
        return true;
    }
    *inside = toon_bytes(text.data + 1, text.size - 2);
    return text.size >= 2 && text.data[text.size - 1] == '"';
}

/* With `out` NULL, only the size. */
static bool read_text(char *out, toon_slice text, size_t *size) {
    toon_slice inside;
    bool quoted = false;
    size_t total = 0;
    if (!open_text(text, &inside, &quoted) ||
        !toon_text_unescape(out, inside, &total)) {
        return false;
    }
    /* An escape, always longer than its bytes, stands only between quotes. */
    if (!quoted && total < inside.size) {
        return false;
    }
    *size = total;
    return true;
}

bool toon_text_decoded_size(toon_slice text, size_t *size) {
    return read_text(NULL, text, size);
}

bool toon_text_decode(char *out, toon_slice text) {
    size_t size = 0;
    return read_text(out, text, &size);
}

bool toon_text_equals(toon_slice text, toon_slice value) {
    toon_slice rest;
    bool quoted = false;
    if (!open_text(text, &rest, &quoted)) {
        return false;
    }
    while (rest.size > 0) {
        char bytes[3] = {rest.data[0]};
        size_t size = 1;
        size_t used = 1;
        if (bytes[0] == '\\' || bytes[0] == '"') {
            used = quoted ? toon_text_read_escape(bytes, rest, &size) : 0;
        }
        if (used == 0 || size > value.size ||
            memcmp(bytes, value.data, size) != 0) {
            return false;
        }
        rest = toon_bytes(rest.data + used, rest.size - used);
        value = toon_bytes(value.data + size, value.size - size);
    }
    return value.size == 0;
}

/* -------------------------------------------------------------- strictness */

/*
 * Is what stands between the quotes as escaping writes it? `extra` is what
 * escaping it once more would add, so it counts the quotes, backslashes and
 * control characters: there must be none but those of the escapes.
 */
static bool escapes_are_canonical(toon_slice inside, size_t extra) {
    const char *at = inside.data;
    const char *end = at + inside.size;
    size_t expected = 0;
    while ((at = memchr(at, '\\', (size_t)(end - at))) != NULL) {
        char bytes[3];
        char again[6];
        size_t size = 0;
        size_t used = toon_text_read_escape(
            bytes, toon_bytes(at, (size_t)(end - at)), &size);
        char *stop = toon_text_escape_portable(again, toon_bytes(bytes, size));
        if (used == 0 ||
            !toon_slice_equal(toon_bytes(at, used),
                              toon_bytes(again, (size_t)(stop - again)))) {
            return false;
        }
        expected += bytes[0] == '\\' || bytes[0] == '"' ? 2 : 1;
        at += used;
    }
    return extra == expected;
}

static bool is_canonical(toon_slice text,
                         toon_text_shape (*shape_fn)(toon_slice)) {
    if (text.size == 0 || text.data[0] != '"') {
        toon_text_shape shape = shape_fn(text);
        return shape.utf8 && !shape.quoted;
    }
    toon_slice inside;
    bool quoted = false;
    if (!open_text(text, &inside, &quoted)) {
        return false;
    }
    /* What escapes stand for is ASCII, so the inside, as it stands, is UTF-8
     * where the string is, and needs quotes where the string does. */
    toon_text_shape shape = shape_fn(inside);
    size_t extra = shape.encoded_size - text.size;
    return shape.utf8 && shape.quoted &&
           (extra == 0 || escapes_are_canonical(inside, extra));
}

bool toon_text_cell_is_canonical(toon_slice text) {
    return is_canonical(text, toon_text_cell_shape);
}

bool toon_text_key_is_canonical(toon_slice text) {
    return is_canonical(text, toon_text_key_shape);
}
