/*
 * tst.c - the program `tst`: a store's keys from the shell, and its care.
 *
 * Knows the command line; must never know the inside of the store.
 *
 *     tst COMMAND DIR [WORD...]
 *
 * A table lists the commands and another the options; parsing, checking and
 * help follow from the two.
 */
#include "tst.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>

typedef struct command {
    const char *name;
    const char *words;   /* what follows DIR, for the usage line */
    const char *options; /* letters of the table below that it takes */
    int words_min, words_max;
    int (*run)(const tst_args *args);
    const char *what;  /* one line */
    const char *notes; /* the rest of its help */
} command;

enum { MANY = 1000000 };

static const command commands[] = {
    {"get", "KEY", "nj", 1, 1, tst_get, "write the value of a key",
     "The value goes to standard output, byte for byte, without a newline\n"
     "of its own.\n\n"
     "Examples:\n"
     "  tst get ./data greeting\n"
     "  tst get ./data photos/cat.jpg > cat.jpg\n"},
    {"set", "KEY [VALUE]", "aep", 1, 2, tst_set, "set a key",
     "Without VALUE, or with -, the value is all of standard input. A store\n"
     "that is not there yet is made (but not with --if-present). What was\n"
     "set is durable when the command ends.\n"
     "A value or key that begins with - goes behind --.\n\n"
     "Examples:\n"
     "  tst set ./data greeting hello\n"
     "  tst set ./data photos/cat.jpg < cat.jpg\n"
     "  tst set --expire 60 ./data session:9f token\n"
     "  tst set ./data -- offset -5\n"},
    {"del", "KEY...", "", 1, MANY, tst_del, "delete keys",
     "Prints how many there were. All of them go, or, if it fails, none.\n\n"
     "Examples:\n"
     "  tst del ./data greeting session:9f\n"},
    {"ls", "[PREFIX|GLOB]", "l0j", 0, 1, tst_ls, "list keys in byte order",
     "With one of * ? [ \\ the word is a glob by the rules of Redis's KEYS,\n"
     "else the start of the keys that are wanted. On a terminal, control\n"
     "bytes and what is not UTF-8 are shown as \\n, \\t, \\xHH, and \\ as "
     "\\\\;\n"
     "elsewhere the names are written as they are.\n\n"
     "Examples:\n"
     "  tst ls ./data\n"
     "  tst ls -l ./data user:\n"
     "  tst ls -0 ./data 'log/*.txt' | xargs -0 tst del ./data\n"},
    {"stat", "[KEY]", "j", 0, 1, tst_stat, "figures of the store or of a key",
     "Examples:\n"
     "  tst stat ./data\n"
     "  tst stat --json ./data greeting\n"},
    {"check", "", "qjry", 0, 0, tst_check,
     "read all of it, tell what is damaged, mend it",
     "Reads every byte and writes nothing. Each damaged place is named with\n"
     "its offset in db.toon. A torn end, of writes that were never durable,\n"
     "is no damage. On a terminal a progress bar shows how far it is.\n\n"
     "With --repair a new log of all that is valid takes the place of a\n"
     "damaged one, which is kept as db.toon.before-repair-1 (or 2, ...);\n"
     "damaged bytes go to db.toon.damaged-1. Keys that are lost, and keys\n"
     "that may have fallen back to an older value, are named. On a terminal\n"
     "it asks first, unless --yes is given. A sound store is left as it is.\n"
     "The exit status is 0 if the store was sound or nothing of it is lost,\n"
     "1 if something is.\n\n"
     "Examples:\n"
     "  tst check ./data\n"
     "  tst check --quiet ./data && echo sound\n"
     "  tst check --repair ./data\n"
     "  tst check --repair --json ./data | jq .keys_lost\n"},
    {"compact", "", "qj", 0, 0, tst_compact,
     "give back the space of what was overwritten",
     "Writes what is live to a new log, which then takes the old one's place.\n"
     "It needs room for the new log beside the old. On a terminal a progress\n"
     "bar shows how far it is. If it is interrupted, the old log is there as\n"
     "before. The store of a server that runs is compacted by\n"
     "`redis-cli BGREWRITEAOF`, and by itself.\n\n"
     "Examples:\n"
     "  tst compact ./data\n"
     "  tst compact --json ./data | jq .bytes_gained\n"},
    {"copy", "DEST", "qj", 1, 1, tst_copy,
     "make a copy, also of a store in use",
     "DIR is copied as it stands, batches whole, to directory DEST, which is\n"
     "made and must have no store in it. A server may go on writing to DIR.\n"
     "The copy is durable when the command ends; until then it has no\n"
     "db.toon, and one that fails or is interrupted is removed. Its bytes\n"
     "are those of DIR: `tst check DEST` tells whether they are sound. On a\n"
     "terminal a progress bar shows how far it is. A server makes copies\n"
     "itself, by `redis-cli BGSAVE`.\n\n"
     "Examples:\n"
     "  tst copy ./data /backup/monday && tst check --quiet /backup/monday\n"
     "  tst copy --json ./data ./copy | jq .bytes\n"},
    {"dump", "[PREFIX|GLOB]", "", 0, 1, tst_dump, "write all keys as JSON",
     "One line for each live key, in byte order:\n"
     "  "
     "{\"key\":\"greeting\",\"value\":\"hello\",\"written_ms\":1732300000000,\n"
     "   \"expires_ms\":0}\n"
     "(without the line break). expires_ms 0 is never; \"mode\" follows, "
     "octal,\n"
     "where it is not the default. Bytes that are not UTF-8 stand in\n"
     "\"key_base64\" or \"value_base64\" in place of \"key\" or \"value\".\n\n"
     "Examples:\n"
     "  tst dump ./data > keys.ndjson\n"
     "  tst dump ./data user: | jq -r .value\n"},
    {"import", "DEST", "jqRs", 1, 1, tst_import,
     "take over a store of the ancestor, version 1",
     "DIR has the ancestor's db.toon and db.toon.idx, and perhaps a\n"
     "keymap.txt of lines `key TAB row`. Row 7 becomes key 7 of the store in\n"
     "DEST, or the key that keymap.txt gives it; deleted rows are left out,\n"
     "and their numbers are not used again. DEST is made if it is missing. A\n"
     "key that is there already, or a damaged row, ends it before anything is\n"
     "written. DIR is only read.\n\n"
     "Examples:\n"
     "  tst import ./old ./data\n"
     "  tst import --replace --skip-damaged ./old ./data\n"},
};

static const struct {
    char letter;
    bool takes;
    const char *name, *text;
} options[] = {
    {'a', false, "if-absent", "only if the key is not there yet"},
    {'e', true, "expire", "SECONDS: the key goes by itself after so long"},
    {'j', false, "json", "write JSON, one object a line"},
    {'l', false, "long", "with size, time of the last change, time left"},
    {'n', false, "newline", "end the value with a newline"},
    {'p', false, "if-present", "only if the key is there"},
    {'q', false, "quiet", "no progress bar; no word if all is well"},
    {'0', false, "zero", "end each name with NUL, for xargs -0"},
    {'R', false, "replace", "overwrite keys that are there already"},
    {'r', false, "repair", "mend what is damaged, and keep the old log"},
    {'y', false, "yes", "do not ask"},
    {'s', false, "skip-damaged", "leave out what is damaged, and tell of it"},
    {'h', false, "help", "show this help"},
};

enum { OPTION_COUNT = sizeof options / sizeof options[0] };

/* ------------------------------------------------------------------ telling */

void tst_say(const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)fflush(stdout);
    (void)fputs("tst: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
}

static int exit_code_of(toon_err err) {
    static const int codes[] = {
        [TOON_NOT_FOUND] = TST_NO,
        [TOON_EXISTS] = TST_NO,
        [TOON_CORRUPT] = TST_NO,
        [TOON_LOCKED] = TST_HELD,
    };
    size_t count = sizeof codes / sizeof codes[0];
    return (size_t)err < count && codes[err] != 0 ? codes[err] : TST_FAILED;
}

/* The sentence that came with the error, if it is this error's. */
static const char *text_of(toon_err err) {
    const toon_error *last = toon_last_error();
    return last->err == err && last->text[0] != '\0' ? last->text
                                                     : toon_strerror(err);
}

/* The store's sentences name the directory or the file themselves. */
int tst_failed(const tst_args *args, toon_err err) {
    const char *text = text_of(err);
    if (err == TOON_LOCKED) {
        tst_say("%s (%s)", text,
                args->instead != NULL ? args->instead : "redis-cli, its mount");
    } else if (text == toon_strerror(err)) {
        tst_say("%s: %s", args->dir, text);
    } else {
        tst_say("%s", text);
    }
    return exit_code_of(err);
}

int tst_key_failed(const tst_args *args, toon_err err, toon_slice key) {
    (void)fflush(stdout);
    (void)fprintf(stderr, "tst: %s: key ", args->dir);
    tst_put_escaped(stderr, key);
    (void)fprintf(stderr, ": %s\n",
                  err == TOON_NOT_FOUND || err == TOON_EXISTS
                      ? toon_strerror(err)
                      : text_of(err));
    return exit_code_of(err);
}

static void show_message(void *arg, toon_message_level level,
                         const char *text) {
    (void)arg;
    tst_say("%s%s", level == TOON_WARNING ? "warning: " : "", text);
}

/* ---------------------------------------------------------- opening, closing */

int tst_open(const tst_args *args, unsigned flags, toon_store **out) {
    toon_options opening = {
        .flags = flags,
        .sync = TOON_SYNC_NO, /* toon_close() syncs */
        .cache_policy = TOON_CACHE_NONE,
        .compact_garbage = 100, /* a short visit begins nothing long */
        .message = show_message,
    };
    toon_err err = toon_open(args->dir, &opening, out);
    if (err == TOON_OK) {
        return TST_DONE;
    }
    if (err == TOON_NOT_FOUND) {
        tst_say("%s: there is no store; `tst set %s KEY VALUE` makes one",
                args->dir, args->dir);
        return TST_FAILED;
    }
    return tst_failed(args, err);
}

int tst_close(const tst_args *args, toon_store *store, int code) {
    toon_err err = toon_close(store);
    if (err == TOON_OK || code > TST_NO) {
        return code;
    }
    (void)tst_failed(args, err);
    return TST_FAILED;
}

/* --------------------------------------------------------------------- help */

static void put_option_help(const command *it) {
    (void)puts("Options:");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char letter = options[i].letter;
        if (letter == 'h' || strchr(it->options, letter) != NULL) {
            (void)printf("  -%c, --%-12s %s\n", letter, options[i].name,
                         options[i].text);
        }
    }
}

static void put_exit_codes(void) {
    (void)puts("Exit status: 0 done; 1 no such key, nothing set or copied, or "
               "damage was\n"
               "found; 2 wrong usage; 3 another process holds the store; 4 any "
               "other failure.");
}

static void put_command_help(const command *it) {
    (void)printf("Usage: tst %s [OPTION...] DIR%s%s\n\n", it->name,
                 it->words[0] != '\0' ? " " : "", it->words);
    (void)printf("%s: %s.\n%s\n", it->name, it->what, it->notes);
    put_option_help(it);
    (void)putchar('\n');
    put_exit_codes();
}

static void put_help(void) {
    (void)puts("Usage: tst COMMAND [OPTION...] DIR [WORD...]\n\n"
               "Reads and changes the toonstore in directory DIR, and looks "
               "after it.\n\n"
               "Commands:");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        (void)printf("  %-7s DIR %-14s %s\n", commands[i].name,
                     commands[i].words, commands[i].what);
    }
    (void)puts("\n`tst COMMAND --help` tells more of each; `tst --version` "
               "the version.\n"
               "While tstd or tstfs has the store open, commands that read "
               "show it as it\n"
               "stands, batches whole; to change keys use redis-cli or the "
               "mount.\n");
    put_exit_codes();
}

/* ------------------------------------------------------------- command line */

static bool parse_seconds(const char *text, int64_t *out) {
    char *end;
    errno = 0;
    long long seconds = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || seconds <= 0 ||
        seconds > INT64_MAX / 1000 - tst_now_ms() / 1000 - 1) {
        tst_say("'%s' is no number of seconds; give a whole one, 1 or more",
                text);
        return false;
    }
    *out = seconds;
    return true;
}

/* False: told. */
static bool take_option(tst_args *args, int letter) {
    const struct {
        int letter;
        bool *flag;
    } flags[] = {
        {'a', &args->if_absent},    {'j', &args->json},
        {'l', &args->list_long},    {'n', &args->newline},
        {'p', &args->if_present},   {'q', &args->quiet},
        {'0', &args->zero},         {'R', &args->replace},
        {'s', &args->skip_damaged}, {'r', &args->repair},
        {'y', &args->yes},
    };

    if (letter == 'e') {
        return parse_seconds(optarg, &args->expire_s);
    }
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (flags[i].letter == letter) {
            *flags[i].flag = true;
        }
    }
    return true;
}

/* The options that this command takes, for getopt_long(). */
static void fill_options(const command *it, struct option *longs,
                         char *letters) {
    *letters++ = ':'; /* tell a missing argument from an unknown option */
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char letter = options[i].letter;
        if (letter != 'h' && strchr(it->options, letter) == NULL) {
            continue;
        }
        *longs++ = (struct option){
            .name = options[i].name,
            .has_arg = options[i].takes ? required_argument : no_argument,
            .val = letter,
        };
        *letters++ = letter;
        if (options[i].takes) {
            *letters++ = ':';
        }
    }
    *letters = '\0';
    *longs = (struct option){0};
}

static int usage_error(const command *it, const char *what) {
    tst_say("%s: %s; see `tst %s --help`", it->name, what, it->name);
    return TST_USAGE;
}

/* `words` as in the usage line; the first is it. */
static int missing_word(const command *it, const char *words) {
    char what[64];
    (void)snprintf(what, sizeof what, "%.*s is missing",
                   (int)strcspn(words, " ."), words);
    return usage_error(it, what);
}

/* `word` is the option, but for a letter within a group of them. */
static int option_error(const command *it, int letter, const char *word) {
    const char group[] = {'-', (char)optopt, '\0'};
    char what[128];
    (void)snprintf(what, sizeof what, "option %.80s %s",
                   optopt != 0 ? group : word,
                   letter == ':' ? "needs a value" : "is not understood");
    return usage_error(it, what);
}

/* -1: go on. Else the exit code. */
static int parse(const command *it, int argc, char **argv, tst_args *args) {
    struct option longs[OPTION_COUNT + 1];
    char letters[2 * OPTION_COUNT + 2];
    int letter;
    fill_options(it, longs, letters);
    opterr = 0;
    while ((letter = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        if (letter == 'h') {
            put_command_help(it);
            return TST_DONE;
        }
        if (letter == '?' || letter == ':') {
            return option_error(it, letter, argv[optind - 1]);
        }
        if (!take_option(args, letter)) {
            return TST_USAGE;
        }
    }
    args->word_count = argc - optind - 1;
    if (args->word_count < it->words_min) {
        return missing_word(it, args->word_count < 0 ? "DIR" : it->words);
    }
    if (args->word_count > it->words_max) {
        return usage_error(it, "too many words");
    }
    if (args->if_absent && args->if_present) {
        return usage_error(it, "--if-absent and --if-present cannot both be");
    }
    if (args->yes && !args->repair) {
        return usage_error(it, "--yes goes with --repair");
    }
    args->dir = argv[optind];
    args->words = argv + optind + 1;
    return -1;
}

static const command *find_command(const char *name) {
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static int run(int argc, char **argv) {
    if (argc < 2) {
        tst_say("a command is missing; see `tst --help`");
        return TST_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0) {
        (void)puts("tst " TOONSTORE_VERSION);
        return TST_DONE;
    }
    bool help = strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 ||
                strcmp(name, "help") == 0;
    if (help && argc == 2) {
        put_help();
        return TST_DONE;
    }
    const command *it = find_command(help ? argv[2] : name);
    if (it == NULL) {
        tst_say("there is no command '%s'; see `tst --help`",
                help ? argv[2] : name);
        return TST_USAGE;
    }
    if (help) {
        put_command_help(it);
        return TST_DONE;
    }
    tst_args args = {0};
    int code = parse(it, argc - 1, argv + 1, &args);
    return code >= 0 ? code : it->run(&args);
}

int main(int argc, char **argv) {
    /* A reader that has seen enough (head) ends us without a word, even if
     * our parent ignores the signal. */
    (void)signal(SIGPIPE, SIG_DFL);
    int code = run(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        tst_say("cannot write the output: %s", strerrordesc_np(errno));
        return TST_FAILED;
    }
    return code;
}
