/*
 * thread.h - threads of the library's own.
 *
 * Knows the system's threads; must never know what they do.
 */
#ifndef TOON_THREAD_H
#define TOON_THREAD_H

#include <pthread.h>

/* As pthread_create(3): 0 or an errno. The thread takes no signal that is sent
 * to the process: the program's own threads do. */
int toon_thread_start(pthread_t *thread, void *(*fn)(void *arg), void *arg);

#endif
