/*
 * toon_text.h - strings as TOON text: keys and cells, escaped and quoted.
 *
 * TOON specification, sections 7.1 (escapes), 7.2 (quoting), 7.3 (keys); the
 * delimiter is the comma. Knows bytes; must never know records or disk.
 */
#ifndef TOON_TEXT_H
#define TOON_TEXT_H

#include "bytes.h"

/* How a string's canonical text looks. One scan tells (SIMD, with a scalar
 * twin that the tests compare it with). */
typedef struct toon_text_shape {
    bool utf8;           /* valid UTF-8; where not, the rest means nothing */
    bool quoted;         /* must be quoted to be read back as this string */
    size_t encoded_size; /* characters of its text, quotes included */
} toon_text_shape;

/* As the value of a cell (section 7.2, comma), always read back a string. */
toon_text_shape toon_text_cell_shape(toon_slice value);
toon_text_shape toon_text_cell_shape_portable(toon_slice value); /* the twin */

/* As a key: bare iff [A-Za-z_][A-Za-z0-9_.]* */
toon_text_shape toon_text_key_shape(toon_slice key);

/* Writes exactly shape.encoded_size characters of text to `out`. */
void toon_text_encode(char *out, toon_slice value, toon_text_shape shape);

/* The length of the quoted string that starts at text.data[0] == '"', both
 * quotes included; 0 if it does not end in `text`. */
size_t toon_text_quoted_size(toon_slice text);

/* Bytes that a bare or quoted text stands for; false if an escape is wrong
 * (only \\ \" \n \r \t \uXXXX), or a quote stands where none may. */
bool toon_text_decoded_size(toon_slice text, size_t *size);

/* `out` has room for that. False as above. */
bool toon_text_decode(char *out, toon_slice text);

/* Does the text stand for these bytes? Decodes nothing to memory. */
bool toon_text_equals(toon_slice text, toon_slice value);

/* Is the text what toon_text_encode() writes for the string it stands for, as
 * a cell, as a key? */
bool toon_text_cell_is_canonical(toon_slice text);
bool toon_text_key_is_canonical(toon_slice text);

#endif
