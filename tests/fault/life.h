/*
 * life.h - a store's life under a fault: calls of the public store, each of
 * which either meets the fault, says so and has changed nothing, or does what
 * the model says. A call that met the fault is made again, so every life ends
 * with the same keys.
 *
 * Knows the public store and its inside seam (toon_open_on); must never know
 * which calls a life is made of.
 */
#ifndef TOON_TEST_LIFE_H
#define TOON_TEST_LIFE_H

#include "fault.h"
#include "model.h"

#include <setjmp.h>
#include <stdint.h>

enum { LIFE_PINS = 4 };

typedef struct life {
    const char *chapter;
    char top[48]; /* removed at the end */
    char dir[64];
    toon_store *store; /* NULL: closed */
    toon_options options;
    model now;

    char *arena; /* names and values of the model */
    size_t arena_used;

    bool quiet;       /* no fault comes */
    bool in_group;    /* a batch or a gathering goes on */
    bool swaps_log;   /* a failed sync may leave the old log or the new */
    bool failed;      /* closing may say so */
    bool ended;       /* the store turned read-only: closing has to say so */
    bool damaged;     /* the log, by life_damage() */
    unsigned expired; /* keys that are gone, and may still be counted */
    toon_stats before;
    bool has_before;

    uint64_t watch; /* 0: nobody watches */
    bool told_all;
    uint64_t told[64]; /* hashes of keys */
    size_t told_count;

    struct {
        toon_value value;
        toon_slice wanted;
    } pins[LIFE_PINS];

    char wrong[700]; /* what went wrong; "": nothing */
    jmp_buf out;
} life;

/* Runs the chapter in a new directory. False: something was wrong, and `l`
 * says what. */
typedef void chapter_fn(life *l);
bool life_run(life *l, const char *name, chapter_fn *chapter);

/* Bytes that live as long as the run: `size` of them, made from `seed`; text
 * that needs no escaping if `plain`. */
toon_slice life_bytes(life *l, unsigned seed, size_t size, bool plain);

void life_open(life *l);
/* For lives in which opening an empty store is not what matters: no fault. */
void life_open_quietly(life *l);
void life_close(life *l);
/* As after kill -9: what was written is there, and the index that was there
 * when the store was opened. */
void life_kill(life *l);
/* While it is closed: bytes behind the log's end, and without its index. */
void life_tear(life *l);
void life_forget_index(life *l);
/* While it is closed: one byte of the log, inside the first `text` in it. */
void life_damage(life *l, const char *text);

void life_get(life *l, const char *key);
void life_read(life *l, const char *key);
void life_stat(life *l, const char *key);
void life_pin(life *l, const char *key, int place);
void life_scan(life *l, const char *match, bool with_stat);
void life_range(life *l, const char *prefix, bool with_stat);
void life_read_together(life *l);

void life_set(life *l, const char *key, toon_slice value);
void life_put(life *l, const char *key, const char *text);
void life_set_with(life *l, toon_slice key, toon_slice value,
                   toon_set_options options);
/* With the version that the key has, and once with one that it has not. */
void life_set_if_same(life *l, const char *key, const char *text);
/* And asks for the value before. */
void life_exchange_value(life *l, const char *key, const char *text,
                         unsigned flags);
void life_append(life *l, const char *key, toon_slice bytes);
void life_delete(life *l, const char *key);
void life_take(life *l, const char *key); /* deletes, asking for the value */
void life_rename(life *l, const char *from, const char *to, unsigned flags);
void life_meta(life *l, const char *key, unsigned what, toon_meta meta);
void life_add(life *l, const char *text);
void life_expire(life *l);
void life_clear(life *l);

/* Runs `fn`, whose changes are a batch or a gathering, again as often as the
 * fault undoes them. */
typedef void group_fn(life *l);
void life_batch(life *l, group_fn *fn);
void life_cancelled_batch(life *l, group_fn *fn);
void life_gather(life *l, group_fn *fn);

void life_watch(life *l);
void life_unwatch(life *l);

void life_sync(life *l);
void life_compact(life *l);
void life_copy(life *l);
void life_check(life *l); /* while it is closed */
/* Finds damage, and leaves every byte as it was. */
void life_check_damaged(life *l);
/* What is left is all but `key`. */
void life_repair(life *l, const char *key);

#endif
