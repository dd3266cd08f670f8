/*
 * command_docs.c - COMMAND DOCS: what commands are for, and their arguments
 * as redis-cli shows them while one types. Knows the table and replies.
 *
 * The table writes arguments as people do, in items parted by spaces:
 *     key            an argument; "key..." one or more
 *     [A|B x]        at most one of the alternatives; "[…]..." several
 *     <A|B>          one of them; "<key value>..." several pairs
 * An alternative is a TOKEN, an argument, or several of them in a row.
 */
#include "command_docs.h"

#include "numbers.h"

#include <stdio.h>

#define WORDS_MAX 4 /* in an alternative */

size_t command_sub_count(const command *cmd) {
    size_t count = 0;

    while (cmd->subcommands && cmd->subcommands[count].name)
        count++;
    return count;
}

/* One item, without its brackets and dots. */
typedef struct item {
    toon_slice text;
    bool optional, multiple;
} item;

static bool take_item(const char **at, item *out) {
    const char *start = *at + strspn(*at, " ");
    bool bracket = *start == '[' || *start == '<';
    size_t size = 0;

    if (*start == '\0')
        return false;
    out->optional = *start == '[';
    start += bracket;
    size = strcspn(start, bracket ? "]>" : " .");
    out->text = toon_bytes(start, size);
    start += size + bracket;
    out->multiple = strncmp(start, "...", 3) == 0;
    *at = start + (out->multiple ? 3 : 0);
    return true;
}

/* Cuts what is before `mark` off the front. */
static toon_slice take_until(toon_slice *from, char mark) {
    const char *end = memchr(from->data, mark, from->size);
    size_t size = end ? (size_t)(end - from->data) : from->size;
    toon_slice taken = toon_bytes(from->data, size);

    from->data += end ? size + 1 : size;
    from->size -= end ? size + 1 : size;
    return taken;
}

static bool is_token(toon_slice word) {
    return word.data[0] >= 'A' && word.data[0] <= 'Z';
}

static bool is_one_of(toon_slice word, const char *const *list) {
    for (; *list; list++)
        if (word.size == strlen(*list) &&
            memcmp(word.data, *list, word.size) == 0)
            return true;
    return false;
}

static const char *type_of(toon_slice word) {
    static const char *const keys[] = {"key", "newkey", "source", "destination",
                                       NULL};
    static const char *const integers[] = {
        "seconds",   "milliseconds", "count",          "cursor",
        "increment", "decrement",    "offset",         "start",
        "end",       "timeout",      "index",          "numreplicas",
        "client-id", "protover",     "destination-db", NULL};
    static const char *const times[] = {"unix-time-seconds",
                                        "unix-time-milliseconds", NULL};
    static const char *const patterns[] = {"pattern", NULL};

    if (is_one_of(word, keys))
        return "key";
    if (is_one_of(word, integers))
        return "integer";
    if (is_one_of(word, times))
        return "unix-time";
    return is_one_of(word, patterns) ? "pattern" : "string";
}

static void reply_lower(reply *out, toon_slice word) {
    char lower[COMMAND_NAME_MAX];
    size_t size = word.size < sizeof lower ? word.size : sizeof lower;

    for (size_t i = 0; i < size; i++)
        lower[i] = ascii_lower(word.data[i]);
    reply_bulk(out, toon_bytes(lower, size));
}

static void reply_item_flags(reply *out, const item *of) {
    if (!of->optional && !of->multiple)
        return;
    reply_text(out, "flags");
    reply_set(out, (size_t)of->optional + of->multiple);
    if (of->optional)
        reply_simple(out, "optional");
    if (of->multiple)
        reply_simple(out, "multiple");
}

static const item plain_item;

/* An argument, with the token in front of it if there is one. */
static void write_word(reply *out, toon_slice word, toon_slice token,
                       const item *of) {
    static const char *const seconds[] = {"newkey", "destination", NULL};
    const char *type = type_of(word);
    bool is_key = strcmp(type, "key") == 0;
    bool is_second = is_one_of(word, seconds);

    reply_map(out,
              2u + is_key + (token.size > 0) + (of->optional || of->multiple));
    reply_text(out, "name");
    reply_bulk(out, word);
    reply_text(out, "type");
    reply_text(out, type);
    if (is_key) {
        reply_text(out, "key_spec_index");
        reply_integer(out, is_second);
    }
    if (token.size > 0) {
        reply_text(out, "token");
        reply_bulk(out, token);
    }
    reply_item_flags(out, of);
}

static void write_token(reply *out, toon_slice token, const item *of) {
    reply_map(out, 3u + (of->optional || of->multiple));
    reply_text(out, "name");
    reply_lower(out, token);
    reply_text(out, "type");
    reply_text(out, "pure-token");
    reply_text(out, "token");
    reply_bulk(out, token);
    reply_item_flags(out, of);
}

/* Several arguments in a row, e.g. AUTH username password. */
static void write_block(reply *out, const toon_slice *words, size_t count,
                        const item *of) {
    bool token = is_token(words[0]);

    reply_map(out, 3u + token + (of->optional || of->multiple));
    reply_text(out, "name");
    reply_lower(out, words[0]);
    reply_text(out, "type");
    reply_text(out, "block");
    if (token) {
        reply_text(out, "token");
        reply_bulk(out, words[0]);
    }
    reply_item_flags(out, of);
    reply_text(out, "arguments");
    reply_array(out, count - token);
    for (size_t i = token; i < count; i++)
        write_word(out, words[i], toon_bytes(NULL, 0), &plain_item);
}

static void write_alternative(reply *out, toon_slice text, const item *of) {
    toon_slice words[WORDS_MAX];
    size_t count = 0;

    while (text.size > 0 && count < WORDS_MAX)
        words[count++] = take_until(&text, ' ');
    if (count == 1 && is_token(words[0]))
        write_token(out, words[0], of);
    else if (count == 1)
        write_word(out, words[0], toon_bytes(NULL, 0), of);
    else if (count == 2 && is_token(words[0]))
        write_word(out, words[1], words[0], of);
    else
        write_block(out, words, count, of);
}

static void write_item(reply *out, item of) {
    toon_slice rest = of.text;
    reply_mark start;
    size_t count = 0;

    if (!memchr(rest.data, '|', rest.size)) {
        write_alternative(out, rest, &of);
        return;
    }
    reply_map(out, 3u + (of.optional || of.multiple));
    reply_text(out, "name");
    reply_text(out, "option");
    reply_text(out, "type");
    reply_text(out, "oneof");
    reply_item_flags(out, &of);
    reply_text(out, "arguments");
    start = reply_here(out);
    while (rest.size > 0) {
        write_alternative(out, take_until(&rest, '|'), &plain_item);
        count++;
    }
    reply_insert_count(out, start, '*', count);
}

static void write_arguments(reply *out, const char *syntax) {
    reply_mark start = reply_here(out);
    size_t count = 0;
    item next;

    while (take_item(&syntax, &next)) {
        write_item(out, next);
        count++;
    }
    reply_insert_count(out, start, '*', count);
}

/* The name and all but the subcommands, which the map has as well if
 * `has_subs`. */
static void write_entry(reply *out, const command *cmd, bool has_subs) {
    static const char *const groups[] = {
        [GROUP_STRING] = "string",
        [GROUP_GENERIC] = "generic",
        [GROUP_CONNECTION] = "connection",
        [GROUP_SERVER] = "server",
    };
    char name[COMMAND_NAME_MAX];

    reply_text(out, command_full_name(cmd, name));
    reply_map(out, 3u + (cmd->syntax[0] != '\0') + has_subs);
    reply_text(out, "summary");
    reply_text(out, cmd->summary);
    reply_text(out, "since");
    reply_text(out, cmd->since);
    reply_text(out, "group");
    reply_text(out, groups[cmd->group]);
    if (cmd->syntax[0] != '\0') {
        reply_text(out, "arguments");
        write_arguments(out, cmd->syntax);
    }
}

void command_docs_write(reply *out, const command *cmd) {
    size_t subs = command_sub_count(cmd);

    write_entry(out, cmd, subs > 0);
    if (subs == 0)
        return;
    reply_text(out, "subcommands");
    reply_map(out, subs);
    for (size_t i = 0; i < subs; i++)
        write_entry(out, &cmd->subcommands[i], false);
}
