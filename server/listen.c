/*
 * listen.c - the addresses and the socket that a server listens on. Knows
 * libuv; nothing of what connections say.
 */
#include "loop.h"
#include "words.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* libuv listens on only when the connection has been taken. */
static void take_connection(loop *l, stream *listener) {
    bool is_unix = listener->handle.type == UV_NAMED_PIPE;

    l->waits[listener - l->listeners] = !conn_accept(l, listener, is_unix);
}

static void on_connection(uv_stream_t *listener, int status) {
    if (status == 0)
        take_connection(listener->data, (stream *)(void *)listener);
}

void listen_cron(loop *l) {
    for (size_t i = 0; i < l->listeners_count && l->is_listening; i++)
        if (l->waits[i])
            take_connection(l, &l->listeners[i]);
}

void address_format(const struct sockaddr_storage *address, char *to,
                    size_t capacity) {
    char host[INET6_ADDRSTRLEN] = "";
    const void *from = address;

    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = from;

        uv_ip6_name(six, host, sizeof host);
        (void)snprintf(to, capacity, "[%s]:%d", host, ntohs(six->sin6_port));
    } else {
        const struct sockaddr_in *four = from;

        uv_ip4_name(four, host, sizeof host);
        (void)snprintf(to, capacity, "%s:%d", host, ntohs(four->sin_port));
    }
}

/* A numeric address; "*" and "::*" stand for all. */
static int parse_address(const char *host, int port,
                         struct sockaddr_storage *out) {
    void *to = out;

    memset(out, 0, sizeof *out);
    if (strcmp(host, "*") == 0)
        host = "0.0.0.0";
    else if (strcmp(host, "::*") == 0)
        host = "::";
    else if (strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    if (strchr(host, ':'))
        return uv_ip6_addr(host, port, to);
    return uv_ip4_addr(host, port, to);
}

static int open_tcp(loop *l, const struct sockaddr_storage *address) {
    stream *s = &l->listeners[l->listeners_count];
    bool is_six = address->ss_family == AF_INET6;
    const void *to = address;
    int err = uv_tcp_init_ex(&l->uv, &s->tcp, address->ss_family);

    if (err != 0)
        return err;
    l->listeners_count++;
    s->handle.data = l;
    err = uv_tcp_bind(&s->tcp, to, is_six ? UV_TCP_IPV6ONLY : 0);
    if (err == 0)
        err = uv_listen(&s->stream, (int)l->server.config.tcp_backlog,
                        on_connection);
    return err;
}

/* One word of `bind`; a minus before it: only if the address is there. */
static bool listen_on(loop *l, toon_slice word, char *error) {
    int port = (int)l->server.config.port, err = 0;
    bool optional = word.size > 0 && word.data[0] == '-';
    struct sockaddr_storage address;
    char host[128];

    (void)snprintf(host, sizeof host, "%.*s", (int)(word.size - optional),
                   word.data + optional);
    err = parse_address(host, port, &address);
    if (err != 0) {
        (void)snprintf(
            error, CONFIG_ERROR_TEXT,
            "'%.100s' is no address to bind to; give numbers such as "
            "127.0.0.1 or ::1",
            host);
        return false;
    }
    if (l->listeners_count == LISTENERS_MAX - 1) {
        (void)snprintf(error, CONFIG_ERROR_TEXT,
                       "too many addresses to bind to");
        return false;
    }
    err = open_tcp(l, &address);
    if (err == 0 ||
        (optional && (err == UV_EADDRNOTAVAIL || err == UV_EAFNOSUPPORT))) {
        if (err != 0 && l->listeners_count > 0)
            uv_unref(&l->listeners[l->listeners_count - 1].handle);
        return true;
    }
    (void)snprintf(
        error, CONFIG_ERROR_TEXT, "cannot listen on %.100s port %d: %s; %s",
        host, port, uv_strerror(err),
        err == UV_EADDRINUSE ? "stop the other program or choose another --port"
                             : "see --bind and --port");
    return false;
}

static bool listen_tcp(loop *l, char *error) {
    words w = {0};
    words_outcome split = words_split(&w, toon_str(l->server.config.bind));
    bool fine = split == WORDS_OK;

    if (split == WORDS_NO_MEMORY) {
        (void)snprintf(error, CONFIG_ERROR_TEXT, "out of memory");
    } else if (!fine || w.count == 0) {
        (void)snprintf(error, CONFIG_ERROR_TEXT, "--bind needs an address");
        fine = false;
    }
    for (size_t i = 0; fine && i < w.count; i++)
        fine = listen_on(l, w.at[i], error);
    words_free(&w);
    return fine;
}

/* Does a server answer at this socket? A left-over one is refused. */
static bool is_served(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const void *to = &address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool served = false;

    if (fd < 0)
        return false;
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    served = connect(fd, to, sizeof address) == 0;
    close(fd);
    return served;
}

/* Binding would only say that access is refused. */
static bool has_dir(const char *path) {
    char dir[sizeof((struct sockaddr_un *)0)->sun_path];
    const char *slash = strrchr(path, '/');
    struct stat there;

    if (!slash || slash == path)
        return true;
    (void)snprintf(dir, sizeof dir, "%.*s", (int)(slash - path), path);
    return stat(dir, &there) == 0 || errno != ENOENT;
}

static bool unix_refused(const char *path, const char *why, char *error) {
    (void)snprintf(error, CONFIG_ERROR_TEXT,
                   "cannot listen on the socket %.200s: %s; choose another "
                   "--unixsocket",
                   path, why);
    return false;
}

static bool listen_unix(loop *l, char *error) {
    const config *cfg = &l->server.config;
    stream *s = &l->listeners[l->listeners_count];
    const char *path = cfg->unixsocket;
    struct stat there;
    int err = 0;

    if (strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return unix_refused(path, "the path is too long", error);
    if (lstat(path, &there) == 0) {
        if (!S_ISSOCK(there.st_mode))
            return unix_refused(path, "a file of this name is there", error);
        if (is_served(path))
            return unix_refused(path, "another server uses it", error);
        unlink(path);
    }
    if (!has_dir(path))
        return unix_refused(path, "its directory does not exist", error);
    uv_pipe_init(&l->uv, &s->pipe, 0);
    l->listeners_count++;
    s->handle.data = l;
    err = uv_pipe_bind(&s->pipe, path);
    l->has_unixsocket = err == 0;
    if (err == 0 && cfg->unixsocketperm != 0 &&
        chmod(path, (mode_t)cfg->unixsocketperm) != 0)
        err = uv_translate_sys_error(errno);
    if (err == 0)
        err = uv_listen(&s->stream, (int)cfg->tcp_backlog, on_connection);
    return err == 0 || unix_refused(path, uv_strerror(err), error);
}

bool listen_open(loop *l, char *error) {
    const config *cfg = &l->server.config;

    l->is_listening = true;
    if (cfg->port == 0 && cfg->unixsocket[0] == '\0') {
        (void)snprintf(error, CONFIG_ERROR_TEXT,
                       "nothing to listen on: give a --port or a --unixsocket");
        return false;
    }
    if (cfg->port != 0 && !listen_tcp(l, error))
        return false;
    l->server.tcp_port = (int)cfg->port;
    return cfg->unixsocket[0] == '\0' || listen_unix(l, error);
}

void listen_close(loop *l) {
    if (!l->is_listening)
        return;
    l->is_listening = false;
    for (size_t i = 0; i < l->listeners_count; i++)
        uv_close(&l->listeners[i].handle, NULL);
    if (l->has_unixsocket)
        unlink(l->server.config.unixsocket);
}

void listen_describe(const loop *l, char *to, size_t capacity) {
    size_t at = 0;

    to[0] = '\0';
    for (size_t i = 0; i < l->listeners_count && at < capacity; i++) {
        const stream *s = &l->listeners[i];
        struct sockaddr_storage address = {0};
        void *name = &address;
        int size = sizeof address;
        char text[128];

        if (s->handle.type == UV_NAMED_PIPE) {
            (void)snprintf(text, sizeof text, "%s",
                           l->server.config.unixsocket);
        } else {
            if (uv_tcp_getsockname(&s->tcp, name, &size) != 0 ||
                !uv_is_active(&s->handle))
                continue;
            address_format(&address, text, sizeof text);
        }
        at += (size_t)snprintf(to + at, capacity - at, "%s%s", at ? ", " : "",
                               text);
    }
}
