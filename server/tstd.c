/*
 * tstd.c - the daemon: one store, served by RESP and, with --mount, as files.
 *
 * Wires store, server and mount together. It alone knows both of them.
 */
#include "numbers.h"
#include "server.h"
#include "service.h"

#ifdef TOON_WITH_FUSE
#include "../fuse/mount.h"
#endif

#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct daemon_parts {
    toon_store *store;
    _Atomic(server *) server; /* the store's messages come from any thread */
    char data_dir[PATH_MAX];  /* absolute */
    size_t value_max;
    uint64_t store_max;
#ifdef TOON_WITH_FUSE
    mount *mount;
#endif
} daemon_parts;

/* ----------------------------------------------------------- talking to it */

static void describe(void *arg, const char *name, const char *value,
                     const char *what) {
    (void)arg;
    (void)printf("  --%-27s %s", name, what);
    if (strlen(value) > 24)
        (void)printf("\n  %29s (%s)\n", "", value);
    else
        (void)printf("%s%s%s\n", value[0] ? " (" : "", value,
                     value[0] ? ")" : "");
}

static void print_help(void) {
    (void)printf(
        "tstd - serves a toonstore: by the Redis protocol and, with "
        "--mount, as files.\n\n"
        "usage: tstd [FILE] [--name value]...\n\n"
        "FILE holds lines of `name value`, as redis.conf does; - is "
        "standard input.\n"
        "--data DIR is --dir DIR. What is in brackets is the default.\n\n");
    config_describe(describe, NULL);
    (void)printf("\n  --%-27s %s\n", "health",
                 "ask the server of this configuration; 0 if it is well");
    (void)printf("  --%-27s %s\n", "version", "the version of this program");
    (void)printf("  --%-27s %s\n", "help", "this text");
}

static void on_message(void *arg, toon_message_level level, const char *text) {
    daemon_parts *parts = arg;
    server *s = atomic_load(&parts->server);

    if (!s)
        (void)fprintf(stderr, "tstd: %s\n", text);
    else if (level == TOON_WARNING)
        server_warn(s, text);
    else
        server_note(s, text);
}

/* ---------------------------------------------------------------- the store */

static bool open_store(daemon_parts *parts, config *cfg) {
    toon_options options = {
        .sync = (toon_sync_policy)cfg->appendfsync,
        .cache_policy = (toon_cache_policy)cfg->cache_policy,
        .cache_bytes_max = (size_t)cfg->cache_bytes,
        .cache_entries_max = (size_t)cfg->capacity,
        .value_size_max = (size_t)cfg->value_max,
        .store_size_max = (uint64_t)cfg->store_max,
        .compact_garbage = (unsigned)cfg->compact_garbage,
        .compact_rate = config_compact_rate(cfg),
        .message = on_message,
        .message_arg = parts,
    };
    char error[CONFIG_ERROR_TEXT];

    if (cfg->cache_bytes == 0)
        options.cache_policy = TOON_CACHE_NONE;
    if (toon_open(cfg->dir, &options, &parts->store) != TOON_OK) {
        (void)fprintf(stderr, "tstd: %s\n", toon_last_error()->text);
        return false;
    }
    if (realpath(cfg->dir, parts->data_dir))
        config_set(cfg, toon_str("dir"), toon_str(parts->data_dir), error);
    parts->value_max = options.value_size_max;
    parts->store_max = options.store_size_max;
    return true;
}

/* ---------------------------------------------------------------- the mount */

#ifdef TOON_WITH_FUSE

static uint64_t notices_queued(void *arg) {
    return mount_notices_queued(arg);
}

static uint64_t notices_told(void *arg) {
    return mount_notices_told(arg);
}

static void on_told(void *arg) {
    server_gate_moved(arg);
}

static void on_unmounted(void *arg) {
    daemon_parts *parts = arg;
    server *s = atomic_load(&parts->server);

    server_warn(s, "the mount was taken away from outside; serving RESP alone");
    server_set_gate(s, (server_gate){0});
    server_gate_moved(s);
}

/* False: an error was told. No FUSE on this machine is none. */
static bool start_mount(daemon_parts *parts, const char *path,
                        const char *words) {
    server *s = atomic_load(&parts->server);
    mount_options options;
    char error[CONFIG_ERROR_TEXT] = "", line[CONFIG_ERROR_TEXT + 64];
    server_gate gate = {notices_queued, notices_told, NULL};

    if (!mount_available(error, sizeof error)) {
        (void)snprintf(line, sizeof line, "no mount: %s; serving RESP alone",
                       error);
        server_warn(s, line);
        return true;
    }
    mount_options_init(&options);
    options.data_dir = strdup(parts->data_dir);
    options.value_size_max = parts->value_max;
    options.store_size_max = parts->store_max;
    if (!options.data_dir)
        (void)snprintf(error, sizeof error, "out of memory");
    else if (mount_options_parse(&options, words, error, sizeof error))
        parts->mount =
            mount_start(parts->store, path, &options, error, sizeof error);
    mount_options_free(&options);
    if (!parts->mount) {
        (void)fprintf(stderr, "tstd: %s\n", error);
        return false;
    }
    gate.arg = parts->mount;
    server_set_gate(s, gate);
    mount_on_told(parts->mount, on_told, s);
    server_watch_fd(s, mount_ended_fd(parts->mount), on_unmounted, parts);
    (void)snprintf(line, sizeof line, "mounted on %s", path);
    server_note(s, line);
    return true;
}

static void stop_mount(daemon_parts *parts) {
    if (parts->mount)
        mount_stop(parts->mount);
}

#else

static bool start_mount(daemon_parts *parts, const char *path,
                        const char *words) {
    (void)path;
    (void)words;
    server_warn(atomic_load(&parts->server),
                "no mount: this tstd was built without FUSE; serving RESP "
                "alone");
    return true;
}

static void stop_mount(daemon_parts *parts) {
    (void)parts;
}

#endif

/* --------------------------------------------------------------- the whole */

/* Closes the store; a failure that it ever met is the exit status. */
static int close_store(daemon_parts *parts) {
    toon_err err = toon_close(parts->store);
    server *s = atomic_load(&parts->server);

    if (err != TOON_OK && s)
        server_warn(s, toon_last_error()->text);
    else if (err != TOON_OK)
        (void)fprintf(stderr, "tstd: %s\n", toon_last_error()->text);
    return err == TOON_OK ? 0 : 1;
}

static int serve(config *cfg) {
    static daemon_parts parts;
    char error[CONFIG_ERROR_TEXT] = "";
    char *mount_path = strdup(cfg->mount);
    char *mount_words = strdup(cfg->mount_options);
    server *s = NULL;
    bool fine = mount_path && mount_words;
    int status = 1;

    if (!fine)
        (void)fprintf(stderr, "tstd: out of memory\n");
    if (!fine || !open_store(&parts, cfg))
        goto end;
    s = server_new(parts.store, cfg, error);
    atomic_store(&parts.server, s);
    if (!s)
        (void)fprintf(stderr, "tstd: %s\n", error);
    fine = s && (mount_path[0] == '\0' ||
                 start_mount(&parts, mount_path, mount_words));
    if (fine) {
        service_notify("READY=1");
        server_run(s);
        service_notify("STOPPING=1");
    }
    stop_mount(&parts);
    status = close_store(&parts);
    if (s) {
        if (fine)
            server_note(s, "the store is closed, bye bye...");
        atomic_store(&parts.server, NULL);
        server_delete(s);
    }
    if (!fine)
        status = 1;
end:
    free(mount_path);
    free(mount_words);
    return status;
}

/* Takes the word out of the arguments; was it there? */
static bool take_word(int *argc, char **argv, const char *word) {
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], word) != 0)
            continue;
        memmove(&argv[i], &argv[i + 1], (size_t)(*argc - i) * sizeof argv[0]);
        --*argc;
        return true;
    }
    return false;
}

int main(int argc, char **argv) {
    char error[CONFIG_ERROR_TEXT] = "";
    bool is_health = take_word(&argc, argv, "--health");
    config cfg;
    int status = 1;

    if (take_word(&argc, argv, "--help") ||
        (argc > 1 && strcmp(argv[1], "-h") == 0)) {
        print_help();
        return 0;
    }
    if (take_word(&argc, argv, "--version")) {
        (void)printf("tstd %s\n", TOONSTORE_VERSION);
        return 0;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a write over the limit fails instead */
    if (!config_init(&cfg))
        (void)snprintf(error, sizeof error, "out of memory");
    else if (config_read_args(&cfg, argc, argv, error))
        status = is_health ? health_check(&cfg) : serve(&cfg);
    if (error[0] != '\0')
        (void)fprintf(stderr, "tstd: %s\n", error);
    config_free(&cfg);
    return status;
}
