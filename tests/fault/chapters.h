/*
 * chapters.h - the lives that fault_store.c goes through, fault by fault.
 */
#ifndef TOON_TEST_CHAPTERS_H
#define TOON_TEST_CHAPTERS_H

#include "life.h"

typedef struct chapter {
    const char *name;
    chapter_fn *fn;
} chapter;

extern const chapter chapters[];
extern const size_t chapters_count;

#endif
