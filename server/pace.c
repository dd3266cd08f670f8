/*
 * pace.c - clients that write faster than the store can make room.
 *
 * While a compaction cannot keep up, the store says for how long what a turn
 * has written is enough. Nobody waits for that in the loop: those who wrote
 * are left unread for a while, each for its part, and all others are served.
 * A client that writes little among many that write much waits little: with n
 * of them each has an n-th of the store's speed.
 *
 * Knows connections and timers; must never know commands, or why there is no
 * room.
 */
#include "loop.h"

#define MS_NS        1000000
#define DUE_MAX_NS   ((uint64_t)1000 * MS_NS) /* longer debts are forgotten */
#define LIGHT_MAX_NS ((uint64_t)2 * MS_NS)

static conn *conn_of_client(client *c) {
    return (conn *)(void *)c;
}

static void take_out(conn *c) {
    conn **at = &c->loop->held;

    while (*at != c)
        at = &(*at)->next_held;
    *at = c->next_held;
    c->is_held = false;
    c->loop->held_count--;
}

void pace_forget(conn *c) {
    if (c->is_held)
        take_out(c);
}

static void on_due(uv_timer_t *timer);

static void set_timer(loop *l) {
    uint64_t now = uv_hrtime();
    uint64_t first = UINT64_MAX;

    for (conn *c = l->held; c; c = c->next_held)
        if (c->pace_due_ns < first)
            first = c->pace_due_ns;
    if (first == UINT64_MAX)
        return;
    uv_update_time(&l->uv); /* timers count from the turn's beginning */
    uv_timer_start(&l->pace, on_due,
                   first > now ? (first - now + MS_NS - 1) / MS_NS : 0, 0);
}

static void on_due(uv_timer_t *timer) {
    loop *l = timer->data;
    uint64_t now = uv_hrtime();
    conn *next = NULL;

    for (conn *c = l->held; c; c = next) {
        next = c->next_held;
        if (c->pace_due_ns > now)
            continue;
        take_out(c);
        c->is_ready = c->input_start < c->input_end;
        conn_touch(c);
    }
    set_timer(l);
}

/* Who writes far less than is usual now waits no longer than a writer without
 * a server would. */
static uint64_t limit(loop *l, const conn *c, uint64_t delay_ns) {
    uint64_t bytes = c->client.turn_bytes;
    bool is_light = bytes < l->usual_bytes / 4;
    uint64_t most = is_light ? LIGHT_MAX_NS : DUE_MAX_NS;

    l->usual_bytes = (l->usual_bytes * 15 + bytes) / 16;
    return delay_ns < most ? delay_ns : most;
}

/* Debts of less than a timer can measure add up first. */
static void charge(conn *c, uint64_t delay_ns, uint64_t now) {
    uint64_t due = c->pace_due_ns > now ? c->pace_due_ns : now;

    due += limit(c->loop, c, delay_ns);
    c->pace_due_ns = due < now + DUE_MAX_NS ? due : now + DUE_MAX_NS;
    if (c->is_held || c->pace_due_ns < now + MS_NS)
        return;
    c->is_held = true;
    c->next_held = c->loop->held;
    c->loop->held = c;
    c->loop->held_count++;
    c->loop->server.counters.held_writers++;
}

/* Those of one turn are not all due at once: between half and one and a half
 * of the time that is theirs. */
void pace_writers(loop *l) {
    server *s = &l->server;
    double delay = (double)s->delay_ns;
    uint64_t now = uv_hrtime();
    size_t bytes = 0, count = 0;
    size_t held = l->held_count, i = 0;

    if (s->delay_ns == 0)
        return;
    s->delay_ns = 0;
    for (client *c = s->writers; c; c = c->next_writer) {
        bytes += c->turn_bytes;
        count++;
    }
    for (client *c = s->writers; c; c = c->next_writer) {
        double share = (double)c->turn_bytes / (double)bytes;
        double spread = 0.5 + ((double)i++ + 0.5) / (double)count;

        charge(conn_of_client(c),
               (uint64_t)(delay * share * (double)(held + count) * spread),
               now);
    }
    set_timer(l);
}

void pace_init(loop *l) {
    uv_timer_init(&l->uv, &l->pace);
    l->pace.data = l;
}
