/*
 * tstfs.c - main of `tstfs DATA_DIR MOUNTPOINT [-o words] [-f]`, also called
 * by mount(8) as a helper. Knows the store's options, the mount's header and
 * processes; must never know the inside of either.
 */
#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#define EXIT_USAGE      2
#define ERROR_TEXT_SIZE 1024
#define KIB             ((uint64_t)1 << 10)
#define MIB             ((uint64_t)1 << 20)
#define GIB             ((uint64_t)1 << 30)
#define RATE_UNLIMITED  (GIB * 1024 * 1024) /* bytes a second, for 0 */

static const char usage[] =
    "usage: tstfs DATA_DIR MOUNTPOINT [-o WORD,...] [-f]\n"
    "\n"
    "Mounts the store in DATA_DIR: each key is a file.\n"
    "\n"
    "  -o WORD,...      options, see below\n"
    "  -f, --foreground stay in the foreground\n"
    "  -h, --help       this text\n"
    "  -V, --version    the version\n"
    "\n"
    "Of the mount:\n"
    "  ro  flat  prefix=P  allow_other  uid=N  gid=N  file_mode=OCTAL\n"
    "  dir_mode=OCTAL  strict_owner  lazy  xattr  threads=N  noexec  noatime\n"
    "Of the store:\n"
    "  sync=always|everysec|no  cache=SIZE  value-max=SIZE  store-max=SIZE\n"
    "  compact-garbage=PERCENT  compact-rate=SIZE\n"
    "  (SIZE in bytes; k, m, g are powers of 1000, kb, mb, gb of 1024)\n"
    "\n"
    "Unmount with: fusermount3 -u MOUNTPOINT (or umount as root).\n";

typedef struct settings {
    mount_options mount;
    toon_options store;
    char *mount_words; /* what is not the store's */
    char *data_dir;    /* absolute */
    const char *mountpoint;
    bool foreground;
} settings;

/* Set when the parent has gone and nobody reads stderr any more. */
static bool detached;

static void say(int priority, const char *text) {
    if (detached) {
        syslog(priority, "%s", text);
    } else {
        (void)fprintf(stderr, "tstfs: %s\n", text);
    }
}

static void on_message(void *arg, toon_message_level level, const char *text) {
    (void)arg;
    say(level == TOON_WARNING ? LOG_WARNING : LOG_NOTICE, text);
}

/* --------------------------------------------------------- the store's words */

/* As tstd's directives have them. */
static const struct unit {
    const char *name;
    uint64_t bytes;
} units[] = {
    {"", 1},        {"b", 1},    {"k", 1000},       {"kb", KIB},
    {"m", 1000000}, {"mb", MIB}, {"g", 1000000000}, {"gb", GIB},
};

static bool parse_size(const char *text, uint64_t *out) {
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || errno != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcasecmp(end, units[i].name) == 0) {
            *out = number * units[i].bytes;
            return number <= UINT64_MAX / units[i].bytes;
        }
    }
    return false;
}

static bool set_sync(settings *s, const char *value) {
    static const struct policy {
        const char *text;
        toon_sync_policy policy;
    } policies[] = {{"always", TOON_SYNC_ALWAYS},
                    {"everysec", TOON_SYNC_EVERYSEC},
                    {"no", TOON_SYNC_NO}};

    for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
        if (strcmp(value, policies[i].text) == 0) {
            s->store.sync = policies[i].policy;
            return true;
        }
    }
    return false;
}

static bool set_cache(settings *s, const char *value) {
    uint64_t size;
    bool valid = parse_size(value, &size) && size <= SIZE_MAX;
    s->store.cache_bytes_max = valid ? (size_t)size : 0;
    if (valid && size == 0) {
        s->store.cache_policy = TOON_CACHE_NONE;
    }
    return valid;
}

static bool set_value_max(settings *s, const char *value) {
    uint64_t size;
    bool valid =
        parse_size(value, &size) && size > 0 && size <= TOON_VALUE_SIZE_LIMIT;
    s->store.value_size_max = valid ? (size_t)size : 0;
    return valid;
}

static bool set_store_max(settings *s, const char *value) {
    return parse_size(value, &s->store.store_size_max);
}

static bool set_compact_garbage(settings *s, const char *value) {
    uint64_t percent;
    bool valid = parse_size(value, &percent) && percent > 0 && percent <= 100;
    s->store.compact_garbage = valid ? (unsigned)percent : 0;
    return valid;
}

static bool set_compact_rate(settings *s, const char *value) {
    uint64_t rate = 0;
    bool valid = parse_size(value, &rate);
    s->store.compact_rate = valid && rate == 0 ? RATE_UNLIMITED : rate;
    return valid;
}

static const struct store_word {
    const char *text;
    bool (*set)(settings *s, const char *value);
} store_words[] = {
    {"sync=", set_sync},
    {"cache=", set_cache},
    {"value-max=", set_value_max},
    {"store-max=", set_store_max},
    {"compact-garbage=", set_compact_garbage},
    {"compact-rate=", set_compact_rate},
};

/* 1: it was the store's, 0: it was not, -1: its value is bad. */
static int apply_store_word(settings *s, const char *word) {
    for (size_t i = 0; i < sizeof(store_words) / sizeof(store_words[0]); i++) {
        size_t size = strlen(store_words[i].text);
        if (strncmp(word, store_words[i].text, size) == 0) {
            return store_words[i].set(s, word + size) ? 1 : -1;
        }
    }
    return 0;
}

static void add_mount_word(settings *s, const char *word) {
    char *more = NULL;
    if (asprintf(&more, "%s,%s", s->mount_words, word) < 0) {
        say(LOG_ERR, "out of memory");
        exit(EXIT_FAILURE);
    }
    free(s->mount_words);
    s->mount_words = more;
}

/* Takes `words` apart, which it changes. A comma behind `\` is none. */
static void split_words(settings *s, char *words) {
    for (char *word = words, *at = words; word != NULL;) {
        at += strcspn(at, ",\\");
        if (*at == '\\') {
            at += at[1] != '\0' ? 2 : 1;
            continue;
        }
        char *next = *at == ',' ? at + 1 : NULL;
        *at = '\0';
        int applied = apply_store_word(s, word);
        if (applied < 0) {
            (void)fprintf(stderr, "tstfs: bad value in option '%s'\n", word);
            exit(EXIT_USAGE);
        }
        if (applied == 0) {
            add_mount_word(s, word);
        }
        word = next;
        at = next;
    }
}

/* ------------------------------------------------------------- command line */

/* The process changes its directory later. */
static char *absolute_path(const char *path) {
    char here[PATH_MAX];
    char *out = NULL;
    bool relative = path[0] != '/';
    if (relative && getcwd(here, sizeof(here)) == NULL) {
        return NULL;
    }
    return asprintf(&out, "%s%s%s", relative ? here : "", relative ? "/" : "",
                    path) < 0
               ? NULL
               : out;
}

static void parse_flags(settings *s, int argc, char **argv) {
    static const struct option options[] = {
        {"foreground", no_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    static char name[] = "tstfs"; /* how getopt_long() begins its lines */

    argv[0] = name;
    /* mount(8) may add -n, -s and -v, which mean nothing here. */
    for (int c;
         (c = getopt_long(argc, argv, "o:fhVnsv", options, NULL)) != -1;) {
        switch (c) {
        case 'o':
            split_words(s, optarg);
            break;
        case 'f':
            s->foreground = true;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        case 'V':
            (void)puts("tstfs " TOONSTORE_VERSION);
            exit(EXIT_SUCCESS);
        case 'n':
        case 's':
        case 'v':
            break;
        default:
            (void)fputs("try: tstfs --help\n", stderr);
            exit(EXIT_USAGE);
        }
    }
}

static void parse(settings *s, int argc, char **argv) {
    char error[ERROR_TEXT_SIZE];
    mount_options_init(&s->mount);
    s->mount_words = strdup("");
    parse_flags(s, argc, argv);
    if (argc - optind != 2) {
        (void)fputs("tstfs: a data directory and a mount point are needed\n"
                    "try: tstfs --help\n",
                    stderr);
        exit(EXIT_USAGE);
    }
    if (!mount_options_parse(&s->mount, s->mount_words, error, sizeof(error))) {
        say(LOG_ERR, error);
        exit(EXIT_USAGE);
    }
    s->data_dir = absolute_path(argv[optind]);
    s->mountpoint = argv[optind + 1];
    s->mount.data_dir = s->data_dir != NULL ? strdup(s->data_dir) : NULL;
    s->mount.value_size_max = s->store.value_size_max;
    s->mount.store_size_max = s->store.store_size_max;
    s->store.message = on_message;
    if (s->mount.read_only) {
        s->store.flags |= TOON_OPEN_NO_CREATE;
    }
    if (s->mount.data_dir == NULL) {
        say(LOG_ERR, "out of memory");
        exit(EXIT_FAILURE);
    }
}

/* ------------------------------------------------------------------ serving */

/* Until a signal comes, or the file system is unmounted. */
static void wait_for_end(const mount *m, const sigset_t *signals) {
    struct pollfd fds[] = {
        {.fd = signalfd(-1, signals, SFD_CLOEXEC), .events = POLLIN},
        {.fd = mount_ended_fd(m), .events = POLLIN},
    };
    while (poll(fds, 2, -1) < 0 && errno == EINTR) {
    }
    (void)close(fds[0].fd);
}

/* The parent goes when this byte comes; then nobody reads stderr. */
static void detach(int ready_fd) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    bool told = write(ready_fd, "+", 1) == 1;
    if (null < 0 || !told || chdir("/") != 0) {
        say(LOG_WARNING, "cannot leave the terminal");
    }
    openlog("tstfs", LOG_PID, LOG_DAEMON);
    detached = true;
    for (int fd = 0; fd <= 2 && null >= 0; fd++) {
        (void)dup2(null, fd);
    }
    (void)close(null);
    (void)close(ready_fd);
}

static int close_store(toon_store *store) {
    toon_err err = toon_close(store);
    if (err != TOON_OK) {
        say(LOG_ERR, toon_last_error()->text[0] != '\0'
                         ? toon_last_error()->text
                         : toon_strerror(err));
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

/* `ready_fd` is -1 in the foreground. */
static int serve(settings *s, int ready_fd) {
    char error[ERROR_TEXT_SIZE];
    toon_store *store;
    sigset_t signals;
    /* Threads inherit the mask, so that only wait_for_end() sees these. */
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a write over the limit fails instead */
    toon_err err = toon_open(s->data_dir, &s->store, &store);
    if (err != TOON_OK) {
        const toon_error *last = toon_last_error();
        bool has_text = last->err == err && last->text[0] != '\0';
        (void)snprintf(error, sizeof(error), "%s%s%s",
                       has_text ? "" : s->data_dir, has_text ? "" : ": ",
                       has_text ? last->text : toon_strerror(err));
        say(LOG_ERR, error);
        return EXIT_FAILURE;
    }
    mount *m =
        mount_start(store, s->mountpoint, &s->mount, error, sizeof(error));
    if (m == NULL) {
        say(LOG_ERR, error);
        (void)close_store(store);
        return EXIT_FAILURE;
    }
    if (ready_fd >= 0) {
        detach(ready_fd);
    }
    wait_for_end(m, &signals);
    mount_stop(m);
    return close_store(store);
}

/* Comes back when the child's mount answers, or with the child's status. */
static int wait_for_child(pid_t pid, int ready_fd) {
    char byte;
    int status;
    ssize_t got;
    do {
        got = read(ready_fd, &byte, 1);
    } while (got < 0 && errno == EINTR);
    if (got == 1) {
        return EXIT_SUCCESS;
    }
    if (waitpid(pid, &status, 0) == pid && WIFEXITED(status)) {
        return WEXITSTATUS(status);
    }
    say(LOG_ERR, "ended before it could serve");
    return EXIT_FAILURE;
}

/* Store and mount have threads, so both belong to the child. */
static int serve_in_background(settings *s) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        say(LOG_ERR, strerror(errno));
        return EXIT_FAILURE;
    }
    pid_t pid = fork();
    if (pid < 0) {
        say(LOG_ERR, strerror(errno));
        return EXIT_FAILURE;
    }
    if (pid > 0) {
        (void)close(ends[1]);
        return wait_for_child(pid, ends[0]);
    }
    (void)close(ends[0]);
    (void)setsid();
    return serve(s, ends[1]);
}

int main(int argc, char **argv) {
    settings s = {.foreground = false};
    char why[ERROR_TEXT_SIZE];
    parse(&s, argc, argv);
    int status = EXIT_FAILURE;
    if (!mount_available(why, sizeof(why))) {
        say(LOG_ERR, why);
    } else {
        status = s.foreground ? serve(&s, -1) : serve_in_background(&s);
    }
    mount_options_free(&s.mount);
    free(s.mount_words);
    free(s.data_dir);
    return status;
}
