/*
 * conn.c - a connection: its buffers, its requests one after another, its
 * replies. Knows libuv and the parser; no commands.
 *
 * Input. Most requests arrive whole: they run from the loop's buffer, and a
 * connection that is quiet owns none. What is left of an unfinished request
 * is copied to a buffer of the connection's own, and more is read behind it.
 *
 * Output. Replies go into client.out. conn_settle() tries to send them at
 * once; what the kernel does not take moves to `sending`, which libuv writes
 * when it can. A connection that does not read its replies is not read from
 * either, so that its memory stays bounded.
 */
#include "loop.h"

#include <assert.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#define IOVECS_MAX     64
#define INPUT_KEEP     ((size_t)16 * 1024)
#define INPUT_ROOM_MIN ((size_t)16 * 1024)

static conn *conn_of(uv_handle_t *handle) {
    return handle->data;
}

void conn_touch(conn *c) {
    if (c->is_touched)
        return;
    loop_wake(c->loop);
    c->is_touched = true;
    c->next_touched = c->loop->touched;
    c->loop->touched = c;
}

void conn_doom(conn *c) {
    c->is_doomed = true;
    conn_touch(c);
}

static size_t unsent(const conn *c) {
    return reply_unsent(&c->client.out) + reply_unsent(&c->sending);
}

/* ------------------------------------------------------------------- input */

/* Its own input buffer gives way to the loop's when it is empty. */
static void input_trim(conn *c) {
    if (c->input_start < c->input_end)
        return;
    c->input_start = c->input_end = 0;
    if (c->input_capacity > INPUT_KEEP) {
        free(c->input);
        c->input = NULL;
        c->input_capacity = 0;
    }
}

/* Room behind the input; for a long argument, as much as it will need, but
 * never more than twice what has come: a client that announces much and
 * sends little costs little. */
static bool input_reserve(conn *c, size_t room) {
    size_t held = c->input_end - c->input_start;
    size_t capacity = held * 2, wanted = resp_wanted(&c->parser) + room;
    char *grown = NULL;

    if (c->input_capacity - c->input_end >= room)
        return true;
    if (c->input_start > 0) {
        memmove(c->input, c->input + c->input_start, held);
        c->input_start = 0;
        c->input_end = held;
    }
    if (c->input_capacity - held >= room)
        return true;
    if (capacity > wanted && wanted > held + room)
        capacity = wanted;
    if (capacity < held + room)
        capacity = held + room;
    grown = realloc(c->input, capacity);
    if (!grown)
        return false;
    c->input = grown;
    c->input_capacity = capacity;
    return true;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    conn *c = conn_of(handle);

    (void)suggested;
    if (c->input_start == c->input_end || c->is_lingering) {
        *buf = uv_buf_init(c->loop->input, (unsigned)INPUT_BYTES);
        return;
    }
    if (!input_reserve(c, INPUT_ROOM_MIN)) {
        *buf = uv_buf_init(NULL, 0); /* on_read() gets UV_ENOBUFS */
        return;
    }
    *buf = uv_buf_init(c->input + c->input_end,
                       (unsigned)(c->input_capacity - c->input_end > INT32_MAX
                                      ? INT32_MAX
                                      : c->input_capacity - c->input_end));
#ifdef TOON_HOSTILE
    buf->len = 1;
#endif
}

static void protocol_error(conn *c) {
    char text[RESP_ERROR_TEXT + 8];

    (void)snprintf(text, sizeof text, "ERR %s", c->parser.error);
    reply_error(&c->client.out, text);
    c->client.server->counters.error_replies++;
    server_log(c->client.server, LOG_LEVEL_VERBOSE, "%s from %s, closed",
               c->parser.error, c->client.peer);
    c->client.close_after_reply = true;
    c->linger_until_ms = monotonic_ms() + LINGER_MS;
}

static bool over_hard_limit(conn *c) {
    server *s = c->client.server;
    size_t hard = (size_t)s->config.output_limits[OUTPUT_NORMAL].hard_bytes;

    if (hard == 0 || unsent(c) <= hard)
        return false;
    s->counters.output_limit_cuts++;
    server_log(s, LOG_LEVEL_WARNING,
               "client %s does not read its replies, closed at its output "
               "limit of %zu bytes",
               c->client.peer, hard);
    conn_doom(c);
    return true;
}

/* May another request run? Where no limit is set, a client that does not
 * read its replies waits instead of being cut off. */
static bool may_go_on(conn *c) {
    server *s = c->client.server;

    if (c->is_doomed || c->client.close_after_reply || over_hard_limit(c))
        return false;
    c->is_paused = s->config.output_limits[OUTPUT_NORMAL].hard_bytes == 0 &&
                   unsent(c) > OUTPUT_HIGH_BYTES;
    c->is_stopped = c->is_paused || c->is_held || pace_is_enough(c);
    return !c->is_stopped;
}

/* Runs the requests in `in`; returns how many bytes it is done with. */
static size_t run_requests(conn *c, toon_slice in) {
    server *s = c->client.server;
    size_t done = 0;

    turn_begin(s);
    while (done < in.size && may_go_on(c)) {
        toon_slice rest = toon_bytes(in.data + done, in.size - done);
        size_t used = 0;
        resp_outcome outcome;

        c->parser.guest = !c->client.authenticated;
        c->parser.bulk_max = s->config.proto_max_bulk_len;
        outcome = resp_parse(&c->parser, rest, &used);
        if (outcome == RESP_MORE)
            return done;
        if (outcome == RESP_BAD) {
            protocol_error(c);
            break;
        }
        dispatch(&c->client, c->parser.argv, c->parser.argc);
        done += used;
        c->client.turn_bytes += used;
    }
    /* Behind a closing request nothing counts. */
    return c->is_doomed || c->client.close_after_reply ? in.size : done;
}

/* Keeps what is left of the loop's buffer. */
static void input_keep(conn *c, toon_slice rest) {
    if (rest.size == 0)
        return;
    if (!input_reserve(c, rest.size)) {
        conn_doom(c);
        return;
    }
    memcpy(c->input + c->input_end, rest.data, rest.size);
    c->input_end += rest.size;
}

void conn_run_input(conn *c) {
    toon_slice in =
        toon_bytes(c->input + c->input_start, c->input_end - c->input_start);

    c->is_ready = false;
    if (in.size > 0)
        c->input_start += run_requests(c, in);
    input_trim(c);
}

static void input_check_limit(conn *c) {
    server *s = c->client.server;
    size_t held = c->input_end - c->input_start;

    c->client.input_bytes = held;
    c->client.input_capacity = c->input_capacity;
    if (held <= (size_t)s->config.client_query_buffer_limit)
        return;
    s->counters.query_limit_cuts++;
    server_log(s, LOG_LEVEL_WARNING,
               "client %s sends a request over client-query-buffer-limit, "
               "closed",
               c->client.peer);
    conn_doom(c);
}

static void set_reading(conn *c, bool on);

static void on_read(uv_stream_t *handle, ssize_t size, const uv_buf_t *buf) {
    conn *c = conn_of((uv_handle_t *)handle);

    if (size == 0 || c->is_doomed)
        return;
    if (size == UV_EOF && !c->is_lingering) {
        conn_end(c);
        return;
    }
    if (size < 0) {
        conn_doom(c);
        return;
    }
    if (c->is_lingering)
        return;
    c->client.server->counters.input_bytes += (size_t)size;
    c->client.active_ms = (int64_t)uv_now(&c->loop->uv);
    if (buf->base == c->loop->input) {
        toon_slice in = toon_bytes(buf->base, (size_t)size);
        size_t done = run_requests(c, in);

        input_keep(c, toon_bytes(in.data + done, in.size - done));
    } else {
        c->input_end += (size_t)size;
        conn_run_input(c);
    }
    input_check_limit(c);
    if (c->is_stopped)
        set_reading(c, false);
    conn_touch(c);
}

static void set_reading(conn *c, bool on) {
    if (c->is_reading == on)
        return;
    c->is_reading = on;
    if (on)
        uv_read_start(&c->stream.stream, on_alloc, on_read);
    else
        uv_read_stop(&c->stream.stream);
}

void conn_end(conn *c) {
    c->has_ended = true;
    set_reading(c, false);
    conn_touch(c);
}

/* ------------------------------------------------------------------ output */

static void on_written(uv_write_t *request, int status);

/* Hands the front of `sending` to libuv. */
static void write_on(conn *c) {
    struct iovec vectors[IOVECS_MAX];
    uv_buf_t bufs[IOVECS_MAX];
    size_t count = reply_iovecs(&c->sending, vectors, IOVECS_MAX);

    c->write_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bufs[i] =
            uv_buf_init(vectors[i].iov_base, (unsigned)vectors[i].iov_len);
        c->write_bytes += vectors[i].iov_len;
    }
    c->is_writing = true;
    c->write.data = c;
    if (uv_write(&c->write, &c->stream.stream, bufs, (unsigned)count,
                 on_written) != 0) {
        c->is_writing = false;
        conn_doom(c);
    }
}

static void on_written(uv_write_t *request, int status) {
    conn *c = request->data;

    c->is_writing = false;
    if (c->is_closed)
        return;
    if (status != 0) {
        conn_doom(c);
        return;
    }
    c->client.server->counters.output_bytes += c->write_bytes;
    c->client.active_ms = (int64_t)uv_now(&c->loop->uv);
    reply_sent(&c->sending, c->write_bytes);
    if (reply_unsent(&c->sending) > 0) {
        write_on(c);
        return;
    }
    reply_clear(&c->sending);
    c->client.output_bytes = 0;
    conn_touch(c);
}

/* As much as the kernel takes at once. False: it takes no more. */
static bool try_send(conn *c) {
    reply *out = &c->client.out;

    while (reply_unsent(out) > 0) {
        struct iovec vectors[IOVECS_MAX];
        uv_buf_t bufs[IOVECS_MAX];
        size_t count = reply_iovecs(out, vectors, IOVECS_MAX), bytes = 0;
        int sent = 0;

        for (size_t i = 0; i < count; i++) {
            bufs[i] =
                uv_buf_init(vectors[i].iov_base, (unsigned)vectors[i].iov_len);
            bytes += vectors[i].iov_len;
        }
        sent = uv_try_write(&c->stream.stream, bufs, (unsigned)count);
        if (sent < 0 && sent != UV_EAGAIN) {
            c->is_doomed = true;
            return false;
        }
        if (sent < 0)
            return false;
        c->client.server->counters.output_bytes += (size_t)sent;
        reply_sent(out, (size_t)sent);
        if ((size_t)sent < bytes)
            return false;
    }
    reply_clear(out);
    return true;
}

static void send_replies(conn *c) {
    reply empty;

    if (c->is_writing || try_send(c) || c->is_doomed)
        return;
    empty = c->sending;
    c->sending = c->client.out;
    empty.protocol = c->sending.protocol;
    empty.errors = c->sending.errors;
    c->client.out = empty;
    c->client.output_bytes = reply_unsent(&c->sending);
    write_on(c);
}

/* ------------------------------------------------------------------ settle */

static void on_closed(uv_handle_t *handle) {
    conn *c = conn_of(handle);

    reply_free(&c->sending);
    resp_free(&c->parser);
    client_free(&c->client);
    free(c->input);
    free(c);
}

static void unpark(conn *c) {
    conn **at = &c->loop->parked;

    if (!c->is_parked)
        return;
    while (*at != c)
        at = &(*at)->next_parked;
    *at = c->next_parked;
    c->is_parked = false;
}

/* Who asked for the end sees its connection go when the process does, and not
 * before the store is closed: a second descriptor of it stays open. */
static void keep_to_the_end(conn *c) {
    uv_os_fd_t fd = -1;

    if (uv_fileno(&c->stream.handle, &fd) == 0)
        (void)fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static void conn_close(conn *c) {
    c->is_closed = true;
    unpark(c);
    pace_forget(c);
    if (c->client.asked_for_the_end)
        keep_to_the_end(c);
    client_remove(&c->client);
    uv_close(&c->stream.handle, on_closed);
}

static void on_shutdown(uv_shutdown_t *request, int status) {
    (void)request;
    (void)status;
}

/* After a protocol error there may be unread input, and to close then would
 * reset the connection before the other side has read why. */
static void linger(conn *c) {
    c->is_lingering = true;
    if (uv_shutdown(&c->shutdown, &c->stream.stream, on_shutdown) != 0) {
        conn_close(c);
        return;
    }
    set_reading(c, true);
}

/* Must its replies wait for the gate? */
static bool waits_for_gate(conn *c) {
    const server_gate *gate = &c->client.server->gate;

    if (!gate->queued || gate->told(gate->arg) >= c->ticket)
        return false;
    if (!c->is_parked) {
        c->is_parked = true;
        c->next_parked = c->loop->parked;
        c->loop->parked = c;
    }
    return true;
}

/* Goes on with input that had to wait: output has left, it is not held any
 * longer, or another turn has come. */
static void resume(conn *c) {
    if (c->is_paused && unsent(c) <= OUTPUT_LOW_BYTES)
        c->is_paused = false;
    if (c->is_stopped && !c->is_paused && !c->is_held) {
        c->is_stopped = false;
        c->is_ready = true;
    }
    if (c->is_ready)
        conn_touch(c);
    if (!c->has_ended && !c->client.close_after_reply)
        set_reading(c, !c->is_paused && !c->is_held);
}

void conn_settle(conn *c) {
    c->client.turn_bytes = 0;
    if (c->client.out.failed) {
        server_log(c->client.server, LOG_LEVEL_WARNING,
                   "no memory for the replies to %s, closed", c->client.peer);
        c->is_doomed = true;
    }
    if (!c->is_doomed && !c->is_lingering && !waits_for_gate(c)) {
        unpark(c);
        if (unsent(c) > 0)
            send_replies(c);
    }
    if (c->is_doomed || over_hard_limit(c)) {
        conn_close(c);
        return;
    }
    if (c->is_lingering)
        return;
    if (unsent(c) == 0 && c->client.close_after_reply) {
        if (c->linger_until_ms > 0)
            linger(c);
        else
            conn_close(c);
        return;
    }
    resume(c);
    if (unsent(c) == 0 && c->has_ended && !c->is_ready && !c->is_stopped)
        conn_close(c);
}

void conn_cron(conn *c, int64_t now_ms) {
    server *s = c->client.server;
    const output_limit *limit = &s->config.output_limits[OUTPUT_NORMAL];
    int64_t timeout_ms = s->config.timeout_s * 1000;

    if (c->is_lingering && now_ms >= c->linger_until_ms)
        conn_doom(c);
    if (timeout_ms > 0 && now_ms - c->client.active_ms >= timeout_ms) {
        server_log(s, LOG_LEVEL_VERBOSE, "Closing idle client %s",
                   c->client.peer);
        conn_doom(c);
    }
    if (limit->soft_bytes == 0 || unsent(c) <= (size_t)limit->soft_bytes) {
        c->soft_limit_since_ms = 0;
        return;
    }
    if (c->soft_limit_since_ms == 0)
        c->soft_limit_since_ms = now_ms;
    if (now_ms - c->soft_limit_since_ms < limit->soft_s * 1000)
        return;
    s->counters.output_limit_cuts++;
    conn_doom(c);
}

/* ------------------------------------------------------------------ accept */

static void on_refused(uv_handle_t *handle) {
    free(handle->data);
}

/* One line, as far as the kernel takes it at once, and the end. */
static void refuse(conn *c, const char *why) {
    uv_buf_t line = uv_buf_init(c->client.peer, 0);
    reply *out = &c->client.out;

    c->client.server->counters.connections_rejected++;
    reply_error(out, why);
    if (!out->failed) {
        line = uv_buf_init(out->data, (unsigned)out->size);
        uv_try_write(&c->stream.stream, &line, 1);
    }
    client_free(&c->client);
    uv_close(&c->stream.handle, on_refused);
}

static bool is_loopback(const struct sockaddr_storage *address) {
    const void *from = address;
    const struct sockaddr_in *four = from;
    const struct sockaddr_in6 *six = from;

    if (address->ss_family == AF_INET)
        return ntohl(four->sin_addr.s_addr) >> 24 == 127;
    return address->ss_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(&six->sin6_addr) ||
            (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr) &&
             six->sin6_addr.s6_addr[12] == 127));
}

/* Fills in who it is; returns whether it comes from this machine. */
static bool identify(conn *c, bool is_unix) {
    struct sockaddr_storage peer = {0}, local = {0};
    client *cl = &c->client;
    int size = sizeof peer;
    void *to = &peer;

    uv_fileno(&c->stream.handle, &cl->fd);
    cl->is_unix = is_unix;
    if (is_unix) {
        (void)snprintf(cl->peer, sizeof cl->peer, "%.120s:0",
                       cl->server->config.unixsocket);
        memcpy(cl->local, cl->peer, sizeof cl->local);
        return true;
    }
    uv_tcp_getpeername(&c->stream.tcp, to, &size);
    size = sizeof local;
    address_format(&peer, cl->peer, sizeof cl->peer);
    to = &local;
    uv_tcp_getsockname(&c->stream.tcp, to, &size);
    address_format(&local, cl->local, sizeof cl->local);
    uv_tcp_nodelay(&c->stream.tcp, 1);
    if (cl->server->config.tcp_keepalive_s > 0)
        uv_tcp_keepalive(&c->stream.tcp, 1,
                         (unsigned)cl->server->config.tcp_keepalive_s);
    return is_loopback(&peer);
}

static bool is_protected(const server *s) {
    return s->config.protected_mode && s->config.requirepass[0] == '\0';
}

bool conn_accept(loop *l, stream *listener, bool is_unix) {
    server *s = &l->server;
    conn *c = calloc(1, sizeof *c);
    bool is_local = false;

    if (!c)
        return false;
    if (is_unix)
        uv_pipe_init(&l->uv, &c->stream.pipe, 0);
    else
        uv_tcp_init(&l->uv, &c->stream.tcp);
    c->stream.handle.data = c;
    client_init(&c->client, s);
    c->loop = l;
    resp_init(&c->parser, s->config.proto_max_bulk_len);
    reply_init(&c->sending);
    if (uv_accept(&listener->stream, &c->stream.stream) != 0) {
        client_free(&c->client);
        uv_close(&c->stream.handle, on_refused);
        return true;
    }
    is_local = identify(c, is_unix);
    if (s->clients_count >= (size_t)s->config.maxclients) {
        refuse(c, "ERR max number of clients reached");
        return true;
    }
    if (!is_local && is_protected(s)) {
        refuse(c, "DENIED Redis is running in protected mode because protected "
                  "mode is enabled and no password is set for the default "
                  "user. Only clients of the same machine are served until "
                  "requirepass is set or protected-mode is no.");
        return true;
    }
    s->counters.connections_received++;
    client_add(&c->client);
    server_log(s, LOG_LEVEL_VERBOSE, "Accepted %s", c->client.peer);
    set_reading(c, true);
    return true;
}
