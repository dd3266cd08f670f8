/*
 * pause.h - a moment without changes, for work that goes on in the background
 * while others write. Who does the work asks; the store, which has the locks,
 * answers. Knows neither.
 */
#ifndef TOON_PAUSE_H
#define TOON_PAUSE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Between begin and end nobody writes, nothing is gathered, and no batch is
 * half applied: what the key table says is what the log says. Begin returns
 * false when the work has to be given up, because it was told to stop or its
 * volume is no longer the store's; then there is no end. A moment is for a
 * few microseconds. NULL functions: there is nobody else.
 */
typedef struct toon_pause {
    bool (*begin)(void *arg);
    void (*end)(void *arg);
    void *arg;
    bool (*sync)(void *arg); /* outside of a pause: makes all that was written
                                so far durable; false: the disk failed */
} toon_pause;

static inline bool toon_pause_begin(const toon_pause *pause) {
    return pause->begin == NULL || pause->begin(pause->arg);
}

static inline void toon_pause_end(const toon_pause *pause) {
    if (pause->end != NULL)
        pause->end(pause->arg);
}

static inline bool toon_pause_sync(const toon_pause *pause) {
    return pause->sync == NULL || pause->sync(pause->arg);
}

#endif
