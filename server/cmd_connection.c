/*
 * cmd_connection.c - PING, HELLO, AUTH and others about the client's own
 * connection. Knows no sockets.
 */
#include "client_name.h"
#include "numbers.h"
#include "state.h"

void cmd_ping(call *c) {
    if (c->argc > 2)
        reply_error(c->out, "ERR wrong number of arguments for 'ping' command");
    else if (c->argc == 2)
        reply_bulk(c->out, c->argv[1]);
    else
        reply_simple(c->out, "PONG");
}

void cmd_echo(call *c) {
    reply_bulk(c->out, c->argv[1]);
}

void cmd_quit(call *c) {
    c->client->close_after_reply = true;
    reply_ok(c->out);
}

void cmd_select(call *c) {
    int64_t index = 0;

    if (!call_integer(c, c->argv[1], &index))
        return;
    if (index != 0)
        reply_error(c->out, "ERR DB index is out of range");
    else
        reply_ok(c->out);
}

/* No replica ever has anything. */
void cmd_wait(call *c) {
    int64_t replicas = 0, timeout_ms = 0;

    if (!call_integer(c, c->argv[1], &replicas))
        return;
    if (!number_parse(c->argv[2], &timeout_ms))
        reply_error(c->out, "ERR timeout is not an integer or out of range");
    else if (timeout_ms < 0)
        reply_error(c->out, "ERR timeout is negative");
    else
        reply_integer(c->out, 0);
}

void client_reset(client *c) {
    client_set_name(c, toon_bytes(NULL, 0));
    c->out.protocol = 2;
    c->authenticated = c->server->config.requirepass[0] == '\0';
    c->no_evict = c->no_touch = false;
    c->reply_mode = REPLY_ON;
}

void cmd_reset(call *c) {
    client_reset(c->client);
    reply_simple(c->out, "RESET");
}

/* -------------------------------------------------------------- passwords */

bool password_fits(const server *s, toon_slice password) {
    const char *expected = s->config.requirepass;
    size_t size = strlen(expected);
    unsigned char difference = password.size != size;

    for (size_t i = 0; i < password.size; i++)
        difference |=
            (unsigned char)(password.data[i] ^ expected[size ? i % size : 0]);
    return difference == 0;
}

/* There is one user, "default". Without a password, any will do. */
static bool log_in(call *c, toon_slice user, toon_slice password) {
    bool open = c->server->config.requirepass[0] == '\0';
    bool known = user.size == 7 && memcmp(user.data, "default", 7) == 0;

    if (!known || !(open || password_fits(c->server, password))) {
        reply_error(c->out, "WRONGPASS invalid username-password pair or user "
                            "is disabled.");
        return false;
    }
    c->client->authenticated = true;
    return true;
}

void cmd_auth(call *c) {
    bool named = c->argc == 3;

    if (c->argc > 3) {
        call_syntax_error(c);
        return;
    }
    if (!named && c->server->config.requirepass[0] == '\0') {
        reply_error(c->out,
                    "ERR AUTH <password> called without any password "
                    "configured for the default user. Are you sure your "
                    "configuration is correct?");
        return;
    }
    if (log_in(c, named ? c->argv[1] : toon_str("default"),
               c->argv[named ? 2 : 1]))
        reply_ok(c->out);
}

/* ------------------------------------------------------------------ HELLO */

typedef struct greeting {
    int64_t protocol;
    bool has_user, has_name;
    toon_slice user, password, name;
} greeting;

static bool read_greeting(call *c, greeting *out) {
    if (c->argc > 1 && !number_parse(c->argv[1], &out->protocol)) {
        reply_error(c->out,
                    "ERR Protocol version is not an integer or out of range");
        return false;
    }
    if (c->argc > 1 && out->protocol != 2 && out->protocol != 3) {
        reply_error(c->out, "NOPROTO unsupported protocol version");
        return false;
    }
    for (size_t i = 2; i < c->argc; i++) {
        size_t more = c->argc - i - 1;

        if (slice_is(c->argv[i], "auth") && more >= 2) {
            out->has_user = true;
            out->user = c->argv[++i];
            out->password = c->argv[++i];
        } else if (slice_is(c->argv[i], "setname") && more >= 1) {
            out->has_name = true;
            out->name = c->argv[++i];
        } else {
            reply_errorf(c->out, "ERR Syntax error in HELLO option '%.*s'",
                         (int)(c->argv[i].size < 128 ? c->argv[i].size : 128),
                         c->argv[i].data);
            return false;
        }
    }
    return true;
}

void cmd_hello(call *c) {
    greeting g = {.protocol = c->out->protocol};

    if (!read_greeting(c, &g))
        return;
    if (g.has_user && !log_in(c, g.user, g.password))
        return;
    if (!c->client->authenticated) {
        reply_error(c->out,
                    "NOAUTH HELLO must be called with the client already "
                    "authenticated, otherwise the HELLO AUTH <user> <pass> "
                    "option can be used to authenticate the client and select "
                    "the RESP protocol version at the same time");
        return;
    }
    if (g.has_name && !client_check_name(c, g.name, "Client names"))
        return;
    if (g.has_name)
        client_set_name(c->client, g.name);
    c->out->protocol = (int)g.protocol;
    reply_map(c->out, 7);
    reply_text(c->out, "server");
    reply_text(c->out, "redis");
    reply_text(c->out, "version");
    reply_text(c->out, REDIS_COMPATIBLE);
    reply_text(c->out, "proto");
    reply_integer(c->out, g.protocol);
    reply_text(c->out, "id");
    reply_integer(c->out, (int64_t)c->client->id);
    reply_text(c->out, "mode");
    reply_text(c->out, "standalone");
    reply_text(c->out, "role");
    reply_text(c->out, "master");
    reply_text(c->out, "modules");
    reply_array(c->out, 0);
}
