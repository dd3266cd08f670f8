/*
 * state.c - birth and end of servers and clients, the clock and the log.
 * Knows no commands and no libuv.
 */
#include "state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static int64_t clock_ms(clockid_t clock) {
    struct timespec now = {0};

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t wall_ms(void) {
    return clock_ms(CLOCK_REALTIME);
}

int64_t monotonic_ms(void) {
    return clock_ms(CLOCK_MONOTONIC);
}

/* 40 hexadecimal digits by which clients tell one run from another. */
static void make_run_id(char *to) {
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[20] = {0};

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
        int64_t now = wall_ms(), pid = getpid();

        memcpy(bytes, &now, sizeof now);
        memcpy(bytes + sizeof now, &pid, sizeof pid);
    }
    for (size_t i = 0; i < sizeof bytes; i++) {
        *to++ = digits[bytes[i] >> 4];
        *to++ = digits[bytes[i] & 15];
    }
    *to = '\0';
}

void server_init(server *s, toon_store *store, config *cfg) {
    toon_stats now;

    *s = (server){.store = store, .config = *cfg, .log_fd = STDOUT_FILENO};
    *cfg = (config){0};
    command_index_init(&s->commands);
    make_run_id(s->run_id);
    backup_init(&s->backup, store, server_backup_note, s);
    s->started_ms = monotonic_ms();
    s->started_wall_ms = wall_ms();
    toon_stat(store, &now);
    s->compaction.finished = now.compactions;
    s->compaction.base_bytes = now.log_bytes;
}

void server_free(server *s) {
    backup_free(&s->backup);
    if (s->log_fd > STDERR_FILENO)
        close(s->log_fd);
    config_free(&s->config);
}

void client_init(client *c, server *s) {
    *c = (client){.server = s, .fd = -1};
    reply_init(&c->out);
    c->id = ++s->last_client_id;
    c->created_ms = c->active_ms = monotonic_ms();
    c->authenticated = s->config.requirepass[0] == '\0';
}

void client_free(client *c) {
    reply_free(&c->out);
    free(c->writes);
    free(c->name);
    free(c->lib_name);
    free(c->lib_ver);
}

void client_add(client *c) {
    server *s = c->server;

    c->next = s->clients;
    if (c->next)
        c->next->prev = c;
    s->clients = c;
    s->clients_count++;
}

void client_remove(client *c) {
    server *s = c->server;

    if (c->next)
        c->next->prev = c->prev;
    if (c->prev)
        c->prev->next = c->next;
    else
        s->clients = c->next;
    c->prev = c->next = NULL;
    s->clients_count--;
}

void server_log(const server *s, log_level level, const char *format, ...) {
    static const char marks[] = ".-*#";
    char line[1200], date[64];
    struct timespec now = {0};
    struct tm parts = {0};
    va_list args;
    int size = 0, more = 0;

    if ((int64_t)level < s->config.loglevel)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &parts);
    (void)strftime(date, sizeof date, "%d %b %Y %H:%M:%S", &parts);
    size = snprintf(line, sizeof line, "%d:M %s.%03ld %c ", (int)getpid(), date,
                    now.tv_nsec / 1000000, marks[level]);
    if (size < 0)
        return;
    va_start(args, format);
    more = vsnprintf(line + size, sizeof line - (size_t)size - 1, format, args);
    va_end(args);
    if (more < 0)
        return;
    size += more;
    if ((size_t)size > sizeof line - 2)
        size = (int)sizeof line - 2;
    line[size++] = '\n';
    /* One write a line, so that lines of two processes never mix. */
    if (write(s->log_fd, line, (size_t)size) < 0)
        return;
}

void server_note(server *s, const char *text) {
    server_log(s, LOG_LEVEL_NOTICE, "%s", text);
}

void server_warn(server *s, const char *text) {
    server_log(s, LOG_LEVEL_WARNING, "%s", text);
}

void rate_sample(rate *r, uint64_t count, int64_t now_ms) {
    int64_t passed_ms = now_ms - r->last_ms;

    if (r->last_ms != 0 && passed_ms > 0) {
        r->samples[r->at] =
            (count - r->last_count) * 1000 / (uint64_t)passed_ms;
        r->at = (r->at + 1) % RATE_SAMPLES;
    }
    r->last_count = count;
    r->last_ms = now_ms;
}

uint64_t rate_per_second(const rate *r) {
    uint64_t sum = 0;

    for (size_t i = 0; i < RATE_SAMPLES; i++)
        sum += r->samples[i];
    return sum / RATE_SAMPLES;
}
