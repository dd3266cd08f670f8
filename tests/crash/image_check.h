/*
 * image_check.h - opens what a crash left and compares it with what was
 * promised.
 *
 * Knows the public store and the history; must never know how an image came
 * to be.
 */
#ifndef TOON_TEST_IMAGE_CHECK_H
#define TOON_TEST_IMAGE_CHECK_H

#include "history.h"

/* What an open store shows. */
typedef struct image_found {
    uint64_t hash;                 /* of all model keys, as history_state's */
    uint64_t hashes[HISTORY_KEYS]; /* 0: absent */
    size_t strangers;              /* keys that nobody ever wrote */
    size_t invented;               /* values that their key never had */
    toon_err err;                  /* the first that a read gave */
} image_found;

void image_look(toon_store *store, const history *past, image_found *out);

/* Writes to `out` in what the found state differs from the nearest one. */
void image_describe(const history *past, history_window window,
                    const image_found *found, char *out, size_t size);

/*
 * The store in `dir` must open, be in a state of the window and take changes,
 * survive closing, pass the check, and open again as it was. `variant` chooses
 * what else is looked at. False: `wrong` says what is.
 */
bool image_is_right(const char *dir, const history *past, history_window window,
                    uint64_t variant, char *wrong, size_t size);

/*
 * After a disk that lied: opening may lose data or be refused as damaged, and
 * reads may be; but no value is invented, and nothing crashes.
 */
bool image_is_no_invention(const char *dir, const history *past, char *wrong,
                           size_t size);

/* A copy: in exactly that state if `done`; else it may be missing. */
bool image_is_copy(const char *dir, const history *past, size_t state,
                   bool done, char *wrong, size_t size);

#endif
