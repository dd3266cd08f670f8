/*
 * tst.h - what the parts of the program `tst` share.
 *
 * Knows the store's public header; must never know its inside.
 */
#ifndef TST_H
#define TST_H

#include "toonstore.h"

#include <stdio.h>

/* Exit codes; the help text and tst(1) promise them. */
enum {
    TST_DONE = 0,
    TST_NO = 1,    /* no such key, not set, or damage was found */
    TST_USAGE = 2, /* the command line is wrong */
    TST_HELD = 3,  /* another process has the store open */
    TST_FAILED = 4,
};

/* What the command line said after the command's name. */
typedef struct tst_args {
    const char *dir;
    char **words; /* what follows DIR */
    int word_count;
    int64_t expire_s;    /* 0: not given */
    const char *instead; /* of tst, while a server has the store; or NULL */
    bool if_absent, if_present, json, list_long, newline, quiet, zero, replace,
        skip_damaged, repair, yes;
} tst_args;

/* Each returns an exit code and has told about its failure. */
int tst_get(const tst_args *args);
int tst_set(const tst_args *args);
int tst_del(const tst_args *args);
int tst_ls(const tst_args *args);
int tst_stat(const tst_args *args);
int tst_check(const tst_args *args);
int tst_compact(const tst_args *args);
int tst_copy(const tst_args *args);
int tst_dump(const tst_args *args);
int tst_import(const tst_args *args);

/* Opens the store; flags as in toon_options. An exit code. */
int tst_open(const tst_args *args, unsigned flags, toon_store **out);

/* Closes it; `code` unless that is TST_DONE and closing failed. */
int tst_close(const tst_args *args, toon_store *store, int code);

/* Says in one line what went wrong with `err`, which a call of the store has
 * just returned, and gives the exit code for it. */
int tst_failed(const tst_args *args, toon_err err);

/* TOON_NOT_FOUND, EXISTS and CORRUPT of one key are told with its name. */
int tst_key_failed(const tst_args *args, toon_err err, toon_slice key);

/* The ending of a noun behind this count. */
static inline const char *tst_s(uint64_t count) {
    return count == 1 ? "" : "s";
}

void tst_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ------------------------------------------------------------ progress bar */

/* For a call of the store that takes its time: on a terminal, unless --quiet,
 * a bar with the rate and the time left. */
typedef struct tst_bar {
    bool wanted, drawn;
    int64_t started_ms;
} tst_bar;

tst_bar tst_bar_begin(const tst_args *args);
/* `done` of `total` bytes. */
void tst_bar_draw(tst_bar *bar, uint64_t done, uint64_t total);
/* Before anything else is written, and at the end. */
void tst_bar_clear(tst_bar *bar);

/* ------------------------------------------------------------ bytes as text */

/* `"name":"text"`, or where the bytes are not UTF-8 `"name_base64":"..."`. */
void tst_put_json(FILE *out, const char *name, toon_slice bytes);

/* The inside of a line about one key: names the key, `value` (NULL: left
 * out), size, times, mode. */
void tst_put_record(FILE *out, toon_slice key, const toon_value *value,
                    const toon_key_stat *stat);

/* For a terminal: control bytes, backslashes and what is not UTF-8 as \n,
 * \t, \\, \xHH. */
void tst_put_escaped(FILE *out, toon_slice bytes);

enum { TST_TIME_SIZE = 32 };

/* ISO 8601, UTC, with milliseconds. */
void tst_format_time(char out[TST_TIME_SIZE], int64_t ms);

int64_t tst_now_ms(void);

#endif
