/*
 * text_escape.h - which bytes of a string TOON text must escape or quote, and
 * the escaping itself.
 *
 * Knows byte classes, UTF-8 and the processor's vectors; must never know what
 * a cell or a key is, or records.
 */
#ifndef TOON_TEXT_ESCAPE_H
#define TOON_TEXT_ESCAPE_H

#include "bytes.h"

typedef struct toon_text_scan {
    bool utf8;    /* valid UTF-8; where not, the rest means nothing */
    bool special; /* has a byte that never stands in a bare cell */
    size_t extra; /* characters that escapes add to the bytes */
} toon_text_scan;

toon_text_scan toon_text_scan_bytes(toon_slice bytes);
toon_text_scan toon_text_scan_bytes_portable(toon_slice bytes); /* the twin */

/* Writes the bytes, escaped: bytes.size + scan.extra characters. Returns the
 * end of what was written. */
char *toon_text_escape(char *out, toon_slice bytes);
char *toon_text_escape_portable(char *out, toon_slice bytes);

/* Reads the escape at the start of the text, up to three bytes, to `out`.
 * Returns how many characters it took; 0: it is wrong, or none. Right are
 * \\ \" \n \r \t and \uXXXX but surrogates. */
size_t toon_text_read_escape(char *out, toon_slice text, size_t *size);

/* Undoes the escapes. *size is how many bytes that gives; with `out` NULL only
 * they are counted. False, and *size left alone, if an escape is wrong or a
 * quote stands there without one; `out` may have been written to. */
bool toon_text_unescape(char *out, toon_slice text, size_t *size);
bool toon_text_unescape_portable(char *out, toon_slice text, size_t *size);

#endif
