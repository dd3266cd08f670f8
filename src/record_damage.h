/*
 * record_damage.h - what can still be told of lines that are not valid.
 *
 * A CRC says more than that a line is wrong: it is linear, so it can be run
 * backwards, and one wrong byte betrays its place. What these functions find
 * is for people, and for deciding what else is lost; no value is ever made
 * from it.
 *
 * Knows lines and their CRC; must never know where a line lies, or files.
 */
#ifndef TOON_RECORD_DAMAGE_H
#define TOON_RECORD_DAMAGE_H

#include "record.h"

/* The salt with which the CRC of this line would be right. False: it has not
 * the form of a record or a mark. Any line has one: only where several agree,
 * or another witness does, it is the log's. */
bool toon_line_salt(toon_slice line, uint32_t *salt);

/* The salt and the base that stand in a damaged headline, each if its text is
 * still there. */
bool toon_headline_guess_salt(toon_slice line, uint32_t *salt);
bool toon_headline_guess_base(toon_slice line, uint64_t *base);

/* Where inside a bad line a valid one begins: the newline between the two is
 * what was damaged, or all up to there. False: nowhere. */
bool toon_line_find_inner(toon_slice line, uint32_t salt, size_t *at);

/*
 * If one damaged byte explains why the CRC is wrong, appends the line as it
 * was to `out`. The bytes may hold a newline that was none, and their last
 * may have been one. The CRC of what is appended is right; whether it parses,
 * the caller looks. False: more is damaged, or out->failed.
 */
bool toon_line_mend(toon_slice line, uint32_t salt, toon_buf *out);

/* Appends the key that the start of a damaged line seems to name. */
bool toon_line_guess_key(toon_slice line, toon_buf *key);

/* Bytes of a line's end that what it says of its batch stands before: the CRC
 * and the LF. */
enum { TOON_LINE_END_SIZE = 9 };

/* What the end of damaged bytes seems to say of the batch that they were of. */
typedef enum toon_line_end {
    LINE_END_UNKNOWN,
    LINE_ENDS_BATCH,
    LINE_MORE_FOLLOWS,
} toon_line_end;

toon_line_end toon_line_guess_end(toon_slice line);

#endif
