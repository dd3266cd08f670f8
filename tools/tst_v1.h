/*
 * tst_v1.h - reading a store of the ancestor, version 1.
 *
 *     db.toon      "TOON001\n", u32 version 1, u32 count of rows; then one line
 *                  a row, any bytes but LF, ended by LF
 *     db.toon.idx  "TOONIDX1", u32 count of rows, u64 a row: where its line
 *                  begins in db.toon; 0: it was deleted
 *     keymap.txt   if there is one: lines "key TAB row", the last of a key
 *                  wins; a row without a line has its number as its key
 *
 * All integers are little-endian. Everything is checked before it is believed.
 *
 * Knows these files; must never know where their rows go.
 */
#ifndef TST_V1_H
#define TST_V1_H

#include "toonstore.h"

#include <sys/types.h>

/* A line of keymap.txt that counts. */
typedef struct v1_name {
    toon_slice key;
    uint64_t row;
    size_t line; /* counted from 1 */
} v1_name;

/* Told of each damaged place: a sentence that names the file. Return false to
 * stop. */
typedef bool v1_damage_fn(void *arg, const char *text);

typedef struct v1_store {
    const char *dir;
    v1_damage_fn *damaged;
    void *arg;
    int log;
    uint64_t log_size;
    uint64_t *offsets; /* of `rows` rows; owned */
    uint64_t rows;
    char *map;      /* the bytes of keymap.txt; owned */
    v1_name *names; /* in the order of their rows; owned */
    size_t name_count;
    char *line; /* of the last v1_read(); owned */
    size_t line_capacity;
    uint64_t window_at; /* what of the log `line` holds */
    size_t window_size;
} v1_store;

typedef enum v1_result {
    V1_OK,
    V1_DAMAGED, /* `damaged` was told, and did not want to go on */
    V1_FAILED,  /* another failure; told on standard error */
} v1_result;

/*
 * Reads all but the lines. Where `damaged` wants to go on, what is damaged is
 * left out. To be closed also on failure. `dir` must outlive it.
 */
v1_result v1_open(v1_store *v1, const char *dir, v1_damage_fn *damaged,
                  void *arg);
void v1_close(v1_store *v1);

/* Was the row deleted, or left out? */
bool v1_is_gone(const v1_store *v1, uint64_t row);
void v1_forget(v1_store *v1, uint64_t row);

/* Its bytes, until the next call. V1_OK with data NULL: damaged, left out from
 * now on. */
v1_result v1_read(v1_store *v1, uint64_t row, toon_slice *out);

/* Digits, as a row's number is written: no sign, no zeros in front. */
bool v1_parse_row(toon_slice text, uint64_t *out);

/* The names of a row: `*count` from the one that is returned on. */
const v1_name *v1_names_of(const v1_store *v1, uint64_t row, size_t *count);

#endif
