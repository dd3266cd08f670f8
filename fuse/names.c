/*
 * names.c - keys as paths, both ways. Knows bytes only; must never know the
 * store, nodes or the kernel.
 *
 * Two kinds of codes, each with an escape of its own (`25` after the `%`):
 * one for a component as a whole, one for bytes anywhere in it. They cannot
 * be mistaken for each other: no whole code contains `00`, and the one that
 * contains `2F` does not exist where `/` is coded anywhere.
 */
#include "names.h"

/* What follows `%` in the name of a whole component. */
static const struct whole_code {
    const char *code;
    const char *component; /* NULL: `kind` says all */
    name_kind kind;
    bool tree_only;
} whole_codes[] = {
    {"", NULL, NAME_EMPTY, false},
    {"2E", ".", NAME_PLAIN, false},
    {"2E%2E", "..", NAME_PLAIN, false},
    {"2F", NULL, NAME_LAST, true},
    {"3D", NULL, NAME_VALUE, false},
    {"2Etoon", ".toon", NAME_PLAIN, false},
    {"2Etoonstore", ".toonstore", NAME_PLAIN, false},
};

/* What follows `%` for one byte anywhere. */
static const struct byte_code {
    const char *code;
    char byte;
    bool flat_only;
} byte_codes[] = {
    {"00", '\0', false},
    {"2F", '/', true},
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static bool slice_is(toon_slice slice, const char *text) {
    size_t size = strlen(text);
    return slice.size == size &&
           (size == 0 || memcmp(slice.data, text, size) == 0);
}

static bool starts_with(toon_slice slice, const char *text) {
    size_t size = strlen(text);
    return slice.size >= size && memcmp(slice.data, text, size) == 0;
}

static toon_slice skip(toon_slice slice, size_t count) {
    return toon_bytes(slice.data + count, slice.size - count);
}

/* Passes `%` and every `25` after it; *escapes counts those. */
static bool skip_percent(toon_slice *slice, size_t *escapes) {
    if (slice->size == 0 || slice->data[0] != '%') {
        return false;
    }
    *slice = skip(*slice, 1);
    for (*escapes = 0; starts_with(*slice, "25"); ++*escapes) {
        *slice = skip(*slice, 2);
    }
    return true;
}

/* Is `text` `%(25)*X` for a whole code X? */
static const struct whole_code *match_whole(toon_slice text, bool flat,
                                            size_t *escapes) {
    if (!skip_percent(&text, escapes)) {
        return NULL;
    }
    for (size_t i = 0; i < COUNT_OF(whole_codes); i++) {
        const struct whole_code *code = &whole_codes[i];
        if (!(flat && code->tree_only) && slice_is(text, code->code)) {
            return code;
        }
    }
    return NULL;
}

/* Does `text` start with `%(25)*X` for a byte code X? */
static const struct byte_code *match_byte(toon_slice text, bool flat,
                                          size_t *escapes) {
    if (!skip_percent(&text, escapes)) {
        return NULL;
    }
    for (size_t i = 0; i < COUNT_OF(byte_codes); i++) {
        const struct byte_code *code = &byte_codes[i];
        if ((flat || !code->flat_only) && starts_with(text, code->code)) {
            return code;
        }
    }
    return NULL;
}

static bool put(name_text *out, const char *data, size_t size) {
    if (size > sizeof(out->data) - out->size) {
        return false;
    }
    memcpy(out->data + out->size, data, size);
    out->size += size;
    return true;
}

static bool put_text(name_text *out, const char *text) {
    return put(out, text, strlen(text));
}

/* `%25…` with one `25` fewer; the rest is as it is. */
static void put_unescaped(name_text *out, toon_slice text) {
    (void)put(out, text.data, 1);
    (void)put(out, text.data + 3, text.size - 3);
}

static void decode_bytes(toon_slice text, bool flat, name_text *component) {
    while (text.size > 0) {
        size_t escapes = 0;
        const struct byte_code *code = match_byte(text, flat, &escapes);
        if (code == NULL) {
            (void)put(component, text.data, 1);
            text = skip(text, 1);
            continue;
        }
        size_t size = 1 + 2 * escapes + strlen(code->code);
        if (escapes == 0) {
            (void)put(component, &code->byte, 1);
        } else {
            put_unescaped(component, toon_bytes(text.data, size));
        }
        text = skip(text, size);
    }
}

name_kind name_decode(toon_slice text, bool flat, name_text *component) {
    component->size = 0;
    if (text.size > NAME_SIZE_MAX) {
        return NAME_TOO_LONG;
    }
    if (slice_is(text, ".toon") || slice_is(text, ".toonstore")) {
        return NAME_OWN;
    }
    size_t escapes = 0;
    const struct whole_code *code = match_whole(text, flat, &escapes);
    if (code == NULL) {
        decode_bytes(text, flat, component);
        return NAME_PLAIN;
    }
    if (escapes > 0) {
        put_unescaped(component, text);
        return NAME_PLAIN;
    }
    if (code->component != NULL) {
        (void)put_text(component, code->component);
        return NAME_PLAIN;
    }
    return flat && code->kind == NAME_EMPTY ? NAME_PLAIN : code->kind;
}

/* The byte code of `byte`, or NULL if it stands for itself. */
static const char *code_of_byte(char byte, bool flat) {
    for (size_t i = 0; i < COUNT_OF(byte_codes); i++) {
        const struct byte_code *code = &byte_codes[i];
        if (code->byte == byte && (flat || !code->flat_only)) {
            return code->code;
        }
    }
    return NULL;
}

static bool encode_bytes(toon_slice component, bool flat, name_text *out) {
    bool fits = true;
    while (component.size > 0 && fits) {
        size_t escapes = 0;
        const char *code = code_of_byte(component.data[0], flat);
        if (code != NULL) {
            fits = put_text(out, "%") && put_text(out, code);
        } else if (match_byte(component, flat, &escapes) != NULL) {
            fits = put_text(out, "%25");
        } else {
            fits = put(out, component.data, 1);
        }
        component = skip(component, 1);
    }
    return fits;
}

bool name_encode(toon_slice component, bool last, bool flat, name_text *out) {
    out->size = 0;
    if (component.size == 0) {
        return put_text(out, last && !flat ? "%2F" : "%");
    }
    for (size_t i = 0; i < COUNT_OF(whole_codes); i++) {
        const struct whole_code *code = &whole_codes[i];
        if (code->component != NULL && slice_is(component, code->component)) {
            return put_text(out, "%") && put_text(out, code->code);
        }
    }
    size_t escapes = 0;
    if (match_whole(component, flat, &escapes) != NULL) {
        return put_text(out, "%25") &&
               put(out, component.data + 1, component.size - 1);
    }
    return encode_bytes(component, flat, out);
}

toon_slice name_of_value(void) {
    return toon_str("%3D");
}

bool path_encode(toon_slice key, bool flat, char *out, size_t capacity,
                 size_t *size) {
    *size = 0;
    for (bool last = false; !last;) {
        const char *slash =
            flat || key.size == 0 ? NULL : memchr(key.data, '/', key.size);
        last = slash == NULL;
        toon_slice component =
            last ? key : toon_bytes(key.data, (size_t)(slash - key.data));
        name_text encoded;
        if (!name_encode(component, last, flat, &encoded) ||
            encoded.size + !last > capacity - *size) {
            return false;
        }
        memcpy(out + *size, encoded.data, encoded.size);
        *size += encoded.size;
        if (!last) {
            out[(*size)++] = '/';
            key = skip(key, component.size + 1);
        }
    }
    return true;
}

bool key_is_shown(toon_slice key, bool flat) {
    char path[PATH_SIZE_MAX];
    size_t size;
    /* An encoded component has at most three times its bytes. */
    return key.size * 3 <= NAME_SIZE_MAX ||
           path_encode(key, flat, path, sizeof(path), &size);
}
