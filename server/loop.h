/*
 * loop.h - what loop.c, listen.c, conn.c and pace.c share: a server on a libuv
 * loop.
 *
 * One turn of the loop:
 *   poll   connections read; their requests run; replies gather in buffers;
 *          what has to be looked at afterwards is `touched`
 *   check  the turn's changes reach the kernel (turn_end), who wrote too much
 *          is held (pace_writers), then every touched connection sends its
 *          replies, or closes
 * Nothing is sent and no connection goes away outside of `check`.
 */
#ifndef TOON_LOOP_H
#define TOON_LOOP_H

#include "resp.h"
#include "state.h"

#include <sys/queue.h>
#include <uv.h>

#ifdef TOON_HOSTILE
#define INPUT_BYTES ((size_t)1)
#else
#define INPUT_BYTES ((size_t)64 * 1024) /* of one read */
#endif

#define OUTPUT_HIGH_BYTES ((size_t)1024 * 1024) /* stops reading above it */
#define OUTPUT_LOW_BYTES  (OUTPUT_HIGH_BYTES / 2)
#define LISTENERS_MAX     17 /* 16 addresses and a socket in the file system */
#define LINGER_MS         1000
#define SHUTDOWN_MS       5000
#define CRON_MS           100

typedef struct loop loop;

typedef union stream {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
} stream;

/* One connection. */
typedef struct conn {
    client client; /* first, so that a client can be cast to its conn */
    loop *loop;
    stream stream;
    resp parser;

    /* Input that has been read and not yet run; empty most of the time, as
     * requests run from the loop's buffer. */
    char *input;
    size_t input_start, input_end, input_capacity;

    reply sending; /* being written by libuv; else empty */
    uv_write_t write;
    uv_shutdown_t shutdown;
    size_t write_bytes; /* of the write that is under way */

    uint64_t ticket; /* replies wait until the gate has told so far */
    struct conn *next_touched, *next_parked;
    LIST_ENTRY(conn) held_link;
    uint64_t pace_due_ns; /* monotonic; until then what it wrote is enough */
    int64_t linger_until_ms, soft_limit_since_ms;
    bool is_touched, is_parked;
    bool is_writing, is_reading;
    bool is_paused;    /* its output is not read fast enough */
    bool is_held;      /* wrote faster than the store can make room */
    bool is_stopped;   /* has requests left over from this turn */
    bool is_ready;     /* has input that can run */
    bool is_lingering; /* only waits for the other side to close */
    bool has_ended;    /* no more input comes */
    bool is_doomed;    /* closed by the next check */
    bool is_closed;
} conn;

struct loop {
    server server; /* first: a server can be cast to its loop */
    uv_loop_t uv;
    uv_check_t check;
    uv_idle_t idle; /* active while something is touched */
    uv_timer_t cron, pace;
    uv_async_t gate_moved;
    uv_signal_t signals[2];
    uv_poll_t watched;
    void (*watched_fn)(void *arg);
    void *watched_arg;
    stream listeners[LISTENERS_MAX];
    size_t listeners_count;
    bool waits[LISTENERS_MAX]; /* a connection, for want of memory */
    conn *touched, *parked;
    char *input; /* INPUT_BYTES; for connections without input of their own */
    int64_t shutdown_until_ms;

    /* pace.c's; times are monotonic */
    LIST_HEAD(, conn) held;
    size_t held_count;
    uint64_t held_until_ns;    /* the first of them */
    uint64_t written_until_ns; /* until then all that was written is enough */
    uint64_t usual_bytes;      /* that a writer wrote in a turn, lately */
    size_t turn_bytes_max;     /* of the last turn that wrote too much */

    bool is_listening, has_watched, has_pidfile, has_unixsocket;
};

static inline conn *conn_of_client(client *c) {
    return (conn *)(void *)c;
}

/* ------------------------------------------------------------------- loop.c */

/* The next poll does not wait. */
void loop_wake(loop *l);

/* ------------------------------------------------------------------- pace.c */

void pace_init(loop *l);

/* After turn_end(), before the turn's writers are taken: those of them that
 * wrote too much are held, which is: their requests wait. */
void pace_writers(loop *l);

/* Has it run as much as it may in this turn? The last turn wrote too much. */
bool pace_is_enough(const conn *c);

/* It is not held any longer, or goes away. */
void pace_forget(conn *c);

/* ----------------------------------------------------------------- listen.c */

/* All addresses and the socket of the configuration. */
bool listen_open(loop *l, char *error);
void listen_close(loop *l);
/* Once in a while: takes connections that had to wait. */
void listen_cron(loop *l);
/* "127.0.0.1:6379, [::1]:6379" */
void listen_describe(const loop *l, char *to, size_t capacity);

/* "127.0.0.1:6379" */
void address_format(const struct sockaddr_storage *address, char *to,
                    size_t capacity);

/* ------------------------------------------------------------------- conn.c */

/* A listener has a connection to accept. False: no memory for it. */
bool conn_accept(loop *l, stream *listener, bool is_unix);

/* Has conn_settle() called in this turn's check. */
void conn_touch(conn *c);

/* Runs input of its own, which had to wait. */
void conn_run_input(conn *c);

/* After the turn's changes are in the kernel: sends, goes on, or closes. */
void conn_settle(conn *c);

/* Closes in this turn's check, without sending what is left. */
void conn_doom(conn *c);

/* No more input; what has arrived is still answered, then it closes. */
void conn_end(conn *c);

/* Once in a while: timeouts. */
void conn_cron(conn *c, int64_t now_ms);

#endif
