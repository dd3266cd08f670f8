/*
 * words.h - a line of text to words, by Redis's quoting rules.
 *
 * Shared by inline requests and by the configuration file. Knows neither.
 */
#ifndef TOON_WORDS_H
#define TOON_WORDS_H

#include "toonstore.h"

/* Owns what it holds; a zeroed one is empty. The words stay readable until
 * the next split or words_free(). */
typedef struct words {
    toon_slice *at;
    size_t count, capacity;
    char *text; /* the unquoted bytes of all words */
    size_t text_capacity;
} words;

typedef enum words_outcome {
    WORDS_OK,
    WORDS_UNBALANCED, /* a quote that does not end, or ends inside a word */
    WORDS_NO_MEMORY,
} words_outcome;

/*
 * White space parts words. "…" knows \n \r \t \a \b \xHH and \c for any other
 * character c; '…' knows \' alone. A closing quote must end its word.
 */
words_outcome words_split(words *w, toon_slice line);
void words_free(words *w);

#endif
