/*
 * turn.c - the changes of one turn of the loop and the replies to them.
 *
 * Clients hear of a change only when it is in the kernel. Until then their
 * replies wait in the clients' buffers, and turn.c remembers which bytes of
 * them promise a change. Knows no sockets and no libuv.
 */
#include "state.h"

#include <stdlib.h>

#define WRITES_KEEP 1024 /* entries of an idle client */

void turn_begin(server *s) {
    if (s->gathering)
        return;
    toon_gather_begin(s->store);
    s->gathering = true;
}

void turn_wrote(client *c) {
    if (c->writes_count == c->writes_capacity) {
        size_t capacity = c->writes_capacity ? c->writes_capacity * 2 : 8;
        void *writes = realloc(c->writes, capacity * sizeof *c->writes);

        if (!writes) {
            c->out.failed = true;
            return;
        }
        c->writes = writes;
        c->writes_capacity = capacity;
    }
    c->writes[c->writes_count++] =
        (struct reply_span){c->command_start, reply_here(&c->out)};
    if (!c->is_writer) {
        c->is_writer = true;
        c->next_writer = c->server->writers;
        c->server->writers = c;
    }
}

/* Moves what `from` holds between two marks behind `to`. */
static void move_replies(reply *to, reply *from, reply_mark start,
                         reply_mark end) {
    size_t at = start.size;

    for (size_t i = start.pins_count; i < end.pins_count; i++) {
        reply_pin *pin = &from->pins[i];

        reply_raw(to, toon_bytes(from->data + at, pin->at - at));
        reply_pin_here(to, &pin->value);
        at = pin->at;
    }
    reply_raw(to, toon_bytes(from->data + at, end.size - at));
}

/* Writes the client's replies anew, with an error for each change. */
static void replace_writes(client *c, const char *error) {
    reply old = c->out;
    reply_mark at = {old.data_sent, old.pins_sent};

    reply_init(&c->out);
    c->out.protocol = old.protocol;
    c->out.errors = old.errors;
    for (size_t i = 0; i < c->writes_count; i++) {
        struct reply_span *span = &c->writes[i];

        move_replies(&c->out, &old, at, span->start);
        if (span->end.size > span->start.size)
            reply_error(&c->out, error);
        for (size_t p = span->start.pins_count; p < span->end.pins_count; p++)
            toon_value_release(&old.pins[p].value);
        at = span->end;
    }
    move_replies(&c->out, &old, at, reply_here(&old));
    /* A command that settles has not replied yet. */
    c->command_start = reply_here(&c->out);
    free(old.pins);
    free(old.data);
}

toon_err turn_end(server *s) {
    toon_err err = TOON_OK;

    if (!s->gathering)
        return TOON_OK;
    s->gathering = false;
    err = toon_gather_end(s->store);
    s->delay_ns += toon_gather_delay();
    for (client *c = s->writers; c; c = c->next_writer) {
        if (err != TOON_OK)
            replace_writes(c, error_text(s, err));
        c->writes_count = 0;
        if (c->writes_capacity > WRITES_KEEP) {
            free(c->writes);
            c->writes = NULL;
            c->writes_capacity = 0;
        }
    }
    if (err != TOON_OK)
        server_log(s, LOG_LEVEL_WARNING, "changes were refused: %s",
                   toon_last_error()->text);
    return err;
}

client *turn_take_writer(server *s) {
    client *c = s->writers;

    if (!c)
        return NULL;
    s->writers = c->next_writer;
    c->next_writer = NULL;
    c->is_writer = false;
    return c;
}

toon_err turn_settle(server *s) {
    toon_err err = TOON_OK;

    if (!s->gathering)
        return TOON_OK;
    err = turn_end(s);
    turn_begin(s);
    return err;
}
