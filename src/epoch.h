/*
 * epoch.h - epoch-based reclamation: memory that readers without locks may
 * still look at is freed when none of them can any more.
 * (K. Fraser, "Practical lock-freedom", 2004, section 5.2.3.)
 *
 * Knows threads and memory; must never know what the memory holds.
 *
 * Epochs are for the length of one call of the store, never longer. One
 * domain serves the process; a thread takes part from its first enter and is
 * forgotten at its end.
 */
#ifndef TOON_EPOCH_H
#define TOON_EPOCH_H

#include <stdbool.h>
#include <stddef.h>

/* Nests. Between enter and leave, what is reachable stays readable. Returns
 * false only if memory for the thread's record cannot be had. */
bool toon_epoch_enter(void);
void toon_epoch_leave(void);

/* A small number that is this thread's alone while it lives; numbers of
 * threads that have ended are used again. Inside enter/leave. */
unsigned toon_epoch_thread(void);

/* Calls free_fn(arg) when no reader that entered before now is inside. Called
 * outside of enter/leave or inside; free_fn may run in any thread that
 * retires, never under a lock of the epoch module. If memory runs out it
 * waits for the readers instead; it never fails. */
void toon_epoch_retire(void (*free_fn)(void *), void *arg);

/*
 * The same for small things that are retired often (`bytes`: what this one
 * holds): whether readers are left is looked at only when 64 of them or
 * 1 MiB have come together. So that much may lie about until the next
 * retirement of any kind.
 */
void toon_epoch_retire_lazily(void (*free_fn)(void *), void *arg, size_t bytes);

/* Waits until all that was retired has been freed. Not inside enter/leave. */
void toon_epoch_drain(void);

#endif
