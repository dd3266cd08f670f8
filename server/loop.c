/*
 * loop.c - a server on its libuv loop: turns, timers, signals, birth and end.
 * Knows connections and listeners; nothing of protocol or commands.
 */
#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define OTHER_FDS 64 /* beside those of clients */

static loop *loop_of(server *s) {
    return s->loop;
}

/* -------------------------------------------------------------------- turns */

/* An active idle handle keeps the poll from waiting; it has nothing to do. */
static void on_idle(uv_idle_t *handle) {
    (void)handle;
}

void loop_wake(loop *l) {
    if (!uv_is_active((uv_handle_t *)&l->idle))
        uv_idle_start(&l->idle, on_idle);
}

static void finish_if_done(loop *l) {
    server *s = &l->server;

    if (s->shutting_down && s->clients_count == 0)
        uv_stop(&l->uv);
}

/* Replies of connections that changed something wait until the gate has told
 * of what is queued now. */
static void hand_out_tickets(loop *l) {
    server *s = &l->server;
    uint64_t ticket = 0;
    client *c = NULL;

    if (s->gate.queued && s->writers)
        ticket = s->gate.queued(s->gate.arg);
    while ((c = turn_take_writer(s)))
        conn_of_client(c)->ticket = ticket;
}

static void on_check(uv_check_t *handle) {
    loop *l = handle->data;
    conn *c = NULL;

    for (c = l->touched; c; c = c->next_touched)
        if (c->is_ready && !c->is_doomed)
            conn_run_input(c);
    turn_end(&l->server);
    pace_writers(l);
    hand_out_tickets(l);
    /* What is touched while settling has its turn in the next check. */
    c = l->touched;
    l->touched = NULL;
    uv_idle_stop(&l->idle);
    while (c) {
        conn *next = c->next_touched;

        c->is_touched = false;
        c->next_touched = NULL;
        conn_settle(c);
        c = next;
    }
    finish_if_done(l);
}

static void on_gate_moved(uv_async_t *handle) {
    loop *l = handle->data;

    for (conn *c = l->parked; c; c = c->next_parked)
        conn_touch(c);
}

void server_gate_moved(server *s) {
    uv_async_send(&loop_of(s)->gate_moved);
}

/* ------------------------------------------------------------------- timers */

static void on_cron(uv_timer_t *timer) {
    loop *l = timer->data;
    server *s = &l->server;
    int64_t now_ms = (int64_t)uv_now(&l->uv);
    toon_stats now;

    toon_stat(s->store, &now);
    compaction_sample(s, &now);
    listen_cron(l);
    rate_sample(&s->commands_rate, s->counters.commands_processed, now_ms);
    rate_sample(&s->input_rate, s->counters.input_bytes, now_ms);
    rate_sample(&s->output_rate, s->counters.output_bytes, now_ms);
    for (client *c = s->clients; c; c = c->next) {
        conn_cron(conn_of_client(c), now_ms);
        if (s->shutting_down && now_ms >= l->shutdown_until_ms)
            conn_doom(conn_of_client(c));
    }
}

/* ---------------------------------------------------------------- the end */

static void shut_down(server *s) {
    loop *l = loop_of(s);

    if (s->shutting_down)
        return;
    s->shutting_down = true;
    l->shutdown_until_ms = (int64_t)uv_now(&l->uv) + SHUTDOWN_MS;
    listen_close(l);
    for (client *c = s->clients; c; c = c->next)
        conn_end(conn_of_client(c));
    loop_wake(l);
}

static void on_signal(uv_signal_t *handle, int number) {
    loop *l = handle->data;

    if (l->server.shutting_down)
        return;
    server_log(&l->server, LOG_LEVEL_WARNING,
               "Received %s, shutting down in good order",
               number == SIGINT ? "SIGINT" : "SIGTERM");
    shut_down(&l->server);
}

static void close_client(client *c) {
    conn_doom(conn_of_client(c));
}

/* As many files as clients may come. */
static void raise_file_limit(server *s) {
    rlim_t wanted = (rlim_t)s->config.maxclients + OTHER_FDS;
    struct rlimit limit = {0};

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= wanted)
        return;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur <= OTHER_FDS)
        return;
    s->config.maxclients = (int64_t)limit.rlim_cur - OTHER_FDS;
    server_log(s, LOG_LEVEL_WARNING,
               "the limit of open files leaves room for %lld clients; raise "
               "it with ulimit -n for more",
               (long long)s->config.maxclients);
}

static void config_changed(server *s, toon_slice name) {
    if (config_same(name, toon_str("maxclients")))
        raise_file_limit(s);
}

/* -------------------------------------------------------------------- birth */

static bool open_log(server *s, char *error) {
    if (s->config.logfile[0] == '\0')
        return true;
    s->log_fd = open(s->config.logfile,
                     O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (s->log_fd >= 0)
        return true;
    s->log_fd = STDOUT_FILENO;
    (void)snprintf(error, CONFIG_ERROR_TEXT, "cannot write the log %.200s: %s",
                   s->config.logfile, strerrordesc_np(errno));
    return false;
}

static bool write_pid(loop *l, char *error) {
    const char *path = l->server.config.pidfile;
    FILE *out = NULL;
    bool fine = false;

    if (path[0] == '\0')
        return true;
    out = fopen(path, "we");
    if (out) {
        fine = fprintf(out, "%d\n", (int)getpid()) > 0;
        fine = fclose(out) == 0 && fine;
        l->has_pidfile = true;
    }
    if (!fine)
        (void)snprintf(error, CONFIG_ERROR_TEXT,
                       "cannot write the pid file %.200s: "
                       "%s",
                       path, strerrordesc_np(errno));
    return fine;
}

static void start_handles(loop *l) {
    static const int numbers[] = {SIGINT, SIGTERM};

    uv_check_init(&l->uv, &l->check);
    uv_idle_init(&l->uv, &l->idle);
    uv_timer_init(&l->uv, &l->cron);
    uv_async_init(&l->uv, &l->gate_moved, on_gate_moved);
    l->check.data = l->cron.data = l->gate_moved.data = l;
    uv_check_start(&l->check, on_check);
    uv_timer_start(&l->cron, on_cron, CRON_MS, CRON_MS);
    pace_init(l);
    for (size_t i = 0; i < 2; i++) {
        uv_signal_init(&l->uv, &l->signals[i]);
        l->signals[i].data = l;
        uv_signal_start(&l->signals[i], on_signal, numbers[i]);
    }
}

/* A killed server could not. */
static void clean_backups(const server *s) {
    char dir[PATH_MAX];

    server_backup_dir(s, dir);
    backup_clean(dir);
}

server *server_new(toon_store *store, config *cfg, char *error) {
    loop *l = calloc(1, sizeof *l);
    char *input = malloc(INPUT_BYTES);
    server *s = NULL;

    if (!l || !input || uv_loop_init(&l->uv) != 0) {
        (void)snprintf(error, CONFIG_ERROR_TEXT, "out of memory");
        free(l);
        free(input);
        return NULL;
    }
    s = &l->server;
    server_init(s, store, cfg);
    s->loop = l;
    s->hooks = (server_hooks){close_client, shut_down, config_changed};
    l->input = input;
    start_handles(l);
    if (!open_log(s, error) || !listen_open(l, error) || !write_pid(l, error)) {
        server_delete(s);
        return NULL;
    }
    raise_file_limit(s);
    clean_backups(s);
    if (s->config.databases > 1)
        server_log(s, LOG_LEVEL_WARNING, "there is one database yet, not %lld",
                   (long long)s->config.databases);
    s->config.databases = 1;
    return s;
}

void server_set_gate(server *s, server_gate gate) {
    s->gate = gate;
}

static void on_watched(uv_poll_t *handle, int status, int events) {
    loop *l = handle->data;

    (void)status;
    (void)events;
    uv_poll_stop(handle);
    l->watched_fn(l->watched_arg);
}

bool server_watch_fd(server *s, int fd, void (*fn)(void *arg), void *arg) {
    loop *l = loop_of(s);

    if (uv_poll_init(&l->uv, &l->watched, fd) != 0)
        return false;
    l->has_watched = true;
    l->watched.data = l;
    l->watched_fn = fn;
    l->watched_arg = arg;
    return uv_poll_start(&l->watched, UV_READABLE, on_watched) == 0;
}

void server_run(server *s) {
    loop *l = loop_of(s);
    char addresses[1024];

    listen_describe(l, addresses, sizeof addresses);
    server_log(s, LOG_LEVEL_NOTICE, "ready to accept connections on %s",
               addresses);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    backup_stop(&s->backup);
    if (l->has_watched && !uv_is_closing((uv_handle_t *)&l->watched))
        uv_close((uv_handle_t *)&l->watched, NULL);
}

int server_port(const server *s) {
    return s->tcp_port;
}

void server_delete(server *s) {
    loop *l = loop_of(s);

    listen_close(l);
    if (l->has_pidfile)
        unlink(s->config.pidfile);
    uv_close((uv_handle_t *)&l->check, NULL);
    uv_close((uv_handle_t *)&l->idle, NULL);
    uv_close((uv_handle_t *)&l->cron, NULL);
    uv_close((uv_handle_t *)&l->pace, NULL);
    uv_close((uv_handle_t *)&l->gate_moved, NULL);
    uv_close((uv_handle_t *)&l->signals[0], NULL);
    uv_close((uv_handle_t *)&l->signals[1], NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    uv_loop_close(&l->uv);
    free(l->input);
    server_free(s);
    free(l);
}
