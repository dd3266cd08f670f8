/*
 * command.h - what a command is, and the table of all of them.
 *
 * The table is the single list: dispatch finds commands in it, COMMAND tells
 * clients about it. Knows no sockets.
 */
#ifndef TOON_COMMAND_H
#define TOON_COMMAND_H

#include "reply.h"
#include "toonstore.h"

typedef struct server server;
typedef struct client client;
typedef struct command command;

/* One command that is being run. The arguments die with the read buffer. */
typedef struct call {
    server *server;
    client *client;
    reply *out; /* the client's; here for brevity */
    const command *command;
    const toon_slice *argv;
    size_t argc;
} call;

typedef void command_fn(call *c);

/* As COMMAND tells them. */
enum {
    CMD_WRITE = 1 << 0,
    CMD_READONLY = 1 << 1,
    CMD_DENYOOM = 1 << 2,
    CMD_ADMIN = 1 << 3,
    CMD_NOSCRIPT = 1 << 4,
    CMD_LOADING = 1 << 5,
    CMD_STALE = 1 << 6,
    CMD_FAST = 1 << 7,
    CMD_NO_AUTH = 1 << 8,
    CMD_NO_ASYNC_LOADING = 1 << 9,
    CMD_NO_MULTI = 1 << 10,
    CMD_ALLOW_BUSY = 1 << 11,
};

typedef enum command_group {
    GROUP_STRING,
    GROUP_GENERIC,
    GROUP_CONNECTION,
    GROUP_SERVER,
} command_group;

/* What is done to a key; see key_spec. */
enum {
    KEY_RO = 1 << 0,
    KEY_RW = 1 << 1,
    KEY_OW = 1 << 2,
    KEY_RM = 1 << 3,
    KEY_ACCESS = 1 << 4,
    KEY_UPDATE = 1 << 5,
    KEY_INSERT = 1 << 6,
    KEY_DELETE = 1 << 7,
    KEY_VARIABLE = 1 << 8,
};

/* Where keys stand among the arguments: argv[first], then every step-th one
 * to the last, which counts from `first`, or from argc where it is negative.
 * first 0: none. */
typedef struct key_spec {
    int first, last, step;
    unsigned flags;
    const char *notes; /* NULL: none */
} key_spec;

#define COMMAND_KEY_SPECS 2

struct command {
    const char *name; /* of a subcommand, its own: "setname" */
    command_fn *run;  /* NULL: has subcommands only */
    int arity;        /* counts the name; negative: at least so many */
    unsigned flags;
    command_group group;
    key_spec keys[COMMAND_KEY_SPECS];
    const char *since;
    const char *summary;
    const char *syntax;         /* the arguments; command_docs.c reads it */
    const char *tips;           /* parted by spaces; NULL: none */
    const command *subcommands; /* ends with a NULL name */
    const char *container;      /* of a subcommand: "client" */
};

extern const command command_table[];
extern const size_t command_table_size;

#define COMMAND_NAME_MAX 64

/* "get", "client|setname"; `to` holds COMMAND_NAME_MAX bytes. */
const char *command_full_name(const command *cmd, char *to);

/* A hash of the table's names, for the one look-up each request costs. */
#define COMMAND_SLOTS 256

typedef struct command_index {
    uint8_t slots[COMMAND_SLOTS]; /* 1 + the place in the table; 0: free */
} command_index;

void command_index_init(command_index *index);
const command *command_index_find(const command_index *index, toon_slice name);

/* By the name alone, in any case; NULL if there is none. A container's
 * subcommand in the same way. */
const command *command_find(toon_slice name);
const command *command_find_sub(const command *container, toon_slice name);

/* "client|setname" or "get". */
const command *command_find_full(toon_slice name);

/* Do so many arguments (with the name) fit? */
bool command_arity_fits(const command *cmd, size_t argc);

/* The positions of a call's keys. Start with *at 0; 0 when there are no more.
 * For a subcommand, positions count the container's name too. */
size_t command_next_key(const command *cmd, size_t argc, size_t *at);

/* ---------------------------------------------------------------- handlers */

/* clang-format off */
#define COMMAND_HANDLERS(X)                                                    \
    X(append) X(auth) X(bgrewriteaof) X(bgsave) X(client_getname)              \
    X(client_help) X(client_id) X(client_info) X(client_kill) X(client_list)   \
    X(client_no_evict) X(client_no_touch) X(client_reply) X(client_setinfo)    \
    X(client_setname)                                                          \
    X(command) X(command_count) X(command_docs) X(command_getkeys)             \
    X(command_getkeysandflags) X(command_help) X(command_info)                 \
    X(command_list) X(config_get) X(config_help) X(config_resetstat)           \
    X(config_set) X(copy) X(dbsize) X(decr) X(decrby) X(del) X(echo)           \
    X(exists) X(expire) X(expireat) X(expiretime) X(flush) X(get) X(getdel)    \
    X(getex) X(getrange) X(getset) X(hello) X(incr) X(incrby) X(incrbyfloat)   \
    X(info) X(keys) X(lastsave) X(memory_help) X(memory_usage) X(mget)         \
    X(mset) X(msetnx) X(object_encoding) X(object_help) X(object_refcount)     \
    X(persist) X(pexpire) X(pexpireat) X(pexpiretime) X(ping) X(psetex)        \
    X(pttl) X(quit) X(randomkey) X(rename) X(renamenx) X(reset) X(save)        \
    X(scan) X(select) X(set) X(setex) X(setnx) X(setrange) X(shutdown)         \
    X(strlen) X(time) X(touch) X(ttl) X(type) X(wait)
/* clang-format on */

#define COMMAND_HANDLER(name) void cmd_##name(call *c);
COMMAND_HANDLERS(COMMAND_HANDLER)
#undef COMMAND_HANDLER

#endif
