/*
 * fault.h - one call that fails: an allocation of the core's or a call to the
 * system, the n-th since fault_arm().
 *
 * Allocations are caught by the linker (--wrap), calls on files by the seam
 * of io.h, and the few system calls beside that seam by the linker too. Only
 * what happens inside a public call counts: between fault_enter() and
 * fault_leave().
 *
 * Knows the calls; must never know what a store is.
 */
#ifndef TOON_TEST_FAULT_H
#define TOON_TEST_FAULT_H

#include "io.h"

typedef enum fault_kind {
    FAULT_NONE,
    FAULT_MEMORY,
    FAULT_CALL,
} fault_kind;

typedef struct fault_plan {
    fault_kind kind;
    uint64_t at;  /* counted from 1 */
    unsigned way; /* each call has its ways of failing, see fault_ways() */
} fault_plan;

/* The disk of the tests: the system's, but for the call that is to fail.
 * Nothing is synced and no room reserved: no power cut is tested with it. */
extern const toon_io fault_io;

/* Counts from 0 again. */
void fault_arm(fault_plan plan);

void fault_enter(void);
/* True if the call that was to fail came in between. */
bool fault_leave(void);

/* Since fault_arm(), was this one the first of its call (open, write, …)? */
bool fault_was_first(fault_kind kind, uint64_t at);

/* Of the call that failed, valid once it has. */
bool fault_has_come(void);
unsigned fault_ways(void);        /* how many ways it has */
bool fault_is_harmless(void);     /* the caller must not notice it */
bool fault_may_end_writing(void); /* it allows a store to turn read-only */
bool fault_ended_the_disk(void);  /* for the rest of that public call */
bool fault_left_a_torn_end(void); /* what was half written stayed */
toon_err fault_expected(void);    /* what a failure because of it is called */
const char *fault_name(void);

/* What the core holds and has not given back. */
long fault_live_memory(void);
long fault_live_files(void);

#endif
