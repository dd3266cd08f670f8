/*
 * server.h - the RESP server over a store: what tstd's main needs.
 *
 * Knows the store's public header. Must never know the mount: what the mount
 * has to hear before a reply may go out stands behind `server_gate`.
 */
#ifndef TOON_SERVER_H
#define TOON_SERVER_H

#include "config.h"
#include "toonstore.h"

typedef struct server server;

/* A change is acknowledged when `told(arg)` has reached what `queued(arg)`
 * was after the change. */
typedef struct server_gate {
    uint64_t (*queued)(void *arg);
    uint64_t (*told)(void *arg);
    void *arg;
} server_gate;

/*
 * Opens the log, listens on all addresses and the socket of the
 * configuration, which the server takes over (it is emptied). The store must
 * outlive the server. NULL with a sentence in `error` (CONFIG_ERROR_TEXT
 * bytes): nothing is left open.
 */
server *server_new(toon_store *store, config *cfg, char *error);

/* Before server_run(). Replies to changes wait until the gate lets them. */
void server_set_gate(server *s, server_gate gate);

/* The gate's `told` has moved. Any thread, while the server exists. */
void server_gate_moved(server *s);

/* Calls fn once, in the loop, when `fd` is readable. Before server_run(). */
bool server_watch_fd(server *s, int fd, void (*fn)(void *arg), void *arg);

/* A line into the server's log. */
void server_note(server *s, const char *text);
void server_warn(server *s, const char *text);

/* Serves until SIGINT, SIGTERM or SHUTDOWN; then every request that has
 * arrived is answered, connections and listeners are closed. */
void server_run(server *s);

/* The port that TCP clients reach; 0: none. */
int server_port(const server *s);

/* Removes socket and pid file, frees. */
void server_delete(server *s);

/* As `tstd --health`: PING to the server of this configuration. 0 if it
 * answers, else 1 with a line on stderr. */
int health_check(const config *cfg);

#endif
