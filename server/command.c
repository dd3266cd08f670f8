/*
 * command.c - the table of all commands, and finding in it. Knows no sockets
 * and nothing of what a command does.
 */
#include "command.h"

#include "numbers.h"

#include <assert.h>
#include <stdio.h>
#include <strings.h>

/* Places of keys, for the rows below. */
#define ONE(flags)                                                             \
    {                                                                          \
        { 1, 0, 1, (flags), NULL }                                             \
    }
#define MANY(flags)                                                            \
    {                                                                          \
        { 1, -1, 1, (flags), NULL }                                            \
    }
#define PAIRS(flags)                                                           \
    {                                                                          \
        { 1, -1, 2, (flags), NULL }                                            \
    }
#define SECOND(flags)                                                          \
    {                                                                          \
        { 2, 0, 1, (flags), NULL }                                             \
    }
#define TWO(from, to)                                                          \
    {                                                                          \
        {1, 0, 1, (from), NULL}, {                                             \
            2, 0, 1, (to), NULL                                                \
        }                                                                      \
    }
#define NOTED(flags, n)                                                        \
    {                                                                          \
        { 1, 0, 1, (flags), (n) }                                              \
    }
#define NO_KEYS                                                                \
    {                                                                          \
        { 0 }                                                                  \
    }

#define CMD_ANYTIME  (CMD_LOADING | CMD_STALE)
#define CMD_SESSION  (CMD_NOSCRIPT | CMD_LOADING | CMD_STALE)
#define CMD_GREETING (CMD_SESSION | CMD_FAST | CMD_NO_AUTH | CMD_ALLOW_BUSY)
#define CMD_CARE     (CMD_ADMIN | CMD_SESSION)
#define READ_FAST    (CMD_READONLY | CMD_FAST)
#define WRITE_FAST   (CMD_WRITE | CMD_FAST)
#define GROW         (CMD_WRITE | CMD_DENYOOM)
#define GROW_FAST    (GROW | CMD_FAST)

#define RW_ACCESS        (KEY_RW | KEY_ACCESS)
#define RW_ACCESS_UPDATE (KEY_RW | KEY_ACCESS | KEY_UPDATE)

#define ANY_ORDER   "nondeterministic_output_order"
#define ANY_OUTPUT  "nondeterministic_output"
#define SUM_SHARDS  "request_policy:multi_shard response_policy:agg_sum"
#define ALL_SHARDS  "request_policy:all_shards response_policy:all_succeeded"
#define SUM_DB      "request_policy:all_shards response_policy:agg_sum"
#define EXPIRE_WORD "[NX|XX|GT|LT]"
#define TIME_WORDS                                                             \
    "EX seconds|PX milliseconds|EXAT unix-time-seconds|"                       \
    "PXAT unix-time-milliseconds|"

/* clang-format off */
static const command client_commands[] = {
    {"getname", cmd_client_getname, 2, CMD_SESSION, GROUP_CONNECTION, NO_KEYS,
     "2.6.9", "The name of this connection.", "", NULL, NULL, "client"},
    {"help", cmd_client_help, 2, CMD_ANYTIME, GROUP_CONNECTION, NO_KEYS,
     "5.0.0", "The subcommands, in words.", "", NULL, NULL, "client"},
    {"id", cmd_client_id, 2, CMD_SESSION, GROUP_CONNECTION, NO_KEYS,
     "5.0.0", "The number of this connection.", "", NULL, NULL, "client"},
    {"info", cmd_client_info, 2, CMD_SESSION, GROUP_CONNECTION, NO_KEYS,
     "6.2.0", "What is known of this connection.", "", ANY_OUTPUT, NULL,
     "client"},
    {"kill", cmd_client_kill, -3, CMD_CARE, GROUP_CONNECTION, NO_KEYS,
     "2.4.0", "Closes connections of others, or one's own.",
     "[ip:port] [ID client-id] [TYPE type] [USER username] [ADDR ip:port] "
     "[LADDR ip:port] [SKIPME yes/no]", NULL, NULL, "client"},
    {"list", cmd_client_list, -2, CMD_CARE, GROUP_CONNECTION, NO_KEYS,
     "2.4.0", "All connections, one a line.",
     "[TYPE type] [ID client-id]...", ANY_OUTPUT, NULL, "client"},
    {"no-evict", cmd_client_no_evict, 3, CMD_CARE, GROUP_CONNECTION, NO_KEYS,
     "7.0.0", "Keeps this connection when memory is short.", "<ON|OFF>", NULL,
     NULL, "client"},
    {"no-touch", cmd_client_no_touch, 3, CMD_SESSION, GROUP_CONNECTION,
     NO_KEYS, "7.2.0", "Reads of this connection leave key ages alone.",
     "<ON|OFF>", NULL, NULL, "client"},
    {"reply", cmd_client_reply, 3, CMD_SESSION, GROUP_CONNECTION, NO_KEYS,
     "3.2.0", "Whether commands are answered.", "<ON|OFF|SKIP>", NULL, NULL,
     "client"},
    {"setinfo", cmd_client_setinfo, 4, CMD_SESSION, GROUP_CONNECTION, NO_KEYS,
     "7.2.0", "Notes the client library's name or version.",
     "<LIB-NAME libname|LIB-VER libver>", NULL, NULL, "client"},
    {"setname", cmd_client_setname, 3, CMD_SESSION, GROUP_CONNECTION, NO_KEYS,
     "2.6.9", "Names this connection.", "connection-name", NULL, NULL,
     "client"},
    {0},
};

static const command command_commands[] = {
    {"count", cmd_command_count, 2, CMD_ANYTIME, GROUP_SERVER, NO_KEYS,
     "2.8.13", "How many commands there are.", "", NULL, NULL, "command"},
    {"docs", cmd_command_docs, -2, CMD_ANYTIME, GROUP_SERVER, NO_KEYS,
     "7.0.0", "What commands are for, for people.", "[command-name]...",
     ANY_ORDER, NULL, "command"},
    {"getkeys", cmd_command_getkeys, -4, CMD_ANYTIME, GROUP_SERVER, NO_KEYS,
     "2.8.13", "The keys in a whole command.", "command [arg]...", NULL, NULL,
     "command"},
    {"getkeysandflags", cmd_command_getkeysandflags, -4, CMD_ANYTIME,
     GROUP_SERVER, NO_KEYS, "7.0.0",
     "The keys in a whole command, and what is done to them.",
     "command [arg]...", NULL, NULL, "command"},
    {"help", cmd_command_help, 2, CMD_ANYTIME, GROUP_SERVER, NO_KEYS,
     "5.0.0", "The subcommands, in words.", "", NULL, NULL, "command"},
    {"info", cmd_command_info, -2, CMD_ANYTIME, GROUP_SERVER, NO_KEYS,
     "2.8.13", "What commands are, for programs.", "[command-name]...",
     ANY_ORDER, NULL, "command"},
    {"list", cmd_command_list, -2, CMD_ANYTIME, GROUP_SERVER, NO_KEYS,
     "7.0.0", "The names of commands.",
     "[FILTERBY MODULE module-name|ACLCAT category|PATTERN pattern]",
     ANY_ORDER, NULL, "command"},
    {0},
};

static const command config_commands[] = {
    {"get", cmd_config_get, -3, CMD_CARE, GROUP_SERVER, NO_KEYS,
     "2.0.0", "The values of directives.", "parameter...", NULL, NULL,
     "config"},
    {"help", cmd_config_help, 2, CMD_ANYTIME, GROUP_SERVER, NO_KEYS,
     "5.0.0", "The subcommands, in words.", "", NULL, NULL, "config"},
    {"resetstat", cmd_config_resetstat, 2, CMD_CARE, GROUP_SERVER, NO_KEYS,
     "2.0.0", "Sets the figures of INFO back to zero.", "", NULL, NULL,
     "config"},
    {"set", cmd_config_set, -4, CMD_CARE, GROUP_SERVER, NO_KEYS,
     "2.0.0", "Changes directives of the running server.",
     "<parameter value>...",
     "request_policy:all_nodes response_policy:all_succeeded", NULL,
     "config"},
    {0},
};

static const command memory_commands[] = {
    {"help", cmd_memory_help, 2, CMD_ANYTIME, GROUP_SERVER, NO_KEYS,
     "4.0.0", "The subcommands, in words.", "", NULL, NULL, "memory"},
    {"usage", cmd_memory_usage, -3, CMD_READONLY, GROUP_SERVER, SECOND(KEY_RO),
     "4.0.0", "About how many bytes a key takes.", "key [SAMPLES count]", NULL,
     NULL, "memory"},
    {0},
};

static const command object_commands[] = {
    {"encoding", cmd_object_encoding, 3, CMD_READONLY, GROUP_GENERIC,
     SECOND(KEY_RO), "2.2.3", "How Redis would keep the value.", "key",
     ANY_OUTPUT, NULL, "object"},
    {"help", cmd_object_help, 2, CMD_ANYTIME, GROUP_GENERIC, NO_KEYS,
     "6.2.0", "The subcommands, in words.", "", NULL, NULL, "object"},
    {"refcount", cmd_object_refcount, 3, CMD_READONLY, GROUP_GENERIC,
     SECOND(KEY_RO), "2.2.3", "How many references a value has: one.", "key",
     ANY_OUTPUT, NULL, "object"},
    {0},
};

const command command_table[] = {
    {"append", cmd_append, 3, GROW_FAST, GROUP_STRING,
     ONE(KEY_RW | KEY_INSERT), "2.0.0", "Adds bytes to the end of a value.",
     "key value", NULL, NULL, NULL},
    {"auth", cmd_auth, -2, CMD_GREETING, GROUP_CONNECTION, NO_KEYS,
     "1.0.0", "Shows the server a password.", "[username] password", NULL,
     NULL, NULL},
    {"bgrewriteaof", cmd_bgrewriteaof, 1,
     CMD_ADMIN | CMD_NOSCRIPT | CMD_NO_ASYNC_LOADING, GROUP_SERVER, NO_KEYS,
     "1.0.0", "Compacts the log in the background.", "", NULL, NULL, NULL},
    {"bgsave", cmd_bgsave, -1,
     CMD_ADMIN | CMD_NOSCRIPT | CMD_NO_ASYNC_LOADING, GROUP_SERVER, NO_KEYS,
     "1.0.0", "Copies the store in the background.", "[SCHEDULE]", NULL, NULL,
     NULL},
    {"client", NULL, -2, 0, GROUP_CONNECTION, NO_KEYS,
     "2.4.0", "About connections.", "", NULL, client_commands, NULL},
    {"command", cmd_command, -1, CMD_ANYTIME, GROUP_SERVER, NO_KEYS,
     "2.8.13", "All commands, for programs.", "", ANY_ORDER, command_commands,
     NULL},
    {"config", NULL, -2, 0, GROUP_SERVER, NO_KEYS,
     "2.0.0", "About the configuration.", "", NULL, config_commands, NULL},
    {"copy", cmd_copy, -3, GROW, GROUP_GENERIC,
     TWO(KEY_RO | KEY_ACCESS, KEY_OW | KEY_UPDATE), "6.2.0",
     "Copies a key with its expiry.",
     "source destination [DB destination-db] [REPLACE]", NULL, NULL, NULL},
    {"dbsize", cmd_dbsize, 1, READ_FAST, GROUP_SERVER, NO_KEYS,
     "1.0.0", "How many keys there are.", "", SUM_DB, NULL, NULL},
    {"decr", cmd_decr, 2, GROW_FAST, GROUP_STRING, ONE(RW_ACCESS_UPDATE),
     "1.0.0", "Takes one from a number.", "key", NULL, NULL, NULL},
    {"decrby", cmd_decrby, 3, GROW_FAST, GROUP_STRING, ONE(RW_ACCESS_UPDATE),
     "1.0.0", "Takes an integer from a number.", "key decrement", NULL, NULL,
     NULL},
    {"del", cmd_del, -2, CMD_WRITE, GROUP_GENERIC, MANY(KEY_RM | KEY_DELETE),
     "1.0.0", "Removes keys.", "key...", SUM_SHARDS, NULL, NULL},
    {"echo", cmd_echo, 2, CMD_ANYTIME | CMD_FAST, GROUP_CONNECTION, NO_KEYS,
     "1.0.0", "Says the message back.", "message", NULL, NULL, NULL},
    {"exists", cmd_exists, -2, READ_FAST, GROUP_GENERIC, MANY(KEY_RO),
     "1.0.0", "How many of the keys are there.", "key...", SUM_SHARDS, NULL,
     NULL},
    {"expire", cmd_expire, -3, WRITE_FAST, GROUP_GENERIC,
     ONE(KEY_RW | KEY_UPDATE), "1.0.0", "Lets a key vanish after seconds.",
     "key seconds " EXPIRE_WORD, NULL, NULL, NULL},
    {"expireat", cmd_expireat, -3, WRITE_FAST, GROUP_GENERIC,
     ONE(KEY_RW | KEY_UPDATE), "1.2.0", "Lets a key vanish at a Unix time.",
     "key unix-time-seconds " EXPIRE_WORD, NULL, NULL, NULL},
    {"expiretime", cmd_expiretime, 2, READ_FAST, GROUP_GENERIC,
     ONE(KEY_RO | KEY_ACCESS), "7.0.0", "When a key vanishes, in Unix time.",
     "key", NULL, NULL, NULL},
    {"flushall", cmd_flush, -1, CMD_WRITE, GROUP_SERVER, NO_KEYS,
     "1.0.0", "Removes all keys.", "[ASYNC|SYNC]", ALL_SHARDS, NULL, NULL},
    {"flushdb", cmd_flush, -1, CMD_WRITE, GROUP_SERVER, NO_KEYS,
     "1.0.0", "Removes all keys of this database.", "[ASYNC|SYNC]", ALL_SHARDS,
     NULL, NULL},
    {"get", cmd_get, 2, READ_FAST, GROUP_STRING, ONE(KEY_RO | KEY_ACCESS),
     "1.0.0", "The value of a key.", "key", NULL, NULL, NULL},
    {"getdel", cmd_getdel, 2, WRITE_FAST, GROUP_STRING,
     ONE(RW_ACCESS | KEY_DELETE), "6.2.0",
     "The value of a key, which is removed.", "key", NULL, NULL, NULL},
    {"getex", cmd_getex, -2, WRITE_FAST, GROUP_STRING,
     NOTED(RW_ACCESS_UPDATE, "RW and UPDATE because it changes the TTL"),
     "6.2.0", "The value of a key, whose expiry is changed.",
     "key [" TIME_WORDS "PERSIST]", NULL, NULL, NULL},
    {"getrange", cmd_getrange, 4, CMD_READONLY, GROUP_STRING,
     ONE(KEY_RO | KEY_ACCESS), "2.4.0", "Some bytes of a value.",
     "key start end", NULL, NULL, NULL},
    {"getset", cmd_getset, 3, GROW_FAST, GROUP_STRING, ONE(RW_ACCESS_UPDATE),
     "1.0.0", "Sets a key, tells the value before.", "key value", NULL, NULL,
     NULL},
    {"hello", cmd_hello, -1, CMD_GREETING, GROUP_CONNECTION, NO_KEYS,
     "6.0.0", "Agrees on the protocol.",
     "[protover] [AUTH username password] [SETNAME clientname]", NULL, NULL,
     NULL},
    {"incr", cmd_incr, 2, GROW_FAST, GROUP_STRING, ONE(RW_ACCESS_UPDATE),
     "1.0.0", "Adds one to a number.", "key", NULL, NULL, NULL},
    {"incrby", cmd_incrby, 3, GROW_FAST, GROUP_STRING, ONE(RW_ACCESS_UPDATE),
     "1.0.0", "Adds an integer to a number.", "key increment", NULL, NULL,
     NULL},
    {"incrbyfloat", cmd_incrbyfloat, 3, GROW_FAST, GROUP_STRING,
     ONE(RW_ACCESS_UPDATE), "2.6.0", "Adds a fraction to a number.",
     "key increment", NULL, NULL, NULL},
    {"info", cmd_info, -1, CMD_ANYTIME, GROUP_SERVER, NO_KEYS,
     "1.0.0", "Figures of the server.", "[section]...",
     "nondeterministic_output request_policy:all_shards "
     "response_policy:special", NULL, NULL},
    {"keys", cmd_keys, 2, CMD_READONLY, GROUP_GENERIC, NO_KEYS,
     "1.0.0", "All keys that match a pattern.", "pattern",
     "request_policy:all_shards " ANY_ORDER, NULL, NULL},
    {"lastsave", cmd_lastsave, 1, CMD_ANYTIME | CMD_FAST, GROUP_SERVER,
     NO_KEYS, "1.0.0", "When the store was last saved, in Unix time.", "",
     ANY_OUTPUT, NULL, NULL},
    {"memory", NULL, -2, 0, GROUP_SERVER, NO_KEYS,
     "4.0.0", "About memory.", "", NULL, memory_commands, NULL},
    {"mget", cmd_mget, -2, READ_FAST, GROUP_STRING, MANY(KEY_RO | KEY_ACCESS),
     "1.0.0", "The values of several keys.", "key...",
     "request_policy:multi_shard", NULL, NULL},
    {"mset", cmd_mset, -3, GROW, GROUP_STRING, PAIRS(KEY_OW | KEY_UPDATE),
     "1.0.1", "Sets several keys at once, all or none.", "<key value>...",
     "request_policy:multi_shard response_policy:all_succeeded", NULL, NULL},
    {"msetnx", cmd_msetnx, -3, GROW, GROUP_STRING,
     PAIRS(KEY_OW | KEY_INSERT), "1.0.1",
     "Sets several keys at once if none of them is there.",
     "<key value>...", "request_policy:multi_shard response_policy:agg_min",
     NULL, NULL},
    {"object", NULL, -2, 0, GROUP_GENERIC, NO_KEYS,
     "2.2.3", "About the inside of keys.", "", NULL, object_commands, NULL},
    {"persist", cmd_persist, 2, WRITE_FAST, GROUP_GENERIC,
     ONE(KEY_RW | KEY_UPDATE), "2.2.0", "Takes a key's expiry away.", "key",
     NULL, NULL, NULL},
    {"pexpire", cmd_pexpire, -3, WRITE_FAST, GROUP_GENERIC,
     ONE(KEY_RW | KEY_UPDATE), "2.6.0",
     "Lets a key vanish after milliseconds.", "key milliseconds " EXPIRE_WORD,
     NULL, NULL, NULL},
    {"pexpireat", cmd_pexpireat, -3, WRITE_FAST, GROUP_GENERIC,
     ONE(KEY_RW | KEY_UPDATE), "2.6.0",
     "Lets a key vanish at a Unix time in milliseconds.",
     "key unix-time-milliseconds " EXPIRE_WORD, NULL, NULL, NULL},
    {"pexpiretime", cmd_pexpiretime, 2, READ_FAST, GROUP_GENERIC,
     ONE(KEY_RO | KEY_ACCESS), "7.0.0",
     "When a key vanishes, in Unix time in milliseconds.", "key", NULL, NULL,
     NULL},
    {"ping", cmd_ping, -1, CMD_FAST, GROUP_CONNECTION, NO_KEYS,
     "1.0.0", "Is the server there?", "[message]", ALL_SHARDS, NULL, NULL},
    {"psetex", cmd_psetex, 4, GROW, GROUP_STRING, ONE(KEY_OW | KEY_UPDATE),
     "2.6.0", "Sets a key that vanishes after milliseconds.",
     "key milliseconds value", NULL, NULL, NULL},
    {"pttl", cmd_pttl, 2, READ_FAST, GROUP_GENERIC, ONE(KEY_RO | KEY_ACCESS),
     "2.6.0", "In how many milliseconds a key vanishes.", "key", ANY_OUTPUT,
     NULL, NULL},
    {"quit", cmd_quit, -1, CMD_GREETING, GROUP_CONNECTION, NO_KEYS,
     "1.0.0", "Closes the connection.", "", NULL, NULL, NULL},
    {"randomkey", cmd_randomkey, 1, CMD_READONLY, GROUP_GENERIC, NO_KEYS,
     "1.0.0", "Any one key.", "",
     "request_policy:all_shards nondeterministic_output", NULL, NULL},
    {"rename", cmd_rename, 3, CMD_WRITE, GROUP_GENERIC,
     TWO(RW_ACCESS | KEY_DELETE, KEY_OW | KEY_UPDATE), "1.0.0",
     "Gives a key another name.", "key newkey", NULL, NULL, NULL},
    {"renamenx", cmd_renamenx, 3, WRITE_FAST, GROUP_GENERIC,
     TWO(RW_ACCESS | KEY_DELETE, KEY_OW | KEY_INSERT), "1.0.0",
     "Gives a key another name if that is free.", "key newkey", NULL, NULL,
     NULL},
    {"reset", cmd_reset, 1, CMD_GREETING, GROUP_CONNECTION, NO_KEYS,
     "6.2.0", "Makes the connection as new.", "", NULL, NULL, NULL},
    {"save", cmd_save, 1,
     CMD_ADMIN | CMD_NOSCRIPT | CMD_NO_ASYNC_LOADING | CMD_NO_MULTI,
     GROUP_SERVER, NO_KEYS, "1.0.0", "Syncs the store to the disk.", "", NULL,
     NULL, NULL},
    {"scan", cmd_scan, -2, CMD_READONLY, GROUP_GENERIC, NO_KEYS,
     "2.8.0", "The keys, some at a time.",
     "cursor [MATCH pattern] [COUNT count] [TYPE type]",
     "nondeterministic_output request_policy:special", NULL, NULL},
    {"select", cmd_select, 2, CMD_ANYTIME | CMD_FAST, GROUP_CONNECTION,
     NO_KEYS, "1.0.0", "Changes the database.", "index", NULL, NULL, NULL},
    {"set", cmd_set, -3, GROW, GROUP_STRING,
     NOTED(RW_ACCESS_UPDATE | KEY_VARIABLE,
           "RW and ACCESS due to the optional `GET` argument"),
     "1.0.0", "Sets the value of a key.",
     "key value [NX|XX] [GET] [" TIME_WORDS "KEEPTTL]", NULL, NULL, NULL},
    {"setex", cmd_setex, 4, GROW, GROUP_STRING, ONE(KEY_OW | KEY_UPDATE),
     "2.0.0", "Sets a key that vanishes after seconds.", "key seconds value",
     NULL, NULL, NULL},
    {"setnx", cmd_setnx, 3, GROW_FAST, GROUP_STRING, ONE(KEY_OW | KEY_INSERT),
     "1.0.0", "Sets a key if it is not there.", "key value", NULL, NULL, NULL},
    {"setrange", cmd_setrange, 4, GROW, GROUP_STRING, ONE(KEY_RW | KEY_UPDATE),
     "2.2.0", "Overwrites bytes of a value.", "key offset value", NULL, NULL,
     NULL},
    {"shutdown", cmd_shutdown, -1,
     CMD_ADMIN | CMD_SESSION | CMD_NO_MULTI | CMD_ALLOW_BUSY, GROUP_SERVER,
     NO_KEYS, "1.0.0", "Ends the server in good order.",
     "[NOSAVE|SAVE] [NOW] [FORCE] [ABORT]", NULL, NULL, NULL},
    {"strlen", cmd_strlen, 2, READ_FAST, GROUP_STRING, ONE(KEY_RO),
     "2.2.0", "How many bytes a value has.", "key", NULL, NULL, NULL},
    {"substr", cmd_getrange, 4, CMD_READONLY, GROUP_STRING,
     ONE(KEY_RO | KEY_ACCESS), "1.0.0", "Some bytes of a value.",
     "key start end", NULL, NULL, NULL},
    {"time", cmd_time, 1, CMD_ANYTIME | CMD_FAST, GROUP_SERVER, NO_KEYS,
     "2.6.0", "The server's clock.", "", ANY_OUTPUT, NULL, NULL},
    {"touch", cmd_touch, -2, READ_FAST, GROUP_GENERIC, MANY(KEY_RO),
     "3.2.1", "Uses keys without reading them.", "key...", SUM_SHARDS, NULL,
     NULL},
    {"ttl", cmd_ttl, 2, READ_FAST, GROUP_GENERIC, ONE(KEY_RO | KEY_ACCESS),
     "1.0.0", "In how many seconds a key vanishes.", "key", ANY_OUTPUT, NULL,
     NULL},
    {"type", cmd_type, 2, READ_FAST, GROUP_GENERIC, ONE(KEY_RO),
     "1.0.0", "What kind of value a key has.", "key", NULL, NULL, NULL},
    {"unlink", cmd_del, -2, WRITE_FAST, GROUP_GENERIC,
     MANY(KEY_RM | KEY_DELETE), "4.0.0", "Removes keys.", "key...", SUM_SHARDS,
     NULL, NULL},
    {"wait", cmd_wait, 3, CMD_NOSCRIPT, GROUP_GENERIC, NO_KEYS,
     "3.0.0", "How many replicas have the changes: none.",
     "numreplicas timeout", "request_policy:all_shards response_policy:agg_min",
     NULL, NULL},
};
/* clang-format on */

const size_t command_table_size =
    sizeof command_table / sizeof command_table[0];

const char *command_full_name(const command *cmd, char *to) {
    if (cmd->container)
        (void)snprintf(to, COMMAND_NAME_MAX, "%s|%s", cmd->container,
                       cmd->name);
    else
        (void)snprintf(to, COMMAND_NAME_MAX, "%s", cmd->name);
    return to;
}

/* The table is sorted by name. */
static int compare(toon_slice name, const char *with) {
    size_t size = strlen(with);
    size_t common = name.size < size ? name.size : size;
    int order = common ? strncasecmp(name.data, with, common) : 0;

    if (order != 0)
        return order;
    return name.size == size ? 0 : name.size < size ? -1 : 1;
}

const command *command_find(toon_slice name) {
    size_t low = 0, high = command_table_size;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(name, command_table[middle].name);

        if (order == 0)
            return &command_table[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* Letters of both cases meet, as do a few other bytes; a hash may. */
static size_t slot_of(const char *name, size_t size) {
    uint32_t hash = (uint32_t)size;

    for (size_t i = 0; i < size && i < 12; i++)
        hash = hash * 31 + ((uint32_t)(unsigned char)name[i] | 0x20);
    return (hash ^ hash >> 8) % COMMAND_SLOTS;
}

void command_index_init(command_index *index) {
    static_assert(sizeof command_table / sizeof command_table[0] <
                      COMMAND_SLOTS / 2,
                  "half of the slots stay free");
    memset(index, 0, sizeof *index);
    for (size_t i = 0; i < command_table_size; i++) {
        const char *name = command_table[i].name;
        size_t slot = slot_of(name, strlen(name));

        while (index->slots[slot])
            slot = (slot + 1) % COMMAND_SLOTS;
        index->slots[slot] = (uint8_t)(i + 1);
    }
}

const command *command_index_find(const command_index *index, toon_slice name) {
    size_t slot = slot_of(name.data, name.size);

    while (index->slots[slot]) {
        const command *cmd = &command_table[index->slots[slot] - 1];

        if (slice_is(name, cmd->name))
            return cmd;
        slot = (slot + 1) % COMMAND_SLOTS;
    }
    return NULL;
}

const command *command_find_sub(const command *container, toon_slice name) {
    for (const command *sub = container->subcommands; sub && sub->name; sub++)
        if (slice_is(name, sub->name))
            return sub;
    return NULL;
}

const command *command_find_full(toon_slice name) {
    const char *bar = name.size ? memchr(name.data, '|', name.size) : NULL;
    const command *cmd = NULL;
    size_t first = 0;

    if (!bar)
        return command_find(name);
    first = (size_t)(bar - name.data);
    cmd = command_find(toon_bytes(name.data, first));
    if (!cmd)
        return NULL;
    return command_find_sub(cmd, toon_bytes(bar + 1, name.size - first - 1));
}

bool command_arity_fits(const command *cmd, size_t argc) {
    if (cmd->arity >= 0)
        return argc == (size_t)cmd->arity;
    return argc >= (size_t)-cmd->arity;
}

static bool spec_holds(const key_spec *spec, size_t argc, size_t at) {
    size_t first = (size_t)spec->first, step = (size_t)spec->step;
    size_t last = spec->last >= 0 ? first + (size_t)spec->last
                                  : argc - (size_t)-spec->last;

    return first != 0 && at >= first && at <= last && at < argc &&
           (at - first) % step == 0;
}

size_t command_next_key(const command *cmd, size_t argc, size_t *at) {
    if (cmd->keys[0].first == 0)
        return 0;
    while (++*at < argc) {
        for (size_t i = 0; i < COMMAND_KEY_SPECS; i++)
            if (spec_holds(&cmd->keys[i], argc, *at))
                return *at;
    }
    return 0;
}
