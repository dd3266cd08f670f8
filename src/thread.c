/*
 * thread.c - threads of the library's own.
 *
 * Knows the system's threads; must never know what they do.
 */
#include "thread.h"

#include <signal.h>
#include <stddef.h>

int toon_thread_start(pthread_t *thread, void *(*fn)(void *arg), void *arg) {
    /* A thread's own faults stay with it: one that is blocked is its death. */
    static const int own[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGABRT};
    sigset_t all, before;
    (void)sigfillset(&all);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        (void)sigdelset(&all, own[i]);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(thread, NULL, fn, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}
