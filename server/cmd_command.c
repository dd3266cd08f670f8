/*
 * cmd_command.c - COMMAND: the command table, told to programs. Knows the
 * table and replies.
 */
#include "command_docs.h"
#include "numbers.h"
#include "state.h"

#include <stdio.h>

typedef struct named_flag {
    unsigned flag;
    const char *name;
} named_flag;

static const named_flag command_flags[] = {
    {CMD_WRITE, "write"},
    {CMD_READONLY, "readonly"},
    {CMD_DENYOOM, "denyoom"},
    {CMD_ADMIN, "admin"},
    {CMD_NOSCRIPT, "noscript"},
    {CMD_LOADING, "loading"},
    {CMD_STALE, "stale"},
    {CMD_FAST, "fast"},
    {CMD_NO_AUTH, "no_auth"},
    {CMD_NO_ASYNC_LOADING, "no_async_loading"},
    {CMD_NO_MULTI, "no_multi"},
    {CMD_ALLOW_BUSY, "allow_busy"},
    {0, NULL},
};

static const named_flag key_flags[] = {
    {KEY_RO, "RO"},
    {KEY_RW, "RW"},
    {KEY_OW, "OW"},
    {KEY_RM, "RM"},
    {KEY_ACCESS, "access"},
    {KEY_UPDATE, "update"},
    {KEY_INSERT, "insert"},
    {KEY_DELETE, "delete"},
    {KEY_VARIABLE, "variable_flags"},
    {0, NULL},
};

/* In the order in which Redis tells them. */
enum {
    CAT_KEYSPACE = 1 << 0,
    CAT_READ = 1 << 1,
    CAT_WRITE = 1 << 2,
    CAT_STRING = 1 << 3,
    CAT_ADMIN = 1 << 4,
    CAT_FAST = 1 << 5,
    CAT_SLOW = 1 << 6,
    CAT_DANGEROUS = 1 << 7,
    CAT_CONNECTION = 1 << 8,
};

static const named_flag category_names[] = {
    {CAT_KEYSPACE, "@keyspace"},
    {CAT_READ, "@read"},
    {CAT_WRITE, "@write"},
    {CAT_STRING, "@string"},
    {CAT_ADMIN, "@admin"},
    {CAT_FAST, "@fast"},
    {CAT_SLOW, "@slow"},
    {CAT_DANGEROUS, "@dangerous"},
    {CAT_CONNECTION, "@connection"},
    {0, NULL},
};

/* Where Redis puts a command elsewhere than its flags and group say. The
 * whole answer but for read, write, admin and speed. */
static const struct exception {
    const char *name;
    unsigned categories;
} exceptions[] = {
    {"command", CAT_CONNECTION},
    {"dbsize", CAT_KEYSPACE},
    {"flushall", CAT_KEYSPACE | CAT_DANGEROUS},
    {"flushdb", CAT_KEYSPACE | CAT_DANGEROUS},
    {"info", CAT_DANGEROUS},
    {"keys", CAT_KEYSPACE | CAT_DANGEROUS},
    {"lastsave", CAT_ADMIN | CAT_DANGEROUS},
    {"wait", CAT_CONNECTION},
};

static unsigned categories_of_group(const command *cmd) {
    static const unsigned of_group[] = {
        [GROUP_STRING] = CAT_STRING,
        [GROUP_GENERIC] = CAT_KEYSPACE,
        [GROUP_CONNECTION] = CAT_CONNECTION,
        [GROUP_SERVER] = 0,
    };
    const char *name = cmd->container ? cmd->container : cmd->name;

    for (size_t i = 0; i < sizeof exceptions / sizeof exceptions[0]; i++)
        if (strcmp(name, exceptions[i].name) == 0)
            return exceptions[i].categories;
    return cmd->run ? of_group[cmd->group] : 0;
}

static unsigned categories(const command *cmd) {
    unsigned result = categories_of_group(cmd);

    if (cmd->flags & CMD_READONLY)
        result |= CAT_READ;
    if (cmd->flags & CMD_WRITE)
        result |= CAT_WRITE;
    if (cmd->flags & CMD_ADMIN)
        result |= CAT_ADMIN | CAT_DANGEROUS;
    return result | (cmd->flags & CMD_FAST ? CAT_FAST : CAT_SLOW);
}

static void reply_flags(reply *out, unsigned flags, const named_flag *names) {
    reply_mark start = reply_here(out);
    size_t count = 0;

    for (; names->name; names++) {
        if (!(flags & names->flag))
            continue;
        reply_simple(out, names->name);
        count++;
    }
    reply_insert_count(out, start, '~', count);
}

/* ------------------------------------------------------------------- INFO */

static void reply_tips(reply *out, const char *tips) {
    reply_mark start = reply_here(out);
    size_t count = 0;

    while (tips && *tips) {
        size_t size = strcspn(tips, " ");

        reply_bulk(out, toon_bytes(tips, size));
        count++;
        tips += size + (tips[size] == ' ');
    }
    reply_insert_count(out, start, '~', count);
}

static void reply_key_spec(reply *out, const key_spec *spec) {
    reply_map(out, spec->notes ? 4 : 3);
    if (spec->notes) {
        reply_text(out, "notes");
        reply_text(out, spec->notes);
    }
    reply_text(out, "flags");
    reply_flags(out, spec->flags, key_flags);
    reply_text(out, "begin_search");
    reply_map(out, 2);
    reply_text(out, "type");
    reply_text(out, "index");
    reply_text(out, "spec");
    reply_map(out, 1);
    reply_text(out, "index");
    reply_integer(out, spec->first);
    reply_text(out, "find_keys");
    reply_map(out, 2);
    reply_text(out, "type");
    reply_text(out, "range");
    reply_text(out, "spec");
    reply_map(out, 3);
    reply_text(out, "lastkey");
    reply_integer(out, spec->last);
    reply_text(out, "keystep");
    reply_integer(out, spec->step);
    reply_text(out, "limit");
    reply_integer(out, 0);
}

static size_t key_specs(const command *cmd) {
    size_t count = 0;

    while (count < COMMAND_KEY_SPECS && cmd->keys[count].first != 0)
        count++;
    return count;
}

/* The last key's place as Redis 6 and before tell it. */
static int last_key(const command *cmd) {
    size_t count = key_specs(cmd);
    const key_spec *last = count ? &cmd->keys[count - 1] : NULL;

    if (!last)
        return 0;
    return last->last < 0 ? last->last : last->first + last->last;
}

/* All but the subcommands, whose number is told. */
static void reply_one_info(reply *out, const command *cmd, size_t subs) {
    char name[COMMAND_NAME_MAX];
    size_t specs = key_specs(cmd);

    reply_array(out, 10);
    reply_text(out, command_full_name(cmd, name));
    reply_integer(out, cmd->arity);
    reply_flags(out, cmd->flags, command_flags);
    reply_integer(out, cmd->keys[0].first);
    reply_integer(out, last_key(cmd));
    reply_integer(out, cmd->keys[0].step);
    reply_flags(out, categories(cmd), category_names);
    reply_tips(out, cmd->tips);
    reply_set(out, specs);
    for (size_t i = 0; i < specs; i++)
        reply_key_spec(out, &cmd->keys[i]);
    if (subs > 0)
        reply_array(out, subs);
    else
        reply_set(out, 0);
}

static void reply_info(reply *out, const command *cmd) {
    size_t subs = command_sub_count(cmd);

    reply_one_info(out, cmd, subs);
    for (size_t i = 0; i < subs; i++)
        reply_one_info(out, &cmd->subcommands[i], 0);
}

void cmd_command(call *c) {
    reply_array(c->out, command_table_size);
    for (size_t i = 0; i < command_table_size; i++)
        reply_info(c->out, &command_table[i]);
}

void cmd_command_info(call *c) {
    if (c->argc == 2) {
        cmd_command(c);
        return;
    }
    reply_array(c->out, c->argc - 2);
    for (size_t i = 2; i < c->argc; i++) {
        const command *cmd = command_find_full(c->argv[i]);

        if (cmd)
            reply_info(c->out, cmd);
        else
            reply_null(c->out);
    }
}

void cmd_command_count(call *c) {
    reply_integer(c->out, (int64_t)command_table_size);
}

void cmd_command_docs(call *c) {
    reply_mark start = reply_here(c->out);
    size_t count = 0;

    for (size_t i = 0; c->argc == 2 && i < command_table_size; i++) {
        command_docs_write(c->out, &command_table[i]);
        count++;
    }
    for (size_t i = 2; i < c->argc; i++) {
        const command *cmd = command_find_full(c->argv[i]);

        if (!cmd)
            continue;
        command_docs_write(c->out, cmd);
        count++;
    }
    reply_insert_count(c->out, start, '%', count);
}

/* ------------------------------------------------------------------- LIST */

typedef struct list_filter {
    bool none;
    bool by_category, by_pattern;
    toon_slice word;
} list_filter;

static bool fits(const list_filter *f, const command *cmd, const char *name) {
    unsigned has = categories(cmd);

    if (f->none)
        return false;
    if (f->by_pattern)
        return config_matches(f->word, name);
    if (!f->by_category)
        return true;
    for (const named_flag *n = category_names; n->name; n++)
        if ((has & n->flag) && slice_is(f->word, n->name + 1))
            return true;
    return false;
}

static size_t list_one(reply *out, const command *cmd, const list_filter *f) {
    char name[COMMAND_NAME_MAX];

    if (!fits(f, cmd, command_full_name(cmd, name)))
        return 0;
    reply_text(out, name);
    return 1;
}

static bool read_list_filter(call *c, list_filter *f) {
    if (c->argc == 2)
        return true;
    if (c->argc != 5 || !slice_is(c->argv[2], "filterby"))
        return false;
    f->word = c->argv[4];
    f->none = slice_is(c->argv[3], "module");
    f->by_category = slice_is(c->argv[3], "aclcat");
    f->by_pattern = slice_is(c->argv[3], "pattern");
    return f->none || f->by_category || f->by_pattern;
}

void cmd_command_list(call *c) {
    reply_mark start = reply_here(c->out);
    list_filter f = {0};
    size_t count = 0;

    if (!read_list_filter(c, &f)) {
        call_syntax_error(c);
        return;
    }
    for (size_t i = 0; i < command_table_size; i++) {
        const command *cmd = &command_table[i];

        count += list_one(c->out, cmd, &f);
        for (size_t j = 0; j < command_sub_count(cmd); j++)
            count += list_one(c->out, &cmd->subcommands[j], &f);
    }
    reply_insert_count(c->out, start, '*', count);
}

/* ---------------------------------------------------------------- GETKEYS */

/* The command that argv[2…] is, or an error reply and NULL. */
static const command *inner_command(call *c) {
    const command *cmd = command_find(c->argv[2]);
    const char *why = NULL;

    if (cmd && cmd->subcommands && c->argc > 3)
        cmd = command_find_sub(cmd, c->argv[3]);
    if (!cmd)
        why = "ERR Invalid command specified";
    else if (cmd->keys[0].first == 0)
        why = "ERR The command has no key arguments";
    else if (!command_arity_fits(cmd, c->argc - 2))
        why = "ERR Invalid number of arguments specified for command";
    if (why)
        reply_error(c->out, why);
    return why ? NULL : cmd;
}

void cmd_command_getkeys(call *c) {
    const command *cmd = inner_command(c);
    reply_mark start = reply_here(c->out);
    size_t at = 0, key = 0, count = 0;

    if (!cmd)
        return;
    while ((key = command_next_key(cmd, c->argc - 2, &at)) != 0) {
        reply_bulk(c->out, c->argv[2 + key]);
        count++;
    }
    reply_insert_count(c->out, start, '*', count);
}

/* What SET does to its key depends on an option. */
static unsigned flags_of_key(const call *c, const command *cmd, size_t key) {
    unsigned flags = cmd->keys[cmd->keys[1].first == (int)key ? 1 : 0].flags;

    if (!(flags & KEY_VARIABLE))
        return flags;
    for (size_t i = 5; i < c->argc; i++)
        if (slice_is(c->argv[i], "get"))
            return flags & ~(unsigned)KEY_VARIABLE;
    return KEY_OW | KEY_UPDATE;
}

void cmd_command_getkeysandflags(call *c) {
    const command *cmd = inner_command(c);
    reply_mark start = reply_here(c->out);
    size_t at = 0, key = 0, count = 0;

    if (!cmd)
        return;
    while ((key = command_next_key(cmd, c->argc - 2, &at)) != 0) {
        reply_array(c->out, 2);
        reply_bulk(c->out, c->argv[2 + key]);
        reply_flags(c->out, flags_of_key(c, cmd, key), key_flags);
        count++;
    }
    reply_insert_count(c->out, start, '*', count);
}

void cmd_command_help(call *c) {
    static const char *const lines[] = {
        "(no subcommand)",
        "    What all commands are, for programs.",
        "COUNT",
        "    How many commands there are.",
        "DOCS [<command-name> ...]",
        "    What commands are for, for people.",
        "GETKEYS <full-command>",
        "    The keys in a whole command.",
        "GETKEYSANDFLAGS <full-command>",
        "    The keys in a whole command, and what is done to them.",
        "INFO [<command-name> ...]",
        "    What commands are, for programs.",
        "LIST [FILTERBY (MODULE|ACLCAT|PATTERN) <word>]",
        "    The names of commands.",
    };

    call_help(c, lines, sizeof lines / sizeof lines[0]);
}
