/*
 * cmd_client.c - CLIENT and its subcommands. Knows clients by their fields;
 * what happens to a socket is the loop's.
 */
#include "client_name.h"
#include "numbers.h"
#include "state.h"

#include <stdio.h>
#include <stdlib.h>

#define DESCRIPTION_MAX ((size_t)1024)

/* ------------------------------------------------------------------ names */

bool client_check_name(call *c, toon_slice name, const char *what) {
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] >= '!' && name.data[i] <= '~')
            continue;
        reply_errorf(c->out,
                     "ERR %s cannot contain spaces, newlines or special "
                     "characters.",
                     what);
        return false;
    }
    return true;
}

static void replace_text(char **field, toon_slice text) {
    char *copy = NULL;

    if (text.size > 0) {
        copy = strndup(text.data, text.size);
        if (!copy)
            return;
    }
    free(*field);
    *field = copy;
}

void client_set_name(client *c, toon_slice name) {
    replace_text(&c->name, name);
}

void cmd_client_setname(call *c) {
    if (!client_check_name(c, c->argv[2], "Client names"))
        return;
    client_set_name(c->client, c->argv[2]);
    reply_ok(c->out);
}

void cmd_client_getname(call *c) {
    if (c->client->name)
        reply_text(c->out, c->client->name);
    else
        reply_null(c->out);
}

void cmd_client_setinfo(call *c) {
    bool is_name = slice_is(c->argv[2], "lib-name");

    if (!is_name && !slice_is(c->argv[2], "lib-ver")) {
        reply_errorf(c->out, "ERR Unrecognized option '%.*s'",
                     (int)(c->argv[2].size < 128 ? c->argv[2].size : 128),
                     c->argv[2].data);
        return;
    }
    if (!client_check_name(c, c->argv[3], is_name ? "lib-name" : "lib-ver"))
        return;
    replace_text(is_name ? &c->client->lib_name : &c->client->lib_ver,
                 c->argv[3]);
    reply_ok(c->out);
}

void cmd_client_id(call *c) {
    reply_integer(c->out, (int64_t)c->client->id);
}

/* ------------------------------------------------------------ telling them */

static size_t pending_bytes(const client *c) {
    return reply_unsent(&c->out) + c->output_bytes;
}

size_t client_describe(const client *c, char *to, size_t capacity) {
    int64_t now = monotonic_ms();
    char running[COMMAND_NAME_MAX] = "NULL", flags[8] = "N";
    size_t pending = pending_bytes(c), at = 0;
    int written = 0;

    if (c->last_command)
        command_full_name(c->last_command, running);
    if (c->is_unix)
        flags[at++] = 'U';
    if (c->close_after_reply)
        flags[at++] = 'c';
    if (c->no_evict)
        flags[at++] = 'e';
    if (at > 0)
        flags[at] = '\0';
    written = snprintf(
        to, capacity,
        "id=%llu addr=%s laddr=%s fd=%d name=%s age=%lld idle=%lld flags=%s "
        "db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=%zu qbuf-free=%zu argv-mem=0 "
        "multi-mem=0 rbs=%zu rbp=%zu obl=%zu oll=0 omem=%zu tot-mem=%zu "
        "events=%s cmd=%s user=default redir=-1 resp=%d lib-name=%s "
        "lib-ver=%s",
        (unsigned long long)c->id, c->peer, c->local, c->fd,
        c->name ? c->name : "", (long long)(now - c->created_ms) / 1000,
        (long long)(now - c->active_ms) / 1000, flags, c->input_bytes,
        c->input_capacity - c->input_bytes, c->out.capacity, c->out.capacity,
        pending, c->output_bytes,
        sizeof *c + c->input_capacity + c->out.capacity + c->output_bytes,
        pending > 0 ? "rw" : "r", running, c->out.protocol,
        c->lib_name ? c->lib_name : "", c->lib_ver ? c->lib_ver : "");
    if (written < 0)
        return 0;
    return (size_t)written < capacity ? (size_t)written : capacity - 1;
}

void cmd_client_info(call *c) {
    char text[DESCRIPTION_MAX + 1];
    size_t size = client_describe(c->client, text, sizeof text - 1);

    text[size++] = '\n';
    reply_verbatim(c->out, "txt", toon_bytes(text, size));
}

/* --------------------------------------------------------- choosing of them */

/* All clients here are normal ones. */
static bool read_type(call *c, toon_slice word, bool *is_normal) {
    static const char *const others[] = {"master", "replica", "slave",
                                         "pubsub"};

    *is_normal = slice_is(word, "normal");
    for (size_t i = 0; !*is_normal && i < 4; i++)
        if (slice_is(word, others[i]))
            return true;
    if (!*is_normal)
        reply_errorf(c->out, "ERR Unknown client type '%.*s'",
                     (int)(word.size < 128 ? word.size : 128), word.data);
    return *is_normal;
}

typedef struct client_filter {
    bool by_id, none, skip_me, has_skip_me;
    int64_t id;
    toon_slice addr, laddr; /* data NULL: any */
} client_filter;

static bool text_equals(const char *text, toon_slice with) {
    return strlen(text) == with.size &&
           (with.size == 0 || memcmp(text, with.data, with.size) == 0);
}

static bool filter_fits(const client_filter *f, const client *c,
                        const client *me) {
    if (f->none || (f->skip_me && c == me))
        return false;
    if (f->by_id && c->id != (uint64_t)f->id)
        return false;
    if (f->addr.data && !text_equals(c->peer, f->addr))
        return false;
    return !f->laddr.data || text_equals(c->local, f->laddr);
}

/* Clients in the order in which they came. */
static client *oldest(const server *s) {
    client *c = s->clients;

    while (c && c->next)
        c = c->next;
    return c;
}

static char *append_line(char *text, size_t *size, size_t *capacity,
                         const client *c) {
    if (*capacity - *size < DESCRIPTION_MAX + 1) {
        size_t more = *capacity * 2 + 2 * DESCRIPTION_MAX;
        char *grown = realloc(text, more);

        if (!grown)
            return text;
        text = grown;
        *capacity = more;
    }
    *size += client_describe(c, text + *size, DESCRIPTION_MAX);
    text[(*size)++] = '\n';
    return text;
}

/* Is the client's number one of argv[3…]? */
static bool is_listed(const call *c, const client *who) {
    for (size_t i = 3; i < c->argc; i++) {
        int64_t id = 0;

        if (number_parse(c->argv[i], &id) && (uint64_t)id == who->id)
            return true;
    }
    return false;
}

void cmd_client_list(call *c) {
    bool by_type = c->argc == 4 && slice_is(c->argv[2], "type");
    bool by_id = c->argc > 3 && slice_is(c->argv[2], "id");
    bool is_normal = true;
    size_t size = 0, capacity = 0;
    char *text = NULL;

    if (c->argc > 2 && !by_type && !by_id) {
        call_syntax_error(c);
        return;
    }
    if (by_type && !read_type(c, c->argv[3], &is_normal))
        return;
    for (size_t i = 3; by_id && i < c->argc; i++) {
        int64_t id = 0;

        if (number_parse(c->argv[i], &id))
            continue;
        reply_error(c->out, "ERR Invalid client ID");
        return;
    }
    for (client *one = oldest(c->server); one && is_normal; one = one->prev)
        if (!by_id || is_listed(c, one))
            text = append_line(text, &size, &capacity, one);
    reply_verbatim(c->out, "txt", toon_bytes(text, size));
    free(text);
}

/* ------------------------------------------------------------------- KILL */

static bool read_kill_option(call *c, toon_slice name, toon_slice value,
                             client_filter *f) {
    bool is_normal = true;

    if (slice_is(name, "id")) {
        f->by_id = true;
        if (number_parse(value, &f->id) && f->id > 0)
            return true;
        reply_error(c->out, "ERR client-id should be greater than 0");
        return false;
    }
    if (slice_is(name, "type")) {
        if (!read_type(c, value, &is_normal))
            return false;
        f->none = f->none || !is_normal;
    } else if (slice_is(name, "addr")) {
        f->addr = value;
    } else if (slice_is(name, "laddr")) {
        f->laddr = value;
    } else if (slice_is(name, "user")) {
        if (value.size == 7 && memcmp(value.data, "default", 7) == 0)
            return true;
        reply_errorf(c->out, "ERR No such user '%.*s'",
                     (int)(value.size < 128 ? value.size : 128), value.data);
        return false;
    } else if (slice_is(name, "skipme") &&
               (slice_is(value, "yes") || slice_is(value, "no"))) {
        f->skip_me = slice_is(value, "yes");
    } else {
        call_syntax_error(c);
        return false;
    }
    return true;
}

static int64_t kill_all(call *c, const client_filter *f) {
    int64_t killed = 0;
    client *next = NULL;

    for (client *one = c->server->clients; one; one = next) {
        next = one->next;
        if (!filter_fits(f, one, c->client))
            continue;
        killed++;
        if (one == c->client)
            one->close_after_reply = true;
        else
            c->server->hooks.client_close(one);
    }
    return killed;
}

void cmd_client_kill(call *c) {
    client_filter f = {.skip_me = true};
    int64_t killed = 0;

    if (c->argc == 3) {
        f = (client_filter){.addr = c->argv[2]};
        if (kill_all(c, &f) == 0)
            reply_error(c->out, "ERR No such client");
        else
            reply_ok(c->out);
        return;
    }
    for (size_t i = 2; i < c->argc; i += 2) {
        if (i + 1 == c->argc) {
            call_syntax_error(c);
            return;
        }
        if (!read_kill_option(c, c->argv[i], c->argv[i + 1], &f))
            return;
    }
    killed = kill_all(c, &f);
    reply_integer(c->out, killed);
}

/* --------------------------------------------------------------- switches */

void cmd_client_reply(call *c) {
    client *cl = c->client;

    if (slice_is(c->argv[2], "on")) {
        cl->reply_mode = REPLY_ON;
        reply_ok(c->out);
    } else if (slice_is(c->argv[2], "off")) {
        cl->reply_mode = REPLY_OFF;
    } else if (slice_is(c->argv[2], "skip")) {
        if (cl->reply_mode != REPLY_OFF)
            cl->reply_mode = REPLY_SKIP_NEXT;
    } else {
        call_syntax_error(c);
    }
}

static void set_switch(call *c, bool *to) {
    bool on = slice_is(c->argv[2], "on");

    if (!on && !slice_is(c->argv[2], "off")) {
        call_syntax_error(c);
        return;
    }
    *to = on;
    reply_ok(c->out);
}

void cmd_client_no_evict(call *c) {
    set_switch(c, &c->client->no_evict);
}

void cmd_client_no_touch(call *c) {
    set_switch(c, &c->client->no_touch);
}

void cmd_client_help(call *c) {
    static const char *const lines[] = {
        "GETNAME",
        "    The name of this connection.",
        "ID",
        "    The number of this connection.",
        "INFO",
        "    What is known of this connection.",
        "KILL <ip:port>",
        "    Close the connection from that address.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Close connections that fit all of: ID <number>, ADDR <ip:port>,",
        "    LADDR <ip:port>, TYPE (NORMAL|MASTER|REPLICA|PUBSUB),",
        "    USER <name>, SKIPME (YES|NO): not this one (default: yes).",
        "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <number> [...]]",
        "    All connections, one a line.",
        "NO-EVICT (ON|OFF)",
        "    Keep this connection when memory is short.",
        "NO-TOUCH (ON|OFF)",
        "    Reads of this connection leave the age of keys alone.",
        "REPLY (ON|OFF|SKIP)",
        "    Whether commands are answered; SKIP: the next one is not.",
        "SETINFO (LIB-NAME|LIB-VER) <text>",
        "    Note the client library's name or version.",
        "SETNAME <name>",
        "    Name this connection.",
    };

    call_help(c, lines, sizeof lines / sizeof lines[0]);
}
