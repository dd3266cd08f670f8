/*
 * fault_shim.c - preloaded into tstd (LD_PRELOAD): its allocations and its
 * calls on files are counted, and those that the test chose fail.
 *
 * A call is tstd's own if it returns into the program's text; libuv's and
 * libfuse's allocations count apart. FAULT_SHIM names a file of the words
 * below, which the test reads and writes while tstd runs.
 *
 * Knows the calls; must never know what they are for.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* fault_shim.py has the same list. */
enum kind {
    OWN_MEMORY,
    LIBRARY_MEMORY,
    OPEN,
    READ,
    WRITE,
    SYNC,
    TRUNCATE,
    ALLOCATE,
    RENAME,
    UNLINK,
    LINK,
    MAKE_DIR,
    STAT,
    MAP,
    THREAD,
    KINDS,
};

struct control {
    _Atomic uint32_t kinds;  /* bits: these count */
    _Atomic uint32_t paused; /* not 0: nothing counts */
    _Atomic uint64_t at;     /* this call fails, counted from 0 */
    _Atomic uint64_t count;  /* calls so far */
    _Atomic int32_t error;   /* errno; 0: less is done than asked for */
    _Atomic uint32_t failed; /* 1: it has come */
    _Atomic uint32_t kind;   /* of the call that failed, */
    _Atomic uint32_t fresh;  /* bits: the first of these fails, too */
    _Atomic uint64_t place;  /* and where in the program it was */
};

static struct control nothing;
static struct control *control = &nothing;
static uintptr_t text_start, text_end, base;

/* ------------------------------------------------------------------- begin */

static int look_at_program(struct dl_phdr_info *info, size_t size, void *arg) {
    (void)size;
    (void)arg;
    base = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || (part->p_flags & PF_X) == 0)
            continue;
        text_start = base + part->p_vaddr;
        text_end = text_start + part->p_memsz;
    }
    return 1; /* the first is the program */
}

static int is_tstd(void) {
    const char *path = (const char *)getauxval(AT_EXECFN); // NOLINT
    const char *slash = path != NULL ? strrchr(path, '/') : NULL;
    const char *name = slash != NULL ? slash + 1 : path;
    return name != NULL && strcmp(name, "tstd") == 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULT_SHIM");
    int fd = path != NULL && is_tstd() ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE,
                    MAP_SHARED, fd, 0);
    (void)close(fd);
    if (at == MAP_FAILED)
        return;
    (void)dl_iterate_phdr(look_at_program, NULL);
    control = at;
}

static int is_own(const void *place) {
    return (uintptr_t)place >= text_start && (uintptr_t)place < text_end;
}

/* ----------------------------------------------------------------- failing */

/* Counts the call; true if it is to fail. */
static int is_chosen(enum kind kind, const void *place) {
    struct control *c = control;
    if ((atomic_load_explicit(&c->kinds, memory_order_relaxed) >> kind & 1) ==
            0 ||
        atomic_load(&c->paused) != 0)
        return 0;
    int is_fresh = (atomic_load(&c->fresh) >> kind & 1) != 0;
    if (atomic_fetch_add(&c->count, 1) != atomic_load(&c->at) && !is_fresh)
        return 0;
    uint32_t none = 0;
    if (!atomic_compare_exchange_strong(&c->failed, &none, 1))
        return 0; /* one is enough */
    atomic_store(&c->kind, kind);
    atomic_store(&c->place, (uintptr_t)place - base);
    return 1;
}

/* Files matter where tstd's own code handles them. */
static int file_fails(enum kind kind, const void *place) {
    if (!is_own(place) || !is_chosen(kind, place))
        return 0;
    errno = atomic_load(&control->error);
    return errno != 0;
}

/* The same for calls that may do less than asked for. */
static int transfer_fails(enum kind kind, const void *place, size_t *size) {
    if (!is_own(place) || !is_chosen(kind, place))
        return 0;
    errno = atomic_load(&control->error);
    if (errno == 0 && *size > 1)
        *size /= 2;
    return errno != 0;
}

static int memory_fails(const void *place) {
    if (text_start == 0 ||
        !is_chosen(is_own(place) ? OWN_MEMORY : LIBRARY_MEMORY, place))
        return 0;
    errno = ENOMEM;
    return 1;
}

#define PLACE __builtin_return_address(0)

static void *next(const char *name) {
    return dlsym(RTLD_NEXT, name);
}

/* ISO C has no cast from one to the other. */
static void look_up_one(void *fn, const char *name) {
    void *at = next(name);
    memcpy(fn, &at, sizeof at);
}

/* The real call by its name, looked up once. */
#define REAL(type, name)                                                       \
    static _Atomic(type *) real;                                               \
    if (atomic_load(&real) == NULL)                                            \
        atomic_store(&real, (type *)next(name));                               \
    type *call = atomic_load(&real)

/* ------------------------------------------------------------------ memory */

typedef void *malloc_fn(size_t);
typedef void *calloc_fn(size_t, size_t);
typedef void *realloc_fn(void *, size_t);
typedef void free_fn(void *);
typedef int posix_memalign_fn(void **, size_t, size_t);

/* dlsym() itself may allocate before the real calls are known. */
static char early[8192];
static size_t early_used;

static void *early_memory(size_t size) {
    size = (size + 15) & ~(size_t)15;
    if (size > sizeof early - early_used)
        return NULL;
    void *at = early + early_used;
    early_used += size;
    return at;
}

static int is_early(const void *memory) {
    return (const char *)memory >= early &&
           (const char *)memory < early + sizeof early;
}

static _Thread_local int looking __attribute__((tls_model("initial-exec")));
static malloc_fn *real_malloc;
static calloc_fn *real_calloc;
static realloc_fn *real_realloc;
static calloc_fn *real_aligned_alloc; /* of the same shape */
static free_fn *real_free;

static int look_up(void) {
    if (real_free != NULL)
        return 1;
    if (looking)
        return 0;
    looking = 1;
    look_up_one(&real_malloc, "malloc");
    look_up_one(&real_calloc, "calloc");
    look_up_one(&real_realloc, "realloc");
    look_up_one(&real_aligned_alloc, "aligned_alloc");
    look_up_one(&real_free, "free");
    looking = 0;
    return 1;
}

void *malloc(size_t size) {
    if (!look_up())
        return early_memory(size);
    return memory_fails(PLACE) ? NULL : real_malloc(size);
}

void *calloc(size_t count, size_t size) {
    if (!look_up())
        return early_memory(count * size);
    return memory_fails(PLACE) ? NULL : real_calloc(count, size);
}

void *realloc(void *old, size_t size) {
    if (!look_up() || is_early(old))
        return NULL;
    return memory_fails(PLACE) ? NULL : real_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    if (!look_up())
        return NULL;
    return memory_fails(PLACE) ? NULL : real_aligned_alloc(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
    REAL(posix_memalign_fn, "posix_memalign");
    return memory_fails(PLACE) ? ENOMEM : call(out, alignment, size);
}

void free(void *memory) {
    if (memory != NULL && !is_early(memory) && look_up())
        real_free(memory);
}

/* What the C library allocates in tstd's name. */

typedef char *strdup_fn(const char *);
typedef char *strndup_fn(const char *, size_t);
typedef char *realpath_fn(const char *, char *);
typedef FILE *fopen_fn(const char *, const char *);
typedef FILE *memstream_fn(char **, size_t *);
typedef ssize_t getline_fn(char **, size_t *, FILE *);

static int own_memory_fails(const void *place) {
    return is_own(place) && memory_fails(place);
}

char *strdup(const char *text) {
    REAL(strdup_fn, "strdup");
    return own_memory_fails(PLACE) ? NULL : call(text);
}

char *strndup(const char *text, size_t size) {
    REAL(strndup_fn, "strndup");
    return own_memory_fails(PLACE) ? NULL : call(text, size);
}

char *realpath(const char *path, char *out) {
    REAL(realpath_fn, "realpath");
    return own_memory_fails(PLACE) ? NULL : call(path, out);
}

FILE *fopen(const char *path, const char *mode) {
    REAL(fopen_fn, "fopen64");
    return own_memory_fails(PLACE) ? NULL : call(path, mode);
}

FILE *open_memstream(char **text, size_t *size) {
    REAL(memstream_fn, "open_memstream");
    return own_memory_fails(PLACE) ? NULL : call(text, size);
}

ssize_t getline(char **line, size_t *size, FILE *in) {
    REAL(getline_fn, "getline");
    return own_memory_fails(PLACE) ? -1 : call(line, size, in);
}

int asprintf(char **out, const char *format, ...) {
    va_list args;
    if (own_memory_fails(PLACE))
        return -1;
    va_start(args, format);
    int size = vasprintf(out, format, args);
    va_end(args);
    return size;
}

/* ------------------------------------------------------------------- files */

/* Large files: off_t has 64 bits, and these are the names that tstd calls. */

typedef int openat_fn(int, const char *, int, ...);
typedef ssize_t pread_fn(int, void *, size_t, off_t);
typedef ssize_t pwrite_fn(int, const void *, size_t, off_t);
typedef int sync_fn(int);
typedef int truncate_fn(int, off_t);
typedef int allocate_fn(int, int, off_t, off_t);
typedef int rename_fn(int, const char *, int, const char *);
typedef int link_fn(int, const char *, int, const char *, int);
typedef int unlink_fn(int, const char *, int);
typedef int mkdir_fn(const char *, mode_t);
typedef int stat_fn(int, struct stat *);
typedef void *mmap_fn(void *, size_t, int, int, int, off_t);
typedef int thread_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *),
                      void *);

int openat64(int dir_fd, const char *name, int flags, ...);
ssize_t pread64(int fd, void *buf, size_t size, off_t offset);
ssize_t pwrite64(int fd, const void *buf, size_t size, off_t offset);
int ftruncate64(int fd, off_t size);
int fallocate64(int fd, int mode, off_t offset, off_t size);
void *mmap64(void *at, size_t size, int protection, int flags, int fd,
             off_t offset);

int openat64(int dir_fd, const char *name, int flags, ...) {
    REAL(openat_fn, "openat64");
    va_list args;
    va_start(args, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    return file_fails(OPEN, PLACE) ? -1 : call(dir_fd, name, flags, mode);
}

ssize_t pread64(int fd, void *buf, size_t size, off_t offset) {
    REAL(pread_fn, "pread64");
    if (transfer_fails(READ, PLACE, &size))
        return -1;
    return call(fd, buf, size, offset);
}

ssize_t pwrite64(int fd, const void *buf, size_t size, off_t offset) {
    REAL(pwrite_fn, "pwrite64");
    if (transfer_fails(WRITE, PLACE, &size))
        return -1;
    return call(fd, buf, size, offset);
}

int fdatasync(int fd) {
    REAL(sync_fn, "fdatasync");
    return file_fails(SYNC, PLACE) ? -1 : call(fd);
}

int fsync(int fd) {
    REAL(sync_fn, "fsync");
    return file_fails(SYNC, PLACE) ? -1 : call(fd);
}

int ftruncate64(int fd, off_t size) {
    REAL(truncate_fn, "ftruncate64");
    return file_fails(TRUNCATE, PLACE) ? -1 : call(fd, size);
}

int fallocate64(int fd, int mode, off_t offset, off_t size) {
    REAL(allocate_fn, "fallocate64");
    return file_fails(ALLOCATE, PLACE) ? -1 : call(fd, mode, offset, size);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to) {
    REAL(rename_fn, "renameat");
    return file_fails(RENAME, PLACE) ? -1 : call(from_fd, from, to_fd, to);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to,
           int flags) {
    REAL(link_fn, "linkat");
    return file_fails(LINK, PLACE) ? -1 : call(from_fd, from, to_fd, to, flags);
}

int unlinkat(int fd, const char *name, int flags) {
    REAL(unlink_fn, "unlinkat");
    return file_fails(UNLINK, PLACE) ? -1 : call(fd, name, flags);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir_fn, "mkdir");
    return file_fails(MAKE_DIR, PLACE) ? -1 : call(path, mode);
}

int fstat(int fd, struct stat *out) {
    REAL(stat_fn, "fstat64");
    return file_fails(STAT, PLACE) ? -1 : call(fd, out);
}

void *mmap64(void *at, size_t size, int protection, int flags, int fd,
             off_t offset) {
    REAL(mmap_fn, "mmap64");
    if (fd >= 0 && file_fails(MAP, PLACE))
        return MAP_FAILED;
    return call(at, size, protection, flags, fd, offset);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                   void *(*fn)(void *), void *arg) {
    REAL(thread_fn, "pthread_create");
    if (is_own(PLACE) && is_chosen(THREAD, PLACE))
        return EAGAIN;
    return call(thread, attr, fn, arg);
}
