/*
 * bench_tools.h - what the benches of storage share: a directory that goes
 * away, clocks, random numbers, how a process's memory is read.
 *
 * Knows the system; must never know the store.
 */
#ifndef TOON_BENCH_TOOLS_H
#define TOON_BENCH_TOOLS_H

#include <stddef.h>
#include <stdint.h>

/* Prints the program's name, the text and errno's, and ends the process. */
_Noreturn void bench_fail(const char *what);

/* Makes a directory below `parent`, or, if that is NULL, below $TMPDIR,
 * /dev/shm or /tmp. It goes with its files when the process that made it
 * ends, but not by a signal. */
const char *bench_make_directory(const char *parent);
void bench_empty_directory(const char *path);     /* files, one level deep */
uint64_t bench_directory_bytes(const char *path); /* that its files take up */

double bench_now_s(void);
uint64_t bench_now_ns(void);

uint64_t bench_random(uint64_t *state); /* which must not be 0 */

/* Bytes of this process that are in memory and of no file. */
uint64_t bench_anonymous_bytes(void);

/* "key:000000000042", with the same behind it as often as it takes. */
void bench_key(char *key, size_t size, uint64_t number);

#endif
