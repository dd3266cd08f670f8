/*
 * server.h - the RESP server over a store: what tstd's main needs.
 *
 * Knows the store's public header and libuv. Must never know the mount: what
 * the mount has to hear before a reply may go out stands behind
 * `server_gate`.
 */
#ifndef TOON_SERVER_H
#define TOON_SERVER_H

#include "toonstore.h"

typedef struct server server;

/* A change is acknowledged when `told(arg)` has reached what `queued(arg)`
 * was after the change. */
typedef struct server_gate {
    uint64_t (*queued)(void *arg);
    uint64_t (*told)(void *arg);
    void *arg;
} server_gate;

#endif
