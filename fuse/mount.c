/*
 * mount.c - a session with the kernel: mounting, serving threads, ending.
 * Must never know what an operation does.
 */
#include "mount.h"

#include "dead_mount.h"
#include "file.h"
#include "ops.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

/* One waits for the kernel while the other works. */
#define THREADS_DEFAULT  2
#define BACKGROUND_MAX   64
#define LOG_TEXT_SIZE    256
#define OPTION_TEXT_SIZE 4096

/* ------------------------------------------------------------ what libfuse says */

/* While a thread mounts, what libfuse says is the reason for its failure. */
static _Thread_local char log_text[LOG_TEXT_SIZE];
static _Thread_local bool log_is_kept;

static void on_log(enum fuse_log_level level, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static void on_log(enum fuse_log_level level, const char *format,
                   va_list args) {
    (void)level;
    if (!log_is_kept) {
        (void)vfprintf(stderr, format, args);
        return;
    }
    (void)vsnprintf(log_text, sizeof(log_text), format, args);
    log_text[strcspn(log_text, "\n")] = '\0';
}

static void fail(char *error, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void fail(char *error, size_t size, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vsnprintf(error, size, format, args);
    va_end(args);
}

/* -------------------------------------------------------------- before it all */

bool mount_available(char *why, size_t why_size) {
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    bool opens = fd >= 0;
    if (opens) {
        (void)close(fd);
    }
    if (!opens && errno != ENOENT && errno != ENODEV && errno != ENXIO) {
        fail(why, why_size, "/dev/fuse cannot be opened: %s", strerror(errno));
    } else if (!opens) {
        fail(why, why_size,
             "there is no /dev/fuse: load the kernel's fuse module, or give "
             "the container that device");
    } else if (prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN) == 0) {
        opens = false; /* and no setuid helper could mount either */
        fail(why, why_size,
             "nobody may mount in this container: give it CAP_SYS_ADMIN");
    }
    return opens;
}

/* Would the store's own files be reached through the mount? */
static bool hides(const char *mountpoint, const char *data_dir) {
    char *real = data_dir != NULL ? realpath(data_dir, NULL) : NULL;
    if (real == NULL) {
        return false;
    }
    size_t size = strlen(mountpoint);
    bool inside = strncmp(real, mountpoint, size) == 0 &&
                  (real[size] == '/' || real[size] == '\0' || size == 1);
    free(real);
    return inside;
}

/* The absolute path of a directory that can be mounted on; NULL: `error`. */
static char *check_mountpoint(const char *mountpoint, const char *data_dir,
                              char *error, size_t size) {
    struct stat st;
    if (!dead_mount_detach(mountpoint)) {
        fail(error, size, "%s: a dead mount is there and cannot be detached",
             mountpoint);
        return NULL;
    }
    char *real = realpath(mountpoint, NULL);
    if (real == NULL || stat(real, &st) != 0) {
        fail(error, size, "%s: %s", mountpoint,
             errno == ENOENT ? "there is no such directory to mount on"
                             : strerror(errno));
    } else if (!S_ISDIR(st.st_mode)) {
        fail(error, size, "%s: not a directory", mountpoint);
    } else if (live_mount_at(real)) {
        fail(error, size,
             "%s: another toonstore is mounted there; unmount it first", real);
    } else if (hides(real, data_dir)) {
        fail(error, size, "%s: the store's own directory %s would be hidden",
             mountpoint, data_dir);
    } else {
        return real;
    }
    free(real);
    return NULL;
}

/* ----------------------------------------------------------------- session */

static void on_init(void *arg, struct fuse_conn_info *conn) {
    (void)arg;
    /* Content changes are told by name and by size, never by a time. With the
     * writeback cache the kernel would not believe a size from here. */
    conn->want &=
        ~(unsigned)(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_WRITEBACK_CACHE |
                    FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_SPLICE_READ |
                    FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
    conn->max_background = BACKGROUND_MAX;
    conn->congestion_threshold = BACKGROUND_MAX;
}

const struct fuse_lowlevel_ops mount_ops = {
    .init = on_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .symlink = op_symlink,
    .rename = op_rename,
    .link = op_link,
    .open = op_open,
    .read = op_read,
    .write = op_write,
    .flush = op_flush,
    .release = op_release,
    .fsync = op_fsync,
    .opendir = op_opendir,
    .readdir = op_readdir,
    .releasedir = op_releasedir,
    .fsyncdir = op_fsyncdir,
    .getxattr = op_getxattr,
    .listxattr = op_listxattr,
    .setxattr = op_setxattr,
    .removexattr = op_removexattr,
    .statfs = op_statfs,
    .create = op_create,
    .fallocate = op_fallocate,
    .readdirplus = op_readdirplus,
};

static bool add_options(struct fuse_args *args, const mount_options *options) {
    char *words = NULL;
    char name[OPTION_TEXT_SIZE];
    (void)snprintf(name, sizeof(name), "fsname=toonstore%s%s",
                   options->data_dir != NULL ? ":" : "",
                   options->data_dir != NULL ? options->data_dir : "");
    bool done =
        fuse_opt_add_opt(&words, "subtype=tstfs,default_permissions") == 0 &&
        fuse_opt_add_opt_escaped(&words, name) == 0 &&
        (!options->allow_other ||
         fuse_opt_add_opt(&words, "allow_other") == 0) &&
        (!options->read_only || fuse_opt_add_opt(&words, "ro") == 0) &&
        (options->kernel_words == NULL ||
         fuse_opt_add_opt(&words, options->kernel_words) == 0) &&
        fuse_opt_add_arg(args, "tstfs") == 0 &&
        fuse_opt_add_arg(args, "-o") == 0 && fuse_opt_add_arg(args, words) == 0;
    free(words);
    return done;
}

static bool open_session(struct mount *m, char *error, size_t size) {
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    log_is_kept = true;
    log_text[0] = '\0';
    fuse_set_log_func(on_log);
    if (add_options(&args, &m->options)) {
        m->session = fuse_session_new(&args, &mount_ops, sizeof(mount_ops), m);
    }
    m->mounted = m->session != NULL &&
                 fuse_session_mount(m->session, m->mountpoint) == 0;
    log_is_kept = false;
    fuse_opt_free_args(&args);
    if (!m->mounted) {
        fail(error, size, "%s: cannot be mounted on%s%s", m->mountpoint,
             log_text[0] != '\0' ? ": " : "", log_text);
    }
    return m->mounted;
}

/* ----------------------------------------------------------------- serving */

static void free_request(void *arg) {
    struct fuse_buf *request = arg;
    free(request->mem);
}

static void *serve(void *arg) {
    struct mount *m = arg;
    struct fuse_buf request = {.mem = NULL};
    int unused;
    origin_mount(m);
    pthread_cleanup_push(free_request, &request);
    for (int got = 1; got > 0 || got == -EINTR;) {
        /* Only waiting for a request may be cut short. */
        (void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &unused);
        got = fuse_session_receive_buf(m->session, &request);
        (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &unused);
        if (got > 0) {
            fuse_session_process_buf(m->session, &request);
        }
    }
    pthread_cleanup_pop(1);
    if (atomic_fetch_sub(&m->threads_serving, 1) == 1) {
        (void)eventfd_write(m->ended_fd, 1);
    }
    return NULL;
}

static bool start_threads(struct mount *m) {
    unsigned wanted =
        m->options.threads != 0 ? m->options.threads : THREADS_DEFAULT;
    m->threads = calloc(wanted, sizeof(*m->threads));
    m->threads_serving = wanted;
    while (m->threads != NULL && m->thread_count < wanted) {
        if (pthread_create(&m->threads[m->thread_count], NULL, serve, m) != 0) {
            return false;
        }
        m->thread_count++;
    }
    return m->threads != NULL;
}

/* They take no signal that is sent to the process: the program's own threads
 * do. A thread's own faults stay with it. */
static bool start_all_threads(struct mount *m) {
    static const int own[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGABRT};
    sigset_t all, before;
    (void)sigfillset(&all);
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        (void)sigdelset(&all, own[i]);
    }
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = notices_start(m) && start_threads(m);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static void stop_threads(struct mount *m) {
    for (unsigned i = 0; i < m->thread_count; i++) {
        (void)pthread_cancel(m->threads[i]);
    }
    for (unsigned i = 0; i < m->thread_count; i++) {
        (void)pthread_join(m->threads[i], NULL);
    }
    free(m->threads);
}

/* ------------------------------------------------------------- start and stop */

/* The caller's text becomes the mount's own; without memory, none. */
static bool copy_text(char **text) {
    const char *theirs = *text;
    *text = theirs != NULL ? strdup(theirs) : NULL;
    return theirs == NULL || *text != NULL;
}

static struct mount *mount_new(toon_store *store,
                               const mount_options *options) {
    struct mount *m = calloc(1, sizeof(*m));
    if (m == NULL) {
        return NULL;
    }
    m->store = backend_of_store(store);
    m->options = *options;
    bool copied = copy_text(&m->options.prefix);
    copied = copy_text(&m->options.data_dir) && copied;
    copied = copy_text(&m->options.kernel_words) && copied;
    m->prefix = toon_str(m->options.prefix != NULL ? m->options.prefix : "");
    m->started_ms = now_ms();
    m->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ticks_init(&m->ticks);
    handles_init(&m->handles);
    for (size_t i = 0; i < FILE_LOCKS; i++) {
        pthread_mutex_init(&m->file_locks[i], NULL);
    }
    bool ready = notices_init(&m->notices);
    ready = inodes_init(&m->inodes) && ready;
    ready = pthread_cond_init(&m->moved, NULL) == 0 && ready;
    if (ready && copied && m->ended_fd >= 0) {
        m->root = inodes_hold(&m->inodes, NODE_DIR, m->prefix);
    }
    return m;
}

static void mount_free(struct mount *m) {
    if (m->session != NULL) {
        fuse_session_destroy(m->session);
    }
    handles_free(&m->handles);
    inodes_free(&m->inodes);
    pthread_cond_destroy(&m->moved);
    notices_free(&m->notices);
    ticks_free(&m->ticks);
    for (size_t i = 0; i < FILE_LOCKS; i++) {
        pthread_mutex_destroy(&m->file_locks[i]);
    }
    if (m->ended_fd >= 0) {
        (void)close(m->ended_fd);
    }
    mount_options_free(&m->options);
    free(m->mountpoint);
    free(m);
}

/* The store orders its keys on the first call that needs it: better now than
 * when somebody waits in a look-up. What fails here fails again there. */
static void build_order(const struct mount *m) {
    tree t = tree_of(m);
    tree_probe probe;
    (void)tree_look(&t, m->prefix, &probe);
}

/* Does it answer? */
static bool serves(const struct mount *m, char *error, size_t size) {
    struct stat st;
    if (stat(m->mountpoint, &st) == 0) {
        return true;
    }
    fail(error, size, "%s: mounted, but it does not answer: %s", m->mountpoint,
         strerror(errno));
    return false;
}

mount *mount_start(toon_store *store, const char *mountpoint,
                   const mount_options *options, char *error,
                   size_t error_size) {
    char *real =
        check_mountpoint(mountpoint, options->data_dir, error, error_size);
    if (real == NULL) {
        return NULL;
    }
    struct mount *m = mount_new(store, options);
    if (m == NULL || m->root == NULL) {
        fail(error, error_size, "%s: out of memory", mountpoint);
        free(real);
        if (m != NULL) {
            mount_free(m);
        }
        return NULL;
    }
    m->mountpoint = real;
    build_order(m);
    if (!open_session(m, error, error_size)) {
        mount_free(m);
        return NULL;
    }
    if (!start_all_threads(m)) {
        fail(error, error_size, "%s: cannot start threads", mountpoint);
    } else if (serves(m, error, error_size)) {
        return m;
    }
    mount_stop(m);
    return NULL;
}

/*
 * The notice thread ends first, as what it tells may wait for an operation;
 * then the serving threads, and what they leave uncommitted is committed.
 * Unmounting closes the connection: who still waits for an answer gets an
 * error.
 */
void mount_stop(mount *m) {
    notices_stop(m);
    fuse_session_exit(m->session);
    stop_threads(m);
    origin_mount(m);
    if (file_commit_all(m, true) != 0) {
        (void)fprintf(stderr, "%s: not all that was written could be kept\n",
                      m->mountpoint);
    }
    toon_thread_origin(NULL);
    fuse_session_unmount(m->session);
    mount_free(m);
}

int mount_ended_fd(const mount *m) {
    return m->ended_fd;
}

uint64_t mount_notices_queued(const mount *m) {
    return m->options.lazy ? 0 : atomic_load(&m->notices.queued);
}

uint64_t mount_notices_told(const mount *m) {
    return atomic_load(&m->notices.told);
}

void mount_on_told(mount *m, void (*fn)(void *arg), void *arg) {
    pthread_mutex_lock(&m->notices.lock);
    m->notices.on_told_arg = arg;
    m->notices.on_told = fn;
    pthread_mutex_unlock(&m->notices.lock);
}
