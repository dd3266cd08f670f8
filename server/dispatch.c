/*
 * dispatch.c - the one way from a request to a command.
 *
 * Every request passes dispatch(): look-up, number of arguments, permission,
 * size of keys; then the command runs. What the store refuses becomes a reply
 * by one table here. Knows no sockets.
 */
#include "numbers.h"
#include "state.h"

#include <stdio.h>

#define SHOWN_BYTES 128 /* of a name or of arguments, in an error */

/* Changes that the store refused, as clients of Redis know such errors. `%s`
 * is what the store says of the last failure. */
static const struct failure {
    toon_err err;
    const char *text;
} failures[] = {
    {TOON_OK, "ERR no error"},
    {TOON_NOT_FOUND, "ERR no such key"},
    {TOON_EXISTS, "ERR the key exists already"},
    {TOON_TOO_LARGE,
     "ERR string exceeds maximum allowed size (proto-max-bulk-len)"},
    {TOON_FULL, "ERR no space left for the store, nothing was changed; free "
                "disk space or raise store-max: %s"},
    {TOON_CORRUPT, "ERR damaged record: %s"},
    {TOON_IO, "ERR the disk failed: %s"},
    {TOON_LOCKED, "ERR another process has the store open"},
    {TOON_READ_ONLY, "MISCONF the store takes no changes since the disk "
                     "failed; repair it, then restart the server: %s"},
    {TOON_INVALID, "ERR invalid argument: %s"},
    {TOON_NO_MEMORY, "OOM command not allowed, out of memory"},
    {TOON_CLOSED, "ERR the store is closed"},
    {TOON_CONFLICT, "ERR the key changed in between"},
    {TOON_VERSION, "ERR a file format this server does not know"},
};

/* The store's own limit, where it was set. */
static const char *value_max_text(server *s) {
    (void)snprintf(s->error_text, sizeof s->error_text,
                   "ERR string exceeds maximum allowed size (value-max, %lld "
                   "bytes; start the server with a larger --value-max)",
                   (long long)s->config.value_max);
    return s->error_text;
}

const char *error_text(server *s, toon_err err) {
    size_t i = sizeof failures / sizeof failures[0] - 1;

    if (err == TOON_TOO_LARGE &&
        s->config.value_max < (int64_t)TOON_VALUE_SIZE_LIMIT)
        return value_max_text(s);
    while (i > 0 && failures[i].err != err)
        i--;
    (void)snprintf(s->error_text, sizeof s->error_text, "%s", failures[i].text);
    if (strstr(failures[i].text, "%s")) {
        size_t size = strlen(s->error_text) - 2;

        (void)snprintf(s->error_text + size, sizeof s->error_text - size, "%s",
                       toon_last_error()->text);
    }
    return s->error_text;
}

void call_fail(call *c, toon_err err) {
    reply_error(c->out, error_text(c->server, err));
}

void call_syntax_error(call *c) {
    reply_error(c->out, "ERR syntax error");
}

bool call_integer(call *c, toon_slice text, int64_t *out) {
    if (number_parse(text, out))
        return true;
    reply_error(c->out, "ERR value is not an integer or out of range");
    return false;
}

void call_help(call *c, const char *const *lines, size_t count) {
    const char *name = c->command->container;
    char first[160];

    (void)snprintf(
        first, sizeof first,
        "%s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", name);
    for (size_t at = 0; first[at] && first[at] != ' '; at++)
        first[at] = ascii_upper(first[at]);
    reply_array(c->out, count + 3);
    reply_simple(c->out, first);
    for (size_t i = 0; i < count; i++)
        reply_simple(c->out, lines[i]);
    reply_simple(c->out, "HELP");
    reply_simple(c->out, "    Print this help.");
}

/* The bytes of a client's word that an error shows: as C strings do, they end
 * at a NUL. */
static int shown(toon_slice word, size_t most) {
    size_t size = word.size < most ? word.size : most;

    return (int)strnlen(word.data ? word.data : "", size);
}

static void reject_unknown(call *c) {
    char args[2 * SHOWN_BYTES + 8] = "";
    size_t size = 0;

    for (size_t i = 1; i < c->argc && size < SHOWN_BYTES; i++) {
        int part = shown(c->argv[i], SHOWN_BYTES - size);
        int written = snprintf(args + size, sizeof args - size, "'%.*s' ", part,
                               c->argv[i].data ? c->argv[i].data : "");

        size += (size_t)written;
    }
    reply_errorf(c->out,
                 "ERR unknown command '%.*s', with args beginning with: %s",
                 shown(c->argv[0], SHOWN_BYTES), c->argv[0].data, args);
}

static void reject_unknown_sub(call *c) {
    char upper[COMMAND_NAME_MAX];
    size_t size = strlen(c->command->name);

    for (size_t i = 0; i <= size; i++)
        upper[i] = ascii_upper(c->command->name[i]);
    reply_errorf(c->out, "ERR unknown subcommand '%.*s'. Try %s HELP.",
                 shown(c->argv[1], SHOWN_BYTES), c->argv[1].data, upper);
}

static void reject_arity(call *c) {
    char name[COMMAND_NAME_MAX];

    reply_errorf(c->out, "ERR wrong number of arguments for '%s' command",
                 command_full_name(c->command, name));
}

/* Fills c->command, or replies why not. */
static bool look_up(call *c) {
    const command *cmd = c->client->last_command;

    if (!cmd || cmd->container || !slice_is(c->argv[0], cmd->name))
        cmd = command_index_find(&c->server->commands, c->argv[0]);
    c->command = cmd;
    if (!cmd) {
        reject_unknown(c);
        return false;
    }
    if (cmd->subcommands && c->argc > 1) {
        c->command = command_find_sub(cmd, c->argv[1]);
        if (!c->command) {
            c->command = cmd;
            reject_unknown_sub(c);
            return false;
        }
    }
    if (!command_arity_fits(c->command, c->argc) || !c->command->run) {
        reject_arity(c);
        return false;
    }
    return true;
}

static bool keys_fit(call *c) {
    size_t at = 0, key = 0;

    while ((key = command_next_key(c->command, c->argc, &at)) != 0) {
        if (c->argv[key].size <= TOON_KEY_SIZE_LIMIT)
            continue;
        reply_errorf(c->out,
                     "ERR the key is too long: %zu bytes, the limit "
                     "is %zu",
                     c->argv[key].size, TOON_KEY_SIZE_LIMIT);
        return false;
    }
    return true;
}

/* HTTP sent here by a browser that a hostile page abuses. */
static bool is_http(toon_slice name) {
    return slice_is(name, "post") || slice_is(name, "host:");
}

static void run(call *c) {
    client *cl = c->client;

    if (is_http(c->argv[0])) {
        server_log(c->server, LOG_LEVEL_WARNING,
                   "Possible attack: a client sends HTTP. Closed.");
        c->server->hooks.client_close(cl);
        return;
    }
    if (!look_up(c))
        return;
    if (!cl->authenticated && !(c->command->flags & CMD_NO_AUTH)) {
        reply_error(c->out, "NOAUTH Authentication required.");
        return;
    }
    if (!keys_fit(c))
        return;
    cl->last_command = c->command;
    c->command->run(c);
}

void dispatch(client *c, const toon_slice *argv, size_t argc) {
    call now = {c->server, c, &c->out, NULL, argv, argc};
    uint64_t errors = c->out.errors;

    if (argc == 0)
        return;
    c->command_start = reply_here(&c->out);
    run(&now);
    c->server->counters.commands_processed++;
    c->server->counters.error_replies += c->out.errors - errors;
    if (c->reply_mode != REPLY_ON) {
        reply_rewind(&c->out, c->command_start);
        if (c->reply_mode == REPLY_SKIP)
            c->reply_mode = REPLY_ON;
        if (c->reply_mode == REPLY_SKIP_NEXT)
            c->reply_mode = REPLY_SKIP;
    }
    if (now.command && now.command->flags & CMD_WRITE)
        turn_wrote(c);
}
