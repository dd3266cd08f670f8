/*
 * survey_head.c - what a log's first bytes say, and if they are damaged, who
 * else knows.
 *
 * Without the salt no line can be told from damage, and it stands only in the
 * first line. But the index has it too, and every line's CRC was made with it.
 *
 * Knows the log's head and lines; must never know what keys mean.
 */
#include "error.h"
#include "record_damage.h"
#include "survey.h"

enum {
    HEADLINE_MAX = 512,
    DIGITS_MAX = 20, /* of a base */
    CANDIDATES_MAX = 64,
    LINES_MAX = 4096,     /* that are asked for their salt, */
    BYTES_MAX = 64 << 20, /* and of how many bytes together */
    DIGITS_WRONG_MAX = 2, /* of the salt's eight, to be called alike */
};

static const char magic[] = "TOON001\n";

static toon_err refuse(const toon_log *log, uint64_t offset, const char *what) {
    toon_where where = {log->file.path, (int64_t)offset, 0};
    return toon_fail(TOON_CORRUPT, where, "%s: %s; nothing was written",
                     log->file.path, what);
}

static toon_slice start_of(const toon_log *log) {
    toon_slice view = toon_log_view(log, TOON_LOG_HEADER_SIZE, 0);
    if (view.size > HEADLINE_MAX)
        view.size = HEADLINE_MAX;
    return view;
}

/* ---------------------------------------------------------------- headline */

static bool take_headline(toon_log *log, toon_slice line) {
    size_t size;
    if (toon_headline_parse(line, &log->base, &log->salt, &size) != RECORD_OK)
        return false;
    log->first = TOON_LOG_HEADER_SIZE + size;
    return true;
}

static bool mend_headline(toon_log *log, toon_slice line) {
    toon_buf mended = {0};
    bool done = toon_line_mend(line, 0, &mended) &&
                take_headline(log, toon_buf_slice(&mended));
    toon_buf_free(&mended);
    return done;
}

/* How long the headline is if its base has so many digits; 0: no memory. */
static size_t headline_size(unsigned digits) {
    toon_buf like = {0};
    uint64_t base = 1;
    while (--digits > 0)
        base *= 10;
    toon_headline_encode(&like, base, 0);
    size_t size = like.size;
    toon_buf_free(&like);
    return size;
}

/* One damaged byte may have been the newline, or have become one: so the line
 * is tried in each of the lengths that it can have. */
static bool find_mended(toon_log *log) {
    toon_slice start = start_of(log);
    bool found = false;
    for (unsigned digits = 1; digits <= DIGITS_MAX && !found; digits++) {
        size_t size = headline_size(digits);
        if (size <= start.size)
            found = mend_headline(log, toon_bytes(start.data, size));
    }
    return found;
}

/* ------------------------------------------------------------------- votes */

struct votes {
    uint32_t salts[CANDIDATES_MAX];
    unsigned counts[CANDIDATES_MAX];
    unsigned candidates;
    unsigned best; /* the candidate with most */
};

static void vote(struct votes *votes, uint32_t salt) {
    unsigned i = 0;
    while (i < votes->candidates && votes->salts[i] != salt)
        i++;
    if (i == CANDIDATES_MAX)
        return;
    if (i == votes->candidates)
        votes->salts[votes->candidates++] = salt;
    if (++votes->counts[i] > votes->counts[votes->best])
        votes->best = i;
}

/* Each line for the salt with which its CRC would be right. */
static void ask_lines(const toon_log *log, struct votes *votes) {
    toon_slice rest = toon_log_view(log, TOON_LOG_HEADER_SIZE, 0);
    if (rest.size > BYTES_MAX)
        rest.size = BYTES_MAX;
    for (unsigned i = 0; i < LINES_MAX && rest.size > 0; i++) {
        uint32_t salt;
        const char *end = memchr(rest.data, '\n', rest.size);
        if (end == NULL)
            return;
        size_t size = (size_t)(end - rest.data) + 1;
        if (toon_line_salt(toon_bytes(rest.data, size), &salt))
            vote(votes, salt);
        rest = toon_bytes(rest.data + size, rest.size - size);
    }
}

static bool alike(uint32_t a, uint32_t b) {
    unsigned wrong = 0;
    for (unsigned shift = 0; shift < 32; shift += 4)
        wrong += ((a ^ b) >> shift & 15) != 0;
    return wrong <= DIGITS_WRONG_MAX;
}

static unsigned votes_for(const struct votes *votes, uint32_t salt) {
    for (unsigned i = 0; i < votes->candidates; i++) {
        if (votes->salts[i] == salt)
            return votes->counts[i];
    }
    return 0;
}

/* An index has a CRC of its own. It may be of the log before this one, of
 * which a crash can bring blocks back: so it is not believed against many. */
static bool believes_index(const struct votes *votes, const toon_index *index) {
    enum { WEIGHT = 4 };

    unsigned count = index == NULL ? 0 : votes_for(votes, index->head.salt);
    return count > 0 && count * WEIGHT >= votes->counts[votes->best];
}

/* Two witnesses must agree. */
static bool find_salt(const toon_log *log, const toon_index *index,
                      bool magic_right, uint32_t *salt) {
    struct votes votes = {.best = 0};
    uint32_t said;
    ask_lines(log, &votes);
    unsigned count = votes.counts[votes.best];
    *salt = votes.salts[votes.best];
    if (believes_index(&votes, index))
        *salt = index->head.salt;
    else if (count == 0 && index != NULL && magic_right)
        *salt = index->head.salt;
    else if (count == 1)
        return toon_headline_guess_salt(start_of(log), &said) &&
               alike(said, *salt);
    else
        return count > 1;
    return true;
}

/* The first line came from elsewhere: no line was written with its salt, or
 * the index says another, and more lines agree with that. */
static bool outvote(toon_log *log, const toon_index *index) {
    struct votes votes = {.best = 0};
    ask_lines(log, &votes);
    uint32_t best = votes.salts[votes.best];
    unsigned count = votes.counts[votes.best];
    unsigned own = votes_for(&votes, log->salt);
    bool backed = index != NULL && index->head.salt == best;
    if (best == log->salt || count < 2 || (own > 0 && !backed) || count <= own)
        return false;
    log->salt = best;
    log->first = TOON_LOG_HEADER_SIZE;
    return true;
}

/* --------------------------------------------------------------------- all */

static bool line_begins_at(const toon_log *log, uint64_t offset) {
    toon_record record;
    uint64_t synced;
    size_t size;
    toon_slice view = toon_log_view(log, offset, 0);
    return offset == atomic_load(&log->written) ||
           toon_record_parse(view, log->salt, &record) == RECORD_OK ||
           toon_mark_parse(view, log->salt, &synced, &size) == RECORD_OK;
}

/* More of the headline is damaged than one byte. If a line begins where it may
 * have ended, no record was hit. */
static void place_first(toon_log *log) {
    log->first = TOON_LOG_HEADER_SIZE;
    (void)toon_headline_guess_base(start_of(log), &log->base);
    for (unsigned digits = 1; digits <= DIGITS_MAX; digits++) {
        uint64_t first = TOON_LOG_HEADER_SIZE + headline_size(digits);
        if (first <= atomic_load(&log->written) && line_begins_at(log, first)) {
            log->first = first;
            return;
        }
    }
}

toon_err toon_survey_read_head(toon_log *log, const toon_index *index,
                               bool distrust, toon_survey_head *head) {
    char header[TOON_LOG_HEADER_SIZE];
    uint64_t size = atomic_load(&log->written);
    *head = (toon_survey_head){0};
    if (size < sizeof header)
        return refuse(log, size, "shorter than its header; not a store's log");
    toon_err err = toon_file_read(&log->file, header, sizeof header, 0);
    if (err == TOON_OK)
        err = toon_log_require_map(log);
    if (err != TOON_OK)
        return err;
    head->magic_right = memcmp(header, magic, sizeof magic - 1) == 0;
    head->version = toon_get_u32(header + 8);
    head->version_right = head->version == TOON_LOG_VERSION;
    log->row_hint = toon_get_u32(header + 12);
    head->headline_right = take_headline(log, start_of(log));
    head->base_known = head->headline_right || find_mended(log);
    if (head->base_known) {
        if (distrust && outvote(log, index))
            head->headline_right = head->base_known = false;
        return TOON_OK;
    }
    if (!find_salt(log, index, head->magic_right, &log->salt))
        return refuse(log, head->magic_right ? TOON_LOG_HEADER_SIZE : 0,
                      head->magic_right
                          ? "the first comment line is damaged, and nothing "
                            "else tells what it said"
                          : "does not start with TOON001; not a store's log");
    place_first(log);
    return TOON_OK;
}
