/*
 * handles.h - what an open handed to the kernel and a release gives back.
 *
 * The kernel sends releases late, and none any more once it has unmounted: so
 * they are also linked, and what is left at the end is freed there.
 *
 * Knows links; must never know what a handle is for.
 */
#ifndef TOON_HANDLES_H
#define TOON_HANDLES_H

#include <pthread.h>

/* The first member of every handle. */
typedef struct handle {
    struct handle *next, *before;
    void (*free_fn)(struct handle *self); /* frees all of it */
} handle;

typedef struct handles {
    pthread_mutex_t lock; /* the last in the order of locks */
    handle first;         /* of a ring; no handle itself */
} handles;

void handles_init(handles *all);

/* No other thread is left. */
void handles_free(handles *all);

void handle_add(handles *all, handle *self, void (*free_fn)(handle *self));
void handle_free(handles *all, handle *self);

#endif
