/*
 * attr.c - what stat(2) says. Knows times, modes and how long the kernel may
 * believe them; must never know where they come from.
 */
#include "attr.h"

#include "versions.h"

/* The kernel rounds a timeout up to its own clock's next tick. */
#define KERNEL_TICK_MS 10

void ticks_init(ticks *t) {
    memset(t->slots, 0, sizeof(t->slots));
    t->mark = 0;
    pthread_mutex_init(&t->lock, NULL);
}

void ticks_free(ticks *t) {
    pthread_mutex_destroy(&t->lock);
}

uint32_t ticks_of(ticks *t, uint64_t hash, const toon_meta *meta,
                  uint64_t mark) {
    pthread_mutex_lock(&t->lock);
    struct tick *slot = &t->slots[hash & (TICKS - 1)];
    /* Versions were moved since it was read: it says nothing any more. */
    uint64_t version = mark == t->mark ? meta->version : 0;
    if (slot->hash != hash || slot->written_ms != meta->written_ms) {
        *slot = (struct tick){hash, version, meta->written_ms, 0};
    } else if (version != 0) {
        slot->count += slot->version != 0 &&
                       !versions_same(slot->version, version, t->mark);
        slot->count %= 1000;
        slot->version = version;
    }
    uint32_t count = slot->count;
    pthread_mutex_unlock(&t->lock);
    return count;
}

void ticks_moved(ticks *t, uint64_t mark) {
    pthread_mutex_lock(&t->lock);
    t->mark = mark;
    pthread_mutex_unlock(&t->lock);
}

void ticks_keep(ticks *t, uint64_t hash) {
    pthread_mutex_lock(&t->lock);
    struct tick *slot = &t->slots[hash & (TICKS - 1)];
    if (slot->hash == hash) {
        slot->version = 0;
    }
    pthread_mutex_unlock(&t->lock);
}

static struct timespec time_of(int64_t ms, uint32_t us) {
    int64_t rest_ms = ms % 1000;
    int64_t seconds = ms / 1000;
    if (rest_ms < 0) {
        rest_ms += 1000;
        seconds--;
    }
    return (struct timespec){
        .tv_sec = (time_t)seconds,
        .tv_nsec = (long)(rest_ms * 1000000 + (int64_t)us * 1000)};
}

static void attr_common(const mount_options *options, const file_facts *facts,
                        struct stat *out) {
    memset(out, 0, sizeof(*out));
    out->st_ino = (ino_t)facts->number;
    out->st_uid = options->uid;
    out->st_gid = options->gid;
    out->st_blksize = 4096;
    out->st_mtim = time_of(facts->meta.written_ms, facts->tick_us);
    out->st_atim = out->st_mtim;
    out->st_ctim = facts->changed_ms > facts->meta.written_ms
                       ? time_of(facts->changed_ms, 0)
                       : out->st_mtim;
}

void attr_of_file(const mount_options *options, const file_facts *facts,
                  struct stat *out) {
    attr_common(options, facts, out);
    uint32_t mode = facts->meta.mode;
    out->st_mode = S_ISLNK(mode) ? S_IFLNK | 0777
                                 : S_IFREG | (mode != 0 ? mode & 07777
                                                        : options->file_mode);
    out->st_nlink = facts->nameless ? 0 : 1;
    out->st_size = (off_t)facts->size;
    out->st_blocks = (__typeof__(out->st_blocks))((facts->size + 511) / 512);
}

void attr_of_dir(const mount_options *options, const file_facts *facts,
                 struct stat *out) {
    attr_common(options, facts, out);
    uint32_t mode = facts->meta.mode;
    out->st_mode = S_IFDIR | (mode != 0 ? mode & 07777 : options->dir_mode);
    out->st_nlink = facts->nameless ? 0 : 2;
    out->st_size = 4096;
    out->st_blocks = 8;
}

double timeout_until(int64_t expires_ms, int64_t now_ms) {
    if (expires_ms == 0) {
        return TIMEOUT_LONG_S;
    }
    double seconds = (double)(expires_ms - now_ms - KERNEL_TICK_MS) / 1000.0;
    if (seconds < 0) {
        return 0;
    }
    return seconds < TIMEOUT_LONG_S ? seconds : TIMEOUT_LONG_S;
}

uint32_t mode_to_store(mode_t mode, unsigned default_mode) {
    mode &= 07777;
    if (mode == default_mode) {
        return 0;
    }
    return mode == 0 ? S_IFREG : (uint32_t)mode;
}
