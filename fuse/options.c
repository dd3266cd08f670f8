/*
 * options.c - the -o words of a mount. Knows words and values; must never
 * know what they change.
 */
#include "inodes.h"
#include "mount.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WORD_SIZE_MAX   ((size_t)4200) /* prefix= and a prefix */
#define THREADS_MAX     64
#define FILE_MODE_PLAIN 0644
#define DIR_MODE_PLAIN  0755

void mount_options_init(mount_options *options) {
    *options = (mount_options){
        .uid = geteuid(),
        .gid = getegid(),
        .file_mode = FILE_MODE_PLAIN,
        .dir_mode = DIR_MODE_PLAIN,
    };
}

void mount_options_free(mount_options *options) {
    free(options->prefix);
    free(options->data_dir);
    free(options->kernel_words);
    options->prefix = NULL;
    options->data_dir = NULL;
    options->kernel_words = NULL;
}

typedef enum word_kind {
    WORD_TRUE,
    WORD_FALSE,
    WORD_NUMBER, /* decimal */
    WORD_OCTAL,  /* permission bits */
    WORD_PREFIX,
    WORD_KERNEL, /* passed on */
    WORD_IGNORED,
    WORD_LATER, /* doc/mount.md has it, this version does not */
} word_kind;

static const struct word {
    const char *text; /* one that ends in `*` stands for all that start so */
    word_kind kind;
    size_t field;
    unsigned max;
} words[] = {
    {"ro", WORD_TRUE, offsetof(mount_options, read_only), 0},
    {"rw", WORD_FALSE, offsetof(mount_options, read_only), 0},
    {"flat", WORD_TRUE, offsetof(mount_options, flat), 0},
    {"lazy", WORD_TRUE, offsetof(mount_options, lazy), 0},
    {"allow_other", WORD_TRUE, offsetof(mount_options, allow_other), 0},
    {"xattr", WORD_TRUE, offsetof(mount_options, xattr), 0},
    {"strict_owner", WORD_TRUE, offsetof(mount_options, strict_owner), 0},
    {"uid", WORD_NUMBER, offsetof(mount_options, uid), UINT32_MAX - 1},
    {"gid", WORD_NUMBER, offsetof(mount_options, gid), UINT32_MAX - 1},
    {"threads", WORD_NUMBER, offsetof(mount_options, threads), THREADS_MAX},
    {"db", WORD_NUMBER, offsetof(mount_options, database), 0},
    {"file_mode", WORD_OCTAL, offsetof(mount_options, file_mode), 0777},
    {"dir_mode", WORD_OCTAL, offsetof(mount_options, dir_mode), 0777},
    {"prefix", WORD_PREFIX, 0, 0},
    {"fast_open", WORD_LATER, 0, 0},
    {"noexec", WORD_KERNEL, 0, 0},
    {"noatime", WORD_KERNEL, 0, 0},
    {"_netdev", WORD_IGNORED, 0, 0},
    {"nofail", WORD_IGNORED, 0, 0},
    {"auto", WORD_IGNORED, 0, 0},
    {"noauto", WORD_IGNORED, 0, 0},
    {"user", WORD_IGNORED, 0, 0},
    {"nouser", WORD_IGNORED, 0, 0},
    {"users", WORD_IGNORED, 0, 0},
    {"owner", WORD_IGNORED, 0, 0},
    {"group", WORD_IGNORED, 0, 0},
    {"defaults", WORD_IGNORED, 0, 0},
    {"dev", WORD_IGNORED, 0, 0}, /* it has neither devices nor owners */
    {"nodev", WORD_IGNORED, 0, 0},
    {"suid", WORD_IGNORED, 0, 0},
    {"nosuid", WORD_IGNORED, 0, 0},
    {"exec", WORD_IGNORED, 0, 0},
    {"async", WORD_IGNORED, 0, 0},
    {"atime", WORD_IGNORED, 0, 0},
    {"relatime", WORD_IGNORED, 0, 0},
    {"comment=*", WORD_IGNORED, 0, 0},
    {"x-*", WORD_IGNORED, 0, 0},
};

#define WORD_COUNT (sizeof(words) / sizeof(words[0]))

static bool takes_value(word_kind kind) {
    return kind == WORD_NUMBER || kind == WORD_OCTAL || kind == WORD_PREFIX;
}

/* The word, and what follows its `=`: NULL where it takes no value. */
static const struct word *find_word(const char *text, const char **value) {
    for (size_t i = 0; i < WORD_COUNT; i++) {
        size_t size = strlen(words[i].text);
        bool all = words[i].text[size - 1] == '*';
        bool starts = strncmp(text, words[i].text, size - all) == 0;
        bool valued = takes_value(words[i].kind);
        if (starts && (all || text[size] == (valued ? '=' : '\0'))) {
            *value = valued ? text + size + 1 : NULL;
            return &words[i];
        }
    }
    return NULL;
}

static bool parse_number(const char *text, int base, unsigned max,
                         unsigned *out) {
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, base);
    if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0 ||
        number > max) {
        return false;
    }
    *out = (unsigned)number;
    return true;
}

static bool set_prefix(mount_options *options, const char *value) {
    if (strlen(value) > PREFIX_SIZE_MAX) {
        return false;
    }
    free(options->prefix);
    options->prefix = strdup(value);
    return options->prefix != NULL;
}

static bool add_kernel_word(mount_options *options, const char *word) {
    char *more = NULL;
    if (asprintf(&more, "%s%s%s",
                 options->kernel_words != NULL ? options->kernel_words : "",
                 options->kernel_words != NULL ? "," : "", word) < 0) {
        return false;
    }
    free(options->kernel_words);
    options->kernel_words = more;
    return true;
}

static bool apply(mount_options *options, const struct word *word,
                  const char *text, const char *value) {
    char *field = (char *)options + word->field;
    switch (word->kind) {
    case WORD_TRUE:
        *(bool *)field = true;
        return true;
    case WORD_FALSE:
        *(bool *)field = false;
        return true;
    case WORD_NUMBER:
        return parse_number(value, 10, word->max, (unsigned *)(void *)field);
    case WORD_OCTAL:
        return parse_number(value, 8, word->max, (unsigned *)(void *)field);
    case WORD_PREFIX:
        return set_prefix(options, value);
    case WORD_KERNEL:
        return add_kernel_word(options, text);
    case WORD_IGNORED:
        return true;
    case WORD_LATER:
        break;
    }
    return false;
}

static bool parse_word(mount_options *options, const char *text, char *error,
                       size_t error_size) {
    const char *value = NULL;
    const struct word *word = find_word(text, &value);
    if (word == NULL) {
        (void)snprintf(error, error_size, "unknown mount option '%s'", text);
        return false;
    }
    if (word->kind == WORD_LATER) {
        (void)snprintf(error, error_size,
                       "mount option '%s' is not there yet in this version",
                       text);
        return false;
    }
    if (!apply(options, word, text, value)) {
        (void)snprintf(error, error_size, "bad value in mount option '%s'",
                       text);
        return false;
    }
    return true;
}

/* Copies up to the next comma; `\` takes the byte after it as it is. NULL: too
 * long. */
static const char *next_word(const char *from, char *word) {
    size_t size = 0;
    while (*from != '\0' && *from != ',') {
        from += *from == '\\' && from[1] != '\0';
        if (size == WORD_SIZE_MAX - 1) {
            return NULL;
        }
        word[size++] = *from++;
    }
    word[size] = '\0';
    return *from == ',' ? from + 1 : from;
}

bool mount_options_parse(mount_options *options, const char *text, char *error,
                         size_t error_size) {
    char word[WORD_SIZE_MAX];
    while (*text != '\0') {
        text = next_word(text, word);
        if (text == NULL) {
            (void)snprintf(error, error_size, "a mount option is too long");
            return false;
        }
        if (word[0] != '\0' && !parse_word(options, word, error, error_size)) {
            return false;
        }
    }
    return true;
}
