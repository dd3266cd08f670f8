/*
 * pauses.h - when the whole machine stood still, as a virtual one does while
 * its host runs others: a witness on each processor, before all other threads,
 * wakes every quarter of a millisecond, and notes when it was woken late.
 *
 * What every witness missed at the same time is a pause of the machine. Work
 * of the kernel for one thread cannot look like that, since it takes one
 * processor (for as many threads as there are processors it can); with a single
 * one nothing is ever called a pause.
 */
#ifndef TOON_BENCH_PAUSES_H
#define TOON_BENCH_PAUSES_H

#include <stdbool.h>
#include <stdint.h>

/* False where realtime threads are not allowed: then nothing is noted. */
bool bench_pauses_start(void);
void bench_pauses_stop(void);

/* What follows is of the time from start to stop, and asked after stop. */

uint64_t bench_paused_ns(uint64_t from_ns, uint64_t to_ns); /* in that time */
uint64_t bench_pauses_longest_ns(void);
uint64_t bench_pauses_count(void);

#endif
