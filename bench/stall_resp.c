/*
 * stall_resp.c - bench_stall's way by requests to a tstd that it starts.
 *
 * Knows as much of the protocol as it uses.
 */
#include "bench_tools.h"
#include "stall_side.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MANY_MAX = 64, HEAD_MAX = 128, READ_MAX = 64 * 1024 };

const char *stall_tstd = "build/server/tstd";

static pid_t server;
static char socket_path[100];

struct resp_connection {
    int fd;
    uint64_t random;
    char out[MANY_MAX * (HEAD_MAX + STALL_VALUE_SIZE)];
    size_t out_size;
    char in[READ_MAX + 1];
    size_t in_size; /* bytes in it */
    size_t in_at;   /* the next one */
};

/* ----------------------------------------------------------------- requests */

static void put(struct resp_connection *self, const void *bytes, size_t size) {
    memcpy(self->out + self->out_size, bytes, size);
    self->out_size += size;
}

static void put_text(struct resp_connection *self, const char *text) {
    put(self, text, strlen(text));
}

static void put_key(struct resp_connection *self, uint64_t number) {
    char key[STALL_KEY_SIZE];
    bench_key(key, sizeof key, number);
    put_text(self, "$16\r\n");
    put(self, key, sizeof key);
    put_text(self, "\r\n");
}

static void put_set(struct resp_connection *self, uint64_t number) {
    put_text(self, "*3\r\n$3\r\nSET\r\n");
    put_key(self, number);
    put_text(self, "$1024\r\n");
    stall_value(self->out + self->out_size, &self->random);
    self->out_size += STALL_VALUE_SIZE;
    put_text(self, "\r\n");
}

static void send_all(struct resp_connection *self) {
    size_t sent = 0;
    while (sent < self->out_size) {
        ssize_t count =
            send(self->fd, self->out + sent, self->out_size - sent, 0);
        if (count <= 0)
            bench_fail("send");
        sent += (size_t)count;
    }
    self->out_size = 0;
}

/* ------------------------------------------------------------------ replies */

static void read_more(struct resp_connection *self) {
    memmove(self->in, self->in + self->in_at, self->in_size - self->in_at);
    self->in_size -= self->in_at;
    self->in_at = 0;
    ssize_t count =
        recv(self->fd, self->in + self->in_size, READ_MAX - self->in_size, 0);
    if (count <= 0)
        bench_fail("the server is gone");
    self->in_size += (size_t)count;
}

/* A line without its CRLF, which lives until the next read. */
static char *read_line(struct resp_connection *self) {
    char *end;
    while ((end = memmem(self->in + self->in_at, self->in_size - self->in_at,
                         "\r\n", 2)) == NULL)
        read_more(self);
    char *line = self->in + self->in_at;
    *end = '\0';
    self->in_at = (size_t)(end - self->in) + 2;
    return line;
}

static void expect_ok(struct resp_connection *self) {
    const char *line = read_line(self);
    if (line[0] == '+')
        return;
    (void)fprintf(stderr, "bench_stall: the server says %s\n", line);
    exit(1);
}

/* A bulk string; NUL takes the place of its CR. */
static char *read_bulk(struct resp_connection *self, size_t *size) {
    const char *line = read_line(self);
    if (line[0] != '$' || line[1] == '-')
        bench_fail("no value");
    *size = strtoul(line + 1, NULL, 10);
    while (self->in_size - self->in_at < *size + 2)
        read_more(self);
    char *bytes = self->in + self->in_at;
    bytes[*size] = '\0';
    self->in_at += *size + 2;
    return bytes;
}

/* --------------------------------------------------------------- connection */

static bool try_connect(int fd) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s",
                   socket_path);
    return connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
}

static void *resp_connect(void) {
    enum { TRIES = 1000, TRY_EVERY_US = 10000 };

    struct resp_connection *made = calloc(1, sizeof *made);
    if (made == NULL)
        bench_fail("memory");
    made->random = bench_now_ns() | 1;
    made->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (int i = 0; !try_connect(made->fd); i++) {
        if (i == TRIES)
            bench_fail("connect");
        (void)usleep(TRY_EVERY_US);
    }
    return made;
}

static void resp_disconnect(void *connection) {
    struct resp_connection *self = connection;
    (void)close(self->fd);
    free(self);
}

static void resp_start(const char *dir) {
    (void)snprintf(socket_path, sizeof socket_path, "%s.sock", dir);
    server = fork();
    if (server < 0)
        bench_fail("fork");
    if (server == 0) {
        (void)execl(stall_tstd, stall_tstd, "--port", "0", "--dir", dir,
                    "--unixsocket", socket_path, "--loglevel", "warning",
                    (char *)NULL);
        bench_fail(stall_tstd);
    }
    resp_disconnect(resp_connect());
}

static void resp_stop(void) {
    int status = 0;
    if (kill(server, SIGTERM) != 0 || waitpid(server, &status, 0) != server ||
        status != 0)
        bench_fail("stopping the server");
    (void)unlink(socket_path);
}

/* ----------------------------------------------------------------- requests */

static void resp_set_many(void *connection, const uint64_t *keys,
                          size_t count) {
    struct resp_connection *self = connection;
    for (size_t i = 0; i < count; i++)
        put_set(self, keys[i]);
    send_all(self);
    for (size_t i = 0; i < count; i++)
        expect_ok(self);
}

static void resp_set(void *connection, uint64_t number) {
    resp_set_many(connection, &number, 1);
}

static void resp_get(void *connection, uint64_t number) {
    struct resp_connection *self = connection;
    size_t size;
    put_text(self, "*2\r\n$3\r\nGET\r\n");
    put_key(self, number);
    send_all(self);
    (void)read_bulk(self, &size);
    if (size != STALL_VALUE_SIZE)
        bench_fail("a value of another size");
}

static uint64_t field(const char *info, const char *name) {
    const char *at = strstr(info, name);
    return at == NULL ? 0 : strtoull(at + strlen(name), NULL, 10);
}

static void resp_state(void *connection, struct stall_state *out) {
    struct resp_connection *self = connection;
    size_t size;
    put_text(self, "INFO\r\n");
    send_all(self);
    const char *info = read_bulk(self, &size);
    *out = (struct stall_state){
        .live_bytes = field(info, "\nlog_live_bytes:"),
        .log_bytes = field(info, "\nlog_bytes:"),
        .compactions = field(info, "\ncompactions:"),
        .compact_ms =
            (int64_t)field(info, "\naof_last_rewrite_time_sec:") * 1000,
        .compacting = field(info, "\ncompacting:") != 0,
    };
}

static void resp_tune(void *connection, bool automatic) {
    struct resp_connection *self = connection;
    put_text(self, "CONFIG SET compact-garbage ");
    put_text(self, automatic ? "50\r\n" : "100\r\n");
    send_all(self);
    expect_ok(self);
}

static void resp_compact(void *connection) {
    struct resp_connection *self = connection;
    put_text(self, "BGREWRITEAOF\r\n");
    send_all(self);
    expect_ok(self);
}

const struct stall_side stall_resp = {
    .name = "RESP",
    .start = resp_start,
    .stop = resp_stop,
    .connect = resp_connect,
    .disconnect = resp_disconnect,
    .set = resp_set,
    .get = resp_get,
    .set_many = resp_set_many,
    .state = resp_state,
    .tune = resp_tune,
    .compact = resp_compact,
};
