/*
 * words.c - a line of text to words. Knows no protocol and no files.
 */
#include "words.h"

#include <stdlib.h>

typedef struct cursor {
    const char *in, *end;
    char *out;
} cursor;

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r') || c == '\0';
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static char unescaped(char c) {
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

/* The cursor stands on a backslash inside "…". */
static void take_escape(cursor *at) {
    size_t left = (size_t)(at->end - at->in);

    if (left >= 4 && at->in[1] == 'x' && hex_digit(at->in[2]) >= 0 &&
        hex_digit(at->in[3]) >= 0) {
        *at->out++ = (char)(hex_digit(at->in[2]) * 16 + hex_digit(at->in[3]));
        at->in += 4;
    } else if (left >= 2) {
        *at->out++ = unescaped(at->in[1]);
        at->in += 2;
    } else {
        *at->out++ = *at->in++;
    }
}

static bool quote_ends_word(cursor *at) {
    at->in++;
    return at->in == at->end || is_space(*at->in);
}

static bool take_double_quoted(cursor *at) {
    at->in++;
    while (at->in < at->end) {
        if (*at->in == '"')
            return quote_ends_word(at);
        if (*at->in == '\\')
            take_escape(at);
        else
            *at->out++ = *at->in++;
    }
    return false;
}

static bool take_single_quoted(cursor *at) {
    at->in++;
    while (at->in < at->end) {
        if (*at->in == '\'')
            return quote_ends_word(at);
        if (*at->in == '\\' && at->end - at->in >= 2 && at->in[1] == '\'')
            at->in++;
        *at->out++ = *at->in++;
    }
    return false;
}

static bool take_word(cursor *at) {
    while (at->in < at->end && !is_space(*at->in)) {
        if (*at->in == '"')
            return take_double_quoted(at);
        if (*at->in == '\'')
            return take_single_quoted(at);
        *at->out++ = *at->in++;
    }
    return true;
}

static bool words_reserve(words *w, size_t text_size) {
    if (text_size > w->text_capacity) {
        char *text = realloc(w->text, text_size);

        if (!text)
            return false;
        w->text = text;
        w->text_capacity = text_size;
    }
    if (w->count == w->capacity) {
        size_t capacity = w->capacity ? w->capacity * 2 : 16;
        toon_slice *at = realloc(w->at, capacity * sizeof *at);

        if (!at)
            return false;
        w->at = at;
        w->capacity = capacity;
    }
    return true;
}

words_outcome words_split(words *w, toon_slice line) {
    cursor at = {line.data, line.data + line.size, NULL};

    w->count = 0;
    /* Unquoting never makes a word longer, so the text never moves below. */
    if (!words_reserve(w, line.size + 1))
        return WORDS_NO_MEMORY;
    at.out = w->text;
    for (;;) {
        char *start = at.out;

        while (at.in < at.end && is_space(*at.in))
            at.in++;
        if (at.in == at.end)
            return WORDS_OK;
        if (!take_word(&at))
            return WORDS_UNBALANCED;
        if (!words_reserve(w, 0))
            return WORDS_NO_MEMORY;
        w->at[w->count++] = toon_bytes(start, (size_t)(at.out - start));
    }
}

void words_free(words *w) {
    free(w->at);
    free(w->text);
    *w = (words){0};
}
